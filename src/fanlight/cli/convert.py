"""``fanlight convert``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanlight.cli.console import out
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.checkpoint import Checkpoint


class PoolingName(StrEnum):
    """Kinds of pooling."""

    MAX = "max"
    AVERAGE = "average"


class PackageName(StrEnum):
    """Packages whose crop rules are known."""

    IBUG = "ibug"
    FACE_ALIGNMENT = "face-alignment"


def convert(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="WEIGHTS",
            help="A state dict, a TorchScript archive, or a checkpoint of the public FAN training code.",
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="NAME.ckpt",
            help="The checkpoint to write, or write over; WEIGHTS' name here.",
        ),
    ] = None,
    pooling: Annotated[
        PoolingName | None,
        typer.Option(
            help="What the tensors do not show; known for the published files by their names, as all else below "
            "is for files that fanlight exported."
        ),
    ] = None,
    markup: Annotated[
        str | None, typer.Option(help="Mark-up of its landmarks: a name or a file.", show_default="ibug68")
    ] = None,
    crop: Annotated[
        PackageName | None,
        typer.Option(
            help="How a face box becomes a crop: as in this package; by the file's name, else ibug, if not given."
        ),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(
            metavar="PX",
            show_default="0.5",
            help="Added to its landmarks in x and y: 0.5 for labels that are .pts files less 1, as in the public "
            "code, 0 for networks of fanlight.",
        ),
    ] = None,
    input_size: Annotated[
        int | None, typer.Option(help="Side of its crops in px.", show_default="256")
    ] = None,
    stem_stride: Annotated[
        int | None, typer.Option(help="Stride of its first convolution.", show_default="2")
    ] = None,
    stem_pool: Annotated[
        int | None, typer.Option(help="Pooling inside its stem, 1 for none.", show_default="2")
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="If it cannot be read otherwise, run code from WEIGHTS: only if you know its maker.",
        ),
    ] = False,
) -> None:
    """Make a checkpoint of weights of ibug.face_alignment or face-alignment; export --format ibug goes back."""
    from fanlight import convert as converting
    from fanlight.checkpoint import save_checkpoint

    path = file or Path(f"{weights.name.split('.')[0]}.ckpt")
    if path.suffix.lower() != ".ckpt" or os.path.realpath(path) == os.path.realpath(weights):
        raise InputError(
            f"--out {path}: should be another file than WEIGHTS, and end in .ckpt, such as mine.ckpt"
        )
    options = {
        "pooling": pooling.value if pooling else None,
        "crop": crop.value if crop else None,
        "markup": markup,
        "offset_px": offset,
        "input_size": input_size,
        "stem_stride": stem_stride,
        "stem_pool": stem_pool,
    }
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    unseen = converting.Unseen(**given) if given else None
    _report(save_checkpoint(path, checkpoint := converting.convert(weights, unseen, trust)), checkpoint)


def _report(path: Path, checkpoint: Checkpoint) -> None:
    from fanlight.models import count_parameters

    options, crop = checkpoint.options, checkpoint.crop
    out.print(
        f"{path}: {options.stacks} stacks, {options.features} features, {options.points} points "
        f"({checkpoint.markup.name}), {options.norm} norm, {len(checkpoint.weights)} tensors, "
        f"{count_parameters(checkpoint) / 1e6:.2f} M parameters"
    )
    out.print(
        f"taken as given, for the tensors do not show it: pooling {options.pooling}; crops of "
        f"{options.input_size} px, {crop.scale:.4g} times the box's mean side, moved by {crop.shift_y:g} of its "
        f"height; landmarks are moved by {checkpoint.offset_image[0]:g} px in x and y"
    )
