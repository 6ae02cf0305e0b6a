"""What a training step takes, counted without computing it: operations, memory traffic, memory, operators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from fanlight.model import FAN, PRESETS

# Operators that move nothing: they ask for memory, or give the same memory another name.
IDLE = ("prim.", "aten.detach", "aten.empty", "aten.new_empty", "aten.alias")


@dataclass(frozen=True)
class StepCost:
    """Forward and backward pass of a network in bfloat16, without loss, optimiser and the casts of weights.

    Attributes:
        flops: operations of the convolutions for one face.
        traffic: bytes for one face, if every operator reads its inputs from memory and writes its outputs there.
        kept: bytes for one face that wait for the backward pass.
        operators: that run one after the other, for any number of faces.
    """

    flops: float
    traffic: float
    kept: float
    operators: int


def step_cost(preset: str, recompute: bool = False) -> StepCost:
    """Count the step of a preset with 68 points.

    What does not grow with the batch, such as the weights' traffic, falls out of the difference of two counts.

    Args:
        preset: its name.
        recompute: hourglasses are computed again in the backward pass, as by ``train.recompute``.
    """
    one, two = (_count(preset, recompute, faces) for faces in (1, 2))
    return StepCost(two.flops - one.flops, two.traffic - one.traffic, two.kept - one.kept, two.operators)


def count_weights(preset: str) -> int:
    """How many numbers a preset with 68 points learns."""
    with torch.device("meta"):
        return sum(values.numel() for values in FAN(PRESETS[preset]()).parameters())


def _count(preset: str, recompute: bool, faces: int) -> StepCost:
    """Forward and backward of so many faces, on tensors that have shapes and types but no content."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    options = PRESETS[preset]()
    with torch.device("meta"):
        model = FAN(options).train().to(torch.bfloat16)
        crops = torch.empty(faces, 3, options.input_size, options.input_size, dtype=torch.bfloat16)
    model.recompute = recompute
    traffic = _Traffic()
    with traffic, FlopCounterMode(display=False) as operations:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            heatmaps = model(crops)
        held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        torch.autograd.backward(heatmaps, [torch.ones_like(stack) for stack in heatmaps])
    return StepCost(operations.get_total_flops(), traffic.bytes, held, traffic.operators)


class _Traffic(TorchDispatchMode):
    """Adds up what operators read and write; views are free."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = self.operators = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view and not str(func).startswith(IDLE):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.operators += 1
        return found
