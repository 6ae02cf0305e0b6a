"""Landmarks of the faces in photos.

>>> import fanlight
>>> model = fanlight.load("small")  # doctest: +SKIP
>>> faces = model.predict("photo.jpg")  # doctest: +SKIP
>>> faces[0].landmarks.shape  # doctest: +SKIP
(68, 2)
>>> for path, faces in model.predict_many("photos", progress=True):  # doctest: +SKIP
...     print(path, len(faces))
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fanlight.checkpoint import load_checkpoint
from fanlight.detect import Detector, detect_faces, find_detector
from fanlight.device import Precision, resolve_device
from fanlight.errors import InputError
from fanlight.geometry import Box, CropRule, Floats, boxes_in, crop_matrix, mirror_landmarks, warp
from fanlight.image import read_image
from fanlight.network import Located, Network, TorchNetwork, check_numbers
from fanlight.photos import Channels, OnError, check_channels, find_photos, read_ahead, to_rgb

Photo = NDArray[np.uint8] | str | PathLike[str]
Boxes = ArrayLike | Literal["whole"] | None


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

    def __repr__(self) -> str:
        box = ", ".join(f"{side:.1f}" for side in self.box)
        return f"Face({len(self.landmarks)} landmarks, mean score {self.scores.mean():.2f}, box ({box}))"


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
        boxes: Boxes = None,
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
            NumberError: an ``InputError``: the network's heatmaps hold none.
        """
        return self.predict_batch([image], [boxes], channels=channels, flip=flip, crop=crop)[0]

    def predict_batch(
        self,
        images: Sequence[Photo],
        boxes: Sequence[Boxes] | Literal["whole"] | None = None,
        *,
        channels: Channels = "RGB",
        flip: bool = False,
        crop: CropRule | str | None = None,
    ) -> list[list[Face]]:
        """Find the landmarks of each face in several photos, whose faces share batches.

        Args:
            images: the photos, as for ``predict``.
            boxes: those of each photo, as for ``predict``; ``"whole"`` and None go for all.
            channels: see ``predict``.
            flip: see ``predict``.
            crop: see ``predict``.

        Returns:
            The faces of each photo.
        """
        check_channels(channels)
        if isinstance(images, str | PathLike) or getattr(images, "shape", ())[2:] == (3,):
            raise InputError(
                "a single photo, where several are expected: give a list of photos, or take predict"
            )
        images = list(images)
        given = [boxes] * len(images) if boxes is None or isinstance(boxes, str) else boxes
        if len(given) != len(images):
            raise InputError(f"{len(given)} sets of boxes for {len(images)} photos: give one for each photo")
        cuts = []
        for photo, some in zip(images, given, strict=True):
            image = read_image(photo) if isinstance(photo, str | PathLike) else to_rgb(photo, channels)
            cuts.append(self._cut(image, some, crop))
        return self._locate(cuts, flip)

    def predict_many(
        self,
        photos: str | PathLike[str] | Iterable[str | PathLike[str]],
        boxes: Mapping[Any, ArrayLike] | Literal["whole"] | None = None,
        *,
        flip: bool = False,
        crop: CropRule | str | None = None,
        on_error: OnError = "warn",
        progress: bool = False,
    ) -> Iterator[tuple[Path, list[Face]]]:
        """Find the landmarks in any number of photos, one after the other.

        Photos are read ahead in threads and faces of several photos share batches; memory does not grow with
        the number of photos.

        Args:
            photos: a folder, with all that is below it in the order of the names, a file, or several of these.
            boxes: those of each photo, as for ``predict``, by its path: a folder's photos have that folder's path
                before their own; None asks the detector.
            flip: see ``predict``.
            crop: see ``predict``.
            on_error: what becomes of a photo that cannot be read. It is left out with a warning (``"warn"``), ends
                everything (``"raise"``), or is handed to this function with the error and left out.
            progress: show a progress bar on standard error, if that is a terminal.

        Returns:
            An iterator over each photo's path and its faces, in the order of the photos; a photo without a face
            has an empty list.

        Raises:
            InputError: at once: no photos, a photo without boxes among those given, no detector; on the way: a
                photo's boxes cannot be used, or with ``"raise"`` a photo.
        """
        paths = find_photos(photos)
        self.usage.rule(crop)
        if boxes is None:
            find_detector(self.detector)
        elif isinstance(boxes, Mapping):
            boxes = {Path(path): some for path, some in boxes.items()}
            missing = [str(path) for path in paths if path not in boxes]
            if missing:
                raise InputError.collect(missing, "no boxes are given for these photos:")
        elif not isinstance(boxes, str) or boxes != "whole":
            raise InputError(
                f'boxes = {str(boxes)[:60]!r}: give a mapping from each photo\'s path to its boxes, or "whole"'
            )
        return self._stream(read_ahead(paths, on_error, progress), boxes, flip, crop)

    def _stream(
        self,
        photos: Generator[tuple[Path, NDArray[np.uint8]], None, None],
        boxes: Any,
        flip: bool,
        crop: CropRule | str | None,
    ) -> Iterator[tuple[Path, list[Face]]]:
        """What ``predict_many`` yields: as soon as the faces of some photos, or the photos, fill a batch."""
        waiting: dict[Path, list[_Cut]] = {}
        with closing(photos):
            for path, image in photos:
                some = boxes[path] if isinstance(boxes, Mapping) else boxes
                try:
                    waiting[path] = self._cut(image, some, crop)
                except InputError as error:
                    raise InputError(f"{path}: {error}") from None
                if max(len(waiting), sum(map(len, waiting.values()))) >= self.batch_size:
                    yield from zip(waiting, self._locate(list(waiting.values()), flip), strict=True)
                    waiting.clear()
        yield from zip(waiting, self._locate(list(waiting.values()), flip), strict=True)

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
        plain = self._to_image(check_numbers(self.network(crops), self.usage.name), matrices)
        if not flip:
            return plain
        mirrored = self.predict_mirrored(crops, matrices)
        return Located(*((one + other) / 2 for one, other in zip(plain, mirrored, strict=True)))

    def predict_mirrored(self, crops: NDArray[np.uint8] | Tensor, matrices: ArrayLike | Tensor) -> Located:
        """As ``predict_crops``, but from the mirrored crops, brought back into the image."""
        order = list(self.markup.mirror)
        found = check_numbers(self.network(torch.as_tensor(crops).flip(2)), self.usage.name)
        landmarks = mirror_landmarks(found.landmarks, crops.shape[2], order)
        spread = found.covariances[:, order] * [[1, -1], [-1, 1]]
        # The network is off to the same side of the mirrored image: to the other side of this one.
        return self._to_image(Located(landmarks, found.scores[:, order], spread), matrices, (-1, 1))

    def _cut(self, image: NDArray[np.uint8], boxes: Any, crop: CropRule | str | None) -> list[_Cut]:
        """Cut the faces out of a photo."""
        found, rule = self._boxes(image, boxes, crop)
        cuts = []
        for box in found:
            begun = time.perf_counter()
            matrix = crop_matrix(box, rule, self.usage.input_size)
            pixels = warp(image, matrix, self.usage.input_size)
            cuts.append(_Cut(np.array(box), pixels, matrix, time.perf_counter() - begun))
        return cuts

    def _locate(self, photos: Sequence[Sequence[_Cut]], flip: bool) -> list[list[Face]]:
        """The faces of each photo, from what was cut out of it."""
        cuts = [cut for photo in photos for cut in photo]
        faces: list[Face] = []
        for start in range(0, len(cuts), self.batch_size):
            part = cuts[start : start + self.batch_size]
            begun = time.perf_counter()
            crops, matrices = np.stack([cut.crop for cut in part]), np.stack([cut.matrix for cut in part])
            located = self.predict_crops(crops, matrices, flip)
            share = (time.perf_counter() - begun) / len(part)
            faces += [
                Face(landmarks, scores, spread, cut.box, cut.seconds + share)
                for cut, landmarks, scores, spread in zip(part, *located, strict=True)
            ]
        rest = iter(faces)
        return [list(islice(rest, len(photo))) for photo in photos]

    def _boxes(
        self, image: NDArray[np.uint8], boxes: Any, crop: CropRule | str | None
    ) -> tuple[list[Box], CropRule]:
        """The boxes of a photo's faces, and the rule that makes crops of them."""
        if boxes is None:
            name, detect = find_detector(self.detector)
            rule = self.usage.rule_for(name) if crop is None else self.usage.rule(crop)
            return detect_faces(detect, image), rule
        if isinstance(boxes, str) and boxes == "whole":
            return [(0.0, 0.0, float(image.shape[1]), float(image.shape[0]))], self.usage.rule(crop)
        return boxes_in(image, boxes), self.usage.rule(crop)

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


