"""Files of weights as other packages write them, of small untrained networks."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner, Result

from fanlight.cli import app
from fanlight.convert import Unseen
from fanlight.export import ExampleFaces
from fanlight.model import FAN, FANOptions

State = dict[str, Tensor]
SMALL: dict[str, Any] = {"features": 16, "depth": 2, "input_size": 64}
UNSEEN = Unseen(pooling="max", input_size=64)
JIT = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")


def network(**changes: Any) -> FAN:
    """An untrained network whose heatmaps have peaks, and whose statistics are not those of the start."""
    torch.manual_seed(3)
    model = FAN(FANOptions(**{**SMALL, **changes})).eval()
    for name, values in model.state_dict().items():
        if name.startswith("l") and name.endswith("weight"):
            nn.init.normal_(values, std=0.3)
        elif name.endswith(("running_mean", "running_var")):
            values.add_(torch.rand_like(values))
        elif name.endswith("num_batches_tracked"):
            values.fill_(7)
    return model


def as_saved(model: FAN, path: Path) -> None:
    torch.save(model.state_dict(), path)


def as_data_parallel(model: FAN, path: Path) -> None:
    state = OrderedDict((f"module.{name}", values) for name, values in model.state_dict().items())
    torch.save({"state_dict": state, "epoch": 3}, path)


def as_before_zip(model: FAN, path: Path) -> None:
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)


def as_torchscript(model: FAN, path: Path) -> None:
    size = model.options.input_size
    torch.jit.save(torch.jit.trace(model, torch.rand(1, 3, size, size), strict=False), path)


def as_training_left_it(model: FAN, path: Path) -> None:
    """As the public training code saves: snapshots, best first, with NumPy scalars and the optimiser."""
    worse = {name: torch.zeros_like(values) for name, values in model.state_dict().items()}
    optimiser = torch.optim.RMSprop(model.parameters(), lr=1e-3)
    scores = {"val_weighted_macc": np.mean([0.5, 0.7]), "val_htm_mse_loss": np.float32(0.1), "epoch": 1.5}
    best, last = (
        {"model_state_dict": state, "optimiser_state_dict": optimiser.state_dict(), **scores}
        for state in (model.state_dict(), worse)
    )
    torch.save({"last_snapshot": last, "best_snapshots": [best, last]}, path)


def as_training_left_it_with_numpy_1(model: FAN, path: Path) -> None:
    """The same, with the name that NumPy's module had before its version 2."""
    as_training_left_it(model, path)
    with zipfile.ZipFile(path) as archive:
        content = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(
                name, data.replace(b"numpy._core", b"numpy.core") if "data.pkl" in name else data
            )


LAYOUTS = (as_saved, as_data_parallel, as_before_zip, as_torchscript, as_training_left_it)


def faces(size: int = 64) -> ExampleFaces:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    return ExampleFaces(pixels, "noise")


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, words)])
