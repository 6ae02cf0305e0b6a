"""What a file of fanlight is and where it comes from, whatever kind it is; no code in it ever runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fanlight.errors import InputError
from fanlight.inspection.data_sets import index, pack, predictions
from fanlight.inspection.found import Inspected
from fanlight.inspection.networks import archive, exported, run
from fanlight.inspection.reports import page, table

__all__ = ["Inspected", "exported", "inspect"]

READS = (
    "a checkpoint, an exported network (.onnx, TorchScript, ibug), a run's folder, predictions (.npz), an index "
    "(.tsv), a pack, a report or its folder (.html, .json), results of an ablation or of benchmarks (.json)"
)
_BY_SUFFIX: dict[str, Callable[[Path], Inspected | None]] = {
    ".onnx": exported,
    ".npz": predictions,
    ".tsv": index,
    ".json": table,
    ".html": page,
}
_IN_FOLDERS = ("evaluation.json", "comparison.json", "findings.json", "ablation.json")


def inspect(path: Path) -> Inspected:
    """Read what a file, or a folder that fanlight filled, says of itself.

    Raises:
        InputError: there is nothing there, it is damaged, or nothing that fanlight knows.
    """
    try:
        if path.is_dir():
            return _folder(path)
        if not path.exists():
            raise InputError(f"{path}: there is no such file: give {READS}")
        if not path.is_file():  # devices have no end, and pipes may have no beginning
            raise InputError(f"{path}: not a file: give {READS}")
        found = _BY_SUFFIX.get(path.suffix.lower(), archive)(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if found is None:
        raise InputError(f"{path}: nothing that fanlight made, or damaged: give {READS}")
    return found


def _folder(path: Path) -> Inspected:
    if (path / "checkpoints").is_dir():
        return run(path)
    if (path / "pack.json").is_file():
        return pack(path)
    for name in _IN_FOLDERS:
        if (path / name).is_file():
            return inspect(path / name)
    raise InputError(f"{path}: neither a run nor a pack nor a report: give {READS}")
