"""What the lists of dlib, COCO and CSV share: files that name photos, and where those lie."""

from __future__ import annotations

import os
from pathlib import Path

from fanlight.data.archives.contents import Request, nothing_found
from fanlight.errors import InputError

MAX_BYTES = 2 << 30
"""A larger list is refused."""


def list_files(request: Request, ending: str) -> list[Path]:
    """The list that ``root`` is, or those with this ending that lie directly in it.

    Raises:
        InputError: there is none, or it is too large.
    """
    root = request.root
    files = [root] if root.is_file() else sorted(p for p in root.glob(f"*{ending}") if p.is_file())
    if not files:
        raise nothing_found(root, f"a list {ending}; give its path, or that of the folder it is in")
    for file in files:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file}: larger than {MAX_BYTES >> 30} GiB, so not a list of faces")
    return files


def subset_of(request: Request, file: Path) -> str:
    """What the faces of a list are called: what was asked for, else the name of the folder it lies in."""
    return request.subset or file.resolve().parent.name


def split_of(request: Request, file: Path, files: list[Path]) -> str:
    """The split that a list's name tells when there are several, else the one asked for."""
    words = file.stem.lower().replace("-", "_").replace(".", "_").split("_")
    for word, split in (("train", "train"), ("val", "val"), ("valid", "val"), ("test", "test")):
        if len(files) > 1 and word in words:
            return split
    return request.split


def find_photo(request: Request, file: Path, name: str) -> Path | None:
    """Where a photo lies that a list names: below ``photos``, or beside the list, or in ``images`` there."""
    folders = (
        [request.photos]
        if request.photos
        else [file.parent, file.parent / "images", file.parent.parent / "images"]
    )
    places = (folder / name for folder in folders)
    return next((place for place in places if os.path.isfile(place)), None)  # False for names too long, too
