"""How the weights follow the gradients: optimiser, learning rate, moving average."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fanlight.settings import OptimiserSettings, ScheduleSettings


def make_optimiser(model: nn.Module, settings: OptimiserSettings) -> torch.optim.Optimizer:
    """Build the optimiser; weight decay touches convolution kernels only, not norms and biases."""
    kernels = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    others = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [
        {"params": kernels, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if settings.name == "adamw":
        fused = next(model.parameters()).device.type in ("cuda", "cpu")
        return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, fused=fused)
    if settings.name == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.momentum > 0
        )
    return torch.optim.RMSprop(groups, lr=settings.lr, momentum=settings.momentum, foreach=True)


def moments_of(settings: OptimiserSettings) -> tuple[str, ...]:
    """What such an optimiser keeps of every weight: ``step`` is one number, the others are shaped like it."""
    momentum = ("momentum_buffer",) if settings.momentum else ()
    return {
        "adamw": ("step", "exp_avg", "exp_avg_sq"),
        "sgd": momentum,
        "rmsprop": ("step", "square_avg", *momentum),
    }[settings.name]


def learning_rate(lr: float, settings: ScheduleSettings, progress: float, epoch: float) -> float:
    """The learning rate at a point of the run.

    Args:
        lr: the largest rate.
        settings: the schedule.
        progress: share of the run that is done, 0 to 1, by the schedule's clock.
        epoch: passes over the data that are done; may be a fraction.
    """
    if progress < settings.warmup:
        return lr * progress / settings.warmup
    if settings.name == "step":
        return lr * settings.factor ** math.floor(epoch / settings.step_epochs)
    if settings.name == "cosine":
        done = (progress - settings.warmup) / (1 - settings.warmup)
        return lr * (settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
    return lr


class WeightAverage:
    """Exponential moving average of a model's weights and running statistics.

    The decay rises to its value with the number of updates n as (1 + n) / (10 + n), so that the first weights
    are soon forgotten. A decay of 0 follows the model.

    Args:
        model: the model to follow; it is copied.
        decay: share of the old average that stays at each update, in [0, 1).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self._average = copy.deepcopy(model).requires_grad_(False)
        self._pairs = list(zip(self._average.state_dict().values(), model.state_dict().values(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Follow the model by one step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floating = [pair for pair in self._pairs if pair[0].is_floating_point()]
        averages, currents = (list(tensors) for tensors in zip(*floating, strict=True))
        torch._foreach_lerp_(averages, currents, 1 - decay)
        for average, current in self._pairs:
            if not average.is_floating_point():
                average.copy_(current)
        self.updates += 1

    def weights(self) -> dict[str, Tensor]:
        """The averaged state dict; its tensors are the live ones."""
        return self._average.state_dict()

    def restore(self, weights: Mapping[str, Tensor], updates: int) -> None:
        """Go on from a saved average."""
        self._average.load_state_dict(dict(weights))
        self.updates = updates
