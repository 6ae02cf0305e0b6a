"""Face boxes of photos from a file, for ``fanlight predict``."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from fanlight.cli.console import err
from fanlight.errors import InputError

Boxes = dict[Path, list[tuple[float, float, float, float]]]

COLUMNS = ("image", "left", "top", "right", "bottom")


def boxes_of(photos: Iterable[Path], file: Path) -> Boxes:
    """The boxes of each photo, matched by path.

    Args:
        photos: the photos.
        file: a CSV with the columns ``COLUMNS``, one face a line, or an index (TSV).

    Raises:
        InputError: the file cannot be used, or has no line for some of the photos.
    """
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

    A line without numbers says that the photo has no face.
    """
    from fanlight.geometry import check_box

    boxes: Boxes = {}
    problems = []
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = csv.DictReader(lines)
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise InputError(
                    f"{file}:1: expected the columns {','.join(COLUMNS)}, found {rows.fieldnames}"
                )
            for row in rows:
                try:
                    beside = file.parent / row["image"]
                    photo = beside if beside.exists() else Path(row["image"])
                    faces = boxes.setdefault(photo.resolve(), [])
                    if any(row[name] for name in COLUMNS[1:]):
                        faces.append(check_box([float(row[name]) for name in COLUMNS[1:]]))
                except (TypeError, ValueError) as error:
                    problems.append(f"line {rows.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot read the boxes: {error}") from None
    if problems:
        raise InputError.collect(problems, f"{file}: cannot be used:")
    if not boxes:
        err.print(f"[yellow]{file}: names no faces[/]")
    return boxes
