"""What is asked of a run of the benchmarks, and what it found out about the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.limits import Limits, measure_limits
from benchmarks.timing import Call, Times, take_turns
from fanlight.data.index import Index


@dataclass(frozen=True)
class Plan:
    """How thoroughly to measure, and on which faces.

    Attributes:
        rounds: rounds that the medians are of.
        quick: small inputs and short turns: everything runs, and the figures mean little.
        index: of real faces; faces are made where there is none.
        partitions: of the index to take; all when empty.
    """

    rounds: int = 9
    quick: bool = False
    index: Path | None = None
    partitions: tuple[str, ...] = ()

    def size(self, full: int, quick: int) -> int:
        """One of two sizes."""
        return quick if self.quick else full

    def time(self, calls: Mapping[str, Call], units: int = 1) -> dict[str, Times]:
        """Time some calls, which take turns; see ``take_turns``."""
        return take_turns(calls, units, self.rounds, least_ms=self.size(50, 1))

    @cached_property
    def limits(self) -> Limits:
        """What the machine can do at most; measured once, when first asked for."""
        return measure_limits(self.rounds, self.quick)

    def faces(self, most: int) -> Index | None:
        """Real faces, where there is an index: all of the partitions, or so many spread over them.

        Raises:
            InputError: there is no such index or partition.
        """
        if self.index is None:
            return None
        index = Index.read(self.index)
        index = index.select(self.partitions) if self.partitions else index
        return index.take(np.unique(np.linspace(0, len(index) - 1, most).astype(int)))
