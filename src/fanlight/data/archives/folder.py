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
        split = inside[-1] if inside else request.split
        if labels := read_pairs(folder, subset, split, contents):
            contents.expect(f"{subset}/{split}", labels)
        request.progress(faces := len(contents.faces), faces)
    if not contents.faces and not contents.problems:
        raise nothing_found(request.root, LAYOUT)
    return contents


def walk(root: Path) -> Iterator[Path]:
    """A folder and all below it in the order of their names, each once; hidden ones are left out, links followed.

    Raises:
        InputError: there is no such folder.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    seen = set()
    for place, folders, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it, or a second one to the same
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        yield Path(place)


def read_pairs(folder: Path, subset: str, split: str, contents: Contents, count: int | None = None) -> int:
    """Add the labelled photos that lie directly in a folder; note photos and labels without their other half.

    Args:
        folder: where both lie.
        subset: of the faces.
        split: likewise.
        contents: gets the faces, notes and problems.
        count: how many landmarks each should have; None: any number.

    Returns:
        How many labels there are.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    photos, labels = _by_stem(files, SUFFIXES, contents), _by_stem(files, (".pts",), contents)
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
    return len(labels)


def _by_stem(files: list[Path], suffixes: tuple[str, ...], contents: Contents) -> dict[str, Path]:
    """Files of one kind by their names without the ending; of several with the same name, the first."""
    found: dict[str, Path] = {}
    for path in files:
        if path.suffix.lower() in suffixes and found.setdefault(path.stem, path) != path:
            contents.notes.append(f"{path}: left out, {found[path.stem].name} has the same name")
    return found