class _Cut(NamedTuple):
    """A face cut out of its photo: its box, the crop, the matrix image -> crop, the seconds it took."""

    box: Floats
    crop: NDArray[np.uint8]
    matrix: Floats
    seconds: float


def load(
    model: str | PathLike[str] = "small",
    device: str | torch.device | None = None,
    detector: Detector | str | None = None,
    precision: Precision = "float32",
) -> Predictor:
    """Load a trained network.

    Args:
        model: the name of a network that comes with fanlight (``fanlight models`` lists them), a checkpoint that
            ``fanlight train`` wrote, or an ``.onnx`` file that ``fanlight export`` wrote.
        device: where it runs, ``cpu``, ``cuda`` or ``cuda:N``; the first CUDA device if there is one, else the
            CPU, when None. An ``.onnx`` file runs on the CPU.
        detector: see ``Predictor``.
        precision: what a checkpoint's convolutions compute in: ``float32``, ``bfloat16``, ``float16`` (CUDA
            only), or ``auto``, the fastest that the hardware has: landmarks move by hundredths of a crop px.

    Raises:
        InputError: there is no such network, the file is not one of fanlight's, or no such device.
    """
    from fanlight.models import find

    path = find(model)
    if path.suffix.lower() == ".onnx":
        from fanlight.onnx_network import OnnxNetwork

        if str(device or "cpu") != "cpu":
            raise InputError(f"device = {str(device)!r}: {path} runs on the CPU only; leave device out")
        return Predictor(OnnxNetwork(path), detector)
    where = resolve_device(str(device or "auto"))
    return Predictor(TorchNetwork(load_checkpoint(path), where, str(model), precision), detector)
