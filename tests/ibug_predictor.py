"""A stand-in for FANPredictor of ibug.face_alignment, which is on no package index.

Written from what that package does, for tests of the weights made for it: the network reads tensors by the names
of its layout and takes no others, crops are rounded to whole pixels, and landmarks are plain centroids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

STEM = (64, 128, 128)


class PublishedFAN:
    """The published network, computed straight from a state dict; a tensor too many or too few is an error."""

    def __init__(self, weights: Mapping[str, Tensor], config: SimpleNamespace) -> None:
        self.weights, self.config = weights, config
        self.used: set[str] = set()

    def __call__(self, images: Tensor) -> Tensor:
        c = self.config
        x = self.convolve("conv1", images, 3, STEM[0], c.stem_conv_kernel_size, c.stem_conv_stride)
        x = self.block("conv2", self.active("bn1", x), STEM[0], STEM[1])
        x = self.pool(x, c.stem_pool_kernel_size)
        x = self.block("conv3", x, STEM[1], STEM[2])
        x = self.block("conv4", x, STEM[2], c.hg_num_features)
        for i in range(c.num_modules):
            y = self.square_block(f"top_m_{i}", self.hourglass(f"m{i}", c.hg_depth, x))
            y = self.convolve(f"conv_last{i}", y, c.hg_num_features, c.hg_num_features)
            y = self.active(f"bn_end{i}", y)
            heatmaps = self.convolve(f"l{i}", y, c.hg_num_features, c.num_landmarks)
            if i + 1 < c.num_modules:
                x = x + self.convolve(f"bl{i}", y, c.hg_num_features, c.hg_num_features)
                x = x + self.convolve(f"al{i}", heatmaps, c.num_landmarks, c.hg_num_features)
        unknown = set(self.weights) - self.used
        assert not unknown, f"unexpected tensors: {sorted(unknown)}"
        return heatmaps

    def take(self, name: str, *shape: int) -> Tensor:
        self.used.add(name)
        values = self.weights[name]
        assert tuple(values.shape) == shape, f"{name}: {tuple(values.shape)}, expected {shape}"
        return values

    def convolve(
        self, name: str, x: Tensor, before: int, after: int, kernel: int = 1, stride: int = 1
    ) -> Tensor:
        weight = self.take(f"{name}.weight", after, before, kernel, kernel)
        return F.conv2d(x, weight, self.take(f"{name}.bias", after), stride, kernel // 2)

    def active(self, name: str, x: Tensor) -> Tensor:
        if self.config.use_instance_norm:
            return F.relu(F.instance_norm(x))
        self.take(f"{name}.num_batches_tracked")
        kinds = ("running_mean", "running_var", "weight", "bias")
        return F.relu(F.batch_norm(x, *(self.take(f"{name}.{kind}", x.shape[1]) for kind in kinds)))

    def block(self, name: str, x: Tensor, before: int, after: int) -> Tensor:
        widths = (before, after // 2, after // 4, after // 4)
        parts = [x]
        for i in (1, 2, 3):
            weight = self.take(f"{name}.conv{i}.weight", widths[i], widths[i - 1], 3, 3)
            parts.append(F.conv2d(self.active(f"{name}.bn{i}", parts[-1]), weight, padding=1))
        if before != after:
            weight = self.take(f"{name}.downsample.2.weight", after, before, 1, 1)
            x = F.conv2d(self.active(f"{name}.downsample.0", x), weight)
        return torch.cat(parts[1:], 1) + x

    def square_block(self, name: str, x: Tensor) -> Tensor:
        return self.block(name, x, self.config.hg_num_features, self.config.hg_num_features)

    def pool(self, x: Tensor, size: int) -> Tensor:
        if size == 1:
            return x
        return F.avg_pool2d(x, size) if self.config.use_avg_pool else F.max_pool2d(x, size)

    def hourglass(self, name: str, level: int, x: Tensor) -> Tensor:
        low = self.square_block(f"{name}.b2_{level}", self.pool(x, 2))
        if level > 1:
            low = self.hourglass(name, level - 1, low)
        else:
            low = self.square_block(f"{name}.b2_plus_{level}", low)
        low = self.square_block(f"{name}.b3_{level}", low)
        return self.square_block(f"{name}.b1_{level}", x) + F.interpolate(low, scale_factor=2, mode="nearest")


class FANPredictor:
    """Boxes in, landmarks in image px out: the crop and the decoder of the package.

    Args:
        model: weights (a file) and config, as its users give them.
        config: gamma and radius.
        net: computes heatmaps in place of the weights.
    """

    def __init__(
        self,
        model: SimpleNamespace,
        config: SimpleNamespace,
        net: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.config = SimpleNamespace(**vars(model.config), **vars(config))
        self.net = net or PublishedFAN(torch.load(Path(model.weights), map_location="cpu"), self.config)

    @staticmethod
    def create_config(gamma: float = 1.0, radius: float = 0.1) -> SimpleNamespace:
        return SimpleNamespace(gamma=gamma, radius=radius)

    def __call__(self, image: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, L, 2) for RGB and boxes (N, 4)."""
        size = (boxes[:, 2:] - boxes[:, :2]).mean(1, keepdims=True) / self.config.crop_ratio
        first = np.round((boxes[:, :2] + boxes[:, 2:]) / 2 - size / 2).astype(int)
        last = (np.round(first + size) + 1).astype(int)
        margin = int(max(0, -first.min(), last.max() - min(image.shape[:2])))
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
        target = (self.config.input_size,) * 2
        crops = [
            cv2.resize(padded[top + margin : bottom + margin, left + margin : right + margin], target)
            for (left, top), (right, bottom) in zip(first, last, strict=True)
        ]
        with torch.no_grad():
            heatmaps = self.net(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255)
        landmarks = self.centroids(heatmaps.double().numpy())
        return landmarks * ((last - first) / heatmaps.shape[-1])[:, None] + first[:, None]

    def centroids(self, heatmaps: NDArray[np.float64]) -> NDArray[np.float64]:
        height, width = heatmaps.shape[2:]
        peaks = heatmaps.reshape(*heatmaps.shape[:2], -1).argmax(-1)[..., None, None]
        y, x = np.mgrid[:height, :width]
        near = np.hypot(x - peaks % width, y - peaks // width) <= self.config.radius * (height * width) ** 0.5
        weights = np.maximum(heatmaps, 0) ** self.config.gamma * near
        mass = np.maximum(weights.sum((2, 3)), np.finfo(np.float32).eps)
        return np.stack([(weights * (axis + 0.5)).sum((2, 3)) / mass for axis in (x, y)], -1)
