"""How good predicted landmarks are: NME, failure rate, CED, AUC, mean accuracy, each with its definition.

A metric's name carries everything needed to repeat it: ``auc_box_0.07`` is the area under the cumulative error
distribution up to 0.07, errors divided by the size of the true landmarks' bounding box, by the trapezoid rule.
Errors are fractions of the normaliser; percent exists in print only.

Every metric here is a weighted mean, over faces, of a score that depends on one face alone, except the area by
the trapezoid rule, which adds the triangles between the polyline and the staircase. So values and bootstrap
resamples share one code path: a resample only changes how often a face counts.

Weights are true weights everywhere: a face of weight 2 moves a mean twice as far, and a face of weight 0 is
not there. Fractional weights are never rounded to repeats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.markup import Markup

from typing import Literal

Floats = NDArray[np.float64]
Kind = Literal["nme", "auc", "fr", "macc"]
Normaliser = Literal["box", "interocular", "interpupil", "box_diagonal", "box_height"]
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

_NORMALISER_TEXT = {
    "box": "sqrt(width x height) of the true landmarks' bounding box",
    "interocular": "the distance of the true outer eye corners",
    "interpupil": "the distance of the true eye centres",
    "box_diagonal": "the diagonal of the true landmarks' bounding box",
    "box_height": "the height of the true landmarks' bounding box",
}
_RULE_TEXT = {
    "trapezoid": "trapezoid rule through (0, 0) and one point per face",
    "step": "exact staircase",
    "lua": "mean of the curve over the grid i/999 below the threshold, as in the FAN paper's Lua code",
    "simpson": "Simpson's rule on a grid of 0.0001, as in STAR and ADNet",
}
_KEY = re.compile(
    rf"(?P<kind>{'|'.join(get_args(Kind))})"
    rf"_(?P<normaliser>{'|'.join(sorted(get_args(Normaliser), key=len, reverse=True))})"
    rf"(?:_(?P<threshold>\d*\.?\d+))?(?:_(?P<rule>{'|'.join(get_args(Rule))}))?"
)


@dataclass(frozen=True)
class Metric:
    """One metric with everything its number depends on.

    Attributes:
        kind: ``nme``, ``auc``, ``fr`` (failure rate) or ``macc`` (mean accuracy of the points).
        normaliser: the length that errors are divided by.
        threshold: where a curve ends or a failure begins, a fraction; None for ``nme``.
        rule: how ``auc`` integrates.
    """

    kind: Kind
    normaliser: Normaliser
    threshold: float | None = None
    rule: Rule = "trapezoid"

    def __post_init__(self) -> None:
        if (self.threshold is None) != (self.kind == "nme"):
            raise InputError(f"{self.kind} {'takes no' if self.kind == 'nme' else 'needs a'} threshold")
        if self.threshold is not None:
            _check_threshold(self.threshold)

    @classmethod
    def parse(cls, key: str) -> Metric:
        """Read a key such as ``nme_box``, ``fr_interocular_0.08`` or ``auc_box_0.07_lua``.

        Raises:
            InputError: not a metric's key; the message shows the form of each.
        """
        found = _KEY.fullmatch(key)
        threshold = found and found["threshold"]
        known = found and bool(threshold) == (found["kind"] != "nme")
        if not found or not known or (found["rule"] and found["kind"] != "auc"):
            raise InputError(
                f"{key!r} is no metric: write nme_NORMALISER, fr_NORMALISER_THRESHOLD, macc_NORMALISER_THRESHOLD "
                "or auc_NORMALISER_THRESHOLD[_RULE], as in auc_box_0.07; normalisers are "
                f"{', '.join(get_args(Normaliser))}; rules are {', '.join(get_args(Rule))}"
            )
        return cls(
            found["kind"],  # type: ignore[arg-type]
            found["normaliser"],  # type: ignore[arg-type]
            float(threshold) if threshold else None,
            found["rule"] or "trapezoid",  # type: ignore[arg-type]
        )

    @property
    def key(self) -> str:
        """The metric's name in results; ``Metric.parse(metric.key) == metric``."""
        return metric_key(self.kind, self.normaliser, self.threshold, self.rule)

    @property
    def larger_is_better(self) -> bool:
        """True for areas and accuracies, False for errors and failures."""
        return self.kind in ("auc", "macc")

    @property
    def title(self) -> str:
        """A short heading, such as ``AUC@0.07 box``."""
        name = {"nme": "NME", "auc": "AUC", "fr": "FR", "macc": "mAcc"}[self.kind]
        limit = f"@{self.threshold:g}" if self.threshold is not None else ""
        rule = f", {self.rule}" if self.rule != "trapezoid" else ""
        return f"{name}{limit} {self.normaliser.replace('_', ' ')}{rule}"

    @property
    def definition(self) -> str:
        """One sentence that says how the number is made."""
        what = {
            "nme": "mean error: over the landmarks of a face, then over faces",
            "auc": f"area under the cumulative distribution of the faces' errors up to {self.threshold}, divided "
            f"by {self.threshold}; {_RULE_TEXT[self.rule]}",
            "fr": f"share of faces whose error is above {self.threshold}",
            "macc": f"share of landmarks within a threshold, mean over 100 equal steps up to {self.threshold}",
        }[self.kind]
        return f"{what}; errors divided by {_NORMALISER_TEXT[self.normaliser]}"


