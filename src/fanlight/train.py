"""Training: one loop that reads from top to bottom."""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.config import Recipe
from fanlight.data.augment import Augmentation
from fanlight.data.dataset import Batch, EpochSampler, FaceDataset, make_loader
from fanlight.data.index import Index
from fanlight.device import Team, choose_precision, join_team, keep_freed_memory
from fanlight.distance import possible_normalisers
from fanlight.errors import InputError
from fanlight.evaluate import predict_loader
from fanlight.loss import AlignmentLoss
from fanlight.markup import Markup
from fanlight.metric import measure
from fanlight.model import FAN
from fanlight.optimise import WeightAverage, learning_rate, make_optimiser
from fanlight.predict import Predictor, to_input
from fanlight.run import Ranked, Run

LOG_STEPS = 20  # steps between two looks at the loss: each look waits for the device


class Progress(Protocol):
    """Is told how training goes; the command line draws a bar."""

    def begin(self, total_steps: int, step: int) -> None:
        """Training starts, or goes on, at ``step``."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """``share`` of the run is done; ``status`` holds the latest figures."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """A validation was made; ``row`` is that of metrics.csv."""


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
    recipe: Recipe, index: Index, folder: Path, progress: Progress, resume: bool = False
) -> Outcome | None:
    """Train a network.

    Every process of a ``torchrun`` calls this; each gets its share of every batch.

    Args:
        recipe: all settings.
        index: the checked index; holds the partitions of the recipe.
        folder: the run's folder.
        progress: told how it goes, in the leading process only.
        resume: go on from the folder's last checkpoint.

    Returns:
        The outcome in the leading process, None in others.

    Raises:
        InputError: the data, the device or the folder cannot be used; or the loss stopped being a number.
    """
    keep_freed_memory()
    with join_team(recipe.train.device) as team:
        return _Training(recipe, index, folder, progress, team, resume).run()


class _Training:
    """One process's part of a run: what the loop works with, and the loop."""

    def __init__(
        self, recipe: Recipe, index: Index, folder: Path, progress: Progress, team: Team, resume: bool
    ) -> None:
        self.recipe, self.team, self.progress, self.index = recipe, team, progress, index
        settings = recipe.train
        torch.manual_seed(settings.seed)
        self.markup = Markup.load(recipe.data.markup)
        self.loader, self.sampler = self._train_loader()
        self.val_set, self.val_loader = self._val_loader()
        self.steps_per_epoch = len(self.sampler)
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.validate_every = max(1, round(self.steps_per_epoch / settings.validations_per_epoch))

        self.model = FAN(recipe.model).to(team.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = WeightAverage(self.model, settings.ema)
        self.optimiser = make_optimiser(self.model, recipe.optimiser)
        self.precision = choose_precision(settings.precision, team.device)
        self.scaler = torch.amp.GradScaler(team.device.type, enabled=self.precision == torch.float16)
        self.loss = AlignmentLoss(recipe.loss, recipe.decoder)
        self.position, ranked = Position(), tuple[Ranked, ...]()
        if resume:
            ranked = self._restore(folder / "checkpoints" / "last.ckpt")
        self.network = self._wrap()
        self.run_folder = Run(folder, recipe, ranked, self.position.step) if team.leads else None

    # ------------------------------------------------------------------ the loop

    def run(self) -> Outcome | None:
        started = time.monotonic() - self.position.seconds
        if self.team.leads:
            self.progress.begin(self.total_steps, self.position.step)
        sums = _RunningMeans()
        share = self._share_done()
        stopped = self._why_stop(share)  # a run that goes on may have nothing left to do
        while stopped is None:
            epoch, first_batch = divmod(self.position.step, self.steps_per_epoch)
            self.sampler.set_epoch(epoch, first_batch)
            for batch in self.loader:
                rate = self._set_learning_rate(share)
                sums.add(self._step(batch))
                self.average.update()
                self.position.step += 1
                self.position.seconds = time.monotonic() - started
                look = self.position.step % LOG_STEPS == 0 or self.position.step % self.validate_every == 0
                if look or self.recipe.schedule.clock == "epochs":
                    share = self._share_done()
                if look:
                    self._log(sums, rate, share)
                stopped = self._why_stop(share)
                if self.position.step % self.validate_every == 0 or stopped:
                    self._validate(sums, rate)
                if stopped:
                    break
        return self._finish(stopped)

    def _step(self, batch: Batch) -> dict[str, Tensor]:
        """One optimiser step on this process's share of a batch; returns the mean losses, on the device."""
        self.model.train()
        self.optimiser.zero_grad(set_to_none=True)
        parts = self.recipe.train.accumulate
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(_split(batch, parts)):
            last = number == parts - 1
            with contextlib.nullcontext() if last else self._no_sync():
                images = to_input(part["image"].to(self.team.device, non_blocking=True))
                landmarks = part["landmarks"].to(self.team.device, non_blocking=True)
                weight = part["weight"].to(self.team.device, non_blocking=True)
                with self._autocast():
                    heatmaps = self.network(images)
                losses = self.loss(heatmaps, landmarks, images.shape[-1], weight)
                self.scaler.scale(losses["total"] / parts).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach() / parts
        if self.recipe.optimiser.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.optimiser.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        return totals

    def _set_learning_rate(self, share: float) -> float:
        epoch = self.position.step / self.steps_per_epoch
        rate = learning_rate(self.recipe.optimiser.lr, self.recipe.schedule, share, epoch)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        return rate

    def _share_done(self) -> float:
        """How much of the run is done, by the schedule's clock."""
        if self.recipe.schedule.clock == "time":
            seconds = self.team.from_leader(self.position.seconds)
            return min(seconds / (60 * self.recipe.train.max_minutes), 1.0)
        return self.position.step / self.total_steps

    def _why_stop(self, share: float) -> str | None:
        if self.position.step >= self.total_steps:
            return "epochs"
        limit = 60 * self.recipe.train.max_minutes
        ask = self.team.size == 1 or self.position.step % LOG_STEPS == 0  # asking the leader takes time
        if limit and ask and self.team.from_leader(self.position.seconds) >= limit:
            return "time"
        return None

    # ------------------------------------------------------------------ what happens now and then

    def _log(self, sums: _RunningMeans, rate: float, share: float) -> None:
        """Look at the loss: the only place, besides validation, where the host waits for the device."""
        means = sums.read(self.team)
        if not math.isfinite(means["total"]):
            self._stop_on_nan("the loss is", means)
        if self.run_folder:
            self.run_folder.plot(
                self.position.step, {**{f"train/{k}": v for k, v in means.items()}, "train/lr": rate}
            )
            self.progress.advance(self.position.step, share, {"loss": means["total"], "lr": rate})

    def _stop_on_nan(self, what: str, means: Mapping[str, float]) -> None:
        broken = ", ".join(f"{name} = {value}" for name, value in means.items())
        kept = "there is no checkpoint yet"
        if self.run_folder and self.run_folder.best.exists():
            kept = f"the last good checkpoints are kept beside {self.run_folder.best}"
        raise InputError(
            f"{what} no longer a number (loss: {broken}) at step {self.position.step}: training stopped; {kept}; "
            "lower optimiser.lr, or set optimiser.clip_norm = 1.0"
        )

    def _weights_are_finite(self) -> bool:
        """False if any process has a weight that is no number: a finite loss may have made it just now."""
        finite = [values.isfinite().all() for values in self.average.weights().values()]
        return float(self.team.mean(torch.stack(finite).all().float())) == 1

    def _validate(self, sums: _RunningMeans, rate: float) -> None:
        """Judge the averaged weights, write a row and save."""
        losses = sums.read(self.team)
        if not math.isfinite(losses["total"]):
            self._stop_on_nan("the loss is", losses)
        if not self._weights_are_finite():
            self._stop_on_nan("a weight is", losses)
        sums.reset()
        metrics = self._judge()
        if not self.run_folder:
            return
        step = self.position.step
        row = {
            "step": step,
            "epoch": round(step / self.steps_per_epoch, 3),
            "minutes": round(self.position.seconds / 60, 3),
            "images": step * self.recipe.train.batch_size,
            "lr": rate,
            **{f"train_{name}": value for name, value in losses.items()},
            **metrics,
        }
        self.run_folder.plot(step, {f"val/{name}": value for name, value in metrics.items()})
        self.run_folder.record(row)  # first: a row without its checkpoint is dropped when the run goes on
        best = self.run_folder.save(self._checkpoint(metrics), step)
        self.progress.validated(row, best)

    def _judge(self) -> dict[str, float]:
        """Validation metrics of the averaged weights, each face counted once over all processes."""
        predictor = Predictor(self._checkpoint({}, training=False), self.team.device)
        with self._autocast():
            found = predict_loader(predictor, self.val_loader, self.recipe.train.flip)
        gathered = self.team.gather((found.positions, found.landmarks(self.recipe.train.flip)))
        positions, predicted = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
        return measure(self._metric_keys(), predicted, self.val_set.landmarks_image[positions], self.markup)

    def _metric_keys(self) -> list[str]:
        normalisers = [n for n in ("box", "interocular") if n in possible_normalisers(self.markup)]
        keys = [f"nme_{n}" for n in normalisers] + ["auc_box_0.07", "fr_box_0.07", "macc_box_0.07"]
        return list(dict.fromkeys([*keys, self.recipe.train.rank_by]))

    def _checkpoint(self, metrics: Mapping[str, float], training: bool = True) -> Checkpoint:
        state = {
            "weights": self.model.state_dict(),
            "updates": self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.position.step,
            "seconds": self.position.seconds,
        }
        return Checkpoint(
            options=self.recipe.model,
            weights=self.average.weights(),
            markup=self.markup,
            decoder=self.recipe.decoder,
            crop=self.recipe.crop,
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            provenance=_provenance(self.index),
            training=state if training else {},
        )

    def _finish(self, stopped: str) -> Outcome | None:
        if not self.run_folder:
            return None
        self.run_folder.close()
        best = self.run_folder.best
        return Outcome(best, load_checkpoint(best).metrics, stopped)

    # ------------------------------------------------------------------ setting up

    def _train_loader(self) -> tuple[DataLoader[Batch], EpochSampler]:
        recipe, settings = self.recipe, self.recipe.train
        faces = self.index.select(recipe.data.train)
        augmentation = Augmentation(recipe.augment, recipe.model.input_size, self.markup.mirror)
        dataset = FaceDataset(
            faces, self.markup, recipe.crop, recipe.model.input_size, augmentation, settings.seed
        )
        step = self.team.size * settings.accumulate
        if settings.batch_size % step:
            raise InputError(
                f"train.batch_size = {settings.batch_size} cannot be shared by {self.team.size} processes with "
                f"train.accumulate = {settings.accumulate}: take a multiple of {step}"
            )
        sampler = EpochSampler(
            len(dataset),
            settings.batch_size,
            seed=settings.seed,
            rank=self.team.rank,
            world_size=self.team.size,
        )
        return make_loader(dataset, sampler, settings.workers), sampler

    def _val_loader(self) -> tuple[FaceDataset, DataLoader[Batch]]:
        recipe, team = self.recipe, self.team
        faces = self.index.select(recipe.data.val)
        dataset = FaceDataset(faces, self.markup, recipe.crop, recipe.model.input_size)
        size = 32 * team.size
        sampler = EpochSampler(
            len(dataset), size, shuffle=False, drop_last=False, rank=team.rank, world_size=team.size
        )
        return dataset, make_loader(dataset, sampler, recipe.train.workers)

    def _wrap(self) -> Callable[[Tensor], list[Tensor]]:
        """The model as the loop calls it: compiled if asked for, synchronised if there are several."""
        network: nn.Module = self.model
        if self.team.size > 1:
            ids = [self.team.device.index] if self.team.device.type == "cuda" else None
            network = DistributedDataParallel(network, device_ids=ids)
        return torch.compile(network) if self.recipe.train.compile else network

    def _no_sync(self) -> contextlib.AbstractContextManager[None]:
        no_sync = getattr(self.network, "no_sync", None)
        return no_sync() if no_sync else contextlib.nullcontext()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.team.device.type, self.precision, enabled=self.precision != torch.float32)

    def _restore(self, path: Path) -> tuple[Ranked, ...]:
        checkpoint = load_checkpoint(path)
        state = checkpoint.training
        if not state:
            raise InputError(f"{path}: holds no training state: it can be used but not trained on")
        if checkpoint.options != self.recipe.model:
            raise InputError(
                f"{path}: the network differs from the recipe's: resume with the run's own recipe"
            )
        self.model.load_state_dict(state["weights"])
        self.average.restore(checkpoint.weights, state["updates"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = Position(state["step"], state["seconds"])
        return tuple(Ranked(file, value) for file, value in state["ranked"])


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


def _split(batch: Batch, parts: int) -> Iterator[Batch]:
    for piece in zip(*(values.chunk(parts) for values in batch.values()), strict=True):
        yield dict(zip(batch, piece, strict=True))


def _provenance(index: Index) -> dict[str, Any]:
    return {
        "fanlight": version("fanlight"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "command": " ".join(sys.argv),
        "index": str(index.path),
        "index_sha256": index.sha256,
    }
