"""Fitting a crop rule to a detector, so that its boxes give a network the crops that it was trained with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats

FEWEST = 10
_MEASURES: tuple[Literal["mean", "max"], ...] = ("mean", "max")


@dataclass(frozen=True)
class CropErrors:
    """How far the crops of one rule are from those that are wanted, in fractions of the wanted side.

    Attributes:
        centre: median distance of the centres.
        centre_90: that which 90 % of the faces stay below.
        side: median difference of the sides, either way.
        side_90: that which 90 % of the faces stay below.
    """

    centre: float
    centre_90: float
    side: float
    side_90: float

    def __str__(self) -> str:
        centre, side = 100 * self.centre, 100 * self.side
        return (
            f"centre off by {centre:.1f} % of the side (90 % of the faces: below {100 * self.centre_90:.1f}), "
            f"side by {side:.1f} % (below {100 * self.side_90:.1f})"
        )


def squares_of(boxes: ArrayLike, rule: CropRule) -> Floats:
    """The squares (x, y, side) that a rule makes of boxes: (N, 4) -> (N, 3), in the boxes' px.

    Raises:
        InputError: a box is degenerate.
    """
    given = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.array([rule.square(box) for box in given]).reshape(-1, 3)


def fit_crop_rule(boxes: ArrayLike, squares: ArrayLike) -> CropRule:
    """The rule by which boxes come closest to squares.

    Everything is a median over the faces, so a few boxes of something else do no harm. The measure is the one
    whose sides scatter less; the numbers are rounded to four digits behind the point.

    Args:
        boxes: (N, 4) left, top, right, bottom, of one detector.
        squares: (N, 3) x, y of the centre and side of each face's wanted crop, in the same px.

    Raises:
        InputError: there are fewer than ten faces, or not as many squares as boxes.

    >>> fit_crop_rule([(0, 0, 40, 60)] * 10, [(20, 36, 100)] * 10)
    CropRule(scale=2.0, measure='mean', shift_x=0.0, shift_y=0.1)
    """
    given, wanted = np.asarray(boxes, np.float64), np.asarray(squares, np.float64)
    if len(given) != len(wanted) or len(given) < FEWEST:
        raise InputError(
            f"{len(given)} boxes for {len(wanted)} squares: a crop rule is fitted to at least {FEWEST} faces, "
            "with one box and one square each"
        )
    size = given[:, 2:] - given[:, :2]
    shift_x, shift_y = np.median((wanted[:, :2] - (given[:, :2] + given[:, 2:]) / 2) / size, axis=0).tolist()
    fits = []
    for measure in _MEASURES:
        ratio = wanted[:, 2] / (size.mean(1) if measure == "mean" else size.max(1))
        scale = float(np.median(ratio))
        scatter = float(np.median(np.abs(np.log(ratio / scale))))
        fits.append((scatter, CropRule(round(scale, 4), measure, round(shift_x, 4), round(shift_y, 4))))
    return min(fits, key=lambda fit: fit[0])[1]


def crop_errors(boxes: ArrayLike, squares: ArrayLike, rule: CropRule) -> CropErrors:
    """How far the crops that a rule makes of boxes (N, 4) are from the wanted squares (N, 3).

    Raises:
        InputError: a box is degenerate.
    """
    made, wanted = squares_of(boxes, rule), np.asarray(squares, np.float64)
    centre = np.hypot(*(made[:, :2] - wanted[:, :2]).T) / wanted[:, 2]
    side = np.abs(made[:, 2] / wanted[:, 2] - 1)
    return CropErrors(
        *(float(np.quantile(errors, share)) for errors in (centre, side) for share in (0.5, 0.9))
    )
