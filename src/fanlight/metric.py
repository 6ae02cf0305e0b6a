"""How good predicted landmarks are: NME, failure rate, CED, AUC and mean accuracy, each with its definition.

A metric's name carries everything needed to repeat it: ``auc_box_0.07`` is the area under the cumulative error
distribution up to 0.07, errors divided by the size of the true landmarks' bounding box, by the trapezoid rule.
Errors are fractions of the normaliser; percent exists in print only.

Weights are true weights everywhere: a face of weight 2 moves a mean twice as far, a face of weight 0 is not
there, and fractional weights are never rounded to repeats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import ArrayLike

from fanlight.distance import (
    NORMALISERS,
    Floats,
    Normaliser,
    check_errors,
    face_errors,
    normalise,
    point_errors,
    possible_normalisers,
)
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.resample import Column, Faces, check_weights

__all__ = [
    "Kind",
    "Metric",
    "Normaliser",
    "Rule",
    "auc",
    "ced",
    "face_errors",
    "failure_rate",
    "macc",
    "measure",
    "metric_key",
    "nme",
    "normalise",
    "point_errors",
    "possible_normalisers",
    "single",
    "summarise",
]

Kind = Literal["nme", "auc", "fr", "macc"]
Rule = Literal["trapezoid", "step", "lua", "simpson"]

SUMMARY_KEYS = (
    "nme_box",
    "nme_interocular",
    "auc_box_0.07",
    "auc_interocular_0.08",
    "fr_box_0.07",
    "fr_interocular_0.08",
    "macc_box_0.07",
)
PART_KEYS = ("nme_box", "nme_interocular", "macc_box_0.07")

_RULES: dict[Rule, str] = {
    "trapezoid": "trapezoid rule through (0, 0) and one point per face",
    "step": "exact area under the staircase",
    "lua": "mean of the curve on the grid i/999, as in the FAN paper's evaluation",
    "simpson": "Simpson's rule on a grid of 0.0001, as in ADNet and STAR",
}
_KEY = re.compile(
    rf"({'|'.join(get_args(Kind))})_({'|'.join(sorted(get_args(Normaliser), reverse=True))})"
    rf"(?:_(\d*\.?\d+))?(?:_({'|'.join(get_args(Rule))}))?"
)


@dataclass(frozen=True)
class Metric:
    """One metric with everything its number depends on.

    Attributes:
        kind: ``nme``, ``auc``, ``fr`` (failure rate) or ``macc`` (mean accuracy of the landmarks).
        normaliser: the length that errors are divided by.
        threshold: where a curve ends or a failure begins, a fraction; None for ``nme``.
        rule: how ``auc`` integrates.

    Raises:
        InputError: a threshold that is missing, superfluous or not above 0; a rule for anything but ``auc``.
    """

    kind: Kind
    normaliser: Normaliser = "box"
    threshold: float | None = None
    rule: Rule = "trapezoid"

    def __post_init__(self) -> None:
        if (self.threshold is None) != (self.kind == "nme"):
            need = "takes no threshold" if self.kind == "nme" else "needs a threshold, such as 0.07"
            raise InputError(f"metric {self.kind} {need}")
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise InputError(f"threshold {self.threshold}: expected a fraction above 0, such as 0.07")
        if self.rule not in _RULES or (self.rule != "trapezoid" and self.kind != "auc"):
            raise InputError(f"rule {self.rule!r} for {self.kind}: auc takes one of {', '.join(_RULES)}")

    @classmethod
    def parse(cls, key: str) -> Metric:
        """Read a key such as ``nme_box``, ``fr_interocular_0.08`` or ``auc_box_0.07_lua``.

        Raises:
            InputError: not a metric's key; the message shows the form of each.
        """
        try:
            kind, normaliser, threshold, rule = cast(re.Match[str], _KEY.fullmatch(key)).groups()
            return cls(
                cast(Kind, kind),
                cast(Normaliser, normaliser),
                float(threshold) if threshold else None,
                cast(Rule, rule or "trapezoid"),
            )
        except (AttributeError, InputError):
            raise InputError(
                f"{key!r} is no metric: write nme_NORMALISER, fr_NORMALISER_THRESHOLD, "
                "macc_NORMALISER_THRESHOLD or auc_NORMALISER_THRESHOLD[_RULE], as in auc_box_0.07; "
                f"normalisers are {', '.join(NORMALISERS)}; rules are {', '.join(_RULES)}"
            ) from None

    @property
    def key(self) -> str:
        """The metric's name in results; ``Metric.parse(metric.key) == metric``."""
        limit = () if self.threshold is None else (np.format_float_positional(self.threshold, trim="-"),)
        rule = () if self.rule == "trapezoid" else (self.rule,)
        return "_".join((self.kind, self.normaliser, *limit, *rule))

    @property
    def larger_is_better(self) -> bool:
        """True for areas and accuracies, False for errors and failures."""
        return self.kind in ("auc", "macc")

    @property
    def title(self) -> str:
        """A short heading, such as ``AUC@0.07 box``."""
        name = {"nme": "NME", "auc": "AUC", "fr": "FR", "macc": "mAcc"}[self.kind]
        limit = "" if self.threshold is None else f"@{self.threshold:g}"
        rule = "" if self.rule == "trapezoid" else f", {self.rule}"
        return f"{name}{limit} {self.normaliser.replace('_', ' ')}{rule}"

    @property
    def definition(self) -> str:
        """How the number is made, in one sentence without a full stop."""
        limit = self.threshold
        what = {
            "nme": "mean error, over the landmarks of a face, then over the faces",
            "auc": f"area under the cumulative distribution of the faces' errors up to {limit}, over {limit} "
            f"({_RULES[self.rule]})",
            "fr": f"share of the faces whose error is above {limit}",
            "macc": "share of all landmarks with an error of at most t, mean over 100 equal steps of t up to "
            f"{limit}",
        }[self.kind]
        return f"{what}; errors are divided by {NORMALISERS[self.normaliser]}"

    def column(self, errors: Floats) -> Column:
        """Score every face of (N, L) landmark errors; the metric is the mean score (see ``Column``)."""
        limit = self.threshold or 0.0
        if self.kind == "macc":
            steps = np.arange(1, 101) * limit / 100
            return Column((1 - np.searchsorted(steps, errors) / 100).mean(axis=1))
        faces = errors.mean(axis=1)
        if self.kind == "nme":
            return Column(faces)
        if self.kind == "fr":
            return Column((faces > limit).astype(np.float64))
        if self.rule == "lua":
            grid = np.arange(1000) / 999
            grid = grid[grid < limit]
            return Column(1 - np.searchsorted(grid, faces, side="right") / len(grid))
        if self.rule == "simpson":
            grid, weights = _simpson(limit)
            beyond = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
            return Column(beyond[np.searchsorted(grid, faces)] / limit)
        staircase = np.maximum(0.0, 1 - faces / limit)
        return Column(staircase) if self.rule == "step" else Column(staircase, faces, limit)


