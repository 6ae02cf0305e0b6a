"""Export to ONNX."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from fanlight.checkpoint import Checkpoint
from fanlight.durable import side_file
from fanlight.errors import InputError
from fanlight.export.check import ExampleFaces, Exported, check, distances
from fanlight.export.locator import Locator, examples, metadata
from fanlight.metadata import KEY
from fanlight.onnx_network import OnnxNetwork


def export_onnx(
    checkpoint: Checkpoint, path: str | PathLike[str], faces: ExampleFaces, heatmaps: bool = False
) -> Exported:
    """Write a network as an ONNX file that ONNX Runtime, and ``fanlight.load``, can run.

    The graph takes uint8 crops, any number of them, and gives landmarks, scores and covariances, in crop px: the
    decoder is part of it. How to make crops is said in the file's metadata, under ``fanlight``, as JSON.

    Args:
        checkpoint: the network.
        path: the file to write.
        faces: what to compare the file's landmarks with PyTorch's on.
        heatmaps: give them as a fourth output.

    Raises:
        InputError: the file cannot be written, a landmark differs by more than 1e-3 px (no file is left then),
            or a package is not installed.
    """
    with side_file(path) as side:
        outputs = write_graph(checkpoint, side, heatmaps)
        describe(side, metadata(checkpoint, faces, outputs))
        network = OnnxNetwork(side)
        apart = distances(checkpoint, lambda crops: network(crops).landmarks, faces)
        check(Path(path), apart, faces)
    return Exported(Path(path), float(apart.mean()), float(apart.max()))


def write_graph(checkpoint: Checkpoint, path: Path, heatmaps: bool) -> list[str]:
    """Write the graph without metadata.

    Returns:
        The names of its outputs.

    Raises:
        InputError: a package is not installed.
    """
    require_onnx()
    locator = Locator(checkpoint, heatmaps)
    crops = examples(locator.input_size)
    locator(crops)  # the decoder keeps its window from the first call, which must see real tensors
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program: Any = torch.onnx.export(
            locator,
            (crops,),
            dynamo=True,
            dynamic_shapes=({0: batch},),
            input_names=["crops"],
            output_names=locator.outputs,
            verbose=False,
        )
    for node in program.model.graph.all_nodes():  # they tell where on this machine the code lies
        node.metadata_props.clear()
    program.save(str(path), external_data=False)
    return locator.outputs


def describe(path: Path, text: str) -> None:
    """Put what a network says of itself into its file."""
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {KEY: text})
    onnx.save(model, str(path))


def require_onnx() -> None:
    """Check that what writes ONNX files, and runs them, is there.

    Raises:
        InputError: a package is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{error.name}, which writing ONNX files needs, is not installed: pip install 'fanlight[onnx]'"
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's exporter from telling that torchvision is not there, and what it deprecates in itself."""
    log = logging.getLogger("torch.onnx._internal.exporter")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
            yield
    finally:
        log.setLevel(before)
