"""All that a training changes, in one process: as a checkpoint, and back from one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fanlight.checkpoint import Checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.device import Team
from fanlight.learner import Learner
from fanlight.loaders import training_feed, validation_feed
from fanlight.markup import Markup
from fanlight.pace import Pace
from fanlight.running_means import RunningMeans
from fanlight.sessions import begin_session, changed_settings, continue_session


class TrainingState:
    """A network that learns, its faces, and how far it has come.

    Args:
        recipe: all settings.
        faces: checked ones; hold the partitions of the recipe.
        team: the processes that train together.

    Raises:
        InputError: the data or the device cannot be used.
    """

    def __init__(self, recipe: Recipe, faces: Faces, team: Team) -> None:
        self.recipe, self.team, self.markup = recipe, team, Markup.load(recipe.data.markup)
        self.train_feed = training_feed(recipe, faces, self.markup, team)
        self.val_feed = validation_feed(recipe, faces, self.markup, team)
        self.learner = Learner(recipe, team)
        self.pace = Pace(recipe, len(self.train_feed.sampler), team)
        self.means = RunningMeans()
        self._provenance = begin_session(recipe, faces, team, self.learner.precision) if team.leads else {}

    @property
    def crop_size(self) -> int:
        """Side of the crops in px that batches hold now."""
        return self.train_feed.dataset.input_size

    def set_crop_size(self, size: int) -> None:
        """Let batches hold crops of another side."""
        self.train_feed, self.val_feed = self.train_feed.at_size(size), self.val_feed.at_size(size)

    def training(self) -> dict[str, Any]:
        """What going on takes beside the averaged weights; all processes have to ask for it."""
        return {**self.learner.state(), **self.pace.state(), "means": self.means.state(self.team)}

    def checkpoint(self, metrics: Mapping[str, float], training: Mapping[str, Any]) -> Checkpoint:
        """The averaged weights with all that is known of them.

        Args:
            metrics: of their validation; empty where there was none.
            training: as the method of that name gives it; empty for weights to judge.
        """
        pace = self.pace
        about = {"step": pace.step, "epoch": pace.epoch, "minutes": pace.seconds / 60}
        return Checkpoint(
            options=replace(self.recipe.model, input_size=self.crop_size),
            weights=self.learner.average.weights(),
            markup=self.markup,
            decoder=self.recipe.decoder,
            crop=self.recipe.crop,
            recipe=self.recipe.to_dict(),
            metrics=metrics,
            provenance={**self._provenance, **about},
            training=training,
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint of this run."""
        state = checkpoint.training
        self.learner.restore(state, checkpoint.weights)
        self.pace.restore(state)
        if "means" in state:  # not in those of older versions, which were saved right after a validation
            self.means.restore(state["means"], self.team)
        self.set_crop_size(checkpoint.options.input_size)
        changes = changed_settings(checkpoint.recipe, self.recipe.to_dict())
        self._provenance = continue_session(self._provenance, checkpoint.provenance, self.pace.step, changes)
