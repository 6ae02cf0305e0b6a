"""The trainings of an ablation: every trained variant once for each seed, under one budget."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fanlight.ablation.plan import Ablation, Variant
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.errors import InputError
from fanlight.progress import Progress
from fanlight.resuming import LAST
from fanlight.run import can_go_on, open_recipe
from fanlight.train import train


def run_folder(folder: Path, variant: Variant, seed: int) -> Path:
    """Where the run of a variant's network lies; of the variant ``of`` which it is."""
    return folder / "runs" / variant.source / f"seed{seed}"


def network_file(folder: Path, variant: Variant, seed: int) -> Path:
    """The checkpoint to judge: the weights at the end of the budget, or the one that was given."""
    return variant.checkpoint or run_folder(folder, variant, seed) / LAST


def networks(ablation: Ablation) -> Iterator[tuple[Variant, int]]:
    """All networks by variant and seed; every variant has its first seed before any has its second."""
    for at, seed in enumerate(ablation.settings.seeds):
        for variant in ablation.variants:
            if variant.is_trained or (variant.source == variant.name and at == 0):
                yield variant, seed


def train_one(
    ablation: Ablation, variant: Variant, seed: int, faces: Faces, folder: Path, progress: Progress
) -> None:
    """Train a network, or go on where an earlier call was interrupted; one that is done is left as it is.

    Args:
        ablation: what is compared.
        variant: a trained one.
        seed: of its weights, order and augmentation.
        faces: the checked faces of the index.
        folder: the ablation's.
        progress: told how it goes.

    Raises:
        InputError: as ``train``; or the run's folder holds one of other settings.
    """
    recipe = budgeted(ablation, variant, seed, faces)
    run = run_folder(folder, variant, seed)
    goes_on = can_go_on(run)
    if goes_on:
        _check_same(run, recipe)
    chosen = faces.select([*recipe.data.train, *recipe.data.val])
    try:
        train(recipe, chosen, run, progress, resume=goes_on)
    except InputError as error:
        raise InputError(
            f"{variant.name}, seed {seed}: {error}. In an ablation a changed recipe needs another --out"
        ) from None


def budgeted(ablation: Ablation, variant: Variant, seed: int, faces: Faces) -> Recipe:
    """A variant's recipe with its seed, and the budget in place of its own length.

    A budget of images ends after as many optimiser steps as they fill, and one of minutes when these are over;
    the schedule ends with it either way.

    Raises:
        InputError: the budget or an epoch does not fill a batch.
    """
    recipe, settings = variant.recipe, ablation.settings
    if recipe is None:
        raise ValueError(f"{variant.name} is not trained")
    train_settings: dict[str, float] = {"seed": seed}
    if settings.minutes:
        train_settings |= {"max_minutes": settings.minutes, "epochs": 1e6}
        schedule = {"clock": "time"}
    else:
        counts = faces.select(recipe.data.train).partitions()
        epoch = sum(count * recipe.data.repeat.get(name, 1) for name, count in counts.items())
        batch = recipe.train.batch_size
        if min(epoch, settings.images) < batch:
            raise InputError(
                f"variant {variant.name}: train.batch_size = {batch} is more than the {epoch} faces of an epoch "
                f"or the {settings.images} images of the budget: take a smaller one"
            )
        train_settings |= {"max_minutes": 0.0, "epochs": settings.images // batch / (epoch // batch)}
        schedule = {"clock": "epochs"}
    return recipe.model_copy(
        update={
            "train": recipe.train.model_copy(update=train_settings),
            "schedule": recipe.schedule.model_copy(update=schedule),
        }
    )


def _check_same(run: Path, recipe: Recipe) -> None:
    """Refuse to take a run for one that it is not."""
    before, now = open_recipe(run).to_dict(), recipe.to_dict()
    changed = sorted(
        f"{table}.{key}"
        for table in now
        for key in {**before.get(table, {}), **now[table]}
        if before.get(table, {}).get(key) != now[table].get(key)
    )
    if changed:
        raise InputError(
            f"{run}: holds a run of other settings ({', '.join(changed)}): give another --out, or "
            "remove that folder to train it anew"
        )
