"""The mean losses since the last validation, which cost no waiting for the device until they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fanlight.device import Team


class RunningMeans:
    """Means of the losses since the last reset, summed on the device."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Count the losses of a step."""
        for name, value in losses.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def read(self, team: Team) -> dict[str, float]:
        """The means over all processes, none after a reset; waits for the device once."""
        if not self._count:
            return {}
        names = list(self._sums)
        means = team.mean(torch.stack([self._sums[name].float() for name in names])) / self._count
        return dict(zip(names, means.tolist(), strict=True))

    def state(self, team: Team) -> dict[str, Any]:
        """What ``restore`` needs: the number of steps, and every process's sums."""
        sums = team.gather({name: value.cpu() for name, value in self._sums.items()})
        return {"count": self._count, "sums": sums}

    def restore(self, state: Mapping[str, Any], team: Team) -> None:
        """Go on from a state; another number of processes shares the sums equally."""
        sums: Sequence[Mapping[str, Tensor]] = state["sums"]
        own = sums[team.rank] if len(sums) == team.size else _mean(sums)
        self._sums = {name: value.to(team.device) for name, value in own.items()}
        self._count = state["count"]


def _mean(sums: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([part[name] for part in sums]).mean(0) for name in sums[0]}
