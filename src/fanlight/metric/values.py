"""Each metric as a function of the faces' errors."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fanlight.distance import Floats, check_errors
from fanlight.metric.area import Rule
from fanlight.metric.key import Kind, Metric
from fanlight.resample import Faces, check_weights


def nme(errors: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Normalised mean error: the mean of the faces' errors (N,)."""
    return _mean(check_errors(errors, 1)[:, None], weights, "nme")


def failure_rate(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Share of the faces whose error (N,) is above the threshold; an error equal to it is no failure."""
    return _mean(check_errors(errors, 1)[:, None], weights, "fr", threshold)


def auc(
    errors: ArrayLike, threshold: float, rule: Rule = "trapezoid", weights: ArrayLike | None = None
) -> float:
    """Area under the cumulative error distribution up to a threshold, divided by the threshold.

    Numbers by different rules must not be compared:

    - ``trapezoid`` (the default, and that of the public FAN training code): straight lines from (0, 0) through
      (e_1, 1/N) ... (e_N, 1), cut at the threshold; flat after the last. With weights, the height after a face
      is the cumulative share of the weights; among equal errors the lightest face comes first, so that the
      order of the faces does not matter.
    - ``step``: the exact area under the staircase, smaller than ``trapezoid`` by 0.5/N where the threshold is
      one of the errors, else by a little less.
    - ``lua``: mean of the curve at 0, 1/999, 2/999 ... below the threshold (70 points for 0.07), counting errors
      strictly below; from the FAN paper's evaluation (Bulat and Tzimiropoulos 2017). About 0.7 points lower.
      That code also rounds landmarks to whole pixels, which is not done here.
    - ``simpson``: Simpson's rule on ``arange(0, T + 1e-4, 1e-4)``, from the code of ADNet and STAR.

    Args:
        errors: (N,), fractions.
        threshold: T, a fraction above 0.
        rule: see above.
        weights: (N,), >= 0; all equal when None.

    Returns:
        0 to 1, larger is better (``simpson`` may reach 1 + 1e-4/T).
    """
    return _mean(check_errors(errors, 1)[:, None], weights, "auc", threshold, rule)


def macc(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Mean accuracy: share of all landmarks with an error of at most t, averaged over t = T/100, 2T/100 ... T.

    Args:
        errors: (N, L), of every landmark.
        threshold: T, a fraction above 0.
        weights: (N,), one a face, which all its landmarks share; all equal when None.
    """
    return _mean(check_errors(errors, 2), weights, "macc", threshold)


def _mean(
    errors: Floats,
    weights: ArrayLike | None,
    kind: Kind,
    threshold: float | None = None,
    rule: Rule = "trapezoid",
) -> float:
    metric = Metric(kind, "box", threshold, rule, weighted=weights is not None)
    return float(Faces([metric.column(errors)], weights).values()[0])


def ced(errors: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Cumulative error distribution: the points that the trapezoid rule joins.

    Returns:
        errors: (N + 1,), 0 and the errors (N,) in ascending order; faces of weight 0 are left out.
        shares: (N + 1,), from 0 to 1, the share of the weights up to each.
    """
    errors = check_errors(errors, 1)
    weights = check_weights(weights, len(errors))
    order = np.lexsort((weights, errors))
    order = order[weights[order] > 0]
    return np.append(0.0, errors[order]), np.append(0.0, np.cumsum(weights[order]) / weights.sum())
