"""``fanlight ablate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import err, progress_bar
from fanlight.cli.train import TrainingBar, leads

if TYPE_CHECKING:
    from fanlight.ablation.comparison import Found
    from fanlight.ablation.plan import Ablation
    from fanlight.data.faces import Faces
    from fanlight.judging.predictions import Predictions


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
    from fanlight.device import join_team

    ablation = load_ablation(file, settings or [], index)
    folder = out_folder or Path("runs") / file.stem
    faces = open_faces(ablation.index)
    if leads():
        _check(ablation, faces)
    with join_team(ablation.device):  # once for all trainings
        found = _train(ablation, faces, folder, device)
    if leads():
        text, where = _write(ablation, faces, found, folder, device)
        print(text, end="")
        err.print(f"ablation: {where}")


def _check(ablation: Ablation, faces: Faces) -> None:
    """Refuse faces that cannot be used before hours are spent."""
    from fanlight.cli.faces import check_with_bar, refuse

    recipes = [variant.recipe for variant in ablation.trained if variant.recipe]
    needed = {name for recipe in recipes for name in (*recipe.data.train, *recipe.data.val)}
    chosen = faces.select(
        [*sorted(needed), *(name for name in ablation.settings.judge if name not in needed)]
    )
    refuse(chosen, check_with_bar(chosen, ablation.markup), skip=False)


def _train(ablation: Ablation, faces: Faces, folder: Path, device: str) -> Found:
    """Train every network, and predict with each as soon as it is trained."""
    from fanlight.ablation.judging import predict_one
    from fanlight.ablation.training import networks, train_one

    found: dict[tuple[str, int], Predictions] = {}
    everything = list(networks(ablation))
    for number, (variant, seed) in enumerate(everything, 1):
        if variant.is_trained:
            if leads():
                err.print(f"{variant.name}, seed {seed} ({number} of {len(everything)})")
            with TrainingBar() as bar:
                train_one(ablation, variant, seed, faces, folder, bar)
        if not leads():
            continue
        for judged in ablation.variants:
            if judged.source == variant.name:
                with progress_bar(f"judging {judged.name}", None) as judging:
                    found[judged.name, seed] = predict_one(
                        ablation, judged, seed, faces, folder, device, judging.advance
                    )
    return found


def _write(ablation: Ablation, faces: Faces, found: Found, folder: Path, device: str) -> tuple[str, Path]:
    """Write the figures, the table and the plots; gives the table and where it is."""
    from fanlight.ablation.comparison import compare_variants
    from fanlight.ablation.jitter import jitter_of
    from fanlight.ablation.render import as_markdown, figure, jitter_figure
    from fanlight.ablation.speed import faces_per_second
    from fanlight.results import replacing

    settings = ablation.settings
    loader = faces_per_second(ablation.trained, faces) if settings.speed else {}
    with progress_bar("moving photos", None) as bar:
        jitter = jitter_of(ablation, faces, folder, device, bar.advance)
    results = {
        **settings.model_dump(include={"title", "seeds", "images", "minutes", "flip", "metrics"}),
        "index_sha256": faces.sha256,
        "variants": {
            v.name: {"title": v.title, **({"loader": loader[v.name]} if v.name in loader else {})}
            for v in ablation.variants
        },
        "claims": {
            name: {**claim.model_dump(), "title": claim.title or name}
            for name, claim in settings.claim.items()
        },
        "partitions": compare_variants(ablation, faces, found),
        "jitter": jitter,
    }
    text = as_markdown(results)
    with replacing(folder / "ablation.json") as side:
        side.write_text(json.dumps(results, indent=2), encoding="utf-8")
    with replacing(folder / "plot.png") as side:
        figure(results).savefig(side, dpi=150)
    if jitter:
        with replacing(folder / "jitter.png") as side:
            jitter_figure(results).savefig(side, dpi=150)
    with replacing(folder / "table.md") as side:
        side.write_text(text, encoding="utf-8")
    return text, folder / "table.md"
