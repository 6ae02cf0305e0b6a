"""Whether a label, a face box and a photo can belong together.

Only what is surely wrong counts: real faces reach over the photo's edge and detectors differ in their boxes, so
the limits are wide.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanlight.geometry import FARTHEST_PX, Box

MIN_SIDE_PX = 2.0
"""A face box, or the landmarks' bounding box, of a shorter side has no size."""

MIN_SHARE_INSIDE = 0.25
"""The least share of landmarks within the photo, and within the face box. The lowest among 6,271 real faces: 0.48
within the photo, 0.66 within the box."""

MAX_FAR_OUT = 1.0
"""How far outside the photo a landmark may lie, as a fraction of its longer side. The highest there: 0.18."""

MAX_FROM_BOX = 10.0
"""How far outside the face box, as a fraction of its longer side. The highest there: 0.29."""

MIN_FACE_IN_BOX = 0.1
"""The least size of the landmarks' bounding box as a fraction of the face box's. The lowest there: 0.42."""


def box_faults(box: Box, photo: str) -> Iterator[str]:
    """What is wrong with the face box of a photo by itself."""
    left, top, right, bottom = box
    usable = max(map(abs, box)) < FARTHEST_PX
    if not usable or right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
        yield (
            f"the face box of {photo} is {right - left:g} x {bottom - top:g} px "
            "(left, top, right, bottom are expected): correct it or remove the face"
        )


def label_faults(landmarks: NDArray[np.float64], size: tuple[int, int] | None) -> Iterator[str]:
    """What is wrong with landmarks (L, 2) by themselves and, if known, for the photo's (width, height)."""
    if not (np.abs(landmarks) < FARTHEST_PX).all():
        yield f"{_one(landmarks, np.abs(landmarks).max(axis=1))}, further out than any photo reaches: correct it"
        return
    width, height = landmarks.max(axis=0) - landmarks.min(axis=0)
    if min(width, height) < MIN_SIDE_PX:
        yield f"the landmarks span {width:.3g} x {height:.3g} px, so they are no face: correct or remove them"
    if size is None:
        return
    outside = np.maximum(-landmarks, landmarks - size).max(
        axis=1
    )  # px beyond the nearest edge, negative within
    photo = f"the {size[0]} x {size[1]} photo"
    count, inside = len(landmarks), int((outside <= 0).sum())
    if inside < MIN_SHARE_INSIDE * count:
        yield f"{inside} of the {count} landmarks lie within {photo}: another photo's label, or scaled?"
    elif outside.max() > MAX_FAR_OUT * max(size):
        yield f"{_one(landmarks, outside)}, far outside {photo}"


def fit_faults(landmarks: NDArray[np.float64], box: Box) -> Iterator[str]:
    """What is wrong between landmarks (L, 2) and their face box, both of some size."""
    low, high = np.array(box[:2]), np.array(box[2:])
    outside = np.maximum(low - landmarks, landmarks - high).max(axis=1)
    inside = int((outside <= 0).sum())
    face_px = float(np.sqrt(np.prod(landmarks.max(axis=0) - landmarks.min(axis=0))))
    box_px = float(np.sqrt(np.prod(high - low)))
    described = "the face box ({:g}, {:g}, {:g}, {:g})".format(*box)
    if inside < MIN_SHARE_INSIDE * len(landmarks):
        yield f"{inside} of the {len(landmarks)} landmarks lie within {described}: another face's?"
    elif outside.max() > MAX_FROM_BOX * (high - low).max():
        yield f"{_one(landmarks, outside)}, far from {described}: correct it"
    elif face_px < MIN_FACE_IN_BOX * box_px:
        yield f"the landmarks span {face_px:.3g} px, a small part of {described}: was one scaled?"


def _one(landmarks: NDArray[np.float64], outside: NDArray[np.float64]) -> str:
    """Which landmark lies furthest out, and where."""
    worst = int(outside.argmax())
    x, y = landmarks[worst]
    return f"landmark {worst} lies at ({x:.5g}, {y:.5g})"
