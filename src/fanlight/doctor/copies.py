"""Findings about photos: those that are there twice, look the same, or have names that belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.doctor.alike import Groups, neighbours, series_of
from fanlight.doctor.finding import Finding
from fanlight.doctor.reading import Measured
from fanlight.geometry import Floats

ALIKE = 0.9
"""Likeness of two photos from which on they are called the same. Copies that were scaled, cut by up to 5 %,
compressed and boxed anew have 0.92 and more."""

SAME_FACE = 0.5
"""Overlap (IoU) of two face boxes in the same photo from which on they are of one face."""

_LISTED = 6  # lines that a message names
_ROWS, _PAIRS = 64, 1 << 20  # faces of a group, and pairs, that are compared at once


def find_copies(faces: Faces, measured: Measured, series: Sequence[str]) -> Iterator[Finding]:
    """Duplicates, near-duplicates and alike frames of clips; for ``series`` see ``find_names``."""
    same = Groups(len(faces))
    for pairs in _same_pixels(measured.digests):
        same.join(pairs[_overlap(measured.boxes, pairs) >= SAME_FACE])
    for group in same.found():
        yield Finding(
            "duplicate",
            tuple(group),
            f"the same photo {len(group)} times: {_places(faces, group)}",
            _rank(faces, group),
        )
    alike, likeness = Groups(len(faces)), np.zeros(len(faces), np.float32)
    for pairs, values in neighbours(measured.looks, ALIKE):
        other = measured.digests[pairs[:, 0]] != measured.digests[pairs[:, 1]]
        other &= ~_versions(faces, pairs)
        alike.join(pairs[other])
        np.maximum.at(likeness, pairs[other], values[other, None])
    clips: dict[str, list[list[int]]] = defaultdict(list)
    for group in alike.found():
        of_one = len({series[at] for at in group}) == 1 and series[group[0]] != ""
        partitions = {faces.partition_of(at) for at in group}
        if of_one and len(partitions) == 1:
            clips[partitions.pop()].append(group)
            continue
        best = float(likeness[group].max())
        by_name = ", by their names of one series" if of_one else ""
        yield Finding(
            "near-duplicate",
            tuple(group),
            f"{len(group)} photos look the same (likeness {best:.2f}{by_name}): {_places(faces, group)}",
            _rank(faces, group) + best,
        )
    for partition, groups in clips.items():
        yield _frames(faces, partition, groups)


def _frames(faces: Faces, partition: str, groups: Sequence[Sequence[int]]) -> Finding:
    """What neighbouring frames of clips are in a partition: a habit of the whole, not a mistake in each."""
    rows = sorted(at for group in groups for at in group)
    total = len(faces.members(partition))
    return Finding(
        "frames",
        tuple(rows),
        f"{partition}: {len(rows)} of {total} photos look like others of their series, by their names; "
        f"{len(rows) - len(groups)} of them could be left out",
        len(rows) / total,
    )


def find_names(faces: Faces, series: Sequence[str]) -> Iterator[Finding]:
    """Persons and clips that stand in several splits of a subset; ``series`` is what ``name_series`` gives."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, name in enumerate(series):
        if name:
            places[faces.partition_of(at).rpartition("/")[0], name].append(at)
    for (subset, name), group in places.items():
        counts = Counter(faces.partition_of(at).rpartition("/")[2] for at in group)
        if len(counts) > 1:
            shares = " and ".join(f"{count} in {split}" for split, count in sorted(counts.items()))
            yield Finding(
                "same name",
                tuple(group),
                f"{name}: {shares} of {subset}: {_places(faces, group)}",
                len(group),
            )


def name_series(faces: Faces) -> list[str]:
    """The person or clip that each face's file name tells among those of its subset; empty where it tells none."""
    series = [""] * len(faces)
    members: dict[str, list[int]] = defaultdict(list)
    for partition in faces.partitions():
        members[partition.rpartition("/")[0]] += faces.members(partition).tolist()
    for rows in members.values():
        told = series_of([faces.name(at) for at in rows], [faces.partition_of(at) for at in rows])
        for at, name in zip(rows, told, strict=True):
            series[at] = name
    return series


def _same_pixels(digests: NDArray[np.uint64]) -> Iterator[NDArray[np.intp]]:
    """Pairs (P, 2) of faces whose photos are equal: all pairs, as faces of one photo may be several people's.

    Not all at once: thousands of black frames are many pairs.
    """
    order = np.argsort(digests, kind="stable")
    starts = np.flatnonzero(np.diff(digests[order], prepend=digests[order[:1]] + np.uint64(1)))
    pairs: list[NDArray[np.intp]] = []
    count = 0
    for group in np.split(order, starts[1:] if len(starts) else []):
        for first in range(0, len(group) if len(group) > 1 else 0, _ROWS):
            rows = np.arange(first, min(first + _ROWS, len(group)))
            one, other = np.nonzero(rows[:, None] < np.arange(len(group)))
            pairs.append(np.column_stack([group[first + one], group[other]]))
            count += len(one)
            if count > _PAIRS:
                yield np.concatenate(pairs)
                pairs, count = [], 0
    if pairs:
        yield np.concatenate(pairs)


def _overlap(boxes: Floats, pairs: NDArray[np.intp]) -> Floats:
    """Intersection over union of the boxes of each pair."""
    one, other = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    low, high = np.maximum(one[:, :2], other[:, :2]), np.minimum(one[:, 2:], other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (one, other)]
    return shared / np.maximum(areas[0] + areas[1] - shared, 1e-9)


def _versions(faces: Faces, pairs: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pairs are versions of a photo that were made on purpose (``aug_idx``), in one partition."""
    made: NDArray[np.bool_] = np.asarray((faces.aug_indices[pairs] >= 0).any(axis=1))
    for row in np.flatnonzero(made).tolist():
        one, other = pairs[row].tolist()
        made[row] = faces.partition_of(one) == faces.partition_of(other)
    return made


def _rank(faces: Faces, group: Sequence[int]) -> float:
    """Groups across splits come first."""
    return 10.0 * (len({faces.partition_of(at).rpartition("/")[2] for at in group}) > 1)


def _places(faces: Faces, group: Sequence[int]) -> str:
    """Partitions, lines and names of the first faces of a group."""
    listed = [
        f"{faces.name(at)} ({faces.partition_of(at)}, line {faces.line_numbers[at]})"
        for at in group[:_LISTED]
    ]
    more = f" and {len(group) - _LISTED} more" if len(group) > _LISTED else ""
    return ", ".join(listed) + more
