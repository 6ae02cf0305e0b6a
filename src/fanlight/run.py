"""A run's folder: the resolved recipe, checkpoints, metrics.csv and TensorBoard events."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from fanlight.checkpoint import Checkpoint, save_checkpoint
from fanlight.config import Recipe, load_recipe
from fanlight.errors import InputError
from fanlight.metric import Metric
from fanlight.recipe_file import dump_toml

LAST = Path(
    "checkpoints", "last.ckpt"
)  # in a run's folder: the newest checkpoint, which the run goes on from


@dataclass(frozen=True)
class Ranked:
    """A checkpoint that was kept, and why."""

    file: str
    value: float


class Run:
    """Writes what a run leaves behind; only the leading process has one.

    Args:
        folder: where everything goes.
        recipe: the resolved recipe.
        ranked: the checkpoints kept so far, best first, when a run goes on.
        step: the step that the run goes on from; later rows of metrics.csv are dropped.
    """

    def __init__(self, folder: Path, recipe: Recipe, ranked: tuple[Ranked, ...] = (), step: int = 0) -> None:
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self.keep, self.rank_by = recipe.train.keep_best, Metric.parse(recipe.train.rank_by)
        self.ranked = ranked
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            (folder / "recipe.toml").write_text(dump_toml(recipe.to_dict()), encoding="utf-8")
            self._rows = _rows_until(folder / "metrics.csv", step)
            self._events = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        except OSError as error:
            raise InputError(f"{folder}: cannot write the run: {error}; choose another --out") from None

    @property
    def best(self) -> Path:
        """The checkpoint that the ranking metric likes best."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """The newest checkpoint, which a run goes on from."""
        return self.folder / LAST

    def plot(self, step: int, scalars: Mapping[str, float]) -> None:
        """Hand figures to TensorBoard."""
        for name, value in scalars.items():
            self._events.add_scalar(name, value, step)

    def record(self, row: Mapping[str, Any]) -> None:
        """Add a row to metrics.csv, which is rewritten whole: it is short, and never half a row."""
        self._rows.append(dict(row))
        side = self.folder / ".metrics.csv"
        with side.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(self._rows[-1]), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(self._rows)
        os.replace(side, self.folder / "metrics.csv")
        self._events.flush()

    def save(self, checkpoint: Checkpoint, step: int) -> bool:
        """Save the newest checkpoint, and among the best ones where it belongs there; True if it is the best.

        Those kept for being good hold no training state, so they are small.
        """
        value = checkpoint.metrics[self.rank_by.key]
        entry = Ranked(f"step{step:08d}.ckpt", value)
        others = tuple(old for old in self.ranked if old.file != entry.file)
        ranked = sorted((*others, entry), key=lambda e: e.value, reverse=self.rank_by.larger_is_better)
        kept, dropped = tuple(ranked[: self.keep]), ranked[self.keep :]
        if entry in kept:
            save_checkpoint(self.checkpoints / entry.file, replace(checkpoint, training={}))
        if kept[0] == entry:
            _copy(self.checkpoints / entry.file, self.best)
        self.ranked = kept
        training = {**checkpoint.training, "ranked": [(e.file, e.value) for e in kept]}
        save_checkpoint(self.last, replace(checkpoint, training=training))
        for old in dropped:
            (self.checkpoints / old.file).unlink(missing_ok=True)
        return kept[0] == entry

    def close(self) -> None:
        """Flush TensorBoard."""
        self._events.close()


def open_recipe(folder: Path) -> Recipe:
    """The recipe of a run that is to go on.

    Raises:
        InputError: the folder holds no run.
    """
    if not (folder / "recipe.toml").is_file():
        raise InputError(
            f"{folder}: not a run: it has no recipe.toml; give the folder that fanlight train printed"
        )
    return load_recipe(folder / "recipe.toml")


def _rows_until(path: Path, step: int) -> list[dict[str, Any]]:
    if not step or not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if int(row["step"]) <= step]
    except (KeyError, ValueError, TypeError):
        raise InputError(
            f"{path}: no longer as the run wrote it: restore it, or move it away to go on"
        ) from None


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that a reader sees the old one or the new one."""
    side = target.with_name(f".{target.name}.copy")
    shutil.copyfile(source, side)
    os.replace(side, target)
