"""Statistics that a few wrong values among many right ones do not move."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fanlight.geometry import Floats

MIN_FACES = 30
"""With fewer faces, what is usual among them cannot be told."""

_SIGMA = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def centre_and_scale(values: ArrayLike, floor: float = 1e-9) -> tuple[Floats, Floats]:
    """Median, and the deviation that the median absolute deviation stands for.

    Args:
        values: (N, ...).
        floor: the least deviation, for values that are mostly equal.

    Returns:
        Two arrays of the shape (...).
    """
    values = np.asarray(values, np.float64)
    centre = np.median(values, axis=0)
    scale = _SIGMA * np.median(np.abs(values - centre), axis=0)
    return centre, np.maximum(scale, floor)


def how_unusual(values: ArrayLike, floor: float = 1e-9) -> Floats:
    """How many deviations each value lies from the median of its column: (N, ...) -> (N, ...), with sign."""
    centre, scale = centre_and_scale(values, floor)
    return np.asarray((np.asarray(values, np.float64) - centre) / scale)
