"""Landmarks of the faces in a photo.

>>> import fanlight
>>> predictor = fanlight.load("runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
>>> faces = predictor.predict(image, boxes=[(40, 60, 180, 220)])  # doctest: +SKIP
>>> faces[0].landmarks.shape  # doctest: +SKIP
(68, 2)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.errors import InputError
from fanlight.geometry import Floats, check_box, crop_matrix, invert, mirror_landmarks, transform, warp


@dataclass(frozen=True)
class Face:
    """One face's landmarks.

    Attributes:
        landmarks: (L, 2) float64, (x, y) in image px, continuous (the first pixel's centre is 0.5, 0.5).
        scores: (L,) float64, height of each heatmap's peak: about 1 for a sure landmark, near 0 for a lost one.
        box: (4,) float64, left, top, right, bottom in image px, as given.
    """

    landmarks: Floats
    scores: Floats
    box: Floats


class Predictor:
    """A trained network, ready for photos.

    Args:
        checkpoint: the network and how to use it.
        device: where it runs, such as ``cpu`` or ``cuda``.
        batch_size: faces that go through the network at once.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str | torch.device = "cpu", batch_size: int = 32
    ) -> None:
        self.options, self.markup, self.decoder = checkpoint.options, checkpoint.markup, checkpoint.decoder
        self.crop, self.offset_image = checkpoint.crop, checkpoint.offset_image
        self.device, self.batch_size = torch.device(device), batch_size
        self.model = checkpoint.build().to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def predict(
        self,
        image: NDArray[np.uint8],
        boxes: ArrayLike | None = None,
        *,
        channels: Literal["RGB", "BGR"] = "RGB",
        flip: bool = False,
    ) -> list[Face]:
        """Find the landmarks of each face.

        Args:
            image: (H, W, 3) uint8, or (H, W) grey.
            boxes: (N, 4) or (4,), left, top, right, bottom in image px, from a face detector or by hand; the
                whole image is taken as one face when None.
            channels: order of the image's channels; OpenCV reads BGR.
            flip: average with the prediction for the mirrored crop: twice the time, a little better.

        Returns:
            One Face per box, in the order of the boxes.

        Raises:
            InputError: the image or a box cannot be used.
        """
        image = _rgb(image, channels)
        whole = (0, 0, image.shape[1], image.shape[0])
        try:
            given = np.asarray([whole] if boxes is None else boxes, dtype=np.float64)
        except (TypeError, ValueError):
            raise InputError(f"boxes {boxes!r}: give (N, 4) numbers, each left, top, right, bottom") from None
        if given.size == 0:
            return []
        if given.shape[-1:] != (4,) or given.ndim > 2:
            raise InputError(
                f"boxes of shape {given.shape}: give (N, 4), each left, top, right, bottom in px"
            )
        boxes_image = np.array([check_box(box) for box in given.reshape(-1, 4)])
        size = self.options.input_size
        matrices = [crop_matrix(box, self.crop, size) for box in boxes_image]
        faces = []
        for start in range(0, len(boxes_image), self.batch_size):
            part = slice(start, start + self.batch_size)
            crops = np.stack([warp(image, matrix, size) for matrix in matrices[part]])
            landmarks_image, scores = self.predict_crops(torch.from_numpy(crops), matrices[part])
            if flip:
                mirrored, mirrored_scores = self.predict_mirrored(torch.from_numpy(crops), matrices[part])
                landmarks_image, scores = (landmarks_image + mirrored) / 2, (scores + mirrored_scores) / 2
            faces += [
                Face(*values) for values in zip(landmarks_image, scores, boxes_image[part], strict=True)
            ]
        return faces

    def predict_crops(self, crops: Tensor, matrices: Sequence[ArrayLike] | Tensor) -> tuple[Floats, Floats]:
        """Find the landmarks in crops made by the crop rule.

        Args:
            crops: (B, S, S, 3) uint8, RGB.
            matrices: (B, 2, 3), image -> crop, of each.

        Returns:
            landmarks_image: (B, L, 2), in image px.
            scores: (B, L).
        """
        landmarks_crop, scores = self._decode(crops)
        return _to_image(landmarks_crop, matrices) + self.offset_image, scores

    def predict_mirrored(
        self, crops: Tensor, matrices: Sequence[ArrayLike] | Tensor
    ) -> tuple[Floats, Floats]:
        """As ``predict_crops``, but from the mirrored crops, brought back into the image."""
        order = list(self.markup.mirror)
        landmarks_mirrored, scores = self._decode(crops.flip(2))
        landmarks_crop = mirror_landmarks(landmarks_mirrored, crops.shape[2], order)
        # The network is off to the same side of the mirrored image: to the other side of this one.
        offset = np.array(self.offset_image) * (-1, 1)
        return _to_image(landmarks_crop, matrices) + offset, scores[:, order]

    @torch.inference_mode()
    def _decode(self, crops: Tensor) -> tuple[Floats, Floats]:
        """Landmarks (B, L, 2) in crop px and scores (B, L)."""
        heatmaps = self.model(to_input(crops.to(self.device)))[-1]
        landmarks_heatmap, scores = (values.double().cpu().numpy() for values in self.decoder(heatmaps))
        return landmarks_heatmap * (crops.shape[1] / heatmaps.shape[-1]), scores


def load(path: str | PathLike[str], device: str | torch.device | None = None) -> Predictor:
    """Load a trained network.

    Args:
        path: a checkpoint that ``fanlight train`` wrote.
        device: where it runs; the first CUDA device if there is one, else the CPU, when None.

    Raises:
        InputError: the file is not a checkpoint of fanlight.
    """
    return Predictor(load_checkpoint(path), device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _to_image(landmarks_crop: Floats, matrices: Sequence[ArrayLike] | Tensor) -> Floats:
    """Move landmarks (B, L, 2) from crop px into image px by each crop's (2, 3) matrix image -> crop."""
    pairs = zip(matrices, landmarks_crop, strict=True)
    return np.stack([transform(invert(np.asarray(matrix)), face) for matrix, face in pairs])


def to_input(crops: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 RGB -> (B, 3, S, S) float32 in [0, 1], channels last in memory."""
    return crops.permute(0, 3, 1, 2).float().div_(255)


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
