"""Carrying an ablation out: train, predict, compare, and write what came out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from fanlight.ablation.comparison import Found, compare_variants
from fanlight.ablation.jitter import jitter_of
from fanlight.ablation.judging import predict_one
from fanlight.ablation.plan import Ablation
from fanlight.ablation.render import as_markdown, figure, jitter_figure
from fanlight.ablation.speed import faces_per_second
from fanlight.ablation.training import network_file, networks, train_one
from fanlight.checkpoint import load_checkpoint
from fanlight.data.faces import Faces
from fanlight.device import Team, join_team
from fanlight.durable import write_whole, writing_whole
from fanlight.judging.faces import provenance_of
from fanlight.judging.predictions import Predictions
from fanlight.locking import held
from fanlight.models import identity
from fanlight.progress import Progress


class Reporter(Protocol):
    """Is told how an ablation goes; the command line prints lines and bars."""

    def training(self, name: str, seed: int, number: int, total: int) -> AbstractContextManager[Progress]:
        """Training of the ``number``-th of ``total`` networks begins; what it gives is told how it goes."""

    def looking(self, what: str) -> AbstractContextManager[Callable[[int], None]]:
        """A look at faces begins; what it gives is called with their number now and then."""


def carry_out(ablation: Ablation, faces: Faces, folder: Path, device: str, reporter: Reporter) -> str | None:
    """Train and judge every network, and write the table, the plots and the figures.

    Every process of a ``torchrun`` calls this; they train each network together. What an earlier call finished is
    taken as it is, but for jitter and the loaders' speed.

    Args:
        ablation: what is compared.
        faces: the checked faces of the index.
        folder: where everything goes.
        device: where networks are judged.
        reporter: told how it goes.

    Returns:
        The table, in the leading process; None in others.

    Raises:
        InputError: as ``train_one`` and ``predict_one``, or the folder cannot be written or is at work already.
    """
    found: dict[tuple[str, int], Predictions] = {}
    everything = list(networks(ablation))
    with join_team(ablation.device) as team, _alone_in(folder, team):  # once for all trainings
        for number, (variant, seed) in enumerate(everything, 1):
            if variant.is_trained:
                with reporter.training(variant.name, seed, number, len(everything)) as progress:
                    train_one(ablation, variant, seed, faces, folder, progress)
            for judged in ablation.variants if team.leads else ():
                if judged.source == variant.name:
                    with reporter.looking(f"judging {judged.name}") as advance:
                        found[judged.name, seed] = predict_one(
                            ablation, judged, seed, faces, folder, device, advance
                        )
        return _write(ablation, faces, found, folder, device, reporter) if team.leads else None


def _alone_in(folder: Path, team: Team) -> AbstractContextManager[None]:
    """Let the leading process keep other ablations out of the folder."""
    return held(folder) if team.leads else nullcontext()


def _write(
    ablation: Ablation, faces: Faces, found: Found, folder: Path, device: str, reporter: Reporter
) -> str:
    results = {
        **_about(ablation, faces, folder),
        "partitions": compare_variants(ablation, faces, found),
        "jitter": {},
    }
    if ablation.settings.jitter:
        with reporter.looking("moving photos") as advance:
            results["jitter"] = jitter_of(ablation, faces, folder, device, advance)
    text = as_markdown(results)
    write_whole(folder / "ablation.json", json.dumps(results, indent=2))
    with writing_whole(folder / "plot.png") as file:
        figure(results).savefig(file, format="png", dpi=150)
    if results["jitter"]:
        with writing_whole(folder / "jitter.png") as file:
            jitter_figure(results).savefig(file, format="png", dpi=150)
    write_whole(folder / "table.md", text)
    return text


def _provenance(ablation: Ablation, faces: Faces, folder: Path) -> dict[str, Any]:
    """Where the figures come from."""
    found = []
    for variant, seed in networks(ablation):
        path = network_file(folder, variant, seed)
        found.append(identity(path, load_checkpoint(path)) | {"name": f"{variant.name}, seed {seed}"})
    return provenance_of(faces, found)


def _about(ablation: Ablation, faces: Faces, folder: Path) -> dict[str, Any]:
    """What was compared, with what."""
    settings = ablation.settings
    loader = faces_per_second(ablation.trained, faces) if settings.speed else {}
    return {
        **settings.model_dump(include={"title", "seeds", "images", "minutes", "flip", "metrics"}),
        "index_sha256": faces.sha256,
        "versions": {name: version(name) for name in ("fanlight", "torch", "numpy")},
        "provenance": _provenance(ablation, faces, folder),
        "variants": {
            variant.name: {
                "title": variant.title,
                "changes": settings.variant[variant.name].model_dump(
                    exclude={"title"}, exclude_defaults=True
                ),
                **({"loader": loader[variant.name]} if variant.name in loader else {}),
            }
            for variant in ablation.variants
        },
        "claims": {
            name: {**claim.model_dump(), "title": claim.title or name}
            for name, claim in settings.claim.items()
        },
    }
