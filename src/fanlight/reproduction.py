"""Training a network again by what its checkpoint says of itself, and telling whether the same came out."""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fanlight.checkpoint import Checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.device import choose_precision, resolve_device
from fanlight.environment import whole_number
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.provenance import file_digest, made_by
from fanlight.recipe_file import override
from fanlight.resuming import are_all_the_same
from fanlight.sessions import changed_settings, computing, sessions_of
from fanlight.stored import options_of

# Known by their content, wherever they lie; and what does not change a network.
_FREE = ("data.index", "data.markup", "data.cache", "data.cache_gib", "train.start_from", "train.workers")
_PINNED = ("train.device", "train.precision")  # to what they were then, where that is possible here
_TITLES = {"code_sha256": "SHA-256 of the source code", "python": "Python"}


_MOST_THREADS = 1024


@dataclass(frozen=True)
class Trained:
    """What a checkpoint says of its training, of the types that it is saved with.

    Attributes:
        index_sha256: of its faces.
        step: at which it was saved.
        epoch: the same in epochs.
        minutes: that it took.
        faces: how many took part.
        threads: that each process computed with; 0 where it does not say.
        device: and the GPU's name, if it was one.
        precision: what convolutions computed in.
    """

    index_sha256: str
    step: int
    epoch: float
    minutes: float
    faces: int
    threads: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if min(self.step, self.epoch, self.faces) <= 0 or self.minutes < 0:
            raise ValueError("step, epoch, minutes, faces: not those of a training")
        if not 0 <= self.threads <= _MOST_THREADS:
            raise ValueError(f"threads: {self.threads}, expected at most {_MOST_THREADS}")


@dataclass(frozen=True)
class Plan:
    """How a checkpoint is made again.

    Attributes:
        recipe: of the run.
        step: to train to.
        by_time: the run followed the clock, and nothing can be equal: the recipe follows the steps instead.
        changes: settings that are not those of the checkpoint, by their keys, with what they were.
        trained: what the checkpoint says of its training.
    """

    recipe: Recipe
    step: int
    by_time: bool
    changes: Mapping[str, Any]
    trained: Trained


@dataclass(frozen=True)
class Comparison:
    """How the weights and metrics of two checkpoints differ.

    Attributes:
        largest: largest difference of two weights; 0 where all are equal bit for bit.
        where: the tensor with that difference.
        metrics: (theirs, ours) for each metric that differs.
        rounded: theirs are stored in half precision, and ours were rounded alike before they were compared.
    """

    largest: float
    where: str
    metrics: Mapping[str, tuple[float, float]]
    rounded: bool

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.where and not self.metrics


def plan(path: Path, checkpoint: Checkpoint, overrides: Sequence[str] = ()) -> Plan:
    """Find out how to make a checkpoint again.

    Args:
        path: of the checkpoint, for messages.
        checkpoint: which.
        overrides: ``key=value``, as ``load_recipe`` takes them.

    Raises:
        InputError: it does not say enough of its training; or what it began from is gone or another file now.
    """
    known = checkpoint.provenance
    if not checkpoint.recipe or "index_sha256" not in known:
        source = known.get("converted_from")
        why = f"converted from {source}" if source else "without a recipe and the hash of its faces"
        raise InputError(
            f"{path}: {why}: fanlight did not train it, or no longer says how; give a run's checkpoint"
        )
    if not known.get("step"):
        raise InputError(
            f"{path}: does not say at which step it was saved, as those of older versions: train by its recipe, "
            f"which fanlight info {path} --recipe prints"
        )
    trained = _trained(path, checkpoint)
    values = copy.deepcopy(dict(checkpoint.recipe))
    device = trained.device.partition(" ")[0]
    if device == "cuda" and not torch.cuda.is_available():
        device = "auto"
    values["train"] = {**values.get("train", {}), "device": device}
    if device != "auto":
        values["train"]["precision"] = trained.precision
    override(values, overrides, str(path))
    recipe = Recipe.from_dict(values, f"{path}: its recipe").from_anywhere()
    by_time = recipe.schedule.clock == "time"
    changes = changed_settings(checkpoint.recipe, recipe.to_dict())
    changes = {key: value for key, value in changes.items() if key not in (*_FREE, *_PINNED)}
    _check_start(path, known, recipe)
    if Markup.load(recipe.data.markup) != checkpoint.markup:
        raise InputError(
            f"{recipe.data.markup}: no longer the mark-up {checkpoint.markup.name} of {path}: restore it, or name "
            "the right file by --set data.markup=FILE"
        )
    return Plan(_by_steps(recipe, trained), trained.step, by_time, changes, trained)


def _trained(path: Path, checkpoint: Checkpoint) -> Trained:
    """Read what the whole of ``reproduce`` goes by.

    Raises:
        InputError: a value is missing, or none that a training has.
    """
    known = checkpoint.provenance
    try:
        names = [entry.name for entry in fields(Trained) if entry.name in known]
        found = options_of(Trained, {name: known[name] for name in names})
        start, earlier = known.get("start_from"), known.get("earlier", [])
        if start is not None and not (isinstance(start, Mapping) and isinstance(start.get("sha256"), str)):
            raise ValueError("start_from: expected a file and its SHA-256")
        if not isinstance(earlier, list | tuple) or not all(map(_is_session, [known, *earlier])):
            raise ValueError("its sessions: expected tables")
        if not all(isinstance(table, Mapping) for table in checkpoint.recipe.values()):
            raise ValueError("recipe: expected tables")
        if not all(type(value) in (int, float) for value in checkpoint.metrics.values()):
            raise ValueError("metrics: expected numbers")
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: what it says of its training is damaged ({error}): give another checkpoint of its run"
        ) from None
    return found


