"""The faces that a data set draws on, wherever they are kept: as files that an index lists, or packed."""

from __future__ import annotations

import copy
import hashlib
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.geometry import Floats
from fanlight.markup import Markup

Partition = tuple[str, str]


def sample_weight(aug_idx: int) -> float:
    """Weight of a face by its augmentation index: ceil(5 * 0.8^k), or 1 for an original photo (k < 0).

    Source: the public FAN training code, where k counts the steps of 300W-LP away from the original pose.
    """
    return float(math.ceil(5 * 0.8**aug_idx)) if aug_idx >= 0 else 1.0


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why one face of a data set cannot be used.

    Attributes:
        position: of the face among those that were checked.
        line: of the face in the index file, the header being line 1.
        path: the file at fault.
        message: what is wrong, beginning with the file's name, and what to do.
    """

    position: int
    line: int
    path: Path
    message: str


class Faces(ABC):
    """Faces with a photo, a face box and landmarks each, in partitions ``subset/split``.

    What is needed of every face at once is held in a few arrays: a million faces take little memory, and worker
    processes share it, because reading touches no reference count inside it.

    Args:
        where: the path or the URL of the data set.
        sha256: tells it from any other.
        codes: (N,) which of ``pairs`` each face belongs to.
        pairs: (subset, split), in order of appearance.
        face_boxes: see below.
        aug_indices: see below.
        line_numbers: see below.

    Attributes:
        where: the path or the URL, for messages.
        sha256: of the file that describes the data set; a selection of its faces keeps it.
        source_sha256: of the index that the faces come from first; packing keeps it.
        reach: side of the square around a face box, over the box's size, that is there of the photos.
        markup: of the landmarks, where the data set says so; an index does not.
        face_boxes: (N, 4) float64, left, top, right, bottom in continuous pixel coordinates of the photo.
        aug_indices: (N,) int32, -1 for an original photo, else which synthesised version of it (300W-LP).
        line_numbers: (N,) int32, where each face stands in the index file, the header being line 1.
    """

    markup: Markup | None = None
    reach: float = np.inf

    def __init__(
        self,
        where: str,
        sha256: str,
        codes: NDArray[Any],
        pairs: Sequence[Partition],
        face_boxes: Floats,
        aug_indices: NDArray[np.int32],
        line_numbers: NDArray[np.int32],
    ) -> None:
        self.where = where
        self.sha256 = self.source_sha256 = sha256
        self.face_boxes = face_boxes
        self.aug_indices = aug_indices
        self.line_numbers = line_numbers
        self._codes = codes
        self._pairs = tuple(pairs)

    @abstractmethod
    def name(self, position: int) -> str:
        """What to call a face: the file name of its photo."""

    @abstractmethod
    def photo(self, position: int, reduce: int = 1) -> tuple[NDArray[np.uint8], Floats]:
        """The photo of a face, at a fraction of its size where that is faster; see ``image.read_image_reduced``.

        Returns:
            image: (H, W, 3) uint8 RGB.
            matrix: (2, 3), from the continuous pixel coordinates of the whole photo to those of ``image``.

        Raises:
            InputError: it cannot be read.
        """

    @abstractmethod
    def landmarks(self, position: int) -> NDArray[np.float32]:
        """The landmarks of a face, (L, 2) in continuous pixel coordinates of its photo.

        Raises:
            InputError: they cannot be read.
        """

    @abstractmethod
    def all_landmarks(self, markup: Markup) -> NDArray[np.float32]:
        """The landmarks of all faces, (N, L, 2), once it is sure that every face has a photo, a box and a label.

        Raises:
            InputError: listing every face of which that is not true.
        """

    @property
    def shards(self) -> NDArray[np.int32]:
        """(N,) which file each face lies in, where many share one; else they count as one file."""
        return np.zeros(len(self), np.int32)

    def prefetch(self, shards: Sequence[int]) -> None:  # noqa: B027  # nothing to do for what is near
        """Get what is far away and will be needed soon."""

    def check_room(self, at_once: int | None) -> None:  # noqa: B027  # nothing has to be fetched
        """Refuse when so many shards, all if None, cannot be kept together where they have to be fetched.

        Raises:
            InputError: they cannot.
        """

    def check_tables(self) -> None:  # noqa: B027  # no sums are kept of an index
        """Refuse boxes and labels that are no longer what was written, where that can be told in a second.

        Raises:
            InputError: listing every damaged file.
        """

    def digest_of(self, partitions: Iterable[str]) -> str:
        """The SHA-256 of which faces of some partitions are here: another one where one more is left out."""
        lines = self.select(partitions).line_numbers.astype("<i4")
        return hashlib.sha256(lines.tobytes()).hexdigest()

    @property
    def weights(self) -> Floats:
        """(N,) how much each face counts in losses and in weighted metrics; see ``sample_weight``."""
        kinds, kind_of = np.unique(self.aug_indices, return_inverse=True)
        return np.array([sample_weight(k) for k in kinds.tolist()])[kind_of]

    def __len__(self) -> int:
        return len(self._codes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where!r}, {len(self)} faces: {self.partitions()})"

    def partitions(self) -> dict[str, int]:
        """How many faces each ``subset/split`` has, in order of appearance."""
        rows = np.bincount(self._codes, minlength=len(self._pairs)).tolist()
        counts: Counter[str] = Counter()
        for pair, n in zip(self._pairs, rows, strict=True):
            counts["/".join(pair)] += n
        return {name: n for name, n in counts.items() if n}

    def partition_of(self, position: int) -> str:
        """The ``subset/split`` of one face."""
        return "/".join(self._pairs[self._codes[position]])

    def members(self, *partitions: str) -> NDArray[np.intp]:
        """The positions of the faces of some partitions."""
        codes = [code for code, pair in enumerate(self._pairs) if "/".join(pair) in partitions]
        return np.flatnonzero(np.isin(self._codes, codes))

    def select(self, partitions: Iterable[str]) -> Self:
        """The faces of some partitions, in their order.

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
            raise InputError(f"{self.where}: {what}; there are: {there}")
        return self.take(self.members(*wanted))

    def take(self, positions: ArrayLike) -> Self:
        """The faces at these positions, in this order, or those where a mask of all faces is true."""
        rows = np.asarray(positions)
        return self._taken(np.flatnonzero(rows) if rows.dtype == bool else rows.astype(np.intp))

    def _taken(self, rows: NDArray[np.intp]) -> Self:
        taken = copy.copy(self)
        taken.face_boxes = self.face_boxes[rows]
        taken.aug_indices = self.aug_indices[rows]
        taken.line_numbers = self.line_numbers[rows]
        taken._codes = self._codes[rows]
        return taken

    def drop(self, positions: ArrayLike) -> Self:
        """All faces but those at these positions."""
        return self.take(np.delete(np.arange(len(self)), np.asarray(positions, dtype=np.intp)))


def wrong_count(name: str, count: int, markup: Markup) -> str:
    """The message for a label that has another number of points than its mark-up."""
    return (
        f"{name}: {count} points, but mark-up {markup.name} has {markup.count}; give the mark-up that these "
        "labels follow, or take its line out of the index"
    )
