"""Findings about labels, from what a network finds in the photos."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.doctor.compare import Comparison, compare, median_and_error
from fanlight.doctor.finding import Finding, strongest
from fanlight.doctor.robust import MIN_FACES, centre_and_scale
from fanlight.geometry import Floats

SET_SHIFT = 0.003  # of the face's size, and five standard errors: a quarter of a px in 80
SHIFT = 0.02  # of the face's size
SHIFT_UNUSUAL = 4.0  # deviations within the partition
SHIFT_EXPLAINS = 0.7  # what is left of the distance once a label is shifted back
ERROR = 4.0  # deviations within the partition, in the logarithm
ERROR_LEAST = 0.04  # of the face's size


def find_by_network(
    faces: Faces, landmarks: Floats, predicted: Floats, sound: NDArray[np.bool_]
) -> Iterator[Finding]:
    """Partitions and labels that are shifted, and labels that the network disagrees with.

    Args:
        faces: the data set.
        landmarks: (N, L, 2) of the labels.
        predicted: (N, L, 2), averaged with mirroring.
        sound: (N,) which labels are not wrong for a reason that the network is not needed for.
    """
    compared = compare(landmarks, predicted)
    everyone = np.flatnonzero(sound)
    for partition in faces.partitions():
        rows = np.intersect1d(faces.members(partition), everyone)
        if len(rows) >= MIN_FACES:
            yield from _shifted_set(partition, rows, compared)
        usual = rows if len(rows) >= MIN_FACES else everyone
        yield from _single(rows, usual, compared)


def _shifted_set(partition: str, rows: NDArray[np.intp], compared: Comparison) -> Iterator[Finding]:
    middle, error = median_and_error(compared.shifts[rows])
    length = float(np.linalg.norm(middle))
    if length < SET_SHIFT or length < 5 * float(np.linalg.norm(error)):
        return
    px = np.median(compared.shifts[rows] * compared.sizes[rows, None], axis=0)
    yield Finding(
        "shifted set",
        (),
        f"{partition}: the labels of {len(rows)} faces lie {_sideways(px)} of the network's landmarks in the "
        f"median ({_of_face(middle)} of the face's size, standard error {np.linalg.norm(error):.2%})",
        length,
    )


def _single(rows: NDArray[np.intp], usual: NDArray[np.intp], compared: Comparison) -> Iterator[Finding]:
    """The faces of a partition, compared with those that say what is usual."""
    centre, scale = centre_and_scale(compared.shifts[usual], floor=0.003)
    away = compared.shifts[rows] - centre
    unusual = np.linalg.norm(away / scale, axis=1)
    explained = compared.after[rows] < SHIFT_EXPLAINS * compared.before[rows]
    is_shifted = explained & (np.linalg.norm(away, axis=1) > SHIFT) & (unusual > SHIFT_UNUSUAL)
    for at in strongest(np.where(is_shifted, unusual, 0)):
        row = rows[at]
        yield Finding(
            "shifted",
            (int(row),),
            f"the label lies {_sideways(compared.shifts[row] * compared.sizes[row])} of the network's landmarks "
            f"({_of_face(compared.shifts[row])} of the face's size); shifted back, the median distance falls from "
            f"{compared.before[row]:.1%} to {compared.after[row]:.1%}",
            float(unusual[at]),
        )
    errors = np.log(np.maximum(compared.errors, 1e-6))
    middle, spread = centre_and_scale(errors[usual], floor=0.05)
    worse = (errors[rows] - middle) / spread
    far = ~is_shifted & (worse > ERROR) & (compared.errors[rows] > ERROR_LEAST)
    for at in strongest(np.where(far, worse, 0)):
        yield Finding(
            "disagrees",
            (int(rows[at]),),
            f"label and network are {compared.errors[rows[at]]:.1%} of the face's size apart, the median of the "
            f"partition is {float(np.exp(middle)):.1%}",
            float(worse[at]),
        )


def _sideways(px: Floats) -> str:
    """``0.8 px right and 0.1 px above``."""
    x, y = px
    return (
        f"{abs(x):.1f} px {'right' if x > 0 else 'left'} and {abs(y):.1f} px {'below' if y > 0 else 'above'}"
    )


def _of_face(shift: Floats) -> str:
    return f"{shift[0]:+.1%}, {shift[1]:+.1%}"
