"""What all detectors do with photos and boxes: scaling, overlap, order."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.geometry import Floats

OVERLAP = 0.5  # two boxes with a larger intersection over union are one face
FAINT = 100  # a photo whose values span less is given more contrast
EMPTY = 8  # one whose values span less shows nothing


def scaled(image: NDArray[np.uint8], longest: int) -> tuple[NDArray[np.uint8], Floats]:
    """Shrink a photo, so that detection in a large one takes no longer than in one of ``longest`` px.

    Args:
        image: (H, W, 3).
        longest: its longer side afterwards, at most, in px; smaller photos are returned as they are.

    Returns:
        The photo, and the factors (x, y, x, y) that bring its boxes back to those of ``image``.
    """
    height, width = image.shape[:2]
    factor = longest / max(height, width)
    if factor >= 1:
        return image, np.ones(4)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smaller = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return smaller, np.array([width / size[0], height / size[1]] * 2)


def stretched(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give a faint photo (H, W, 3) all the contrast there is; others are returned as they are."""
    low, high = np.percentile(image[::4, ::4], (1, 99))
    if not EMPTY < high - low < FAINT:
        return image
    table = ((np.arange(256) - low) * 255 / (high - low)).clip(0, 255).astype(np.uint8)
    return cv2.LUT(image, table)


def overlaps(box: ArrayLike, boxes: ArrayLike) -> Floats:
    """Intersection over union of a box (4,) with each of several, (N, 4) -> (N,), in [0, 1]."""
    one, many = np.asarray(box, np.float64), np.asarray(boxes, np.float64).reshape(-1, 4)
    shared = intersections(one, many)
    return shared / ((one[2:] - one[:2]).prod() + (many[:, 2:] - many[:, :2]).prod(1) - shared)


def intersections(box: Floats, boxes: Floats) -> Floats:
    """Area that a box (4,) shares with each of several, (N, 4) -> (N,)."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    return (high - low).clip(0).prod(1)


def best_of(boxes: Floats, scores: Floats, overlap: float = OVERLAP, inside: float = math.inf) -> list[int]:
    """Keep the best box of each group that overlaps (greedy non-maximum suppression).

    Args:
        boxes: (N, 4) left, top, right, bottom.
        scores: (N,), larger is better; of equal ones the first is better.
        overlap: intersection over union above which two boxes are one face.
        inside: intersection over the smaller box's area above which they are, too.

    Returns:
        Positions of those to keep, best first.
    """
    waiting = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    kept = []
    while len(waiting):
        first, rest = waiting[0], waiting[1:]
        kept.append(int(first))
        shared = intersections(boxes[first], boxes[rest])
        union = areas[first] + areas[rest] - shared
        same = (shared > overlap * union) | (shared > inside * np.minimum(areas[first], areas[rest]))
        waiting = rest[~same]
    return kept
