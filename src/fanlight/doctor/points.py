"""Labels and boxes that cannot be right by themselves: points outside, collapsed faces, boxes beside the face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fanlight.geometry import Floats


def face_sizes(landmarks: Floats) -> Floats:
    """Root of the area of the landmarks' bounding box: (N, L, 2) -> (N,), in their px."""
    return np.sqrt(np.prod(landmarks.max(axis=1) - landmarks.min(axis=1), axis=1))


def outside(landmarks: Floats, sizes: NDArray[np.integer]) -> tuple[NDArray[np.intp], Floats]:
    """Points beyond the edge of their photo.

    Args:
        landmarks: (N, L, 2) in image px.
        sizes: (N, 2) width and height.

    Returns:
        counts: (N,) how many points of each face are outside.
        farthest: (N,) how far the farthest is, in px; 0 or less when none is.
    """
    beyond = np.maximum(-landmarks, landmarks - sizes[:, None]).max(axis=2)
    return (beyond > 0).sum(axis=1), beyond.max(axis=1)


def extents(landmarks: Floats) -> tuple[Floats, Floats]:
    """How far faces extend along their longest direction and across it, in px: two arrays (N,), deviations."""
    centred = landmarks - landmarks.mean(axis=1, keepdims=True)
    values = np.linalg.svd(centred, compute_uv=False) / np.sqrt(landmarks.shape[1])
    return values[:, 0], values[:, 1]


def coinciding(landmarks: Floats) -> Floats:
    """The share of a face's points that lie on an earlier one, within a hundredth of a px: (N, L, 2) -> (N,)."""
    rounded = np.rint(landmarks * 100).astype(np.int64)
    keys = np.sort(rounded[..., 0] * (1 << 31) + rounded[..., 1], axis=1)
    return (np.diff(keys, axis=1) == 0).mean(axis=1)


def box_fit(landmarks: Floats, boxes: Floats) -> tuple[Floats, Floats]:
    """How face boxes lie around landmarks.

    Args:
        landmarks: (N, L, 2).
        boxes: (N, 4) left, top, right, bottom, in the same px.

    Returns:
        fits: (N, 4) centre of the landmarks' bounding box from that of the face box, x and y, over the face box's
            size; logarithms of the ratios of their widths and heights.
        overlaps: (N,) intersection over union of the two.
    """
    low, high = landmarks.min(axis=1), landmarks.max(axis=1)
    left_top, right_bottom = boxes[:, :2], boxes[:, 2:]
    spans, sides = np.maximum(high - low, 1e-3), right_bottom - left_top
    size = np.sqrt(sides.prod(axis=1, keepdims=True))
    centres = ((low + high) - (left_top + right_bottom)) / 2 / size
    shared = np.clip(np.minimum(high, right_bottom) - np.maximum(low, left_top), 0, None).prod(axis=1)
    union = spans.prod(axis=1) + sides.prod(axis=1) - shared
    return np.column_stack([centres, np.log(spans / sides)]), shared / union
