"""A stand-in for the package ``face_alignment`` (face-alignment on PyPI).

>>> from fanlight.compat import face_alignment
>>> fa = face_alignment.FaceAlignment(face_alignment.LandmarksType.TWO_D)  # doctest: +SKIP
>>> faces = fa.get_landmarks("photo.jpg")  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import IntEnum
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fanlight.compat import Coordinates, Model, check_coordinates, find_predictor, landmarks_of
from fanlight.detect import Detector, detect_faces, find_detector
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.image import read_image
from fanlight.models import DEFAULT
from fanlight.photos import Image, find_photos
from fanlight.predict import Face, Predictor

Floats32 = NDArray[np.float32]

_THEIRS = ("sfd", "dlib", "blazeface", "retinaface", "scrfd", "yunet")


class LandmarksType(IntEnum):
    """What to find; fanlight's networks find 2D landmarks only."""

    TWO_D = _2D = 1
    TWO_HALF_D = _2halfD = 2
    THREE_D = _3D = 3


class NetworkSize(IntEnum):
    """The one size that there is."""

    LARGE = 4


class FaceAlignment:
    """Finds faces and their landmarks, with the methods of the class of this name in ``face_alignment``.

    That library gives coordinates to plot over the image: index coordinates, as here by default (see
    ``fanlight.compat``), though cut to whole pixels, which these are not.

    Args:
        landmarks_type: ``LandmarksType.TWO_D``.
        network_size: changes nothing: the network is ``model``.
        device: as for ``fanlight.load``: the first CUDA device if there is one, else the CPU, when None.
        dtype: changes nothing: the network computes in float32.
        flip_input: average with what is found in the mirrored face.
        face_detector: a detector's name or a function, as for ``fanlight.load``; None, and the names of that
            library's detectors, stand for the first that is installed.
        face_detector_kwargs: none are possible: give a function as ``face_detector`` instead.
        verbose: changes nothing.
        model: as for ``fanlight.load``, or what that returned.
        coordinates: ``index``, in which the centre of the first pixel is (0, 0), or fanlight's ``continuous``.
        crop: how boxes in ``detected_faces`` become crops: the name of the detector that they come from, or a
            rule; as for the boxes of the network's training when None.

    Raises:
        InputError: an argument cannot be used.

    Source: the interface of ``face_alignment/api.py`` 1.4.2 in github.com/1adrianb/face-alignment.
    """

    def __init__(
        self,
        landmarks_type: int,
        network_size: int = NetworkSize.LARGE,
        device: Any = None,
        dtype: Any = None,
        flip_input: bool = False,
        face_detector: Detector | str | None = "sfd",
        face_detector_kwargs: dict[str, Any] | None = None,
        verbose: bool = False,
        *,
        model: Model = DEFAULT,
        coordinates: Coordinates = "index",
        crop: CropRule | str | None = None,
    ) -> None:
        if landmarks_type != LandmarksType.TWO_D:
            raise InputError(
                f"landmarks_type = {landmarks_type!r}: fanlight finds 2D landmarks; give LandmarksType.TWO_D"
            )
        if face_detector == "folder" or face_detector_kwargs:
            raise InputError(
                f"face_detector = {face_detector!r}, face_detector_kwargs = {face_detector_kwargs}: neither boxes "
                "in files nor a detector's settings can be given here; give boxes as detected_faces, or a "
                "function as face_detector"
            )
        self._shift, self._crop, self.flip_input = check_coordinates(coordinates), crop, flip_input
        loaded = find_predictor(model, device)
        ours = None if face_detector in _THEIRS else face_detector
        self.predictor = Predictor(loaded.network, ours or loaded.detector, loaded.batch_size)
        self.face_detector = FaceDetector(self.predictor)

    def get_landmarks(
        self,
        image_or_path: Any,
        detected_faces: Sequence[Any] | None = None,
        return_bboxes: bool = False,
        return_landmark_score: bool = False,
    ) -> Any:
        """As ``get_landmarks_from_image``."""
        return self.get_landmarks_from_image(
            image_or_path, detected_faces, return_bboxes, return_landmark_score
        )

    def get_landmarks_from_image(
        self,
        image_or_path: Any,
        detected_faces: Sequence[Any] | None = None,
        return_bboxes: bool = False,
        return_landmark_score: bool = False,
    ) -> Any:
        """Find the landmarks of each face in an image.

        Args:
            image_or_path: a path, or (H, W, 3), (H, W, 4), (H, W, 1) or (H, W), RGB, as an array or tensor of any
                type with values from 0 to 255.
            detected_faces: left, top, right, bottom of each face in image px, and whatever follows; found by the
                detector when None.
            return_bboxes: give the boxes too.
            return_landmark_score: give the scores too.

        Returns:
            A list with (L, 2) float32 for each face, (x, y) in image px; None, with a warning, where there is no
            face. With one of the flags three lists, each None where it was not asked for: landmarks, scores
            (L,) float32, boxes as given or (5,): four numbers and 1, for our detectors give no score.

        Raises:
            InputError: the image, a box or the detector cannot be used.
        """
        image = _image(image_or_path)
        boxes = None if detected_faces is None else _boxes(detected_faces)
        faces = self.predictor.predict(
            image, boxes, flip=self.flip_input, crop=None if boxes is None else self._crop
        )
        if not faces:
            warnings.warn("No faces were detected.", stacklevel=2)
        return self._answer(faces, detected_faces, return_bboxes, return_landmark_score)

    def get_landmarks_from_batch(
        self,
        image_batch: Any,
        detected_faces: Sequence[Sequence[Any]] | None = None,
        return_bboxes: bool = False,
        return_landmark_score: bool = False,
    ) -> Any:
        """Find the landmarks of each face in several images of one size.

        Args:
            image_batch: (B, 3, H, W), an array or tensor, RGB with values from 0 to 255.
            detected_faces: for each image as for ``get_landmarks_from_image``.
            return_bboxes: give the boxes too.
            return_landmark_score: give the scores too.

        Returns:
            A list with (faces * L, 2) float32 for each image, or an empty list where it has no face. With one of
            the flags three lists over the images, as for ``get_landmarks_from_image``.
        """
        images = _images(image_batch)
        boxes = None if detected_faces is None else [_boxes(faces) for faces in detected_faces]
        found = self.predictor.predict_batch(
            images, boxes, flip=self.flip_input, crop=None if boxes is None else self._crop
        )
        landmarks: list[Any] = [
            np.concatenate(landmarks_of(faces, self._shift)) if faces else [] for faces in found
        ]
        if not (return_bboxes or return_landmark_score):
            return landmarks
        scores = [_scores(faces) for faces in found] if return_landmark_score else None
        bboxes = [_scored(faces) for faces in found] if detected_faces is None else detected_faces
        return landmarks, scores, bboxes if return_bboxes else None

    def get_landmarks_from_directory(
        self,
        path: str | PathLike[str],
        extensions: Sequence[str] = (".jpg", ".png"),
        recursive: bool = True,
        show_progress_bar: bool = True,
        return_bboxes: bool = False,
        return_landmark_score: bool = False,
    ) -> dict[str, Any]:
        """Find the landmarks of each face in the images of a folder.

        Args:
            path: the folder.
            extensions: what the names of its images end in.
            recursive: look into its folders too.
            show_progress_bar: on a terminal.
            return_bboxes: give the boxes too.
            return_landmark_score: give the scores too.

        Returns:
            For each image, by its path, what ``get_landmarks_from_image`` returns.

        Raises:
            InputError: the folder holds no image, or one that cannot be read.
        """
        photos = find_photos(path, tuple(extension.lower() for extension in extensions), recursive)
        found = self.predictor.predict_many(
            photos, flip=self.flip_input, on_error="raise", progress=show_progress_bar
        )
        return {
            str(photo): self._answer(faces, None, return_bboxes, return_landmark_score)
            for photo, faces in found
        }

    def _answer(
        self, faces: Sequence[Face], given: Sequence[Any] | None, return_bboxes: bool, return_scores: bool
    ) -> Any:
        """Put what was found into the form of that library."""
        landmarks = landmarks_of(faces, self._shift) or None
        if not (return_bboxes or return_scores):
            return landmarks
        if landmarks is None:
            return None, None, None
        bboxes = list(given) if given is not None else _scored(faces)
        return landmarks, _scores(faces) if return_scores else None, bboxes if return_bboxes else None


