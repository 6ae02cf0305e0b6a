"""Adversarial examples: images changed so little that nobody sees it, and so that the loss grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from fanlight.errors import InputError


@dataclass(frozen=True)
class AdversaryOptions:
    """How training images are changed, and how much they count; a recipe's ``[adversary]``.

    One step of ``alpha = epsilon`` without random start is FGSM (Goodfellow et al. 2015); more are PGD (Madry et
    al. 2018). The defaults are those of the public FAN training code.

    Attributes:
        weight: of the loss on changed images beside that on the images themselves, which has 1; 0 for none.
        epsilon: the most that a colour may change, in a range of 0 to 1.
        alpha: what one step changes.
        steps: how many there are.
        random_start: begin at a random change within ``epsilon``, not at the image.
    """

    weight: float = 0.0
    epsilon: float = 0.01
    alpha: float = 0.003
    steps: int = 8
    random_start: bool = True

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = []
        if not 0 <= self.weight < math.inf:
            problems.append(f"weight = {self.weight}: give a number that is not negative, 0 for none")
        for name, value in (("epsilon", self.epsilon), ("alpha", self.alpha)):
            if not 0 < value <= 1:
                problems.append(f"{name} = {value}: a share of the range of colours, in (0, 1]")
        if self.steps < 1:
            problems.append(f"steps = {self.steps}: take at least 1")
        if problems:
            raise InputError.collect(problems, "adversarial examples cannot be made by these options:")


def attack(
    images: Tensor, loss_of: Callable[[Tensor], Tensor], options: AdversaryOptions, generator: torch.Generator
) -> Tensor:
    """Change images so that their loss grows.

    Only the images' gradient is taken: none is left in the parameters. Where it is no number, as after an
    overflow, a step changes nothing.

    Args:
        images: (B, 3, S, S), in [0, 1].
        loss_of: the loss of images, 0-D, times any positive factor.
        options: how far to go.
        generator: of the random start, on the images' device.

    Returns:
        (B, 3, S, S), in [0, 1] and within ``epsilon`` of the images; without a gradient.
    """
    change = torch.zeros_like(images)
    if options.random_start:
        change.uniform_(-options.epsilon, options.epsilon, generator=generator)
    for _ in range(options.steps):
        changed = (images + change).clamp_(0, 1).requires_grad_()
        (slope,) = torch.autograd.grad(loss_of(changed), changed)
        change = (changed.detach() - images).add_(slope.nan_to_num(0).sign(), alpha=options.alpha)
        change.clamp_(-options.epsilon, options.epsilon)
    return (images + change).clamp_(0, 1)
