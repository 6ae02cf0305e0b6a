"""The ``fanlight`` command."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from fanlight.errors import InputError

app = typer.Typer(
    name="fanlight",
    help="Train, judge and use Face Alignment Networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data_app = typer.Typer(name="data", help="Check, show and make data.", no_args_is_help=True)
app.add_typer(data_app)

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> None:
    """Run the command; a fault of the input is a message and exit code 2, never a traceback."""
    try:
        app()
    except InputError as error:
        err.print(f"[red]fanlight:[/] {escape(str(error))}")
        sys.exit(2)


class TrainingBar:
    """Shows a training as a bar on a terminal, and each validation as a line."""

    def __init__(self) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._task = self._bar.add_task("training", total=1.0, status="")

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, total_steps: int, step: int) -> None:
        """Say where training starts."""
        if step:
            err.print(f"going on after step {step}")

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """Move the bar."""
        text = "  ".join(f"{name} {value:.3g}" for name, value in status.items())
        self._bar.update(self._task, completed=share, status=f"step {step}  {text}")

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """Print a line."""
        figures = "  ".join(
            f"{name} {100 * row[name]:.2f} %"
            for name in row
            if name.startswith(("nme_", "auc_", "fr_", "macc_"))
        )
        err.print(
            f"epoch {row['epoch']:6.2f}  {row['minutes']:6.1f} min  loss {row['train_total']:.3g}  {figures}"
            f"{'  *' if best else ''}"
        )


@app.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe in TOML.", show_default=False)] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder [default: runs/RECIPE].")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in this folder.")] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid", help="Leave out faces that cannot be used; their list goes to the run."
        ),
    ] = False,
) -> None:
    """Train a network by a recipe."""
    from fanlight.config import load_recipe
    from fanlight.run import open_recipe
    from fanlight.train import train as run_training

    if (recipe is None) == (resume is None):
        raise InputError("give a recipe to begin a run, or --resume RUN to go on with one")
    if recipe is not None:
        checked = load_recipe(recipe, settings or [])
        folder = out_folder or Path("runs") / recipe.stem
        if (folder / "checkpoints").exists():
            raise InputError(
                f"{folder}: holds a run already: go on with it by --resume {folder}, or choose another --out"
            )
    else:
        assert resume is not None
        folder, checked = resume, open_recipe(resume)
    from fanlight.data.index import Index

    index = Index.read(checked.data.index)
    with TrainingBar() as bar:
        outcome = run_training(checked, index, folder, bar, resume=resume is not None)
    if outcome:
        err.print("the best of validation:")
        for name, value in outcome.metrics.items():
            out.print(f"{name:24} {100 * value:.2f} %")
        out.print(str(outcome.best))


@app.command()
def evaluate(checkpoint: Path) -> None:
    """Judge."""
    print(json.dumps({}))
