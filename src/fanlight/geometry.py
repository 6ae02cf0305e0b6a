"""The coordinate convention, and everything that moves landmarks.

All coordinates are continuous pixels: pixel ``i`` covers ``[i, i + 1)`` and its centre is ``i + 0.5``.
Resizing an image by ``s`` multiplies its coordinates by ``s``; mirroring an image of width ``W`` maps ``x``
to ``W - x``. The same holds for heatmap cells. Left and right are the subject's.

A frame is part of a name wherever two frames meet: ``landmarks_image``, ``landmarks_crop``,
``landmarks_heatmap``. A 2x3 matrix maps a column ``(x, y, 1)`` of one frame to ``(x, y)`` of another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError

Floats = NDArray[np.float64]
Box = tuple[float, float, float, float]

FARTHEST_PX = 1e6  # no photo reaches as far, so no face box does
LEAST_PX = 0.01  # nor is a face's box as narrow
_BOXES_NAMED = 5  # of those that are refused


@dataclass(frozen=True)
class CropRule:
    """Turns a face box into the square that the network sees.

    The side is ``scale`` times the mean (or the larger) of the box's width and height; the square's centre is
    the box's, moved by fractions of the box's width and height. The default is the side
    mean(w, h) / 0.55 of the public FAN training code.

    Attributes:
        scale: side of the square over the box's size, > 0.
        measure: ``mean`` or ``max`` of width and height.
        shift_x: rightwards shift of the centre, in box widths.
        shift_y: downwards shift of the centre, in box heights.
    """

    scale: float = 1 / 0.55
    measure: Literal["mean", "max"] = "mean"
    shift_x: float = 0.0
    shift_y: float = 0.0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = []
        if not 0 < self.scale < math.inf:
            problems.append(f"scale = {self.scale}: must be positive, such as {1 / 0.55:.4f}")
        if self.measure not in ("mean", "max"):
            problems.append(f'measure = {self.measure!r}: must be "mean" or "max"')
        if not (math.isfinite(self.shift_x) and math.isfinite(self.shift_y)):
            problems.append(f"shift_x = {self.shift_x}, shift_y = {self.shift_y}: must be finite")
        if problems:
            raise InputError.collect(problems, "the crop rule cannot be used:")

    def square(self, box: ArrayLike) -> tuple[float, float, float]:
        """Return the crop's centre and side, (x, y, side) in image px, for (left, top, right, bottom)."""
        left, top, right, bottom = check_box(box)
        width, height = right - left, bottom - top
        size = (width + height) / 2 if self.measure == "mean" else max(width, height)
        x = (left + right) / 2 + self.shift_x * width
        y = (top + bottom) / 2 + self.shift_y * height
        return x, y, self.scale * size

    def reach(self, boxes: ArrayLike, motion: float = 1.0) -> Floats:
        """How far crops reach: the side of the square about each box's own centre that holds its crop.

        Args:
            boxes: (N, 4) left, top, right, bottom.
            motion: side of the square that holds a crop wherever augmentation moves it, over the crop's side.

        Returns:
            (N,), over the mean of the box's width and height: by the default rule ``scale * motion``.
        """
        boxes = np.asarray(boxes, np.float64)
        sides = boxes[:, 2:] - boxes[:, :2]
        mean = sides.mean(1)
        size = mean if self.measure == "mean" else sides.max(1)
        away = (sides * np.abs((self.shift_x, self.shift_y))).max(1)
        return (self.scale * motion * size + 2 * away) / mean


@dataclass(frozen=True)
class Motion:
    """How augmentation moves a crop: mirrored, then scaled and rotated about its centre, then shifted.

    Attributes:
        mirror: mirror the crop left to right.
        shift_x: rightwards shift of the content, as a fraction of the crop's side.
        shift_y: downwards shift, likewise.
        scale: magnification of the content, > 0.
        rotate_deg: rotation of the content in degrees, clockwise as seen on the screen.
    """

    mirror: bool = False
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 1.0
    rotate_deg: float = 0.0

    def matrix(self) -> Floats:
        """How positions in the crop move, (2, 3), as fractions of its side."""
        return _moved(self, (0.5, 0.5), 1.0, 1.0)


STILL = Motion()


