"""A table with a header and a line for each face, separated by commas, semicolons or tabs.

Columns, in any order and case: the photo (``image``, ``image_name``, ``photo``, ``file``, ``filename``,
``path``, ``im_path``); the landmarks as pairs whose names end alike, ``x0``, ``y0``, ``x1``, ``y1`` ... or
``x_0`` or ``original_0_x``, ``original_0_y``, counted from 0 or 1; if known the box, ``left``, ``top``,
``right``, ``bottom`` (also with ``face_box_``, ``box_`` or ``bbox_`` before); if wanted ``subset`` and
``split``. Further columns are left alone.

Convention: continuous coordinates, unless ``offset`` says otherwise: 0.5 for numbers counted from 0 with
pixel centres at whole numbers (dlib, OpenCV), -0.5 for those counted from 1 (MATLAB, .pts). The published
300W table of HRNet lies 2 px from counting from 0: --offset -1.5. The box is taken as it is.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import numpy as np

from fanlight.data.archives.contents import Contents, Face, Request, check_name
from fanlight.data.archives.folder import SPLITS
from fanlight.data.archives.listed import find_photo, list_files, split_of, subset_of
from fanlight.errors import InputError

PHOTO = ("image", "image_name", "photo", "file", "filename", "file_name", "path", "im_path")
SIDES = ("left", "top", "right", "bottom")
_POINT = re.compile(r"(?:(?P<axis>[xy])_?(?P<number>\d{1,5})|(?:.*_)?(?P<number2>\d{1,5})_?(?P<axis2>[xy]))")


def read(request: Request) -> Contents:
    """The faces of one or more tables."""
    contents = Contents()
    files = list_files(request, ".csv")
    for file in files:
        try:
            with open(file, encoding="utf-8-sig", newline="") as stream:
                _read_table(request, file, stream.read(), split_of(request, file, files), contents)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{file}: cannot read the table: {error}") from None
    return contents


def _read_table(request: Request, file: Path, text: str, split: str, contents: Contents) -> None:
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    columns = [name.strip().lower() for name in next(rows, [])]
    photo_column, points, box = _columns(file, columns)
    for row in rows:
        if not any(row):
            continue
        number = rows.line_num
        where = f"{file}:{number}"
        try:
            if len(row) != len(columns):
                raise InputError(f"expected {len(columns)} columns, found {len(row)}")
            values = dict(zip(columns, (cell.strip() for cell in row), strict=True))
            landmarks = np.array([[_number(row[x]), _number(row[y])] for x, y in points])
            face_box = tuple(_number(row[column]) for column in box)
            face_split = values.get("split") or split
            face = Face(
                check_name(values.get("subset") or subset_of(request, file), where),
                SPLITS.get(face_split.lower(), face_split),
                Path(row[photo_column].strip()),
                landmarks + (request.offset or 0.0),
                box=(face_box[0], face_box[1], face_box[2], face_box[3]) if face_box else None,
            )
            check_name(face.split, where)
        except InputError as error:
            contents.problems.append(f"{where}: {error}")
            continue
        contents.expect(face.partition)
        photo = find_photo(request, file, str(face.photo))
        if photo is None:
            contents.notes.append(f"{where}: its photo is missing: {str(face.photo)!r}")
            continue
        face.photo, face.name = photo, f"{photo.stem}_{number}"
        contents.faces.append(face)
        request.progress(len(contents.faces), len(contents.faces))


def _columns(file: Path, columns: list[str]) -> tuple[int, list[tuple[int, int]], list[int]]:
    """Where the photo, the points and the box stand.

    Raises:
        InputError: something is missing or there twice.
    """
    photo = [i for i, name in enumerate(columns) if name in PHOTO]
    axes: dict[str, dict[int, int]] = {"x": {}, "y": {}}
    twice = sorted({name for name in columns if name and columns.count(name) > 1})
    for i, name in enumerate(columns):
        if match := _POINT.fullmatch(name):
            number, axis = int(match["number"] or match["number2"]), match["axis"] or match["axis2"]
            if axes[axis].setdefault(number, i) != i:
                twice.append(name)
    sides = [
        [i for i, name in enumerate(columns) if re.fullmatch(f"(face_box_|b?box_)?{side}", name)]
        for side in SIDES
    ]
    numbers = sorted(axes["x"])
    problems = [f"the column {name!r} is there twice" for name in twice]
    problems += [] if len(photo) == 1 else [f"one column should name the photo: {', '.join(PHOTO)}"]
    if (
        not numbers
        or sorted(axes["y"]) != numbers
        or numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    ):
        problems.append("the points should be columns x0, y0, x1, y1 and so on, without a gap")
    if any(sides) and [len(side) for side in sides] != [1, 1, 1, 1]:
        problems.append("the box should be the four columns left, top, right, bottom")
    if problems:
        raise InputError.collect(problems, f"{file}:1: the table's header cannot be used:")
    return photo[0], [(axes["x"][n], axes["y"][n]) for n in numbers], [side[0] for side in sides if side]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InputError(f"{text!r} is not a number") from None
    if not math.isfinite(value) or "_" in text:
        raise InputError(f"{text!r} is not a finite number")
    return value
