"""Reading files of weights that others wrote, without running what is in them.

Tensors come out by PyTorch's loader for weights alone (``weights_only=True``), which refuses to call anything but
what rebuilds tensors. Two kinds of file need more than that, and get it from classes that do nothing:

- The training checkpoints of the public FAN training code hold NumPy scalars. They are skipped, not rebuilt.
- TorchScript archives hold a pickle that names modules, tensors beside it, and code. The code is left out;
  a module becomes a plain holder of its attributes. ``torch.jit.load``, which runs what archives say, is not used.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fanlight.checkpoint import check_sums
from fanlight.errors import InputError

# Where files hold the state dict, outermost first. The public training code lists its snapshots best first.
WRAPPERS = ("best_snapshots", "last_snapshot", "model_state_dict", "state_dict", "model", "net", "weights")
DEEPEST = 16  # wrappers or modules inside each other; files may be made so that there is no end

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"{m}.{f}" for m in _MULTIARRAY for f in ("scalar", "_reconstruct")),
)


class _Skipped:
    """Stands for a value that is not needed, and for what would make it."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


class _Module:
    """Stands for a module of a TorchScript archive."""

    attributes: Mapping[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.attributes = state if isinstance(state, Mapping) else {}

    def tensors(self, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
        """Its tensors and those of the modules in it, by their dotted names."""
        found: dict[str, Tensor] = {}
        for name, value in self.attributes.items() if depth < DEEPEST else ():
            if isinstance(value, Tensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, _Module):
                found |= value.tensors(f"{prefix}{name}.", depth + 1)
        return found


def read_weights(path: Path, trust: bool = False) -> dict[str, Tensor]:
    """Read the tensors of a state dict, a TorchScript archive or a training checkpoint.

    Args:
        path: the file.
        trust: load what cannot be read otherwise by running code from the file.

    Returns:
        By their names, without what all names begin with, such as ``module.``.

    Raises:
        InputError: there is no such file, it is damaged, would run code, or holds no tensors.
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such file; give a file of weights, such as 2dfan2.pth")
    return _without_prefix(_find_tensors(path, _load(path, trust)))


def _load(path: Path, trust: bool) -> Any:
    inert: list[Any] = [(_Skipped, name) for name in _NUMPY]
    try:
        source: Path | io.BytesIO = path
        if zipfile.is_zipfile(path):
            check_sums(path)
            if _is_torchscript(path):
                source, names = _without_code(path)
                inert += names
        with torch.serialization.safe_globals(inert), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is told below
            return torch.load(source, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # of any type: the bytes are anyone's
        asked = _asked(path, error)
        if asked is None:
            raise _unreadable(path, error) from None
        if not trust:
            raise InputError(
                f"{path}: not read: it asks for {asked}, which is neither a tensor nor a "
                "plain value, so that loading it would run code of the file's choice; if you know who made it, "
                "and trust them with this machine, add --trust"
            ) from None
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # of any type: it is anyone's code
        raise _unreadable(path, error) from None


def _asked(path: Path, error: Exception) -> str | None:
    """What a pickle asks for that weights do not need: in PyTorch's words, or read from its steps, none taken."""
    named = re.search(r"GLOBAL (\S+)|unrecognized function (<.*?>)", str(error))
    if named:
        return named[1] or named[2]
    with path.open("rb") as file, contextlib.suppress(Exception):  # the bytes are anyone's
        texts: list[str] = []
        for step, given, _ in pickletools.genops(file):
            if step.name == "STACK_GLOBAL":  # of later pickles: its name lies in the two texts before
                return ".".join(texts[-2:])
            if isinstance(given, str):
                texts.append(given)
    return None


def _unreadable(path: Path, error: Exception) -> InputError:
    lines = str(error).split("WeightsUnpickler error: ")[-1].split("\n")
    reason = lines[0].strip()[:200] or type(error).__name__
    return InputError(
        f"{path}: not a file of weights that can be read ({reason}): expected a state dict, a TorchScript "
        "archive or a training checkpoint; if it is one, copy it again"
    )


def _is_torchscript(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _without_code(path: Path) -> tuple[io.BytesIO, list[tuple[type, str]]]:
    """The pickle of a TorchScript archive and its tensors, and what stands for the classes that it names."""
    plain = io.BytesIO()
    names: set[str] = set()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(plain, "w") as kept:
        for entry in archive.infolist():
            part = entry.filename.partition("/")[2]
            if part in ("data.pkl", "version", "byteorder") or part.startswith("data/"):
                kept.writestr(entry.filename, archive.read(entry))
            if part == "data.pkl":
                steps = pickletools.genops(archive.read(entry))
                names |= {str(given).replace(" ", ".") for step, given, _ in steps if step.name == "GLOBAL"}
    plain.seek(0)
    modules: list[tuple[type, str]] = [(_Module, name) for name in names if name.startswith("__torch__.")]
    lists: list[tuple[type, str]] = [
        (_Skipped, name) for name in names if name.startswith("torch.jit._pickle.")
    ]
    return plain, modules + lists


def _find_tensors(path: Path, content: Any) -> dict[str, Tensor]:
    """The state dict somewhere in what a file holds."""
    for _ in range(DEEPEST):
        if isinstance(content, nn.Module):
            content = content.state_dict()
        elif isinstance(content, _Module):
            content = content.tensors()
        elif isinstance(content, list) and content:
            content = content[0]
        elif isinstance(content, Mapping) and str(content.get("format")).startswith("fanlight"):
            raise InputError(f"{path}: is a checkpoint of fanlight already; use it as it is")
        elif isinstance(content, Mapping) and (inner := [name for name in WRAPPERS if name in content]):
            content = content[inner[0]]
        else:
            break
    entries = content.items() if isinstance(content, Mapping) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise InputError(
            f"{path}: holds no weights: expected tensors by their names, directly or under one of "
            f"{', '.join(WRAPPERS)} (a frozen TorchScript archive has lost their names); give a state dict"
        )
    return tensors


def _without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    while len({name.partition(".")[0] for name in tensors}) == 1 and all("." in name for name in tensors):
        tensors = {name.partition(".")[2]: value for name, value in tensors.items()}
    return tensors
