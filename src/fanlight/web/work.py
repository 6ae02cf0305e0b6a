"""What the API does, as plain functions of bytes."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from pathlib import PurePath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.detect import detect_faces, find_detector
from fanlight.errors import InputError
from fanlight.geometry import CropRule, boxes_in, crop_matrix, warp
from fanlight.image import decode_image
from fanlight.image_header import UnknownFormatError, read_header
from fanlight.predict import Face, Predictor
from fanlight.web.refusal import RefusedError
from fanlight.web.schema import FaceFound, Heatmaps, MarkupInfo, ModelInfo, Prediction

MAX_BYTES = 32 << 20
"""An upload of more bytes is refused."""

MAX_PIXELS = 64_000_000
"""A photo of more pixels is refused before it is decoded: this many take 200 MB, here and in the browser."""

MAX_BOXES = 100

Boxes = list[tuple[float, float, float, float]] | Literal["whole"] | None


class Shelf:
    """The networks that can be asked, and the detector that they share.

    Args:
        predictors: by the names that the page shows; the first one is taken where none is asked for.
        detector: name of the detector; the best that is installed when None; "none" goes without.
        compare: name of the network that the page compares the first one with, to begin with.

    Raises:
        InputError: there is no detector of that name, or it is not installed.
    """

    def __init__(
        self, predictors: dict[str, Predictor], detector: str | None = None, compare: str | None = None
    ) -> None:
        self.predictors, self.compare = predictors, compare
        self.detector_name = None
        if detector != "none":
            self.detector_name, self._detect = find_detector(detector)

    def get(self, model: str | None) -> tuple[str, Predictor]:
        """A network and its name; the first one when None."""
        name = model or next(iter(self.predictors))
        if name not in self.predictors:
            known = ", ".join(self.predictors)
            raise RefusedError(422, f"model {name[:80]!r} is not served here: ask for one of {known}")
        return name, self.predictors[name]

    def detect(self, image: NDArray[np.uint8]) -> list[tuple[float, float, float, float]]:
        """The boxes of the faces in a photo."""
        if self.detector_name is None:
            raise RefusedError(
                422,
                'this server runs without a face detector: send boxes, or "whole" for the whole photo as one face',
            )
        return detect_faces(self._detect, image)

    def describe(self) -> list[ModelInfo]:
        """All networks."""
        return [_describe(name, predictor) for name, predictor in self.predictors.items()]


def shelf_names(models: Sequence[str]) -> list[str]:
    """What to call models on the page: packaged ones by their name, files by the run they come from.

    >>> shelf_names(["small", "runs/a/checkpoints/best.ckpt", "runs/b/checkpoints/best.ckpt"])
    ['small', 'a/best', 'b/best']
    """
    names: list[str] = []
    for model in models:
        path = PurePath(model)
        parents = [part for part in path.parts[:-1] if part not in ("checkpoints", path.anchor)]
        plain = "/".join([*parents[-1:], path.stem]) if path.suffix else model
        count = sum(name == plain or name.startswith(f"{plain} (") for name in names)
        names.append(f"{plain} ({count + 1})" if count else plain)
    return names


def open_photo(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a photo, once its first bytes say that it is one and of a bearable size.

    Raises:
        RefusedError: 413 too many bytes or pixels, 415 not an image, 422 broken.
    """
    if len(data) > MAX_BYTES:
        raise RefusedError(
            413, f"{name}: {len(data) / 2**20:.1f} MiB, at most {MAX_BYTES >> 20}: scale it down"
        )
    try:
        header = read_header(data) if data else None
    except UnknownFormatError as error:
        raise RefusedError(415, f"{name}: {error}") from None
    except ValueError as error:
        raise RefusedError(422, f"{name}: {error}") from None
    if header and header.width * header.height > MAX_PIXELS:
        size = f"{header.width} x {header.height} pixels"
        raise RefusedError(
            413, f"{name}: {size}, at most {MAX_PIXELS // 10**6} million in all: scale it down"
        )
    try:
        return decode_image(data, name)
    except InputError as error:
        raise RefusedError(422, str(error)) from None


