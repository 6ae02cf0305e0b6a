"""Which face is which: the same one in two frames of a clip, or found twice in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.geometry import CropRule, Floats

Box = tuple[float, float, float, float]

SAME_FACE = 0.15
"""Mean distance, in face sizes, below which two faces' landmarks lie on one and the same face."""

JUMP = 0.7
"""Face sizes by which a face's centre may move from one frame to the next."""

GROWTH = 1.5
"""Factor by which a face may grow or shrink from one frame to the next."""

MIN_SIZE_PX = 8.0
"""A face whose landmarks span less is not followed."""

MIN_INSIDE = 0.5
"""Share of the landmarks' bounding box that has to be inside the picture."""


def bounds(landmarks: ArrayLike) -> Box:
    """Bounding box of landmarks (L, 2): left, top, right, bottom."""
    places = np.asarray(landmarks, np.float64)
    (left, top), (right, bottom) = places.min(0), places.max(0)
    return float(left), float(top), float(right), float(bottom)


def centre(landmarks: ArrayLike) -> Floats:
    """Centre (x, y) of the landmarks' bounding box."""
    left, top, right, bottom = bounds(landmarks)
    return np.array([(left + right) / 2, (top + bottom) / 2])


def face_size(landmarks: ArrayLike) -> float:
    """Geometric mean of the width and height of the landmarks' bounding box, px."""
    left, top, right, bottom = bounds(landmarks)
    return float(np.sqrt((right - left) * (bottom - top)))


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    both = _area((*np.maximum(one[:2], other[:2]), *np.minimum(one[2:], other[2:])))
    return both / max(_area(one) + _area(other) - both, 1e-9)


def is_same(one: Floats, other: Floats) -> bool:
    """Whether landmarks of one frame, taken for two faces, lie on one face."""
    size = min(face_size(one), face_size(other))
    return float(np.linalg.norm(one - other, axis=1).mean()) < SAME_FACE * size


def is_step(before: Floats, after: Floats) -> bool:
    """Whether a face may have come from ``before`` to ``after`` in one frame: no jump, no burst, no collapse."""
    small, large = sorted((face_size(before), face_size(after)))
    near = float(np.linalg.norm(centre(after) - centre(before))) < JUMP * face_size(before)
    return near and small >= MIN_SIZE_PX and large < GROWTH * small


def is_outside(landmarks: Floats, image: NDArray[np.uint8]) -> bool:
    """Whether a face has left the picture, (H, W, 3)."""
    left, top, right, bottom = box = bounds(landmarks)
    inside = (max(left, 0), max(top, 0), min(right, image.shape[1]), min(bottom, image.shape[0]))
    return _area(inside) < MIN_INSIDE * _area(box)


def doubles(found: Sequence[Floats], expected: Sequence[Floats]) -> set[int]:
    """Faces that show another one's landmarks, as one does that is covered by the other.

    Args:
        found: (L, 2) landmarks of each face.
        expected: (x, y) centre that each was to have, going by how it moved before.

    Returns:
        Of each two that lie on the same face, the one that is farther from where it was to be.
    """
    off = [np.linalg.norm(centre(one) - place) for one, place in zip(found, expected, strict=True)]
    lost: set[int] = set()
    for i, j in combinations(range(len(found)), 2):
        if i not in lost and j not in lost and is_same(found[i], found[j]):
            lost.add(i if off[i] > off[j] else j)
    return lost


def pair(
    hidden: Sequence[Floats], expected: Sequence[Floats], reach: Sequence[float], found: Sequence[Floats]
) -> list[tuple[int, int]]:
    """Match hidden faces with found ones, the nearest first.

    Args:
        hidden: (L, 2) landmarks of each hidden face when it was last seen.
        expected: (x, y) centre of each by now, going by how it moved.
        reach: how far from there each may be, in its sizes.
        found: (L, 2) landmarks of faces that are not yet known.

    Returns:
        Indices (hidden, found); each face at most once. A pair is at most ``REACH`` apart and ``GROWTH``
        squared different in size.
    """
    options = []
    for i, (one, place) in enumerate(zip(hidden, expected, strict=True)):
        for j, other in enumerate(found):
            small, large = sorted((face_size(one), face_size(other)))
            distance = float(np.linalg.norm(centre(other) - place)) / max(face_size(one), 1e-9)
            if distance < reach[i] and large < GROWTH**2 * small:
                options.append((distance, i, j))
    pairs: list[tuple[int, int]] = []
    for _, i, j in sorted(options):
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def relation(square: tuple[float, float, float], landmarks: Floats) -> CropRule:
    """The rule that gives a crop's square (x, y, side) back from the bounding box of the landmarks in it."""
    left, top, right, bottom = bounds(landmarks)
    width, height = right - left, bottom - top
    x, y, side = square
    return CropRule(
        scale=side / ((width + height) / 2),
        shift_x=(x - (left + right) / 2) / width,
        shift_y=(y - (top + bottom) / 2) / height,
    )


def _area(box: Sequence[float]) -> float:
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)
