"""The Face Alignment Network: stacked hourglasses that output one heatmap per landmark.

Source: Bulat & Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017;
the blocks are those of "Binarized convolutional landmark localizers", ICCV 2017. Tensors are named as in the
published PyTorch weights (face-alignment, ibug.face_alignment), so those load as they are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from fanlight.errors import InputError

Pooling = Literal["max", "average"]
Norm = Literal["batch", "instance"]

LARGEST = {  # of each option: what is larger is a slip, or a file that is to exhaust the memory
    "points": 10_000,
    "stacks": 64,
    "features": 1 << 14,
    "depth": 12,
    "stem_features": 1 << 14,
    "stem_kernel": 255,
    "stem_stride": 64,
    "stem_pool": 64,
    "input_size": 1 << 13,
}


@dataclass(frozen=True)
class FANOptions:
    """Everything that shapes the network; a checkpoint stores it.

    Attributes:
        points: landmarks, one heatmap each.
        stacks: hourglasses in a row, each with a prediction of its own.
        features: channels inside the hourglasses, a multiple of 4.
        depth: how often an hourglass halves its input.
        pooling: ``max`` or ``average``. Weights fit both without complaint but work with one only.
        norm: ``batch``, or ``instance`` (without learnt parameters).
        stem_features: channels after the first convolution, twice that up to the hourglass; a multiple of 2.
        stem_kernel: size of the first convolution, odd.
        stem_stride: stride of the first convolution.
        stem_pool: pooling inside the stem, 1 for none.
        input_size: side of the square crop in px.
    """

    points: int = 68
    stacks: int = 2
    features: int = 256
    depth: int = 4
    pooling: Pooling = "max"
    norm: Norm = "batch"
    stem_features: int = 64
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: int = 2
    input_size: int = 256

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise InputError.collect(problems, "the model's options do not fit together:")

    @property
    def stride(self) -> int:
        """Crop px per heatmap px."""
        return self.stem_stride * self.stem_pool

    @property
    def heatmap_size(self) -> int:
        """Side of the heatmaps in heatmap px."""
        return self.input_size // self.stride

    def _problems(self) -> list[str]:
        problems = [
            f"{name} = {getattr(self, name)}: must be at most {largest}"
            for name, largest in LARGEST.items()
            if getattr(self, name) > largest
        ]
        for name in ("points", "stacks", "depth", "stem_stride", "stem_pool", "input_size"):
            if getattr(self, name) < 1:
                problems.append(f"{name} = {getattr(self, name)}: must be at least 1")
        for name, step in (("features", 4), ("stem_features", 2)):
            if getattr(self, name) < step or getattr(self, name) % step:
                problems.append(f"{name} = {getattr(self, name)}: must be a positive multiple of {step}")
        if self.stem_kernel < 1 or self.stem_kernel % 2 == 0:
            problems.append(f"stem_kernel = {self.stem_kernel}: must be odd, such as 3, 5 or 7")
        if self.pooling not in ("max", "average"):
            problems.append(f'pooling = {self.pooling!r}: must be "max" or "average"')
        if self.norm not in ("batch", "instance"):
            problems.append(f'norm = {self.norm!r}: must be "batch" or "instance"')
        if not problems and self.input_size % (self.stride * 2**self.depth):
            problems.append(self._size_problem())
        if not problems and self.norm == "instance" and self.heatmap_size == 2**self.depth:
            problems.append(
                f"input_size = {self.input_size}: halving heatmaps of {self.heatmap_size} px {self.depth} times "
                f'leaves one cell, which norm = "instance" cannot work on: take {2 * self.input_size}, or a '
                "smaller depth"
            )
        return problems

    def _size_problem(self) -> str:
        step = self.stride * 2**self.depth
        near = sorted({max(step, self.input_size // step * step), (self.input_size // step + 1) * step})
        return (
            f"input_size = {self.input_size}: the stem divides it by {self.stride} and the hourglass halves it "
            f"{self.depth} times, so it must be a multiple of {step}: take {' or '.join(map(str, near))}"
        )


def _norm(kind: Norm, features: int) -> nn.Module:
    return nn.BatchNorm2d(features) if kind == "batch" else nn.InstanceNorm2d(features)


def _pool(kind: Pooling, x: Tensor, size: int) -> Tensor:
    return F.max_pool2d(x, size) if kind == "max" else F.avg_pool2d(x, size)


def _head(features: int, points: int) -> nn.Conv2d:
    """The layer that draws heatmaps; it begins near zero, as nearly all of a heatmap is."""
    head = nn.Conv2d(features, points, 1)
    if (
        not head.weight.is_meta
    ):  # where there is nothing to draw, PyTorch would import its compiler to find out
        nn.init.normal_(head.weight, std=1e-3)
    nn.init.zeros_(head.bias)  # type: ignore[arg-type]
    return head


class ConvBlock(nn.Module):
    """Hierarchical, multi-scale residual block: three 3x3 convolutions whose outputs are concatenated.

    (B, before, H, W) -> (B, after, H, W); half of ``after`` from the first, a quarter each from the others.
    """

    def __init__(self, before: int, after: int, norm: Norm) -> None:
        super().__init__()
        half, quarter = after // 2, after // 4
        self.bn1 = _norm(norm, before)
        self.conv1 = nn.Conv2d(before, half, 3, padding=1, bias=False)
        self.bn2 = _norm(norm, half)
        self.conv2 = nn.Conv2d(half, quarter, 3, padding=1, bias=False)
        self.bn3 = _norm(norm, quarter)
        self.conv3 = nn.Conv2d(quarter, quarter, 3, padding=1, bias=False)
        self.downsample = (
            nn.Sequential(_norm(norm, before), nn.ReLU(), nn.Conv2d(before, after, 1, bias=False))
            if before != after
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv1(F.relu(self.bn1(x), inplace=True))
        second = self.conv2(F.relu(self.bn2(first), inplace=True))
        third = self.conv3(F.relu(self.bn3(second), inplace=True))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.cat((first, second, third), 1).add_(shortcut)


class Hourglass(nn.Module):
    """Halves its input ``depth`` times and comes back up, adding a skip branch at every scale.

    (B, features, H, W) -> the same shape; H and W are multiples of 2 ** depth. Level ``depth`` is the
    outermost, level 1 the innermost.
    """

    def __init__(self, depth: int, features: int, pooling: Pooling, norm: Norm) -> None:
        super().__init__()
        self.depth, self.pooling = depth, pooling
        for level in range(depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(features, features, norm))
            self.add_module(f"b2_{level}", ConvBlock(features, features, norm))
        self.add_module("b2_plus_1", ConvBlock(features, features, norm))
        for level in range(1, depth + 1):
            self.add_module(f"b3_{level}", ConvBlock(features, features, norm))

    def forward(self, x: Tensor) -> Tensor:
        return self._descend(self.depth, x)

    def _descend(self, level: int, x: Tensor) -> Tensor:
        skip = self.get_submodule(f"b1_{level}")(x)
        low = self.get_submodule(f"b2_{level}")(_pool(self.pooling, x, 2))
        low = self._descend(level - 1, low) if level > 1 else self.get_submodule("b2_plus_1")(low)
        low = self.get_submodule(f"b3_{level}")(low)
        return F.interpolate(low, scale_factor=2.0, mode="nearest").add_(skip)


class FAN(nn.Module):
    """Face Alignment Network: a stem, then ``stacks`` hourglasses, each refining the one before.

    Args:
        options: the network's shape.

    Attributes:
        recompute: in training, keep only what goes into a stack and compute its inside again for the gradient:
            less memory, more time, the same result.
    """

    def __init__(self, options: FANOptions) -> None:
        super().__init__()
        self.options = options
        self.recompute = False
        features, norm, stem = options.features, options.norm, options.stem_features
        self.conv1 = nn.Conv2d(
            3, stem, options.stem_kernel, stride=options.stem_stride, padding=options.stem_kernel // 2
        )
        self.bn1 = _norm(norm, stem)
        self.conv2 = ConvBlock(stem, 2 * stem, norm)
        self.conv3 = ConvBlock(2 * stem, 2 * stem, norm)
        self.conv4 = ConvBlock(2 * stem, features, norm)
        for i in range(options.stacks):
            self.add_module(f"m{i}", Hourglass(options.depth, features, options.pooling, norm))
            self.add_module(f"top_m_{i}", ConvBlock(features, features, norm))
            self.add_module(f"conv_last{i}", nn.Conv2d(features, features, 1))
            self.add_module(f"bn_end{i}", _norm(norm, features))
            self.add_module(f"l{i}", _head(features, options.points))
            if i < options.stacks - 1:
                self.add_module(f"bl{i}", nn.Conv2d(features, features, 1))
                self.add_module(f"al{i}", nn.Conv2d(options.points, features, 1))

    def forward(self, images: Tensor) -> list[Tensor]:
        """Predict heatmaps.

        Args:
            images: (B, 3, S, S), RGB in [0, 1]; S as in the options or any other multiple of the same step.

        Returns:
            One (B, points, S / stride, S / stride) per stack, the last being the best.

        Raises:
            InputError: the images' size cannot be halved ``depth`` times.
        """
        self._check(images)
        x = self.conv2(F.relu(self.bn1(self.conv1(images)), inplace=True))
        if self.options.stem_pool > 1:
            x = _pool(self.options.pooling, x, self.options.stem_pool)
        x = self.conv4(self.conv3(x))
        heatmaps = []
        for i in range(self.options.stacks):
            features = self._recomputed(i, x) if self.recompute else self._features(i, x)
            heatmaps.append(self.get_submodule(f"l{i}")(features))
            if i < self.options.stacks - 1:
                x = x + self.get_submodule(f"bl{i}")(features) + self.get_submodule(f"al{i}")(heatmaps[-1])
        return heatmaps

    def _features(self, i: int, x: Tensor) -> Tensor:
        """Stack ``i`` up to the layer that its heatmaps are drawn from."""
        x = self.get_submodule(f"top_m_{i}")(self.get_submodule(f"m{i}")(x))
        x = self.get_submodule(f"bn_end{i}")(self.get_submodule(f"conv_last{i}")(x))
        return F.relu(x, inplace=True)

    def _recomputed(self, i: int, x: Tensor) -> Tensor:
        """``_features`` without what its gradient needs, which is computed again when the gradient is."""
        stack = [self.get_submodule(f"{name}{i}") for name in ("m", "top_m_", "bn_end")]
        return checkpoint(
            self._features,
            i,
            x,
            use_reentrant=False,
            preserve_rng_state=False,  # nothing in a FAN is random
            context_fn=lambda: (contextlib.nullcontext(), still_statistics(*stack)),
        )

    def _check(self, images: Tensor) -> None:
        step = self.options.stride * 2**self.options.depth
        if images.dim() != 4 or images.shape[1] != 3 or images.shape[2] % step or images.shape[3] % step:
            raise InputError(
                f"images of shape {tuple(images.shape)} do not fit the network: give (B, 3, H, W) with H and W "
                f"multiples of {step}"
            )


@contextlib.contextmanager
def still_statistics(*parts: nn.Module) -> Iterator[None]:
    """Inside the block, batch norms in training move copies of their running statistics, not these."""
    norms = [norm for part in parts for norm in part.modules() if isinstance(norm, _BatchNorm)]
    kept = [(norm, dict(norm.named_buffers())) for norm in norms]
    for norm, buffers in kept:
        for name, values in buffers.items():
            setattr(norm, name, values.clone())
    try:
        yield
    finally:
        for norm, buffers in kept:
            for name, values in buffers.items():
                setattr(norm, name, values)


def fan1(points: int = 68) -> FANOptions:
    """One hourglass at full width: 6.25 M parameters with 68 points."""
    return FANOptions(points=points, stacks=1)


def fan2(points: int = 68) -> FANOptions:
    """Two hourglasses: 12.11 M parameters with 68 points, the size of ``2dfan2_alt``."""
    return FANOptions(points=points, stacks=2)


def fan4(points: int = 68) -> FANOptions:
    """Four hourglasses pooling by average, as in the paper: 23.82 M parameters with 68 points."""
    return FANOptions(points=points, stacks=4, pooling="average")


def fan1_half(points: int = 68) -> FANOptions:
    """One hourglass of 128 features on crops of 128 px: 1.74 M parameters with 68 points."""
    return FANOptions(points=points, stacks=1, features=128, input_size=128)


def fan1_narrow(points: int = 68) -> FANOptions:
    """For CPUs: one hourglass of 96 features and a stem half as wide, on crops of 128 px: 0.92 M parameters."""
    return FANOptions(points=points, stacks=1, features=96, stem_features=32, input_size=128)


PRESETS = {"fan1": fan1, "fan2": fan2, "fan4": fan4, "fan1_half": fan1_half, "fan1_narrow": fan1_narrow}
