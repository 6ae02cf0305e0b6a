"""300W-LP: 300W turned to large poses, 61,225 faces, and as many mirrored copies.

Layout: photos in ``AFW``, ``HELEN``, ``IBUG``, ``LFPW`` and their mirrored copies in ``AFW_Flip`` ...; labels
in ``landmarks/AFW/NAME_pts.mat``. Names end in the augmentation index: ``AFW_134212_1_5.jpg`` is version 5 of
its photo, 0 the unturned one.

Convention: MATLAB, so counted from 1 with pixel centres at whole numbers: continuous = p - 0.5. The labels
are ``pts_2d`` (68 points, the jaw line on the visible contour). ``pt2d`` in the ``.mat`` file beside a photo
is another thing, the landmarks before the face was turned, and is not read. Labels of mirrored copies come
from ``landmarks/AFW_Flip`` where that exists; else they are the unmirrored ones, mirrored.

Partitions: all photos are ``train``, but LFPW's test photos (``LFPW_image_test_...``) and IBUG, which are
``val`` as in 300W. HELEN's names do not tell; ``like`` names a folder of 300W whose helen/testset does.
"""

from __future__ import annotations

import re
from pathlib import Path

from fanlight.data.archives.contents import Contents, Face, Request, nothing_found
from fanlight.data.archives.folder import walk
from fanlight.data.archives.matfile import points_of, read_mat
from fanlight.errors import InputError
from fanlight.geometry import Floats, mirror_landmarks
from fanlight.image import verify_image
from fanlight.markup import Markup
from fanlight.photos import SUFFIXES

COUNTS = {"AFW": 5207, "HELEN": 37676, "IBUG": 1786, "LFPW": 16556}
"""Faces of each collection (Zhu et al., CVPR 2016, and its data set's page); the mirrored copies are as many."""

_NAME = re.compile(r"(?P<origin>.+)_(?P<index>\d{1,3})")


def read(request: Request) -> Contents:
    """The faces of 300W-LP, with ``request.flips`` those mirrored too."""
    root = _find_root(request.root)
    contents = Contents(markup="ibug68")
    held_out = _helen_test(request.like, contents)
    jobs = [(name, flip) for name in COUNTS for flip in ((False, True) if request.flips else (False,))]
    for name, flip in jobs:
        folder = root / (f"{name}_Flip" if flip else name)
        contents.expected[name.lower() + ("_flip" if flip else "")] = COUNTS[name]
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        photos = [path for path in files if path.suffix.lower() in SUFFIXES]
        for photo in photos:
            if (face := _read_face(root, photo, name, flip, contents)) is not None:
                origin = face.photo.stem.rpartition("_")[0].removeprefix("HELEN_")
                face.split = (
                    "val"
                    if _is_val(name, photo.stem) or (name == "HELEN" and origin in held_out)
                    else "train"
                )
                contents.faces.append(face)
            request.progress(len(contents.faces), sum(COUNTS.values()) * (2 if request.flips else 1))
        labelled = root / "landmarks" / folder.name
        labels = sorted((labelled if labelled.is_dir() else root / "landmarks" / name).glob("*_pts.mat"))
        seen = {photo.stem for photo in photos}
        contents.notes += [
            f"{path}: a label without a photo in {folder.name}"
            for path in labels
            if path.stem.removesuffix("_pts") not in seen
        ]
    return contents


def _find_root(root: Path) -> Path:
    for folder in walk(root):
        if (folder / "landmarks").is_dir() and any((folder / name).is_dir() for name in COUNTS):
            return folder
    raise nothing_found(
        root, "the folders AFW, HELEN, IBUG, LFPW and landmarks (300W-LP.zip, unpacked or not)"
    )


def _is_val(name: str, stem: str) -> bool:
    return name == "IBUG" or stem.startswith("LFPW_image_test")


def _helen_test(like: Path | None, contents: Contents) -> set[str]:
    """The names of HELEN's test photos, from a folder of 300W."""
    if like is None:
        contents.notes.append(
            "all HELEN faces are in helen/train, its test photos too: --like 300W_FOLDER tells them apart"
        )
        return set()
    for folder in walk(like):
        if [part.lower() for part in folder.absolute().parts[-2:]] == ["helen", "testset"]:
            return {path.stem for path in folder.glob("*.pts")}
    raise InputError(f"{like}: no folder helen/testset in it: --like takes a folder of 300W")


def _read_face(root: Path, photo: Path, name: str, flip: bool, contents: Contents) -> Face | None:
    match = _NAME.fullmatch(photo.stem)
    if match is None:
        contents.problems.append(
            f"{photo}: the name should end in _ and the augmentation index, such as _5.jpg"
        )
        return None
    try:
        landmarks = _read_landmarks(root, photo, name, flip)
    except InputError as error:
        contents.problems.append(str(error))
        return None
    subset = name.lower() + ("_flip" if flip else "")
    return Face(subset, "train", photo, landmarks, aug_idx=int(match["index"]))


def _read_landmarks(root: Path, photo: Path, name: str, flip: bool) -> Floats:
    own = root / "landmarks" / photo.parent.name / f"{photo.stem}_pts.mat"
    if not flip or own.is_file():
        return points_of(own, read_mat(own, "pts_2d")["pts_2d"], 68) - 0.5
    straight = root / "landmarks" / name / own.name
    landmarks = points_of(straight, read_mat(straight, "pts_2d")["pts_2d"], 68) - 0.5
    width, _ = verify_image(photo)
    return mirror_landmarks(landmarks, width, Markup.load("ibug68").mirror)
