"""dlib's XML lists, as its ``imglab`` writes them, such as ``labels_ibug_300W_train.xml``.

Layout: ``<image file='PHOTO'><box top left width height><part name='00' x='1' y='2'/>...``; paths relative to
the list.

Convention: dlib counts from 0 with pixel centres at whole numbers, so continuous = p + 0.5; a box has the
edges of its pixels, left and top as they are. (The published list for 300W holds ``.pts`` numbers rounded to
whole pixels.)

Parts are taken in the order of their names. Boxes marked ``ignore`` are no faces.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from fanlight.data.archives.contents import Box, Contents, Face, Request, Tally, check_name
from fanlight.data.archives.listed import find_photo, list_files, split_of, subset_of
from fanlight.errors import InputError

OFFSET = 0.5
COUNTS = {"labels_ibug_300W_train.xml": 6666, "labels_ibug_300W_test.xml": 1008}
"""Faces of dlib's own lists for 300W, mirrored copies included."""


def read(request: Request) -> Contents:
    """The labelled boxes of one or more lists."""
    contents = Contents()
    files = list_files(request, ".xml")
    for file in files:
        subset, split = check_name(subset_of(request, file), str(file)), split_of(request, file, files)
        before = len(contents.faces)
        _read_list(request, file, subset, split, contents)
        if file.name in COUNTS:
            contents.tallies.append(Tally(file.name, COUNTS[file.name], len(contents.faces) - before))
    _drop_incomplete(contents)
    return contents


def _read_list(request: Request, file: Path, subset: str, split: str, contents: Contents) -> None:
    try:
        images = ElementTree.parse(file, ElementTree.XMLParser(target=_Tree())).getroot().iter("image")
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{file}: not an XML file: {error}") from None
    for image in images:
        name = image.get("file", "")
        photo = find_photo(request, file, name) if name else None
        if photo is None:
            contents.notes.append(f"{file}: its photo is missing: {name!r}")
        for number, box in enumerate(image.iter("box"), 1):
            if box.get("ignore") == "1":
                contents.notes.append(f"{file}: {name}: box {number} is marked to be ignored")
                continue
            contents.expect(f"{subset}/{split}")
            if photo is None:
                continue
            try:
                landmarks, face_box = _parse(box, OFFSET if request.offset is None else request.offset)
            except (KeyError, ValueError) as error:
                contents.problems.append(f"{file}: {name}: box {number}: {error}")
                continue
            face = Face(
                subset, split, photo, np.array(landmarks), box=face_box, name=f"{photo.stem}_{number}"
            )
            contents.faces.append(face)
            request.progress(len(contents.faces), len(contents.faces))


class _Tree(ElementTree.TreeBuilder):
    """Takes elements only: a document type may define texts that grow without bounds."""

    def doctype(self, *_: object) -> None:
        """Called where one begins, before anything of it is used.

        Raises:
            ValueError: always.
        """
        raise ValueError("it declares a document type, which no list of dlib does")


def _parse(box: ElementTree.Element, offset: float) -> tuple[list[tuple[float, float]], Box]:
    left, top, width, height = (_number(box, key) for key in ("left", "top", "width", "height"))
    if width <= 0 or height <= 0:
        raise ValueError(f"its size is {width:g} x {height:g}")
    parts: dict[str, ElementTree.Element] = {}
    for part in box.iter("part"):
        name = part.get("name", "")
        if parts.setdefault(name, part) is not part:
            raise ValueError(f"has the part {name!r} twice")
    if not parts:
        raise ValueError("has no parts, so no landmarks")
    names = sorted(parts, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    points = [(_number(parts[name], "x") + offset, _number(parts[name], "y") + offset) for name in names]
    return points, (left, top, left + width, top + height)


def _number(element: ElementTree.Element, key: str) -> float:
    text = element.get(key)
    if text is None:
        raise ValueError(f"<{element.tag}> has no {key}")
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{key} is {text}")
    return value


def _drop_incomplete(contents: Contents) -> None:
    """dlib allows parts to be missing; a network needs all of them."""
    if not contents.faces:
        return
    count = Counter(len(face.landmarks) for face in contents.faces).most_common(1)[0][0]
    for face in contents.faces:
        if len(face.landmarks) != count:
            contents.notes.append(
                f"{face.photo}: left out, it has {len(face.landmarks)} parts, the others {count}"
            )
    contents.keep(i for i, face in enumerate(contents.faces) if len(face.landmarks) == count)
