"""What weights in another package's layout say of themselves, for the way back; that package does not see it."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from fanlight.checkpoint import Checkpoint
from fanlight.errors import InputError
from fanlight.export.slim import slim
from fanlight.heatmap import Decoder
from fanlight.metadata import KEY, from_json, to_json
from fanlight.model import FANOptions
from fanlight.network import TorchNetwork, Usage

ENTRY = f"extra/{KEY}"  # of the zip archive that PyTorch's files are, where TorchScript keeps such texts too


class Facts(NamedTuple):
    """All of a checkpoint that its tensors do not show."""

    usage: Usage
    options: FANOptions
    decoder: Decoder


def add_facts(path: Path, checkpoint: Checkpoint) -> None:
    """Put how a network is used into the file of its weights, beside what PyTorch reads."""
    light = slim(checkpoint)
    text = to_json(
        TorchNetwork(checkpoint).usage,
        options=asdict(checkpoint.options),
        decoder=asdict(checkpoint.decoder),
        metrics=dict(checkpoint.metrics),
        provenance=dict(light.provenance),
        recipe=dict(light.recipe),
    )
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(f"{folder}/{ENTRY}", text)


def described(path: Path) -> str | None:
    """What an archive of PyTorch's says of itself, as JSON; None where it is none, or does not.

    Raises:
        InputError: it is damaged.
    """
    if not path.is_file() or not zipfile.is_zipfile(path):  # devices have no end
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [name for name in archive.namelist() if name.partition("/")[2] == ENTRY]
            return archive.read(entries[0]).decode(errors="replace") if entries else None
    except (
        OSError,
        zipfile.BadZipFile,
        ValueError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        zlib.error,
    ) as error:
        raise InputError(f"{path}: damaged ({error}): copy or export it again") from None


def read_facts(path: Path) -> Facts | None:
    """What ``add_facts`` put into a file; None where there is none.

    Raises:
        InputError: it is damaged, or of another version of fanlight.
    """
    text = described(path)
    if text is None:
        return None
    usage, facts = from_json(text, str(path)), json.loads(text)
    try:
        return Facts(usage, FANOptions(**facts["options"]), Decoder(**facts["decoder"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: what it says of itself is damaged ({error}): copy or export it again"
        ) from None
