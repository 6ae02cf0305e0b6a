"""Photos in and out, as RGB arrays.

Files are handed to OpenCV from memory, never by name: from memory it refuses a cut-off JPEG, by name it returns
one with a grey end. Names may so hold any character, on any system.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.durable import writing_whole
from fanlight.errors import InputError
from fanlight.image_header import ImageHeader, read_header

MAX_PIXELS = 200_000_000
"""A photo of more pixels is refused: decoded, this many take 600 MB."""

MAX_SIDE = 32_766
"""A photo of a longer side is refused: OpenCV's warps cannot address it."""

_MAX_BYTES = 1 << 30
_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

_READ_PAST_END = bytes(16)  # the JPEG decoder looks ahead by up to 8 bytes
_UPRIGHT: dict[int, Callable[[Any], Any]] = {  # by EXIF's number
    1: lambda image: image,
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.rotate(image, cv2.ROTATE_180),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}

# Whatever goes wrong is raised as an InputError that names the file; OpenCV's own lines on stderr say less.
if "OPENCV_LOG_LEVEL" not in os.environ:
    logging = getattr(cv2.utils, "logging", cv2)  # it moved between OpenCV 4.11 and 4.14
    logging.setLogLevel(0)


def read_image(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read a photo (JPEG, PNG, WebP, BMP or TIFF) as it is meant to be seen.

    The orientation noted by the camera (EXIF) is applied. Grey, palette and CMYK photos become RGB, 16 bits are
    scaled to 8, and transparency is dropped (a TIFF's is blended with black).

    Args:
        path: the file.

    Returns:
        image: (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        InputError: missing, damaged, cut off, of another format, of more than ``MAX_PIXELS`` or of a side longer
            than ``MAX_SIDE``.
    """
    return decode_image(_read_bytes(path), fspath(path))


def decode_image(data: bytes, name: str) -> NDArray[np.uint8]:
    """Read a photo that is in memory, as ``read_image`` does.

    Args:
        data: the whole file.
        name: what to call it in messages.

    Returns:
        image: (H, W, 3) uint8 RGB, C-contiguous.

    Raises:
        InputError: as ``read_image``.
    """
    return _decode(name, data, _check_data(name, data), cv2.IMREAD_COLOR_RGB)


def read_image_reduced(
    path: str | PathLike[str], reduce: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a photo at a fraction of its size, which is faster for JPEG files; others are read in full.

    A reduced JPEG pixel covers ``reduce`` x ``reduce`` pixels, counted from the top left corner of the photo as it
    is stored. So the size is rounded up, and a photo that its EXIF orientation turns or mirrors may begin with the
    incomplete pixels. ``matrix`` says where things are, exactly.

    Args:
        path: the file.
        reduce: 1, 2, 4 or 8.

    Returns:
        image: (h, w, 3) uint8 RGB, C-contiguous.
        matrix: (2, 3), from the continuous pixel coordinates of the whole photo to those of ``image``.

    Raises:
        ValueError: reduce is not 1, 2, 4 or 8.
        InputError: as ``read_image``.
    """
    _check_reduce(reduce)
    return decode_image_reduced(_read_bytes(path), fspath(path), reduce)


def decode_image_reduced(
    data: bytes, name: str, reduce: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Read a photo that is in memory, as ``read_image_reduced`` does.

    Args:
        data: the whole file.
        name: what to call it in messages.
        reduce: 1, 2, 4 or 8.
    """
    _check_reduce(reduce)
    header = _check_data(name, data)
    if header.format != "JPEG":
        reduce = 1
    image = _decode(name, data, header, _REDUCED[reduce], reduce)
    if reduce > 1:
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    width, height = oriented_size(header)
    matrix = np.array([[1 / reduce, 0.0, 0.0], [0.0, 1 / reduce, 0.0]])
    if header.orientation in (2, 3, 6, 7):
        matrix[0, 2] = image.shape[1] - width / reduce  # its left edge is an incomplete pixel
    if header.orientation in (3, 4, 7, 8):
        matrix[1, 2] = image.shape[0] - height / reduce  # its top edge is an incomplete pixel
    return image, matrix


def _check_reduce(reduce: int) -> None:
    if reduce not in _REDUCED:
        raise ValueError(f"reduce should be 1, 2, 4 or 8, got {reduce}")


def verify_image(path: str | PathLike[str]) -> tuple[int, int]:
    """Make sure that a photo can be read, for less than reading it costs.

    A JPEG file is decoded at an eighth of its size, which goes through all of its bytes.

    Returns:
        The (width, height) that ``read_image`` would give.

    Raises:
        InputError: as ``read_image``.
    """
    data, header = read_photo_file(path)
    if header.format == "JPEG":
        _decode(path, data, header, cv2.IMREAD_REDUCED_GRAYSCALE_8, 8)
    else:
        _decode(path, data, header, cv2.IMREAD_COLOR)
    return oriented_size(header)


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """The (width, height) that ``read_image`` would give, from the file's header.

    Raises:
        InputError: missing, cut off, of another format or too large.
    """
    return oriented_size(read_photo_file(path)[1])


def oriented_size(header: ImageHeader) -> tuple[int, int]:
    """The (width, height) of a photo once its EXIF orientation is applied."""
    turned = header.orientation >= 5
    return (header.height, header.width) if turned else (header.width, header.height)


def write_image(path: str | PathLike[str], image: NDArray[np.uint8], quality: int = 95) -> None:
    """Write a photo; the ending of the name (.jpg, .png, .webp, .bmp, .tiff) tells the format.

    Args:
        path: the file to write; an existing one is replaced.
        image: (H, W, 3) uint8 RGB.
        quality: of a JPEG or WebP file, 1 to 100.

    Raises:
        ValueError: image is not (H, W, 3) uint8.
        InputError: the ending is unknown or the file cannot be written.
    """
    data = encode_image(fspath(path), image, quality)
    with writing_whole(path, lasting=False) as file:
        file.write(data)


def encode_image(name: str, image: NDArray[np.uint8], quality: int = 95) -> bytes:
    """The bytes of the file that ``write_image`` writes.

    Args:
        name: of the file; its ending tells the format.
        image: (H, W, 3) uint8 RGB.
        quality: of a JPEG or WebP file, 1 to 100.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ValueError(f"image should be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    suffix = Path(name).suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"):
        raise InputError(f"{name}: the name should end in .jpg, .png, .webp, .bmp or .tiff")
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }.get(suffix, [])
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise InputError(f"{name}: {width} x {height} pixels cannot be stored as {suffix}; try .png")
    return data.tobytes()


def read_photo_file(path: str | PathLike[str]) -> tuple[bytes, ImageHeader]:
    """The bytes of an image file that is whole and of a bearable size, and its header; nothing is decoded.

    Raises:
        InputError: missing, cut off, of another format or too large.
    """
    data = _read_bytes(path)
    return data, _check_data(fspath(path), data)


def _read_bytes(path: str | PathLike[str]) -> bytes:
    name = fspath(path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{name}: not a file, so not an image")
        if status.st_size > _MAX_BYTES:
            raise InputError(f"{name}: {status.st_size >> 20} MiB are too large for a photo: scale it down")
        with open(name, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise InputError(f"{name}: no such image") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{name}: cannot read the image: {_reason(error)}") from None


def _check_data(name: str, data: bytes) -> ImageHeader:
    """The header of an image file that is whole and of a bearable size."""
    if not data:
        raise InputError(f"{name}: the image file is empty: replace or remove it")
    try:
        header = read_header(data)
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    if header.width * header.height > MAX_PIXELS or max(header.width, header.height) > MAX_SIDE:
        raise InputError(
            f"{name}: {header.width} x {header.height} pixels are too many (at most {MAX_PIXELS:,} in all and "
            f"{MAX_SIDE:,} a side): scale it down, with its landmarks and boxes"
        )
    return header


def _decode(
    path: str | PathLike[str], data: bytes, header: ImageHeader, flags: int, reduce: int = 1
) -> NDArray[np.uint8]:
    """The picture, upright; what OpenCV makes up for what is missing or contradicts the header is refused."""
    if (
        header.scan_end
    ):  # OpenCV gives up where the data end, but takes an end mark to be right, wherever it is
        data = data[: header.scan_end] + _READ_PAST_END
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{fspath(path)}: the image is damaged or of an unusual kind: replace or remove it")
    if header.format != "TIFF":  # whose decoder does it by itself
        image = _UPRIGHT[header.orientation](image)
    width, height = (-(-side // reduce) for side in oriented_size(header))
    if image.shape[:2] != (height, width):
        raise InputError(
            f"{fspath(path)}: the image is damaged (its header says {width} x {height} pixels, there are "
            f"{image.shape[1]} x {image.shape[0]}): replace or remove it"
        )
    return image


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
