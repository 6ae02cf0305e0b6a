"""Landmark files in the ``.pts`` format of iBUG and menpo.

The file is 1-based with pixel centres at whole numbers; everywhere else in fanlight coordinates are continuous
(pixel i covers [i, i + 1)), so reading subtracts 0.5 and writing adds it.
"""

from __future__ import annotations

import math
import os
import re
from os import PathLike, fspath

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.durable import write_whole
from fanlight.errors import InputError

_MAX_BYTES = 4 << 20  # some 100,000 landmarks: anything larger is not a face
_HEADER = re.compile(r"\s*(?:version\s*:\s*[^\s{:]+\s*)?n_points\s*:\s*(\d{1,9})\s*\{", re.IGNORECASE)


def read_pts(path: str | PathLike[str]) -> NDArray[np.float64]:
    """Read the landmarks of one face.

    Any number of landmarks; the version is optional, the header may stand on one line, and blank lines, tabs,
    Windows line ends and a byte-order mark are fine.

    Args:
        path: the ``.pts`` file.

    Returns:
        landmarks: (L, 2), (x, y) in continuous pixel coordinates: the file's numbers less 0.5.

    Raises:
        InputError: the file is missing, is not a ``.pts`` file, announces another count than it holds, or holds
            something other than two finite numbers a line; the message names the file and the line.
    """
    return parse_pts(_read_bytes(path), path)


def parse_pts(data: bytes, path: str | PathLike[str]) -> NDArray[np.float64]:
    """Read the landmarks of one face from the bytes of a ``.pts`` file; see ``read_pts``.

    Args:
        data: the file's content.
        path: what to call it in messages.
    """
    text = _to_text(data, path)
    header = _HEADER.match(text)
    end = text.find("}")
    if header is None or end < 0 or text[end + 1 :].strip() or "_" in text[header.end() :]:  # float takes 1_0
        raise _fault(path, text)
    values: list[float] = []
    try:
        for line in text[header.end() : end].split("\n"):
            if line and not line.isspace():
                x, y = line.split()
                values += (float(x), float(y))
    except ValueError:
        raise _fault(path, text) from None
    landmarks = np.array(values, dtype=np.float64).reshape(-1, 2)
    if len(landmarks) != int(header[1]) or not len(landmarks) or not np.isfinite(landmarks).all():
        raise _fault(path, text)
    landmarks -= 0.5
    return landmarks


def write_pts(path: str | PathLike[str], landmarks: ArrayLike) -> None:
    """Write the landmarks of one face, to a thousandth of a pixel.

    Args:
        path: the file to write; an existing one is replaced.
        landmarks: (L, 2), (x, y) in continuous pixel coordinates; the file gets them plus 0.5.

    Raises:
        ValueError: landmarks is not (L, 2) with L >= 1, or holds NaN or infinity.
        InputError: the file cannot be written.
    """
    write_whole(path, format_pts(landmarks), lasting=False)


def format_pts(landmarks: ArrayLike) -> str:
    """The text of a ``.pts`` file; see ``write_pts``."""
    points = np.asarray(landmarks, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points) or not np.isfinite(points).all():
        raise ValueError(f"landmarks should be (L, 2) finite numbers, got shape {points.shape}: {points!r}")
    lines = "".join(f"{x:.3f} {y:.3f}\n" for x, y in (points + 0.5).tolist())
    return f"version: 1\nn_points: {len(points)}\n{{\n{lines}}}\n"


def _read_bytes(path: str | PathLike[str]) -> bytes:
    if not os.path.isfile(path):  # neither a folder nor a pipe, which would never end
        raise InputError(f"{fspath(path)}: no such landmark file")
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{fspath(path)}: cannot read the landmark file: {error.strerror}") from None


def _to_text(data: bytes, path: str | PathLike[str]) -> str:
    if len(data) > _MAX_BYTES:
        raise InputError(
            f"{fspath(path)}: larger than {_MAX_BYTES >> 20} MiB, so not a landmark file of one face"
        )
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{fspath(path)}:{line}: not plain text, so not a .pts file: save it as ASCII"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _fault(path: str | PathLike[str], text: str) -> InputError:
    """Find the first thing that is wrong with a file that could not be read, and where."""
    name = fspath(path)
    header = _HEADER.match(text)
    if header is None:
        return InputError(
            f'{name}:1: not a .pts file: expected "version: 1", "n_points: 68" and "{{", found {text[:60]!r}'
        )
    body = text[header.end() :]
    first_line = text.count("\n", 0, header.end()) + 1
    points, _, rest = body.partition("}")
    found = 0
    for number, line in enumerate(points.split("\n"), first_line):
        if not line or line.isspace():
            continue
        fields = line.split()
        try:
            finite = len(fields) == 2 and "_" not in line and all(math.isfinite(float(f)) for f in fields)
        except ValueError:
            finite = False
        if not finite:
            return InputError(
                f'{name}:{number}: expected two finite numbers "x y", found {line.strip()[:60]!r}'
            )
        found += 1
    announced = f"{name}: announces n_points: {header[1]} and holds {found}"
    if "}" not in body:
        return InputError(f'{announced}, without the closing "}}": the file is cut off, copy it again')
    if found != int(header[1]) or not found:
        return InputError(f"{announced}: correct the file or remove it")
    line_number = first_line + points.count("\n")
    return InputError(f'{name}:{line_number}: expected nothing after "}}", found {rest.strip()[:60]!r}')
