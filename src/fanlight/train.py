"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.data.faces import Faces, Problem
from fanlight.device import join_team, keep_freed_memory, leave_cores_to_loaders, lost_another
from fanlight.errors import InputError, NumberError
from fanlight.locking import held
from fanlight.progress import Progress, Silence
from fanlight.resuming import find_origin
from fanlight.run import Run, can_go_on, how_to_go_on, list_skipped, refuse_existing
from fanlight.soundness import in_short
from fanlight.stopping import Stopped, StopSignals
from fanlight.training_state import TrainingState
from fanlight.validating import validation_metrics


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


def train(
    recipe: Recipe,
    faces: Faces,
    folder: Path,
    progress: Progress | None = None,
    resume: bool = False,
    until: int | None = None,
    skipped: Sequence[Problem] = (),
) -> Outcome | None:
    """Train a network.

    Every process of a ``torchrun`` calls this; each gets its share of every batch. SIGTERM and Ctrl-C end it after
    the step under way, which is saved, and one process alone while it waits for its next batch; a second Ctrl-C
    ends it at once.

    Args:
        recipe: all settings.
        faces: checked ones, as ``recipe.data.faces()`` gives them; hold the partitions of the recipe.
        folder: the run's folder, which no other process may be training in.
        progress: told how it goes, in the leading process only; nobody is told when None.
        resume: go on from the folder's last checkpoint.
        until: end after this step, as if the run went on; at the run's own end when None.
        skipped: what kept other faces out; a run that begins lists it in ``skipped.tsv``.

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
            state = TrainingState(recipe, faces, team)
            with held(folder) if team.leads else nullcontext():
                if team.leads and not resume:
                    refuse_existing(folder)  # another process may have trained there since
                training = _Training(state, faces, folder, progress or Silence(), resume)
                if team.leads and not resume:
                    list_skipped(folder, skipped)
                return training.run(until)
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

    def __init__(
        self, state: TrainingState, faces: Faces, folder: Path, progress: Progress, resume: bool
    ) -> None:
        self.state, self.pace, self.team = state, state.pace, state.team
        self.folder, self.progress = folder, progress
        self.signals, self.latest = StopSignals(), dict[str, float]()
        self.run_folder = self._go_on(faces) if resume else self._begin()
        self.saved_step = self.pace.step

    def _begin(self) -> Run | None:
        """A new run's folder, for the leading process."""
        return Run(self.folder, self.state.recipe) if self.team.leads else None

    def _go_on(self, faces: Faces) -> Run | None:
        """A run's folder, for the leading process, after going on from its newest checkpoint."""
        state = self.state
        origin = find_origin(self.folder, state.recipe, state.markup, faces)
        if origin.warning and self.team.leads:
            self.progress.warned(origin.warning)
        state.restore(origin.checkpoint)
        if len({*self.team.gather(self.pace.step)}) > 1:
            raise InputError(f"{self.folder}: the processes read different checkpoints there; try again")
        return Run(self.folder, state.recipe, origin) if self.team.leads else None

    def run(self, until: int | None) -> Outcome | None:
        """Train to the end, or to a step before it."""
        self.pace.last_step = self.pace.total_steps if until is None else until
        with self.signals:
            ended = self._learn()
        if not self.run_folder:
            return None
        best = self.run_folder.best
        return Outcome(best, load_checkpoint(best).metrics, ended)

    def _learn(self) -> str:
        """Take all steps that are left; gives why there are no more."""
        state, pace = self.state, self.pace
        pace.start()
        if self.team.leads:
            self.progress.begin(pace.total_steps, pace.step)
        if pace.due:
            self._validate()
        while not pace.end:  # a run that goes on may have nothing left to do
            epoch, first_batch = divmod(pace.step, pace.steps_per_epoch)
            state.set_crop_size(pace.crop_size)
            state.train_feed.sampler.set_epoch(epoch, first_batch)
            for batch in self._unless_asked(state.train_feed.loader):
                state.means.add(state.learner.step(batch, pace.learning_rate))
                pace.advance()
                if pace.looks or pace.end:
                    self._look()
                if self.team.leads:
                    self.progress.advance(pace.step, pace.share, self.latest)
                if pace.validates or pace.end:
                    self._validate()
                if not pace.end and self._is_asked(pace.looks):
                    self._leave()
                if pace.end or pace.crop_size != state.crop_size:
                    break
        return str(pace.end)

    def _look(self) -> None:
        """Look at the loss; only this and validation make the host wait for the device."""
        losses = self._losses()
        if self.run_folder:
            lr = self.pace.learning_rate
            figures = {**{f"train/{name}": value for name, value in losses.items()}, "train/lr": lr}
            self.run_folder.plot(self.pace.step, figures)
            self.latest = {"loss": losses["total"], "lr": lr}

    def _losses(self) -> dict[str, float]:
        """The mean losses since the last validation, all of them numbers."""
        losses = self.state.means.read(self.team)
        if not math.isfinite(losses.get("total", 0.0)):
            self._stop_on_nan("the loss is no longer a number", losses)
        return losses

    def _sound_losses(self) -> dict[str, float]:
        """The same, where all weights are numbers, too: only then may they be saved."""
        losses = self._losses()
        broken = self.state.learner.broken(self.team)
        if broken:
            self._stop_on_nan(f"no longer numbers: {in_short(broken)}", losses)
        return losses

    def _stop_on_nan(self, what: str, losses: Mapping[str, float]) -> NoReturn:
        broken = ", ".join(f"{name} = {value}" for name, value in losses.items())
        if not self.run_folder:
            raise SystemExit(2)  # the leading process says why
        kept = f"the last good checkpoints are kept in {self.run_folder.checkpoints}; "
        other = "" if self.state.learner.precision == torch.float32 else ', or train.precision = "float32"'
        raise InputError(
            f"{what} (loss: {broken}) at step {self.pace.step}: training stopped; "
            f"{kept if can_go_on(self.folder) else ''}lower optimiser.lr, or set optimiser.clip_norm = 1.0"
            f"{other}, in {self.folder / 'recipe.toml'}, and {how_to_go_on(self.folder)}"
        )

    def _validate(self) -> None:
        """Judge the averaged weights, save them, and write a row; the loss was looked at just before."""
        losses = self._sound_losses()
        self.pace.due = True
        if self._is_asked(True):
            self._leave()
        try:
            metrics = validation_metrics(self.state, self._unless_asked(self.state.val_feed.loader))
        except NumberError as error:
            self._stop_on_nan(f"in validation, {error}", losses)
        self.pace.due = False
        self.state.means.reset()
        training = self.state.training()
        self.saved_step = step = self.pace.step
        if not self.run_folder:
            return
        row = {
            "step": step,
            "epoch": round(self.pace.epoch, 3),
            "minutes": round(self.pace.seconds / 60, 3),
            "images": step * self.state.recipe.train.batch_size,
            "lr": self.pace.learning_rate,
            "crop_size": self.state.crop_size,
            **{f"train_{name}": value for name, value in losses.items()},
            **metrics,
        }
        self.run_folder.plot(step, {f"val/{name}": value for name, value in metrics.items()})
        self.run_folder.record(row)  # first: a row without its checkpoint is dropped when the run goes on
        best = self.run_folder.save(self.state.checkpoint(metrics, training), step)
        self.progress.validated(row, best)

    def _is_asked(self, look: bool) -> bool:
        """Whether to leave; a team agrees at every step, with GPUs only where they wait for each other anyway."""
        if self.team.size > 1 and not look and self.team.device.type != "cpu":
            return False
        return self.team.any_is(self.signals.asked)

    def _leave(self) -> NoReturn:
        """Save the step that the run is at, and leave."""
        self._save_step()
        self.team.from_leader(0.0)  # the others stay until it is saved
        reached = (
            f"after step {self.pace.step}, which is saved" if self.pace.step else "before the first step"
        )
        raise Stopped(f"stopped {reached}", self.signals.number)

    def _save_step(self) -> None:
        """Save the step that the run is at, unless it was saved."""
        if self.pace.step == self.saved_step:
            return
        self._sound_losses()
        training = self.state.training()
        if self.run_folder:
            self.run_folder.save_last(self.state.checkpoint({}, training))
        self.saved_step = self.pace.step  # now: what is interrupted meanwhile is not saved

    def _unless_asked(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Batches, but one process alone leaves when it is asked to, however long the next one takes."""
        coming = iter(self._with_way_on(batches))
        wait = self.signals.waiting if self.team.size == 1 else nullcontext
        while True:
            try:
                with wait():
                    batch = next(coming, None)
            except KeyboardInterrupt:
                self._leave()
            if batch is None:
                return
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
            reached = f"{error}; training stopped after step {self.pace.step}"
            if self.team.size == 1:
                try:
                    self._save_step()
                except InputError as fault:  # the same disk may be gone
                    raise InputError(f"{reached}, which could not be saved: {fault}") from None
                reached += ", which is saved" if self.pace.step else ""
            raise InputError(f"{reached}; when that is mended, {how_to_go_on(self.folder)}") from None
