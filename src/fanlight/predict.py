"""Landmarks of the faces in a photo.

>>> import fanlight
>>> predictor = fanlight.load("runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
>>> faces = predictor.predict("photo.jpg")  # doctest: +SKIP
>>> faces[0].landmarks.shape  # doctest: +SKIP
(68, 2)
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fanlight.checkpoint import load_checkpoint
from fanlight.detect import Detector, detect_faces, find_detector
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, check_box, crop_matrix, mirror_landmarks, warp
from fanlight.image import read_image
from fanlight.network import Located, Network, TorchNetwork

Photo = NDArray[np.uint8] | str | PathLike[str]
Channels = Literal["RGB", "BGR"]


@dataclass(frozen=True)
class Face:
    """One face's landmarks.

    Attributes:
        landmarks: (L, 2) float64, (x, y) in image px, continuous (the first pixel's centre is 0.5, 0.5).
        scores: (L,) float64, height of each heatmap's peak: about 1 for a sure landmark, near 0 for a lost one.
        covariances: (L, 2, 2) float64, in image px squared: how far each heatmap spreads around its landmark,
            the sigma of the training targets included.
        box: (4,) float64, left, top, right, bottom in image px, as given or detected.
        seconds: time spent on this face, its share of the batch that it went through the network in;
            detection is not included.
    """

    landmarks: Floats
    scores: Floats
    covariances: Floats
    box: Floats
    seconds: float


class Predictor:
    """A trained network, ready for photos.

    Args:
        network: the network.
        detector: finds face boxes where none are given: the name of a packaged one, or a function of your own
            (see ``fanlight.detect``); the first packaged one that is installed when None.
        batch_size: faces that go through the network at once.

    Attributes:
        network: as given.
        markup: names, parts and lines of the landmarks.
    """

    def __init__(
        self, network: Network, detector: Detector | str | None = None, batch_size: int = 32
    ) -> None:
        self.network, self.usage, self.markup = network, network.usage, network.usage.markup
        self.detector, self.batch_size = detector, batch_size

    def predict(
        self,
        image: Photo,
        boxes: ArrayLike | Literal["whole"] | None = None,
        *,
        channels: Channels = "RGB",
        flip: bool = False,
        crop: CropRule | str | None = None,
    ) -> list[Face]:
        """Find the landmarks of each face in a photo.

        Args:
            image: (H, W, 3) uint8, (H, W) grey, or a file's path.
            boxes: (N, 4) or (4,), left, top, right, bottom in image px; ``"whole"`` takes the whole photo as one
                face; None asks the detector.
            channels: order of an array's channels; OpenCV reads BGR.
            flip: average with the prediction for the mirrored crop: twice the time, a little better.
            crop: how the given boxes become crops: the name of the detector that they come from, or a rule of
                your own; as for the boxes of the network's training when None.

        Returns:
            One Face per box, in the order of the boxes.

        Raises:
            InputError: the image, a box or the detector cannot be used.
        """
        return self.predict_batch([image], [boxes], channels=channels, flip=flip, crop=crop)[0]

    def predict_batch(
        self,
        images: Sequence[Photo],
        boxes: Sequence[ArrayLike | Literal["whole"] | None] | None = None,
        *,
        channels: Channels = "RGB",
        flip: bool = False,
        crop: CropRule | str | None = None,
    ) -> list[list[Face]]:
        """Find the landmarks of each face in several photos, whose faces share batches.

        Args:
            images: the photos, as for ``predict``.
            boxes: those of each photo, as for ``predict``; None asks the detector for all.
            channels: see ``predict``.
            flip: see ``predict``.
            crop: see ``predict``.

        Returns:
            The faces of each photo.
        """
        given = [None] * len(images) if boxes is None else boxes
        if len(given) != len(images):
            raise InputError(f"{len(given)} sets of boxes for {len(images)} photos: give one for each photo")
        crops, matrices, places = [], [], []
        started = time.perf_counter()
        for number, (photo, some) in enumerate(zip(images, given, strict=True)):
            image = read_image(photo) if isinstance(photo, str | PathLike) else _rgb(photo, channels)
            detected = time.perf_counter()
            found, rule = self._boxes(image, some, crop)
            started += time.perf_counter() - detected
            for box in found:
                matrix = crop_matrix(box, rule, self.usage.input_size)
                crops.append(warp(image, matrix, self.usage.input_size))
                matrices.append(matrix)
                places.append((number, np.array(box)))
        cropping = (time.perf_counter() - started) / max(len(crops), 1)
        faces: list[list[Face]] = [[] for _ in images]
        for start in range(0, len(crops), self.batch_size):
            part = slice(start, start + self.batch_size)
            begun = time.perf_counter()
            located = self.predict_crops(np.stack(crops[part]), np.stack(matrices[part]), flip)
            seconds = cropping + (time.perf_counter() - begun) / len(crops[part])
            for (number, own_box), landmarks, scores, spread in zip(places[part], *located, strict=True):
                faces[number].append(Face(landmarks, scores, spread, own_box, seconds))
        return faces

    def predict_crops(
        self, crops: NDArray[np.uint8] | Tensor, matrices: ArrayLike | Tensor, flip: bool = False
    ) -> Located:
        """Find the landmarks in crops made by the crop rule.

        Args:
            crops: (B, S, S, 3) uint8, RGB.
            matrices: (B, 2, 3), image -> crop, of each.
            flip: average with what is found in the mirrored crops.

        Returns:
            In image px.
        """
        plain = self._to_image(self.network(crops), matrices)
        if not flip:
            return plain
        mirrored = self.predict_mirrored(crops, matrices)
        return Located(*((one + other) / 2 for one, other in zip(plain, mirrored, strict=True)))

    def predict_mirrored(self, crops: NDArray[np.uint8] | Tensor, matrices: ArrayLike | Tensor) -> Located:
        """As ``predict_crops``, but from the mirrored crops, brought back into the image."""
        order = list(self.markup.mirror)
        found = self.network(torch.as_tensor(crops).flip(2))
        landmarks = mirror_landmarks(found.landmarks, crops.shape[2], order)
        spread = found.covariances[:, order] * [[1, -1], [-1, 1]]
        # The network is off to the same side of the mirrored image: to the other side of this one.
        return self._to_image(Located(landmarks, found.scores[:, order], spread), matrices, (-1, 1))

    def _boxes(
        self, image: NDArray[np.uint8], boxes: Any, crop: CropRule | str | None
    ) -> tuple[list[tuple[float, float, float, float]], CropRule]:
        """The boxes of a photo's faces, and the rule that makes crops of them."""
        if boxes is None:
            name, detect = find_detector(self.detector)
            rule = self.usage.crops.get(name, self.usage.crop) if crop is None else self._rule(crop)
            return detect_faces(detect, image), rule
        if isinstance(boxes, str):
            if boxes != "whole":
                raise InputError(f'boxes = {boxes!r}: give (N, 4) numbers, "whole", or None')
            return [(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))], self._rule(crop)
        try:
            given = np.asarray(boxes, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"boxes {boxes!r}: give (N, 4) numbers, each left, top, right, bottom") from None
        if given.size and (given.shape[-1:] != (4,) or given.ndim > 2):
            raise InputError(
                f"boxes of shape {given.shape}: give (N, 4), each left, top, right, bottom in px"
            )
        return [check_box(box) for box in given.reshape(-1, 4)], self._rule(crop)

    def _rule(self, crop: CropRule | str | None) -> CropRule:
        if not isinstance(crop, str):
            return crop or self.usage.crop
        if crop not in self.usage.crops:
            known = ", ".join(self.usage.crops) or "none"
            raise InputError(
                f"crop = {crop!r}: the network knows the boxes of these detectors: {known}; give a CropRule"
            )
        return self.usage.crops[crop]

    def _to_image(
        self, located: Located, matrices: ArrayLike | Tensor, sides: tuple[int, int] = (1, 1)
    ) -> Located:
        """Bring what was found in crops into the image, by each crop's (2, 3) matrix image -> crop."""
        forth = np.asarray(matrices, np.float64)
        back = np.linalg.inv(forth[:, :, :2])
        turned = back.transpose(0, 2, 1)
        landmarks = (located.landmarks - forth[:, None, :, 2]) @ turned
        landmarks += np.multiply(self.usage.offset_image, sides)
        spread = back[:, None] @ located.covariances @ turned[:, None]
        return Located(landmarks, located.scores, spread)


def load(
    model: str | PathLike[str],
    device: str | torch.device | None = None,
    detector: Detector | str | None = None,
) -> Predictor:
    """Load a trained network.

    Args:
        model: a checkpoint that ``fanlight train`` wrote.
        device: where it runs; the first CUDA device if there is one, else the CPU, when None.
        detector: see ``Predictor``.

    Raises:
        InputError: the file is not a checkpoint of fanlight.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Predictor(TorchNetwork(load_checkpoint(model), device, str(model)), detector)


def _rgb(image: NDArray[Any], channels: Sequence[str] | str) -> NDArray[np.uint8]:
    image = np.asarray(image)
    if channels not in ("RGB", "BGR"):
        raise InputError(f'channels = {channels!r}: give "RGB" or "BGR"')
    if image.dtype != np.uint8 or image.size == 0 or (image.ndim != 2 and image.shape[2:] != (3,)):
        raise InputError(
            f"an image of shape {image.shape} and type {image.dtype}: give (H, W, 3) or (H, W) of type uint8"
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1] if channels == "BGR" else image)
