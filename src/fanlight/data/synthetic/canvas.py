"""A picture of the face's front plane to paint on: colour and gloss, addressed in centimetres."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.person import Generator

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

PX_PER_CM = 16
LEFT_CM, TOP_CM, RIGHT_CM, BOTTOM_CM = -9.5, -8.0, 9.5, 14.5
WIDTH, HEIGHT = int((RIGHT_CM - LEFT_CM) * PX_PER_CM), int((BOTTOM_CM - TOP_CM) * PX_PER_CM)
SUBPIXEL_BITS = 4  # cv2 draws at 1/16 px
SKIN_GLOSS = 0.25


def to_picture(points: Array | Picture) -> Array:
    """Front-plane cm (..., 2) to continuous px of the picture."""
    return np.asarray((points - (LEFT_CM, TOP_CM)) * PX_PER_CM, np.float64)


@cache
def noise_sheet() -> Picture:
    """(1024, 1024) smooth noise of several octaves, mean 0, deviation 1; the same for every face."""
    rng = np.random.default_rng(20)
    sheet = np.zeros((1024, 1024), np.float32)
    for octave in range(2, 10):
        cells = rng.standard_normal((2**octave, 2**octave)).astype(np.float32)
        sheet += cv2.resize(cells, (1024, 1024), interpolation=cv2.INTER_CUBIC) * 0.72**octave
    return np.asarray(sheet / sheet.std(), np.float32)


def noise_patch(rng: Generator, height: int, width: int) -> Picture:
    """A random window of the noise sheet, height and width below 1024."""
    top, left = rng.integers(1024 - height), rng.integers(1024 - width)
    return noise_sheet()[top : top + height, left : left + width]


class Canvas:
    """The picture being painted."""

    def __init__(self, colour: Sequence[float], gloss: float) -> None:
        self.planes: Picture = np.empty((4, HEIGHT, WIDTH), np.float32)
        self.planes[:] = np.array([*colour, gloss])[:, None, None]

    def picture(self) -> Picture:
        """What has been painted, (HEIGHT, WIDTH, 4)."""
        return np.asarray(cv2.merge(list(self.planes)), np.float32)

    def blend(
        self,
        shapes: Sequence[Array],
        colour: Sequence[float] | Array,
        alpha: float = 1.0,
        soft: float = 0.0,
        line: float = 0.0,
        gloss: float = SKIN_GLOSS,
        within: Array | None = None,
        grain: Picture | None = None,
    ) -> None:
        """Paint polygons, or lines, over what is there.

        Args:
            shapes: each (N, 2), cm.
            colour: linear RGB.
            alpha: opacity of the whole, 0..1.
            soft: blur of the edge, cm (standard deviation).
            line: 0 fills the shapes; otherwise draws them as open lines this wide, cm.
            gloss: of what is painted.
            within: a polygon outside which nothing is painted.
            grain: (HEIGHT, WIDTH) factor on the opacity.
        """
        margin = 3 * soft + line + 2 / PX_PER_CM
        everything = np.concatenate(shapes)
        low = np.floor(to_picture(everything.min(0) - margin)).astype(int).clip(0, (WIDTH - 1, HEIGHT - 1))
        high = np.ceil(to_picture(everything.max(0) + margin)).astype(int).clip(low + 1, (WIDTH, HEIGHT))
        window = (slice(low[1], high[1]), slice(low[0], high[0]))
        mask = coverage(shapes, low, high, line)
        if soft:
            side = 2 * max(1, round(2 * soft * PX_PER_CM)) + 1  # about a Gaussian of this deviation
            mask = np.asarray(cv2.stackBlur(mask, (side, side)), np.uint8)
        if within is not None:
            mask = np.minimum(mask, coverage([within], low, high, 0.0))
        opacity = mask.astype(np.float32) * np.float32(alpha / 255)
        if grain is not None:
            opacity *= grain[window]
        for plane, value in zip(self.planes, (*colour, gloss), strict=True):
            below = plane[window]
            below += opacity * (np.float32(value) - below)


def coverage(
    shapes: Sequence[Array], low: NDArray[np.int64], high: NDArray[np.int64], line: float
) -> NDArray[np.uint8]:
    """Antialiased coverage 0..255 of shapes in the window from low to high (px)."""
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    every = np.concatenate(shapes)
    places = np.round((to_picture(every) - low - 0.5) * 2**SUBPIXEL_BITS).astype(np.int32)
    fixed = np.split(places, np.cumsum([len(shape) for shape in shapes[:-1]]))
    if line:
        width = max(1, round(line * PX_PER_CM))
        cv2.polylines(mask, fixed, False, (255,), width, cv2.LINE_AA, SUBPIXEL_BITS)
    else:
        cv2.fillPoly(mask, fixed, (255,), cv2.LINE_AA, SUBPIXEL_BITS)
    return mask


def loop(first: Array, second: Array) -> Array:
    """The polygon between two curves that run the same way."""
    return np.concatenate([first, second[::-1]])


def ellipse(centre: Sequence[float] | Array, radius_x: float, radius_y: float, points: int = 28) -> Array:
    """An upright ellipse as a polygon (points, 2)."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([centre[0] + radius_x * np.cos(angle), centre[1] + radius_y * np.sin(angle)], axis=-1)
