"""How far a run has come, and what follows: its learning rate, its crops, its validations and its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fanlight.config import Recipe
from fanlight.device import Team
from fanlight.optimise import learning_rate

LOOK_STEPS = 20  # steps between two looks at the loss, each of which waits for the device


class Pace:
    """Where a run is.

    Args:
        recipe: all settings.
        steps_per_epoch: batches in an epoch.
        team: agrees on the time.

    Attributes:
        step: optimiser steps taken.
        seconds: time spent, over all its sessions.
        due: whether a validation of this step has been put off.
        share: how much of the run is done, by its epochs or its minutes; the same in all processes.
        last_step: the step to end after.
    """

    def __init__(self, recipe: Recipe, steps_per_epoch: int, team: Team) -> None:
        settings = recipe.train
        self.step, self.seconds, self.due, self.share = 0, 0.0, False, 0.0
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = self.last_step = max(1, round(settings.epochs * steps_per_epoch))
        self._validate_every = max(1, round(steps_per_epoch / settings.validations_per_epoch))
        self._recipe, self._team, self._began = recipe, team, 0.0

    def start(self) -> None:
        """The clock runs from now on."""
        self._began = time.monotonic() - self.seconds
        self._agree()

    def advance(self) -> None:
        """A step has been taken."""
        self.step += 1
        self.seconds = time.monotonic() - self._began
        if self.looks or self._team.size == 1:  # several processes agree on the time now and then
            self._agree()

    @property
    def validates(self) -> bool:
        """Whether this step is one to validate after, wherever the run ends."""
        return self.step % self._validate_every == 0

    @property
    def looks(self) -> bool:
        """Whether this step is one to look at the loss after, wherever the run ends."""
        return self.validates or self.step % LOOK_STEPS == 0 or self.step in (1, self.total_steps)

    @property
    def end(self) -> str | None:
        """Why the run ends here: ``epochs``, ``time``, or ``step`` where it was to end after one."""
        if self.share < 1:
            return "step" if self.step >= self.last_step else None
        return "epochs" if self.step >= self.total_steps else "time"

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def learning_rate(self) -> float:
        """That of the next step."""
        recipe = self._recipe
        return learning_rate(recipe.optimiser.lr, recipe.schedule, self._by_clock(), self.epoch)

    @property
    def crop_size(self) -> int:
        """Side of the next step's crops in px."""
        share = self._by_clock()
        return [size for start, size in self._recipe.crop_sizes() if start <= share][-1]

    def state(self) -> dict[str, Any]:
        """What ``restore`` needs."""
        return {"step": self.step, "seconds": self.seconds, "due": self.due}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; older ones were saved right after a validation."""
        self.step, self.seconds, self.due = state["step"], state["seconds"], state.get("due", False)

    def _by_clock(self) -> float:
        """How much of the run is done as the schedule counts it; by epochs it does not depend on the machine."""
        by_epochs = self._recipe.schedule.clock == "epochs"
        return self.step / self.total_steps if by_epochs else self.share

    def _agree(self) -> None:
        limit = 60 * self._recipe.train.max_minutes
        by_time = self.seconds / limit if limit else 0.0
        self.share = self._team.from_leader(min(max(self.step / self.total_steps, by_time), 1.0))