def metric_key(
    kind: Kind, normaliser: Normaliser, threshold: float | None = None, rule: Rule = "trapezoid"
) -> str:
    """Build a metric's key.

    >>> metric_key("auc", "box", 0.07), metric_key("nme", "interocular"), metric_key("auc", "box", 0.07, "lua")
    ('auc_box_0.07', 'nme_interocular', 'auc_box_0.07_lua')
    """
    limit = () if threshold is None else (np.format_float_positional(threshold, trim="-"),)
    return "_".join((kind, normaliser, *limit, *(() if rule == "trapezoid" else (rule,))))


def possible_normalisers(markup: Markup) -> tuple[Normaliser, ...]:
    """The normalisers that a mark-up allows: box sizes always, eye distances where it has the points."""
    lacking = {
        "interocular": not markup.eye_corners,
        "interpupil": not (markup.pupils and all(markup.pupils)),
    }
    return tuple(name for name in get_args(Normaliser) if not lacking.get(name, False))


def normalise(landmarks_true: ArrayLike, markup: Markup, normaliser: Normaliser = "box") -> Floats:
    """Measure the length that each face's errors are divided by.

    Args:
        landmarks_true: (N, L, 2), true landmarks, any frame and unit.
        markup: knows the eye corners and the points of each eye.
        normaliser: ``box`` = sqrt(w * h) of the landmarks' bounding box, ``box_diagonal`` and ``box_height`` of
            the same box, ``interocular`` = outer eye corners, ``interpupil`` = eye centres (mean of an eye's
            points).

    Returns:
        (N,), in the landmarks' unit, > 0.

    Raises:
        InputError: the mark-up lacks the points (the message lists what is possible), the landmark count is
            not the mark-up's, or a face has no extent.
    """
    landmarks = _landmarks(landmarks_true, "true")
    if landmarks.shape[1] != len(markup.points):
        raise InputError(
            f"{landmarks.shape[1]} landmarks a face, but mark-up {markup.name} has {len(markup.points)}"
        )
    possible = possible_normalisers(markup)
    if normaliser not in possible:
        reason = (
            "has no such points"
            if normaliser in get_args(Normaliser)
            else "cannot: there is no such normaliser"
        )
        raise InputError(
            f"normaliser {normaliser!r}: mark-up {markup.name} {reason}; use {', '.join(possible)}"
        )
    if normaliser.startswith("box"):
        width, height = np.moveaxis(np.ptp(landmarks, axis=1), -1, 0)
        lengths = {
            "box": np.sqrt(width * height),
            "box_diagonal": np.hypot(width, height),
            "box_height": height,
        }[normaliser]
    elif normaliser == "interocular":
        right, left = markup.eye_corners  # type: ignore[misc]
        lengths = np.linalg.norm(landmarks[:, right] - landmarks[:, left], axis=-1)
    else:
        right_eye, left_eye = (landmarks[:, list(eye)].mean(1) for eye in markup.pupils)  # type: ignore[union-attr]
        lengths = np.linalg.norm(right_eye - left_eye, axis=-1)
    if not (lengths > 0).all():
        raise InputError(
            f"normaliser {normaliser!r} is 0 for face {int(np.argmin(lengths))} (counted from 0): "
            "its true landmarks coincide; correct or leave out its label"
        )
    return np.asarray(lengths, np.float64)


