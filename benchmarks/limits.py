"""What the machine can do at most: products a second, bytes a second; other subjects are held against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.result import Figure, Other
from benchmarks.timing import Call, take_turns
from fanlight.device import choose_precision

Product = tuple[Callable[[], Tensor], float]  # a call, and its floating-point operations
NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True)
class Limits:
    """The machine's peaks, on one core.

    Attributes:
        products: the best round of the best product of each type, in floating-point operations a second.
        figures: all that was measured for it.
    """

    products: dict[torch.dtype, float]
    figures: tuple[Figure, ...]

    def convolution_bound(self, flops: float, dtype: torch.dtype = torch.float32) -> Other | None:
        """The time that so many operations need at least; None for a type whose peak was not measured."""
        if dtype not in self.products:
            return None
        return Other(f"the {NAMES[dtype]} bound", 1000 * flops / self.products[dtype])


def measure_limits(rounds: int, quick: bool) -> Limits:
    """Time matrix products of several sizes and types, and what moves memory."""
    least_ms = 1 if quick else 50
    figures: list[Figure] = []
    products: dict[torch.dtype, float] = {}
    for dtype in types():
        calls = matrix_products(dtype, quick)
        times = take_turns({name: call for name, (call, _) in calls.items()}, 1, rounds, least_ms)
        own = [
            Figure(name, times[name], work=flops / 1e9, rate_unit="GFLOP")
            for name, (_, flops) in calls.items()
        ]
        products[dtype] = max(1000 * flops / times[name].cpu_ms.min for name, (_, flops) in calls.items())
        figures += own
    source = torch.rand(2**20 if quick else 2**25)
    traffic = memory_traffic(source)
    times = take_turns(traffic, 1, rounds, least_ms)
    gigabytes = source.nbytes / 1e9
    moved = {"copy": 2 * gigabytes, "read": gigabytes, "write": gigabytes}
    figures += [Figure(f"memory, {name}", times[name], work=moved[name], rate_unit="GB") for name in traffic]
    return Limits(products, tuple(figures))


def types() -> list[torch.dtype]:
    """What to multiply: bfloat16 only where the processor does, as it is many times slower elsewhere."""
    cpu = torch.device("cpu")
    return list(dict.fromkeys([torch.float32, choose_precision("auto", cpu)]))


def matrix_products(dtype: torch.dtype, quick: bool) -> dict[str, Product]:
    """Square matrices of several sizes; and a convolution, which some libraries multiply faster than those."""
    calls: dict[str, Product] = {}
    for size in (64,) if quick else (256, 512, 1024, 2048):
        left, right = torch.rand(2, size, size).to(dtype)
        name = f"{NAMES[dtype]}, {size} x {size} matrices"
        calls[name] = partial(torch.mm, left, right), 2.0 * size**3
    channels, side = (32, 8) if quick else (256, 64)
    last = torch.channels_last
    crops = torch.rand(1, channels, side, side).to(dtype).contiguous(memory_format=last)
    kernels = torch.rand(channels, channels, 3, 3).to(dtype).contiguous(memory_format=last)
    name = f"{NAMES[dtype]}, 3 x 3 convolution of {channels} channels"
    calls[name] = partial(F.conv2d, crops, kernels, padding=1), 2.0 * 9 * channels**2 * side**2
    return calls


def memory_traffic(tensor: Tensor) -> dict[str, Call]:
    """Read, write and copy as much as a tensor holds: the least that work on it can take."""
    target = torch.empty_like(tensor)
    return {
        "copy": lambda: target.copy_(tensor),
        "read": lambda: tensor.sum(),
        "write": lambda: target.fill_(0.5),
    }
