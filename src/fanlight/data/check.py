"""Finding the faces of an index that cannot be used, before a training starts.

Only what is surely wrong is reported: photos and labels that cannot be read, and labels and boxes that cannot
belong to their photo. Real faces reach over the photo's edge and detectors differ in their boxes, so the limits
are wide.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces, Problem
from fanlight.data.pts import read_pts
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.image import verify_image

if TYPE_CHECKING:
    from fanlight.data.index import Index, Sample
    from fanlight.markup import Markup

MIN_SIDE_PX = 2.0
"""A face box, or the landmarks' bounding box, of a shorter side has no size."""

MIN_SHARE_INSIDE = 0.25
"""The least share of landmarks within the photo, and within the face box. The lowest among 6,271 real faces: 0.48
within the photo, 0.66 within the box."""

MAX_FAR_OUT = 1.0
"""How far outside the photo a landmark may lie, as a fraction of its longer side. The highest there: 0.18."""

MIN_FACE_IN_BOX = 0.1
"""The least size of the landmarks' bounding box as a fraction of the face box's. The lowest there: 0.42."""

_CHUNK = 32  # samples that a thread checks at a time
_LISTED = 50  # problems that one message shows
_ALIKE = 5  # files with the very same problem that it names


def check(
    index: Index, markup: Markup, workers: int = 0, progress: Callable[[int, int], None] | None = None
) -> list[Problem]:
    """Look for every face that cannot be used: both files are read, and compared with the mark-up and the box.

    Args:
        index: the faces to check.
        markup: the mark-up their labels should follow.
        workers: how many threads; 0 takes one for every core.
        progress: called now and then with the number of faces checked and that of all faces.

    Returns:
        problems: in the order of the index, several for one face if need be; empty when all is well.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    starts = range(0, len(index), _CHUNK)

    def check_chunk(start: int) -> list[Problem]:
        positions = range(start, min(start + _CHUNK, len(index)))
        return [problem for position in positions for problem in check_sample(index, position, markup)]

    problems: list[Problem] = []
    pool = ThreadPoolExecutor(workers or cores)
    try:
        for start, found in zip(starts, pool.map(check_chunk, starts), strict=True):
            problems += found
            if progress:
                progress(min(start + _CHUNK, len(index)), len(index))
    finally:
        pool.shutdown(cancel_futures=True)
    return problems


def check_sample(index: Index, position: int, markup: Markup) -> Iterator[Problem]:
    """What is wrong with one face."""
    sample, line = index[position], int(index.line_numbers[position])

    def problem(path: Path, message: str) -> Problem:
        return Problem(position, line, path, message)

    size, landmarks = None, None
    try:
        size = verify_image(sample.image_path)
    except InputError as error:
        yield problem(sample.image_path, str(error))
    try:
        landmarks = read_pts(sample.landmarks_path)
    except InputError as error:
        yield problem(sample.landmarks_path, str(error))
    if landmarks is not None and len(landmarks) != markup.count:
        yield problem(
            sample.landmarks_path,
            f"{sample.landmarks_path}: has {len(landmarks)} points, the mark-up {markup.name} has {markup.count}: "
            "choose the mark-up (data.markup in a recipe, --markup elsewhere), or remove the face from the index",
        )
        landmarks = None
    box_is_flat = False
    for message in _box_faults(sample):
        box_is_flat = True
        yield problem(index.path, f"{index.path}:{line}: {message}")
    if landmarks is not None:
        faults = list(_label_faults(landmarks, size))
        faults += [] if faults or box_is_flat else _fit_faults(landmarks, sample)
        for message in faults:
            yield problem(
                sample.landmarks_path, f"{sample.landmarks_path}: {message} ({index.path.name}:{line})"
            )


def _box_faults(sample: Sample) -> Iterator[str]:
    left, top, right, bottom = sample.face_box
    if right - left < MIN_SIDE_PX or bottom - top < MIN_SIDE_PX:
        yield (
            f"the face box of {sample.image_path.name} is {right - left:g} x {bottom - top:g} px "
            "(left, top, right, bottom are expected): correct it or remove the face"
        )


def _label_faults(landmarks: NDArray[np.float64], size: tuple[int, int] | None) -> Iterator[str]:
    """What is wrong with landmarks by themselves and, where it could be read, with the photo's size."""
    width, height = landmarks.max(axis=0) - landmarks.min(axis=0)
    if min(width, height) < MIN_SIDE_PX:
        yield f"the landmarks span {width:.3g} x {height:.3g} px, so they are no face"
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
        worst = int(outside.argmax())
        x, y = landmarks[worst]
        yield f"landmark {worst} lies at ({x:.5g}, {y:.5g}), far outside {photo}"


def _fit_faults(landmarks: NDArray[np.float64], sample: Sample) -> Iterator[str]:
    """What is wrong between landmarks and their face box, both of some size."""
    box = np.array(sample.face_box)
    inside = int(((landmarks >= box[:2]) & (landmarks <= box[2:])).all(axis=1).sum())
    face_px = float(np.sqrt(np.prod(landmarks.max(axis=0) - landmarks.min(axis=0))))
    box_px = float(np.sqrt(np.prod(box[2:] - box[:2])))
    described = "the face box ({:g}, {:g}, {:g}, {:g})".format(*sample.face_box)
    if inside < MIN_SHARE_INSIDE * len(landmarks):
        yield f"{inside} of the {len(landmarks)} landmarks lie within {described}: another face's?"
    elif face_px < MIN_FACE_IN_BOX * box_px:
        yield f"the landmarks span {face_px:.3g} px, a small part of {described}: was one scaled?"


# ---------------------------------------------------------------------------- reporting


def problems_error(faces: Faces, problems: Sequence[Problem]) -> InputError:
    """All problems of a data set as one error, of which the message shows the first ones."""
    count = len({problem.position for problem in problems})
    shown = _shorten([problem.message for problem in problems])
    if len(shown) > _LISTED:
        shown[_LISTED:] = [f"... and {len(shown) - _LISTED} more"]
    heading = (
        f"{faces.where}: {count} of {len(faces)} faces cannot be used: mend them, remove them from the index, "
        "or train without them by fanlight train --skip-invalid:"
    )
    error = InputError.collect(shown, heading)
    error.problems = tuple(problem.message for problem in problems)
    return error


def _shorten(messages: Sequence[str]) -> list[str]:
    """Messages ``FILE: what is wrong``; of many that say the same, the first ones and how many more there are."""
    said = Counter(message.partition(": ")[2] for message in messages)
    shown: list[str] = []
    told: Counter[str] = Counter()
    for message in messages:
        why = message.partition(": ")[2]
        told[why] += 1
        if said[why] <= _ALIKE or told[why] < _ALIKE:
            shown.append(message)
        elif told[why] == _ALIKE:
            shown.append(f"... and {said[why] - told[why] + 1} more files: {why}")
    return shown


def write_problems(path: str | PathLike[str], problems: Sequence[Problem]) -> None:
    """Write the list of problems as a TSV file: line of the index, position, file, message.

    Raises:
        InputError: it cannot be written.
    """
    rows = [(str(p.line), str(p.position), str(p.path), p.message) for p in problems]
    lines = ["line\tposition\tpath\tmessage"]
    lines += ["\t".join(" ".join(cell.split()) for cell in row) for row in rows]
    write_whole(path, "\n".join(lines) + "\n")
