"""What training minimises: heatmap MSE and the normalised landmark distance, averaged over the stacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fanlight.errors import InputError
from fanlight.heatmap import Decoder, encode, warp_heatmaps


def heatmap_mse(heatmaps: Tensor, targets: Tensor, foreground: float = 0.0) -> Tensor:
    """Mean squared error over all landmarks and cells: (B, L, H, W) twice -> (B,).

    A cell counts 1 + foreground * target: nearly all cells are background, and a network that answers zero
    everywhere is hard to leave when they all count alike.
    """
    means: Tensor = _WeightedSquares.apply(heatmaps, targets, foreground)  # type: ignore[no-untyped-call]
    return means


class _WeightedSquares(torch.autograd.Function):
    """Heatmaps are large and the arithmetic is little: passes over memory count, and autograd makes a dozen."""

    @staticmethod
    def forward(ctx: Any, heatmaps: Tensor, targets: Tensor, foreground: float) -> Tensor:
        difference = heatmaps - targets  # in the targets' precision, or a higher one
        weighted = (
            torch.addcmul(difference, difference, targets, value=foreground) if foreground else difference
        )
        ctx.save_for_backward(weighted)
        ctx.cells = weighted[0].numel()
        return torch.linalg.vecdot(weighted.flatten(1), difference.flatten(1)) / ctx.cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weighted,) = ctx.saved_tensors
        return weighted * (2 / ctx.cells * gradient)[:, None, None, None], None, None


def landmark_distance(landmarks: Tensor, truth: Tensor) -> Tensor:
    """Mean Euclidean distance over the size of the true face.

    Args:
        landmarks: (B, L, 2), decoded, in any px.
        truth: (B, L, 2), in the same px.

    Returns:
        (B,), mean distance divided by sqrt(w * h) of the true landmarks' bounding box: the ``box`` NME. A
        smaller box than 1 px counts as 1 px: that of a single point, or of two on a level, has no size.
    """
    size = (truth.amax(1) - truth.amin(1)).prod(-1).sqrt()
    distance = torch.linalg.vector_norm(landmarks - truth, dim=-1).mean(1)
    return distance / size.clamp_min(1.0)


@dataclass(frozen=True)
class LossOptions:
    """How much each term counts (the sum is divided by the sum of the weights), and what the targets are.

    Attributes:
        heatmap: weight of the heatmap MSE.
        distance: weight of the normalised landmark distance; 0 leaves it out.
        subpixel: target Gaussians at the exact landmark; else at the centre of the cell that holds it.
        warped: draw the targets on the crop as it was before augmentation, and move them with its pixels; else
            draw them at the landmarks as moved.
        foreground: how much more a cell at a landmark counts in the heatmap MSE than one far from it; 0 is the
            plain MSE of the published recipes.
    """

    heatmap: float = 1.0
    distance: float = 0.01
    subpixel: bool = True
    warped: bool = False
    foreground: float = 0.0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if self.heatmap < 0 or self.distance < 0 or not 0 < self.heatmap + self.distance < math.inf:
            raise InputError(
                f"loss weights heatmap = {self.heatmap}, distance = {self.distance}: give numbers that are "
                "not negative, finite, and not both zero"
            )
        if not 0 <= self.foreground < math.inf:
            raise InputError(
                f"foreground = {self.foreground}: give a number that is not negative, 0 for none"
            )


class AlignmentLoss:
    """Encodes the targets where the model runs and weighs the terms.

    total = (heatmap * MSE + distance * landmark distance) / (heatmap + distance), each term the mean over the
    stacks, gradients flowing through the centroid. Source: the recipe of the public fan_training code.

    Args:
        options: weights of the terms.
        decoder: turns predicted heatmaps into landmarks; its sigma is that of the targets.
    """

    def __init__(self, options: LossOptions, decoder: Decoder) -> None:
        self.options, self.decoder = options, decoder
        self._buffer: Tensor | None = None

    def __call__(
        self,
        heatmaps: Sequence[Tensor],
        landmarks_crop: Tensor,
        input_size: int,
        sample_weight: Tensor,
        motion: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Loss of one batch.

        Args:
            heatmaps: one (B, L, H, H) per stack.
            landmarks_crop: (B, L, 2), true landmarks in crop px.
            input_size: side of the crop in px.
            sample_weight: (B,), mean 1 over the training set.
            motion: (B, 2, 3), how augmentation moved positions in the crop, as fractions of its side; for targets
                that are warped.

        Returns:
            ``total``, ``heatmap`` and ``distance`` (where it has a weight): 0-D, weighted batch means.
        """
        size = heatmaps[0].shape[-1]
        # Once for both terms: reductions over a channels-last or half-precision heatmap are several times slower.
        heatmaps = [_plain(stack) for stack in heatmaps]
        landmarks_heatmap = landmarks_crop * (size / input_size)
        targets = self.targets(landmarks_heatmap, size, motion)
        mse = torch.stack([heatmap_mse(stack, targets, self.options.foreground) for stack in heatmaps]).mean(
            0
        )
        terms = {"heatmap": (sample_weight * mse).mean()}
        total = self.options.heatmap * terms["heatmap"]
        if self.options.distance > 0:
            decoded = [self.decoder(stack)[0] for stack in heatmaps]
            distances = [landmark_distance(points, landmarks_heatmap) for points in decoded]
            terms["distance"] = (sample_weight * torch.stack(distances).mean(0)).mean()
            total = total + self.options.distance * terms["distance"]
        return {"total": total / (self.options.heatmap + self.options.distance), **terms}

    def targets(self, landmarks_heatmap: Tensor, size: int, motion: Tensor | None = None) -> Tensor:
        """The target heatmaps of true landmarks; they last until the next call.

        Args:
            landmarks_heatmap: (B, L, 2), in heatmap px.
            size: side of the heatmaps.
            motion: as for the loss.

        Returns:
            (B, L, size, size).
        """
        if not self.options.warped:
            return self._encode(landmarks_heatmap, size)
        if motion is None:
            raise ValueError("warped targets need the motion of each crop")
        linear, shift = motion[:, :, :2], motion[:, :, 2:] * size
        before = (torch.linalg.inv_ex(linear).inverse @ (landmarks_heatmap.mT - shift)).mT
        return warp_heatmaps(self._encode(before, size), motion)

    def _encode(self, landmarks_heatmap: Tensor, size: int) -> Tensor:
        """Targets in a buffer that is kept: a fresh one costs more than filling it."""
        shape = (*landmarks_heatmap.shape[:2], size, size)
        if (
            self._buffer is None
            or self._buffer.shape != shape
            or self._buffer.dtype != landmarks_heatmap.dtype
            or self._buffer.device != landmarks_heatmap.device
        ):
            with torch.inference_mode(False):  # the next batch may need gradients
                self._buffer = landmarks_heatmap.new_empty(shape)
        return encode(
            landmarks_heatmap, size, self.decoder.sigma_heatmap_px, self.options.subpixel, out=self._buffer
        )


def _plain(heatmaps: Tensor) -> Tensor:
    """Heatmaps in single precision or better, one after the other in memory."""
    dtype = torch.promote_types(heatmaps.dtype, torch.float32)
    return heatmaps.to(dtype).contiguous()
