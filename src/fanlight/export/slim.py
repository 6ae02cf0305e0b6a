"""Export to a checkpoint that is fit to be given away."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from fanlight.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fanlight.durable import side_file
from fanlight.export.check import ExampleFaces, Exported, distances
from fanlight.network import TorchNetwork


def export_slim(checkpoint: Checkpoint, path: str | PathLike[str], faces: ExampleFaces) -> Exported:
    """Write a slim checkpoint (see ``slim``), and say what half precision moves.

    Args:
        checkpoint: the network.
        path: the file to write.
        faces: what to compare its landmarks on.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    with side_file(path) as side:
        save_checkpoint(side, slim(checkpoint))
        written = TorchNetwork(load_checkpoint(side))
        apart = distances(checkpoint, lambda crops: written(crops).landmarks, faces)
    return Exported(path, float(apart.mean()), float(apart.max()))


def slim(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint to give away: kernels in half precision, nothing to go on training with, and no folders.

    Kernels become float16; norms, biases and running statistics stay as they are. Paths in the recipe and the
    provenance keep their last part only.
    """
    return replace(
        checkpoint,
        weights={
            name: values.half() if values.dim() == 4 else values
            for name, values in checkpoint.weights.items()
        },
        recipe=_without_folders(checkpoint.recipe),
        provenance=_without_folders(checkpoint.provenance),
        training={},
    )


def _without_folders(values: Any, name: str = "") -> Any:
    """Plain values whose absolute paths, alone or as words of a ``command``, are cut to their last part."""
    if isinstance(values, Mapping):
        return {key: _without_folders(value, str(key)) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_without_folders(value) for value in values]
    if not isinstance(values, str):
        return values
    return _short_command(values) if name == "command" else _last_part(values)


def _short_command(text: str) -> str:
    try:
        return shlex.join(map(_last_part, shlex.split(text)))
    except ValueError:  # an older one, whose words are not quoted
        return " ".join(map(_last_part, text.split(" ")))


def _last_part(word: str) -> str:
    key, equals, value = word.rpartition("=")
    return key + equals + (Path(value).name if Path(value).is_absolute() else value)
