"""An order of faces for packs that are fetched or read shard by shard, shuffled all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch.utils.data import Sampler

from fanlight.data.dataset import Key
from fanlight.errors import InputError


class ShardSampler(Sampler[list[Key]]):
    """Batches of keys (epoch, position), shuffled within a few shards at a time.

    In each epoch the shards are put into a new order, and the row of all their faces is cut into equal parts, one
    for each rank: a rank reads its own shards, and shares at most the first and the last with its neighbours.
    Within its part, the faces of ``window`` shards at a time are shuffled. Less than a batch is left out.

    The order depends on seed, epoch, rank and number of ranks alone; which faces meet in a step depends on the
    number of ranks.

    Args:
        shards: (N,) the shard of each face.
        batch_size: faces in a batch, over all ranks; a multiple of ``world_size``.
        window: shards whose faces are shuffled together, at least 1.
        seed: with the epoch, determines the order.
        rank: this process, 0 to ``world_size`` - 1.
        world_size: number of processes.
        upcoming: called with the shards of this and the next window whenever a window begins.

    Raises:
        InputError: the batch size does not suit the ranks or exceeds the faces.
    """

    def __init__(
        self,
        shards: ArrayLike,
        batch_size: int,
        *,
        window: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        upcoming: Callable[[Sequence[int]], None] = lambda shards: None,
    ) -> None:
        shards = np.asarray(shards)
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} faces cannot be shared equally by {world_size} processes: "
                "give a batch size that is a positive multiple of them"
            )
        if len(shards) < batch_size:
            raise InputError(
                f"{len(shards)} faces do not fill one batch of {batch_size}: give a batch size of at most "
                f"{len(shards)}"
            )
        self.window, self.seed, self.rank, self.upcoming = window, seed, rank, upcoming
        self.share = batch_size // world_size
        self.batches = len(shards) // batch_size
        self._faces = np.argsort(shards, kind="stable")
        self._numbers, self._counts = np.unique(shards, return_counts=True)
        self._starts = np.cumsum(self._counts) - self._counts
        self.epoch, self.start_batch = 0, 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch that the next iteration runs through, from batch ``start_batch`` on."""
        self.epoch, self.start_batch = epoch, start_batch

    def __len__(self) -> int:
        """Batches still to come in this epoch, for this rank."""
        return max(self.batches - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, share = self.epoch, self.share
        skipped = self.start_batch * share
        waiting: NDArray[np.intp] = np.empty(0, np.intp)
        windows = self._windows(epoch)
        for number, pieces in enumerate(windows):
            size = sum(end - start for _, start, end in pieces)
            if skipped >= size:
                skipped -= size
                continue
            following = windows[number + 1] if number + 1 < len(windows) else []
            self.upcoming([int(self._numbers[shard]) for shard, _, _ in (*pieces, *following)])
            waiting = np.concatenate([waiting, self._shuffled(epoch, number, pieces)[skipped:]])
            skipped = 0
            for start in range(0, len(waiting) - share + 1, share):
                yield [(epoch, int(face)) for face in waiting[start : start + share]]
            waiting = waiting[len(waiting) // share * share :]

    def _windows(self, epoch: int) -> list[list[tuple[int, int, int]]]:
        """This rank's part of an epoch: groups of (shard, first, end), a range of the shard's shuffled faces."""
        order = np.random.default_rng([self.seed, epoch, 0, 2]).permutation(len(self._numbers))
        ends = np.cumsum(self._counts[order])
        begin = self.rank * self.batches * self.share
        stop = begin + self.batches * self.share
        pieces = []
        for shard, end in zip(order.tolist(), ends.tolist(), strict=True):
            first = end - int(self._counts[shard])
            if first < stop and end > begin:
                pieces.append((shard, max(begin - first, 0), min(end, stop) - first))
        return [pieces[start : start + self.window] for start in range(0, len(pieces), self.window)]

    def _shuffled(self, epoch: int, number: int, pieces: Sequence[tuple[int, int, int]]) -> NDArray[np.intp]:
        """The faces of a window in the order in which they come."""
        faces = []
        for shard, start, end in pieces:
            own = self._faces[self._starts[shard] : self._starts[shard] + self._counts[shard]]
            generator = np.random.default_rng(
                [self.seed, epoch, 0, 3, shard]
            )  # the same for ranks that share it
            faces.append(generator.permutation(own)[start:end])
        generator = np.random.default_rng([self.seed, epoch, 0, 4, self.rank, number])
        return generator.permutation(np.concatenate(faces))
