"""Metrics face by face and landmark by landmark, in Python's own numbers, from their definitions in docs/flow.md.

Nothing here comes from ``fanlight``: it is what the tests compare its metrics with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

Point = Sequence[float]
Shape = Sequence[Point]  # the landmarks of a face


def length(face: Shape, normaliser: str, corners: tuple[int, int], pupils: Sequence[Sequence[int]]) -> float:
    """What the errors of a face are divided by."""
    x, y = [p[0] for p in face], [p[1] for p in face]
    width, height = max(x) - min(x), max(y) - min(y)
    if normaliser == "box":
        return math.sqrt(width * height)
    if normaliser == "box_diagonal":
        return distance((width, height), (0, 0))
    if normaliser == "box_height":
        return height
    if normaliser == "interocular":
        return distance(face[corners[0]], face[corners[1]])
    centres = [
        [math.fsum(face[i][axis] for i in eye) / len(eye) for axis in (0, 1)] for eye in pupils
    ]  # interpupil
    return distance(*centres)


def distance(a: Point, b: Point) -> float:
    across, down = abs(a[0] - b[0]), abs(a[1] - b[1])
    largest = max(across, down)
    return largest * math.sqrt((across / largest) ** 2 + (down / largest) ** 2) if largest else 0.0


def landmark_errors(predicted: Shape, true: Shape, by: float) -> list[float]:
    return [distance(p, t) / by for p, t in zip(predicted, true, strict=True)]


def mean(values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    weights = weights or [1.0] * len(values)
    return math.fsum(w * v for w, v in zip(weights, values, strict=True)) / math.fsum(weights)


def metric(
    kind: str, rule: str, limit: float, errors: Sequence[Sequence[float]], weights: Sequence[float]
) -> float:
    """Any metric of the errors of all landmarks of all faces; equal weights for an unweighted one."""
    faces = [mean(face) for face in errors]
    if kind == "nme":
        return mean(faces, weights)
    if kind == "fr":
        return mean([float(face > limit) for face in faces], weights)
    if kind == "macc":
        within = [
            mean([mean([float(e <= k * limit / 100) for e in f]) for k in range(1, 101)]) for f in errors
        ]
        return mean(within, weights)
    return {"trapezoid": trapezoid, "step": step, "lua": lua, "simpson": simpson}[rule](faces, limit, weights)


def curve(faces: Sequence[float], weights: Sequence[float]) -> list[tuple[float, float]]:
    """The cumulative distribution: (0, 0), and each error with the share of the weights up to it."""
    ordered = sorted((e, w) for e, w in zip(faces, weights, strict=True) if w > 0)
    total = math.fsum(weights)
    shares = [math.fsum(w for _, w in ordered[: i + 1]) / total for i in range(len(ordered))]
    return [(0.0, 0.0), *((error, share) for (error, _), share in zip(ordered, shares, strict=True))]


def trapezoid(faces: Sequence[float], limit: float, weights: Sequence[float]) -> float:
    """Straight lines through the curve's points, flat after the last, cut at the limit."""
    area = []
    for (x0, y0), (x1, y1) in pairwise([*curve(faces, weights), (math.inf, 1.0)]):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        at_end = y1 if end == x1 else y0 + (y1 - y0) * ((end - x0) / (x1 - x0))
        area.append((end - x0) * (y0 + at_end) / 2)
    return math.fsum(area) / limit


def step(faces: Sequence[float], limit: float, weights: Sequence[float]) -> float:
    """The area under the staircase: each face counts from its error on."""
    return mean([max(0.0, limit - face) / limit for face in faces], weights)


def lua(faces: Sequence[float], limit: float, weights: Sequence[float]) -> float:
    """Mean of the curve, counting errors strictly below, at the places i / 999 below the limit."""
    places = [i / 999 for i in range(1000) if i / 999 < limit]
    return mean([mean([float(face < place) for face in faces], weights) for place in places])


def simpson(faces: Sequence[float], limit: float, weights: Sequence[float]) -> float:
    """Parabolas through threes of the curve's values at 0, 1e-4 ... ; the last interval may need one more."""
    h = 1e-4
    places = [i * h for i in range(math.ceil((limit + h) / h))]
    y = [mean([float(face <= place) for face in faces], weights) for place in places]
    area = [h / 3 * (y[i] + 4 * y[i + 1] + y[i + 2]) for i in range(0, len(y) - 2, 2)]
    if len(y) % 2 == 0:
        area.append(h / 12 * (-y[-3] + 8 * y[-2] + 5 * y[-1]))
    return math.fsum(area) / limit


def quantile(values: Sequence[float], share: float) -> float:
    """Between the two values around it, in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's of the ranks, by counting who is before whom; equal values share their mean rank."""
    ranks = [
        [sum(1.0 for o in values if o < v) + sum(0.5 for o in values if o == v) for v in values]
        for values in (first, second)
    ]
    a, b = ([r - mean(ranked) for r in ranked] for ranked in ranks)
    scale = math.sqrt(math.fsum(v * v for v in a) * math.fsum(v * v for v in b))
    return math.fsum(v * w for v, w in zip(a, b, strict=True)) / scale if scale else None


def detection(doubt: Sequence[float], failed: Sequence[bool]) -> float | None:
    """The share of pairs of a failed face and another in which the failed one is doubted more, ties by half."""
    pairs = [
        (d > other) + 0.5 * (d == other)
        for d, f in zip(doubt, failed, strict=True)
        if f
        for other, g in zip(doubt, failed, strict=True)
        if not g
    ]
    return mean(pairs) if pairs else None


def deviation(trail: Sequence[Shape]) -> float:
    """The rms distance of each landmark in all frames from its mean place."""
    away = []
    for i in range(len(trail[0])):
        places = [frame[i] for frame in trail]
        middle = [mean([p[axis] for p in places]) for axis in (0, 1)]
        away += [distance(p, middle) ** 2 for p in places]
    return math.sqrt(mean(away))


def jitter(trail: Sequence[Shape]) -> float:
    """The rms of (-p1 + 3 p2 - 3 p3 + p4) / sqrt(20) over all landmarks and all four frames in a row."""
    moved = []
    for four in zip(trail, trail[1:], trail[2:], trail[3:], strict=False):
        for points in zip(*four, strict=True):
            third = [math.fsum(c * p[a] for c, p in zip((-1, 3, -3, 1), points, strict=True)) for a in (0, 1)]
            moved.append((third[0] ** 2 + third[1] ** 2) / 20)
    return math.sqrt(mean(moved))
