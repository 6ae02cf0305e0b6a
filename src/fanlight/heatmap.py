"""Landmarks to heatmaps and back.

Heatmap coordinates are continuous: cell ``j`` covers ``[j, j + 1)`` and its centre is ``j + 0.5``. A landmark
at crop coordinate ``c`` lies at ``c * heatmap_size / input_size``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from fanlight.errors import InputError

CUT_SIGMAS = 5.0  # targets are zero beyond this many sigmas, where a Gaussian is below 4e-6
_CUT_VALUE = 0.999 * math.exp(-0.5 * CUT_SIGMAS**2)  # a hair lower: a cell just there is drawn
LOWEST_EXPONENT = -60.0  # exp is many times slower where its result is nearly too small for a float
NEWTON_STEPS = 6  # brings a landmark 1 px outside the border to within 1e-4 px
OUTSIDE_PX = 1.0  # how far beyond the border a corrected landmark may lie, in heatmap px
LOWEST_PEAK = 1e-12  # centroids of lower ones near the peak cell: their slope would grow beyond all numbers
LOWEST_SHARE = 1e-20  # of the peak; a lower cell counts as zero where a power has an infinite slope there


def encode(
    landmarks_heatmap: Tensor,
    size: int,
    sigma_heatmap_px: float = 1.0,
    subpixel: bool = True,
    out: Tensor | None = None,
) -> Tensor:
    """Draw each landmark as an unnormalised Gaussian with peak value 1.

    Each Gaussian is the product of a row and a column, so a batch costs one multiplication a cell.

    Args:
        landmarks_heatmap: (B, L, 2), (x, y) in heatmap px; may lie outside.
        size: side of the heatmaps in px.
        sigma_heatmap_px: standard deviation, > 0.
        subpixel: centre the Gaussian at the landmark; else at the centre of the cell that holds it, as the
            original FAN did.
        out: (B, L, size, size), written in place of a new tensor.

    Returns:
        (B, L, size, size) in the dtype and on the device of the landmarks, values in [0, 1].

    Source: Bulat & Tzimiropoulos 2017 for the target; sub-pixel centres as in the public fan_training code.
    """
    if not subpixel:
        landmarks_heatmap = landmarks_heatmap.floor() + 0.5
    centres = torch.arange(size, device=landmarks_heatmap.device, dtype=landmarks_heatmap.dtype) + 0.5
    offsets = (centres - landmarks_heatmap.unsqueeze(-1)) / sigma_heatmap_px  # (B, L, 2, size)
    exponents = (-0.5 * offsets.square()).clamp_min(-(CUT_SIGMAS**2))  # numbers near 0 make exp slow
    profiles = F.threshold(torch.exp(exponents), _CUT_VALUE, 0.0)
    columns, rows = profiles[:, :, 0, None, :], profiles[:, :, 1, :, None]
    return torch.mul(rows, columns, out=out)


def warp_heatmaps(heatmaps: Tensor, matrices: Tensor) -> Tensor:
    """Move heatmaps like pictures, sampled linearly; 0 beyond the border.

    Args:
        heatmaps: (B, L, H, H), drawn before the motion.
        matrices: (B, 2, 3), by which positions move, as fractions of the heatmap's side.

    Returns:
        (B, L, H, H).
    """
    linear, shift = matrices[:, :, :2], matrices[:, :, 2:]
    back = (
        torch.linalg.inv_ex(linear).inverse
    )  # does not wait for the device; grids say where each cell comes from, from -1 to 1 over the side
    centre = linear.new_full((2, 1), 0.5)
    theta = torch.cat((back, 2 * (back @ (centre - shift) - centre)), -1)
    grid = F.affine_grid(theta, list(heatmaps.shape), align_corners=False)
    return F.grid_sample(heatmaps, grid, align_corners=False)


@dataclass(frozen=True)
class Decoder:
    """Locates each landmark as the centroid of its heatmap around the peak, or at the peak as was done before.

    The score is the peak's value. Cells within ``radius`` of the peak, negatives clamped to zero and raised to
    ``gamma``, give the centroid. Where the border cuts that window (or the window is narrower than the
    Gaussian) the plain centroid is pulled inwards; ``border = "corrected"`` undoes this: for a Gaussian of
    known sigma the centroid over the cells that are left grows with the true position, so the position that
    explains it is solved for. (A Gaussian of known sigma is an exponential family in its mean: this is the
    maximum-likelihood estimate.) Its window is a square, so that x and y can be solved for apart. Up to 1 px
    outside the border can be recovered. A heatmap without a positive cell gives the centre of its peak cell.

    The centroid is differentiable in the heatmaps, the correction included; positions by ``argmax`` and
    ``quarter`` have no gradient, and heed neither ``gamma`` nor ``border``. Batched, without loops over landmarks.

    Attributes:
        kind: ``centroid``; ``argmax`` for the centre of the peak cell; ``quarter`` for that centre moved by 1/4 px
            towards the higher neighbour along x and along y, where the peak is not at the border.
        radius: window radius as a fraction of sqrt(H * W), in (0, 2]; 0.1 is 6.4 cells of 64 x 64.
        gamma: exponent, > 0; larger ones trust the peak more.
        border: ``corrected``, or ``cut`` for the plain centroid over a disc, as in the public code.
        sigma_heatmap_px: sigma of the training targets, used by the correction.

    Source: the centroid is that of ibug.face_alignment (``border = "cut"``); the border correction is ours;
    ``quarter`` is the rule of face-alignment, and of HRNet but for its borders.
    """

    kind: Literal["centroid", "argmax", "quarter"] = "centroid"
    radius: float = 0.1
    gamma: float = 1.0
    border: Literal["corrected", "cut"] = "corrected"
    sigma_heatmap_px: float = 1.0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = []
        if self.kind not in ("centroid", "argmax", "quarter"):
            problems.append(f'kind = {self.kind!r}: must be "centroid", "argmax" or "quarter"')
        if not 0 < self.radius <= 2:
            problems.append(f"radius = {self.radius}: a fraction of the heatmap's side, in (0, 2]")
        if not 0 < self.gamma < math.inf:
            problems.append(f"gamma = {self.gamma}: must be positive")
        if self.border not in ("corrected", "cut"):
            problems.append(f'border = {self.border!r}: must be "corrected" or "cut"')
        if not 0 < self.sigma_heatmap_px < math.inf:
            problems.append(f"sigma_heatmap_px = {self.sigma_heatmap_px}: must be positive")
        if problems:
            raise InputError.collect(problems, "the decoder's options are not usable:")

    def __call__(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Decode a batch of heatmaps.

        Args:
            heatmaps: (B, L, H, W), any range, any floating dtype.

        Returns:
            landmarks_heatmap: (B, L, 2) float32 (float64 for float64), (x, y) in heatmap px.
            scores: (B, L), peak values.

        Raises:
            ValueError: heatmaps is not 4-D.
        """
        if heatmaps.dim() != 4:
            raise ValueError(f"heatmaps of shape {tuple(heatmaps.shape)}: expected (B, L, H, W)")
        with torch.autocast(heatmaps.device.type, enabled=False):  # sums of positions need all their digits
            scores, peak_x, peak_y = find_peaks(heatmaps)
            peak = torch.stack((peak_x, peak_y), -1)
            scores = scores if scores.dtype == torch.float64 else scores.float()
            if self.kind == "centroid":
                offset = self._centroid(heatmaps, scores, peak)
            else:
                offset = _quarter(heatmaps, peak) if self.kind == "quarter" else torch.zeros_like(peak)
            return (peak + 0.5 + offset).to(scores.dtype), scores

    def _centroid(self, heatmaps: Tensor, scores: Tensor, peak: Tensor) -> Tensor:
        """The centroids (B, L, 2), relative to the centres of the peak cells."""
        height, width = heatmaps.shape[-2:]
        steps, disc = _window(self.radius * (height * width) ** 0.5, max(height, width) - 1, heatmaps.device)
        values, inside = _shares_around(heatmaps, scores, peak, steps)
        values = self._weights(values if self.border == "corrected" else values * disc)
        across, down = inside.to(values.dtype).unbind(-2)
        columns = (down.unsqueeze(-2) @ values).squeeze(-2) * across
        rows = (values @ across.unsqueeze(-1)).squeeze(-1) * down
        mass = columns.sum(-1)[..., None]
        centroid = torch.stack((columns, rows), -2) @ steps.to(values.dtype)
        centroid = centroid / mass.clamp_min(1)  # that of the peak cell alone
        if self.border == "corrected":
            far = torch.stack((width - peak[..., 0], height - peak[..., 1]), -1)
            limits = (-peak - 0.5 - OUTSIDE_PX, far - 0.5 + OUTSIDE_PX)
            centroid = _undo_cut(centroid, inside, steps, limits, self.sigma_heatmap_px / self.gamma**0.5)
        return torch.where(mass > 0, centroid, 0.0)

    def _weights(self, shares: Tensor) -> Tensor:
        """Shares of the peak (B, L, K, K), raised to ``gamma``."""
        if self.gamma >= 1:
            return shares if self.gamma == 1 else shares**self.gamma
        positive = shares > LOWEST_SHARE
        return torch.where(positive, torch.where(positive, shares, 1.0) ** self.gamma, 0.0)


