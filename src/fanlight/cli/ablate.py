"""``fanlight ablate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import err, progress_bar
from fanlight.cli.train import TrainingBar, leads

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
    from fanlight.data.opening import open_faces

    ablation = load_ablation(file, settings or [], index)
    folder = out_folder or Path("runs") / file.stem
    faces = open_faces(ablation.index)
    if leads():
        _check(ablation, faces)
    _train(ablation, faces, folder, device)


def _check(ablation: Ablation, faces: Faces) -> None:
    """Refuse faces that cannot be used before hours are spent."""
    from fanlight.cli.faces import check_with_bar, refuse

    recipes = [variant.recipe for variant in ablation.trained if variant.recipe]
    needed = {name for recipe in recipes for name in (*recipe.data.train, *recipe.data.val)}
    chosen = faces.select(
        [*sorted(needed), *(name for name in ablation.settings.judge if name not in needed)]
    )
    refuse(chosen, check_with_bar(chosen, ablation.markup), skip=False)


def _train(ablation: Ablation, faces: Faces, folder: Path, device: str) -> None:
    """Train every network, and predict with each as soon as it is trained."""
    from fanlight.ablation.judging import judged_by, predict_one
    from fanlight.ablation.training import train_one, trainings

    everything = list(trainings(ablation))
    for number, (variant, seed) in enumerate(everything, 1):
        if leads():
            err.print(f"{variant.name}, seed {seed} ({number} of {len(everything)})")
        with TrainingBar() as bar:
            train_one(ablation, variant, seed, faces, folder, bar)
        for judged in judged_by(ablation.variants, variant.name) if leads() else ():
            with progress_bar(f"judging {judged.name}", None) as judging:
                predict_one(ablation, judged, seed, faces, folder, device, judging.advance)
