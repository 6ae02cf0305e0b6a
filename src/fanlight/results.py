"""Faces in files: ``.pts``, CSV and COCO-like JSON.

>>> from fanlight.results import write_json
>>> write_json("faces.json", model.predict_many("photos"), model.markup)  # doctest: +SKIP

Each function takes what ``predict_many`` yields, a path and its faces at a time, and keeps no face. A file
appears whole when all is written, or not at all, and then an older one of that name is untouched. Several at once,
from one pass over the photos::

    with CsvFile("faces.csv", model.markup) as table, JsonFile("faces.json", model.markup) as file:
        for path, faces in model.predict_many("photos"):
            table.add(path, faces)
            file.add(path, faces)
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, Self, TextIO

import numpy as np

from fanlight.data.pts import format_pts
from fanlight.durable import side_file, write_whole
from fanlight.errors import InputError
from fanlight.image import image_size
from fanlight.markup import Markup
from fanlight.photos import SUFFIXES
from fanlight.predict import Face
from fanlight.provenance import made_by

Results = Iterable[tuple[Path, Sequence[Face]]]
Name = str | PathLike[str]

BOX_COLUMNS = ("image", "left", "top", "right", "bottom")
"""Columns of a CSV that names the face boxes of photos; ``write_csv`` writes them too."""


class Writer(Protocol):
    """What takes faces photo by photo."""

    def add(self, photo: Path, faces: Sequence[Face]) -> None:
        """Write the faces of a photo."""


def write_pts(folder: Name, results: Results, names: Mapping[Path, str] | None = None) -> None:
    """Write a ``.pts`` file for each face; see ``PtsFolder``."""
    _write(PtsFolder(folder, names), results)


def write_csv(path: Name, results: Results, markup: Markup) -> None:
    """Write a table with a line for each face; see ``CsvFile``."""
    with CsvFile(path, markup) as file:
        _write(file, results)


def write_json(path: Name, results: Results, markup: Markup) -> None:
    """Write annotations like those of COCO; see ``JsonFile``."""
    with JsonFile(path, markup) as file:
        _write(file, results)


class PtsFolder:
    """Landmarks as ``.pts`` files, which count from 1 at pixel centres: continuous coordinates + 0.5.

    The first face of a photo goes to NAME.pts, further ones to NAME_2.pts and so on; without a face there is none.
    What an earlier call wrote for more faces of the photo is removed.

    Args:
        folder: where the files go; made when the first is written.
        names: NAME for each photo, which may begin with folders (see ``result_names``); its stem when None.
    """

    def __init__(self, folder: Name, names: Mapping[Path, str] | None = None) -> None:
        self._folder, self._names = Path(folder), names
        self._written: set[str] = set()

    def add(self, photo: Path, faces: Sequence[Face]) -> None:
        """Write the faces of a photo.

        Raises:
            InputError: a face of another photo has a file of that name, or it cannot be written.
        """
        name = photo.stem if self._names is None else self._names[photo]
        for number, face in enumerate(faces, 1):
            file = f"{name}{face_suffix(number)}.pts"
            if file in self._written:
                raise InputError(
                    f"{photo}: {file} holds a face of another photo: give names to tell them apart"
                )
            write_whole(self._folder / file, format_pts(face.landmarks), lasting=False)
            self._written.add(file)
        self._remove_more(photo, name, len(faces) + 1)

    def _remove_more(self, photo: Path, name: str, number: int) -> None:
        """Remove the files of a photo's faces from this number on, but not those of a photo called NAME_2."""
        while (file := f"{name}{face_suffix(number)}.pts") not in self._written:
            path = self._folder / file
            others = {
                place / f"{path.stem}{suffix}" for place in (photo.parent, path.parent) for suffix in SUFFIXES
            }
            if not path.exists() or any(other.exists() for other in others - {photo}):
                return
            path.unlink()
            number += 1


class _OneFile:
    """A text file that is put in place when its block ends without an error."""

    def __init__(self, path: Name, markup: Markup) -> None:
        self.path, self.markup = Path(path), markup
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            side = stack.enter_context(side_file(self.path, lasting=False))
            self._text = stack.enter_context(_open_text(side))
            self._begin()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *raised: Any) -> None:
        if raised[0] is None:
            self._end()
        self._stack.__exit__(*raised)

    def _begin(self) -> None:
        """Write what comes before the first photo."""

    def _end(self) -> None:
        """Write what comes after the last photo."""


class CsvFile(_OneFile):
    """A table with a line for each face, coordinates continuous: the first pixel's centre is (0.5, 0.5).

    Columns: ``image``, ``face`` (1 for a photo's first), the box as ``left``, ``top``, ``right``, ``bottom``,
    ``score`` (the landmarks' mean), and for each landmark ``x0``, ``y0``, ``score0`` and so on. A photo without a
    face has one line: face 0, the rest empty.

    Args:
        path: the file to write, within a ``with`` block.
        markup: of the landmarks.
    """

    def _begin(self) -> None:
        self._rows = csv.writer(self._text, lineterminator="\n")
        points = (f"{what}{i}" for i in range(self.markup.count) for what in ("x", "y", "score"))
        self._rows.writerow(["image", "face", *BOX_COLUMNS[1:], "score", *points])

    def add(self, photo: Path, faces: Sequence[Face]) -> None:
        """Write the faces of a photo."""
        name = _cell(photo)
        if not faces:
            self._rows.writerow([name, 0, *[""] * (5 + 3 * self.markup.count)])
        for number, face in enumerate(faces, 1):
            values = [*face.box, face.scores.mean(), *np.column_stack([face.landmarks, face.scores]).ravel()]
            self._rows.writerow([name, number, *(f"{value:.3f}" for value in values)])


