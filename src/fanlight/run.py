"""A run's folder: the resolved recipe, checkpoints, metrics.csv and TensorBoard events."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanlight.checkpoint import Checkpoint, save_checkpoint
from fanlight.config import Recipe, load_recipe
from fanlight.data.check import write_problems
from fanlight.data.faces import Problem
from fanlight.durable import link_whole, move_whole, remove_parts, write_whole
from fanlight.errors import InputError
from fanlight.events import Events
from fanlight.metric import Metric
from fanlight.recipe_file import dump_toml
from fanlight.resumable import RANKED
from fanlight.resuming import IDENTITY, LAST, PREVIOUS, Origin, identity_of

SKIPPED = "skipped.tsv"  # in a run's folder: the faces that it leaves out
_NEXT = Path("checkpoints", ".next.ckpt")  # the one after, until it is whole


@dataclass(frozen=True)
class Ranked:
    """A checkpoint that was kept, and why."""

    file: str
    value: float


class Run:
    """Writes what a run leaves behind; only the leading process has one.

    Whatever was begun to be written when an earlier process of the run was killed is put in order first.

    Args:
        folder: where everything goes.
        recipe: the resolved recipe.
        origin: the checkpoint that the run goes on from, later rows of metrics.csv being dropped; None when it
            begins.

    Raises:
        InputError: the folder cannot be written to; so do all methods.
    """

    def __init__(self, folder: Path, recipe: Recipe, origin: Origin | None = None) -> None:
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        self.keep, self.rank_by = recipe.train.keep_best, Metric.parse(recipe.train.rank_by)
        training: Mapping[str, Any] = origin.checkpoint.training if origin else {"ranked": (), "step": 0}
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self.ranked = self._put_in_order(training["ranked"], origin)
            self._identity = self._settle_identity(origin)
            write_whole(folder / "recipe.toml", dump_toml(recipe.to_dict()))
            self._rows = _rows_until(folder / "metrics.csv", training["step"])
            self._events = Events(folder, training["step"])
        except OSError as error:
            raise InputError(f"{folder}: cannot write the run: {error}; choose another --out") from None

    def _put_in_order(self, listed: Iterable[tuple[str, float]], origin: Origin | None) -> tuple[Ranked, ...]:
        """Make the checkpoints those of the step to go on from; gives the ranked ones that are there."""
        remove_parts(self.folder)
        remove_parts(self.checkpoints)
        stale = [_NEXT] if origin else [_NEXT, LAST, PREVIOUS]
        for name in stale:
            (self.folder / name).unlink(missing_ok=True)
        self._last_is_sound = origin is not None and origin.path == self.last
        ranked = tuple(Ranked(*entry) for entry in listed if (self.checkpoints / entry[0]).exists())
        for path in self.checkpoints.glob("step*.ckpt"):
            if RANKED.fullmatch(path.name) and path.name not in {e.file for e in ranked}:
                path.unlink()
        if ranked:
            link_whole(self.checkpoints / ranked[0].file, self.best)
        return ranked

    def _settle_identity(self, origin: Origin | None) -> str:
        """What tells this run from others: as it was, or drawn anew for one that begins or has none yet."""
        known = (origin.checkpoint.training.get("run") or identity_of(self.folder)) if origin else ""
        identity = known or secrets.token_hex(16)
        write_whole(self.folder / IDENTITY, f"{identity}\n")
        return identity

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
        with self._with_remedy():
            self._events.add(step, scalars)

    def record(self, row: Mapping[str, Any]) -> None:
        """Add a row to metrics.csv, which is rewritten whole: it is short, and never half a row."""
        self._rows.append(dict(row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self._rows[-1]), restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(self._rows)
        with self._with_remedy():
            write_whole(self.folder / "metrics.csv", text.getvalue())

    def save(self, checkpoint: Checkpoint, step: int) -> bool:
        """Save the newest checkpoint, and among the best ones where it belongs there; True if it is the best.

        Those kept for being good hold no training state, so they are small.
        """
        value = checkpoint.metrics[self.rank_by.key]
        entry = Ranked(f"step{step:08d}.ckpt", value)
        others = tuple(old for old in self.ranked if old.file != entry.file)
        ranked = sorted((*others, entry), key=lambda e: e.value, reverse=self.rank_by.larger_is_better)
        kept, dropped = tuple(ranked[: self.keep]), ranked[self.keep :]
        with self._with_remedy():
            if entry in kept:
                save_checkpoint(self.checkpoints / entry.file, replace(checkpoint, training={}))
            if kept[0] == entry:
                link_whole(self.checkpoints / entry.file, self.best)
            self.ranked = kept
            self._write_last(checkpoint)
            for old in dropped:
                (self.checkpoints / old.file).unlink(missing_ok=True)
        return kept[0] == entry

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Save the newest checkpoint, and keep the one before."""
        with self._with_remedy():
            self._write_last(checkpoint)

    def _write_last(self, checkpoint: Checkpoint) -> None:
        ranked = [(entry.file, entry.value) for entry in self.ranked]
        training = {**checkpoint.training, "ranked": ranked, "run": self._identity}
        upcoming = self.folder / _NEXT
        save_checkpoint(upcoming, replace(checkpoint, training=training))
        if self._last_is_sound:
            link_whole(self.last, self.folder / PREVIOUS)
        move_whole(upcoming, self.last)
        self._last_is_sound = True

    @contextlib.contextmanager
    def _with_remedy(self) -> Iterator[None]:
        """Say of what cannot be written what to do about it."""
        try:
            yield
        except (OSError, InputError) as error:
            fault = str(error) if isinstance(error, InputError) else f"{self.folder}: cannot write: {error}"
            remedy = "make room there, or move the folder elsewhere"
            raise InputError(f"{fault}; {remedy}, and {how_to_go_on(self.folder)}") from None


def can_go_on(folder: Path) -> bool:
    """Whether a folder holds a run with a checkpoint."""
    return os.path.exists(folder / LAST) or os.path.exists(folder / PREVIOUS)


def refuse_existing(folder: Path) -> None:
    """Refuse to begin a run in a folder that holds one with a checkpoint; others begin anew.

    Raises:
        InputError: it holds one.
    """
    if can_go_on(folder):
        raise InputError(
            f"{folder} holds a run already: go on with it by --resume {folder}, or give another --out"
        )


def list_skipped(folder: Path, problems: Sequence[Problem]) -> None:
    """Write down which faces a run leaves out, and why; where it leaves out none there is no list.

    Raises:
        InputError: it cannot be written.
    """
    if problems:
        write_problems(folder / SKIPPED, problems)
    else:
        with contextlib.suppress(OSError):
            (folder / SKIPPED).unlink()  # of one that ended before its first checkpoint


def how_to_go_on(folder: Path) -> str:
    """What to type to go on with a run that has ended early."""
    if can_go_on(folder):
        return f"go on from the last checkpoint by fanlight train --resume {folder}"
    return "begin anew: there is no checkpoint yet"


def open_recipe(folder: Path) -> Recipe:
    """The recipe of a run that is to go on.

    Raises:
        InputError: the folder holds no run.
    """
    if not os.path.isfile(folder / "recipe.toml"):
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
