"""How many faces a variant's loader makes ready in a second of one core, target heatmaps included."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from fanlight.ablation.plan import Variant
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.data.faces import Faces
from fanlight.device import Team
from fanlight.loaders import training_feed
from fanlight.loss import AlignmentLoss
from fanlight.markup import Markup

ROUNDS, BATCHES = 9, 8


def faces_per_second(variants: Sequence[Variant], faces: Faces) -> Mapping[str, float]:
    """Time the variants' training batches with their target heatmaps, on one process of the CPU.

    The variants take turns, and time on the processor counts, so that what else the machine does disturbs little.

    Args:
        variants: trained ones.
        faces: the index.

    Returns:
        By variant, the faces a second of processor time in the middle one of ``ROUNDS`` rounds.
    """
    streams = {variant.name: _prepared(variant.recipe, faces) for variant in variants if variant.recipe}
    seconds: dict[str, list[float]] = {name: [] for name in streams}
    for _ in range(ROUNDS + 1):  # the first round opens files and fills caches
        for name, stream in streams.items():
            begin = time.process_time()
            count = sum(next(stream) for _ in range(BATCHES))
            seconds[name].append((time.process_time() - begin) / count)
    return {name: float(1 / np.median(taken[1:])) for name, taken in seconds.items()}


def _prepared(recipe: Recipe, faces: Faces) -> Iterator[int]:
    """Make one batch after the other ready, and give the number of its faces."""
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"workers": 0})})
    feed = training_feed(alone, faces, Markup.load(recipe.data.markup), Team(0, 1, torch.device("cpu")))
    loss = AlignmentLoss(recipe.loss, recipe.decoder)
    size = recipe.model.input_size // recipe.model.stride
    epoch = 0
    while True:
        feed.sampler.set_epoch(epoch, 0)
        for batch in feed.loader:
            yield _make_targets(loss, batch, size, recipe.model.input_size)
        epoch += 1


def _make_targets(loss: AlignmentLoss, batch: Batch, size: int, input_size: int) -> int:
    loss.targets(batch["landmarks"] * (size / input_size), size, batch["motion"])
    return len(batch["landmarks"])
