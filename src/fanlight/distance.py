"""From landmarks to errors: the distance of each point, and the length that it is divided by.

Errors are fractions of a length measured on the *true* landmarks, so that small and large faces count alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.markup import Markup

Floats = NDArray[np.float64]
Normaliser = Literal["box", "interocular", "interpupil", "box_diagonal", "box_height"]

NORMALISERS: dict[Normaliser, str] = {
    "box": "sqrt(width × height) of the true landmarks' bounding box",
    "interocular": "the distance of the true outer eye corners",
    "interpupil": "the distance of the true eye centres",
    "box_diagonal": "the diagonal of the true landmarks' bounding box",
    "box_height": "the height of the true landmarks' bounding box",
}


def possible_normalisers(markup: Markup) -> tuple[Normaliser, ...]:
    """The normalisers that a mark-up allows: box sizes always, eye distances where it has the points."""
    lacking = {"interocular": markup.eye_corners is None, "interpupil": markup.pupils is None}
    return tuple(name for name in get_args(Normaliser) if not lacking.get(name, False))


def normalise(landmarks_true: ArrayLike, markup: Markup, normaliser: Normaliser = "box") -> Floats:
    """Measure the length that each face's errors are divided by.

    Args:
        landmarks_true: (N, L, 2), true landmarks, any frame and unit.
        markup: knows the eye corners and the points of each eye.
        normaliser: ``box`` = sqrt(w * h) of the landmarks' bounding box, ``box_diagonal`` and ``box_height``
            of the same box, ``interocular`` = outer eye corners, ``interpupil`` = eye centres (mean of an
            eye's points).

    Returns:
        (N,), in the landmarks' unit, > 0.

    Raises:
        InputError: the mark-up lacks the points (the message lists what is possible), the landmark count is
            not the mark-up's, or a face has no extent.
    """
    landmarks = check_landmarks(landmarks_true, "true")
    if landmarks.shape[1] != markup.count:
        raise InputError(
            f"{landmarks.shape[1]} landmarks a face, but the mark-up {markup.name} has {markup.count}"
        )
    lengths = _lengths(landmarks, markup, normaliser)
    if not (lengths > 0).all():
        raise InputError(
            f"{NORMALISERS[normaliser]} is 0 for face {int(np.argmin(lengths))} (counted from 0): "
            "correct or leave out its label"
        )
    return lengths


def _lengths(landmarks: Floats, markup: Markup, normaliser: Normaliser) -> Floats:
    width, height = (np.ptp(np.ascontiguousarray(landmarks[..., axis]), axis=1) for axis in (0, 1))
    if normaliser == "box":
        return np.asarray(np.sqrt(width * height))
    if normaliser == "box_diagonal":
        return np.asarray(np.hypot(width, height))
    if normaliser == "box_height":
        return np.asarray(height)
    if normaliser == "interocular" and markup.eye_corners is not None:
        right, left = (landmarks[:, corner] for corner in markup.eye_corners)
        return np.asarray(np.linalg.norm(right - left, axis=-1))
    if normaliser == "interpupil" and markup.pupils is not None:
        right, left = (landmarks[:, list(eye)].mean(axis=1) for eye in markup.pupils)
        return np.asarray(np.linalg.norm(right - left, axis=-1))
    raise InputError(
        f"normaliser {normaliser!r} is not possible with the mark-up {markup.name}: "
        f"use {', '.join(possible_normalisers(markup))}"
    )


def point_errors(predicted: ArrayLike, true: ArrayLike, lengths: ArrayLike) -> Floats:
    """Euclidean distance of every landmark, divided by its face's normalising length.

    Args:
        predicted: (N, L, 2), in the frame of ``true``.
        true: (N, L, 2).
        lengths: (N,), > 0, from ``normalise``.

    Returns:
        (N, L), fractions.

    Raises:
        InputError: shapes differ, no face, or a value that is not finite.
    """
    predicted, true = check_landmarks(predicted, "predicted"), check_landmarks(true, "true")
    lengths = np.asarray(lengths, np.float64)
    if predicted.shape != true.shape or lengths.shape != true.shape[:1]:
        raise InputError(
            f"predicted landmarks {predicted.shape}, true landmarks {true.shape} and lengths {lengths.shape} "
            "do not match: expected (N, L, 2), (N, L, 2) and (N,)"
        )
    if not np.isfinite(lengths).all() or not (lengths > 0).all():
        raise InputError("normalising lengths must be finite and above 0")
    across, down = np.moveaxis(predicted - true, -1, 0)
    return np.asarray(np.hypot(across, down) / lengths[:, None])


def face_errors(errors: ArrayLike, part: Sequence[int] | None = None) -> Floats:
    """Mean error of each face, (N, L) -> (N,), over all landmarks or those of a part."""
    errors = check_errors(errors, 2)
    return np.asarray((errors if part is None else errors[:, list(part)]).mean(axis=1))


def check_landmarks(values: ArrayLike, what: str) -> Floats:
    """Landmarks as (N, L, 2) floats.

    Raises:
        InputError: another shape, none at all, or values that are not finite; names ``what`` and the face.
    """
    landmarks = np.asarray(values, np.float64)
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2 or 0 in landmarks.shape:
        raise InputError(
            f"{what} landmarks have the shape {landmarks.shape}: expected (N, L, 2), at least one face"
        )
    if not np.isfinite(landmarks).all():
        bad = np.flatnonzero(~np.isfinite(landmarks).reshape(len(landmarks), -1).all(axis=1))
        raise InputError(
            f"{what} landmarks of {len(bad)} of {len(landmarks)} faces are not finite, the first is face "
            f"{bad[0]} (counted from 0): no metric is defined for them"
        )
    return landmarks


def check_errors(values: ArrayLike, dimensions: int) -> Floats:
    """Errors as floats, (N,) one a face or (N, L) one a landmark.

    Raises:
        InputError: another shape, empty, negative or not finite.
    """
    errors = np.asarray(values, np.float64)
    if errors.ndim != dimensions or 0 in errors.shape:
        expected = "(N,), one a face" if dimensions == 1 else "(N, L), one a landmark"
        raise InputError(f"errors have the shape {errors.shape}: expected {expected}, not empty")
    if not np.isfinite(errors).all() or (errors < 0).any():
        raise InputError("errors must be finite and not negative; at least one is not")
    return errors
