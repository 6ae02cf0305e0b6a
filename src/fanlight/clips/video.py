"""Clips and cameras in.

OpenCV reads: it turns frames upright as the file's rotation says, and gives each frame its own time, so a variable
frame rate stays what it is. Frames are read one at a time and forgotten.
"""

from __future__ import annotations

import math
import os
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError
from fanlight.image import MAX_PIXELS

SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv"),
    *(".flv", ".3gp", ".ogv", ".gif"),
)
"""Endings of the names of clips, in lower case."""

_USUAL_FPS = 25.0  # where a file does not say
_MOST_FPS = 240.0  # what states more means its clock: files that browsers record say 1000
_SLACK_S = 0.25  # a container's length and its last frame may differ by as much in a sound file

# FFmpeg goes by what is in a file, whatever its name, and would open the files and addresses that these name.
_PLAYLISTS = (b"#extm3u", b"ffconcat", b"<?xml", b"<mpd", b"v=0")

# What FFmpeg finds in a damaged file is said once, in words, by Clip.fault. OpenCV reads this on its first clip.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@dataclass(frozen=True)
class Frame:
    """One picture of a clip.

    Attributes:
        number: counted from 0. time_s: seconds since the first frame, from the file's own time stamps; always
        more than the one before. image: (H, W, 3) uint8 RGB, upright.
    """

    number: int
    time_s: float
    image: NDArray[np.uint8]


class Clip:
    """A video file or a camera, opened: iterate over it once for its frames, and close it (or use ``with``).

    Args:
        source: a file, or a camera's number (0 is the first).

    Attributes:
        name: what to call it in messages.
        is_camera: whether it is a camera, which never ends by itself.
        size: (width, height) in px of the first frame, upright.
        fps: frames per second as the file states them, 25 where it does not.
        count: how many frames the file promises; None where it does not say, as for a camera.
        fault: why reading ended before the promised end, with the frame and what to do; None when it did not.

    Raises:
        InputError: nothing can be read from the source: missing, empty, damaged, no video, or no such camera.
    """

    def __init__(self, source: str | os.PathLike[str] | int) -> None:
        self.is_camera = isinstance(source, int)
        self.name = f"camera {source}" if isinstance(source, int) else os.fspath(source)
        self.fault: str | None = None
        self._capture = _open_camera(source) if isinstance(source, int) else _open_file(self.name)
        try:
            self._check_size()
            self._first = self._grab()
            if self._first is None:
                what = "gives no pictures" if self.is_camera else "there is not one whole frame in it"
                raise InputError(f"{self.name}: {what}: {_remedy(self.is_camera)}")
        except BaseException:
            self._capture.release()
            raise
        self.size = (self._first[1].shape[1], self._first[1].shape[0])
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        stated = 0 < fps <= _MOST_FPS
        self.fps = fps if stated else _USUAL_FPS
        count = float(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = int(count) if stated and not self.is_camera and 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[Frame]:
        begun, last = self._first, -1.0
        self._first = None
        number = 0
        grabbed = begun
        while begun is not None and grabbed is not None:
            time_s = grabbed[0] - begun[0]
            if not last < time_s < math.inf:  # a file without time stamps, or with wrong ones
                time_s = last + 1 / self.fps if number else 0.0
            yield Frame(number, time_s, grabbed[1])
            last, number = time_s, number + 1
            grabbed = self._grab()
        if number:
            self.fault = self._shortfall(number, last)

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()

    def _grab(self) -> tuple[float, NDArray[np.uint8]] | None:
        """The next frame and its own time in seconds."""
        try:
            read, image = self._capture.read()
        except cv2.error:
            read, image = False, None
        if not read or image is None or not image.size:
            return None
        moment = time.monotonic() if self.is_camera else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if image.ndim == 2 or image.shape[2] == 1:
            return moment, cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
        return moment, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def _check_size(self) -> None:
        width, height = (
            self._capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if width * height > MAX_PIXELS:
            raise InputError(
                f"{self.name}: frames of {width:.0f} x {height:.0f} pixels are too large (at most "
                f"{MAX_PIXELS:,} pixels): scale the clip down"
            )

    def _shortfall(self, read: int, last: float) -> str | None:
        """What is missing at the end: frames and time both, since each alone is stated wrong by many a file."""
        if self.is_camera:
            return f"{self.name}: gave no more pictures after frame {read - 1} ({last:.2f} s)"
        if self.count is None:
            return None
        length = self.count / self.fps
        if read / self.fps + _SLACK_S > length or last + 1 / self.fps + _SLACK_S > length:
            return None
        return (
            f"{self.name}: reading ended after frame {read - 1} ({last:.2f} s) of about {self.count} frames: "
            "the file is damaged or cut off; what was read is kept"
        )


def _open_camera(number: int) -> Any:
    capture = cv2.VideoCapture(number) if number >= 0 else None
    if capture is None or not capture.isOpened():
        present = sorted(int(p.name[5:]) for p in Path("/dev").glob("video*") if p.name[5:].isdigit())
        known = f"; cameras here: {', '.join(map(str, present))}" if present else ""
        raise InputError(
            f"camera {number} cannot be opened: {_remedy(True)}{known if sys.platform == 'linux' else ''}"
        )
    return capture


def _open_file(name: str) -> Any:
    try:
        status = os.stat(name)
    except (OSError, ValueError) as error:
        reason = "no such clip" if isinstance(error, FileNotFoundError) else f"cannot read the clip: {error}"
        raise InputError(f"{name}: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{name}: not a file, so not a clip")
    if not status.st_size:
        raise InputError(f"{name}: the file is empty: replace or remove it")
    try:
        with open(name, "rb") as file:
            head = file.read(64)
    except OSError as error:
        raise InputError(f"{name}: cannot read the clip: {error.strerror}") from None
    if head.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_PLAYLISTS):
        raise InputError(f"{name}: a list of clips, not a clip: give the clips that it names")
    # A whole path, and by FFmpeg: else OpenCV takes "a:b" for a protocol and "%" for numbered pictures.
    with _speakable(os.path.abspath(name)) as path:
        capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputError(f"{name}: no video in it that can be read: {_remedy(False)}")
    return capture


@contextmanager
def _speakable(path: str) -> Iterator[str]:
    """The same file by a name that OpenCV can take: one that is not UTF-8 ends the process."""
    try:
        path.encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory(prefix="fanlight-") as folder:
            link = os.path.join(folder, "clip")
            os.symlink(path, link)
            yield link
    else:
        yield path


def _remedy(camera: bool) -> str:
    if camera:
        return "is it plugged in, allowed, and free of other programs? Another number may be another camera"
    return (
        "the file is damaged, cut off, or holds sound only; see whether a player shows it, and if one does, "
        "convert it: ffmpeg -i CLIP out.mp4"
    )
