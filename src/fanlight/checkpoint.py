"""Checkpoints: one file with all that is needed to use, judge and go on training a network.

A checkpoint holds plain values and tensors only, so that loading one never runs code.
"""

from __future__ import annotations

import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fanlight.digest import sha256_of
from fanlight.durable import torch_saving, writing_whole
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions
from fanlight.soundness import in_short, not_numbers
from fanlight.stored import check_values, check_weights, options_of

FORMAT = "fanlight-checkpoint-1"
MOST_GROWTH = 10
"""No file of weights unpacks to more than so many times its size."""

_LONGEST = 2000  # characters of a file's own that a message repeats


@dataclass(frozen=True)
class Checkpoint:
    """A network and how to use it.

    Attributes:
        options: shape of the network.
        weights: its state dict, as it is to be used (the moving average where training kept one).
        markup: names and mirror order of its landmarks.
        decoder: turns its heatmaps into landmarks.
        crop: turns a face box like those of its training into its input.
        crops: the same for the boxes of particular detectors, by the detector's name.
        offset_image: (x, y) in image px to add to its predictions to reach the continuous convention; weights
            trained on labels with another convention carry it, ours need none.
        recipe: the resolved recipe, as plain values.
        metrics: validation metrics by their keys, at the time of saving.
        provenance: versions, command, data hash and the like.
        training: what resuming needs (raw weights, optimiser, position); empty where it cannot be resumed.
    """

    options: FANOptions
    weights: Mapping[str, Tensor]
    markup: Markup
    decoder: Decoder = field(default_factory=Decoder)
    crop: CropRule = field(default_factory=CropRule)
    crops: Mapping[str, CropRule] = field(default_factory=dict)
    offset_image: tuple[float, float] = (0.0, 0.0)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> FAN:
        """The network with its weights, on the CPU, ready for inference.

        Raises:
            InputError: the weights do not fit the options.
        """
        with torch.device("meta"):  # no memory, no random numbers: every tensor comes from the checkpoint
            model = FAN(self.options)
        types = {name: values.dtype for name, values in model.state_dict().items()}
        own = {
            name: values.to(types.get(name), copy=True) if isinstance(values, Tensor) else values
            for name, values in self.weights.items()
        }
        try:  # to_empty would import sympy, which takes longer than everything else here
            model.load_state_dict(own, assign=True)
        except RuntimeError as error:
            raise InputError(f"the checkpoint's weights do not fit its options: {error}") from None
        return model.eval()


def begin_with(model: FAN, checkpoint: Checkpoint, markup: Markup) -> None:
    """Give a network the weights of a checkpoint, to go on learning from there.

    The input size may differ, and the mark-up: layers that draw or read the heatmaps of other landmarks are left
    as they are.

    Raises:
        InputError: the networks differ in anything else.
    """
    ours, theirs = asdict(model.options), asdict(checkpoint.options)
    problems = [
        f"{name} is {theirs[name]} there and {ours[name]} here"
        for name in ours
        if name not in ("points", "input_size") and ours[name] != theirs[name]
    ]
    if problems:
        raise InputError.collect(problems, "the checkpoint to start from holds another network:")
    state = model.state_dict()
    heads = {f"{kind}{stack}" for kind in ("l", "al") for stack in range(model.options.stacks)}
    left = set() if checkpoint.markup.points == markup.points else heads
    state |= {name: values for name, values in checkpoint.weights.items() if name.split(".")[0] not in left}
    model.load_state_dict(state)