def _is_session(session: Any) -> bool:
    return isinstance(session, Mapping) and all(
        isinstance(session.get(name, {}), Mapping) for name in ("packages", "settings")
    )


def _check_start(path: Path, known: Mapping[str, Any], recipe: Recipe) -> None:
    """Refuse to begin with other weights than the run did."""
    expected, start = known.get("start_from"), recipe.train.start_from
    if not expected or not start:
        return
    remedy = "give the file by --set train.start_from=FILE"
    try:
        found = file_digest(start)
    except OSError as error:
        raise InputError(
            f"{start}: {path} began with these weights, and they {_gone(error)}: {remedy}"
        ) from None
    if found != expected["sha256"]:
        raise InputError(
            f"{start}: not the weights that {path} began with: their SHA-256 is {found}, and was "
            f"{expected['sha256']}: {remedy}"
        )


def _gone(error: OSError) -> str:
    return f"cannot be read ({error.strerror})"


def _by_steps(recipe: Recipe, trained: Trained) -> Recipe:
    """The same run without a clock: as many steps as it would have made at the pace that it had."""
    limit, epochs = recipe.train.max_minutes, recipe.train.epochs
    if recipe.schedule.clock == "time":
        done = max(trained.epoch / epochs, min(trained.minutes / limit, 1.0))
        epochs = trained.epoch / done
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update={"max_minutes": 0.0, "epochs": epochs}),
            "schedule": recipe.schedule.model_copy(update={"clock": "epochs"}),
        }
    )


def check_same_faces(path: Path, checkpoint: Checkpoint, faces: Faces) -> None:
    """Refuse faces that are not those of the training.

    Raises:
        InputError: naming the SHA-256 of both.
    """
    expected = checkpoint.provenance["index_sha256"]
    if faces.sha256 != expected:
        raise InputError(
            f"{faces.where}: not the faces that {path} learnt from: the SHA-256 of the index is {faces.sha256}, "
            f"and was {expected}: give the right one by --data, or go on with these by --anyway"
        )


def check_none_missing(path: Path, checkpoint: Checkpoint, recipe: Recipe, faces: Faces) -> None:
    """Refuse faces of the same index of which others are left out than were of the training.

    Raises:
        InputError: others are.
    """
    if not are_all_the_same(checkpoint, recipe, faces):
        raise InputError(
            f"{faces.where}: of its faces others cannot be used, and are left out, than when {path} learnt from "
            "them: restore their files, or go on with these by --anyway"
        )


def differences(checkpoint: Checkpoint, planned: Plan) -> list[str]:
    """What may make the result another one, a line each: versions, machine, settings, and sessions' own.

    Within ``threads_of``, so that their number is that of the training.
    """
    train = planned.recipe.train
    device = torch.device(resolve_device(train.device))
    processes = whole_number("WORLD_SIZE", 1, 1)
    here = {**made_by(), **computing(device, choose_precision(train.precision, device), processes)}
    lines = []
    sessions = sessions_of(checkpoint.provenance)
    for session in sessions:
        since = f"from step {session.get('from_step', 0)} on: " if len(sessions) > 1 else ""
        lines += [since + line for line in _unlike(session, here)]
        lines += [
            f"{since}{key} was {value!r}, before it was changed"
            for key, value in session.get("settings", {}).items()
        ]
    now = dict(changed_settings(planned.recipe.to_dict(), checkpoint.recipe))
    lines += [f"{key} is {now.get(key)!r}, and was {value!r}" for key, value in planned.changes.items()]
    return lines


def _unlike(session: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """What a session says of itself that is otherwise here."""
    then, now = ({**of.get("packages", {}), **of} for of in (session, here))
    same_code = then.get("code_sha256") == now["code_sha256"]
    for name, value in then.items():
        if name in ("packages", "command") or (name == "commit" and same_code):
            continue
        if name in here or name in session.get("packages", {}):
            other = now.get(name, "not there")
            if value != other:
                yield f"{_TITLES.get(name, name)}: {value} then, {other} now"


@contextlib.contextmanager
def threads_of(trained: Trained) -> Iterator[None]:
    """Compute with as many threads as the training did: sums of other parts have other last bits."""
    count = trained.threads
    if not count:
        yield
        return
    name, before = "OMP_NUM_THREADS", torch.get_num_threads()
    given = os.environ.get(name)
    os.environ[name] = str(count)  # what training goes by
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        os.environ.pop(name)
        if given is not None:
            os.environ[name] = given


def compare(theirs: Checkpoint, ours: Checkpoint) -> Comparison:
    """Compare the weights and, where both have been judged, the metrics of two checkpoints of one network."""
    if theirs.options != ours.options:  # its recipe is of another network
        return Comparison(math.inf, "networks of other shapes", {}, False)
    largest, where = 0.0, ""
    for name, values in theirs.weights.items():
        other = ours.weights[name].to(values.dtype)
        if not _same_bits(values, other):
            apart = float((values.double() - other.double()).abs().max())
            if not where or not apart <= largest:
                largest, where = apart, name
    metrics = {
        key: (value, ours.metrics[key])
        for key, value in theirs.metrics.items()
        if key in ours.metrics and ours.metrics[key] != value
    }
    rounded = any(values.dtype == torch.float16 for values in theirs.weights.values())
    return Comparison(largest, where, metrics, rounded)


def _same_bits(one: Tensor, other: Tensor) -> bool:
    flat = [values.detach().cpu().reshape(-1).contiguous().view(torch.uint8) for values in (one, other)]
    return torch.equal(flat[0], flat[1])
