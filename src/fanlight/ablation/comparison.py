"""The figures of an ablation: every variant, and every claim as a difference on the same faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fanlight.ablation.plan import Ablation
from fanlight.data.dataset import FaceDataset
from fanlight.data.faces import Faces
from fanlight.distance import Floats
from fanlight.judging.predictions import Predictions
from fanlight.metric import Metric
from fanlight.metric.summary import errors_by_normaliser
from fanlight.resample import Column
from fanlight.resample import Faces as Judged

Found = Mapping[tuple[str, int], Predictions]  # by a variant's name and a seed
Figures = dict[str, Any]


def compare_variants(ablation: Ablation, index: Faces, found: Found, bootstrap: int = 2000) -> Figures:
    """Judge the predictions of all networks of an ablation.

    A variant's value is the mean over its seeds, and a claim's the mean of the differences, new minus old, of
    networks of the same seed. Intervals are those of the paired percentile bootstrap: a resample draws the same
    faces for all networks, whose values are then averaged over the seeds. They say how far the figures depend on
    the faces that happen to be judged; the figures by seed say how far they depend on the training's luck.

    Args:
        ablation: what is compared.
        index: holds the judged partitions.
        found: predictions of every variant and seed.
        bootstrap: number of resamples.

    Returns:
        ``{partition: {"faces": N, "variants": {name: {metric: e}}, "claims": {name: {metric: e}}}}``, where e is
        ``{"value", "low", "high", "seeds"}``, the last being a list of the values by seed.
    """
    return {
        name: _partition(ablation, index.select([name]), found, bootstrap) for name in ablation.settings.judge
    }


def _partition(ablation: Ablation, faces: Faces, found: Found, bootstrap: int) -> Figures:
    settings, networks = ablation.settings, list(found)
    metrics = [Metric.parse(key) for key in settings.metrics]
    columns: list[Column] = []
    for network in networks:
        columns += _columns(found[network], faces, metrics, settings.flip)
    judged = Judged(columns, faces.weights)
    draws = np.concatenate([judged.values()[None], judged.resampled(bootstrap, 0)])
    table = draws.reshape(len(draws), len(networks), len(metrics))  # its first row counts every face once

    def of(variant: str) -> Floats:
        return table[:, [at for at, (name, _) in enumerate(networks) if name == variant]]

    return {
        "faces": len(judged),
        "variants": {v.name: _estimates(of(v.name), settings.metrics) for v in ablation.variants},
        "claims": {
            name: _estimates(
                of(claim.new) - of(claim.old), settings.metrics
            )  # a given network has one seed only
            for name, claim in settings.claim.items()
        },
    }


def _columns(predictions: Predictions, faces: Faces, metrics: Sequence[Metric], flip: bool) -> list[Column]:
    """One network's errors in the faces, by each metric."""
    origin = predictions.origin
    predicted = predictions.of(faces, flip).landmarks(flip)
    true = FaceDataset(faces, origin.markup, origin.crop, origin.input_size).landmarks_image
    errors = errors_by_normaliser(metrics, predicted, true, origin.markup)
    return [metric.column(errors[metric.normaliser]) for metric in metrics]


def _estimates(table: Floats, keys: Sequence[str]) -> Figures:
    """(1 + R, S, M), all faces and R resamples of S seeds -> an estimate for each of M metrics."""
    means = table.mean(axis=1)
    low, high = np.quantile(means[1:], [0.025, 0.975], axis=0)
    return {
        key: {
            "value": float(means[0, at]),
            "low": float(low[at]),
            "high": float(high[at]),
            "seeds": table[0, :, at].tolist(),
        }
        for at, key in enumerate(keys)
    }
