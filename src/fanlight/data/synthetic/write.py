"""A data set of synthetic faces on disk."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from os import PathLike
from pathlib import Path

import cv2

from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.data.synthetic.face import draw_face, sit
from fanlight.errors import InputError
from fanlight.image import write_image

SUBSET = "synthetic"
#: The split of face i is entry i modulo 10: it does not change when more faces are made.
SPLIT_CYCLE = ("train",) * 8 + ("val", "test")
JPEG_QUALITY = 92
MARKER = "synthetic.json"  # tells our folder from others, and which faces it holds
VERSION = 1  # of the drawing: raise it when the same seed gives other faces
SIZES = (32, 2048)


def write_faces(
    out: str | PathLike[str],
    count: int,
    seed: int = 0,
    size: int = 256,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write faces 0 to count - 1 of a series with their landmarks, and an index of them.

    Faces that the folder already holds are kept, so a series can be continued, also after an interruption.

    Args:
        out: the folder: `images/00000.jpg`, `images/00000.pts`, ..., `index.tsv` (subset `synthetic`;
            of every ten faces eight are `train`, one `val`, one `test`).
        count: how many faces.
        seed: of the series.
        size: side of the images, px.
        workers: processes beside this one; 0 draws in this one. A script that asks for some keeps its own
            work under `if __name__ == "__main__":`, because each of them imports it.
        progress: called as progress(done, count) now and then.

    Returns:
        The index's path.

    Raises:
        InputError: the folder holds something else, or another series; or count or size is out of range.
    """
    folder = Path(out)
    _check(count, seed, size, workers)
    _claim(folder, {"generator": "fanlight synthetic faces", "version": VERSION, "seed": seed, "size": size})
    samples = []
    job = partial(_write_face, folder, seed, size)
    with _mapper(workers) as each:
        for sample in each(job, range(count)):
            samples.append(sample)
            if progress is not None:
                progress(len(samples), count)
    index = folder / "index.tsv"
    Index.write(index, samples)
    return index


def _check(count: int, seed: int, size: int, workers: int) -> None:
    problems = []
    if count < 1:
        problems.append(f"count is {count}: expected the number of faces to draw, at least 1")
    if seed < 0:
        problems.append(f"seed is {seed}: expected 0 or a positive whole number")
    if not SIZES[0] <= size <= SIZES[1]:
        problems.append(f"size is {size}: expected {SIZES[0]} to {SIZES[1]} pixels")
    if workers < 0:
        problems.append(f"workers is {workers}: expected 0 (none) or more")
    if problems:
        raise InputError.collect(problems, "Synthetic faces cannot be drawn like that:")


def _claim(folder: Path, series: dict[str, str | int]) -> None:
    """Make the folder ours, or refuse it when it is somebody else's or holds another series."""
    marker = folder / MARKER
    text = json.dumps(series, indent=2) + "\n"
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; expected a folder to write faces into: name another one")
    if folder.exists() and any(folder.iterdir()):
        if not marker.is_file():
            raise InputError(
                f"{folder} holds files that are not synthetic faces; expected an empty or new folder: "
                "name another one"
            )
        found = marker.read_text(encoding="utf-8")
        if found != text:
            raise InputError(
                f"{folder} holds another series of synthetic faces ({_brief(found)}), asked for was "
                f"({_brief(text)}): name another folder, or delete this one"
            )
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        marker.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error}; name another folder") from None


def _brief(marker: str) -> str:
    """The parts of a marker that tell one series from another, in a line."""
    try:
        series = json.loads(marker)
        return ", ".join(f"{key} {series[key]}" for key in ("version", "seed", "size"))
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unreadable marker"


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterator[Sample]]]:
    """`map`, in this process or in several; the order of the results is that of the faces."""
    if workers == 0:
        yield map
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=cv2.setNumThreads, initargs=(0,)
    ) as pool:
        yield partial(pool.map, chunksize=8)


def _write_face(folder: Path, seed: int, size: int, index: int) -> Sample:
    """Draw and write one face, its landmarks last: a face with landmarks is complete."""
    image_path = folder / "images" / f"{index:05d}.jpg"
    landmarks_path = image_path.with_suffix(".pts")
    if image_path.exists() and landmarks_path.exists():
        face_box = sit(seed, index, size).face_box
    else:
        face = draw_face(seed, index, size)
        write_image(image_path, face.image, JPEG_QUALITY)
        write_pts(landmarks_path, face.landmarks)
        face_box = face.face_box
    left, top, right, bottom = face_box.tolist()
    return Sample(
        subset=SUBSET,
        split=SPLIT_CYCLE[index % len(SPLIT_CYCLE)],
        aug_idx=-1,
        image_path=image_path,
        landmarks_path=landmarks_path,
        face_box=(left, top, right, bottom),
    )
