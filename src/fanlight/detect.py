"""Finding faces: packaged detectors, and a plug-in interface of one function.

A detector is a function that takes a photo, (H, W, 3) uint8 RGB, and returns its face boxes, (N, 4): left, top,
right, bottom in image px, continuous. ``fanlight.load(model, detector=my_function)`` uses yours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.geometry import check_box

Detector = Callable[[NDArray[np.uint8]], ArrayLike]
Box = tuple[float, float, float, float]


def find_detector(detector: Detector | str | None) -> tuple[str, Detector]:
    """The detector and its name; the first packaged one that is installed when None.

    Raises:
        InputError: there is none of that name, or it is not installed.
    """
    if detector is not None and not isinstance(detector, str):
        return getattr(detector, "__name__", "detector"), detector
    raise InputError(
        "no face detector is installed: pip install 'fanlight[detect]', or give boxes "
        '("whole" takes the whole photo as one face)'
    )


def detect_faces(detector: Detector, image: NDArray[np.uint8]) -> list[Box]:
    """The boxes that a detector finds in a photo, checked.

    Raises:
        InputError: the detector does not return boxes.
    """
    boxes = np.asarray(detector(image), dtype=np.float64)
    if boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise InputError(
            f"the detector returned an array of shape {boxes.shape}: expected (N, 4), left, top, right, bottom"
        )
    return [check_box(box) for box in boxes.reshape(-1, 4)]