def _simpson(threshold: float, step: float = 1e-4) -> tuple[Floats, Floats]:
    """Grid and weights of Simpson's rule: sum(weights * y(grid)) is the integral of y.

    The grid is that of the published code, where rounding may add a step beyond the threshold (it does for 0.07,
    not for 0.08). A last interval without a partner is integrated along the parabola of the last three points.
    """
    grid = np.arange(0, threshold + step, step)
    intervals = len(grid) - 1
    if intervals < 2:
        raise InputError(f"threshold {threshold} is too small for Simpson's rule: at least {2 * step}")
    weights = np.zeros(len(grid))
    for start in range(0, intervals - 1, 2):
        weights[start : start + 3] += step * np.array([1, 4, 1]) / 3
    if intervals % 2:
        weights[-3:] += step * np.array([-1, 8, 5]) / 12
    return grid, weights


def metric_key(
    kind: Kind, normaliser: Normaliser, threshold: float | None = None, rule: Rule = "trapezoid"
) -> str:
    """Build a metric's key.

    >>> metric_key("auc", "box", 0.07), metric_key("nme", "interocular"), metric_key("auc", "box", 0.07, "lua")
    ('auc_box_0.07', 'nme_interocular', 'auc_box_0.07_lua')
    """
    return Metric(kind, normaliser, threshold, rule).key


