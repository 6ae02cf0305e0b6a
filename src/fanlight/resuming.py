"""Which checkpoint a run goes on from, and whether it may."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.resumable import faults

LAST = Path("checkpoints", "last.ckpt")  # in a run's folder: the newest one, which the run goes on from
PREVIOUS = Path("checkpoints", "previous.ckpt")  # the one before, for when that is damaged
IDENTITY = "run.id"  # in a run's folder, and as text in its checkpoints: tells it from all other runs
_SETTLED = {
    "data.train": ("data", "train"),
    "data.val": ("data", "val"),
    "data.repeat": ("data", "repeat"),
    "data.shuffle": ("data", "shuffle"),
    "data.window": ("data", "window"),
    "train.batch_size": ("train", "batch_size"),
    "train.rank_by": ("train", "rank_by"),
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


def find_origin(folder: Path, recipe: Recipe, markup: Markup, faces: Faces) -> Origin:
    """The newest checkpoint of a run, or the one before where that is damaged or belongs to another run.

    Raises:
        InputError: neither can be gone on with, and why: damaged; of another run; or the faces, their order or
            the network are no longer those that the run began with.
    """
    identity, refused = identity_of(folder), list[str]()
    for path in (folder / LAST, folder / PREVIOUS):
        try:
            checkpoint = load_checkpoint(path)
            problems = _differences(checkpoint, identity, recipe, markup, faces) or faults(checkpoint, recipe)
            if problems:
                raise InputError(f"{path}: cannot go on with it: {'; '.join(problems)}")
        except InputError as error:
            refused.append(str(error))
            continue
        if not refused:
            return Origin(path, checkpoint)
        step = checkpoint.training["step"]
        return Origin(path, checkpoint, f"{refused[0]}; going on from step {step}, by {path}")
    raise InputError.collect(
        refused, f"{folder}: no checkpoint to go on from: put right what has changed, or begin a new run:"
    )


def identity_of(folder: Path) -> str:
    """What tells a folder's run from others; empty where that is not known, as of older versions."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return (folder / IDENTITY).read_text(encoding="ascii").strip()
    return ""


def _differences(
    checkpoint: Checkpoint, identity: str, recipe: Recipe, markup: Markup, faces: Faces
) -> list[str]:
    """Why a checkpoint cannot be one of this run, or the run has changed since."""
    if not checkpoint.training:
        return ["it holds no training state: it can be used but not trained on"]
    if identity and checkpoint.training.get("run", identity) != identity:
        return [f"it belongs to another run, by its identity and {IDENTITY}"]
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
    elif not are_all_the_same(checkpoint, recipe, faces):
        problems.append(f"other faces of {faces.where} are left out than when the run began")
    return problems


def are_all_the_same(checkpoint: Checkpoint, recipe: Recipe, faces: Faces) -> bool:
    """Whether a checkpoint learnt from these of an index's faces; older versions did not say."""
    digest = faces.digest_of([*recipe.data.train, *recipe.data.val])
    return checkpoint.provenance.get("faces_sha256", digest) == digest


def _at(values: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    found: Any = values
    for key in keys:
        if not isinstance(found, Mapping):
            return found
        found = found.get(key)
    return found
