"""``fanlight train``."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fanlight.cli.console import err, out, print_titled
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.config import Recipe
    from fanlight.data.faces import Faces, Problem

SKIPPED = "skipped.tsv"  # as in fanlight.run, which is slow to import


def train(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE.toml", help="A recipe.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
    ] = None,
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The run's folder.", show_default="runs/NAME OF THE RECIPE")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="RUN", help="Go on with the run in this folder.")
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid", help=f"Leave out faces that cannot be used; RUN/{SKIPPED} lists them."
        ),
    ] = False,
) -> None:
    """Train a network by a recipe, or go on with a run.

    Several GPUs: torchrun --nproc-per-node=GPUS -m fanlight train RECIPE.toml
    """
    folder, checked = _open(recipe, settings or [], out_folder, resume)
    skip_invalid |= resume is not None and (folder / SKIPPED).exists()  # as the run did when it began
    faces, skipped = check_data(checked, folder, skip_invalid)
    from fanlight.train import train as run

    with stopped_with_advice(folder), TrainingBar() as bar:
        outcome = run(checked, faces, folder, bar, resume=resume is not None, skipped=skipped)
    if outcome:
        why = "all epochs are done" if outcome.stopped == "epochs" else "the time is up"
        out.print(f"{why}; the best checkpoint on {', '.join(checked.data.val)}:")
        for name, value in outcome.metrics.items():
            out.print(f"  {name:20} {100 * value:6.2f} %")
        out.print(str(outcome.best))


def _open(
    recipe: Path | None, settings: list[str], out_folder: Path | None, resume: Path | None
) -> tuple[Path, Recipe]:
    """The run's folder and its checked recipe."""
    from fanlight.config import load_recipe
    from fanlight.run import can_go_on, open_recipe, refuse_existing

    if resume is not None:
        if recipe is not None or settings or out_folder is not None:
            raise InputError(
                "--resume RUN goes on with the run's own recipe and folder: leave out everything else"
            )
        settled = open_recipe(resume)
        if not can_go_on(resume):
            raise InputError(
                f"{resume}: ended before its first validation, so there is nothing to go on with: begin it anew "
                f"by fanlight train {resume / 'recipe.toml'} --out {resume}"
            )
        return resume, settled
    if recipe is None:
        raise InputError("give a recipe to begin a run with, or --resume RUN to go on with one")
    folder = out_folder or Path("runs") / recipe.stem
    refuse_existing(folder)
    return folder, load_recipe(recipe, settings)


def check_data(recipe: Recipe, folder: Path, skip_invalid: bool) -> tuple[Faces, list[Problem]]:
    """The faces of the recipe's partitions, every one of them usable, and what kept others out."""
    from fanlight.cli.faces import check_with_bar, refuse, tell_skipped
    from fanlight.markup import Markup

    faces = recipe.data.open().select([*recipe.data.train, *recipe.data.val])
    is_leading = leads()
    if not is_leading and not skip_invalid:
        return faces, []  # the leading process checks for all
    problems = check_with_bar(faces, Markup.load(recipe.data.markup))
    bad = refuse(faces, problems, skip_invalid)
    if is_leading:
        tell_skipped(len(bad), faces, folder / SKIPPED)
    return faces.drop(bad), problems


@contextlib.contextmanager
def stopped_with_advice(folder: Path, advice: str = "") -> Iterator[None]:
    """Say how to go on after Ctrl-C, and after SIGTERM, by which torchrun and SLURM stop a process."""
    from fanlight.run import how_to_go_on
    from fanlight.stopping import Stopped

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        raise Stopped("stopped at once", number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt as stop:  # one that has saved where it was says so
        if leads():
            err.print(f"{stop if stop.args else 'stopped at once'}; {advice or how_to_go_on(folder)}")
        raise typer.Exit(exit_code(stop)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code(stop: KeyboardInterrupt) -> int:
    """As shells have it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
    from fanlight.stopping import Stopped

    return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)


def leads() -> bool:
    """True for the one process of a torchrun that prints and writes."""
    return os.environ.get("RANK", "0") == "0"


class TrainingBar:
    """Shows a training as a bar on a terminal, and each validation as a line."""

    def __init__(self) -> None:
        columns = (
            TextColumn("training"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
        )
        self._bar = Progress(*columns, console=err, disable=not (err.is_terminal and leads()), transient=True)
        self._task = self._bar.add_task("training", total=1.0, status="")

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, total_steps: int, step: int) -> None:
        """Say where training starts."""
        if step:
            err.print(f"going on after step {step} of {total_steps}")

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """Move the bar."""
        figures = "  ".join(f"{name} {value:.3g}" for name, value in status.items())
        self._bar.update(self._task, completed=share, status=f"step {step}  {figures}")

    def warned(self, message: str) -> None:
        """Print it."""
        print_titled("warning:", "bold yellow", message)

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """Print a line."""
        metrics = [name for name in row if name.startswith(("nme_", "auc_", "fr_", "macc_"))]
        figures = "  ".join(f"{name} {100 * row[name]:5.2f} %" for name in metrics)
        err.print(
            f"epoch {row['epoch']:6.2f}  {row['minutes']:5.1f} min  loss {row['train_total']:.3e}  {figures}"
            f"{'  best' if best else ''}"
        )