def _cell(photo: Path) -> str:
    """A photo's path in a table, after ``./`` (the same file) where spreadsheets would see a formula."""
    name = photo.as_posix()
    return f"./{name}" if name[0] in "=+-@\t\r" else name


class JsonFile(_OneFile):
    """Annotations like those of COCO keypoints, in its index coordinates: the first pixel's centre is (0, 0).

    ``keypoints`` has x, y and score for each landmark in turn (COCO has a flag for visible in the score's place),
    ``bbox`` left, top, width, height; x, y, left and top are continuous coordinates - 0.5. ``score`` is the mean
    of the landmarks'. Landmarks' names and lines are those of the mark-up; as in COCO, ``skeleton`` counts from
    1. A photo without a face is among ``images`` and has no annotation.

    Args:
        path: the file to write, within a ``with`` block.
        markup: of the landmarks.
        networks: those that found them, as ``models.identity`` gives them.
    """

    def __init__(self, path: Name, markup: Markup, networks: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(path, markup)
        self.networks = [dict(network) for network in networks]

    def _begin(self) -> None:
        self._images: list[str] = []
        self._count = 0
        info: dict[str, Any] = {
            "description": f"faces with the landmarks of {self.markup.name}, found by fanlight",
            "coordinates": "index: the centre of an image's first pixel is (0, 0); its upper left corner, "
            "(-0.5, -0.5)",
            "keypoints": "x, y, score of each landmark",
            "bbox": "left, top, width, height of the face box that the landmarks were looked for in",
            "provenance": {**made_by(), "networks": self.networks},
        }
        category = {
            "id": 1,
            "name": "face",
            "keypoints": list(self.markup.points),
            "skeleton": [[first + 1, last + 1] for first, last in self.markup.edges],
        }
        self._text.write(f'{{\n "info": {json.dumps(info)},\n "categories": [{json.dumps(category)}],\n')
        self._text.write(' "annotations": [')

    def add(self, photo: Path, faces: Sequence[Face]) -> None:
        """Write the faces of a photo, whose size is read from its file.

        Raises:
            InputError: the photo's file cannot be read.
        """
        width, height = image_size(photo)
        image = {"id": len(self._images) + 1, "file_name": photo.as_posix(), "width": width, "height": height}
        self._images.append(json.dumps(image))
        for face in faces:
            self._text.write("," if self._count else "")
            self._count += 1
            left, top, right, bottom = face.box.tolist()
            annotation = {
                "id": self._count,
                "image_id": image["id"],
                "category_id": 1,
                "bbox": _rounded([left - 0.5, top - 0.5, right - left, bottom - top]),
                "area": round((right - left) * (bottom - top), 3),
                "iscrowd": 0,
                "num_keypoints": self.markup.count,
                "keypoints": _rounded(np.column_stack([face.landmarks - 0.5, face.scores]).ravel()),
                "score": round(float(face.scores.mean()), 4),
            }
            self._text.write("\n  " + json.dumps(annotation))

    def _end(self) -> None:
        self._text.write('\n ],\n "images": [\n  ' + ",\n  ".join(self._images) + "\n ]\n}\n")


def face_suffix(number: int) -> str:
    """What tells a photo's second face and later ones from the first, in the names of their files."""
    return "" if number == 1 else f"_{number}"


def result_names(photos: Iterable[Path], folders: Sequence[Path] = ()) -> dict[Path, str]:
    """Name each photo's results, so that no two share a file however many faces there are.

    A name is the photo's stem; where others would use it too, the file's name with its ending; where that is not
    enough, with the folder before it.

    Args:
        photos: the photos.
        folders: where they were found; names begin with the folders between these and the photo.

    Raises:
        InputError: two photos cannot be told apart.
    """
    ways = {photo: _ways(photo, folders) for photo in photos}
    names = {photo: options.pop(0) for photo, options in ways.items()}
    while True:
        uses = Counter(name.casefold() for name in names.values())  # to some systems A and a are one
        for photo in (shared := [p for p, name in names.items() if _is_shared(name.casefold(), uses)]):
            if not ways[photo]:
                raise InputError(
                    f"{photo}: its results would share the name {names[photo]} with another photo's: predict such "
                    "photos in separate calls, each with a folder of its own"
                )
            names[photo] = ways[photo].pop(0)
        if not shared:
            return names


def _ways(photo: Path, folders: Sequence[Path]) -> list[str]:
    """What a photo's results may be called, best first."""
    folder = next((folder for folder in folders if photo.is_relative_to(folder)), photo.parent)
    inside = photo.relative_to(folder)
    outside = folder.resolve().name / inside
    return [way.as_posix() for whole in (inside, outside) for way in (whole.with_suffix(""), whole)]


def _is_shared(name: str, uses: Mapping[str, int]) -> bool:
    """Whether a name is another's too, or that of another's second face or a later one."""
    stem, _, number = name.rpartition("_")
    return uses[name] > 1 or (stem in uses and number.isdecimal() and int(number) > 1)


def _open_text(path: Path) -> TextIO:
    """A file for text, in which names of files may hold bytes that are not UTF-8."""
    return open(path, "w", encoding="utf-8", errors="surrogateescape", newline="")


def _write(writer: Writer, results: Results) -> None:
    for photo, faces in results:
        writer.add(photo, faces)


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(float(value), 3) for value in values]
