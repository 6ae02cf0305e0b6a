"""OpenCV's cascade of Haar features: always there, finds upright frontal faces, and some that are none."""

from __future__ import annotations

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.detectors.boxes import scaled, stretched
from fanlight.geometry import Floats

LONGEST = 800
CASCADE = "haarcascade_frontalface_alt2.xml"


class Haar:
    """Finds frontal faces of at least 24 px; photos of more than 800 px are scaled down first.

    Source: P. Viola and M. Jones, Rapid Object Detection using a Boosted Cascade of Simple Features, 2001; the
    cascade by R. Lienhart that OpenCV ships.
    """

    def __init__(self) -> None:
        self._cascade = cv2.CascadeClassifier(cv2.data.haarcascades + CASCADE)
        self._lock = threading.Lock()  # a cascade keeps its scaled photo between calls

    def __call__(self, image: NDArray[np.uint8]) -> Floats:
        """Boxes with scores, (N, 5), of the faces in an RGB photo (H, W, 3)."""
        photo, back = scaled(image, LONGEST)
        grey = cv2.cvtColor(stretched(photo), cv2.COLOR_RGB2GRAY)
        with self._lock:
            found, hits = self._cascade.detectMultiScale2(grey, 1.1, 3, minSize=(24, 24))
        rows = np.array(found, np.float64).reshape(-1, 4)
        boxes = np.hstack([rows[:, :2], rows[:, :2] + rows[:, 2:]]) * back
        return np.column_stack([boxes, np.array(hits, np.float64).reshape(-1)])
