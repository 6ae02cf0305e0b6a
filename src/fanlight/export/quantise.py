"""Export to ONNX with the convolutions in 8-bit integers."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from fanlight.checkpoint import Checkpoint
from fanlight.durable import side_file
from fanlight.errors import InputError
from fanlight.export.check import BATCH, ExampleFaces, Exported, check, distances
from fanlight.export.locator import metadata
from fanlight.export.onnx import describe, require_onnx, write_graph
from fanlight.network import Crops
from fanlight.onnx_network import OnnxNetwork

FLOAT_WEIGHTS = re.compile(r"model\.(conv1|l\d+)\.weight")  # the first layer and those that draw the heatmaps


def export_onnx_int8(
    checkpoint: Checkpoint,
    path: str | PathLike[str],
    faces: ExampleFaces,
    calibration: Crops,
    heatmaps: bool = False,
) -> Exported:
    """Write a network as an ONNX file of about a quarter of the size, whose convolutions compute in integers.

    Static quantisation: kernels as 7-bit integers with a scale for each channel (7, because older x86 processors
    overflow with 8), activations as 8-bit integers whose ranges are those met on the calibration faces. The first
    convolution, the layers that draw heatmaps, and the decoder stay in floating point. It is not the same network
    any more: measure what that costs on faces with labels.

    Args:
        checkpoint: the network.
        path: the file to write.
        faces: what to compare the file's landmarks with PyTorch's on.
        calibration: (N, S, S, 3) uint8 RGB, crops of faces like those of its use, some dozens at least.
        heatmaps: give them as a fourth output.

    Raises:
        InputError: the file cannot be written, the crops do not fit, the file gives no landmarks inside the crop
            (none is left then), or a package is not installed.

    Source: ONNX Runtime's static quantiser, QDQ format, after Jacob et al., "Quantization and training of neural
    networks for efficient integer-arithmetic-only inference", CVPR 2018.
    """
    size = checkpoint.options.input_size
    if calibration.shape[1:] != (size, size, 3) or not len(calibration):
        raise InputError(
            f"calibration crops of shape {calibration.shape}: give (N, {size}, {size}, 3), some dozens"
        )
    with side_file(path) as side, tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float.onnx"
        outputs = write_graph(checkpoint, plain, heatmaps)
        quantise(plain, side, calibration)
        describe(side, metadata(checkpoint, faces, outputs, calibration_faces=len(calibration)))
        network = OnnxNetwork(side)
        apart = distances(checkpoint, lambda crops: network(crops).landmarks, faces)
        check(Path(path), apart, faces, tolerance=size)
    return Exported(Path(path), float(apart.mean()), float(apart.max()))


def quantise(plain: Path, path: Path, calibration: Crops) -> None:
    """Quantise the convolutions of an ONNX file that ``write_graph`` wrote.

    Args:
        plain: that file.
        path: the file to write.
        calibration: see ``export_onnx_int8``.

    Raises:
        InputError: a package is not installed.
    """
    require_onnx()
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    kept = [
        node.name
        for node in onnx.load(str(plain)).graph.node
        if node.op_type == "Conv" and FLOAT_WEIGHTS.fullmatch(node.input[1])
    ]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(plain), str(prepared), skip_optimization=True, skip_symbolic_shape=True)

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
            """Hands the calibration faces over, a batch at a time."""

            def __init__(self) -> None:
                self.batches: Iterator[Crops] = iter(
                    np.array_split(calibration, -(-len(calibration) // BATCH))
                )

            def get_next(self) -> dict[str, Crops] | None:
                batch = next(self.batches, None)
                return None if batch is None else {"crops": batch}

        quantization.quantize_static(
            str(prepared),
            str(path),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_exclude=kept,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