def check_box(box: ArrayLike) -> Box:
    """Return a box as four floats.

    Raises:
        InputError: not four finite numbers (left, top, right, bottom) with left < right and top < bottom.
    """
    values = np.asarray(box, dtype=np.float64).reshape(-1)
    if (
        values.size != 4
        or not (np.abs(values) < FARTHEST_PX).all()
        or values[2] - values[0] < LEAST_PX
        or values[3] - values[1] < LEAST_PX
    ):
        raise InputError(
            f"face box {values.tolist()} is not (left, top, right, bottom) with left < right, top < bottom: "
            f"give four numbers in image pixels, below a million, that differ by {LEAST_PX} px at least"
        )
    left, top, right, bottom = values.tolist()
    return left, top, right, bottom


def check_boxes(boxes: ArrayLike) -> list[Box]:
    """Return boxes, (N, 4) or (4,), as tuples of four floats.

    Raises:
        InputError: they have another shape, or ``check_box`` refuses one.
    """
    try:
        given = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f'boxes {str(boxes)[:80]}: give (N, 4) numbers, each left, top, right, bottom, or "whole", or None'
        ) from None
    if given.size and (given.shape[-1:] != (4,) or given.ndim > 2):
        raise InputError(f"boxes of shape {given.shape}: give (N, 4), each left, top, right, bottom in px")
    return [check_box(box) for box in given.reshape(-1, 4)]


def touches(box: ArrayLike, image: NDArray[Any]) -> bool:
    """Whether a box (4,) and an image (H, W, 3) share some area."""
    left, top, right, bottom = np.asarray(box, np.float64).tolist()
    return left < image.shape[1] and top < image.shape[0] and right > 0 and bottom > 0


def boxes_in(image: NDArray[Any], boxes: ArrayLike) -> list[Box]:
    """Return the boxes of faces in an image (H, W, 3), (N, 4) or (4,), as tuples of four floats.

    Raises:
        InputError: as ``check_boxes``, or boxes lie outside the image; all of these are told.
    """
    checked = check_boxes(boxes)
    outside = [number for number, box in enumerate(checked) if not touches(box, image)]
    if outside:
        named = ", ".join(f"boxes[{number}] = {checked[number]}" for number in outside[:_BOXES_NAMED])
        more = f" and {len(outside) - _BOXES_NAMED} more" if len(outside) > _BOXES_NAMED else ""
        size = f"{image.shape[1]} x {image.shape[0]}"
        raise InputError(
            f"face box outside the photo of {size} px: {named}{more}: give boxes in px of this photo, "
            "and leave out those of no face in it"
        )
    return checked


def crop_matrix(box: ArrayLike, rule: CropRule, input_size: int, motion: Motion = STILL) -> Floats:
    """Compose crop, mirror, scale, rotation and shift into one matrix.

    Args:
        box: (4,) left, top, right, bottom in image px.
        rule: how the box becomes a square.
        input_size: side of the crop in crop px.
        motion: what augmentation adds.

    Returns:
        (2, 3), image -> crop, both continuous.

    Raises:
        InputError: the box is degenerate.
    """
    centre_x, centre_y, side = rule.square(box)
    return _moved(motion, (centre_x, centre_y), input_size / side, input_size)


def _moved(motion: Motion, centre: tuple[float, float], unit: float, side: float) -> Floats:
    """What magnifies by ``unit``, brings ``centre`` to the middle of a square, and then moves that: (2, 3).

    In plain numbers, since loaders need it for every face.
    """
    x, y = centre
    cosine = unit * motion.scale * math.cos(math.radians(motion.rotate_deg))
    sine = unit * motion.scale * math.sin(math.radians(motion.rotate_deg))
    sign = -1.0 if motion.mirror else 1.0
    left, top = side * (0.5 + motion.shift_x), side * (0.5 + motion.shift_y)
    return np.array(
        [
            [sign * cosine, -sine, left - sign * cosine * x + sine * y],
            [sign * sine, cosine, top - sign * sine * x - cosine * y],
        ]
    )


def transform(matrix: ArrayLike, landmarks: ArrayLike) -> Floats:
    """Move landmarks (..., 2) by a (2, 3) matrix into its target frame."""
    matrix, landmarks = np.asarray(matrix, np.float64), np.asarray(landmarks, np.float64)
    return landmarks @ matrix[:, :2].T + matrix[:, 2]


