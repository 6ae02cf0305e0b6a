"""How a head is turned, estimated from its landmarks: enough to sort faces into groups, not a pose tracker.

Angles are degrees: yaw is positive when the face turns to the image's right, pitch when it bows, roll when it
tilts clockwise in the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fanlight.distance import check_landmarks
from fanlight.geometry import Floats
from fanlight.markup import Markup

_MIDDLE = {  # cm: x to the image's right (here 0), y down from between the eyes, z towards the camera
    "nose_root": (0.0, 9.16),
    "nose_bridge_upper": (1.4, 9.7),
    "nose_bridge_lower": (2.81, 10.37),
    "nose_tip": (4.21, 10.89),
    "nose_base": (5.16, 8.73),
}
_LEFT = {  # the subject's left side; the right one mirrors it
    "brow_inner": (1.33, -2.21, 8.73),
    "brow_middle": (3.32, -2.69, 7.9),
    "brow_outer": (5.31, -1.97, 6.02),
    "eye_inner": (1.65, 0.0, 7.88),
    "eye_outer": (4.56, -0.15, 6.41),
    "nose_wing": (1.47, 4.94, 8.71),
    "nostril": (0.76, 5.08, 8.51),
    "mouth_corner": (2.53, 7.26, 7.78),
}
HEAD: dict[str, tuple[float, float, float]] = {
    **{point: (0.0, y, z) for point, (y, z) in _MIDDLE.items()},
    **{f"left_{point}": place for point, place in _LEFT.items()},
    **{f"right_{point}": (-x, y, z) for point, (x, y, z) in _LEFT.items()},
}
"""Where named points lie on a mean head: the mean of 400 heads of ``fanlight.data.synthetic``, sides averaged.

Points on the jaw's contour are left out, because they slide along the cheek as the head turns, and so are those
that an expression moves far."""

MIN_POINTS = 8


def known_points(markup: Markup) -> list[int]:
    """The numbers of a mark-up's points whose names have a place on the mean head."""
    return [number for number, point in enumerate(markup.points) if point in HEAD]


def can_estimate_pose(markup: Markup) -> bool:
    """Whether a mark-up names enough points whose place on a head is known."""
    return len(known_points(markup)) >= MIN_POINTS


def estimate_pose(landmarks: ArrayLike, markup: Markup) -> Floats | None:
    """Estimate yaw, pitch and roll of faces.

    The mean head is turned, scaled and shifted, without perspective, to fit the landmarks in the least squares
    sense: an affine camera is fitted and brought to the nearest scaled rotation. On synthetic heads, whose pose is
    known, yaw and roll are right within a few degrees and pitch within about 6; an individual's build and mouth
    are taken for pitch.

    Args:
        landmarks: (N, L, 2), any frame whose y points down.
        markup: the mark-up, by whose names points are found.

    Returns:
        (N, 3) degrees, yaw, pitch, roll; None where the mark-up has fewer than ``MIN_POINTS`` known points.

    Source: the idea of POS in DeMenthon and Davis, Model-based object pose in 25 lines of code, IJCV 1995, with a
    singular value decomposition for the nearest rotation.
    """
    if not can_estimate_pose(markup):
        return None
    known = known_points(markup)
    seen = check_landmarks(landmarks, "true")[:, known]
    head = np.array([HEAD[markup.points[number]] for number in known])
    head -= head.mean(axis=0)
    seen = seen - seen.mean(axis=1, keepdims=True)
    cameras = np.swapaxes(seen, 1, 2) @ np.linalg.pinv(head).T  # (N, 2, 3)
    left, _, right = np.linalg.svd(cameras, full_matrices=False)
    across, down = np.moveaxis(left @ right, 1, 0)  # rows of the rotation
    towards = np.cross(across, down)
    yaw = np.arctan2(-towards[:, 0], towards[:, 2])
    pitch = np.arcsin(np.clip(-towards[:, 1], -1, 1))
    roll = np.arctan2(-across[:, 1], down[:, 1])
    return np.degrees(np.column_stack([yaw, pitch, roll]))
