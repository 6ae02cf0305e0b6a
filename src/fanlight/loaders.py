"""The loaders of a run: its training and its validation faces, shared out among its processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch.utils.data import DataLoader

from fanlight.config import Recipe
from fanlight.data.augment import Augmentation
from fanlight.data.dataset import Batch, EpochSampler, FaceDataset, make_loader
from fanlight.data.faces import Faces
from fanlight.data.shard_order import ShardSampler
from fanlight.device import Team
from fanlight.environment import whole_number
from fanlight.errors import InputError
from fanlight.markup import Markup

VAL_BATCH = 32  # faces per process that validation runs through the network at once


@dataclass(frozen=True)
class Feed:
    """A data set and the batches of it that this process gets.

    Attributes:
        dataset: the faces.
        sampler: which of them make a batch.
        workers: loader processes; 0 loads in this one.
        pinned: batches lie in pinned memory, for a CUDA device.
    """

    dataset: FaceDataset
    sampler: EpochSampler | ShardSampler
    workers: int
    pinned: bool

    @cached_property
    def loader(self) -> DataLoader[Batch]:
        """Batches by the sampler; its processes live as long as the feed."""
        return make_loader(self.dataset, self.sampler, self.workers, self.pinned)

    def at_size(self, input_size: int) -> Feed:
        """The same batches as crops of this side; itself where they are that already."""
        if input_size == self.dataset.input_size:
            return self
        return replace(self, dataset=self.dataset.at_size(input_size))


def training_feed(recipe: Recipe, index: Faces, markup: Markup, team: Team) -> Feed:
    """Augmented faces of the recipe's train partitions, in an order drawn for each epoch.

    Raises:
        InputError: the batch cannot be shared out, or the faces cannot be used.
    """
    settings = recipe.train
    step = team.size * settings.accumulate
    if settings.batch_size % step:
        raise InputError(
            f"train.batch_size = {settings.batch_size} cannot be shared by {team.size} processes with "
            f"train.accumulate = {settings.accumulate}: take a multiple of {step}"
        )
    size = recipe.model.input_size
    augmentation = Augmentation(recipe.augment, size, markup.mirror)
    faces = _repeat(index.select(recipe.data.train), recipe.data.repeat)
    dataset = FaceDataset(faces, markup, recipe.crop, size, augmentation, settings.seed)
    sampler = _order(recipe, index, faces, team)
    return Feed(dataset, sampler, settings.workers, team.device.type == "cuda")


def _order(recipe: Recipe, index: Faces, faces: Faces, team: Team) -> EpochSampler | ShardSampler:
    """The order of the training faces."""
    data, size, seed = recipe.data, recipe.train.batch_size, recipe.train.seed
    if data.shuffle == "all":
        both = index.members(*data.train, *data.val)  # each validation would drive out what is learnt from
        index.take(both).check_room(None)
        return EpochSampler(len(faces), size, seed=seed, rank=team.rank, world_size=team.size)
    neighbours = whole_number("LOCAL_WORLD_SIZE", 1, 1)  # processes that share this machine's cache
    faces.check_room(2 * data.window * neighbours)
    return ShardSampler(
        faces.shards,
        size,
        window=data.window,
        seed=seed,
        rank=team.rank,
        world_size=team.size,
        upcoming=faces.prefetch,
    )


def _repeat(faces: Faces, times: Mapping[str, int]) -> Faces:
    """The faces, those of some partitions several times."""
    counts = np.ones(len(faces), np.int64)
    for name, count in times.items():
        counts[faces.members(name)] = count
    return faces.take(np.repeat(np.arange(len(faces)), counts))


def validation_feed(recipe: Recipe, index: Faces, markup: Markup, team: Team) -> Feed:
    """The recipe's val partitions as they are, each face once over all processes."""
    dataset = FaceDataset(index.select(recipe.data.val), markup, recipe.crop, recipe.model.input_size)
    sampler = EpochSampler(
        len(dataset),
        VAL_BATCH * team.size,
        shuffle=False,
        drop_last=False,
        rank=team.rank,
        world_size=team.size,
    )
    return Feed(dataset, sampler, recipe.train.workers, team.device.type == "cuda")
