"""``fanlight info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import one_line, out
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.inspection import Inspected


def info(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Any file or folder that fanlight wrote, or a network's name."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as one JSON object.")] = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the recipe alone, for fanlight train.")
    ] = False,
) -> None:
    """Say what a file is and where it comes from: recipe, code, versions, command, seeds, the hash of its data."""
    from fanlight.inspection import inspect
    from fanlight.models import find, names

    found = inspect(find(file) if file in names() else Path(file))
    if recipe:
        from fanlight.recipe_file import dump_toml

        if not found.recipe:
            raise InputError(f"{file}: holds no recipe; give a checkpoint of a training")
        print(dump_toml(found.recipe).rstrip("\n"))
    elif as_json:
        print(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _print(found)


def _print(found: Inspected) -> None:
    from fanlight.metric import Metric
    from fanlight.provenance import file_digest
    from fanlight.provenance_text import groups

    out.print(f"{found.kind}: {found.path}")
    _rows([("SHA-256", file_digest(found.path)), *found.facts.items()])
    if found.metrics:
        out.print("\nMetrics on the faces that it was chosen on")
        _rows([(_metric(key, Metric), _percent(value)) for key, value in found.metrics.items()])
    for number, group in enumerate(groups(found.provenance, found.recipe)):
        out.print("\n" + one_line(group.title or "How it was made"))
        _rows(group.rows or ([("", "it does not say")] if not number else []))
        if group.recipe:
            out.print("\nRecipe\n")
            out.print(group.recipe.rstrip("\n"))


def _metric(key: str, known: type) -> str:
    try:
        return str(known.parse(key).title)  # type: ignore[attr-defined]
    except InputError:
        return key


def _percent(value: object) -> str:
    return f"{100 * value:.2f} %" if isinstance(value, int | float) else str(value)


def _rows(rows: list[tuple[str, str]]) -> None:
    width = max([24, *(min(len(name), 40) for name, _ in rows)])
    for name, value in rows:
        out.print(one_line(f"  {name:{width}} {value}"))
