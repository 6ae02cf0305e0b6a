"""Every way to run a checkpoint's network, each as a function from crops to landmarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fanlight.checkpoint import Checkpoint
from fanlight.errors import InputError
from fanlight.export import ExampleFaces, export_onnx, export_onnx_int8, export_torchscript
from fanlight.network import Crops, TorchNetwork
from fanlight.onnx_network import OnnxNetwork

Landmarks = NDArray[np.floating[Any]]
Run = Callable[[Crops], Landmarks]  # crops (B, S, S, 3) -> landmarks (B, L, 2) in crop px

BFLOAT16 = "PyTorch, bfloat16"
INT8 = "ONNX Runtime, int8"


def build_engines(
    checkpoint: Checkpoint, folder: Path, crops: Crops, calibration: Crops, skip: Sequence[str] = ()
) -> tuple[dict[str, Run], dict[str, str]]:
    """Every engine that runs here, and for the others the reason why not.

    Args:
        checkpoint: the network.
        folder: where exported files go.
        crops: (N, S, S, 3), at least one, which exports are checked on.
        calibration: (N, S, S, 3), whose values set the ranges of 8-bit integers.
        skip: engines to leave out.
    """
    faces = ExampleFaces(crops[:32], "the benchmark's faces")
    makers: dict[str, Callable[[], Run]] = {
        "PyTorch": lambda: of_network(TorchNetwork(checkpoint)),
        "PyTorch, channels first": lambda: of_network(channels_first(checkpoint)),
        BFLOAT16: lambda: of_network(TorchNetwork(checkpoint, precision="bfloat16")),
        "torch.compile": lambda: compiled(checkpoint),
        "TorchScript": lambda: torchscript(export_torchscript(checkpoint, folder / "n.pt", faces).path),
        "ONNX Runtime": lambda: of_network(
            OnnxNetwork(export_onnx(checkpoint, folder / "n.onnx", faces).path, threads=1)
        ),
        INT8: lambda: of_network(
            OnnxNetwork(export_onnx_int8(checkpoint, folder / "q.onnx", faces, calibration).path, threads=1)
        ),
        "OpenVINO": lambda: openvino(folder / "n.onnx"),
    }
    engines, missing = {}, {}
    for name, make in makers.items():
        if name in skip:
            continue
        try:
            run = make()
            run(crops[:1])
            engines[name] = run
        except (InputError, ImportError, RuntimeError) as error:
            missing[name] = str(error).strip().splitlines()[0][:120]
    return engines, missing


def of_network(network: TorchNetwork | OnnxNetwork) -> Run:
    """Its landmarks."""
    return lambda crops: network(crops).landmarks


def channels_first(checkpoint: Checkpoint) -> TorchNetwork:
    """PyTorch with its usual order in memory."""
    network = TorchNetwork(checkpoint)
    network.model = checkpoint.build()
    return network


def compiled(checkpoint: Checkpoint) -> Run:
    """The network compiled, for each batch size anew; needs a C++ compiler."""
    network = TorchNetwork(checkpoint)
    network.model = torch.compile(network.model, dynamic=False)
    return of_network(network)


def torchscript(path: Path) -> Run:
    """A frozen file, run by PyTorch."""
    scripted = torch.jit.load(path)

    def run(crops: Crops) -> Landmarks:
        with torch.inference_mode():
            return scripted(torch.from_numpy(crops))[0].numpy()

    return run


def openvino(path: Path) -> Run:
    """The ONNX file, run by OpenVINO."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda crops: model([crops])[0]
