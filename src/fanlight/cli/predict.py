"""``fanlight predict``."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from fanlight.cli.console import err, out, progress_bar
from fanlight.errors import InputError

Boxes = dict[Path, list[tuple[float, float, float, float]]]
COLUMNS = ("image", "left", "top", "right", "bottom")


def predict(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint that fanlight train wrote.")
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Photos.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where landmarks and overlays go.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            metavar="BOXES.csv",
            help=f"Face boxes: a CSV with the columns {','.join(COLUMNS)}, one face a line, or an index (TSV). "
            "Without it the whole photo is taken as the face.",
        ),
    ] = None,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Average each prediction with that of the mirrored face.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Find landmarks: writes NAME.pts and NAME_overlay.png for each photo (NAME_2.pts ... for more faces)."""
    from fanlight.data.pts import write_pts
    from fanlight.device import resolve_device
    from fanlight.draw import overlay
    from fanlight.image import read_image, write_image
    from fanlight.predict import load

    faces_of = _boxes_of(images, boxes)
    names = _names(images, faces_of)
    predictor = load(checkpoint, resolve_device(device))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used for the results: {error}; choose another --out") from None
    count = 0
    with progress_bar("predicting", len(images)) as bar:
        for path in images:
            image = read_image(path)
            faces = predictor.predict(image, faces_of[path] if faces_of else "whole", flip=flip)
            for number, face in enumerate(faces, 1):
                write_pts(folder / f"{names[path]}{_suffix(number)}.pts", face.landmarks)
            if faces:
                drawn = overlay(image, np.stack([face.landmarks for face in faces]), predictor.markup)
                write_image(folder / f"{names[path]}_overlay.png", drawn)
            count += len(faces)
            bar.advance()
    out.print(f"{count} faces in {len(images)} photos: landmarks and overlays are in {folder}")


def _names(images: list[Path], faces_of: Boxes | None) -> dict[Path, str]:
    """A name for each photo's results: its stem, with the folder's name before it where stems repeat.

    Raises:
        InputError: two results would have the same name.
    """
    stems = Counter(path.stem for path in dict.fromkeys(images))
    names = {
        path: path.stem if stems[path.stem] == 1 else f"{path.parent.name}_{path.stem}" for path in images
    }
    files = Counter(
        f"{name}{_suffix(number)}.pts"
        for path, name in names.items()
        for number in range(1, len(faces_of[path]) + 1 if faces_of else 2)
    )
    twice = [file for file, uses in files.items() if uses > 1]
    if twice:
        raise InputError(
            f"several faces would be written to {twice[0]}: give these photos in separate calls with an --out of "
            "their own"
        )
    return names


def _suffix(number: int) -> str:
    """What tells a photo's second face and later ones from the first, in the names of their files."""
    return "" if number == 1 else f"_{number}"


def _boxes_of(images: list[Path], file: Path | None) -> Boxes | None:
    """The boxes of each photo, matched by path; None where no file is given."""
    if file is None:
        return None
    known = _read_index_boxes(file) if file.suffix.lower() == ".tsv" else _read_boxes(file)
    missing = []
    for image in images:
        if image.resolve() not in known:
            others = [str(path) for path in known if path.name == image.name]
            hint = f"; it has {others[0]}, another file" if others else ""
            missing.append(f"{image}{hint}")
    if missing:
        raise InputError.collect(missing, f"{file}: has no boxes for these photos; add a line for each face:")
    return {image: known[image.resolve()] for image in images}


def _read_index_boxes(file: Path) -> Boxes:
    from fanlight.data.index import Index

    boxes: Boxes = {}
    for sample in Index.read(file):
        boxes.setdefault(sample.image_path.resolve(), []).append(sample.face_box)
    return boxes


def _read_boxes(file: Path) -> Boxes:
    """Boxes from a CSV; a relative name counts from the CSV's folder or, if there is no such file, from here."""
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
                    box = check_box([float(row[name]) for name in COLUMNS[1:]])
                    beside = file.parent / row["image"]
                    photo = beside if beside.exists() else Path(row["image"])
                    boxes.setdefault(photo.resolve(), []).append(box)
                except (TypeError, ValueError) as error:
                    problems.append(f"line {rows.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot read the boxes: {error}") from None
    if problems:
        raise InputError.collect(problems, f"{file}: cannot be used:")
    if not boxes:
        err.print(f"[yellow]{file}: names no faces[/]")
    return boxes
