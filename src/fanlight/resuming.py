"""Which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.run import LAST, PREVIOUS

_SETTLED = {
    "data.train": ("data", "train"),
    "data.val": ("data", "val"),
    "data.repeat": ("data", "repeat"),
    "data.shuffle": ("data", "shuffle"),
    "data.window": ("data", "window"),
    "train.batch_size": ("train", "batch_size"),
    "train.seed": ("train", "seed"),
    "model": ("model",),
}


@dataclass(frozen=True)
class Origin:
    """A checkpoint to go on from.

    Attributes:
        path: where it lies.
        checkpoint: what it holds.
        warning: why it is not the newest one; empty where it is.
    """

    path: Path
    checkpoint: Checkpoint
    warning: str = ""


def find_origin(folder: Path) -> Origin:
    """The newest checkpoint of a run, or the one before where that is damaged or foreign.

    Raises:
        InputError: neither can be gone on with, and why.
    """
    faults = []
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            checkpoint = load_checkpoint(path)
            if not checkpoint.training:
                raise InputError(f"{path}: holds no training state: it can be used but not trained on")
        except InputError as error:
            faults.append(str(error))
            continue
        if not faults:
            return Origin(path, checkpoint)
        step = checkpoint.training["step"]
        return Origin(path, checkpoint, f"{faults[0]}; going on from step {step}, by {path}")
    raise InputError.collect(faults, f"{folder}: holds no checkpoint to go on from:")


def check_same_run(origin: Origin, recipe: Recipe, markup: Markup, faces: Faces) -> None:
    """Refuse to go on with other faces, another order of them, or another network than the run began with.

    Raises:
        InputError: what has changed.
    """
    checkpoint = origin.checkpoint
    before, now = checkpoint.recipe, recipe.to_dict()
    problems = [
        f"{name} is now {_at(now, keys)}, and was {_at(before, keys)}"
        for name, keys in _SETTLED.items()
        if _at(before, keys) not in (None, _at(now, keys))  # None: it began before there was such a setting
    ]
    if checkpoint.markup != markup:
        problems.append("the mark-up is another one")
    if checkpoint.provenance.get("index_sha256") != faces.sha256:
        problems.append(f"{faces.where} no longer holds the faces that the run began with")
    if problems:
        raise InputError.collect(
            problems, f"{origin.path}: cannot go on, since these have changed; begin a new run:"
        )


def _at(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = values
    for key in keys:
        found = found.get(key)
    return found
