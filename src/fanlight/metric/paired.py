"""Two sets of predictions of the same faces, compared in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fanlight.distance import Floats
from fanlight.markup import Markup
from fanlight.metric.key import Metric
from fanlight.metric.summary import BOOTSTRAP, BOOTSTRAP_SEED, errors_by_normaliser, usual_keys
from fanlight.resample import Column, Faces

SHARE = Metric("nme", "box")  # by which one of two predictions of a face is called the better
EQUAL = 1e-5  # of the box: errors closer than this are equal, or the same weights in two engines would differ


def compare(
    first: ArrayLike,
    second: ArrayLike,
    true: ArrayLike,
    markup: Markup,
    keys: Sequence[str] | None = None,
    weights: ArrayLike | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = BOOTSTRAP_SEED,
) -> dict[str, Any]:
    """Compare predictions A and B, with intervals of the difference over the faces they share.

    Each resample draws the same faces for A and for B, so that what makes a face hard for both cancels: the
    interval of the difference is usually much narrower than the two intervals suggest.

    Args:
        first: (N, L, 2), predictions A.
        second: (N, L, 2), predictions B, same faces in the same order.
        true: (N, L, 2), same frame.
        markup: the mark-up of all.
        keys: metrics to give; None for the usual ones.
        weights: as for ``measure``.
        bootstrap: number of resamples, >= 1.
        seed: of the resamples.

    Returns:
        ``{"n": N, "metrics": {key: {"a": i, "b": i, "difference": i}}, "a_better": i, "b_better": i}`` where
        each i is ``{"value", "low", "high"}``. A difference is B minus A. ``b_better`` is the share of the faces
        whose error (box) is smaller by B, whatever their weights; faces equal within ``EQUAL`` count for
        neither.

    Raises:
        InputError: as ``measure``, or ``bootstrap`` below 1.

    Source: the paired percentile bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, 1993.
    """
    metrics = [Metric.parse(key) for key in keys or usual_keys(markup)]
    both = [errors_by_normaliser([*metrics, SHARE], predicted, true, markup) for predicted in (first, second)]
    columns = [m.column(errors[m.normaliser]) for errors in both for m in metrics]
    faces_a, faces_b = (SHARE.column(errors["box"]).scores for errors in both)
    gain = faces_a - faces_b
    columns += [Column((gain < -EQUAL).astype(float)), Column((gain > EQUAL).astype(float))]
    faces = Faces(columns, weights)
    values = _with_differences(faces.values()[None], len(metrics))
    low, high = np.quantile(
        _with_differences(faces.resampled(bootstrap, seed), len(metrics)), [0.025, 0.975], axis=0
    )
    rows = [
        dict(zip(("value", "low", "high"), row, strict=True))
        for row in np.column_stack([values[0], low, high]).tolist()
    ]
    count = len(metrics)
    return {
        "n": len(faces),
        "metrics": {
            metric.key: {"a": rows[i], "b": rows[count + i], "difference": rows[2 * count + i]}
            for i, metric in enumerate(metrics)
        },
        "a_better": rows[-2],
        "b_better": rows[-1],
    }


def _with_differences(table: Floats, count: int) -> Floats:
    """(R, 2 M + 2) -> (R, 3 M + 2): the metrics of A, of B, B minus A, and the two shares."""
    a, b, shares = table[:, :count], table[:, count : 2 * count], table[:, 2 * count :]
    return np.concatenate([a, b, b - a, shares], axis=1)
