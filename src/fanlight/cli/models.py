"""``fanlight models``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fanlight.cli.console import out, print_wide

if TYPE_CHECKING:
    from fanlight.models import ModelFacts

SHOWN = ("auc_box_0.07", "nme_box")


def models(
    others: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CHECKPOINT]...", help="Checkpoints to describe instead of those included."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of a table.")] = False,
) -> None:
    """List the trained networks that come with fanlight, or describe others."""
    from fanlight.models import describe, names

    facts = [describe(name) for name in others or names()]
    if as_json:
        print(json.dumps([{**asdict(entry), "path": str(entry.path)} for entry in facts], indent=2))
        return
    table = Table(
        "name", "points", "input", "parameters", "operations", "file", *(_title(key) for key in SHOWN)
    )
    for entry in facts:
        table.add_row(*_cells(entry))
    print_wide(table, 120)
    out.print(
        "metrics in percent, on the faces that chose the checkpoint, mirrored faces averaged in if training did so"
    )
    for entry in facts:
        out.print(f"{entry.name}: {entry.path}", soft_wrap=True)


def _title(key: str) -> str:
    from fanlight.metric import Metric

    return Metric.parse(key).title


def _cells(facts: ModelFacts) -> tuple[str, ...]:
    return (
        facts.name,
        f"{facts.points} ({facts.markup})",
        f"{facts.input_size} px",
        f"{facts.parameters / 1e6:.2f} M",
        f"{facts.flops / 1e9:.1f} GFLOP",
        f"{facts.bytes / 1e6:.1f} MB",
        *(f"{100 * facts.metrics[key]:.2f}" if key in facts.metrics else "" for key in SHOWN),
    )
