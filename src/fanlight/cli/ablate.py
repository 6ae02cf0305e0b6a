"""``fanlight ablate``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import err, progress_bar
from fanlight.cli.train import TrainingBar, exit_code, leads

if TYPE_CHECKING:
    from fanlight.ablation.plan import Ablation
    from fanlight.data.faces import Faces


def ablate(
    file: Annotated[
        Path, typer.Argument(metavar="ABLATION.toml", help="What is compared.", show_default=False)
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change what all trainings share; may be repeated."),
    ] = None,
    index: Annotated[
        str, typer.Option(metavar="INDEX|PACK", help="The faces.", show_default="that of the recipe")
    ] = "",
    out_folder: Annotated[
        Path | None,
        typer.Option("--out", help="The ablation's folder.", show_default="runs/NAME OF THE FILE"),
    ] = None,
    device: Annotated[
        str, typer.Option(help="Where networks are judged: auto, cpu, cuda or cuda:N.")
    ] = "auto",
) -> None:
    """Train variants of a recipe under one budget, several seeds each, and compare them on the same faces.

    The same command goes on with one that was interrupted.
    """
    from fanlight.ablation.plan import load_ablation
    from fanlight.ablation.runner import carry_out

    ablation = load_ablation(file, settings or [], index)
    folder = out_folder or Path("runs") / file.stem
    faces = ablation.open()
    if leads():
        _check(ablation, faces)
    try:
        table = carry_out(ablation, faces, folder, device, _Lines())
    except KeyboardInterrupt as stop:
        if leads():
            err.print("stopped; the same command goes on")
        raise typer.Exit(exit_code(stop)) from None
    if table is not None:
        print(table, end="")
        err.print(f"ablation: {folder / 'table.md'}")


def _check(ablation: Ablation, faces: Faces) -> None:
    """Refuse budgets and faces that cannot be used before hours are spent, and tell who knows the judged faces."""
    from fanlight.ablation.training import budgeted
    from fanlight.cli.faces import check_with_bar, refuse
    from fanlight.cli.judge import Source

    recipes = [budgeted(ablation, variant, 0, faces) for variant in ablation.trained]
    needed = {name for recipe in recipes for name in (*recipe.data.train, *recipe.data.val)}
    chosen = faces.select(list(dict.fromkeys([*sorted(needed), *ablation.settings.judge])))
    refuse(chosen, check_with_bar(chosen, ablation.markup), skip=False)
    for variant in ablation.variants:
        if variant.checkpoint and variant.source == variant.name:
            source = Source(str(variant.checkpoint), faces, "cpu")
            source.warn(ablation.settings.judge, f"variant {variant.name}, ")


class _Lines:
    """Shows an ablation as a line for each training, with bars on a terminal; see ``Reporter``."""

    @contextmanager
    def training(self, name: str, seed: int, number: int, total: int) -> Iterator[TrainingBar]:
        if leads():
            err.print(f"{name}, seed {seed} ({number} of {total})")
        with TrainingBar() as bar:
            yield bar

    @contextmanager
    def looking(self, what: str) -> Iterator[Callable[[int], None]]:
        with progress_bar(what, None) as bar:
            yield bar.advance
