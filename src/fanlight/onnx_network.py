"""An exported network, run by ONNX Runtime."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fanlight.errors import InputError
from fanlight.metadata import KEY, from_json
from fanlight.network import Crops, Located, Usage

ANSWERS = list(Located._fields)


class OnnxNetwork:
    """A network from a file that ``fanlight export --format onnx`` (or ``onnx-int8``) wrote; runs on the CPU.

    Args:
        path: the file.
        threads: how many threads share one batch; one for each core that this process may use when None.

    Raises:
        InputError: the file is missing, damaged, or not one of fanlight's, or ONNX Runtime is not installed.
    """

    def __init__(self, path: str | PathLike[str], threads: int | None = None) -> None:
        self._session = open_session(Path(path), threads)
        self._outputs = {output.name for output in self._session.get_outputs()}
        facts = self._session.get_modelmeta().custom_metadata_map
        if KEY not in facts or not self._outputs.issuperset(ANSWERS):
            raise InputError(
                f"{path}: an ONNX file that fanlight did not write: give one made by "
                "fanlight export CHECKPOINT --format onnx"
            )
        self._facts, self._usage = facts[KEY], from_json(facts[KEY], str(path))

    @property
    def usage(self) -> Usage:
        """See ``Network``."""
        return self._usage

    @property
    def metadata(self) -> str:
        """All that the file says about itself, as JSON."""
        return self._facts

    def __call__(self, crops: Crops | Tensor) -> Located:
        """See ``Network``."""
        return Located(*(values.astype(np.float64) for values in self._run(ANSWERS, crops)))

    def heatmaps(self, crops: Crops | Tensor) -> NDArray[np.float32]:
        """See ``Network``.

        Raises:
            InputError: the network was exported without them.
        """
        if "heatmaps" not in self._outputs:
            raise InputError(
                f"{self._usage.name}: was exported without heatmaps: export it again with --heatmaps"
            )
        return self._run(["heatmaps"], crops)[0]

    def _run(self, wanted: list[str], crops: Crops | Tensor) -> list[NDArray[Any]]:
        given, size = np.ascontiguousarray(crops), self._usage.input_size
        if given.dtype != np.uint8 or given.ndim != 4 or given.shape[1:] != (size, size, 3):
            raise InputError(
                f"crops of shape {given.shape} and type {given.dtype}: {self._usage.name} takes "
                f"(B, {size}, {size}, 3) of type uint8"
            )
        return self._session.run(wanted, {"crops": given})


def open_session(path: Path, threads: int | None = None) -> Any:
    """Open an ONNX file for inference on the CPU; threads that wait for work sleep, and leave the core to others.

    Raises:
        InputError: there is no such file, it cannot be run, or ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise InputError(
            f"{path}: ONNX Runtime, which runs such files, is not installed: pip install 'fanlight[onnx]'"
        ) from None
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or _cores()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of any type: the bytes are anyone's
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: not an ONNX file that can be run ({reason}): copy or export it again"
        ) from None


def _cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