def save_checkpoint(path: str | PathLike[str], checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that a reader sees the old file or the new one, never a part.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    content = {entry.name: getattr(checkpoint, entry.name) for entry in fields(checkpoint)}
    content |= {name: asdict(content[name]) for name in ("options", "decoder", "crop")}
    content["crops"] = {name: asdict(rule) for name, rule in checkpoint.crops.items()}
    content |= {"format": FORMAT, "markup": checkpoint.markup.to_dict(), "weights": dict(checkpoint.weights)}
    content |= {name: dict(content[name]) for name in ("recipe", "metrics", "provenance", "training")}
    content["sha256"] = sha256_of(content)
    with writing_whole(path) as file, torch_saving():
        torch.save(content, file)
    return path


def check_sums(path: Path) -> None:
    """Refuse a damaged zip archive before PyTorch reads it.

    PyTorch checks no sums, takes whatever lies in memory for an entry that is marked as a folder, and unpacks
    entries of any size, though it packs none but texts.

    Raises:
        InputError: an entry has changed, or the archive unpacks to many times its size.
        zipfile.BadZipFile: it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        size, unpacked = path.stat().st_size, sum(entry.file_size for entry in archive.infolist())
        if unpacked > MOST_GROWTH * size:
            raise InputError(
                f"{path}: {size >> 10} KiB unpack to {unpacked >> 10} KiB, which no file of weights does: give "
                "another"
            )
        odd = [entry.filename for entry in archive.infolist() if entry.external_attr & 0x10]
        damaged = odd[0] if odd else archive.testzip()
    if damaged:
        raise InputError(f"{path}: damaged ({damaged} has changed): copy it again, or make it anew")


def load_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Read a checkpoint, without executing code.

    Raises:
        InputError: the file is missing, damaged, or not a checkpoint of fanlight; or its weights are no numbers.
    """
    path = Path(path)
    content = _read(path)
    try:
        offset_x, offset_y = content["offset_image"]
        if not math.isfinite(offset_x + offset_y):
            raise ValueError("offset_image: expected two numbers")
        options = options_of(FANOptions, content["options"])
        check_weights(content["weights"], options)
        markup = Markup.from_dict(content["markup"])
        if markup.count != options.points:
            raise ValueError(f"its network has {options.points} points, and its mark-up {markup.count}")
        return Checkpoint(
            options=options,
            weights=dict(content["weights"]),
            markup=markup,
            decoder=options_of(Decoder, content["decoder"]),
            crop=options_of(CropRule, content["crop"]),
            crops={str(name): options_of(CropRule, rule) for name, rule in content.get("crops", {}).items()},
            offset_image=(float(offset_x), float(offset_y)),
            **{name: dict(content[name]) for name in ("recipe", "metrics", "provenance", "training")},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = str(error)[:_LONGEST]
        raise InputError(
            f"{path}: a damaged checkpoint, or one of a newer fanlight: {reason}: copy it again, or train anew"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    """What a checkpoint's file holds, as it was saved."""
    if not os.path.exists(path):
        raise InputError(f"{path}: no such checkpoint")
    if not path.is_file():  # devices have no end
        raise InputError(f"{path}: not a file, so not a checkpoint")
    try:
        check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with a file is told below
            content = torch.load(path, map_location="cpu", weights_only=True)
        check_values(content)
        saved = content.pop("sha256", None) if isinstance(content, dict) else None
        is_whole = saved is None or saved == sha256_of(content)  # older versions saved none
    except InputError:
        raise
    except pickle.UnpicklingError:  # PyTorch's words for it advise to load the file regardless
        raise InputError(
            f"{path}: not a checkpoint that can be loaded safely (it holds code, or objects that are no plain "
            "values): give a .ckpt that fanlight wrote"
        ) from None
    except Exception as error:  # of any type: the bytes are anyone's
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"{path}: not a checkpoint that can be loaded safely ({reason}): give a .ckpt that fanlight wrote"
        ) from None
    if not is_whole:
        raise InputError(
            f"{path}: damaged (its SHA-256 is not the one it was saved with): copy it again, or make it anew"
        )
    if not isinstance(content, dict) or str(content.get("format")) != FORMAT:
        raise InputError(
            f"{path}: not a checkpoint of fanlight (format {FORMAT}): give a .ckpt that fanlight wrote"
        )
    broken = not_numbers({name: content.get(name) for name in ("weights", "training")})
    if broken:
        raise InputError(
            f"{path}: holds values that are no numbers ({in_short(broken)}), so its network finds nothing: give "
            "an earlier checkpoint, or train again"
        )
    return content
