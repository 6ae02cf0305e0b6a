"""Photos that are there twice, and names that tell which photos belong together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.geometry import CropRule

LOOK_PX = 32
LOOK_CROP = CropRule(scale=1.25)
_KEPT = 12  # frequencies each way
LOOK = _KEPT * _KEPT - 1


def look_of(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a face looks like, so that two copies of a photo look the same after scaling and compression.

    Args:
        crop: (32, 32, 3) uint8 RGB, the face.

    Returns:
        (143,) float32 of length 1: the lowest frequencies of the grey crop without the mean, which is brightness;
        the length, which is contrast, is divided out. A crop of one colour gives zeros.

    Source: the idea of perceptual hashing by a discrete cosine transform, with the coefficients for their signs.
    """
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
    lowest = cv2.dct(grey)[:_KEPT, :_KEPT].ravel()[1:]
    length = float(np.linalg.norm(lowest))
    return np.asarray(lowest / length if length > 1e-3 else np.zeros(LOOK), np.float32)


def neighbours(
    looks: NDArray[np.float32], least: float, chunk: int = 2048
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """All pairs of faces that look alike, block by block.

    What every face has in common is taken away first, and each frequency is scaled by how much it varies over the
    faces. N * N / 2 products, in blocks by matrix multiplication.

    Args:
        looks: (N, D) of ``look_of``.
        least: the likeness from which on a pair counts, -1 to 1.
        chunk: rows of a block; memory grows with its square.

    Yields:
        pairs: (P, 2) positions, the first below the second.
        likenesses: (P,) cosines of the angles between the two looks.
    """
    away = looks - looks.mean(axis=0)
    away /= np.maximum(away.std(axis=0), 1e-6)
    away[~looks.any(axis=1)] = 0.0  # of one colour: like nothing
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
    for first in range(0, len(away), chunk):
        for second in range(first, len(away), chunk):
            products = away[first : first + chunk] @ away[second : second + chunk].T
            rows, columns = np.nonzero(products >= least)
            once = first + rows < second + columns
            rows, columns = rows[once], columns[once]
            if len(rows):
                yield np.column_stack([first + rows, second + columns]), products[rows, columns]


class Groups:
    """What pairs connect, directly or through others, of N things.

    >>> groups = Groups(8)
    >>> groups.join(np.array([(4, 2), (0, 1), (2, 7)]))
    >>> groups.found()
    [[0, 1], [2, 4, 7]]
    """

    def __init__(self, count: int) -> None:
        self._first = np.arange(count)  # the smallest member of the group that each is in

    def join(self, pairs: NDArray[np.integer]) -> None:
        """Connect the things of each pair, (P, 2)."""
        ends = np.sort(self._first[pairs], axis=1)
        parent: dict[int, int] = {}

        def root(item: int) -> int:
            while (above := parent.get(item, item)) != item:
                parent[item] = parent.get(above, above)
                item = above
            return item

        for one, other in np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0).tolist():
            low, high = sorted((root(one), root(other)))
            parent[high] = low
        if parent:
            moved = self._first.copy()
            moved[list(parent)] = [root(item) for item in parent]
            self._first = moved[self._first]

    def found(self) -> list[list[int]]:
        """The groups of at least two, each sorted."""
        order = np.argsort(self._first, kind="stable")
        starts = np.flatnonzero(np.diff(self._first[order], prepend=-1))
        return [group.tolist() for group in np.split(order, starts[1:]) if len(group) > 1]


_CODE = re.compile(r"([a-z]|\d+)[\W_]+")  # at the beginning: a letter or number for a part of the collection
_NUMBERS = re.compile(r"[\W\d_]*\d[\W_]*$")
_LETTERS = re.compile(r"[^\W\d_]{3}")


def stem_of(name: str) -> str:
    """What photos of one person or clip have in common: the name without ending, numbers behind and a code before.

    >>> stem_of("anna_smith_012.jpg"), stem_of("b_anna_smith_2_134.jpg"), stem_of("000123.png")
    ('anna_smith', 'anna_smith', '')
    """
    stem = _NUMBERS.sub("", name.rpartition(".")[0] or name)
    stem = stem[code.end() :] if (code := _CODE.match(stem)) else stem
    return stem if _LETTERS.search(stem) else ""


def series_of(names: Sequence[str], sides: Sequence[str], most: float = 0.2) -> list[str]:
    """The person or clip that each photo's name tells: its stem, where that tells anything.

    Args:
        names: (N,) file names of one collection.
        sides: (N,) the part of it that each is in, such as its split.
        most: a stem that a larger share of a side's names have is a word such as "image".

    Returns:
        (N,) stems, empty where a name tells nothing.
    """
    stems = [stem_of(name) for name in names]
    totals, counts = Counter(sides), Counter(zip(stems, sides, strict=True))
    words = {stem for (stem, side), count in counts.items() if count > max(1, most * totals[side])}
    return ["" if stem in words else stem for stem in stems]
