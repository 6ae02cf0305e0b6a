"""The list of a data set's faces: a TSV file with a row for each face.

The format is the reference's (fan_training): a header line and the columns ``subset split aug_idx im_path pts_path
face_box_left face_box_top face_box_right face_box_bottom``, separated by tabs, paths relative to the file.
"""

from __future__ import annotations

import copy
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from fanlight.data.tsv import HEADER, Columns, read_columns, write_atomically
from fanlight.errors import InputError


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

    def __init__(self, path: Path, sha256: str, columns: Columns) -> None:
        self.path = path
        self.sha256 = sha256
        self.face_boxes = columns.face_boxes
        self.aug_indices = columns.aug_indices
        self.line_numbers = columns.line_numbers
        self._paths = columns.paths  # of every row of the file
        self._starts = columns.starts
        self._codes = columns.codes
        self._pairs = columns.partitions

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Index:
        """Read an index; whether its files exist and fit is a matter for ``check``.

        Raises:
            InputError: no such file, another header, or faulty lines: all of them, with their numbers.
        """
        columns, sha256 = read_columns(path)
        return cls(Path(os.path.abspath(path)), sha256, columns)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, position: int) -> Sample:
        start = int(self._starts[position])
        middle = self._paths.index(b"\t", start)
        end = self._paths.index(b"\t", middle + 1)
        subset, split = self._pairs[self._codes[position]]
        folder = self.path.parent
        left, top, right, bottom = self.face_boxes[position].tolist()
        return Sample(
            subset=subset,
            split=split,
            aug_idx=int(self.aug_indices[position]),
            image_path=folder / self._paths[start:middle].decode(),
            landmarks_path=folder / self._paths[middle + 1 : end].decode(),
            face_box=(left, top, right, bottom),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, {len(self)} faces: {self.partitions()})"

    def partitions(self) -> dict[str, int]:
        """How many faces each ``subset/split`` has, in the order of the file."""
        rows = np.bincount(self._codes, minlength=len(self._pairs)).tolist()
        counts: Counter[str] = Counter()
        for pair, n in zip(self._pairs, rows, strict=True):
            counts["/".join(pair)] += n
        return {name: n for name, n in counts.items() if n}

    def partition_of(self, position: int) -> str:
        """The ``subset/split`` of one face, without building the whole sample."""
        return "/".join(self._pairs[self._codes[position]])

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
            what = (
                f"no partition {', '.join(map(repr, unknown))}" if unknown else "no partition was asked for"
            )
            there = ", ".join(f"{name} ({n} faces)" for name, n in existing.items())
            raise InputError(f"{self.path}: {what}; there are: {there}")
        codes = [i for i, pair in enumerate(self._pairs) if "/".join(pair) in wanted]
        return self.take(np.flatnonzero(np.isin(self._codes, codes)))

    def take(self, positions: ArrayLike) -> Index:
        """The faces at these positions, in this order, or those where a mask of all faces is true."""
        rows = np.asarray(positions)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp)
        taken = copy.copy(self)
        taken.face_boxes = self.face_boxes[rows]
        taken.aug_indices = self.aug_indices[rows]
        taken.line_numbers = self.line_numbers[rows]
        taken._starts = self._starts[rows]
        taken._codes = self._codes[rows]
        return taken

    def drop(self, positions: ArrayLike) -> Index:
        """All faces but those at these positions."""
        return self.take(np.delete(np.arange(len(self)), np.asarray(positions, dtype=np.intp)))

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
        lines = [HEADER] + [_line(sample, target.parent) for sample in samples]
        write_atomically(target, "\n".join(lines) + "\n")


def _line(sample: Sample, folder: Path) -> str:
    """A sample as a line of an index in ``folder``."""
    texts = [sample.subset, sample.split, str(sample.aug_idx)]
    texts += [os.path.relpath(p, folder) for p in (sample.image_path, sample.landmarks_path)]
    if any(c in text for text in texts for c in "\t\r\n") or not all(texts):
        raise InputError(
            f"{sample}: a name that is empty or holds a tab or line end cannot stand in an index"
        )
    if not all(map(math.isfinite, sample.face_box)):
        raise InputError(f"{sample.image_path}: the face box {sample.face_box} should be finite numbers")
    return "\t".join([*texts, *(f"{v:.3f}" for v in sample.face_box)])
