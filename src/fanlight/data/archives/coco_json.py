"""COCO's keypoint lists, and those of COCO-WholeBody for faces.

Layout: one JSON file with ``images`` (id, file_name) and ``annotations`` (image_id, ``keypoints`` as x, y,
visibility for each point, ``bbox`` as left, top, width, height, if there is one). Where there is a ``face_kpts``
(COCO-WholeBody), it is read instead, with its ``face_box``. mmpose's lists of face data sets have this form
too.

Convention: COCO counts from 0 with pixel centres at whole numbers, so continuous = p + 0.5; its boxes are
measured from the photo's top left corner, as ours. Faces with unlabelled points (visibility 0), crowds, and
bodies without a face are left out.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.data.archives.contents import Box, Contents, Face, Request, check_name
from fanlight.data.archives.listed import find_photo, list_files, split_of, subset_of
from fanlight.errors import InputError

OFFSET = 0.5


def read(request: Request) -> Contents:
    """The faces of one or more lists that have all their points."""
    contents = Contents()
    files = list_files(request, ".json")
    for file in files:
        try:
            data = json.loads(file.read_text(encoding="utf-8-sig"))
            images = {image["id"]: str(image["file_name"]) for image in data["images"]}
            annotations = list(data["annotations"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{file}: not a COCO list, with images (id, file_name) and annotations: "
                f"{type(error).__name__} {error}"
            ) from None
        subset, split = check_name(subset_of(request, file), str(file)), split_of(request, file, files)
        for annotation in annotations:
            _read_annotation(request, file, annotation, images, (subset, split), contents)
            request.progress(len(contents.faces), len(annotations))
    return contents


def _read_annotation(
    request: Request,
    file: Path,
    annotation: Any,
    images: dict[Any, str],
    names: tuple[str, str],
    contents: Contents,
) -> None:
    try:
        where = f"{file}: annotation {annotation.get('id', '?')}"
        whole = "face_kpts" in annotation
        if annotation.get("iscrowd") or (whole and not annotation.get("face_valid", True)):
            contents.notes.append(f"{where}: left out, a crowd or without a face")
            return
        contents.expect("/".join(names))
        points = np.asarray(annotation["face_kpts" if whole else "keypoints"], dtype=np.float64).reshape(
            -1, 3
        )
        if not len(points) or not np.isfinite(points).all():
            raise ValueError("its points are not finite numbers")
        box = _box(annotation.get("face_box" if whole else "bbox"))
        name = images[annotation["image_id"]]
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        contents.problems.append(
            f"{file}: an annotation cannot be read: {type(error).__name__} {error}: {annotation!r:.120}"
        )
        return
    missing = int((points[:, 2] == 0).sum())
    photo = find_photo(request, file, name)
    if photo is None:
        contents.notes.append(f"{where}: its photo is missing: {name!r}")
    elif missing:
        contents.notes.append(f"{where}: left out, {missing} of its {len(points)} points are not labelled")
    else:
        landmarks = points[:, :2] + (OFFSET if request.offset is None else request.offset)
        label = f"{photo.stem}_{annotation.get('id', len(contents.faces))}"
        contents.faces.append(Face(*names, photo, landmarks, box=box, name=label))


def _box(given: Any) -> Box | None:
    """Left, top, right and bottom of a box that COCO gives by its size; mmpose's list of 300-VW has none."""
    if given is None:
        return None
    left, top, width, height = (float(side) for side in given)
    if not (width > 0 and height > 0):
        raise ValueError(f"its box is {width:g} x {height:g}")
    return left, top, left + width, top + height
