"""Two sets of predictions of the same faces, set against each other face by face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.data.dataset import FaceDataset
from fanlight.data.faces import Faces
from fanlight.errors import InputError
from fanlight.geometry import Floats, transform
from fanlight.judging.breakdown import GROUP_KEYS, group_faces
from fanlight.judging.evaluate import judge
from fanlight.judging.faces import JudgedFaces, PartitionResult, Wanted
from fanlight.judging.predictions import Origin, Predictions
from fanlight.markup import Markup
from fanlight.metric import Metric, compare, usual_keys


@dataclass(frozen=True)
class PairView:
    """One face as A and B see it.

    Attributes:
        caption: what it is, usually its file name.
        image: (S, S, 3) uint8 RGB, the crop that A's network saw.
        a: (L, 2), landmarks by A, in px of this crop.
        b: (L, 2), by B.
        true: (L, 2).
        error_a: mean landmark error of A over the size of the true landmarks' box, a fraction.
        error_b: of B.
    """

    caption: str
    image: NDArray[np.uint8]
    a: Floats
    b: Floats
    true: Floats
    error_a: float
    error_b: float


@dataclass(frozen=True)
class ComparedPartition:
    """One partition, judged for A and B.

    Attributes:
        name: such as ``lfpw/val``.
        comparison: from ``metric.compare``: each metric of A, of B, and B minus A.
        errors_a: (N,) box-normalised error of each face by A.
        errors_b: (N,) by B.
        groups: for each way of grouping (pose, size, subset): its name, how it was measured, and for each group
            its name and its ``metric.compare``.
        faces: those where A and B differ most, the largest difference first.
    """

    name: str
    comparison: dict[str, Any]
    errors_a: Floats
    errors_b: Floats
    groups: list[tuple[str, str, list[tuple[str, dict[str, Any]]]]] = field(default_factory=list)
    faces: list[PairView] = field(default_factory=list)


def compare_predictions(
    a: Predictions, b: Predictions, index: Faces, partitions: Sequence[str], wanted: Wanted | None = None
) -> list[ComparedPartition]:
    """Judge A and B on the same faces, in pairs.

    Args:
        a: predictions of the partitions' faces.
        b: predictions of the same faces, with the same mark-up.
        index: holds the partitions.
        partitions: each ``subset/split``.
        wanted: metrics, mirroring, and with ``leaf`` how many of the faces that differ most to show.

    Returns:
        One for each partition, and a last one called ``all`` where there are several.

    Raises:
        InputError: the mark-ups differ, or as ``judge``.
    """
    wanted = wanted or Wanted()
    markup = a.origin.markup
    check_same_points(a.origin, b.origin)
    plain = Wanted(wanted.keys, wanted.flip)
    both = zip(judge(a, index, partitions, plain), judge(b, index, partitions, plain), strict=True)
    compared = [_compare(first, second, markup, wanted) for first, second in both]
    if not wanted.leaf:
        return compared
    faces = index.select(partitions)
    names = np.array([faces.partition_of(position) for position in range(len(faces))])
    return [
        part
        if part.name == "all"
        else replace(part, faces=_views(a, b, faces.take(names == part.name), part, wanted))
        for part in compared
    ]


def check_same_points(a: Origin, b: Origin) -> None:
    """Refuse to compare landmarks that are not the same points.

    Raises:
        InputError: the points of the mark-ups differ.
    """
    first, second = a.markup, b.markup
    if first.points != second.points:
        raise InputError(
            f"{a.model} predicts the {first.count} points of {first.name}, {b.model} the "
            f"{second.count} of {second.name}: only the same points can be compared"
        )


def better(key: str, difference: dict[str, float]) -> str | None:
    """Who is better by a metric, as far as its interval tells.

    Args:
        key: the metric's key.
        difference: ``{"value", "low", "high"}`` of B minus A.

    Returns:
        ``"A"`` or ``"B"`` where the interval lies on one side of 0; None where it does not.

    >>> better("nme_box", {"value": -0.01, "low": -0.02, "high": -0.005})
    'B'
    """
    if difference["low"] <= 0 <= difference["high"]:
        return None
    return "B" if (difference["value"] > 0) == Metric.parse(key).larger_is_better else "A"


def _compare(
    first: PartitionResult, second: PartitionResult, markup: Markup, wanted: Wanted
) -> ComparedPartition:
    a, b = first.judged, second.judged
    groups = [
        (by, note, [(name, _pair(a, b, mask, markup)) for name, mask in rows])
        for by, note, rows in group_faces(a, markup)
    ]
    return ComparedPartition(
        name=first.name,
        comparison=compare(a.predicted, b.predicted, a.true, markup, wanted.keys, a.weights),
        errors_a=first.errors_box,
        errors_b=second.errors_box,
        groups=groups,
    )


def _pair(a: JudgedFaces, b: JudgedFaces, mask: NDArray[np.bool_], markup: Markup) -> dict[str, Any]:
    keys = usual_keys(markup, GROUP_KEYS)
    return compare(a.predicted[mask], b.predicted[mask], a.true[mask], markup, keys)


def _views(
    a: Predictions, b: Predictions, faces: Faces, part: ComparedPartition, wanted: Wanted
) -> list[PairView]:
    """The faces of one partition where A and B differ most, either way."""
    order = np.argsort(-np.abs(part.errors_b - part.errors_a), kind="stable")[: wanted.leaf]
    chosen, origin = faces.take(order), a.origin
    dataset = FaceDataset(chosen, origin.markup, origin.crop, origin.input_size)
    by_a, by_b = (found.of(chosen, wanted.flip).landmarks(wanted.flip) for found in (a, b))
    views = []
    for row, rank in enumerate(order.tolist()):
        item = dataset[(0, row)]
        matrix = item["matrix"].double().numpy()
        views.append(
            PairView(
                caption=chosen.name(row),
                image=item["image"].numpy(),
                a=transform(matrix, by_a[row]),
                b=transform(matrix, by_b[row]),
                true=item["landmarks"].double().numpy(),
                error_a=float(part.errors_a[rank]),
                error_b=float(part.errors_b[rank]),
            )
        )
    return views
