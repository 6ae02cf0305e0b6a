"""WFLW: 10,000 faces with 98 points, a rectangle and six attributes.

Layout: ``WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt`` and
``..._test.txt``, and the photos below ``WFLW_images``. A line has x and y of 98 points, the rectangle (left,
top, right, bottom), six attributes that are 0 or 1 (pose, expression, illumination, make-up, occlusion,
blur), and the photo's path.

Convention: the authors do not say. The numbers are taken to count from 0 with pixel centres at whole numbers,
as those who train on them do, so continuous = p + 0.5; ``offset`` sets another. The rectangle is taken as it
is: its sides are whole numbers that lie between pixels as well as on them.

An index holds no attributes, so the faces of each attribute get an index of their own, ``attributes/blur.tsv``,
with the same partitions.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from fanlight.data.archives.contents import Contents, Face, Request, Tally, nothing_found
from fanlight.data.archives.folder import walk
from fanlight.errors import InputError
from fanlight.photos import SUFFIXES

COUNTS = {"train": 7500, "test": 2500}
ATTRIBUTES = {
    "pose": 326, "expression": 314, "illumination": 698, "make-up": 206, "occlusion": 736, "blur": 773,
}  # fmt: skip
"""The attributes in the order of the lists, and how many of the 2500 test faces have each."""

_FIELDS = 2 * 98 + 4 + len(ATTRIBUTES) + 1


def read(request: Request) -> Contents:
    """The faces of both lists."""
    lists = {
        split: path
        for folder in walk(request.root)
        for split in COUNTS
        if (path := folder / f"list_98pt_rect_attr_{split}.txt").is_file()
    }
    places = (
        [request.photos] if request.photos else [f for f in walk(request.root) if f.name == "WFLW_images"]
    )
    if not lists or not places:
        raise nothing_found(
            request.root,
            "WFLW_images and WFLW_annotations/.../list_98pt_rect_attr_train.txt and ..._test.txt",
        )
    photos = max(places, key=lambda place: len(place.parts))  # an unpacked archive may hold one in the other
    contents = Contents(markup="wflw98", expected={f"wflw/{split}": count for split, count in COUNTS.items()})
    contents.groups = {f"attributes/{name}.tsv": [] for name in ATTRIBUTES}
    for split in sorted(lists, key=list(COUNTS).index):
        _read_list(request, lists[split], split, photos, contents)
    if "test" in lists:
        for name, count in ATTRIBUTES.items():
            having = (contents.faces[i] for i in contents.groups[f"attributes/{name}.tsv"])
            found = sum(face.split == "test" for face in having)
            contents.tallies.append(Tally(f"wflw/test, {name}", count, found))
    if len(lists) == len(COUNTS):
        listed = {face.photo for face in contents.faces}
        spare = (path for folder in walk(photos) for path in sorted(folder.iterdir()) if path not in listed)
        contents.notes += [
            f"{path}: a photo without a label" for path in spare if path.suffix.lower() in SUFFIXES
        ]
    return contents


def _read_list(request: Request, path: Path, split: str, photos: Path, contents: Contents) -> None:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read the list: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            face, attributes = _parse(line, split, photos, 0.5 if request.offset is None else request.offset)
        except InputError as error:
            contents.problems.append(f"{path}:{number}: {error}")
            continue
        if not os.path.isfile(face.photo):  # False for names too long, too
            contents.notes.append(f"{path}:{number}: its photo is missing: {face.photo}")
            continue
        face.name = f"{face.photo.stem}_{number}"  # a photo may hold several faces
        for name, set_ in zip(ATTRIBUTES, attributes, strict=True):
            if set_:
                contents.groups[f"attributes/{name}.tsv"].append(len(contents.faces))
        contents.faces.append(face)
        request.progress(len(contents.faces), sum(COUNTS.values()))


def _parse(line: str, split: str, photos: Path, offset: float) -> tuple[Face, list[bool]]:
    fields = line.split(maxsplit=_FIELDS - 1)
    if len(fields) != _FIELDS:
        raise InputError(
            f"expected {_FIELDS} fields (98 points, rectangle, 6 attributes, photo), found {len(fields)}"
        )
    try:
        numbers = [float(field) for field in fields[:200]]
    except ValueError as error:
        raise InputError(f"a coordinate is no number: {error}") from None
    if not all(map(math.isfinite, numbers)):
        raise InputError("a coordinate is not a finite number")
    if not set(fields[200:206]) <= {"0", "1"}:
        raise InputError(f"the six attributes should be 0 or 1, found {' '.join(fields[200:206])}")
    left, top, right, bottom = numbers[196:]
    if right <= left or bottom <= top:
        raise InputError(
            f"the rectangle {left:g} {top:g} {right:g} {bottom:g} should be left, top, right, bottom"
        )
    photo = Path(fields[206].strip())
    if photo.is_absolute() or ".." in photo.parts:
        raise InputError(f"the photo {str(photo)!r} should lie below WFLW_images")
    landmarks = np.array(numbers[:196]).reshape(98, 2) + offset
    face = Face("wflw", split, photos / photo, landmarks, box=(left, top, right, bottom))
    return face, [field == "1" for field in fields[200:206]]