def invert(matrix: ArrayLike) -> Floats:
    """Return the (2, 3) matrix that undoes ``matrix``."""
    matrix = np.asarray(matrix, np.float64)
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def mirror_landmarks(landmarks: ArrayLike, width: float, mirror: Sequence[int]) -> Floats:
    """Landmarks of the mirrored image: ``W - x``, each point taking the place of its mirror partner.

    Args:
        landmarks: (..., L, 2) in an image of width ``width``.
        width: width of that image in px.
        mirror: for each point the index of its partner (itself on the midline), length L.

    Returns:
        (..., L, 2). Mirroring twice is the identity.
    """
    mirrored = np.array(landmarks, dtype=np.float64)
    mirrored[..., 0] = width - mirrored[..., 0]
    return mirrored[..., list(mirror), :]


def warp(image: NDArray[Any], matrix: ArrayLike, input_size: int, border_value: int = 0) -> NDArray[np.uint8]:
    """Sample an image once, straight into the crop.

    Where the crop has fewer pixels than its source, the source is low-pass filtered first, about as much as
    averaging over each crop pixel would, so that nothing aliases. Only the part of the photo that the crop
    touches is read.

    Args:
        image: (H, W, 3) uint8.
        matrix: (2, 3), image -> crop, continuous.
        input_size: side of the crop in px.
        border_value: what lies outside the photo, 0 to 255.

    Returns:
        (input_size, input_size, 3) uint8.
    """
    back = invert(matrix)
    region, offset = _touched_region(image, back, input_size)
    if region is None:
        return np.full((input_size, input_size, 3), border_value, np.uint8)
    back[:, 2] -= offset
    region, factor = _low_pass(region, _shrink(back))
    back /= factor
    back[:, 2] += back[:, :2] @ (0.5, 0.5) - 0.5
    four = cv2.cvtColor(region, cv2.COLOR_RGB2RGBA)  # OpenCV samples four channels faster than three
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(four, back, (input_size, input_size), flags=flags, borderValue=(border_value,) * 4)
    return cv2.cvtColor(crop, cv2.COLOR_RGBA2RGB)


def _shrink(back: Floats) -> float:
    """Source pixels per crop pixel, along a side, for a matrix crop -> source."""
    return math.sqrt(abs(back[0, 0] * back[1, 1] - back[0, 1] * back[1, 0]))


def _low_pass(image: NDArray[Any], shrink: float) -> tuple[NDArray[Any], int]:
    """Filter an image that is to be shrunk with linear interpolation; also shrinks it by a whole factor.

    The filter's variance, (shrink^2 - 1) / 8 source px^2, keeps passing and stopping close to what averaging
    over the crop's pixels does, at any factor. Where that is large, most of it comes from averaging blocks:
    blocks of n x n, and interpolating between them, have (n^2 - 1) / 4 more than interpolation alone.

    Returns:
        The filtered image, and the factor by which it is smaller than the given one.
    """
    factor = max(1, min(int(shrink / 1.6), max(image.shape[:2])))
    if factor > 1:
        image = _average_blocks(image, factor)
    variance = ((shrink**2 - 1) / 8 - (factor**2 - 1) / 4) / factor**2
    if variance > 0.5:
        image = cv2.GaussianBlur(image, (0, 0), math.sqrt(variance), borderType=cv2.BORDER_REPLICATE)
    elif variance > 0.02:
        kernel = np.array([variance / 2, 1 - variance, variance / 2])
        image = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return image, factor


def _touched_region(
    image: NDArray[Any], back: Floats, input_size: int, margin: int = 2
) -> tuple[NDArray[Any] | None, Floats]:
    """The part of the image under the crop, with a margin, and its offset (x, y); None when there is none."""
    corners = transform(back, [(0, 0), (input_size, 0), (0, input_size), (input_size, input_size)])
    reach = margin * math.ceil(max(_shrink(back), 1.0))
    low = np.maximum(np.floor(corners.min(0)) - reach, 0).astype(int)
    high = np.minimum(np.ceil(corners.max(0)) + reach, (image.shape[1], image.shape[0])).astype(int)
    if (low >= high).any():
        return None, np.zeros(2)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)


def _average_blocks(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """Average blocks of factor x factor pixels; an incomplete last block is filled by repeating the edge."""
    height, width = image.shape[:2]
    if min(height, width) < factor:  # what is filled up would be many times as large
        across = _average(image, 1, factor) if width >= height else _average(image, factor, 1)
        return _average(across, factor, 1) if width >= height else _average(across, 1, factor)
    return _average(image, factor, factor)


def _average(image: NDArray[Any], rows: int, columns: int) -> NDArray[Any]:
    height, width = image.shape[:2]
    below, right = -height % rows, -width % columns
    if below or right:
        image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    size = (image.shape[1] // columns, image.shape[0] // rows)
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
