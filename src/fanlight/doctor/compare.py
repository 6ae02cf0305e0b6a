"""Labels against what a network finds: whole labels that are shifted, and labels it disagrees with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fanlight.doctor.points import face_sizes
from fanlight.geometry import Floats


@dataclass(frozen=True)
class Comparison:
    """N labels beside a network's landmarks. Lengths are fractions of the face's size by the network.

    The network's landmarks have to be averaged with those that it finds in the mirrored photos: it is off to one
    side in these and to the other in those. A bias up or down, which it learnt, stays.

    Attributes:
        shifts: (N, 2) median of label - network over the points: x, y.
        errors: (N,) mean distance of label and network.
        before: (N,) median distance of label and network.
        after: (N,) the same once the label is shifted back.
        sizes: (N,) size of the face in px.
    """

    shifts: Floats
    errors: Floats
    before: Floats
    after: Floats
    sizes: Floats


def compare(landmarks: Floats, predicted: Floats) -> Comparison:
    """Compare labels with a network.

    Args:
        landmarks: (N, L, 2) the labels, in px.
        predicted: (N, L, 2) what the network finds, averaged with mirroring, in the same px.
    """
    sizes = np.maximum(face_sizes(predicted), 1e-3)
    away = (landmarks - predicted) / sizes[:, None, None]
    shifts = np.median(away, axis=1)
    distances = np.linalg.norm(away, axis=2)
    left = np.linalg.norm(away - shifts[:, None], axis=2)
    return Comparison(
        shifts, distances.mean(axis=1), np.median(distances, axis=1), np.median(left, axis=1), sizes
    )


def median_and_error(values: Floats) -> tuple[Floats, Floats]:
    """The median over the first axis, and its standard error for values that are about normally distributed."""
    middle = np.median(values, axis=0)
    spread = 1.4826 * np.median(np.abs(values - middle), axis=0)
    return middle, 1.2533 * spread / np.sqrt(len(values))
