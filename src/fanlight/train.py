"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.data.faces import Faces
from fanlight.device import Team, join_team, keep_freed_memory, leave_cores_to_loaders, lost_another
from fanlight.distance import possible_normalisers
from fanlight.errors import InputError, NumberError
from fanlight.judging.evaluate import predict_loader
from fanlight.learner import Learner
from fanlight.loaders import training_feed, validation_feed
from fanlight.locking import held
from fanlight.markup import Markup
from fanlight.metric import measure
from fanlight.network import TorchNetwork
from fanlight.optimise import learning_rate
from fanlight.predict import Predictor
from fanlight.resuming import find_origin
from fanlight.run import Run, can_go_on, how_to_go_on, refuse_existing
from fanlight.running_means import RunningMeans
from fanlight.sessions import begin_session, changed_settings, continue_session
from fanlight.soundness import in_short
from fanlight.stopping import Stopped, StopSignals

LOOK_STEPS = 20  # steps between two looks at the loss, each of which waits for the device


class Progress(Protocol):
    """Is told how training goes; the command line draws a bar."""

    def begin(self, total_steps: int, step: int) -> None:
        """Training starts, or goes on, at ``step``."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """``share`` of the run is done; ``status`` holds the latest figures, if there are any yet."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """A validation was made; ``row`` is that of metrics.csv."""

    def warned(self, message: str) -> None:
        """Something is not as it should be, and training goes on."""


class Silence:
    """A ``Progress`` that keeps to itself, but for Python's own warnings."""

    def begin(self, total_steps: int, step: int) -> None:
        """Nothing."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """Nothing."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Warn."""
        warnings.warn(message, stacklevel=2)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        best: path of the best checkpoint.
        metrics: its validation metrics.
        stopped: ``epochs``, ``time``, or ``step`` where it was to end after one.
    """

    best: Path
    metrics: Mapping[str, float]
    stopped: str


@dataclass
class Position:
    """Where a run is.

    Attributes:
        step: optimiser steps taken.
        seconds: time spent, over all its sessions.
        due: whether a validation of this step has been put off.
    """

    step: int = 0
    seconds: float = 0.0
    due: bool = False


def train(
    recipe: Recipe,
    faces: Faces,
    folder: Path,
    progress: Progress | None = None,
    resume: bool = False,
    until: int | None = None,
) -> Outcome | None:
    """Train a network.

    Every process of a ``torchrun`` calls this; each gets its share of every batch. SIGTERM and Ctrl-C end it after
    the step under way, which is saved; a second Ctrl-C ends it at once.

    Args:
        recipe: all settings.
        faces: checked ones, as ``recipe.data.faces()`` gives them; hold the partitions of the recipe.
        folder: the run's folder, which no other process may be training in.
        progress: told how it goes, in the leading process only; nobody is told when None.
        resume: go on from the folder's last checkpoint.
        until: end after this step, as if the run went on; at the run's own end when None.

    Returns:
        The outcome in the leading process, None in others.

    Raises:
        InputError: the data, the device or the folder cannot be used; the folder holds a run already and is not
            to be gone on with; the data vanished; or the loss stopped being a number.
        Stopped: it was asked to stop, and can go on from the step that it had reached.
    """
    if not resume:
        refuse_existing(folder)
    keep_freed_memory()
    with join_team(recipe.train.device) as team:
        leave_cores_to_loaders(team, recipe.train.workers)
        try:
            training = _Training(recipe, faces, folder, progress or Silence(), team)
            with held(folder) if team.leads else nullcontext():
                return training.run(resume, until)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the device's memory is too small ({error}): set train.accumulate = "
                f"{2 * recipe.train.accumulate}, or lower train.batch_size or model.input_size"
            ) from None
        except RuntimeError as error:
            if not lost_another(error):
                raise
            raise InputError(
                f"process {team.rank} of {team.size}: another process is gone or out of reach ({error}): see what "
                f"it printed, and go on from the last validation by --resume {folder}"
            ) from None


class _Training:
    """One process's part of a run: the loop, and what happens now and then."""

    def __init__(self, recipe: Recipe, faces: Faces, folder: Path, progress: Progress, team: Team) -> None:
        self.recipe, self.team, self.progress, self.faces = recipe, team, progress, faces
        self.markup = Markup.load(recipe.data.markup)
        self.train_feed = training_feed(recipe, faces, self.markup, team)
        self.val_feed = validation_feed(recipe, faces, self.markup, team)
        self.learner = Learner(recipe, team)
        self.provenance = begin_session(recipe, faces, team, self.learner.precision) if team.leads else {}
        self.folder, self.latest, self.means = folder, dict[str, float](), RunningMeans()
        self.position, self.signals = Position(), StopSignals()
        self.run_folder: Run | None = None
        self.saved_step = 0
        self.steps_per_epoch = len(self.train_feed.sampler)
        self.total_steps = max(1, round(recipe.train.epochs * self.steps_per_epoch))
        self.validate_every = max(1, round(self.steps_per_epoch / recipe.train.validations_per_epoch))

    def run(self, resume: bool, until: int | None = None) -> Outcome | None:
        """Begin or go on, and train to the end, or to a step before it."""
        self.run_folder = self._open(resume)
        self.last_step = self.total_steps if until is None else until
        with self.signals:
            return self._finish(self._learn())

    def _learn(self) -> str:
        """Take all steps that are left; gives why there are no more."""
        started = time.monotonic() - self.position.seconds
        if self.team.leads:
            self.progress.begin(self.total_steps, self.position.step)
        share = self._share_done()
        if self.position.due:
            self._validate(share)
        stopped = self._why_stop(share)  # a run that goes on may have nothing left to do
        while stopped is None:
            epoch, first_batch = divmod(self.position.step, self.steps_per_epoch)
            self._follow_crop_size(share)
            self.train_feed.sampler.set_epoch(epoch, first_batch)
            for batch in self._with_way_on(self.train_feed.loader):
                self.means.add(self.learner.step(batch, self._learning_rate(share)))
                self.position.step += 1
                self.position.seconds = time.monotonic() - started
                step = self.position.step
                validate = step % self.validate_every == 0
                look = validate or step % LOOK_STEPS == 0 or step in (1, self.total_steps)
                if look or self.team.size == 1:  # several processes agree on the time now and then
                    share = self._share_done()
                stopped = self._why_stop(share)
                if look or stopped:
                    self._look(share)
                if self.team.leads:
                    self.progress.advance(step, share, self.latest)
                if validate or stopped:
                    self._validate(share)
                if not stopped and self._is_asked(look):
                    self._leave()
                if stopped or self._crop_size(share) != self.train_feed.dataset.input_size:
                    break
        return stopped

    def _learning_rate(self, share: float) -> float:
        epoch = self.position.step / self.steps_per_epoch
        return learning_rate(self.recipe.optimiser.lr, self.recipe.schedule, self._by_clock(share), epoch)

    def _crop_size(self, share: float) -> int:
        """Side of the crops in px at this point of the run."""
        share = self._by_clock(share)
        return [size for start, size in self.recipe.crop_sizes() if start <= share][-1]

    def _follow_crop_size(self, share: float) -> None:
        size = self._crop_size(share)
        self.train_feed, self.val_feed = self.train_feed.at_size(size), self.val_feed.at_size(size)

    def _by_clock(self, share: float) -> float:
        """How much of the run is done as the schedule counts it; by epochs it does not depend on the machine."""
        by_epochs = self.recipe.schedule.clock == "epochs"
        return self.position.step / self.total_steps if by_epochs else share

    def _share_done(self) -> float:
        """How much of the run is done, by its epochs or its minutes; the same in all processes."""
        limit = 60 * self.recipe.train.max_minutes
        by_time = self.position.seconds / limit if limit else 0.0
        return self.team.from_leader(min(max(self.position.step / self.total_steps, by_time), 1.0))

    def _why_stop(self, share: float) -> str | None:
        if share < 1:
            return "step" if self.position.step >= self.last_step else None
        return "epochs" if self.position.step >= self.total_steps else "time"

    def _look(self, share: float) -> None:
        """Look at the loss; only this and validation make the host wait for the device."""
        losses = self._losses()
        if self.run_folder:
            lr = self._learning_rate(share)
            figures = {**{f"train/{name}": value for name, value in losses.items()}, "train/lr": lr}
            self.run_folder.plot(self.position.step, figures)
            self.latest = {"loss": losses["total"], "lr": lr}

    def _losses(self) -> dict[str, float]:
        """The mean losses since the last validation, all of them numbers."""
        losses = self.means.read(self.team)
        if not math.isfinite(losses.get("total", 0.0)):
            self._stop_on_nan("the loss is no longer a number", losses)
        return losses

    def _sound_losses(self) -> dict[str, float]:
        """The same, where all weights are numbers, too: only then may they be saved."""
        losses = self._losses()
        broken = self.learner.broken(self.team)
        if broken:
            self._stop_on_nan(f"no longer numbers: {in_short(broken)}", losses)
        return losses

    def _stop_on_nan(self, what: str, losses: Mapping[str, float]) -> NoReturn:
        broken = ", ".join(f"{name} = {value}" for name, value in losses.items())
        if not self.run_folder:
            raise SystemExit(2)  # the leading process says why
        kept = f"the last good checkpoints are kept in {self.run_folder.checkpoints}; "
        other = "" if self.learner.precision == torch.float32 else ', or train.precision = "float32"'
        raise InputError(
            f"{what} (loss: {broken}) at step {self.position.step}: training stopped; "
            f"{kept if can_go_on(self.folder) else ''}lower optimiser.lr, or set optimiser.clip_norm = 1.0"
            f"{other}, in {self.folder / 'recipe.toml'}, and {how_to_go_on(self.folder)}"
        )

    def _validate(self, share: float) -> None:
        """Judge the averaged weights, save them, and write a row; the loss was looked at just before."""
        losses = self._sound_losses()
        self.position.due = True
        if self._is_asked(True):
            self._leave()
        metrics = self._judge(losses)
        self.position.due = False
        self.means.reset()
        training = self._state()
        self.saved_step = step = self.position.step
        if not self.run_folder:
            return
        row = {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 3),
            "minutes": round(self.position.seconds / 60, 3),
            "images": step * self.recipe.train.batch_size,
            "lr": self._learning_rate(share),
            "crop_size": self.train_feed.dataset.input_size,
            **{f"train_{name}": value for name, value in losses.items()},
            **metrics,
        }
        self.run_folder.plot(step, {f"val/{name}": value for name, value in metrics.items()})
        self.run_folder.record(row)  # first: a row without its checkpoint is dropped when the run goes on
        best = self.run_folder.save(self._checkpoint(metrics, training), step)
        self.progress.validated(row, best)

    def _judge(self, losses: Mapping[str, float]) -> dict[str, float]:
        """Validation metrics of the averaged weights, each face counted once over all processes."""
        flip = self.recipe.train.flip
        self.team.follow_leader(self.learner.average.weights().values())  # running statistics differ
        predictor = Predictor(TorchNetwork(self._checkpoint({}, {}), self.team.device))
        try:
            with self.learner.autocast():
                found = predict_loader(predictor, self._unless_asked(self.val_feed.loader), flip)
        except NumberError as error:
            self._stop_on_nan(f"in validation, {error}", losses)
        gathered = self.team.gather((found.positions, found.landmarks(flip)))
        positions, predicted = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        truth = self.val_feed.dataset.landmarks_image[positions]
        normalisers = [n for n in ("box", "interocular") if n in possible_normalisers(self.markup)]
        keys = [f"nme_{n}" for n in normalisers] + ["auc_box_0.07", "fr_box_0.07", "macc_box_0.07"]
        keys = list(dict.fromkeys([*keys, self.recipe.train.rank_by]))
        weights = self.val_feed.dataset.faces.weights[positions]
        return measure(keys, predicted, truth, self.markup, weights)

    def _is_asked(self, look: bool) -> bool:
        """Whether to leave; a team agrees at every step, with GPUs only where they wait for each other anyway."""
        if self.team.size > 1 and not look and self.team.device.type != "cpu":
            return False
        return self.team.any_is(self.signals.asked)

    def _leave(self) -> NoReturn:
        """Save the step that the run is at, and leave."""
        self._save_step()
        self.team.from_leader(0.0)  # the others stay until it is saved
        raise Stopped(f"stopped after step {self.position.step}, which is saved", self.signals.number)

    def _save_step(self) -> None:
        """Save the step that the run is at, unless it was saved."""
        if self.position.step == self.saved_step:
            return
        self._sound_losses()
        training = self._state()
        self.saved_step = self.position.step
        if self.run_folder:
            self.run_folder.save_last(self._checkpoint({}, training))

    def _unless_asked(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Validation batches, but one process alone leaves between two of them when it is asked to."""
        for batch in self._with_way_on(batches):
            if self.team.size == 1 and self.signals.asked:
                self._leave()
            yield batch

    def _with_way_on(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Batches; where one cannot be had, the step reached is saved, and the error says how to go on.

        One of several processes cannot save alone, since a part of what is saved is with the others.
        """
        try:
            yield from batches
        except InputError as error:
            reached = f"{error}; training stopped after step {self.position.step}"
            if self.team.size == 1:
                try:
                    self._save_step()
                except InputError as fault:  # the same disk may be gone
                    raise InputError(f"{reached}, which could not be saved: {fault}") from None
                reached += ", which is saved" if self.position.step else ""
            raise InputError(f"{reached}; when that is mended, {how_to_go_on(self.folder)}") from None

    def _state(self) -> dict[str, Any]:
        """What going on takes; all processes have to ask for it."""
        return {
            **self.learner.state(),
            "step": self.position.step,
            "seconds": self.position.seconds,
            "due": self.position.due,
            "means": self.means.state(self.team),
        }

    def _checkpoint(self, metrics: Mapping[str, float], training: Mapping[str, Any]) -> Checkpoint:
        return Checkpoint(
            options=replace(self.recipe.model, input_size=self.train_feed.dataset.input_size),
            weights=self.learner.average.weights(),
            markup=self.markup,
            decoder=self.recipe.decoder,
            crop=self.recipe.crop,
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            provenance={
                **self.provenance,
                "step": self.position.step,
                "epoch": self.position.step / self.steps_per_epoch,
                "minutes": self.position.seconds / 60,
            },
            training=training,
        )

    def _open(self, resume: bool) -> Run | None:
        """The run's folder, for the leading process, after going on from its newest checkpoint where asked to."""
        if not resume:
            return Run(self.folder, self.recipe) if self.team.leads else None
        origin = find_origin(self.folder, self.recipe, self.markup, self.faces)
        if origin.warning and self.team.leads:
            self.progress.warned(origin.warning)
        self._restore(origin.checkpoint)
        if len({*self.team.gather(self.position.step)}) > 1:
            raise InputError(f"{self.folder}: the processes read different checkpoints there; try again")
        self.saved_step, before = self.position.step, origin.checkpoint
        changes = changed_settings(before.recipe, self.recipe.to_dict())
        self.provenance = continue_session(self.provenance, before.provenance, self.saved_step, changes)
        return Run(self.folder, self.recipe, origin) if self.team.leads else None

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.training
        self.learner.restore(state, checkpoint.weights)
        self.position = Position(state["step"], state["seconds"], state.get("due", False))
        if "means" in state:  # not in those of older versions, which were saved right after a validation
            self.means.restore(state["means"], self.team)
        size = checkpoint.options.input_size
        self.train_feed, self.val_feed = self.train_feed.at_size(size), self.val_feed.at_size(size)

    def _finish(self, stopped: str) -> Outcome | None:
        if not self.run_folder:
            return None
        best = self.run_folder.best
        return Outcome(best, load_checkpoint(best).metrics, stopped)
