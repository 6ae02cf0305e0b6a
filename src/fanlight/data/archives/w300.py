"""300W and the collections it re-annotates, as the iBUG group gives them away.

Layout: the folders ``afw``, ``helen/trainset``, ``helen/testset``, ``lfpw/trainset``, ``lfpw/testset``,
``ibug`` and ``300W/01_Indoor``, ``300W/02_Outdoor`` (a zip file in four parts), each with photos (.jpg, .png)
and ``.pts`` files side by side; ``frgc`` and ``xm2vts`` are taken where they are. A folder of the zip files
alone is unpacked. One official name holds a space: ``ibug/image_092 _01.jpg``. The organisers'
``bounding_boxes_*.mat`` give boxes where they are there.

Convention: 68 points in ``.pts``, counted from 1 with pixel centres at whole numbers: continuous = p - 0.5.
The boxes in the ``.mat`` files likewise.

Partitions: those of the public training code of FAN: train = afw, helen/trainset, lfpw/trainset (3148 faces)
and frgc, xm2vts; val = the public test set of 689; test = the 600 of the challenge.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fanlight.data.archives.contents import Box, Contents, Request, nothing_found
from fanlight.data.archives.folder import read_pairs, walk
from fanlight.data.archives.matfile import read_mat
from fanlight.errors import InputError
from fanlight.geometry import check_box


@dataclass(frozen=True)
class Part:
    """A folder of the archive: how its path ends, what its faces are called, and the official number of them."""

    ending: tuple[str, ...]
    subset: str
    split: str
    count: int
    optional: bool = False

    def is_at(self, folder: Path) -> bool:
        """Whether a folder's path ends like this part's, links followed or not."""
        paths = ([name.lower() for name in path.parts] for path in (folder.absolute(), folder.resolve()))
        return any(tuple(names[-len(self.ending) :]) == self.ending for names in paths)


TRAIN_AND_VAL = (
    Part(("afw",), "afw", "train", 337),
    Part(("helen", "trainset"), "helen", "train", 2000),
    Part(("lfpw", "trainset"), "lfpw", "train", 811),
    Part(("helen", "testset"), "helen", "val", 330),
    Part(("lfpw", "testset"), "lfpw", "val", 224),
)
IBUG = Part(("ibug",), "ibug", "val", 135)
TEST = (
    Part(("01_indoor",), "300w_indoor", "test", 300),
    Part(("02_outdoor",), "300w_outdoor", "test", 300),
)
INDOOR = (
    Part(("frgc",), "frgc", "train", 4950, optional=True),
    Part(("xm2vts",), "xm2vts", "train", 2360, optional=True),
)

LAYOUT = "the folders afw, helen/trainset, helen/testset, lfpw/trainset, lfpw/testset"


def read(request: Request) -> Contents:
    """All of 300W."""
    parts = (*TRAIN_AND_VAL, IBUG, *TEST, *INDOOR)
    return _read(request, parts, f"{LAYOUT}, ibug, 300W/01_Indoor and 300W/02_Outdoor, or their zip files")


def read_helen_lfpw_afw(request: Request) -> Contents:
    """Its three re-annotated collections of photos in the wild, without the challenge's own."""
    return _read(request, TRAIN_AND_VAL, f"{LAYOUT}, or their zip files")


def _read(request: Request, parts: tuple[Part, ...], layout: str) -> Contents:
    folders = find_parts(request.root, parts)
    if not folders:
        raise nothing_found(request.root, layout)
    contents = Contents(markup="ibug68")
    for done, part in enumerate(parts):
        request.progress(done, len(parts))
        if part in folders:
            read_pairs(folders[part], part.subset, part.split, contents, count=68)
        if part in folders or not part.optional:
            contents.expected[f"{part.subset}/{part.split}"] = part.count
    _add_boxes(request.root, folders, contents)
    return contents


def find_parts(root: Path, parts: tuple[Part, ...]) -> dict[Part, Path]:
    """Where each part lies at or below ``root``: the folder with that ending that holds ``.pts`` files.

    Raises:
        InputError: no such folder, or a part is there twice.
    """
    found: dict[Part, Path] = {}
    twice = []
    for folder in walk(root):
        part = next((part for part in parts if part.is_at(folder)), None)
        if part is None or not any(path.suffix.lower() == ".pts" for path in folder.iterdir()):
            continue
        if part in found:
            twice.append(f"{part.subset}/{part.split}: {found[part]} and {folder}")
        found.setdefault(part, folder)
    if twice:
        raise InputError.collect(twice, f"{root}: parts that are there more than once; give --root one copy:")
    return found


# ---------------------------------------------------------------------------- the organisers' boxes


def _add_boxes(root: Path, folders: dict[Part, Path], contents: Contents) -> None:
    """Take the detector's boxes from ``bounding_boxes_afw.mat`` and its like."""
    places = {
        path.name.lower(): path
        for folder in walk(root)
        for path in sorted(folder.glob("bounding_boxes_*.mat"))
    }
    for part, folder in folders.items():
        file = places.get(f"bounding_boxes_{'_'.join(part.ending)}.mat")
        if file is None:
            continue
        boxes = _read_boxes(file)
        for face in contents.faces:
            if face.photo.parent == folder:
                face.box = boxes.get(face.photo.name)
                if face.box is None:
                    contents.notes.append(f"{face.photo}: has no box in {file.name}")


def _read_boxes(file: Path) -> dict[str, Box]:
    """Photo name -> box, from a cell array of structs with imgName and bb_detector (left, top, right, bottom)."""
    boxes: dict[str, Box] = {}
    cells = read_mat(file, "bounding_boxes")["bounding_boxes"]
    try:
        for record in (record for cell in cells for record in (cell if isinstance(cell, list) else [cell])):
            name = record["imgName"]
            left, top, right, bottom = (
                np.asarray(record["bb_detector"], dtype=np.float64).ravel() - 0.5
            ).tolist()
            boxes[str(name)] = check_box((left, top, right, bottom))
    except (IndexError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{file}: not the boxes of 300W, imgName and bb_detector for each photo: "
            f"{type(error).__name__} {error}"
        ) from None
    return boxes
