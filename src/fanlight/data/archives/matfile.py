"""Numbers, texts, cells and structs out of MATLAB files (MAT-file level 5: what MATLAB 5 to 7.2 write).

A reader of its own, because the usual one (scipy's) crashes the whole process on some damaged files. Format:
"MAT-File Format", The MathWorks. A file is a header of 128 bytes and elements of (type, length, data); a matrix is
an element of elements: flags, dimensions, name, values. Elements may be zlib-compressed. Sparse arrays, objects
and functions are not read, nor the imaginary part of a number.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.errors import InputError
from fanlight.geometry import Floats

MAX_BYTES = 256 << 20
"""A larger file, or one that unpacks to more, is no label."""

_NUMBERS = {
    1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8",
}  # fmt: skip
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _CHAR, _NUMERIC = 1, 2, 4, range(6, 16)
_DEPTH = 8  # cells within cells


@dataclass(frozen=True)
class _Element:
    kind: int
    data: memoryview


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Some variables of a ``.mat`` file.

    Args:
        path: the file.
        names: of the variables.

    Returns:
        Of each: an array of numbers in MATLAB's shape, a string, a list (a cell array, column by column), or a
        list of dicts (a struct array, likewise).

    Raises:
        InputError: missing, damaged, of version 7.3, or without one of the variables.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB, so not the label of a face")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot read the file: {error.strerror}") from None
    if data[:8] == b"\x89HDF\r\n\x1a\n" or data[:10] == b"MATLAB 7.3":
        raise InputError(f"{path}: a MATLAB 7.3 file (HDF5), expected an older one")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise InputError(f"{path}: not a readable .mat file: no MATLAB 5 header")
    try:
        found = dict(_variables(memoryview(data)[128:], order, set(names)))
    except (ValueError, IndexError, struct.error, zlib.error, OverflowError) as error:
        raise InputError(f"{path}: not a readable .mat file: {error}") from None
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}")
    return found


def points_of(path: Path, value: Any, count: int) -> Floats:
    """(count, 2) numbers from an array of (count, 2 or more) or its transpose.

    Raises:
        InputError: another shape, or numbers that are not finite.
    """
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[0] in (2, 3) and array.shape[1] == count:
        array = array.T
    shaped = array.ndim == 2 and array.shape[0] == count and array.shape[1] in (2, 3)
    if not shaped or array.dtype.kind not in "iuf":
        raise InputError(
            f"{path}: expected {count} points, found an array of {array.dtype} of shape {array.shape}"
        )
    points = array[:, :2].astype(np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{path}: holds a coordinate that is not a finite number")
    return points


# ---------------------------------------------------------------------------- the format


def _variables(data: memoryview, order: str, names: set[str]) -> Iterator[tuple[str, Any]]:
    """The variables of these names and their values; the values of others are not looked at."""
    for element in _elements(data, order):
        if element.kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(element.data, MAX_BYTES)
            if not inflater.eof:
                raise ValueError("a compressed variable is cut off or too large")
            inner = list(_elements(memoryview(plain), order))
            if not inner:
                raise ValueError("a compressed variable is empty")
            element = inner[0]
        if element.kind != _MATRIX:
            raise ValueError(f"expected a variable, found an element of type {element.kind}")
        name, value = _matrix(element.data, order, names)
        if name in names:
            yield name, value


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Elements one after the other, each padded to 8 bytes; compressed ones are not."""
    at = 0
    while at + 8 <= len(data):
        kind, length = struct.unpack_from(order + "II", data, at)
        if kind >> 16:  # a small one: length and type in 4 bytes, data in the next 4
            kind, length, start, step = kind & 0xFFFF, kind >> 16, at + 4, 8
            if length > 4:
                raise ValueError("a small element is too long")
        else:
            start = at + 8
            step = 8 + (length if kind == _COMPRESSED else -(-length // 8) * 8)
        if start + length > len(data):
            raise ValueError(
                f"the file is cut off: an element of {length} bytes, {len(data) - start} are there"
            )
        yield _Element(kind, data[start : start + length])
        at += step
    if any(data[at:]):
        raise ValueError("the file is cut off")


def _matrix(data: memoryview, order: str, names: set[str] | None, depth: int = 0) -> tuple[str, Any]:
    """The name and the value of a matrix; None of one that is not among ``names``."""
    if depth > _DEPTH:
        raise ValueError(f"cells more than {_DEPTH} deep")
    elements = _elements(data, order)
    try:
        flags, sizes, title = (next(elements) for _ in range(3))
    except RuntimeError:  # a generator's StopIteration
        raise ValueError("a variable without flags, size and name") from None
    array_class = struct.unpack(order + "I", flags.data[:4])[0] & 0xFF
    shape = tuple(int(size) for size in _numbers(sizes, order))
    name = bytes(title.data).decode("latin-1")
    if names is not None and name not in names:
        return name, None
    if len(shape) < 2 or min(shape) < 0 or math.prod(shape) > MAX_BYTES:
        raise ValueError(f"{name or 'a value'} of shape {shape}")
    if array_class == _CELL:
        return name, [
            _matrix(e.data, order, None, depth + 1)[1] for e in _exactly(elements, math.prod(shape))
        ]
    if array_class == _STRUCT:
        return name, _structs(elements, order, math.prod(shape), depth)
    if array_class != _CHAR and array_class not in _NUMERIC:
        raise ValueError(f"{name or 'a value'} is of class {array_class}: no numbers, text, cells or structs")
    values = next(elements, None)
    if array_class == _CHAR:
        return name, _text(values, order)
    numbers = np.empty(0) if values is None else _numbers(values, order)
    if numbers.size != math.prod(shape):
        raise ValueError(f"{name or 'a value'} has {numbers.size} numbers for the shape {shape}")
    return name, numbers.reshape(shape, order="F")


def _structs(elements: Iterator[_Element], order: str, count: int, depth: int) -> list[dict[str, Any]]:
    lengths, fields = _exactly(elements, 2)
    length = int(_numbers(lengths, order)[0])
    if not 0 < length <= 64 or len(fields.data) % length:
        raise ValueError("a struct with damaged names")
    raw = bytes(fields.data)
    names = [raw[i : i + length].split(b"\0")[0].decode("latin-1") for i in range(0, len(raw), length)]
    if count * len(names) > MAX_BYTES >> 4:
        raise ValueError(f"{count} structs")
    values = [_matrix(e.data, order, None, depth + 1)[1] for e in _exactly(elements, count * len(names))]
    return [dict(zip(names, values[i * len(names) :], strict=False)) for i in range(count)]


def _exactly(elements: Iterator[_Element], count: int) -> list[_Element]:
    found = [element for _, element in zip(range(count), elements, strict=False)]
    if len(found) != count:
        raise ValueError(f"expected {count} elements, found {len(found)}")
    return found


def _numbers(element: _Element, order: str) -> Any:
    code = _NUMBERS.get(element.kind)
    if code is None:
        raise ValueError(f"expected numbers, found an element of type {element.kind}")
    return np.frombuffer(element.data, dtype=np.dtype(order + code)).astype(code)


def _text(element: _Element | None, order: str) -> str:
    if element is None:
        return ""
    encoding = _TEXTS.get(element.kind)
    if encoding is None:
        raise ValueError(f"expected a text, found an element of type {element.kind}")
    wide = encoding in ("utf-16", "utf-32")
    return bytes(element.data).decode(encoding + ("-le" if order == "<" else "-be") if wide else encoding)
