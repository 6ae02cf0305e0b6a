"""A plain symmetric face in every mark-up, from curves that know the order of the points but no names.

Coordinates are in a box of side 1; the subject's right is the picture's left, so right sides are drawn at x < 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def mirrored(points: Points) -> Points:
    return np.column_stack([1 - points[:, 0], points[:, 1]])


def jaw(count: int) -> Points:
    """From the right ear over the chin to the left ear."""
    angle = np.linspace(np.pi, 0, count)
    return np.column_stack([0.5 + 0.45 * np.cos(angle), 0.35 + 0.6 * np.sin(angle)])


def arc(start: tuple[float, float], end: tuple[float, float], height: float, at: Points) -> Points:
    """A parabola between two points that rises by ``height`` (negative: falls) in the middle."""
    line = np.outer(1 - at, start) + np.outer(at, end)
    line[:, 1] -= height * 4 * at * (1 - at)
    return line


def brow_top(count: int) -> Points:
    """The right brow's upper edge, from the outer end to the inner one."""
    return arc((0.13, 0.28), (0.42, 0.26), 0.06, np.linspace(0, 1, count))


def brow_bottom(count: int) -> Points:
    """The right brow's lower edge, likewise, both ends included."""
    return arc((0.14, 0.30), (0.42, 0.29), 0.05, np.linspace(0, 1, count))


OUTER, INNER = (0.2, 0.39), (0.38, 0.40)
PUPIL = np.array([[0.29, 0.393]])


def lid(at: list[float], height: float) -> Points:
    return arc(OUTER, INNER, height, np.array(at))


def eye(top: list[float], bottom: list[float]) -> Points:
    """The right eye: outer corner, upper lid inwards, inner corner, lower lid outwards."""
    return np.vstack([lid([0.0, *top, 1.0], 0.035), lid(bottom, -0.02)])


def left_eye(right: Points) -> Points:
    """The left eye as mark-ups number it: inner corner, upper lid outwards, outer corner, lower lid inwards."""
    upper = (len(right) + 2 + 1) // 2
    top, bottom = right[:upper], right[upper:]
    return mirrored(np.vstack([top[::-1], bottom[::-1]]))


BRIDGE = np.column_stack([np.full(4, 0.5), [0.38, 0.45, 0.52, 0.59]])
BASE = np.array([(0.42, 0.63), (0.46, 0.645), (0.5, 0.655), (0.54, 0.645), (0.58, 0.63)])
NOSE_SIDE = np.array([(0.45, 0.43), (0.43, 0.52), (0.40, 0.60)])  # right, from the top

CORNER = (0.33, 0.76)


def lips(places: list[float], height: float, corner: tuple[float, float] = CORNER) -> Points:
    return arc(corner, (1 - corner[0], corner[1]), height, np.array(places))


def outer_lips(top: list[float], bottom: list[float]) -> Points:
    return np.vstack([lips([0.0, *top, 1.0], 0.045), lips(bottom, -0.07)])


def inner_lips(top: list[float], bottom: list[float]) -> Points:
    corner = (0.36, 0.76)
    return np.vstack([lips([0.0, *top, 1.0], 0.012, corner), lips(bottom, -0.025, corner)])


SIXTHS = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6]
QUARTERS = [1 / 4, 2 / 4, 3 / 4]
THIRDS = [1 / 3, 2 / 3]
MOUTH = [outer_lips(SIXTHS, SIXTHS[::-1]), inner_lips(QUARTERS, QUARTERS[::-1])]


def ibug51() -> Points:
    right = eye(THIRDS, THIRDS[::-1])
    brow = brow_top(5)
    return np.vstack([brow, mirrored(brow)[::-1], BRIDGE, BASE, right, left_eye(right), *MOUTH])


def ibug68() -> Points:
    return np.vstack([jaw(17), ibug51()])


def ibug100() -> Points:
    low = brow_bottom(4) + np.array([0, 0.01])
    right = np.vstack([lid([0.15, 0.5, 0.85], 0.035), lid([0.5], -0.02)])
    left = mirrored(np.vstack([right[2::-1], right[3:]]))
    side = NOSE_SIDE[[0, 2]]
    fifths = lips([0.25, 0.75], 0.045), lips([0.75, 0.25], -0.07)
    inner_top = inner_lips([0.08, 0.16, 0.84, 0.92], [])[1:-1]
    inner_bottom = inner_lips([], [0.92, 0.84, 0.16, 0.08])[2:]
    return np.vstack(
        [
            ibug68(),
            low,
            mirrored(low)[::-1],
            right,
            left,
            side,
            mirrored(side),
            *fifths,
            inner_top,
            inner_bottom,
        ]
    )


def dense(nose: Points, centres: bool) -> Points:
    """What wflw98 and lapa106 share."""
    brow = np.vstack([brow_top(5), brow_bottom(5)[:0:-1]])
    left_brow = mirrored(np.vstack([brow_top(5)[::-1], brow_bottom(5)[1:]]))
    right = eye(QUARTERS, QUARTERS[::-1])
    centre = PUPIL + np.array([0, 0.01]) if centres else np.empty((0, 2))
    eyes = [right, centre, left_eye(right), mirrored(centre)]
    return np.vstack([jaw(33), brow, left_brow, BRIDGE, nose, *eyes, *MOUTH, PUPIL, mirrored(PUPIL)])


def wflw98() -> Points:
    return dense(BASE, centres=False)


def lapa106() -> Points:
    return dense(np.vstack([NOSE_SIDE, BASE, mirrored(NOSE_SIDE)[::-1]]), centres=True)


def cofw29() -> Points:
    top, bottom = brow_top(3), brow_bottom(3)
    ring = eye([0.5], [0.5])  # outer, top, inner, bottom
    pairs = [top[[0]], top[[2]]]
    points = [side for point in pairs for side in (point, mirrored(point))]
    middle = np.vstack([top[[1]], bottom[[1]]])
    points += [middle, mirrored(middle)]
    points += [side for i in (0, 2) for side in (ring[[i]], mirrored(ring[[i]]))]
    lids = ring[[1, 3]]
    points += [lids, mirrored(lids), PUPIL, mirrored(PUPIL)]
    points += [BASE[[0]], BASE[[4]], BRIDGE[[3]], BASE[[2]]]
    outer, inner = MOUTH
    points += [outer[[0, 6]], outer[[3]], inner[[2]], inner[[6]], outer[[9]], jaw(3)[[1]]]
    return np.vstack(points)


def aflw19() -> Points:
    brow, ring = brow_top(3), eye([0.5], [0.5])
    right = np.vstack([ring[[0]], PUPIL, ring[[2]]])
    mouth = np.vstack([lips([0.0], 0.0), [[0.5, 0.765]], lips([1.0], 0.0)])
    nose = np.vstack([BASE[[0]], BRIDGE[[3]], BASE[[4]]])
    halves = [brow, mirrored(brow)[::-1], right, mirrored(right)[::-1]]
    return np.vstack([*halves, nose, mouth, jaw(3)[[1]]])


SHAPES = {make.__name__: make for make in (ibug51, ibug68, ibug100, wflw98, lapa106, cofw29, aflw19)}
