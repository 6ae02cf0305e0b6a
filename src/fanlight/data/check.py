"""Finding the faces of an index that cannot be used, before a training starts.

Only what is surely wrong is reported: photos and labels that cannot be read, and labels and boxes that cannot
belong to their photo.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fanlight.data.faces import Faces, Problem
from fanlight.data.fit import box_faults, fit_faults, label_faults
from fanlight.data.pts import read_pts
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.image import verify_image

if TYPE_CHECKING:
    from fanlight.data.index import Index
    from fanlight.markup import Markup

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
    for message in box_faults(sample.face_box, sample.image_path.name):
        box_is_flat = True
        yield problem(index.path, f"{index.path}:{line}: {message}")
    if landmarks is not None:
        faults = list(label_faults(landmarks, size))
        faults += [] if faults or box_is_flat else fit_faults(landmarks, sample.face_box)
        for message in faults:
            yield problem(
                sample.landmarks_path, f"{sample.landmarks_path}: {message} ({index.path.name}:{line})"
            )


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