def point_errors(predicted: ArrayLike, true: ArrayLike, lengths: ArrayLike) -> Floats:
    """Euclidean distance of every landmark, divided by its face's normalising length.

    Args:
        predicted: (N, L, 2), in the frame of ``true``.
        true: (N, L, 2).
        lengths: (N,), from :func:`normalise`, > 0.

    Returns:
        (N, L), fractions.

    Raises:
        InputError: shapes differ, no face, or a value that is not finite.
    """
    predicted, true = _landmarks(predicted, "predicted"), _landmarks(true, "true")
    lengths = np.asarray(lengths, np.float64)
    if predicted.shape != true.shape or lengths.shape != true.shape[:1]:
        raise InputError(
            f"predicted landmarks {predicted.shape}, true landmarks {true.shape} and lengths {lengths.shape} "
            "do not match: expected (N, L, 2), (N, L, 2) and (N,)"
        )
    if not (lengths > 0).all() or not np.isfinite(lengths).all():
        raise InputError("normalising lengths must be finite and above 0")
    return np.linalg.norm(predicted - true, axis=-1) / lengths[:, None]


def face_errors(errors: ArrayLike, part: Sequence[int] | None = None) -> Floats:
    """Mean error of each face, (N, L) -> (N,), over all landmarks or those of a part."""
    errors = _errors(errors, 2)
    return np.asarray((errors if part is None else errors[:, list(part)]).mean(axis=1))


