"""A trained network as a function from crops to landmarks, whatever engine runs it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fanlight.checkpoint import Checkpoint
from fanlight.device import Precision, choose_precision
from fanlight.errors import InputError, NumberError
from fanlight.geometry import CropRule, Floats
from fanlight.heatmap import Decoder, covariances
from fanlight.markup import Markup

Crops = NDArray[np.uint8]


class Located(NamedTuple):
    """Landmarks of a batch of faces, all in the same frame.

    Attributes:
        landmarks: (B, L, 2) float64, (x, y) in px.
        scores: (B, L) float64, height of each heatmap's peak.
        covariances: (B, L, 2, 2) float64, px squared: how far each heatmap spreads around its landmark, the
            sigma of the training targets included.
    """

    landmarks: Floats
    scores: Floats
    covariances: Floats


@dataclass(frozen=True)
class Usage:
    """What must be known to feed a network and to read its answers; it travels with the weights.

    Attributes:
        name: what to call the network.
        input_size: side of the crops in px.
        markup: names and mirror order of the landmarks.
        crop: turns a face box like those of its training into a crop.
        crops: rules for the boxes of particular detectors, by the detector's name.
        offset_image: (x, y) in image px to add to landmarks to reach the continuous convention.
    """

    name: str
    input_size: int
    markup: Markup
    crop: CropRule = field(default_factory=CropRule)
    crops: Mapping[str, CropRule] = field(default_factory=dict)
    offset_image: tuple[float, float] = (0.0, 0.0)

    def rule(self, crop: CropRule | str | None) -> CropRule:
        """The crop rule for given boxes: one's own, a detector's by its name, or that of the training.

        Raises:
            InputError: no rule is known for boxes of that detector.
        """
        if not isinstance(crop, str):
            return crop or self.crop
        if crop not in self.crops:
            known = ", ".join(self.crops) or "none"
            raise InputError(
                f"crop = {crop!r}: the network knows the boxes of these detectors: {known}; give a CropRule"
            )
        return self.crops[crop]

    def rule_for(self, detector: str) -> CropRule:
        """The crop rule for what a detector finds: the one for its boxes, or that of the training with a warning.

        Args:
            detector: its name, as ``find_detector`` gives it.
        """
        if detector not in self.crops:
            warnings.warn(
                f"the network {self.name} has no crop rule for the detector {detector}: its boxes are taken as "
                "if they were those of the training; fanlight data fit-crop finds a rule",
                stacklevel=2,
            )
        return self.crops.get(detector, self.crop)


class Network(Protocol):
    """Finds landmarks in crops; one implementation for each engine."""

    @property
    def usage(self) -> Usage:
        """How to feed it."""

    def __call__(self, crops: Crops | Tensor) -> Located:
        """Locate the landmarks.

        Args:
            crops: (B, S, S, 3) uint8, RGB.

        Returns:
            In crop px.
        """

    def heatmaps(self, crops: Crops | Tensor) -> NDArray[np.float32]:
        """The heatmaps (B, L, H, H) from which the landmarks are read, cell centres at +0.5."""


class TorchNetwork:
    """A checkpoint's network, run by PyTorch.

    Args:
        checkpoint: the network and how to use it.
        device: where it runs, such as ``cpu`` or ``cuda``.
        name: what to call it.
        precision: what its convolutions compute in: ``float32``, ``bfloat16``, ``float16`` (CUDA only), or
            ``auto`` for the fastest that the hardware has.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str | torch.device = "cpu",
        name: str = "a checkpoint",
        precision: Precision = "float32",
    ) -> None:
        self.usage = Usage(
            name=name,
            input_size=checkpoint.options.input_size,
            markup=checkpoint.markup,
            crop=checkpoint.crop,
            crops=checkpoint.crops,
            offset_image=checkpoint.offset_image,
        )
        self.decoder, self.device = checkpoint.decoder, torch.device(device)
        self.precision = choose_precision(precision, self.device)
        self.model = checkpoint.build().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, crops: Crops | Tensor) -> Located:
        """See ``Network``."""
        heatmaps = self._run(crops)
        found = locate(heatmaps, self.decoder, self.usage.input_size)
        return Located(*(values.double().cpu().numpy() for values in found))

    @torch.inference_mode()
    def heatmaps(self, crops: Crops | Tensor) -> NDArray[np.float32]:
        """See ``Network``."""
        return self._run(crops).float().cpu().numpy()

    def _run(self, crops: Crops | Tensor) -> Tensor:
        images = to_input(torch.as_tensor(crops).to(self.device))
        if self.precision == torch.float32:
            return self.model(images)[-1]
        with torch.autocast(self.device.type, self.precision):
            return self.model(images)[-1]


def locate(heatmaps: Tensor, decoder: Decoder, input_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Landmarks, scores and covariances as in ``Located``, in crop px, from heatmaps (B, L, H, H)."""
    landmarks, scores = decoder(heatmaps)
    spread = covariances(heatmaps, landmarks, decoder.radius)
    stride = input_size / heatmaps.shape[-1]
    return landmarks * stride, scores, spread * stride**2


def check_numbers(found: Located, name: str) -> Located:
    """What a network found, if all of it is numbers: a heatmap that holds others shows it in its score alone.

    Raises:
        NumberError: for how many faces it is not.
    """
    faces, sound = len(found.scores), int(np.isfinite(found.scores).all(1).sum())
    if sound < faces:
        raise NumberError(
            f"the network {name} answers {faces - sound} of {faces} faces with values that are no numbers: its "
            'weights are broken, or beyond its precision: take an earlier checkpoint, or precision = "float32"'
        )
    return found


def to_input(crops: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 RGB -> (B, 3, S, S) float32 in [0, 1], channels last in memory."""
    return crops.permute(0, 3, 1, 2).float().div_(255)
