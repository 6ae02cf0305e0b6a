"""Is a score worth anything? How well scores and heatmap spreads tell good landmarks from bad ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fanlight.distance import normalise, point_errors
from fanlight.geometry import Floats
from fanlight.judging.faces import JudgedFaces
from fanlight.markup import Markup

BINS = 5
FAILED = 0.07  # a face whose error (box) is above this has failed


@dataclass(frozen=True)
class Signal:
    """One sign of trouble, set against the errors.

    Attributes:
        name: ``score`` or ``spread``.
        title: what it is, for people.
        rank_correlation: Spearman's, of the sign and the error of faces, -1 to 1; 1 when the least sure faces are
            exactly the worst, 0 when it says nothing. None where all are equal.
        rank_correlation_landmarks: the same over all landmarks of all faces.
        detection: probability that a failed face looks less sure than a face that has not failed (the area under
            the ROC curve); 0.5 says nothing. None where no face, or every face, has failed.
        bins: landmarks in fifths from the least to the most sure: mean of the sign, mean error, count.
        kept_errors: (N,) mean error of the k surest faces, k = 1 ... N.
    """

    name: str
    title: str
    rank_correlation: float | None
    rank_correlation_landmarks: float | None
    detection: float | None
    bins: list[tuple[float, float, int]]
    kept_errors: Floats


@dataclass(frozen=True)
class Calibration:
    """Both signs, and the best that any could do.

    Attributes:
        signals: score and spread.
        oracle: (N,) mean error of the k best faces, k = 1 ... N.
        failed: how many faces have failed.
    """

    signals: list[Signal]
    oracle: Floats
    failed: int


def calibrate(judged: JudgedFaces, markup: Markup) -> Calibration:
    """Set scores and spreads against errors (box-normalised).

    The spread of a landmark is the square root of its heatmap's mean variance over the size of the true landmarks'
    box; it includes the sigma of the training targets, so it is a sign of trouble and not an error in px.
    A face's score or spread is the mean of its landmarks'.
    """
    lengths = normalise(judged.true, markup, "box")
    errors = point_errors(judged.predicted, judged.true, lengths)
    variances = np.trace(judged.covariances, axis1=2, axis2=3) / 2
    spreads = np.sqrt(np.maximum(variances, 0)) / lengths[:, None]
    signals = [
        _signal("score", "score (height of the heatmap's peak)", -judged.scores, judged.scores, errors),
        _signal("spread", "spread of the heatmap", spreads, spreads, errors),
    ]
    faces = errors.mean(axis=1)
    return Calibration(signals, _kept(faces, faces), int((faces > FAILED).sum()))


def _signal(name: str, title: str, doubt: Floats, values: Floats, errors: Floats) -> Signal:
    """One sign; ``doubt`` (N, L) grows with the trouble expected, ``values`` is what people are shown."""
    faces, face_doubt = errors.mean(axis=1), doubt.mean(axis=1)
    order = np.argsort(-doubt, axis=None, kind="stable")
    bins = [
        (float(values.ravel()[part].mean()), float(errors.ravel()[part].mean()), len(part))
        for part in np.array_split(order, BINS)
        if len(part)
    ]
    return Signal(
        name=name,
        title=title,
        rank_correlation=rank_correlation(face_doubt, faces),
        rank_correlation_landmarks=rank_correlation(doubt.ravel(), errors.ravel()),
        detection=_detection(face_doubt, faces > FAILED),
        bins=bins,
        kept_errors=_kept(face_doubt, faces),
    )


def rank_correlation(first: Floats, second: Floats) -> float | None:
    """Spearman's rank correlation, equal values sharing their mean rank; None where one is constant.

    >>> rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 15]))
    0.5
    """
    ranks = [_ranks(values) for values in (first, second)]
    ranks = [values - values.mean() for values in ranks]
    norm = np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum())
    return float((ranks[0] * ranks[1]).sum() / norm) if norm > 0 else None


def _ranks(values: Floats) -> Floats:
    """(N,) ranks from 0, equal values sharing their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[place])


def _detection(doubt: Floats, failed: Floats) -> float | None:
    bad = int(failed.sum())
    good = len(failed) - bad
    if not bad or not good:
        return None
    return float((_ranks(doubt)[failed].sum() - bad * (bad - 1) / 2) / (bad * good))


def _kept(doubt: Floats, errors: Floats) -> Floats:
    """(N,) mean error of the k faces of least doubt, k = 1 ... N."""
    order = np.argsort(doubt, kind="stable")
    return np.asarray(np.cumsum(errors[order]) / np.arange(1, len(errors) + 1))
