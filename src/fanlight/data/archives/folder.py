"""Photos with ``.pts`` files of the same name beside them, in any folders.

Convention: ``.pts`` counts from 1 with pixel centres at whole numbers (iBUG, menpo), so continuous = p - 0.5,
which ``fanlight.data.pts`` does. A folder called train, val or test (or trainset, testset, ...) tells the
split of all below.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fanlight.data.archives.contents import Contents, Face, Request, check_name, nothing_found
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.photos import SUFFIXES

SPLITS = {
    **dict.fromkeys(("train", "training", "trainset", "train_set"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "test_set"), "test"),
}
"""Names of folders that say which split their faces belong to."""

LAYOUT = "photos (.jpg, .png, ...) with .pts files of the same name beside them"


def read(request: Request) -> Contents:
    """All labelled photos below the folder; the subset is the folder's name."""
    contents = Contents()
    subset = check_name(request.subset or request.root.resolve().name, str(request.root))
    faces = 0
    for folder in walk(request.root):
        inside = [
            SPLITS[part.lower()] for part in folder.relative_to(request.root).parts if part.lower() in SPLITS
        ]
        read_pairs(folder, subset, inside[-1] if inside else request.split, contents)
        request.progress(faces := len(contents.faces), faces)
    if not contents.faces and not contents.problems:
        raise nothing_found(request.root, LAYOUT)
    return contents


def walk(root: Path) -> Iterator[Path]:
    """A folder and all below it in the order of their names, hidden ones left out.

    Raises:
        InputError: there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    for place, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield Path(place)


def read_pairs(folder: Path, subset: str, split: str, contents: Contents, count: int | None = None) -> None:
    """Add the labelled photos that lie directly in a folder; note photos and labels without their other half.

    Args:
        folder: where both lie.
        subset: of the faces.
        split: likewise.
        contents: gets the faces, notes and problems.
        count: how many landmarks each should have; None: any number.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    photos: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            if path.stem in photos:
                contents.notes.append(f"{path}: left out, {photos[path.stem].name} has the same name")
            photos.setdefault(path.stem, path)
    labels = {path.stem: path for path in files if path.suffix.lower() == ".pts"}
    contents.notes += [
        f"{path}: a label without a photo" for stem, path in labels.items() if stem not in photos
    ]
    contents.notes += [
        f"{path}: a photo without a label" for stem, path in photos.items() if labels and stem not in labels
    ]
    for stem in sorted(photos.keys() & labels.keys()):
        try:
            landmarks = read_pts(labels[stem])
        except InputError as error:
            contents.problems.append(str(error))
            continue
        if count is not None and len(landmarks) != count:
            contents.problems.append(f"{labels[stem]}: has {len(landmarks)} points, expected {count}")
            continue
        contents.faces.append(Face(subset, split, photos[stem], landmarks, label=labels[stem]))
