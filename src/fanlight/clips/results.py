"""What is found in a clip, in a table and in pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from os import PathLike
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.clips.track import Tracked
from fanlight.clips.video import Frame
from fanlight.draw import PREDICTED, RIM, overlay
from fanlight.errors import InputError
from fanlight.markup import Markup

COLUMNS = ("frame", "time_s", "id", "left", "top", "right", "bottom", "score", "smoothed")


class TrackFile:
    """A CSV with a line for each face in each frame, coordinates continuous: the first pixel's centre is
    (0.5, 0.5).

    Columns: ``frame`` from 0, ``time_s`` since the first frame, the face's ``id``, the landmarks' bounding
    box as ``left``, ``top``, ``right``, ``bottom``, ``score`` (the landmarks' mean), ``smoothed`` (1 or 0),
    and for each landmark ``x0``, ``y0``, ``score0`` and so on. A frame without a face has one line: id 0, the
    rest empty. Each frame is on the disk once it is added, so that the file is whole whenever the work ends.

    Args:
        path: the file to write; an existing one is replaced.
        markup: of the landmarks.
        smoothed: whether the landmarks are smoothed.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | PathLike[str], markup: Markup, smoothed: bool) -> None:
        self._path, self._markup, self._smoothed = path, markup, int(smoothed)
        try:
            self._text = open(path, "w", encoding="utf-8", newline="")  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}; choose another folder") from None
        self._rows = csv.writer(self._text, lineterminator="\n")
        points = (f"{what}{i}" for i in range(markup.count) for what in ("x", "y", "score"))
        self._rows.writerow([*COLUMNS, *points])

    def add(self, frame: Frame, faces: Sequence[Tracked]) -> None:
        """Write a frame's faces.

        Raises:
            InputError: the file cannot be written any further.
        """
        head = [frame.number, f"{frame.time_s:.6f}"]
        if not faces:
            self._rows.writerow([*head, 0, *[""] * (6 + 3 * self._markup.count)])
        for tracked in faces:
            face = tracked.face
            values = [f"{value:.3f}" for value in (*face.box, face.scores.mean())]
            points = np.column_stack([face.landmarks, face.scores]).ravel()
            self._rows.writerow([*head, tracked.id, *values, self._smoothed, *(f"{v:.3f}" for v in points)])
        try:
            self._text.flush()
        except OSError as error:
            raise InputError(
                f"{self._path}: cannot be written beyond frame {frame.number}: {error.strerror}"
            ) from None

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    def __enter__(self) -> TrackFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def draw_tracked(image: NDArray[np.uint8], faces: Sequence[Tracked], markup: Markup) -> NDArray[np.uint8]:
    """Draw the faces of a frame on a copy of it: dots, the mark-up's lines, a box, and the face's id above
    it.

    Args:
        image: (H, W, 3) uint8 RGB.
        faces: in it.
        markup: of the landmarks.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    if not faces:
        return image.copy()
    canvas = overlay(image, np.stack([tracked.face.landmarks for tracked in faces]), markup, face_px=1)
    size = max(0.5, min(image.shape[:2]) / 800)  # of the letters; OpenCV's are about 22 px high at 1
    line, stroke = max(1, round(size)), max(1, round(2 * size))
    for tracked in faces:
        left, top, right, bottom = np.rint(np.clip(tracked.face.box, -1e5, 1e5)).astype(int).tolist()
        cv2.rectangle(canvas, (left, top), (right, bottom), PREDICTED, line, cv2.LINE_AA)
        place = (max(left, 0), max(top - 2 - 4 * line, round(24 * size)))
        for colour, width in ((RIM, 3 * stroke), (PREDICTED, stroke)):
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(canvas, str(tracked.id), place, font, size, colour, width, cv2.LINE_AA)
    return canvas