def predict(
    shelf: Shelf,
    data: bytes,
    name: str,
    *,
    model: str | None,
    boxes: Boxes,
    crop: str | None,
    flip: bool,
) -> Prediction:
    """Find the landmarks of each face in a photo.

    Args:
        shelf: the networks.
        data: the photo's file.
        name: what to call it in messages.
        model: name of the network; the first one when None.
        boxes: of the faces; the detector is asked when None.
        crop: name of the detector that given boxes come from; they are like those of the training when None.
        flip: average with what is found in the mirrored crops.

    Raises:
        RefusedError: the photo, the model, a box or the detector cannot be used.
    """
    begun = time.perf_counter()
    model, predictor = shelf.get(model)
    image = open_photo(data, name)
    opened = time.perf_counter()
    if boxes is None:
        boxes, crop = shelf.detect(image), shelf.detector_name or ""
        rule = predictor.usage.rule_for(crop)
    else:
        rule = _rule(predictor, crop)
    detected = time.perf_counter()
    faces = predictor.predict(image, boxes, crop=rule, flip=flip)
    done = time.perf_counter()
    return Prediction(
        model=model,
        width=image.shape[1],
        height=image.shape[0],
        crop=crop if crop in predictor.usage.crops else None,
        faces=[_found(face, rule) for face in faces],
        seconds={"reading": opened - begun, "detection": detected - opened, "landmarks": done - detected},
    )


def heatmaps(
    shelf: Shelf,
    data: bytes,
    name: str,
    *,
    model: str | None,
    box: tuple[float, float, float, float],
    crop: str | None,
) -> Heatmaps:
    """The crop that the network saw of a face, and its heatmaps; see ``predict``.

    Raises:
        RefusedError: as ``predict``.
    """
    model, predictor = shelf.get(model)
    image = open_photo(data, name)
    rule = _rule(predictor, crop)
    size = predictor.usage.input_size
    seen = warp(image, crop_matrix(boxes_in(image, box)[0], rule, size), size)
    maps = np.maximum(predictor.network.heatmaps(seen[None])[0], 0)
    peak = max(float(maps.max()), 1e-6)
    return Heatmaps(
        crop_png=base64.b64encode(encode(seen, ".png")).decode(),
        square=rule.square(box),
        size=maps.shape[-1],
        peak=peak,
        heatmaps=base64.b64encode(np.rint(maps * (255 / peak)).astype(np.uint8).tobytes()).decode(),
    )


def preview(data: bytes, name: str) -> bytes:
    """A photo as it is seen here, as a PNG: for browsers that cannot show it, or turn it another way.

    Raises:
        RefusedError: see ``open_photo``.
    """
    return encode(open_photo(data, name), ".png")


def encode(image: NDArray[np.uint8], suffix: str) -> bytes:
    """An RGB image as a file."""
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise RefusedError(422, f"{image.shape[1]} x {image.shape[0]} pixels cannot be shown as {suffix}")
    return bytes(data)


def _rule(predictor: Predictor, crop: str | None) -> CropRule:
    """The rule for boxes that were sent: that of the detector they come from, or of the training's boxes."""
    rules = predictor.usage.crops
    if crop and crop not in rules:
        known = ", ".join(rules) or "none"
        raise RefusedError(
            422,
            f"crop {crop[:80]!r}: the network has rules for the boxes of: {known}; name one, or leave crop out",
        )
    return predictor.usage.rule(crop or None)


def _found(face: Face, rule: CropRule) -> FaceFound:
    return FaceFound(
        landmarks=face.landmarks.round(4).tolist(),
        scores=face.scores.round(4).tolist(),
        covariances=face.covariances.round(5).tolist(),
        box=tuple(face.box.round(4).tolist()),
        square=rule.square(face.box),
        seconds=face.seconds,
    )


def _describe(name: str, predictor: Predictor) -> ModelInfo:
    usage = predictor.usage
    markup = usage.markup.to_dict()
    return ModelInfo(
        name=name,
        input_size=usage.input_size,
        markup=MarkupInfo(**{key: markup[key] for key in ("name", "points", "parts", "edges")}),
        crops=list(usage.crops),
    )
