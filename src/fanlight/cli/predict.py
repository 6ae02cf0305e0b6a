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
    names = _names(images)
    predictor = load(checkpoint, resolve_device(device))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used for the results: {error}; choose another --out") from None
    count = 0
    with progress_bar("predicting", len(images)) as bar:
        for path in images:
            image = read_image(path)
            faces = predictor.predict(image, faces_of[path] if faces_of else None, flip=flip)
            for number, face in enumerate(faces, 1):
                suffix = "" if number == 1 else f"_{number}"
                write_pts(folder / f"{names[path]}{suffix}.pts", face.landmarks)
            if faces:
                drawn = overlay(image, np.stack([face.landmarks for face in faces]), predictor.markup)
                write_image(folder / f"{names[path]}_overlay.png", drawn)
            count += len(faces)
            bar.advance()
    out.print(f"{count} faces in {len(images)} photos: landmarks and overlays are in {folder}")


def _names(images: list[Path]) -> dict[Path, str]:
    """A name for each photo's results: its stem, with the folder's name before it where stems repeat."""
    stems = Counter(path.stem for path in dict.fromkeys(images))
    names = {
        path: path.stem if stems[path.stem] == 1 else f"{path.parent.name}_{path.stem}" for path in images
    }
    twice = [name for name, uses in Counter(names.values()).items() if uses > 1]
    if twice:
        raise InputError(
            f"several photos would write {twice[0]}.pts: give them in separate calls with an --out of their own"
        )
    return names


def _boxes_of(images: list[Path], file: Path | None) -> Boxes | None:
    """The boxes of each photo; None where no file is given."""
    if file is None:
        return None
    known = _read_index_boxes(file) if file.suffix.lower() == ".tsv" else _read_boxes(file)
    by_name: dict[str, list[Path]] = {}
    for path in known:
        by_name.setdefault(path.name, []).append(path)
    found: Boxes = {}
    missing = []
    for image in images:
        candidates = by_name.get(image.name, [])
        if image.resolve() in known:
            found[image] = known[image.resolve()]
        elif len(candidates) == 1:
            found[image] = known[candidates[0]]
        else:
            missing.append(f"{image}: {'named more than once' if candidates else 'not named'}")
    if missing:
        raise InputError.collect(missing, f"{file}: has no boxes for these photos; add a line for each face:")
    return found


def _read_index_boxes(file: Path) -> Boxes:
    from fanlight.data.index import Index

    boxes: Boxes = {}
    for sample in Index.read(file):
        boxes.setdefault(sample.image_path.resolve(), []).append(sample.face_box)
    return boxes


def _read_boxes(file: Path) -> Boxes:
    """Boxes from a CSV; relative names count from the CSV's folder."""
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
                    boxes.setdefault((file.parent / row["image"]).resolve(), []).append(box)
                except (TypeError, ValueError) as error:
                    problems.append(f"line {rows.line_num}: {error}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{file}: cannot read the boxes: {error}") from None
    if problems:
        raise InputError.collect(problems, f"{file}: cannot be used:")
    if not boxes:
        err.print(f"[yellow]{file}: names no faces[/]")
    return boxes
