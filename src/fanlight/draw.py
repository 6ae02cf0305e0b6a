"""Pictures for people: landmarks on faces, contact sheets, heatmaps.

Predicted landmarks are gold, true ones blue: colours that stay apart for colour-blind eyes, each dot with a dark
rim so that it shows on any skin and background. Images are (H, W, 3) uint8 RGB throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.markup import Markup

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]

PREDICTED: Colour = (255, 176, 0)
TRUE: Colour = (86, 156, 255)
RIM: Colour = (16, 16, 16)
PAPER: Colour = (250, 250, 250)

DENSE_POINTS = 60  # a face with fewer points gets larger dots

_SHIFT = 6  # OpenCV draws at 1/64 px


def overlay(
    image: Image,
    landmarks: ArrayLike,
    markup: Markup | None = None,
    true: ArrayLike | None = None,
    face_px: int = 200,
    max_side: int = 4096,
) -> Image:
    """Draw landmarks on a copy of an image, dots and the mark-up's edges, sized to the face.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (L, 2) or, for several faces, (F, L, 2), in image px.
        markup: for the edges; dots only when None.
        true: true landmarks of the same shape, drawn below in the other colour.
        face_px: the smallest face is enlarged to this size, by up to 4, so that its dots stay apart.
        max_side: no enlargement beyond this side.

    Returns:
        (H * s, W * s, 3) uint8 RGB, a whole number s >= 1 of pixels for each.

    Raises:
        InputError: landmarks of another shape, or true ones of a different shape.
    """
    faces = _faces(landmarks)
    truths = None if true is None else _faces(true)
    if truths is not None and truths.shape != faces.shape:
        raise InputError(f"true landmarks {truths.shape} and predicted ones {faces.shape} differ in shape")
    factor = _enlargement(image, faces if truths is None else truths, face_px, max_side)
    size = (image.shape[1] * factor, image.shape[0] * factor)
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_CUBIC) if factor > 1 else image.copy()
    edges = () if markup is None else markup.edges
    for f, face in enumerate(faces * factor):
        unit = max(1.0, _extent(face if truths is None else truths[f] * factor) / 200)
        unit *= min(max(math.sqrt(DENSE_POINTS / max(len(face), 1)), 1.0), 3.0)
        if truths is not None:
            _draw_face(canvas, truths[f] * factor, edges, TRUE, unit)
        _draw_face(canvas, face, edges, PREDICTED, unit)
    return np.asarray(canvas, np.uint8)


def heatmap_overlay(image: Image, heatmaps: ArrayLike, strength: float = 0.75) -> Image:
    """Lay the strongest response of all landmarks over an image.

    Args:
        image: (H, W, 3) uint8 RGB, the crop.
        heatmaps: (L, h, w) of that crop; 0 leaves the image as it is, 1 and above covers it.
        strength: cover at a response of 1, in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    maps = np.asarray(heatmaps, np.float32)
    if maps.ndim != 3:
        raise InputError(f"heatmaps have the shape {maps.shape}: expected (L, h, w)")
    height, width = image.shape[:2]
    response = cv2.resize(maps.max(axis=0), (width, height), interpolation=cv2.INTER_LINEAR)
    response = np.clip(response, 0, 1)
    colours = cv2.applyColorMap((response * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    cover = strength * response[..., None]
    return np.asarray(np.rint(image * (1 - cover) + colours * cover), np.uint8)


def contact_sheet(
    images: Sequence[Image],
    captions: Sequence[str] = (),
    columns: int | None = None,
    cell: int = 256,
    gap: int = 8,
) -> Image:
    """Lay images out in a grid, each fitted into a square cell, with a caption below.

    Args:
        images: (H, W, 3) uint8 RGB, any sizes, at least one.
        captions: one per image, or none at all; long ones lose their middle.
        columns: of the grid; about square when None.
        cell: side of a cell in px.
        gap: between cells in px.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: no images, or captions that do not match them in number.
    """
    if not images or (captions and len(captions) != len(images)):
        raise InputError(
            f"a contact sheet of {len(images)} images and {len(captions)} captions is not possible"
        )
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    text_px = max(10, cell // 18)
    row_px = cell + gap + (2 * text_px if captions else 0)
    sheet = np.full((rows * row_px + gap, columns * (cell + gap) + gap, 3), PAPER, np.uint8)
    places = []
    for i, image in enumerate(images):
        left, top = gap + i % columns * (cell + gap), gap + i // columns * row_px
        fitted = _fit(image, cell)
        height, width = fitted.shape[:2]
        y, x = top + (cell - height) // 2, left + (cell - width) // 2
        sheet[y : y + height, x : x + width] = fitted
        places.append((left + cell / 2, top + cell + text_px))
    if captions:
        room = int(cell / (0.58 * text_px))
        _write(sheet, places, [_shorten(caption, room) for caption in captions], text_px)
    return sheet


def _faces(landmarks: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(landmarks, np.float64)
    faces = values[None] if values.ndim == 2 else values
    if faces.ndim != 3 or faces.shape[-1] != 2:
        raise InputError(f"landmarks have the shape {values.shape}: expected (L, 2) or (F, L, 2)")
    return faces


def _extent(face: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.ptp(face, axis=0).prod())) if len(face) else 0.0


def _enlargement(image: Image, faces: NDArray[np.float64], face_px: int, max_side: int) -> int:
    """A whole factor from 1 to 4 that brings the smallest face to ``face_px`` within ``max_side``."""
    smallest = min((_extent(face) for face in faces), default=0.0)
    wanted = int(np.ceil(face_px / smallest)) if smallest > 0 else 1
    return max(1, min(wanted, 4, max_side // max(image.shape[:2])))


def _draw_face(
    canvas: NDArray[Any],
    face: NDArray[np.float64],
    edges: Sequence[tuple[int, int]],
    colour: Colour,
    unit: float,
) -> None:
    for start, end in edges:
        _line(canvas, face[start], face[end], colour, unit)
    for point in face:
        _dot(canvas, point, 2.0 * unit + 0.8, RIM, 0.6)
        _dot(canvas, point, 2.0 * unit, colour)


def _dot(
    canvas: NDArray[Any], point: NDArray[np.float64], radius: float, colour: Colour, opacity: float = 1.0
) -> None:
    """Blend a disc into the canvas, each pixel by how much of it is covered: OpenCV's small discs are diamonds."""
    height, width = canvas.shape[:2]
    left, top = np.floor(np.clip(point - radius - 1, 0, (width, height))).astype(int)
    right, bottom = np.ceil(np.clip(point + radius + 1, 0, (width, height))).astype(int)
    x, y = np.arange(left, right) + 0.5 - point[0], np.arange(top, bottom) + 0.5 - point[1]
    cover = opacity * np.clip(radius + 0.5 - np.hypot(x, y[:, None]), 0, 1)[..., None]
    patch = canvas[top:bottom, left:right]
    patch[:] = np.rint(patch + cover * (np.asarray(colour) - patch))


def _line(canvas: NDArray[Any], start: ArrayLike, end: ArrayLike, colour: Colour, unit: float) -> None:
    cv2.line(canvas, _fixed(start), _fixed(end), colour, max(1, round(0.8 * unit)), cv2.LINE_AA, _SHIFT)


def _fixed(point: ArrayLike) -> tuple[int, int]:
    """A continuous point in OpenCV's fixed-point units, whose whole numbers are pixel centres."""
    x, y = np.rint((np.clip(np.asarray(point, np.float64), -1e5, 1e5) - 0.5) * 2**_SHIFT).astype(int).tolist()
    return x, y


def _fit(image: Image, cell: int) -> NDArray[Any]:
    """The image scaled to fill a square of side ``cell``, its shape kept."""
    factor = cell / max(image.shape[:2])
    width, height = (max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def _shorten(text: str, room: int) -> str:
    """At most ``room`` characters; a longer text loses its middle."""
    if len(text) <= room:
        return text
    head = max(1, (room - 1) // 2)
    return f"{text[:head]}…{text[-max(1, room - 1 - head) :]}"


def _write(sheet: Image, places: Sequence[tuple[float, float]], texts: Sequence[str], text_px: int) -> None:
    """Write texts centred at places (x, y) into the sheet, in any script the plot's font knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = sheet.shape[:2]
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)
    figure.patch.set_visible(False)
    for (x, y), text in zip(places, texts, strict=True):
        figure.text(
            x / width,
            1 - y / height,
            text,
            fontsize=text_px * 0.72,
            ha="center",
            va="center",
            parse_math=False,
        )
    canvas.draw()  # type: ignore[no-untyped-call]
    ink = np.asarray(canvas.buffer_rgba())[:height, :width, 3:] / 255.0  # type: ignore[no-untyped-call]
    sheet[:] = np.rint(sheet * (1 - ink) + np.asarray(RIM) * ink)
