"""Labels whose shape is not that of the others: parts that are displaced, and sides that are swapped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fanlight.geometry import Floats
from fanlight.judging.breakdown import mean_shape
from fanlight.markup import Markup

NOISE = 0.01
"""Deviation of a well-placed landmark, of the face's size: below it nothing is unusual."""

_ROUNDS = 3
_TRIMMED = 0.05  # of the faces, the least usual, are left out of the statistics


@dataclass(frozen=True)
class ShapeStatistics:
    """How the landmarks of upright faces of size 1 vary together.

    Attributes:
        mean: (L, 2), of bounding box size 1.
        precision: (2L, 2L), the inverse of the covariance of x, y, x, y ...
    """

    mean: Floats
    precision: Floats

    @classmethod
    def of(cls, landmarks: Floats) -> ShapeStatistics:
        """Learn them from labels of which a few may be wrong.

        Args:
            landmarks: (N, L, 2) in any px, each of some extent.
        """
        points = landmarks.shape[1]
        kept = np.ones(len(landmarks), bool)
        for _ in range(_ROUNDS):
            mean = mean_shape(landmarks[kept])
            away = (align(landmarks, mean) - mean).reshape(len(landmarks), -1)
            centre = away[kept].mean(axis=0)
            spread = np.cov(away[kept], rowvar=False) + NOISE**2 * np.eye(2 * points)
            precision: Floats = np.asarray(np.linalg.inv(spread), np.float64)
            distances = np.einsum("ni,ij,nj->n", away - centre, precision, away - centre)
            kept = distances <= np.quantile(distances, 1 - _TRIMMED)
        return cls(mean + centre.reshape(-1, 2), precision)

    def displaced(self, landmarks: Floats, group: Sequence[int]) -> tuple[Floats, Floats]:
        """How far a group of points lies from where all others say it should be.

        Args:
            landmarks: (N, L, 2).
            group: numbers of its points.

        Returns:
            distances: (N,) Mahalanobis distances over the root of the number of the group's coordinates.
            lengths: (N,) the group's mean displacement, of the face's size.

        Source: the conditional distribution of some variables of a normal one given the rest, by its precision.
        """
        rows = np.array([2 * point + axis for point in group for axis in (0, 1)])
        away = (align(landmarks, self.mean) - self.mean).reshape(len(landmarks), -1)
        pulls = away @ self.precision[:, rows]
        offsets = pulls @ np.linalg.inv(self.precision[np.ix_(rows, rows)])
        squares = np.maximum((pulls * offsets).sum(axis=1), 0)
        lengths = np.linalg.norm(offsets.reshape(len(landmarks), -1, 2).mean(axis=1), axis=1)
        return np.sqrt(squares / len(rows)), lengths


def align(landmarks: Floats, mean: Floats) -> Floats:
    """Bring shapes over a mean shape by shift, rotation and scale, never by mirroring.

    Args:
        landmarks: (N, L, 2).
        mean: (L, 2).

    Returns:
        (N, L, 2).

    Source: ordinary Procrustes analysis, points as complex numbers.
    """
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    points = points - points.mean(axis=1, keepdims=True)
    target = mean[:, 0] + 1j * mean[:, 1]
    middle = target.mean()
    sizes = np.maximum((np.abs(points) ** 2).sum(axis=1), 1e-12)
    fitted = points * ((points.conj() @ (target - middle)) / sizes)[:, None] + middle
    return np.stack([fitted.real, fitted.imag], axis=-1)


def misfit(landmarks: Floats, mean: Floats) -> Floats:
    """The share of a shape that its best fit to the mean shape leaves, 0 to 1: (N, L, 2) -> (N,)."""
    points = landmarks[..., 0] + 1j * landmarks[..., 1]
    points = points - points.mean(axis=1, keepdims=True)
    target = mean[:, 0] + 1j * mean[:, 1]
    target = target - target.mean()
    sizes = np.maximum((np.abs(points) ** 2).sum(axis=1) * (np.abs(target) ** 2).sum(), 1e-12)
    return np.asarray(1 - np.abs(points.conj() @ target) ** 2 / sizes)


def swapped(landmarks: Floats, mean: Floats, markup: Markup) -> tuple[Floats, Floats]:
    """How badly labels fit the mean shape as they are, and with left and right exchanged.

    Args:
        landmarks: (N, L, 2).
        mean: (L, 2).
        markup: whose mirror table exchanges the sides.

    Returns:
        Two arrays (N,): ``misfit`` of each.
    """
    return misfit(landmarks, mean), misfit(landmarks[:, list(markup.mirror)], mean)


def groups_of(markup: Markup) -> Mapping[str, tuple[int, ...]]:
    """The parts of a mark-up, and the points that are in none as a part of their own."""
    groups = {name.replace("_", " "): members for name, members in markup.parts.items()}
    rest = tuple(sorted(set(range(markup.count)).difference(*groups.values())))
    if rest:
        groups["the rest" if groups else "the points"] = rest
    return groups
