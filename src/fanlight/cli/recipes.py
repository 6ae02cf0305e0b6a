"""``fanlight recipes``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fanlight.cli.console import out, print_wide

if TYPE_CHECKING:
    from fanlight.recipes import RecipeFacts


def recipes(
    folder: Annotated[Path, typer.Argument(help="Where the recipes are.")] = Path("recipes"),
    runs: Annotated[Path, typer.Option(help="Where their runs are, each called like its recipe.")] = Path(
        "runs"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List recipes with what was published for them and, where a run was judged with --report RUN/report, ours."""
    from fanlight.errors import InputError
    from fanlight.recipes import list_recipes

    facts, faults = list_recipes(folder, runs)
    if as_json:
        print(json.dumps([_json(entry) for entry in facts], indent=2))
    elif facts:
        _print(facts, folder)
    if faults:
        raise InputError("\n".join(map(str, faults)))


def _print(facts: Sequence[RecipeFacts], folder: Path) -> None:
    sets = list(dict.fromkeys(name for entry in facts for name in entry.published.results))
    had = {name for entry in facts for name in entry.published.partitions}
    columns = [
        (name, whose) for name in sets for whose in ("published", "ours") if whose != "ours" or name in had
    ]
    table = Table("recipe", *(f"{name}, {whose}" for name, whose in columns))
    for entry in facts:
        of = {"published": entry.published.results, "ours": entry.ours}
        values = [of[whose].get(name) for name, whose in columns]
        table.add_row(
            str(entry.path.relative_to(folder)), *("" if v is None else f"{100 * v:.1f}" for v in values)
        )
    print_wide(table, 32 + 20 * len(columns))
    for metric, flip in sorted(
        {(e.published.metric, e.published.flip) for e in facts if e.published.results}
    ):
        out.print(f"{metric} in percent; mirrored faces averaged in: {'yes' if flip else 'no'}")


def _json(facts: RecipeFacts) -> dict[str, Any]:
    return {"recipe": str(facts.path), **facts.published.model_dump(), "ours": dict(facts.ours)}