def find_peaks(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, column and row of each heatmap's highest cell, the first one in reading order.

    (B, L, H, W) -> three (B, L). Two short reductions are several times faster than one over all cells that
    also tracks the index.
    """
    scores, peak_y = heatmaps.amax(-1).max(-1)
    rows = peak_y[..., None, None].expand(-1, -1, 1, heatmaps.shape[-1])
    peak_x = heatmaps.detach().gather(2, rows).squeeze(2).argmax(-1)
    return scores, peak_x, peak_y


def _quarter(heatmaps: Tensor, peak: Tensor) -> Tensor:
    """1/4 px towards the higher of the two neighbours of the peak (B, L, 2), along x and along y."""
    around = torch.tensor([-1, 0, 1], device=heatmaps.device)
    values, inside = _cells_around(heatmaps, peak, around)
    x, y = values[..., 1, 2] - values[..., 1, 0], values[..., 2, 1] - values[..., 0, 1]
    return 0.25 * torch.stack((x, y), -1).detach().sign() * inside.all(-1).all(-1, keepdim=True)


def covariances(heatmaps: Tensor, landmarks_heatmap: Tensor, radius: float = 0.1) -> Tensor:
    """How far each heatmap spreads around its landmark.

    The second moments about the landmark of the cells around the peak, negatives clamped to zero: for a clean
    Gaussian of sigma 1 px the identity, larger where the network is unsure, and longer along a contour than
    across it. Cells beyond the border do not count.

    Args:
        heatmaps: (B, L, H, W), any range.
        landmarks_heatmap: (B, L, 2), in heatmap px, as decoded.
        radius: half-width of the square window as a fraction of sqrt(H * W), as in ``Decoder``.

    Returns:
        (B, L, 2, 2) in heatmap px squared; zero for a heatmap without a positive cell.
    """
    height, width = heatmaps.shape[-2:]
    scores, peak_x, peak_y = find_peaks(heatmaps)
    peak = torch.stack((peak_x, peak_y), -1)
    steps, _ = _window(radius * (height * width) ** 0.5, max(height, width) - 1, heatmaps.device)
    shares, inside = _shares_around(heatmaps, scores, peak, steps)
    across, down = inside.unbind(-2)
    weights = shares * (down.unsqueeze(-1) & across.unsqueeze(-2))
    away = peak.unsqueeze(-1) + steps + 0.5 - landmarks_heatmap.unsqueeze(-1)  # (B, L, 2, K)
    x, y = away.to(weights.dtype).unbind(-2)
    columns, rows = weights.sum(-2), weights.sum(-1)
    moments = torch.stack(
        (
            (columns * x.square()).sum(-1),
            ((y.unsqueeze(-2) @ weights).squeeze(-2) * x).sum(-1),
            (rows * y.square()).sum(-1),
        ),
        -1,
    ) / columns.sum(-1, keepdim=True).clamp_min(1)
    return moments[..., [0, 1, 1, 2]].unflatten(-1, (2, 2))


def _shares_around(heatmaps: Tensor, scores: Tensor, peak: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """As ``_cells_around``, but each cell as a share of its heatmap's peak, and 0 where it is negative.

    A centroid does not depend on the heatmap's scale, so no slope goes through the scale; shares keep sums and
    powers within the range of the numbers. Single precision or better.
    """
    values, inside = _cells_around(heatmaps, peak, steps)
    dtype = torch.promote_types(values.dtype, torch.float32)
    scale = scores.detach().to(dtype).clamp_min(LOWEST_PEAK)
    return (values / scale[..., None, None]).relu_(), inside


def _cells_around(heatmaps: Tensor, peak: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The cells (B, L, K, K) around the peaks (B, L, 2), by row and column, and which lie inside.

    Those beyond the border repeat the cells at it; ``inside``, (B, L, 2, K) for x and y, is False there.
    """
    height, width = heatmaps.shape[-2:]
    x, y = (peak.unsqueeze(-1) + steps).unbind(-2)
    inside = torch.stack(((x >= 0) & (x < width), (y >= 0) & (y < height)), -2)
    cells = (y.clamp(0, height - 1) * width).unsqueeze(-1) + x.clamp(0, width - 1).unsqueeze(-2)
    values = heatmaps.flatten(2).gather(-1, cells.flatten(2)).unflatten(-1, (len(steps), len(steps)))
    return values, inside


@functools.lru_cache(maxsize=32)
def _window(radius: float, largest: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Steps (K,) from the peak to the cells on either side, and the disc (K, K) of those within the radius."""
    reach = min(int(radius), largest)
    with torch.inference_mode(False):  # kept for later calls, which may need gradients
        steps = torch.arange(-reach, reach + 1, device=device)
        return steps, steps.square().unsqueeze(-1) + steps.square() <= radius**2


def _undo_cut(
    centroid: Tensor, inside: Tensor, steps: Tensor, limits: tuple[Tensor, Tensor], sigma: float
) -> Tensor:
    """Find the position whose Gaussian has this centroid over the cells that the border left.

    Args:
        centroid: (..., 2), relative to the peak cell's centre.
        inside: (..., 2, K), which cells of the window the border left, along each axis.
        steps: (K,), cells from the peak to each of the window.
        limits: the lowest and the highest position, (..., 2) each.
        sigma: of the Gaussian, in cells.

    Returns:
        (..., 2); ``centroid`` itself, nearly, where nothing was cut.
    """
    kept = inside.movedim(-1, 0).to(centroid.dtype).contiguous()  # sums over the first axis are the fastest
    cells = steps.to(centroid.dtype).view(-1, *[1] * centroid.dim())
    with torch.no_grad():
        goal = centroid.detach()
        position, slope = goal, torch.ones_like(goal)
        for _ in range(NEWTON_STEPS):
            exponents = ((cells - position) / sigma).square_().mul_(-0.5)
            weights = exponents.clamp_min_(LOWEST_EXPONENT).exp_().mul_(kept)
            mass, first = weights.sum(0), weights.mul_(cells).sum(0)
            mean, square = first / mass, weights.mul_(cells).sum(0) / mass
            slope = sigma**2 / (square - mean.square()).clamp_min(0.05 * sigma**2)
            position = torch.clamp(position + slope * (goal - mean), *limits)
    return position + slope * (centroid - goal)  # the value found, with the slope of the implicit function
