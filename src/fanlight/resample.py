"""Means and trapezoid areas over faces, each counted as often as a bootstrap resample draws it.

Every metric is a mean of scores that depend on one face alone; the faces count alike or by their weights. The area
by the trapezoid rule is such a mean, the area under the staircase, plus the triangles between the staircase and
the line. So one matrix product gives all metrics of many resamples, and values and intervals share one path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError

Floats = NDArray[np.float64]
DRAWS_AT_ONCE = 4_000_000  # enough resamples of 180,000 faces for a fast matrix product, in 100 MB
CACHED = 100_000  # of the values that the ramps go through several times


@dataclass(frozen=True)
class Column:
    """One metric of N faces.

    Attributes:
        scores: (N,), whose mean is the metric.
        ramp_errors: (N,), for a trapezoid only: the faces' errors; the scores are then max(0, 1 - e / T).
        threshold: T of that trapezoid.
        weighted: faces count by their weights; else all count alike.
    """

    scores: Floats
    ramp_errors: Floats | None = None
    threshold: float = 1.0
    weighted: bool = False


class Faces:
    """Judged faces: M metrics of N faces, to be averaged or resampled. Faces of weight 0 are left out.

    Args:
        columns: one per metric, M >= 1.
        weights: (N,), >= 0; needed if a metric is weighted. Only their ratios matter.

    Raises:
        InputError: weights that are missing, of another shape, negative, not finite or all 0.
    """

    def __init__(self, columns: Sequence[Column], weights: ArrayLike | None = None) -> None:
        if weights is None and any(column.weighted for column in columns):
            raise InputError("a weighted metric needs weights: give one for each face")
        given = check_weights(weights, len(columns[0].scores))
        kept = given > 0
        by_weight = given[kept] / given[kept].min()  # equal weights are exactly 1, and then nothing differs
        alike = np.ones_like(by_weight)
        counting = [by_weight if column.weighted else alike for column in columns]
        scores = [column.scores[kept] * counts for column, counts in zip(columns, counting, strict=True)]
        self._sums = np.column_stack([*scores, alike, by_weight])
        self._total_of = np.array([len(columns) + column.weighted for column in columns])
        self._ramps = {
            j: _Ramps(column.ramp_errors[kept], counting[j], column.threshold)
            for j, column in enumerate(columns)
            if column.ramp_errors is not None
        }

    def __len__(self) -> int:
        return len(self._sums)

    def values(self) -> Floats:
        """The metrics, (M,), with every face counted once."""
        return np.asarray(self._values(np.ones((1, len(self)), np.int64))[0])

    def resampled(self, resamples: int, seed: int) -> Floats:
        """The metrics, (resamples, M), of as many faces drawn with replacement; the same draws for one seed.

        Raises:
            InputError: fewer than 1 resample.
        """
        if resamples < 1:
            raise InputError(f"{resamples} bootstrap resamples: at least 1 is needed")
        faces, generator = len(self), np.random.default_rng(seed)
        chunk = max(1, DRAWS_AT_ONCE // faces)
        tables = []
        for start in range(0, resamples, chunk):
            rows = min(chunk, resamples - start)
            drawn = generator.integers(0, faces, (rows, faces)) + faces * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * faces)
            tables.append(self._values(counts.reshape(rows, faces)))
        return np.concatenate(tables)

    def _values(self, counts: NDArray[np.int64]) -> Floats:
        """The metrics, (R, M), when face i counts ``counts[r, i]`` times."""
        sums = counts @ self._sums
        for j, ramps in self._ramps.items():
            sums[:, j] += ramps.area(counts)
        return np.asarray(sums[:, : len(self._total_of)] / sums[:, self._total_of])


class _Ramps:
    """The triangles between the line of the trapezoid rule and the staircase, up to the threshold.

    Towards each face that is there, the line climbs that face's weight over the gap to the face before: half of
    weight x gap. A face drawn twice climbs its second weight on the spot, over no gap. The line that crosses the
    threshold adds the part of its triangle that lies before it.
    """

    def __init__(self, errors: Floats, weights: Floats, threshold: float) -> None:
        self.order = np.lexsort((weights, errors))
        self.errors, self.weights, self.threshold = errors[self.order], weights[self.order], threshold
        self.inside = int(np.searchsorted(self.errors, threshold, side="right"))

    def area(self, counts: NDArray[np.int64]) -> Floats:
        """(R, N) counts -> (R,) areas, times the total weight, over the threshold."""
        rows = max(1, CACHED // counts.shape[1])
        parts = [self._area(counts[start : start + rows] > 0) for start in range(0, len(counts), rows)]
        return np.concatenate(parts)

    def _area(self, drawn: NDArray[np.bool_]) -> Floats:
        """The same from which faces were drawn at all."""
        there = drawn.take(self.order, axis=1)
        inside, errors, weights = self.inside, self.errors, self.weights
        reached = np.where(there[:, :inside], errors[:inside], 0.0)
        np.maximum.accumulate(reached, axis=1, out=reached)
        area = np.diff(reached, axis=1, prepend=0.0) @ weights[:inside] / 2
        if inside < len(errors):
            last = reached[:, -1] if inside else np.zeros(len(there))
            following = inside + there[:, inside:].argmax(axis=1)
            crossing = weights[following] * (self.threshold - last) ** 2 / (errors[following] - last) / 2
            area += np.where(there[np.arange(len(there)), following], crossing, 0.0)
        return np.asarray(area / self.threshold)


def check_weights(values: ArrayLike | None, faces: int) -> Floats:
    """Weights as (faces,) floats, ones when None.

    Raises:
        InputError: another shape, negative, not finite, or all 0.
    """
    if values is None:
        return np.ones(faces)
    weights = np.asarray(values, np.float64)
    if weights.shape != (faces,):
        raise InputError(f"weights have the shape {weights.shape}: expected one a face, ({faces},)")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputError("weights must be finite, not negative, and not all 0")
    return weights
