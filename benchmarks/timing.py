"""Timing: calls take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import cv2
import torch

from fanlight.device import keep_freed_memory

Call = Callable[[], object]


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of the rounds, in ms."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """That of some values, at least one."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Times:
    """How long one unit of work takes, such as one face.

    Attributes:
        ms: by the clock.
        cpu_ms: the processor's own time, closer to what the work takes alone where other programs run, too.
    """

    ms: Spread
    cpu_ms: Spread

    def to_dict(self) -> dict[str, dict[str, float]]:
        """As plain numbers."""
        return asdict(self)


def use_one_core() -> None:
    """Bind this process to one core and one thread, with memory kept as in training."""
    keep_freed_memory()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def take_turns(calls: Mapping[str, Call], units: int, rounds: int, least_ms: float) -> dict[str, Times]:
    """Time some calls in rounds, each warm and once a round.

    Args:
        calls: what to time, by name.
        units: how many units of work each call does.
        rounds: at least 1.
        least_ms: a call that takes less is repeated within its turn until its turn takes this long.

    Returns:
        The times of one unit, by name.
    """
    repeats = {name: _repeats(call, least_ms) for name, call in calls.items()}
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started, started_cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                call()
            per_unit = 1000 / (repeats[name] * units)
            cpu[name].append(per_unit * (time.process_time() - started_cpu))
            wall[name].append(per_unit * (time.perf_counter() - started))
    return {name: Times(Spread.of(wall[name]), Spread.of(cpu[name])) for name in calls}


def _repeats(call: Call, least_ms: float) -> int:
    """Warm a call up, and say how often it has to run to take long enough to be timed."""
    call()
    started = time.process_time()
    call()
    took = 1000 * (time.process_time() - started)
    return max(1, round(least_ms / max(took, 1e-3)))
