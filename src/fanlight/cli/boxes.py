"""Face boxes of photos from a file, for ``fanlight predict``."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from fanlight.cli.console import warn
from fanlight.errors import InputError

Box = tuple[float, float, float, float]
Boxes = dict[Path, list[Box]]

COLUMNS = ("image", "left", "top", "right", "bottom")


def boxes_of(photos: Iterable[Path], file: Path) -> Boxes:
    """The boxes of each photo, matched by path.

    Args:
        photos: the photos.
        file: a CSV with the columns ``COLUMNS``, one face a line, or an index (TSV).

    Raises:
        InputError: the file cannot be used, or has no line for some of the photos.
    """
    if not os.path.exists(file):
        raise InputError(
            f"--boxes {file}: no such file; give a CSV or an index (TSV), or whole to take each photo as one face"
        )
    known = _read_index(file) if file.suffix.lower() == ".tsv" else _read_csv(file)
    found, missing = {}, []
    for photo in photos:
        boxes = known.get(photo.resolve())
        if boxes is None:
            others = [str(path) for path in known if path.name == photo.name]
            missing.append(f"{photo}; it has {others[0]}, another file" if others else f"{photo}")
        else:
            found[photo] = boxes
    if missing:
        raise InputError.collect(missing, f"{file}: has no boxes for these photos; add a line for each face:")
    return found


def _read_index(file: Path) -> Boxes:
    from fanlight.data.index import Index

    boxes: Boxes = {}
    for sample in Index.read(file):
        boxes.setdefault(sample.image_path.resolve(), []).append(sample.face_box)
    return boxes


def _read_csv(file: Path) -> Boxes:
    """A relative name counts from the CSV's folder or, if there is no such file, from here.

    A line without numbers says that the photo has no face. Semicolons may separate, as spreadsheets have it where
    numbers are written with a comma.
    """
    boxes: Boxes = {}
    problems = []
    try:
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as lines:
            separator, comma = (";", ",") if ";" in lines.readline() else (",", ".")
            lines.seek(0)
            rows = csv.DictReader(lines, delimiter=separator)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                found = separator.join(rows.fieldnames or ())
                raise InputError(f"{file}:1: expected the columns {','.join(COLUMNS)}, found {found}")
            for row in rows:
                try:
                    photo, box = _read_row(row, file.parent, comma)
                except ValueError as error:
                    problems.append(f"line {rows.line_num}: {error}")
                else:
                    boxes.setdefault(photo, []).extend(box)
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: cannot read the boxes: {reason}") from None
    if problems:
        raise InputError.collect(problems, f"{file}: cannot be used:")
    if not boxes:
        warn(f"{file}: names no faces")
    return boxes


def _read_row(row: dict[str, str | None], folder: Path, comma: str) -> tuple[Path, list[Box]]:
    """The photo of a line, and its box if there is one.

    Args:
        row: text by column.
        folder: where relative names count from.
        comma: what comes before decimals.

    Raises:
        ValueError: the line cannot be used; the message names the column.
    """
    from fanlight.geometry import check_box

    name, *sides = (row[column] for column in COLUMNS)
    if not name or "\0" in name:
        raise ValueError("image is empty, or holds a NUL character: expected a photo's name")
    beside = folder / name
    photo = (beside if os.path.exists(beside) else Path(name)).resolve()
    if not any(sides):
        return photo, []
    numbers = []
    for column, text in zip(COLUMNS[1:], sides, strict=True):
        try:
            numbers.append(float((text or "").replace(comma, ".")))
        except ValueError:
            raise ValueError(
                f"{column} is {text!r}: expected a number" if text else f"{column} is missing"
            ) from None
    return photo, [check_box(numbers)]
