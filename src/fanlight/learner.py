"""A network that learns: one optimiser step, and the state that going on takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fanlight.adversarial import attack
from fanlight.checkpoint import begin_with, load_checkpoint
from fanlight.compiled import CompiledNetwork
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.device import Team, choose_precision
from fanlight.loss import AlignmentLoss
from fanlight.markup import Markup
from fanlight.model import FAN, still_statistics
from fanlight.network import to_input
from fanlight.optimise import WeightAverage, make_optimiser
from fanlight.soundness import all_finite, named_tensors
from fanlight.sync_norm import synchronise_norms

LOWEST_SCALE = 1e-3  # of float16's gradients; it begins at 65536 and halves when they overflow
_NEEDED = ("image", "landmarks", "weight", "motion")
_Network = Callable[[Tensor], list[Tensor]]


class Learner:
    """A process's copy of the network with its optimiser and moving average.

    Args:
        recipe: all settings.
        team: the processes that learn together.
    """

    def __init__(self, recipe: Recipe, team: Team) -> None:
        settings = recipe.train
        torch.manual_seed(settings.seed)
        self.device, self.parts, self.clip_norm = team.device, settings.accumulate, recipe.optimiser.clip_norm
        self.model = FAN(recipe.model).to(team.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.recompute = settings.recompute
        if settings.start_from:
            begin_with(self.model, load_checkpoint(settings.start_from), Markup.load(recipe.data.markup))
        if settings.sync_batch_norm and team.size > 1:
            self.model = synchronise_norms(self.model, team.device)
        self.average = WeightAverage(self.model, settings.ema)
        self.optimiser = make_optimiser(self.model, recipe.optimiser)
        self.precision = choose_precision(settings.precision, team.device)
        self.scaler = torch.amp.GradScaler(team.device.type, enabled=self.precision == torch.float16)
        self.loss, self.adversary = AlignmentLoss(recipe.loss, recipe.decoder), recipe.adversary
        self._seed, self._rank = settings.seed, team.rank
        self._network: _Network = self.model
        self._no_sync: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
        if team.size > 1:
            ids = [team.device.index] if team.device.type == "cuda" else None
            self._network = parallel = DistributedDataParallel(self.model, device_ids=ids)
            self._no_sync = parallel.no_sync
        if settings.compile:
            self._network = CompiledNetwork(self._network, self.model, self.precision)

    def step(self, batch: Batch, lr: float) -> dict[str, Tensor]:
        """Learn from this process's share of a batch.

        The share is cut into the recipe's ``accumulate`` parts, whose gradients add up; processes exchange
        gradients with the last part. Adversarial examples are made of each part; running statistics follow the
        images as they are alone. Nothing here waits for the device, but for float16, whose scaling does.

        Returns:
            The mean losses, on the device.
        """
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for number, part in enumerate(_split(batch, self.parts), 1):
            for name, value in self._learn(part, number).items():
                totals[name] = totals.get(name, 0) + value.detach() / self.parts
        if self.clip_norm:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if (
            self.scaler.get_scale() >= scale
        ):  # else float16 could not hold the gradients, and the step was left out
            self.average.update()
        return totals

    def autocast(self) -> torch.autocast:
        """Compute in the run's precision inside the block."""
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def broken(self, team: Team) -> list[str]:
        """What is no number in any process: weights, statistics, averages, the optimiser's state, by their names.

        The loss need not show it: a step may have broken what only the next one uses, and a gradient whose square
        is beyond all numbers leaves a weight that never moves again.
        """
        named = dict(named_tensors(self._followed()))
        shares = team.mean(all_finite(list(named.values())).float()).tolist()
        found = [name for name, share in zip(named, shares, strict=True) if share < 1]
        if self.scaler.is_enabled() and self.scaler.get_scale() < LOWEST_SCALE:
            found.append("each gradient in float16")
        return found

    def _followed(self) -> dict[str, Any]:
        """All that one step hands to the next, by names that tell what it is."""
        names = {weights: name for name, weights in self.model.named_parameters()}
        return {
            **self.model.state_dict(),
            "average": self.average.weights(),
            "optimiser": {names[weights]: state for weights, state in self.optimiser.state.items()},
        }

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs beside the averaged weights."""
        return {
            "weights": self.model.state_dict(),
            "updates": self.average.updates,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def restore(self, state: Mapping[str, Any], averaged: Mapping[str, Tensor]) -> None:
        """Go on from a state and its averaged weights."""
        self.model.load_state_dict(state["weights"])
        self.average.restore(averaged, state["updates"])
        own = self.optimiser.state_dict()  # with the recipe's settings, which may have been changed
        self.optimiser.load_state_dict({**own, "state": state["optimiser"]["state"]})
        if state["scaler"] and self.scaler.is_enabled():  # both empty unless computing in float16
            self.scaler.load_state_dict(state["scaler"])

    def _learn(self, part: Batch, number: int) -> dict[str, Tensor]:
        """Add the gradients of one part of the batch, and of its adversarial examples, and give the losses."""
        batch = {name: part[name].to(self.device, non_blocking=True) for name in _NEEDED if name in part}
        images, weight, last = to_input(batch["image"]), self.adversary.weight, number == self.parts
        share = 1 / (1 + weight)
        with self._exchange(last and not weight):
            losses = self._losses(self._network, images, batch)
            self._scaled(losses["total"], share).backward()
        if not weight:
            return losses
        with still_statistics(self.model), self._exchange(last):
            changed = attack(
                images,
                lambda varied: self._scaled(self._losses(self.model, varied, batch)["total"], share),
                self.adversary,
                self._generator(number),
            )
            adversarial = self._losses(self._network, changed, batch)["total"]
            self._scaled(adversarial, weight * share).backward()
        total = share * (losses["total"].detach() + weight * adversarial.detach())
        return {**losses, "total": total, "adversarial": adversarial}

    def _losses(self, network: _Network, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        with self.autocast():
            heatmaps = network(images)
        motion = batch["motion"] if self.loss.options.warped else None
        return self.loss(heatmaps, batch["landmarks"], images.shape[-1], batch["weight"], motion)

    def _scaled(self, loss: Tensor, share: float) -> Tensor:
        """What a part's loss adds to the step's, as large as float16 needs its gradient."""
        return self.scaler.scale(loss * (share / self.parts))

    def _exchange(self, now: bool) -> contextlib.AbstractContextManager[None]:
        """Inside the block, processes exchange their gradients, or keep them for later."""
        return contextlib.nullcontext() if now else self._no_sync()

    def _generator(self, number: int) -> torch.Generator:
        """The random numbers of a part of this step in this process, the same in a run that goes on."""
        place = [self._seed, self.average.updates, self._rank, number]
        return torch.Generator(self.device).manual_seed(int(np.random.default_rng(place).integers(2**62)))


def _split(batch: Batch, parts: int) -> Iterator[Batch]:
    for piece in zip(*(values.chunk(parts) for values in batch.values()), strict=True):
        yield dict(zip(batch, piece, strict=True))
