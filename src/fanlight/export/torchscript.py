"""Export to TorchScript."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch.jit._trace import TracerWarning

from fanlight.checkpoint import Checkpoint
from fanlight.durable import side_file
from fanlight.export.check import ExampleFaces, Exported, check, distances
from fanlight.export.locator import Locator, examples, metadata
from fanlight.geometry import Floats
from fanlight.metadata import KEY
from fanlight.network import Crops


def export_torchscript(
    checkpoint: Checkpoint, path: str | PathLike[str], faces: ExampleFaces, heatmaps: bool = False
) -> Exported:
    """Write a network as one frozen TorchScript file, for C++ and for Python without fanlight.

    Inputs, outputs and frame are those of ``export_onnx``; the outputs are a tuple in that order. The JSON that
    ONNX files carry is in the extra file ``fanlight`` (``_extra_files`` of ``torch.jit.load``).

    Args:
        checkpoint: the network.
        path: the file to write.
        faces: what to compare the file's landmarks with PyTorch's on.
        heatmaps: give them as a fourth output.

    Raises:
        InputError: the file cannot be written, or a landmark differs by more than 1e-3 px (no file is left then).
    """
    locator = Locator(checkpoint, heatmaps)
    crops = examples(locator.input_size)
    with side_file(path) as side, torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)  # the crops' size is fixed, and meant to be
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)  # that is the format asked for
        scripted = torch.jit.freeze(torch.jit.trace(locator, (crops,), strict=False))
        text = metadata(checkpoint, faces, locator.outputs)
        with side.open("wb") as file:
            torch.jit.save(scripted, file, _extra_files={KEY: text})
        apart = distances(checkpoint, _runner(torch.jit.load(str(side))), faces)
        check(Path(path), apart, faces)
    return Exported(Path(path), float(apart.mean()), float(apart.max()))


def _runner(scripted: Any) -> Any:
    def landmarks(crops: Crops) -> Floats:
        with torch.no_grad():
            return scripted(torch.from_numpy(crops))[0].double().numpy()

    return landmarks