def nme(errors: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Normalised mean error: the mean of the faces' errors (N,)."""
    return _mean(Metric("nme"), check_errors(errors, 1)[:, None], weights)


def failure_rate(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Share of the faces whose error (N,) is above the threshold; an error equal to it is no failure."""
    return _mean(Metric("fr", threshold=threshold), check_errors(errors, 1)[:, None], weights)


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
    return _mean(Metric("auc", "box", threshold, rule), check_errors(errors, 1)[:, None], weights)


def macc(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Mean accuracy: share of all landmarks with an error of at most t, averaged over t = T/100, 2T/100 ... T.

    Args:
        errors: (N, L), of every landmark.
        threshold: T, a fraction above 0.
        weights: (N,), one a face, which all its landmarks share; all equal when None.
    """
    return _mean(Metric("macc", threshold=threshold), check_errors(errors, 2), weights)


def _mean(metric: Metric, errors: Floats, weights: ArrayLike | None) -> float:
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


def single(
    key: str, predicted: ArrayLike, true: ArrayLike, markup: Markup, weights: ArrayLike | None = None
) -> float:
    """The value of one metric by its key, without an interval; see ``measure``."""
    return measure([key], predicted, true, markup, weights)[key]


def measure(
    keys: Sequence[str],
    predicted: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    weights: ArrayLike | None = None,
) -> dict[str, float]:
    """The values of several metrics without intervals, for logs and for ranking checkpoints.

    Args:
        keys: at least one, such as ``nme_box``; ``Metric.parse(key).larger_is_better`` says how to rank.
        predicted: (N, L, 2).
        true: (N, L, 2), same frame.
        markup: the mark-up of both.
        weights: (N,), >= 0; all equal when None.

    Raises:
        InputError: as ``normalise`` and ``point_errors``, or a key that is no metric.
    """
    metrics = [Metric.parse(key) for key in keys]
    errors = _errors_by_normaliser(metrics, predicted, true, markup)
    faces = Faces([metric.column(errors[metric.normaliser]) for metric in metrics], weights)
    return dict(zip(keys, faces.values().tolist(), strict=True))


def summarise(
    predicted: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    keys: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge predictions: every metric with its 95 % interval, for the whole face and for each part.

    The interval runs from the 2.5 % to the 97.5 % quantile of the metric over resamples of the faces (Efron's
    percentile bootstrap). Parts are normalised by the whole face.

    Args:
        predicted: (N, L, 2).
        true: (N, L, 2), same frame.
        markup: the mark-up of both.
        keys: metrics to give; None for ``SUMMARY_KEYS`` without those that the mark-up does not allow.
        weights: (N,), >= 0; all equal when None.
        bootstrap: number of resamples, >= 1.
        seed: of the resamples; the same seed draws the same faces, so two models compare in pairs.

    Returns:
        ``{"n": N, key: {"value", "low", "high"}, ..., "parts": {part: {key: {"value", "low", "high"}}}}``;
        faces of weight 0 do not count in ``n``.

    Raises:
        InputError: as ``measure``, or ``bootstrap`` below 1.
    """
    possible = possible_normalisers(markup)
    metrics = [Metric.parse(key) for key in keys or SUMMARY_KEYS]
    if keys is None:
        metrics = [metric for metric in metrics if metric.normaliser in possible]
    of_parts = [m for m in map(Metric.parse, PART_KEYS) if m.normaliser in possible]
    errors = _errors_by_normaliser([*metrics, *of_parts], predicted, true, markup)
    columns = [metric.column(errors[metric.normaliser]) for metric in metrics]
    for points in markup.parts.values():
        columns += [metric.column(errors[metric.normaliser][:, list(points)]) for metric in of_parts]
    faces = Faces(columns, weights)
    low, high = np.quantile(faces.resampled(bootstrap, seed), [0.025, 0.975], axis=0)
    rows = iter(np.column_stack([faces.values(), low, high]).tolist())

    def intervals(of: Sequence[Metric]) -> dict[str, dict[str, float]]:
        return {m.key: dict(zip(("value", "low", "high"), next(rows), strict=True)) for m in of}

    whole = intervals(metrics)
    return {"n": len(faces), **whole, "parts": {part: intervals(of_parts) for part in markup.parts}}


def _errors_by_normaliser(
    metrics: Sequence[Metric], predicted: ArrayLike, true: ArrayLike, markup: Markup
) -> dict[Normaliser, Floats]:
    """The landmarks' errors, (N, L), by each normaliser that the metrics use."""
    return {
        name: point_errors(predicted, true, normalise(true, markup, name))
        for name in dict.fromkeys(metric.normaliser for metric in metrics)
    }
