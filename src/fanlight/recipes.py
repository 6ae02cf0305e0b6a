"""The recipes of a folder: what was published for each, and what its run reached."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlight.errors import InputError
from fanlight.faults import check_all
from fanlight.published import Published
from fanlight.recipe_file import read_recipe

BASE = "base.toml"  # such a file only serves the recipes beside it
EVALUATION = Path("report", "evaluation.json")  # in a run's folder, as fanlight eval --report writes it


@dataclass(frozen=True)
class RecipeFacts:
    """A recipe beside its run.

    Attributes:
        path: of the recipe.
        published: what others report.
        ours: the same metric of the run, a fraction, by the test set's name; only where it was judged alike.
    """

    path: Path
    published: Published
    ours: Mapping[str, float] = field(default_factory=dict)


def list_recipes(folder: Path, runs: Path) -> tuple[list[RecipeFacts], list[InputError]]:
    """The recipes below a folder, in the order of their names.

    Args:
        folder: where to look.
        runs: the folder of the runs, each called like its recipe.

    Returns:
        The recipes; and for each other one, why it or its run's evaluation cannot be read.

    Raises:
        InputError: there is none.
    """
    paths = sorted(path for path in folder.rglob("*.toml") if path.name != BASE)
    if not paths:
        raise InputError(f"{folder}: no recipes there: give the folder that holds them, such as recipes")
    facts, faults = [], []
    for path in paths:
        try:
            facts.append(describe_recipe(path, runs / path.stem))
        except InputError as error:
            faults.append(error)
    return facts, faults


def describe_recipe(path: Path, run: Path) -> RecipeFacts:
    """What was published for a recipe, and what the run in a folder reached.

    Raises:
        InputError: the recipe, its published results or the run's evaluation cannot be read.
    """
    values, places = read_recipe(path)
    given = values.get("published", {})
    published, faults = check_all(Published, given if isinstance(given, Mapping) else {"published": given})
    if faults or published is None:
        lines = [f"{places.find(f'published.{key}')}published.{key}: {why}" for key, why in faults]
        raise InputError.collect(lines, f"{path}: cannot be used:")
    evaluation = run / EVALUATION
    return RecipeFacts(path, published, _reached(evaluation, published) if os.path.isfile(evaluation) else {})


def _reached(evaluation: Path, published: Published) -> dict[str, float]:
    """The published metric in an evaluation, for each test set whose very partitions it judged."""
    try:
        content = json.loads(evaluation.read_text(encoding="utf-8"))
        if content["flip"] != published.flip:
            return {}
        found = {name: _of(content, partitions) for name, partitions in published.partitions.items()}
        return {
            name: float(summary[published.metric]["value"])
            for name, summary in found.items()
            if published.metric in summary
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{evaluation}: not as fanlight eval wrote it ({type(error).__name__}: {error}): judge the run again"
        ) from None


def _of(content: Mapping[str, Any], partitions: list[str]) -> Mapping[str, Any]:
    """The summary of these partitions together, empty where others were judged."""
    judged = content["partitions"]
    if len(partitions) == 1:
        alone: Mapping[str, Any] = judged.get(partitions[0], {})
        return alone
    together: Mapping[str, Any] = content.get("all", {})
    return together if set(judged) == set(partitions) else {}