class FaceDetector:
    """Finds face boxes only; what ``FaceAlignment.face_detector`` is.

    Args:
        predictor: whose detector it is.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    def detect_from_image(self, tensor_or_path: Any) -> list[Floats32]:
        """The boxes of an image's faces, (5,) each: left, top, right, bottom, and 1 in the place of a score."""
        _, detect = find_detector(self._predictor.detector)
        return [np.array([*box, 1], np.float32) for box in detect_faces(detect, _image(tensor_or_path))]

    def detect_from_batch(self, tensor: Any) -> list[list[Floats32]]:
        """The boxes of several images' faces, given as (B, 3, H, W); see ``detect_from_image``."""
        return [self.detect_from_image(image) for image in _images(tensor)]


def _scores(faces: Sequence[Face]) -> list[Floats32]:
    return [face.scores.astype(np.float32) for face in faces]


def _scored(faces: Sequence[Face]) -> list[Floats32]:
    return [np.array([*face.box, 1], np.float32) for face in faces]


def _boxes(detected_faces: Sequence[Any]) -> list[Any]:
    """The four numbers of each box, without what follows them."""
    return [_array(box)[:4] for box in detected_faces]


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _images(batch: Any) -> list[Image]:
    """The images of a batch (B, 3, H, W) or (B, 1, H, W)."""
    return [_image(np.moveaxis(image, 0, -1)) for image in _array(batch)]


def _image(image_or_path: Any) -> Image:
    """An image as uint8, its transparency and a lone channel's axis dropped."""
    if isinstance(image_or_path, str | PathLike):
        return read_image(image_or_path)
    image = _array(image_or_path)
    if image.ndim == 3 and image.shape[2] in (1, 4):
        image = image[..., 0] if image.shape[2] == 1 else image[..., :3]
    if image.dtype == np.uint8 or not image.size:
        return image
    low, high = image.min(), image.max()
    if not (0 <= low <= high <= 255) or 0 < high <= 1:
        raise InputError(f"an image of type {image.dtype} from {low} to {high}: give values from 0 to 255")
    return np.rint(image).astype(np.uint8)
