"""Whether a checkpoint's training state holds all that going on takes, looked at before anything is changed by it.

Its sums tell damage, not what somebody else put into it: a name among the ranked checkpoints becomes a file that
is removed one day, and an optimiser without its moments would go on to another result.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fanlight.checkpoint import Checkpoint
from fanlight.config import Recipe
from fanlight.model import FAN
from fanlight.optimise import make_optimiser, moments_of
from fanlight.stored import check_weights

RANKED = re.compile(r"step\d{8,}\.ckpt", re.ASCII)
"""What checkpoints that were kept for being good are called."""

_MOST_STEPS = 1 << 53


def faults(checkpoint: Checkpoint, recipe: Recipe) -> list[str]:
    """What is wrong with a training state, for a run of this recipe; empty where it can be gone on with."""
    state = checkpoint.training
    lacking = [name for name in ("step", "seconds", "updates", "weights", "optimiser", "scaler", "ranked")
               if name not in state]  # fmt: skip
    if lacking:
        return [f"its training state lacks {', '.join(lacking)}"]
    wrong = [*_wrong_counts(state), *_wrong_lists(state)]
    if replace(checkpoint.options, input_size=recipe.model.input_size) != recipe.model:
        wrong.append("options")
    if checkpoint.provenance.get("step", state["step"]) != state["step"]:
        wrong.append("step (its provenance says another)")
    wrong += [name for name in ("recipe", "provenance") if not _is_plain(getattr(checkpoint, name))]
    try:
        check_weights(state["weights"], recipe.model)
    except ValueError:
        wrong.append("weights")
    if "updates" not in wrong and not _fits_optimiser(state["optimiser"], recipe, state["updates"]):
        wrong.append("optimiser")
    return [f"its training state is not one of this run's recipe: {', '.join(wrong)}"] if wrong else []


def _wrong_counts(state: Mapping[str, Any]) -> Iterator[str]:
    step, updates = state["step"], state["updates"]
    if not _is_count(step):
        yield "step"
    if not _is_count(updates) or (_is_count(step) and updates > step):
        yield "updates"
    if not _is_number(state["seconds"]) or state["seconds"] < 0:
        yield "seconds"
    if not isinstance(state.get("due", False), bool):
        yield "due"


def _wrong_lists(state: Mapping[str, Any]) -> Iterator[str]:
    ranked, scaler = state["ranked"], state["scaler"]
    if not isinstance(ranked, list | tuple) or not all(map(_is_ranked, ranked)):
        yield "ranked"
    if not isinstance(scaler, Mapping) or not all(
        _is_number(value) and value >= 0 for value in scaler.values()
    ):
        yield "scaler"
    if not isinstance(state.get("run", ""), str) or not re.fullmatch(r"[0-9a-f]*", state.get("run", "")):
        yield "run"
    if "means" in state and not _is_means(state["means"]):
        yield "means"


def _is_ranked(entry: Any) -> bool:
    if not isinstance(entry, list | tuple) or len(entry) != 2:
        return False
    return isinstance(entry[0], str) and RANKED.fullmatch(entry[0]) is not None and _is_number(entry[1])


def _is_means(means: Any) -> bool:
    """Whether these are sums of losses, by their names, of each of some processes."""
    if not isinstance(means, Mapping) or not _is_count(means.get("count")):
        return False
    sums = means.get("sums")
    if not isinstance(sums, list | tuple) or not sums or not all(isinstance(own, Mapping) for own in sums):
        return False
    if any(own.keys() != sums[0].keys() for own in sums) or bool(means["count"]) != ("total" in sums[0]):
        return False
    return all(isinstance(name, str) and _is_scalar(value) for own in sums for name, value in own.items())


def _fits_optimiser(state: Any, recipe: Recipe, updates: int) -> bool:
    """Whether an optimiser's state has the moments of every weight, or none before the first update."""
    if not isinstance(state, Mapping) or not isinstance(state.get("state"), Mapping):
        return False
    with torch.device("meta"):
        groups = make_optimiser(FAN(recipe.model), recipe.optimiser).param_groups
    parameters = [values for group in groups for values in group["params"]]
    moments, saved = moments_of(recipe.optimiser), state["state"]
    if not saved:
        return not moments or not updates
    if saved.keys() != set(range(len(parameters))):
        return False
    return all(_are_moments(saved[number], moments, like) for number, like in enumerate(parameters))


def _are_moments(values: Any, names: Sequence[str], like: Tensor) -> bool:
    if not isinstance(values, Mapping):
        return False
    kept = {name: value for name, value in values.items() if value is not None}
    if kept.keys() != {*names}:
        return False
    return all(_is_scalar(value) if name == "step" else _is_like(value, like) for name, value in kept.items())


def _is_like(value: Any, like: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == like.shape and value.is_floating_point()


def _is_plain(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float)


def _is_scalar(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_STEPS


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
