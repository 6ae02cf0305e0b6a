"""300-VW: 114 videos of faces, every frame with 68 points.

Layout: ``001/vid.avi`` and ``001/annot/000001.pts``, one label for each frame, numbered from 1.

Convention: ``.pts``, counted from 1 with pixel centres at whole numbers: continuous = p - 0.5.

Partitions: 50 videos are for training; the 64 others are the challenge's three categories (well-lit, people
at computers, anything), each a subset of its own. Every n-th frame (``every``) is taken out of the video as a
JPEG file.
"""

from __future__ import annotations

from pathlib import Path

import cv2

from fanlight.data.archives.contents import Contents, Face, Request, Tally, nothing_found
from fanlight.data.archives.folder import walk
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.image import write_image

CATEGORIES = {
    "300vw_category1": (
        114, 124, 125, 126, 150, 158, 401, 402, 505, 506, 507, 508, 509, 510, 511, 514, 515, 518, 519, 520,
        521, 522, 524, 525, 537, 538, 540, 541, 546, 547, 548,
    ),
    "300vw_category2": (
        203, 208, 211, 212, 213, 214, 218, 224, 403, 404, 405, 406, 407, 408, 409, 412, 550, 551, 553,
    ),
    "300vw_category3": (410, 411, 516, 517, 526, 528, 529, 530, 531, 533, 557, 558, 559, 562),
}  # fmt: skip
"""The test videos of each category; all others are for training."""

VIDEOS = {"300vw": 50, **{name: len(videos) for name, videos in CATEGORIES.items()}}
QUALITY = 95


def read(request: Request) -> Contents:
    """Every n-th labelled frame of each video; the frames are written into the stage."""
    if request.every < 1:
        raise InputError(f"--every {request.every}: expected 1 or more")
    folders = [f for f in walk(request.root) if f.name.isdigit() and (f / "annot").is_dir()]
    if not folders:
        raise nothing_found(request.root, "folders such as 001 with vid.avi and annot/000001.pts")
    contents = Contents(markup="ibug68")
    subsets = {number: name for name, numbers in CATEGORIES.items() for number in numbers}
    found = dict.fromkeys(VIDEOS, 0)
    for done, folder in enumerate(folders):
        request.progress(done, len(folders))
        subset = subsets.get(int(folder.name), "300vw")
        found[subset] += _read_video(request, folder, subset, contents)
    contents.tallies = [Tally(f"{name}, videos", count, found[name]) for name, count in VIDEOS.items()]
    return contents


def _read_video(request: Request, folder: Path, subset: str, contents: Contents) -> bool:
    """Add the frames of one video; False when it is missing."""
    path = folder / "vid.avi"
    if not path.is_file():
        contents.notes.append(f"{path}: the video is missing, its labels are left out")
        return False
    labels = {int(p.stem): p for p in sorted((folder / "annot").glob("*.pts")) if p.stem.isdigit()}
    wanted = dict(sorted(labels.items())[:: request.every])
    split = "train" if subset == "300vw" else "test"
    contents.expect(f"{subset}/{split}", len(wanted))
    frames = _extract(path, wanted, request.stage / "photos" / "300vw" / folder.name)
    if frames != max(labels, default=0):
        contents.notes.append(f"{path}: has {frames} frames, the labels end at {max(labels, default=0)}")
    for number, label in wanted.items():
        photo = request.stage / "photos" / "300vw" / folder.name / f"{number:06d}.jpg"
        if not photo.is_file():
            contents.notes.append(f"{label}: a label without a frame")
            continue
        try:
            landmarks = read_pts(label)
            if len(landmarks) != 68:
                raise InputError(f"{label}: has {len(landmarks)} points, expected 68")
        except InputError as error:
            contents.problems.append(str(error))
            continue
        contents.faces.append(Face(subset, split, photo, landmarks, label=label))
    return True


def _extract(path: Path, wanted: dict[int, Path], folder: Path) -> int:
    """Write the wanted frames, numbered from 1, and count all.

    Raises:
        InputError: the video cannot be read at all.
    """
    folder.mkdir(parents=True, exist_ok=True)
    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while video.grab():
            number += 1
            if number in wanted:
                good, frame = video.retrieve()
                if good and frame is not None:  # a damaged frame may be called good
                    write_image(folder / f"{number:06d}.jpg", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), QUALITY)
    finally:
        video.release()
    if not number:
        raise InputError(f"{path}: OpenCV cannot read this video: damaged, or of a codec that it lacks")
    return number
