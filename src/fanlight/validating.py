"""Judging a network between two steps of its training."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fanlight.data.dataset import Batch
from fanlight.distance import possible_normalisers
from fanlight.judging.evaluate import predict_loader
from fanlight.metric import measure
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from fanlight.training_state import TrainingState


def validation_metrics(state: TrainingState, batches: Iterable[Batch]) -> dict[str, float]:
    """Metrics of the averaged weights, each validation face counted once over all processes.

    Args:
        state: of the training; running statistics become those of the leading process.
        batches: this process's share of the validation faces.

    Returns:
        The usual metrics, and the one that checkpoints are ranked by, by their keys.
    """
    team, flip, dataset = state.team, state.recipe.train.flip, state.val_feed.dataset
    team.follow_leader(state.learner.average.weights().values())
    predictor = Predictor(TorchNetwork(state.checkpoint({}, {}), team.device))
    with state.learner.autocast():
        found = predict_loader(predictor, batches, flip)
    gathered = team.gather((found.positions, found.landmarks(flip)))
    positions, predicted = (np.concatenate(parts) for parts in zip(*gathered, strict=True))
    normalisers = [n for n in ("box", "interocular") if n in possible_normalisers(state.markup)]
    keys = [f"nme_{n}" for n in normalisers] + ["auc_box_0.07", "fr_box_0.07", "macc_box_0.07"]
    keys = list(dict.fromkeys([*keys, state.recipe.train.rank_by]))
    truth, weights = dataset.landmarks_image[positions], dataset.faces.weights[positions]
    return measure(keys, predicted, truth, state.markup, weights)
