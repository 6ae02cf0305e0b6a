"""The archives that can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fanlight.data.archives import (
    aflw2000,
    coco_json,
    cofw,
    csv_table,
    dlib_xml,
    folder,
    w300,
    w300lp,
    w300vw,
    wflw,
)
from fanlight.data.archives.contents import Contents, Request

OPTIONS = ("flips", "every", "like", "photos", "subset", "split", "offset", "markup")
"""The fields of a request that not every kind heeds."""


@dataclass(frozen=True)
class Kind:
    """A kind of archive.

    Attributes:
        read: what reads it.
        about: what it is, in a few words.
        options: the names of the request's fields that it heeds.
    """

    read: Callable[[Request], Contents]
    about: str
    options: frozenset[str] = frozenset()


_NAMED = frozenset({"subset", "split", "markup"})
_LISTED = _NAMED | {"photos", "offset"}

KINDS = {
    "300w": Kind(w300.read, "300W: afw, helen, lfpw, ibug, 01_Indoor, 02_Outdoor; folders or zip files"),
    "300w-lp": Kind(w300lp.read, "300W-LP with its .mat labels", frozenset({"flips", "like"})),
    "aflw2000": Kind(aflw2000.read, "AFLW2000-3D with its .mat labels"),
    "wflw": Kind(wflw.read, "WFLW: 98 points, rectangles, attributes", frozenset({"photos", "offset"})),
    "cofw": Kind(cofw.read, "COFW: 29 points and occlusion in HDF5 .mat files"),
    "300vw": Kind(w300vw.read, "300-VW: videos with annot/*.pts", frozenset({"every"})),
    "helen-lfpw-afw": Kind(w300.read_helen_lfpw_afw, "Helen, LFPW and AFW as 300W re-annotates them"),
    "dlib-xml": Kind(dlib_xml.read, "dlib's XML lists", _LISTED),
    "coco-json": Kind(coco_json.read, "COCO keypoints, also COCO-WholeBody's faces", _LISTED),
    "csv": Kind(csv_table.read, "a table with a line for each face", _LISTED),
    "folder": Kind(folder.read, "photos with .pts files beside them", _NAMED),
}