def nme(errors: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Normalised mean error: the mean of the faces' errors (N,)."""
    return _one(Metric("nme", "box"), _errors(errors, 1)[:, None], weights)


def failure_rate(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Share of faces whose error (N,) is above the threshold; an error equal to it is no failure."""
    return _one(Metric("fr", "box", threshold), _errors(errors, 1)[:, None], weights)


def auc(
    errors: ArrayLike, threshold: float, rule: Rule = "trapezoid", weights: ArrayLike | None = None
) -> float:
    """Area under the cumulative error distribution up to a threshold, divided by the threshold.

    The rules differ in the third digit, so numbers by different rules must not be compared:

    - ``trapezoid`` (the default, and that of the public FAN training code): straight lines from (0, 0) through
      (e_1, 1/N) ... (e_N, 1), cut at the threshold; flat after the last. With weights, the height after a face
      is the cumulative share of the weights; among equal errors the lightest face comes first, so that the
      order of the faces does not matter.
    - ``step``: the exact area under the staircase; smaller than ``trapezoid`` by at most 0.5/N.
    - ``lua``: mean of the curve at i/999 below the threshold (70 of them for 0.07), errors strictly below;
      from the FAN paper's evaluation (Bulat and Tzimiropoulos 2017), which besides rounds landmarks to whole
      pixels (that is not done here).
    - ``simpson``: Simpson's rule over ``arange(0, T + 1e-4, 1e-4)`` as published with ADNet and STAR, an odd
      last interval taken by the parabola through the last three points.

    Args:
        errors: (N,), fractions.
        threshold: > 0, a fraction.
        rule: see above.
        weights: (N,), >= 0.

    Returns:
        About 0 to 1, larger is better.
    """
    return _one(Metric("auc", "box", threshold, rule), _errors(errors, 1)[:, None], weights)


def macc(errors: ArrayLike, threshold: float, weights: ArrayLike | None = None) -> float:
    """Mean accuracy: share of all landmarks within t, averaged over t = T/100, 2T/100, ..., T.

    Args:
        errors: (N, L), of every landmark.
        threshold: T, > 0, a fraction.
        weights: (N,), one a face, which all its landmarks share.
    """
    return _one(Metric("macc", "box", threshold), _errors(errors, 2), weights)


def ced(errors: ArrayLike, weights: ArrayLike | None = None) -> tuple[Floats, Floats]:
    """Cumulative error distribution: the points that the trapezoid rule joins.

    Returns:
        errors: (N + 1,), 0 and the errors in ascending order; faces of weight 0 are left out.
        shares: (N + 1,), from 0 to 1, the share of the weights at or below each.
    """
    errors = _errors(errors, 1)
    weights = _weights(weights, len(errors))
    order = np.lexsort((weights, errors))
    order = order[weights[order] > 0]
    return np.append(0.0, errors[order]), np.append(0.0, np.cumsum(weights[order]) / weights.sum())


def single(
    key: str, predicted: ArrayLike, true: ArrayLike, markup: Markup, weights: ArrayLike | None = None
) -> float:
    """The value of one metric by its key, without an interval: see :func:`measure`."""
    return measure([key], predicted, true, markup, weights)[key]


def measure(
    keys: Sequence[str],
    predicted: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    weights: ArrayLike | None = None,
) -> dict[str, float]:
    """The values of several metrics, without intervals, for logs and for ranking checkpoints.

    Args:
        keys: such as ``nme_box``; :meth:`Metric.parse` says which exist, ``Metric.larger_is_better`` how to rank.
        predicted: (N, L, 2).
        true: (N, L, 2), same frame.
        markup: the mark-up of both.
        weights: (N,), >= 0; all equal when None.

    Raises:
        InputError: as :func:`normalise` and :func:`point_errors`, or a key that is no metric.
    """
    columns = _columns([Metric.parse(key) for key in keys], predicted, true, markup)
    row = _values(columns, _weights(weights, len(columns[0].scores)))[0] if columns else []
    return {key: float(value) for key, value in zip(keys, row, strict=True)}


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

    The interval is the 2.5 % and 97.5 % quantile of the metric over resamples of the faces (Efron's percentile
    bootstrap). Parts are normalised by the whole face.

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
        InputError: as :func:`measure`, or ``bootstrap`` below 1.
    """
    possible = possible_normalisers(markup)
    metrics = [Metric.parse(key) for key in keys or SUMMARY_KEYS]
    part_metrics = [Metric.parse(key) for key in PART_KEYS]
    if keys is None:
        metrics = [metric for metric in metrics if metric.normaliser in possible]
    part_metrics = [metric for metric in part_metrics if metric.normaliser in possible]
    columns = _columns(metrics, predicted, true, markup)
    names: list[tuple[str | None, str]] = [(None, metric.key) for metric in metrics]
    for part, points in markup.parts.items():
        columns += _columns(part_metrics, predicted, true, markup, points)
        names += [(part, metric.key) for metric in part_metrics]
    shares = _weights(weights, len(columns[0].scores))
    values = _values(columns, shares)[0]
    low, high = np.quantile(_resampled(columns, shares, bootstrap, seed), [0.025, 0.975], axis=0)
    summary: dict[str, Any] = {"n": int((shares > 0).sum())}
    parts: dict[str, dict[str, Any]] = {part: {} for part in markup.parts}
    for j, (part_name, key) in enumerate(names):
        target = summary if part_name is None else parts[part_name]
        target[key] = {"value": float(values[j]), "low": float(low[j]), "high": float(high[j])}
    return {**summary, "parts": parts}


@dataclass(frozen=True)
class _Column:
    """A metric of N faces, ready to be averaged: scores (N,), and for a trapezoid its errors and threshold."""

    scores: Floats
    ramp_errors: Floats | None = None
    threshold: float = 1.0


def _column(metric: Metric, errors: Floats) -> _Column:
    """Score each face of (N, L) errors so that the metric is the mean score (plus, for a trapezoid, its ramps)."""
    limit = metric.threshold or 1.0
    if metric.kind == "macc":
        steps = np.arange(1, 101) * limit / 100
        return _Column((1 - np.searchsorted(steps, errors) / 100).mean(axis=1))
    faces = errors.mean(axis=1)
    if metric.kind == "nme":
        return _Column(faces)
    if metric.kind == "fr":
        return _Column((faces > limit).astype(np.float64))
    if metric.rule == "lua":
        grid = np.arange(1000) / 999
        grid = grid[grid < limit]
        return _Column(1 - np.searchsorted(grid, faces, side="right") / len(grid))
    if metric.rule == "simpson":
        grid, parabola = _simpson(limit)
        tail = np.append(np.cumsum(parabola[::-1])[::-1], 0.0)
        return _Column(tail[np.searchsorted(grid, faces)] / limit)
    return _Column(np.maximum(0, 1 - faces / limit), faces if metric.rule == "trapezoid" else None, limit)


def _simpson(threshold: float, step: float = 1e-4) -> tuple[Floats, Floats]:
    """Grid and integration weights of Simpson's rule; sum(weights * y) is the integral of y."""
    grid = np.arange(0, threshold + step, step)
    intervals = len(grid) - 1
    if intervals < 2:
        raise InputError(f"threshold {threshold} is too small for Simpson's rule: at least {2 * step}")
    weights = np.zeros(len(grid))
    even = intervals - intervals % 2
    weights[:even:2] += step / 3
    weights[1:even:2] += 4 * step / 3
    weights[2 : even + 1 : 2] += step / 3
    if intervals % 2:
        weights[-3:] += step * np.array([-1 / 12, 2 / 3, 5 / 12])
    return grid, weights


def _columns(
    metrics: Sequence[Metric],
    predicted: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    points: Sequence[int] | None = None,
) -> list[_Column]:
    """One column per metric, distances and lengths measured once per normaliser."""
    errors = {
        name: point_errors(predicted, true, normalise(true, markup, name))
        for name in dict.fromkeys(metric.normaliser for metric in metrics)
    }
    chosen = slice(None) if points is None else list(points)
    return [_column(metric, errors[metric.normaliser][:, chosen]) for metric in metrics]


def _one(metric: Metric, errors: Floats, weights: ArrayLike | None) -> float:
    return float(_values([_column(metric, errors)], _weights(weights, len(errors)))[0, 0])


def _values(columns: Sequence[_Column], weights: Floats, counts: NDArray[Any] | None = None) -> Floats:
    """The metrics, (R, M), when face i counts ``counts[r, i]`` times; once each when None."""
    if counts is None:
        counts = np.ones((1, len(weights)), np.int64)
    weighted = counts * weights
    total = weighted.sum(axis=1)
    table = weighted @ np.column_stack([column.scores for column in columns]) / total[:, None]
    for j, column in enumerate(columns):
        if column.ramp_errors is not None:
            table[:, j] += (
                _ramps(column.ramp_errors, weights, counts, column.threshold) / total / column.threshold
            )
    return np.asarray(table)


def _ramps(errors: Floats, weights: Floats, counts: NDArray[Any], threshold: float) -> Floats:
    """Area between the polyline of the trapezoid rule and the staircase, times the total weight.

    Towards each face that is there, the line climbs that face's weight over the gap to the face before: half
    weight x gap. A face drawn twice climbs its second weight on the spot, over no gap. The line that crosses
    the threshold adds the part of its triangle before it.
    """
    order = np.lexsort((weights, errors))
    order = order[weights[order] > 0]
    errors, weights, there = errors[order], weights[order], counts[:, order] > 0
    inside = int(np.searchsorted(errors, threshold, side="right"))
    reached = np.maximum.accumulate(np.where(there[:, :inside], errors[:inside], 0.0), axis=1)
    area = np.diff(reached, axis=1, prepend=0.0) @ weights[:inside] / 2
    if inside < len(errors):
        last = reached[:, -1] if inside else np.zeros(len(there))
        rows, following = np.arange(len(there)), inside + there[:, inside:].argmax(axis=1)
        triangle = weights[following] * (threshold - last) ** 2 / (errors[following] - last) / 2
        area += np.where(there[rows, following], triangle, 0.0)
    return np.asarray(area)


def _resampled(columns: Sequence[_Column], weights: Floats, resamples: int, seed: int) -> Floats:
    """The metrics, (resamples, M), of faces drawn with replacement; a few million draws at a time."""
    if resamples < 1:
        raise InputError(f"{resamples} bootstrap resamples: at least 1 is needed")
    kept = weights > 0
    columns = [
        _Column(c.scores[kept], None if c.ramp_errors is None else c.ramp_errors[kept], c.threshold)
        for c in columns
    ]
    faces = int(kept.sum())
    generator = np.random.default_rng(seed)
    chunk = max(1, 1_000_000 // faces)
    tables = []
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = generator.integers(0, faces, (rows, faces)) + faces * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * faces).reshape(rows, faces)
        tables.append(_values(columns, weights[kept], counts))
    return np.concatenate(tables)


def _landmarks(values: ArrayLike, what: str) -> Floats:
    landmarks = np.asarray(values, np.float64)
    if landmarks.ndim != 3 or landmarks.shape[-1] != 2 or 0 in landmarks.shape:
        raise InputError(
            f"{what} landmarks have the shape {landmarks.shape}: expected (N, L, 2) with N, L >= 1"
        )
    bad = ~np.isfinite(landmarks).all(axis=(1, 2))
    if bad.any():
        raise InputError(
            f"{what} landmarks of {int(bad.sum())} of {len(bad)} faces are not finite, the first is face "
            f"{int(bad.argmax())} (counted from 0): no metric is defined for them"
        )
    return landmarks


def _errors(values: ArrayLike, dimensions: int) -> Floats:
    errors = np.asarray(values, np.float64)
    if errors.ndim != dimensions or 0 in errors.shape:
        expected = "(N,), one a face" if dimensions == 1 else "(N, L), one a landmark"
        raise InputError(f"errors have the shape {errors.shape}: expected {expected}, not empty")
    if not np.isfinite(errors).all() or (errors < 0).any():
        raise InputError("errors must be finite and not negative; at least one is not")
    return errors


def _weights(values: ArrayLike | None, faces: int) -> Floats:
    if values is None:
        return np.ones(faces)
    weights = np.asarray(values, np.float64)
    if weights.shape != (faces,):
        raise InputError(f"weights have the shape {weights.shape}: expected one a face, ({faces},)")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputError("weights must be finite, not negative, and not all 0")
    return weights


def _check_threshold(threshold: float) -> None:
    if not (np.isfinite(threshold) and threshold > 0):
        raise InputError(f"threshold {threshold}: expected a fraction above 0, such as 0.07")
