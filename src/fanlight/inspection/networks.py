"""Networks: checkpoints, the folders of their runs, and exported files."""

from __future__ import annotations

import zipfile
from pathlib import Path

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.errors import InputError
from fanlight.export.facts import described
from fanlight.inspection.found import Inspected, mapping, parse_json
from fanlight.metadata import from_json
from fanlight.models import crop_in_words, in_words
from fanlight.onnx_network import OnnxNetwork
from fanlight.resuming import LAST


def archive(path: Path) -> Inspected | None:
    """A checkpoint, TorchScript, or weights for ibug.face_alignment; None where it is no archive of PyTorch's."""
    if not zipfile.is_zipfile(path):
        return None
    text = described(path)
    if text is not None:
        with zipfile.ZipFile(path) as content:
            scripted = any(name.partition("/")[2].startswith("code/") for name in content.namelist())
        return _exported(path, "TorchScript" if scripted else "weights for ibug.face_alignment", text)
    return _checkpoint(path, "checkpoint", load_checkpoint(path))


def run(folder: Path) -> Inspected:
    """A run, by its best checkpoint or, where there is none yet, its newest."""
    best = folder / "checkpoints" / "best.ckpt"
    path = best if best.exists() else folder / LAST
    return _checkpoint(path, f"run in {folder}, and its checkpoint", load_checkpoint(path))


def _checkpoint(path: Path, kind: str, checkpoint: Checkpoint) -> Inspected:
    training = checkpoint.training.get("step")
    facts = {
        **in_words(checkpoint),
        "Detectors' crops": ", ".join(checkpoint.crops) or "none",
        "To go on with": "no" if training is None else f"yes, from step {training}",
    }
    return Inspected(
        kind,
        path,
        facts,
        mapping(checkpoint.metrics),
        mapping(checkpoint.provenance),
        mapping(checkpoint.recipe),
    )


def exported(path: Path) -> Inspected:
    """An ONNX file.

    Raises:
        InputError: it is damaged or not of fanlight, or ONNX Runtime is not installed.
    """
    return _exported(path, "ONNX", OnnxNetwork(path).metadata)


def _exported(path: Path, form: str, text: str) -> Inspected:
    usage, facts = from_json(text, str(path)), parse_json(text, path)
    if usage.input_size <= 0:
        raise InputError(f"{path}: damaged: crops of {usage.input_size} px")
    shown = {
        "Input": f"{usage.input_size} px",
        "Mark-up": f"{usage.markup.name}, {usage.markup.count} points",
        "Crop": crop_in_words(usage.crop),
        "Detectors' crops": ", ".join(usage.crops) or "none",
        **({"Compared on": str(facts["checked_on"])} if "checked_on" in facts else {}),
    }
    return Inspected(
        f"exported network, {form}",
        path,
        shown,
        mapping(facts.get("metrics")),
        mapping(facts.get("provenance")),
        mapping(facts.get("recipe")),
    )
