"""The list of a data set's faces: a TSV file with a row for each face.

The format is the reference's (fan_training): a header line and the columns ``subset split aug_idx im_path pts_path
face_box_left face_box_top face_box_right face_box_bottom``, separated by tabs, paths relative to the file.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import math
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError

COLUMNS = (
    "subset", "split", "aug_idx", "im_path", "pts_path",
    "face_box_left", "face_box_top", "face_box_right", "face_box_bottom",
)  # fmt: skip
_HEADER = "\t".join(COLUMNS).encode()
_LISTED = 50  # faulty lines that one message shows


@dataclass(frozen=True, slots=True)
class Sample:
    """One face of an index.

    Attributes:
        subset: the collection it comes from, such as ``lfpw``.
        split: ``train``, ``val`` or ``test``.
        aug_idx: which synthesised version of the photo (300W-LP), -1 for an original photo.
        image_path: the photo.
        landmarks_path: its ``.pts`` file.
        face_box: left, top, right, bottom in continuous pixel coordinates of the photo.
    """

    subset: str
    split: str
    aug_idx: int
    image_path: Path
    landmarks_path: Path
    face_box: tuple[float, float, float, float]

    @property
    def partition(self) -> str:
        """``subset/split``, the name of the partition it belongs to."""
        return f"{self.subset}/{self.split}"


class Index:
    """The faces of a data set.

    Rows are held in a few arrays and one block of text, not as objects: a million faces take little memory, and
    worker processes share it, because reading touches no reference count inside it.

    Attributes:
        path: the TSV file.
        sha256: of the file's bytes; a selection of its rows keeps it.
        face_boxes: (N, 4) float64, left, top, right, bottom in continuous pixel coordinates.
        aug_indices: (N,) int32.
        line_numbers: (N,) int32, where each face stands in the file, the header being line 1.
    """

    def __init__(self, path: Path, sha256: str, columns: _Columns) -> None:
        self.path = path
        self.sha256 = sha256
        self.face_boxes = columns.face_boxes
        self.aug_indices = columns.aug_indices
        self.line_numbers = columns.line_numbers
        self._paths = columns.paths  # "image\tlandmarks\n" of every row of the file
        self._starts = columns.starts  # (N,) where a row's paths begin in it
        self._codes = columns.codes  # (N,) positions in _partitions
        self._partitions = columns.partitions

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Index:
        """Read an index; whether its files exist and fit is a matter for ``check``.

        Raises:
            InputError: no such file, another header, or faulty lines: all of them, with their numbers.
        """
        file = Path(os.path.abspath(path))
        try:
            data = file.read_bytes()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot read the index: {error}") from None
        return cls(file, hashlib.sha256(data).hexdigest(), _parse(str(path), data))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> Sample:
        start = int(self._starts[position])
        image, _, landmarks = self._paths[start : self._paths.index(b"\n", start)].decode().partition("\t")
        subset, _, split = self._partitions[self._codes[position]].partition("/")
        folder = self.path.parent
        left, top, right, bottom = self.face_boxes[position].tolist()
        return Sample(
            subset=subset,
            split=split,
            aug_idx=int(self.aug_indices[position]),
            image_path=folder / image,
            landmarks_path=folder / landmarks,
            face_box=(left, top, right, bottom),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, {len(self)} faces: {self.partitions()})"

    def partitions(self) -> dict[str, int]:
        """How many faces each ``subset/split`` has, in the order of the file."""
        counts = np.bincount(self._codes, minlength=len(self._partitions)).tolist()
        return {name: n for name, n in zip(self._partitions, counts, strict=True) if n}

    def partition_of(self, position: int) -> str:
        """The ``subset/split`` of one face, without building the whole sample."""
        return self._partitions[self._codes[position]]

    def select(self, partitions: Iterable[str]) -> Index:
        """The faces of some partitions, in the order of the file.

        Args:
            partitions: names such as ``"lfpw/train"``.

        Raises:
            InputError: there is no such partition; the message lists those that exist.
        """
        wanted = [partitions] if isinstance(partitions, str) else list(partitions)
        existing = self.partitions()
        unknown = [name for name in wanted if name not in existing]
        if unknown or not wanted:
            what = f"no partition {', '.join(map(repr, unknown))}" if unknown else "no partition was asked for"
            there = ", ".join(f"{name} ({n} faces)" for name, n in existing.items())
            raise InputError(f"{self.path}: {what}; there are: {there}")
        codes = [i for i, name in enumerate(self._partitions) if name in wanted]
        return self.take(np.flatnonzero(np.isin(self._codes, codes)))

    def take(self, positions: ArrayLike) -> Index:
        """The faces at these positions, in this order."""
        rows = np.asarray(positions, dtype=np.intp)
        taken = copy.copy(self)
        taken.face_boxes = self.face_boxes[rows]
        taken.aug_indices = self.aug_indices[rows]
        taken.line_numbers = self.line_numbers[rows]
        taken._starts = self._starts[rows]
        taken._codes = self._codes[rows]
        return taken

    def drop(self, positions: ArrayLike) -> Index:
        """All faces but those at these positions."""
        keep = np.ones(len(self), dtype=bool)
        keep[np.asarray(positions, dtype=np.intp)] = False
        return self.take(np.flatnonzero(keep))

    @staticmethod
    def write(path: str | PathLike[str], samples: Iterable[Sample]) -> None:
        """Write samples as an index, whole or not at all.

        Args:
            path: the TSV file; an existing one is replaced.
            samples: their paths are written relative to the folder of ``path``.

        Raises:
            InputError: a name holds a tab or a line end, a number is not finite, or the file cannot be written.
        """
        target = Path(os.path.abspath(path))
        lines = [_HEADER.decode()] + [_line(sample, target.parent) for sample in samples]
        write_atomically(target, "\n".join(lines) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file through a side file and a rename, so that no half-written one is ever seen.

    Raises:
        InputError: it cannot be written.
    """
    side = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            side = file.name
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(side, 0o644)
        os.replace(side, path)
    except OSError as error:
        if side:
            with contextlib.suppress(OSError):
                os.unlink(side)
        raise InputError(f"{path}: cannot write: {error}") from None


