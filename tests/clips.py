"""Clips for tests: faces of five painted dots (see painted.py) on known ways, and real video files of them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fanlight.clips.writer import ClipWriter
from fanlight.predict import Predictor
from painted import PLACES, dot_predictor, paint

FACE = 60.0  # side of a face's box in px
WIDTH, HEIGHT = 320, 240
FPS = 25.0
Way = Callable[[int], tuple[float, float] | None]
"""A face's way: frame number -> centre (x, y) of its box, None where it is not to be seen."""


def truth(centre: tuple[float, float]) -> NDArray[np.float64]:
    """(5, 2) landmarks of a face."""
    return np.asarray(centre) + (PLACES - 0.5) * FACE


def picture(*centres: tuple[float, float] | None) -> NDArray[np.uint8]:
    """A frame with these faces."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for centre in centres:
        if centre is not None:
            image = np.maximum(image, paint(truth(centre), HEIGHT, WIDTH, 2.0))
    return image


def pictures(ways: Sequence[Way], count: int) -> list[NDArray[np.uint8]]:
    """The frames of a clip."""
    return [picture(*(way(number) for way in ways)) for number in range(count)]


def find_dots(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A detector: a box around each green dot, which is a face's nose."""
    count, _, _, centres = cv2.connectedComponentsWithStats((image[..., 1] > 128).astype(np.uint8))
    boxes = [[*(c - FACE / 2), *(c + FACE / 2)] for c in centres[1:count] + 0.5 - (0.0, 0.05 * FACE)]
    return np.array(boxes).reshape(-1, 4)


class Detector:
    """``find_dots`` that counts its calls."""

    calls = 0

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.float64]:
        self.calls += 1
        return find_dots(image)


def dots(folder: Path) -> Predictor:
    """A network that finds the dots, with the detector that finds the noses."""
    predictor = dot_predictor(folder)
    predictor.detector = Detector()
    return predictor


def write_clip(path: Path, images: Iterable[NDArray[np.uint8]], times: Sequence[float] | None = None) -> Path:
    """A video file: .webm and .mp4 by fanlight, .avi by OpenCV (MJPG)."""
    images = list(images)
    size = (images[0].shape[1], images[0].shape[0])
    if path.suffix == ".avi":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, size)
        for image in images:
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        writer.release()
        return path
    if path.suffix == ".mp4":
        pytest.importorskip("av", reason="PyAV, of the extra video, is not installed")
    with ClipWriter(path, size, FPS) as clip:
        for number, image in enumerate(images):
            clip.write(image, number / FPS if times is None else times[number])
    return path


def rotate(path: Path, degrees: int) -> Path:
    """Note in an .mp4 file, as a phone does, that it is to be shown turned clockwise."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # type, version and flags, times and ids, reserved, layer
    one = 1 << 16
    turned = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    a, b, c, d = turned
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned_path = path.with_name(f"turned{degrees}.mp4")
    turned_path.write_bytes(data)
    return turned_path
