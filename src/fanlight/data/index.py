"""The list of a data set's faces: a TSV file with a row for each face.

The format is the reference's (fan_training): a header line and the columns ``subset split aug_idx im_path pts_path
face_box_left face_box_top face_box_right face_box_bottom``, separated by tabs, paths relative to the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces, wrong_count
from fanlight.data.fit import box_faults, fit_faults, label_faults
from fanlight.data.pts import read_pts
from fanlight.data.tsv import HEADER, Columns, read_columns
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.geometry import FARTHEST_PX, Floats
from fanlight.image import read_image_reduced
from fanlight.markup import Markup

_READERS = 8  # threads that read labels


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


class Index(Faces):
    """The faces that a TSV file lists: each a photo, a ``.pts`` file and a face box.

    Rows are held in a few arrays and one block of text, not as objects.

    Attributes:
        path: the TSV file.
    """

    def __init__(self, path: Path, sha256: str, columns: Columns) -> None:
        super().__init__(
            str(path),
            sha256,
            columns.codes,
            columns.partitions,
            columns.face_boxes,
            columns.aug_indices,
            columns.line_numbers,
        )
        self.path = path
        self._paths = columns.paths  # of every row of the file
        self._starts = columns.starts

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Index:
        """Read an index; whether its files exist and fit is a matter for ``check``.

        Raises:
            InputError: no such file, another header, or faulty lines: all of them, with their numbers.
        """
        columns, sha256 = read_columns(path)
        return cls(Path(os.path.abspath(path)), sha256, columns)

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

    def name(self, position: int) -> str:
        """The file name of the photo."""
        return self[position].image_path.name

    def photo(self, position: int, reduce: int = 1) -> tuple[NDArray[np.uint8], Floats]:
        """Read the photo of a face, at a fraction of its size where that is faster."""
        return read_image_reduced(self[position].image_path, reduce)

    def landmarks(self, position: int) -> NDArray[np.float32]:
        """Read the label of a face."""
        path = self[position].landmarks_path
        landmarks = read_pts(path)
        if not (np.abs(landmarks) < FARTHEST_PX).all():
            raise InputError(f"{path}: " + next(label_faults(landmarks, None)))
        return landmarks.astype(np.float32)

    def all_landmarks(self, markup: Markup) -> NDArray[np.float32]:
        """Read every label, and compare it with its face box."""

        def read(position: int) -> NDArray[np.float32] | str:
            sample, line = self[position], int(self.line_numbers[position])
            try:
                landmarks = read_pts(sample.landmarks_path)
            except InputError as error:
                return str(error)
            if len(landmarks) != markup.count:
                return wrong_count(str(sample.landmarks_path), len(landmarks), markup)
            if not os.path.isfile(sample.image_path):
                return f"{sample.image_path}: no such image; restore it or take its line out of the index"
            for fault in box_faults(sample.face_box, sample.image_path.name):
                return f"{self.path}:{line}: {fault}"
            for fault in chain(label_faults(landmarks, None), fit_faults(landmarks, sample.face_box)):
                return f"{sample.landmarks_path}: {fault} ({self.path.name}:{line})"
            return landmarks.astype(np.float32)

        with ThreadPoolExecutor(_READERS) as pool:
            results = list(pool.map(read, range(len(self))))
        problems = [result for result in results if isinstance(result, str)]
        if problems:
            raise InputError.collect(
                problems,
                f"{len(problems)} of {len(results)} faces cannot be used: mend or remove them, or leave them "
                "out by --skip-invalid where the command has it:",
            )
        return np.array(results, np.float32).reshape(-1, markup.count, 2)

    def _taken(self, rows: NDArray[np.intp]) -> Self:
        taken = super()._taken(rows)
        taken._starts = self._starts[rows]
        return taken

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
        write_whole(target, "\n".join(lines) + "\n")


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
