"""Parsing of index files, a million rows in a second or two.

A block of the file is taken apart with array operations; only when something in it is wrong are its lines looked
at one by one, to say what.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike, fspath

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError

COLUMNS = (
    "subset", "split", "aug_idx", "im_path", "pts_path",
    "face_box_left", "face_box_top", "face_box_right", "face_box_bottom",
)  # fmt: skip
HEADER = "\t".join(COLUMNS)

_TABS = len(COLUMNS) - 1
_BLOCK_BYTES = 8 << 20
_LISTED = 50  # faulty lines that one message shows
_CONTROL = re.compile(rb"[\x00-\x08\x0b-\x1f]")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(rb"[+-]?\d{1,9}")
_MAX_AUG_IDX = 999_999_999
_PLAIN_DIGITS = 15  # a double holds every whole number of so many digits exactly, and these powers of ten
_TENS = np.array([float(10**power) for power in range(_PLAIN_DIGITS + 1)])


@dataclass
class Columns:
    """The rows of an index, column by column.

    Attributes:
        paths: the text ``image TAB landmarks TAB`` of every row, one after the other.
        starts: (N,) where each row's paths begin in ``paths``.
        codes: (N,) positions in ``partitions``.
        partitions: the (subset, split) pairs, in order of appearance.
        aug_indices: (N,).
        face_boxes: (N, 4) left, top, right, bottom.
        line_numbers: (N,) lines of the file, counted from 1.
    """

    paths: bytes
    starts: NDArray[np.int64]
    codes: NDArray[np.int32]
    partitions: tuple[tuple[str, str], ...]
    aug_indices: NDArray[np.int32]
    face_boxes: NDArray[np.float64]
    line_numbers: NDArray[np.int32]


def read_columns(path: str | PathLike[str]) -> tuple[Columns, str]:
    """Read an index file.

    Returns:
        columns: its rows.
        sha256: of the file's bytes.

    Raises:
        InputError: it cannot be read, is not an index, lists no face, or has faulty lines: ``problems`` has all of
            them with their numbers, the message the first ones.
    """
    name, digest = fspath(path), hashlib.sha256()
    codes: dict[bytes, int] = {}
    blocks: list[_Block] = []
    problems: list[str] = []
    line = 2
    if not os.path.isfile(name):
        raise InputError(
            f"{name}: no such index file: give the path of a TSV of faces (data.index in a recipe)"
        )
    try:
        for position, data in enumerate(_whole_lines(name, digest)):
            data = data.removeprefix(b"\xef\xbb\xbf") if not position else data
            data = data.replace(b"\r\n", b"\n")
            if not position:
                header, _, data = data.partition(b"\n")
                _check_header(name, header)
            block = _parse(data, line, codes)
            if block is None:
                problems += _faults(name, data, line) or [f"{name}:{line}: cannot be read from this line on"]
            else:
                blocks.append(block)
            line += data.count(b"\n")
    except OSError as error:
        raise InputError(f"{name}: cannot read the index: {_reason(error)}") from None
    if problems:
        raise _faulty(name, problems)
    if not sum(len(block.starts) for block in blocks):
        raise InputError(f"{name}: the index lists no faces, only the header: add a line for each")
    return _join(blocks, codes), digest.hexdigest()


@dataclass
class _Block:
    """The rows of one block; ``numbers`` is (n, 5): aug_idx and the box."""

    paths: bytes
    starts: NDArray[np.int64]
    codes: NDArray[np.int32]
    numbers: NDArray[np.float64]
    line_numbers: NDArray[np.int32]


def _whole_lines(name: str, digest: hashlib._Hash) -> Iterator[bytes]:
    """The file in blocks that end at line ends; feeds the digest."""
    rest = b""
    with open(name, "rb") as file:
        while data := file.read(_BLOCK_BYTES):
            digest.update(data)
            whole, end, tail = data.rpartition(b"\n")
            if end:
                yield rest + whole + end
                rest = tail
            elif len(data) == _BLOCK_BYTES:
                raise InputError(f"{name}: not an index: it has a line of {_BLOCK_BYTES >> 20} MiB")
            else:
                rest += tail
    yield rest  # the last line may lack its end; an empty file is one empty block


def _check_header(name: str, header: bytes) -> None:
    if header.rstrip() != HEADER.encode():
        raise InputError(
            f"{name}:1: not an index: the first line should be {' '.join(COLUMNS)}, "
            f"separated by tabs; found {header[:200].decode(errors='replace')!r}"
        )


def _parse(data: bytes, first_line: int, codes: dict[bytes, int]) -> _Block | None:
    """The rows of a block, or None when a line in it is faulty."""
    if data and not data.endswith(b"\n"):
        data += b"\n"
    symbols = np.frombuffer(data, dtype=np.uint8)
    if ((symbols < ord(" ")) & (symbols != ord("\t")) & (symbols != ord("\n"))).any():
        return None  # a control character, which would end a number early
    ends = np.flatnonzero(symbols == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    filled = np.flatnonzero(ends > starts)
    starts, ends = starts[filled], ends[filled]
    tabs: NDArray[np.int64] = np.flatnonzero(symbols == ord("\t"))
    if (np.searchsorted(tabs, ends) - np.searchsorted(tabs, starts) != _TABS).any():
        return None
    tabs = tabs.reshape(-1, _TABS)
    if (np.diff(tabs, axis=1) == 1).any() or (tabs[:, 0] == starts).any() or (tabs[:, -1] + 1 == ends).any():
        return None  # an empty field
    paths = _cut(symbols, tabs[:, 2] + 1, tabs[:, 4] + 1)
    fields = _numbers(_cut(symbols, tabs[:, 1] + 1, tabs[:, 2] + 1, tabs[:, 4] + 1, ends + 1))
    if fields is None or not np.isfinite(fields).all() or not (data.isascii() or _is_utf8(data)):
        return None
    numbers = fields.reshape(-1, 1 + 4)
    if (numbers[:, 0] % 1 != 0).any() or (np.abs(numbers[:, 0]) > _MAX_AUG_IDX).any():
        return None
    names = (data[start:end] for start, end in zip(starts.tolist(), tabs[:, 1].tolist(), strict=True))
    lengths = tabs[:, 4] - tabs[:, 2]
    return _Block(
        paths=paths,
        starts=np.cumsum(lengths) - lengths,
        codes=np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int32),
        numbers=numbers,
        line_numbers=(filled + first_line).astype(np.int32),
    )


def _cut(symbols: NDArray[np.uint8], *bounds: NDArray[np.int64]) -> bytes:
    """The stretches [start, end) of a text, joined; bounds are start, end, start, end of one row, all rising."""
    switches = np.stack(bounds, axis=1).ravel()
    lengths = np.diff(switches, prepend=0, append=len(symbols))
    inside = np.arange(len(lengths)) % 2 == 1  # the text before, between and after the stretches is left out
    return symbols[np.repeat(inside, lengths)].tobytes()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _numbers(text: bytes) -> NDArray[np.float64] | None:
    """Decimal numbers, each ended by a tab or line end, or None when one of them is no number.

    Plain ones (sign, digits, point, digits) are read a digit position at a time over all numbers at once, several
    times faster than one by one. The quotient of two exact doubles is the double nearest to the number, just as
    ``float`` gives it.
    """
    symbols = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(symbols <= ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    at = starts + (symbols[starts] == ord("-"))
    negative = at > starts
    digits = np.zeros(len(ends), dtype=np.int64)
    decimals = np.zeros(len(ends), dtype=np.int64)
    points = np.zeros(len(ends), dtype=np.int64)
    plain = (ends > at) & (ends - at <= _PLAIN_DIGITS)
    for _ in range(min(_PLAIN_DIGITS, int((ends - at).max(initial=0)))):
        symbol = symbols[np.minimum(at, ends)]
        inside, is_point = at < ends, symbol == ord(".")
        is_digit = (symbol >= ord("0")) & (symbol <= ord("9"))
        plain &= ~inside | is_point | is_digit
        digits = np.where(inside & is_digit, digits * 10 + (symbol - np.uint8(ord("0"))), digits)
        decimals += inside & is_digit & (points > 0)
        points += inside & is_point
        at = at + 1
    values = digits / _TENS[decimals]
    values[negative] *= -1
    for i in np.flatnonzero(~plain | (points > 1) | (points == ends - starts - negative)).tolist():
        field = text[starts[i] : ends[i]]
        if not _NUMBER.fullmatch(field):
            return None
        values[i] = float(field)
    return values


def _join(blocks: list[_Block], codes: dict[bytes, int]) -> Columns:
    offsets = np.cumsum([0, *(len(block.paths) for block in blocks)])[:-1]
    numbers = np.concatenate([block.numbers for block in blocks])
    pairs = (code.decode().split("\t") for code in codes)
    return Columns(
        paths=b"".join(block.paths for block in blocks),
        starts=np.concatenate([block.starts + at for block, at in zip(blocks, offsets, strict=True)]),
        codes=np.concatenate([block.codes for block in blocks]),
        partitions=tuple((subset, split) for subset, split in pairs),
        aug_indices=numbers[:, 0].astype(np.int32),
        face_boxes=np.ascontiguousarray(numbers[:, 1:]),
        line_numbers=np.concatenate([block.line_numbers for block in blocks]),
    )


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


# ---------------------------------------------------------------------------- saying what is wrong


def _faults(name: str, data: bytes, first_line: int) -> list[str]:
    """What is wrong with each faulty line of a block that could not be parsed."""
    lines = enumerate(data.split(b"\n"), first_line)
    return [f"{name}:{number}: {fault}" for number, line in lines if line and (fault := _fault(line))]


def _fault(line: bytes) -> str:
    """What is wrong with one line; empty when nothing is."""
    fields = line.split(b"\t")
    if len(fields) != len(COLUMNS):
        return f"expected {len(COLUMNS)} columns separated by tabs, found {len(fields)}"
    if not _is_utf8(line):
        return "not UTF-8 text: save it as UTF-8"
    if _CONTROL.search(line):
        return "holds a control character: take it out"
    faults = [
        f"{column} is empty: give it a value"
        for column, field in zip(COLUMNS[:5], fields, strict=False)
        if not field
    ]
    if fields[2] and not _WHOLE.fullmatch(fields[2]):
        faults.append(f"aug_idx should be a whole number, is {fields[2].decode()!r}")
    for column, field in zip(COLUMNS[5:], fields[5:], strict=True):
        if not _NUMBER.fullmatch(field) or not np.isfinite(float(field)):
            faults.append(f"{column} should be a finite number, is {field.decode()!r}")
    return "; ".join(faults)


def _faulty(name: str, problems: list[str]) -> InputError:
    """One error for all faulty lines, of which the message shows the first ones."""
    shown = problems[:_LISTED]
    if len(problems) > _LISTED:
        shown.append(f"... and {len(problems) - _LISTED} more")
    error = InputError.collect(shown, f"{name}: {len(problems)} faulty line{'s' * (len(problems) > 1)}:")
    error.problems = tuple(problems)
    return error
