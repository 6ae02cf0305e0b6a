"""Judging predictions by many metrics at once, each with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fanlight.distance import Floats, Normaliser, normalise, point_errors, possible_normalisers
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.metric.area import Rule
from fanlight.metric.key import Metric
from fanlight.resample import Faces

BOOTSTRAP, BOOTSTRAP_SEED = 1000, 0  # resamples of the faces, and what they are drawn with
SUMMARY_KEYS = (
    "nme_box",
    "nme_interocular",
    "auc_box_0.07",
    "auc_interocular_0.08",
    "fr_box_0.07",
    "fr_interocular_0.08",
    "macc_box_0.07",
)
USUAL_THRESHOLDS: dict[Normaliser, float] = {
    "box": 0.07,
    "interocular": 0.08,
    "interpupil": 0.08,
    "box_diagonal": 0.07,
    "box_height": 0.07,
}
PART_KEYS = ("nme_box", "nme_interocular", "macc_box_0.07")


def usual_keys(markup: Markup, keys: Sequence[str] = SUMMARY_KEYS) -> list[str]:
    """Those of some metrics that a mark-up allows; by default those that every evaluation gives."""
    possible = possible_normalisers(markup)
    return [key for key in keys if Metric.parse(key).normaliser in possible]


def asked_keys(
    markup: Markup,
    normalisers: Sequence[Normaliser] = (),
    thresholds: Sequence[float] = (),
    rules: Sequence[Rule] = (),
    weighted: bool = False,
) -> list[str]:
    """The usual metrics, and after them every one that some normalisers, thresholds and rules make together.

    What is not given is filled in: the usual normalisers, each one's usual threshold (``USUAL_THRESHOLDS``), the
    trapezoid rule. Rules alone add areas only. Weighted forms of all of these come last.

    Args:
        markup: must allow the normalisers.
        normalisers: lengths that errors are divided by.
        thresholds: fractions above 0.
        rules: of ``auc``.
        weighted: also give each metric with the faces counted by their weights.

    Returns:
        Keys, each once.

    Raises:
        InputError: the mark-up lacks the points for a normaliser, or a threshold is not above 0.
    """
    keys = usual_keys(markup)
    possible = possible_normalisers(markup)
    lacking = [name for name in normalisers if name not in possible]
    if lacking:
        raise InputError(
            f"normaliser {', '.join(lacking)}: not possible with the mark-up {markup.name}; "
            f"use {', '.join(possible)}"
        )
    asked = normalisers or thresholds or rules
    lengths = normalisers or [name for name in ("box", "interocular") if name in possible]
    for name in lengths if asked else ():
        keys += [Metric("nme", name).key]
        for limit in thresholds or [USUAL_THRESHOLDS[name]]:
            keys += [Metric("auc", name, limit, rule).key for rule in rules or ("trapezoid",)]
            if normalisers or thresholds:
                keys += [Metric("fr", name, limit).key, Metric("macc", name, limit).key]
    keys = list(dict.fromkeys(keys))
    return [*keys, *(replace(Metric.parse(key), weighted=True).key for key in keys)] if weighted else keys


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
        weights: (N,), >= 0, for metrics that are weighted; others heed only that a face of weight 0 is not there.

    Raises:
        InputError: as ``normalise`` and ``point_errors``, a key that is no metric, or one that is weighted where
            there are no weights.
    """
    metrics = [Metric.parse(key) for key in keys]
    errors = errors_by_normaliser(metrics, predicted, true, markup)
    faces = Faces([metric.column(errors[metric.normaliser]) for metric in metrics], weights)
    return dict(zip(keys, faces.values().tolist(), strict=True))


def summarise(
    predicted: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    keys: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = BOOTSTRAP_SEED,
) -> dict[str, Any]:
    """Judge predictions: every metric with its 95 % interval, for the whole face and for each part.

    The interval runs from the 2.5 % to the 97.5 % quantile of the metric over resamples of the faces (Efron's
    percentile bootstrap). Parts are normalised by the whole face.

    Args:
        predicted: (N, L, 2).
        true: (N, L, 2), same frame.
        markup: the mark-up of both.
        keys: metrics to give; None for ``SUMMARY_KEYS`` without those that the mark-up does not allow.
        weights: as for ``measure``.
        bootstrap: number of resamples, >= 1.
        seed: of the resamples; the same seed draws the same faces, so two models compare in pairs.

    Returns:
        ``{"n": N, key: {"value", "low", "high"}, ..., "parts": {part: {key: {"value", "low", "high"}}}}``;
        faces of weight 0 do not count in ``n``.

    Raises:
        InputError: as ``measure``, or ``bootstrap`` below 1.
    """
    metrics = [Metric.parse(key) for key in keys or usual_keys(markup)]
    of_parts = [Metric.parse(key) for key in usual_keys(markup, PART_KEYS)]
    errors = errors_by_normaliser([*metrics, *of_parts], predicted, true, markup)
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


def errors_by_normaliser(
    metrics: Sequence[Metric], predicted: ArrayLike, true: ArrayLike, markup: Markup
) -> dict[Normaliser, Floats]:
    """The landmarks' errors, (N, L), by each normaliser that the metrics use."""
    return {
        name: point_errors(predicted, true, normalise(true, markup, name))
        for name in dict.fromkeys(metric.normaliser for metric in metrics)
    }
