"""Where the errors are: by the head's pose, by the face's size, by the subset, and by the landmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.distance import normalise, point_errors
from fanlight.geometry import Floats
from fanlight.judging.faces import JudgedFaces
from fanlight.judging.pose import MIN_POINTS, estimate_pose, known_points
from fanlight.markup import Markup
from fanlight.metric import SUMMARY_KEYS, summarise, usual_keys

GROUP_KEYS = tuple(key for key in SUMMARY_KEYS if key in ("nme_box", "auc_box_0.07", "fr_box_0.07"))
SIZE_EDGES_PX = (40, 80, 160, 320)
Mask = NDArray[np.bool_]
Way = tuple[str, str, list[tuple[str, Mask]]]


@dataclass(frozen=True)
class Breakdown:
    """Errors of groups of faces.

    Attributes:
        by: what the faces are grouped by: ``yaw``, ``pitch``, ``roll``, ``size`` or ``subset``.
        note: how that was measured.
        rows: the name of each group that has faces, and its ``metric.summarise`` without parts.
    """

    by: str
    note: str
    rows: list[tuple[str, dict[str, Any]]]


def break_down(judged: JudgedFaces, markup: Markup) -> list[Breakdown]:
    """Judge groups of faces; each face is in one group of each breakdown.

    The pose is estimated from the true landmarks (``pose.estimate_pose``), for mark-ups that name enough points;
    others go without. The size is that of the face box, in px of the photo.

    Returns:
        One for each way of grouping that is possible and that splits the faces.
    """
    keys = usual_keys(markup, GROUP_KEYS)
    return [
        Breakdown(by, note, [(name, _summary(judged, mask, markup, keys)) for name, mask in groups])
        for by, note, groups in group_faces(judged, markup)
    ]


def group_faces(judged: JudgedFaces, markup: Markup) -> list[Way]:
    """The groups of ``break_down``: by what, how measured, and the name and the faces of each."""
    ways = [_size_groups(judged.boxes)]
    pose = estimate_pose(judged.true, markup)
    if pose is not None:
        ways = [*_pose_groups(pose, len(known_points(markup))), *ways]
    subsets = np.array(judged.subsets)
    names = dict.fromkeys(judged.subsets)
    ways.append(("subset", "as the index names them", [(name, subsets == name) for name in names]))
    there = [(by, note, [group for group in groups if group[1].any()]) for by, note, groups in ways]
    return [way for way in there if len(way[2]) > 1]


def pose_remark(markup: Markup) -> str | None:
    """Why there are no figures by pose, or None where there are."""
    known = len(known_points(markup))
    if known >= MIN_POINTS:
        return None
    return (
        f"No figures by pose: {known} points of the mark-up {markup.name} bear a name whose place on a head is "
        f"known, and the estimate needs {MIN_POINTS}."
    )


def landmark_errors(judged: JudgedFaces, markup: Markup) -> Floats:
    """(L,) mean error of each landmark over the faces, divided by the size of the face's box."""
    errors = point_errors(judged.predicted, judged.true, normalise(judged.true, markup, "box"))
    return np.asarray(errors.mean(axis=0))


def mean_shape(shapes: Floats, rounds: int = 5) -> Floats:
    """The mean of shapes once they are brought over each other by shift, scale and rotation.

    Args:
        shapes: (N, L, 2), each with some extent.
        rounds: of averaging and fitting.

    Returns:
        (L, 2), centred on (0, 0), of bounding box size 1 (the square root of width times height); upright as the
        faces are in the mean.

    Source: generalised Procrustes analysis (Gower 1975), points as complex numbers.
    """
    points = shapes[..., 0] + 1j * shapes[..., 1]
    points = points - points.mean(axis=1, keepdims=True)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    mean = points.mean(axis=0)
    for _ in range(rounds):
        fitted = points * (points.conj() @ mean)[:, None]  # the best rotation and scale of each
        mean = fitted.mean(axis=0)
        mean = mean / np.linalg.norm(mean)
    upright = np.vdot(mean, points.mean(axis=0))
    mean = mean * upright / abs(upright) if abs(upright) > 0 else mean
    shape = np.column_stack([mean.real, mean.imag])
    size = float(np.sqrt(np.ptp(shape, axis=0).prod()))
    return np.asarray(shape / size)


def _summary(judged: JudgedFaces, mask: Mask, markup: Markup, keys: Sequence[str]) -> dict[str, Any]:
    summary = summarise(judged.predicted[mask], judged.true[mask], replace(markup, parts={}), keys)
    summary.pop("parts")
    return summary


def _size_groups(boxes: Floats) -> Way:
    sizes = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return "size", "square root of the face box's width × height, px", _between(sizes, SIZE_EDGES_PX, " px")


def _pose_groups(pose: Floats, points: int) -> list[Way]:
    yaw, pitch, roll = pose.T
    note = f"estimated from {points} of the true landmarks, right within a few degrees"
    return [
        ("yaw", note, _between(np.abs(yaw), (15, 30, 45, 60), "°")),
        (
            "pitch",
            note,
            [
                ("up, more than 15°", pitch < -15),
                ("level, up to 15°", np.abs(pitch) <= 15),
                ("down, more than 15°", pitch > 15),
            ],
        ),
        ("roll", note, _between(np.abs(roll), (10, 20, 30), "°")),
    ]


def _between(values: Floats, edges: Sequence[float], unit: str) -> list[tuple[str, Mask]]:
    """Groups of values below, between and from the edges on."""
    place = np.digitize(values, edges)
    names = [f"below {edges[0]:g}{unit}"]
    names += [f"{low:g} to {high:g}{unit}" for low, high in pairwise(edges)]
    names += [f"{edges[-1]:g}{unit} and more"]
    return [(name, place == number) for number, name in enumerate(names)]
