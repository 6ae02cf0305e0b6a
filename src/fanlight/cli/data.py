"""``fanlight data``: prepare archives, check and pack an index, look at it, make synthetic faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from fanlight.cli import check, pack, prepare
from fanlight.cli.console import err, out, progress_bar
from fanlight.cli.faces import FacesArgument, MarkupOption, PartitionsOption, markup_of
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.detector_fit import FacePairs
    from fanlight.geometry import CropRule

app = typer.Typer(help="Check, show and make data.", no_args_is_help=True)
app.command("prepare")(prepare.prepare)
app.command("pack")(pack.pack)
app.command("check")(check.check)


@app.command("show")
def show(
    index: FacesArgument,
    sheet: Annotated[Path, typer.Option("--out", metavar="SHEET.png", help="The picture to write.")],
    augmented: Annotated[
        bool, typer.Option("--augmented", help="Show what the network sees in training.")
    ] = False,
    partition: PartitionsOption = None,
    count: Annotated[int, typer.Option("-n", min=1, help="How many faces.")] = 40,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Crop, input size and augmentation of this recipe, not of the default."),
    ] = None,
    markup: MarkupOption = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of faces, and of the augmentation.")] = 0,
) -> None:
    """Draw a contact sheet of faces with their landmarks, as cropped for the network."""
    from fanlight.augment_settings import AugmentSettings
    from fanlight.config import load_recipe
    from fanlight.data.augment import Augmentation
    from fanlight.data.dataset import FaceDataset
    from fanlight.data.opening import open_faces
    from fanlight.draw import contact_sheet, overlay
    from fanlight.geometry import CropRule
    from fanlight.image import write_image

    faces = open_faces(index)
    faces = faces.select(partition) if partition else faces
    crop, size, augment = CropRule(), 256, AugmentSettings()
    if recipe is not None:
        settings = load_recipe(recipe)
        crop, size, augment = settings.crop, settings.model.input_size, settings.augment
        markup = markup or settings.data.markup
    chosen = markup_of(faces, markup)
    picked = np.sort(np.random.default_rng(seed).permutation(len(faces))[:count])
    faces = faces.take(picked)
    augmentation = Augmentation(augment, size, chosen.mirror) if augmented else None
    dataset = FaceDataset(faces, chosen, crop, size, augmentation, seed)
    items = [dataset[(0, position)] for position in range(len(dataset))]
    pictures = [overlay(item["image"].numpy(), item["landmarks"].numpy(), chosen) for item in items]
    write_image(sheet, contact_sheet(pictures, [faces.name(position) for position in range(len(faces))]))
    out.print(str(sheet))


@app.command("synth")
def synth(
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many faces.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the faces; the same seed draws the same ones.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw.")] = 2,
) -> None:
    """Draw synthetic faces with exact landmarks: photos, labels and an index (synthetic/train, val, test)."""
    from fanlight.data.synthetic import write_faces

    with progress_bar("drawing faces", count) as bar:
        index = write_faces(folder, count, seed, workers=workers, progress=bar.reach)
    out.print(str(index))


@app.command("fit-crop")
def fit_crop(
    index: FacesArgument,
    detector: Annotated[
        str, typer.Option(metavar="NAME|MODULE:FUNCTION", help="A packaged detector, yours, or landmarks.")
    ],
    partition: Annotated[
        list[str] | None, typer.Option(metavar="SUBSET/SPLIT", help="Fit to these; may be repeated.")
    ] = None,
    val: Annotated[
        list[str] | None, typer.Option(metavar="SUBSET/SPLIT", help="Also print the error on these.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=10, help="At most so many faces of each partition.")] = 500,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Fit to the crops of this network, and store the rule in it.")
    ] = None,
    copy: Annotated[
        Path | None, typer.Option("--out", help="Store the rule in a copy of the checkpoint, here.")
    ] = None,
) -> None:
    """Fit the crop rule to a detector: its boxes then give the crops that the index's boxes give."""
    from fanlight.checkpoint import load_checkpoint, save_checkpoint
    from fanlight.data.opening import open_faces
    from fanlight.detector_fit import pair_faces, spread, together
    from fanlight.geometry import CropRule

    if copy is not None and checkpoint is None:
        raise InputError("--out is for a copy of a checkpoint: name that by --checkpoint")
    loaded = None if checkpoint is None else load_checkpoint(checkpoint)
    trained = CropRule() if loaded is None else loaded.crop
    faces = open_faces(index)
    fitted = {name: spread(faces, name, count) for name in partition or faces.partitions()}
    judged = {name: spread(faces, name, count) for name in val or ()}
    with progress_bar("finding faces", sum(map(len, [*fitted.values(), *judged.values()]))) as bar:
        pairs = {
            name: pair_faces(some, detector, trained, bar.advance)
            for name, some in {**fitted, **judged}.items()
        }
    rule = together([pairs[name] for name in fitted]).fit()
    _print_fit(rule, trained, pairs)
    if loaded is not None and checkpoint is not None:
        crops = {**loaded.crops, detector: rule}
        target = save_checkpoint(copy or checkpoint, replace(loaded, crops=crops))
        err.print(f"stored in {target}")


def _print_fit(rule: CropRule, trained: CropRule, pairs: Mapping[str, FacePairs]) -> None:
    """The rule, and how far it is off on each partition."""
    out.print(
        f'scale = {rule.scale}, measure = "{rule.measure}", shift_x = {rule.shift_x}, shift_y = {rule.shift_y}'
    )
    for name, some in pairs.items():
        out.print(f"{name}: {len(some.boxes)} faces found, {some.missed} missed")
        out.print(f"  by the rule of the training: {some.errors(trained)}")
        out.print(f"  by the fitted rule:          {some.errors(rule)}")
