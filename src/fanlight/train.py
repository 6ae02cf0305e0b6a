"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.device import Team, join_team, keep_freed_memory, leave_cores_to_loaders, lost_another
from fanlight.distance import possible_normalisers
from fanlight.errors import InputError
from fanlight.judging.evaluate import predict_loader
from fanlight.learner import Learner
from fanlight.loaders import training_feed, validation_feed
from fanlight.markup import Markup
from fanlight.metric import measure
from fanlight.network import TorchNetwork
from fanlight.optimise import learning_rate
from fanlight.predict import Predictor
from fanlight.run import LAST, Ranked, Run

LOOK_STEPS = 20  # steps between two looks at the loss, each of which waits for the device


class Progress(Protocol):
    """Is told how training goes; the command line draws a bar."""

    def begin(self, total_steps: int, step: int) -> None:
        """Training starts, or goes on, at ``step``."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """``share`` of the run is done; ``status`` holds the latest figures, if there are any yet."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """A validation was made; ``row`` is that of metrics.csv."""


class Silence:
    """A ``Progress`` that keeps to itself."""

    def begin(self, total_steps: int, step: int) -> None:
        """Nothing."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """Nothing."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        best: path of the best checkpoint.
        metrics: its validation metrics.
        stopped: ``epochs`` or ``time``.
    """

    best: Path
    metrics: Mapping[str, float]
    stopped: str


@dataclass
class Position:
    """Where a run is: optimiser steps taken and seconds spent, over all its sessions."""

    step: int = 0
    seconds: float = 0.0


def train(
    recipe: Recipe, faces: Faces, folder: Path, progress: Progress | None = None, resume: bool = False
) -> Outcome | None:
    """Train a network.

    Every process of a ``torchrun`` calls this; each gets its share of every batch.

    Args:
        recipe: all settings.
        faces: checked ones, as ``recipe.data.faces()`` gives them; hold the partitions of the recipe.
        folder: the run's folder; a run that it holds is written over.
        progress: told how it goes, in the leading process only; nobody is told when None.
        resume: go on from the folder's last checkpoint.

    Returns:
        The outcome in the leading process, None in others.

    Raises:
        InputError: the data, the device or the folder cannot be used; or the loss stopped being a number.
    """
    keep_freed_memory()
    with join_team(recipe.train.device) as team:
        leave_cores_to_loaders(team, recipe.train.workers)
        try:
            return _Training(recipe, faces, folder, progress or Silence(), team, resume).run()
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
        self, recipe: Recipe, faces: Faces, folder: Path, progress: Progress, team: Team, resume: bool
    ) -> None:
        self.recipe, self.team, self.progress, self.faces = recipe, team, progress, faces
        self.markup = Markup.load(recipe.data.markup)
        self.train_feed = training_feed(recipe, faces, self.markup, team)
        self.val_feed = validation_feed(recipe, faces, self.markup, team)
        self.learner = Learner(recipe, team)
        self.latest: Mapping[str, float] = {}
        self.position, ranked = Position(), tuple[Ranked, ...]()
        if resume:
            ranked = self._restore(folder / LAST)
        self.run_folder = Run(folder, recipe, ranked, self.position.step) if team.leads else None
        self.steps_per_epoch = len(self.train_feed.sampler)
        self.total_steps = max(1, round(recipe.train.epochs * self.steps_per_epoch))
        self.validate_every = max(1, round(self.steps_per_epoch / recipe.train.validations_per_epoch))

    def run(self) -> Outcome | None:
        """Train from where the run is to its end."""
        started = time.monotonic() - self.position.seconds
        if self.team.leads:
            self.progress.begin(self.total_steps, self.position.step)
        means = _RunningMeans()
        share = self._share_done()
        stopped = self._why_stop(share)  # a run that goes on may have nothing left to do
        while stopped is None:
            epoch, first_batch = divmod(self.position.step, self.steps_per_epoch)
            self._follow_crop_size(share)
            self.train_feed.sampler.set_epoch(epoch, first_batch)
            for batch in self.train_feed.loader:
                means.add(self.learner.step(batch, self._learning_rate(share)))
                self.position.step += 1
                self.position.seconds = time.monotonic() - started
                step = self.position.step
                validate = step % self.validate_every == 0
                look = validate or step % LOOK_STEPS == 0 or step in (1, self.total_steps)
                if look or self.team.size == 1:  # several processes agree on the time now and then
                    share = self._share_done()
                stopped = self._why_stop(share)
                if look or stopped:
                    self._look(means, share)
                if self.team.leads:
                    self.progress.advance(step, share, self.latest)
                if validate or stopped:
                    self._validate(means, share)
                if stopped or self._crop_size(share) != self.train_feed.dataset.input_size:
                    break
        return self._finish(stopped)

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
            return None
        return "epochs" if self.position.step >= self.total_steps else "time"

    def _look(self, means: _RunningMeans, share: float) -> None:
        """Look at the loss; only this and validation make the host wait for the device."""
        losses = means.read(self.team)
        if not math.isfinite(losses["total"]):
            self._stop_on_nan("the loss is", losses)
        if self.run_folder:
            lr = self._learning_rate(share)
            figures = {**{f"train/{name}": value for name, value in losses.items()}, "train/lr": lr}
            self.run_folder.plot(self.position.step, figures)
            self.latest = {"loss": losses["total"], "lr": lr}

    def _stop_on_nan(self, what: str, losses: Mapping[str, float]) -> NoReturn:
        broken = ", ".join(f"{name} = {value}" for name, value in losses.items())
        kept = "there is no checkpoint yet"
        if self.run_folder and self.run_folder.best.exists():
            kept = f"the last good checkpoints are kept in {self.run_folder.checkpoints}"
        if not self.run_folder:
            raise SystemExit(2)  # the leading process says why
        raise InputError(
            f"{what} no longer a number (loss: {broken}) at step {self.position.step}: training stopped; {kept}; "
            f"lower optimiser.lr, or set optimiser.clip_norm = 1.0, in {self.run_folder.folder / 'recipe.toml'} "
            f"and go on by --resume {self.run_folder.folder}, or begin anew"
        )

    def _validate(self, means: _RunningMeans, share: float) -> None:
        """Judge the averaged weights, save them, and write a row; the loss was looked at just before."""
        losses = means.read(self.team)
        if not self.learner.is_sound(self.team):
            self._stop_on_nan("a weight is", losses)
        metrics = self._judge()
        means.reset()
        if not self.run_folder:
            return
        step = self.position.step
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
        best = self.run_folder.save(self._checkpoint(metrics, self._state()), step)
        self.progress.validated(row, best)

    def _judge(self) -> dict[str, float]:
        """Validation metrics of the averaged weights, each face counted once over all processes."""
        flip = self.recipe.train.flip
        self.team.follow_leader(self.learner.average.weights().values())  # running statistics differ
        predictor = Predictor(TorchNetwork(self._checkpoint({}, {}), self.team.device))
        with self.learner.autocast():
            found = predict_loader(predictor, self.val_feed.loader, flip)
        gathered = self.team.gather((found.positions, found.landmarks(flip)))
        positions, predicted = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        truth = self.val_feed.dataset.landmarks_image[positions]
        normalisers = [n for n in ("box", "interocular") if n in possible_normalisers(self.markup)]
        keys = [f"nme_{n}" for n in normalisers] + ["auc_box_0.07", "fr_box_0.07", "macc_box_0.07"]
        keys = list(dict.fromkeys([*keys, self.recipe.train.rank_by]))
        weights = self.val_feed.dataset.faces.weights[positions]
        return measure(keys, predicted, truth, self.markup, weights)

    def _state(self) -> dict[str, Any]:
        return {**self.learner.state(), "step": self.position.step, "seconds": self.position.seconds}

    def _checkpoint(self, metrics: Mapping[str, float], training: Mapping[str, Any]) -> Checkpoint:
        return Checkpoint(
            options=replace(self.recipe.model, input_size=self.train_feed.dataset.input_size),
            weights=self.learner.average.weights(),
            markup=self.markup,
            decoder=self.recipe.decoder,
            crop=self.recipe.crop,
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            provenance=_provenance(self.faces),
            training=training,
        )

    def _restore(self, path: Path) -> tuple[Ranked, ...]:
        """Go on from a checkpoint; gives the checkpoints kept until then."""
        checkpoint = load_checkpoint(path)
        state = checkpoint.training
        if not state:
            raise InputError(f"{path}: holds no training state: it can be used but not trained on")
        self._check_same_run(path, checkpoint)
        self.learner.restore(state, checkpoint.weights)
        self.position = Position(state["step"], state["seconds"])
        return tuple(Ranked(file, value) for file, value in state["ranked"])

    def _check_same_run(self, path: Path, checkpoint: Checkpoint) -> None:
        """Refuse to go on with other faces, another order of them, or another network than the run began with."""
        before, now = checkpoint.recipe, self.recipe.to_dict()
        same = {
            "data.train": ("data", "train"),
            "data.val": ("data", "val"),
            "data.repeat": ("data", "repeat"),
            "data.shuffle": ("data", "shuffle"),
            "data.window": ("data", "window"),
            "train.batch_size": ("train", "batch_size"),
            "train.seed": ("train", "seed"),
            "model": ("model",),
        }
        problems = [
            f"{name} is now {_at(now, keys)}, and was {_at(before, keys)}"
            for name, keys in same.items()
            if _at(before, keys)
            not in (None, _at(now, keys))  # None: it began before there was such a setting
        ]
        if checkpoint.markup != self.markup:
            problems.append("the mark-up is another one")
        if checkpoint.provenance.get("index_sha256") != self.faces.sha256:
            problems.append(f"{self.faces.where} no longer holds the faces that the run began with")
        if problems:
            raise InputError.collect(
                problems, f"{path}: cannot go on, since these have changed; begin a new run:"
            )

    def _finish(self, stopped: str) -> Outcome | None:
        if not self.run_folder:
            return None
        self.run_folder.close()
        best = self.run_folder.best
        return Outcome(best, load_checkpoint(best).metrics, stopped)


class _RunningMeans:
    """Means of the losses since the last reset, summed on the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def read(self, team: Team) -> dict[str, float]:
        """The means over all processes; waits for the device once."""
        names = list(self._sums)
        means = team.mean(torch.stack([self._sums[name].float() for name in names])) / self._count
        return dict(zip(names, means.tolist(), strict=True))


def _at(values: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        values = values.get(key)
    return values


def _provenance(faces: Faces) -> dict[str, Any]:
    return {
        "fanlight": version("fanlight"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "command": " ".join(sys.argv),
        "index": faces.where,
        "index_sha256": faces.sha256,
        "source_sha256": faces.source_sha256,
    }
