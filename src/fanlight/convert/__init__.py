"""Weights of ibug.face_alignment and face-alignment as checkpoints of fanlight.

Their networks have the tensors of ours. What the tensors do not show is known by the names of the published files,
or has to be given: above all the pooling, since weights fit either kind without complaint and work with one only.
Files that fanlight exported say it themselves.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from fanlight.checkpoint import Checkpoint
from fanlight.convert.layout import fitting, recognise
from fanlight.convert.reading import read_weights
from fanlight.errors import InputError
from fanlight.export.facts import Facts, read_facts
from fanlight.export.ibug import LABELS_OFFSET_PX
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.model import FANOptions, Pooling

Package = Literal["ibug", "face-alignment"]

CROPS: dict[Package, CropRule] = {
    "ibug": CropRule(scale=1 / 0.55),
    "face-alignment": CropRule(
        scale=2 * 200 / 195, shift_y=-0.12
    ),  # 200 (w + h) / 195, for boxes of its s3fd
}


class Published(NamedTuple):
    """Files that one of the packages comes with, by their names."""

    pattern: str
    pooling: Pooling
    crop: Package


PUBLISHED = (
    Published(r"2dfan(?P<stacks>2)(_alt)?\.pth", "max", "ibug"),
    Published(r"2dfan(?P<stacks>4)\.pth", "average", "ibug"),
    Published(
        r"2DFAN-?(?P<stacks>[1-4])(_1\.[56])?(-[0-9a-f]{8,})?\.(pth\.tar|pth|pt|zip)",
        "average",
        "face-alignment",
    ),
)


@dataclass(frozen=True)
class Unseen:
    """What the tensors of a network do not show.

    Attributes:
        pooling: ``max`` or ``average``; None where the file's name is to say it.
        crop: the package whose crop rule suits the network; None where the file's name is to say it, and that of
            ibug.face_alignment otherwise.
        markup: names of its landmarks.
        offset_px: what to add to its landmarks in image px, in x and y, to reach the continuous convention.
        input_size: side of its crops in px.
        stem_stride: stride of its first convolution.
        stem_pool: pooling inside its stem, 1 for none.

    Raises:
        InputError: the offset is not a number.
    """

    pooling: Pooling | None = None
    crop: Package | None = None
    markup: str = "ibug68"
    offset_px: float = LABELS_OFFSET_PX
    input_size: int = 256
    stem_stride: int = 2
    stem_pool: int = 2

    def __post_init__(self) -> None:
        if not math.isfinite(self.offset_px):
            raise InputError(f"offset {self.offset_px:g}: must be a number of px, such as 0.5")


def convert(path: str | PathLike[str], unseen: Unseen | None = None, trust: bool = False) -> Checkpoint:
    """Make a checkpoint of a file of weights.

    Its decoder is the plain centroid of ibug.face_alignment, with which its networks were trained, so that
    landmarks are that package's, moved by the offset. A file that ``fanlight export --format ibug`` wrote gives
    the network that it was made from, used in the same way.

    Args:
        path: a state dict, a TorchScript archive, or a checkpoint of the public FAN training code, of which the
            best snapshot is taken.
        unseen: what the tensors do not show; by the file's name, or by what fanlight wrote into it, when None.
        trust: run code from the file where it cannot be read otherwise.

    Raises:
        InputError: the file cannot be read, holds no whole Face Alignment Network, its pooling is not known, or
            it says itself what was given.
    """
    path = Path(path)
    tensors = read_weights(path, trust)
    facts = read_facts(path)
    if facts and unseen:
        raise InputError(
            f"{path}: fanlight exported it, and it says itself how it is used (pooling {facts.options.pooling}, "
            f"{facts.usage.markup.name}, offset {facts.usage.offset_image[0]:g}): leave out all options but --out"
        )
    try:
        found = _exported(tensors, facts) if facts else _foreign(path, tensors, unseen or Unseen())
    except InputError as error:
        raise InputError(f"{path}: {error}", error.problems) from None
    return replace(
        found,
        provenance={
            "fanlight": version("fanlight"),
            "converted_from": path.name,
            "weights_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        },
    )


def _exported(tensors: Mapping[str, Tensor], facts: Facts) -> Checkpoint:
    """The checkpoint that a file of ours was made from."""
    usage, options, decoder = facts
    return Checkpoint(
        options,
        fitting(tensors, options),
        usage.markup,
        decoder,
        usage.crop,
        usage.crops,
        usage.offset_image,
    )


def _foreign(path: Path, tensors: Mapping[str, Tensor], unseen: Unseen) -> Checkpoint:
    """The checkpoint of weights that others made."""
    shape = recognise(tensors)
    named = _published(path.name, shape.stacks)
    pooling = unseen.pooling or (named.pooling if named else None)
    if named and pooling != named.pooling:
        raise InputError(
            f"the published file of this name pools by {named.pooling}, not by {pooling}: leave --pooling out, or "
            "give the file another name if it is another"
        )
    options = FANOptions(
        **asdict(shape),
        pooling=pooling or "max",
        stem_stride=unseen.stem_stride,
        stem_pool=unseen.stem_pool,
        input_size=unseen.input_size,
    )
    weights = fitting(tensors, options)
    if pooling is None:
        raise InputError(
            "pools by maximum or by average? Its tensors fit both, but work with one only, and its name "
            "is not that of a published file: add --pooling max for weights of ibug.face_alignment or its "
            "training code (except 2dfan4), --pooling average for 2dfan4 and those of face-alignment"
        )
    return Checkpoint(
        options,
        weights,
        _markup(unseen.markup, options.points),
        Decoder(border="cut"),
        CROPS[unseen.crop or (named.crop if named else "ibug")],
        offset_image=(unseen.offset_px, unseen.offset_px),
    )


def _published(name: str, stacks: int) -> Published | None:
    """The published file of that name, if it has as many stacks as its name says."""
    for file in PUBLISHED:
        match = re.fullmatch(file.pattern, name)
        if match and int(match["stacks"]) == stacks:
            return file
    return None


def _markup(name: str, points: int) -> Markup:
    markup = Markup.load(name)
    if markup.count != points:
        raise InputError(
            f"its network has {points} points, and the mark-up {markup.name} {markup.count}: name another "
            "with --markup"
        )
    return markup
