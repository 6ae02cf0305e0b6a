"""Face boxes for archives that have none: chosen among a detector's, or from the landmarks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fanlight.data.archives.contents import Box, Contents, Progress
from fanlight.errors import InputError
from fanlight.geometry import Floats
from fanlight.markup import Markup

Boxes = Literal["archive", "detector", "landmarks"]
Missed = Literal["leave-out", "landmarks"]
FindBox = Callable[[Path, Floats], Box | None]

JAW_MARGINS = (-0.015, 0.37, -0.015, -0.02)
"""Left, top, right, bottom margins of a face box beyond the landmarks' bounding box, in fractions of the latter's
width and height, for mark-ups with a jaw line. Medians over 700 hand-labelled faces of LFPW against the boxes of a
RetinaFace detector; a box made like that overlaps the detector's with an IoU of 0.90 (median)."""

CHIN_MARGINS = (0.1, 0.37, 0.1, -0.02)
"""The same for mark-ups with a chin and no jaw line (cofw29, aflw19): IoU 0.84."""

INNER_MARGINS = (0.1, 0.48, 0.1, 0.28)
"""The same for mark-ups that end at the mouth (ibug51, faces21): IoU 0.83."""

MIN_OVERLAP = 0.2
"""A detected box with a smaller IoU with the landmarks' bounding box is another face's."""


def box_of_landmarks(landmarks: ArrayLike, markup: Markup | None) -> Box:
    """A face box such as a detector would give, from (L, 2) landmarks; without a mark-up, as with a jaw line."""
    points = np.asarray(landmarks, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = high - low
    if markup is None or "jaw" in markup.parts:
        margins = JAW_MARGINS
    else:
        margins = CHIN_MARGINS if "chin" in markup.points else INNER_MARGINS
    left, top, right, bottom = margins
    return (
        float(low[0] - left * width),
        float(low[1] - top * height),
        float(high[0] + right * width),
        float(high[1] + bottom * height),
    )


def choose_box(boxes: Iterable[Box], landmarks: ArrayLike) -> Box | None:
    """The detected box that belongs to a labelled face: the one that overlaps its landmarks' bounding box most.

    Returns:
        None when none overlaps it by ``MIN_OVERLAP`` (intersection over union).
    """
    points = np.asarray(landmarks, dtype=np.float64)
    own = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
    best, most = None, MIN_OVERLAP
    for box in boxes:
        if (overlap := _iou(box, own)) >= most:
            best, most = box, overlap
    return best


def _iou(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _no_detector() -> tuple[str, FindBox]:
    raise InputError("there is no face detector: ask for boxes from the landmarks (--boxes landmarks)")


@dataclass(frozen=True)
class Way:
    """How faces without a box get one, and what becomes of the files.

    Attributes:
        boxes: where boxes come from; None: from the archive, and for faces without from the detector.
        missed: what becomes of a face that the detector does not find.
        detector: makes the detector: its name, and what finds the box of the face with these landmarks in a photo.
        copy: put copies of the photos and labels into the new folder.
        skip_faulty: leave faces out whose labels cannot be used, instead of giving up.
    """

    boxes: Boxes | None = None
    missed: Missed = "leave-out"
    detector: Callable[[], tuple[str, FindBox]] = _no_detector
    copy: bool = False
    skip_faulty: bool = False


def give_boxes(contents: Contents, way: Way, markup: Markup | None, boxing: Progress) -> dict[str, int]:
    """Give each face a box, drop those that get none, and count how many came from where."""
    origins: Counter[str] = Counter()
    kept: list[int] = []
    finder: tuple[str, FindBox] | None = None
    for position, face in enumerate(contents.faces):
        boxing(position, len(contents.faces))
        given = face.box if way.boxes in (None, "archive") else None
        origin = "archive" if given else way.boxes or "detector"
        if origin == "archive" and given is None:
            contents.notes.append(f"{face.photo}: left out, the archive has no box for it")
            continue
        if origin == "detector":
            finder = finder or way.detector()
            try:
                given = finder[1](face.photo, face.landmarks)
            except InputError as error:
                contents.problems.append(str(error))
                continue
            if given is None and way.missed == "leave-out":
                contents.notes.append(
                    f"{face.photo}: left out, the detector misses it (--missed landmarks keeps it)"
                )
                continue
        if given is None:
            given, origin = box_of_landmarks(face.landmarks, markup), "landmarks"
        face.box = given
        kept.append(position)
        origins[f"detector {finder[0]}" if origin == "detector" and finder else origin] += 1
    contents.keep(kept)
    return dict(origins)