def _line(sample: Sample, folder: Path) -> str:
    """A sample as a line of an index in ``folder``."""
    texts = [sample.subset, sample.split, str(sample.aug_idx)]
    texts += [os.path.relpath(p, folder) for p in (sample.image_path, sample.landmarks_path)]
    if any(c in text for text in texts for c in "\t\r\n") or "/" in sample.subset + sample.split:
        raise InputError(f"{sample}: names with tabs or line ends, or partitions with /, cannot stand in an index")
    if not all(map(math.isfinite, sample.face_box)):
        raise InputError(f"{sample.image_path}: the face box {sample.face_box} should be finite numbers")
    return "\t".join([*texts, *(f"{v:.3f}" for v in sample.face_box)])


# ---------------------------------------------------------------------------- reading


@dataclass
class _Columns:
    """The columns of an index file; see the attributes of ``Index``."""

    paths: bytes
    starts: NDArray[np.int64]
    codes: NDArray[np.int32]
    partitions: tuple[str, ...]
    aug_indices: NDArray[np.int32]
    face_boxes: NDArray[np.float64]
    line_numbers: NDArray[np.int32]


def _parse(name: str, data: bytes) -> _Columns:
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    header, _, body = data.partition(b"\n")
    if header.rstrip() != _HEADER:
        raise InputError(
            f"{name}:1: not an index: the first line should name these columns, separated by tabs: {' '.join(COLUMNS)}; "
            f"it is {header[:200].decode(errors='replace')!r}"
        )
    codes: dict[bytes, int] = {}
    rows: list[tuple[int, int, int]] = []
    paths: list[bytes] = []
    numbers: list[float] = []
    problems: list[str] = []
    for line_number, line in enumerate(body.split(b"\n"), 2):
        if not line or line.isspace():
            continue
        try:
            subset, split, aug_idx, image, landmarks, *box = line.split(b"\t")
            left, top, right, bottom = map(float, box)
            if not (subset and split and image and landmarks and math.isfinite(left + top + right + bottom)):
                raise ValueError
            rows.append((codes.setdefault(subset + b"/" + split, len(codes)), int(aug_idx), line_number))
            numbers += (left, top, right, bottom)
            paths.append(image + b"\t" + landmarks + b"\n")
        except ValueError:
            problems.append(f"{name}:{line_number}: {_line_fault(line)}")
    if problems:
        raise _faulty(name, problems)
    if not rows:
        raise InputError(f"{name}: the index lists no faces")
    table = np.array(rows, dtype=np.int32)
    lengths = np.fromiter(map(len, paths), dtype=np.int64, count=len(paths))
    return _Columns(
        paths=b"".join(paths),
        starts=np.cumsum(lengths) - lengths,
        codes=table[:, 0].copy(),
        partitions=tuple(code.decode() for code in codes),
        aug_indices=table[:, 1].copy(),
        face_boxes=np.array(numbers, dtype=np.float64).reshape(-1, 4),
        line_numbers=table[:, 2].copy(),
    )


def _line_fault(line: bytes) -> str:
    """What is wrong with a line that could not be read."""
    fields = line.decode(errors="replace").split("\t")
    if len(fields) != len(COLUMNS):
        return f"expected {len(COLUMNS)} columns separated by tabs, found {len(fields)}"
    faults = [f"{column} is empty" for column, field in zip(COLUMNS[:5], fields, strict=False) if not field]
    try:
        int(fields[2])
    except ValueError:
        faults.append(f"aug_idx should be a whole number, is {fields[2]!r}")
    for column, field in zip(COLUMNS[5:], fields[5:], strict=True):
        try:
            finite = math.isfinite(float(field))
        except ValueError:
            finite = False
        if not finite:
            faults.append(f"{column} should be a finite number, is {field!r}")
    return "; ".join(faults)


def _faulty(name: str, problems: list[str]) -> InputError:
    """One error for all faulty lines, of which the message shows the first ones."""
    shown = problems[:_LISTED]
    if len(problems) > _LISTED:
        shown = [*shown, f"... and {len(problems) - _LISTED} more"]
    error = InputError.collect(shown, f"{name}: {len(problems)} faulty lines:")
    error.problems = tuple(problems)
    return error
