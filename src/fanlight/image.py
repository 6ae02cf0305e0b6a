"""Photos in and out, as RGB arrays."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError

MAX_PIXELS = 200_000_000
"""Larger photos are refused: decoded, this many pixels take 600 MB."""


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a photo (JPEG, PNG, WebP, BMP or TIFF) as it is meant to be seen.

    The orientation noted by the camera (EXIF) is applied. Grey, palette and CMYK photos become RGB, 16 bits are
    scaled to 8, and transparency is dropped.

    Args:
        path: the file.

    Returns:
        image: (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        InputError: missing, damaged, cut off, not one of the formats, or larger than ``MAX_PIXELS``.
    """
    data = _read_bytes(path)
    _check_header(path, data)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{fspath(path)}: this image cannot be decoded: it is damaged; replace or remove it")
    return image  # type: ignore[return-value]


def write_image(path: str | PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write a photo; the ending of the name (.jpg, .png, .webp, .bmp, .tiff) tells the format.

    Args:
        path: the file to write; an existing one is replaced.
        image: (H, W, 3) uint8 RGB.

    Raises:
        ValueError: image is not (H, W, 3) uint8.
        InputError: the ending is unknown or the file cannot be written.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image should be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    suffix = Path(path).suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"):
        raise InputError(f"{fspath(path)}: the name should end in .jpg, .png, .webp, .bmp or .tiff")
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error as error:
        raise InputError(f"{fspath(path)}: a {image.shape} image cannot be stored so: {error.err}") from None
    if not done:
        raise InputError(f"{fspath(path)}: a {image.shape} image cannot be stored as {suffix}")
    try:
        Path(path).write_bytes(data.tobytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{fspath(path)}: cannot write the image: {error}") from None


def _read_bytes(path: str | PathLike[str]) -> NDArray[np.uint8]:
    try:
        with open(path, "rb") as file:
            data = np.frombuffer(file.read(), dtype=np.uint8)
    except FileNotFoundError:
        raise InputError(f"{fspath(path)}: no such image") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{fspath(path)}: cannot read the image: {error}") from None
    if not data.size:
        raise InputError(f"{fspath(path)}: the image file is empty: replace or remove it")
    return data


def _check_header(path: str | PathLike[str], data: NDArray[np.uint8]) -> None:
    """Refuse what is no image or too large, before memory is spent on it."""
