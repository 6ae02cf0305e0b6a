"""The trained networks that come with fanlight, and what is to be known about any checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.model import FAN, FANOptions
from fanlight.provenance import file_digest

FOLDER = Path(__file__).parent / "weights"
DEFAULT = "small"


@dataclass(frozen=True)
class ModelFacts:
    """A network in figures.

    Attributes:
        name: to load it by.
        path: its file.
        bytes: size of the file.
        markup: name of its mark-up.
        points: number of landmarks.
        input_size: side of its crops in px.
        parameters: learnt numbers.
        flops: floating-point operations for one face, a multiplication and an addition counting as two.
        metrics: validation metrics by their keys, fractions.
    """

    name: str
    path: Path
    bytes: int
    markup: str
    points: int
    input_size: int
    parameters: int
    flops: int
    metrics: Mapping[str, float]


def names() -> list[str]:
    """The networks that come with fanlight."""
    return sorted(path.stem for path in FOLDER.glob("*.ckpt"))


def find(model: str | PathLike[str]) -> Path:
    """The file of a network, by the name of one that comes with fanlight, or by its path.

    Raises:
        InputError: there is no such name and no such file.
    """
    packaged = FOLDER / f"{model}.ckpt"
    if str(model) in names():
        return packaged
    path = Path(model)
    if not os.path.exists(path):
        raise InputError(
            f"{model}: no such checkpoint, and no network of that name comes with fanlight; there are: "
            f"{', '.join(names()) or 'none'}"
        )
    return path


def describe(model: str | PathLike[str]) -> ModelFacts:
    """A checkpoint in figures.

    Args:
        model: a name or a path, as for ``find``.

    Raises:
        InputError: there is no such checkpoint, or it cannot be read.
    """
    path = find(model)
    if path.suffix.lower() == ".onnx":
        raise InputError(f"{path}: an exported network; give the checkpoint that it was made from")
    checkpoint = load_checkpoint(path)
    return ModelFacts(
        name=path.stem if path.parent == FOLDER else str(model),
        path=path,
        bytes=path.stat().st_size,
        markup=checkpoint.markup.name,
        points=checkpoint.markup.count,
        input_size=checkpoint.options.input_size,
        parameters=count_parameters(checkpoint),
        flops=count_flops(checkpoint.options),
        metrics=checkpoint.metrics,
    )


def in_words(checkpoint: Checkpoint) -> dict[str, str]:
    """What a checkpoint's network is and how it is used, for people."""
    options, decoder, (x, y) = checkpoint.options, checkpoint.decoder, checkpoint.offset_image
    return {
        "Network": f"FAN of {options.stacks} x {options.features} features, "
        f"{count_parameters(checkpoint) / 1e6:.2f} M parameters",
        "Input": f"{options.input_size} px, heatmaps of {options.heatmap_size} px",
        "Mark-up": f"{checkpoint.markup.name}, {checkpoint.markup.count} points",
        "Crop": crop_in_words(checkpoint.crop),
        "Decoder": _DECODERS[decoder.kind].format(**vars(decoder)),
        **({"Offset": f"({x:g}, {y:g}) px"} if x or y else {}),
    }


def crop_in_words(crop: CropRule) -> str:
    """A crop rule for people."""
    moved = (
        f", moved by {crop.shift_x:g} widths and {crop.shift_y:g} heights"
        if crop.shift_x or crop.shift_y
        else ""
    )
    return f"{crop.scale:.3f} x {crop.measure} of the face box's sides{moved}"


def identity(path: str | PathLike[str], checkpoint: Checkpoint) -> dict[str, Any]:
    """Which network a report is about, in plain values: its file, the SHA-256, its recipe, its provenance."""
    return {
        "name": str(path),
        "sha256": file_digest(path),
        "recipe": dict(checkpoint.recipe),
        "provenance": dict(checkpoint.provenance),
    }


def count_parameters(checkpoint: Checkpoint) -> int:
    """How many numbers a network learnt; running statistics do not count."""
    with torch.device("meta"):
        return sum(values.numel() for values in FAN(checkpoint.options).parameters())


def count_flops(options: FANOptions) -> int:
    """Floating-point operations of the convolutions for one face, a multiplication and an addition being two."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        FAN(options)(torch.empty(1, 3, options.input_size, options.input_size))
    return counter.get_total_flops()


_DECODERS = {
    "centroid": "centroid, radius {radius:g}, gamma {gamma:g}, border {border}",
    "argmax": "argmax: the centre of the highest cell",
    "quarter": "argmax, moved 1/4 px towards the higher neighbours",
}
