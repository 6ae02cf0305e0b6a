"""A z-buffer rasteriser in numpy: which triangle each pixel shows, and where in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Index = NDArray[np.int64]

SMALLEST_AREA = 1e-9  # px^2; thinner triangles are edge-on


@dataclass(frozen=True)
class Fragments:
    """The visible pixels, N of them: flat pixel index, triangle, and weights of its three vertices."""

    pixel: Index  # (N,) y * width + x
    triangle: Index  # (N,)
    weights: NDArray[np.float32]  # (3, N)

    def interpolate(self, values: Array, triangles: Index) -> NDArray[np.float32]:
        """Per-vertex values (K, V) at the visible pixels, (K, N)."""
        values = np.ascontiguousarray(values, np.float32)
        result = np.zeros((len(values), len(self.pixel)), np.float32)
        for corner in range(3):
            vertex = triangles[:, corner][self.triangle]
            for row, known in zip(result, values, strict=True):
                row += known[vertex] * self.weights[corner]
        return result


def rasterise(
    points: Array, nearness: Array, triangles: Index, two_sided: NDArray[np.bool_], width: int, height: int
) -> Fragments:
    """Find the nearest triangle at every pixel centre.

    Weights are linear in the image, which for triangles of a few pixels differs from the perspective
    ones by less than a hundredth of a pixel.

    Args:
        points: (V, 2) continuous px.
        nearness: (V,) larger is nearer, 1 / distance.
        triangles: (T, 3).
        two_sided: (T,) whether a triangle is also seen from behind.
        width: of the image, px.
        height: of the image, px.
    """
    corners = np.ascontiguousarray(triangles.T)
    corner_x, corner_y = (np.ascontiguousarray(points[:, axis])[corners] for axis in (0, 1))
    keep = _worth_drawing(corner_x, corner_y, two_sided, width, height)
    x, y = corner_x[:, keep], corner_y[:, keep]
    area = _area(x, y)
    top = np.clip(np.ceil(y.min(0) - 0.5), 0, height).astype(np.int64)
    bottom = np.clip(np.ceil(y.max(0) - 0.5), 0, height).astype(np.int64)

    span_triangle, span_row = _expand(top, bottom)
    left, right = _spans(x, y, area, span_triangle, span_row + 0.5)
    start = np.clip(np.ceil(left - 0.5), 0, width).astype(np.int64)
    count = np.maximum(np.clip(np.ceil(right - 0.5), 0, width).astype(np.int64) - start, 0)

    planes = _planes(x, y, area)
    slope_x, slope_y, offset = _nearness_planes(planes, nearness[corners[:, keep]])
    slope_x = slope_x[span_triangle]
    begin = slope_x * (start + 0.5) + slope_y[span_triangle] * (span_row + 0.5) + offset[span_triangle]
    step = _count_up(count)
    near = np.repeat(slope_x.astype(np.float32), count)
    near *= step
    near += np.repeat(begin.astype(np.float32), count)
    pixel = np.repeat(span_row * width + start, count)
    pixel += step
    depth = np.zeros(width * height, np.float32)
    np.maximum.at(depth, pixel, near)
    visible = np.flatnonzero(near == depth[pixel])

    pixel = pixel[visible]
    triangle = np.repeat(span_triangle, count)[visible]
    row = pixel // width
    px, py = (pixel - row * width + 0.5).astype(np.float32), (row + 0.5).astype(np.float32)
    a, b, c, d, e, f = (plane[triangle] for plane in planes.astype(np.float32))
    first, second = a * px + b * py + c, d * px + e * py + f
    return Fragments(pixel, keep[triangle], np.stack([first, second, 1 - first - second]))


def _area(x: Array, y: Array) -> Array:
    """Twice the signed area of triangles whose corners are (3, T); positive seen from the front."""
    return np.asarray((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))


def _worth_drawing(x: Array, y: Array, two_sided: NDArray[np.bool_], width: int, height: int) -> Index:
    """Indices of the triangles that face us and touch the image."""
    area = _area(x, y)
    facing = (area > SMALLEST_AREA) | (two_sided & (area < -SMALLEST_AREA))
    inside = (x.max(0) > 0) & (x.min(0) < width) & (y.max(0) > 0) & (y.min(0) < height)
    return np.flatnonzero(facing & inside)


def _count_up(count: Index) -> Index:
    """0, 1, ..., n - 1 for each n of count, one after the other."""
    return np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)


def _expand(start: Index, stop: Index) -> tuple[Index, Index]:
    """The number of each half-open range, repeated, and the integers in it."""
    count = np.maximum(stop - start, 0)
    return np.repeat(np.arange(len(count)), count), np.repeat(start, count) + _count_up(count)


def _spans(
    x: Array, y: Array, area: Array, triangle: Index, row_y: NDArray[np.floating[Any]]
) -> tuple[Array, Array]:
    """Where a horizontal line at row_y enters and leaves its triangle, by its three edges."""
    left = np.full(len(row_y), -np.inf)
    right = np.full(len(row_y), np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        rise = y[j] - y[i]
        slope = (x[j] - x[i]) / np.where(rise == 0, 1, rise)
        crossing = slope[triangle]
        crossing *= row_y
        crossing += (x[i] - y[i] * slope)[triangle]
        enters, leaves = (rise * area < 0)[triangle], (rise * area > 0)[triangle]
        np.maximum(left, crossing, out=left, where=enters)
        np.minimum(right, crossing, out=right, where=leaves)
    return left, right


def _planes(x: Array, y: Array, area: Array) -> Array:
    """(6, T): the weights of corners 0 and 1 as a x + b y + c each."""
    first = [y[1] - y[2], x[2] - x[1], x[1] * y[2] - x[2] * y[1]]
    second = [y[2] - y[0], x[0] - x[2], x[2] * y[0] - x[0] * y[2]]
    return np.stack(first + second) / area


def _nearness_planes(planes: Array, near: Array) -> Array:
    """(3, T): nearness inside each triangle as a x + b y + c, from that of its corners (3, T)."""
    combined = planes[:3] * (near[0] - near[2]) + planes[3:] * (near[1] - near[2])
    combined[2] += near[2]
    return np.asarray(combined)
