"""A stand-in for ``ibug.face_alignment``.

>>> from fanlight.compat.ibug import FANPredictor
>>> find_landmarks = FANPredictor(device="cpu")  # doctest: +SKIP
>>> landmarks, scores = find_landmarks(frame, boxes, rgb=False)  # doctest: +SKIP
"""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.compat import Coordinates, Model, check_coordinates, find_predictor, landmarks_of
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.models import DEFAULT

_THEIRS = ("2dfan2", "2dfan4", "2dfan2_alt")


class FANPredictor:
    """Finds landmarks in given face boxes, called as the class of this name in ``ibug.face_alignment`` is.

    That library's landmarks are those of ``.pts`` files less 1: index coordinates, as here by default (see
    ``fanlight.compat``). Its crop is fixed; here it suits the network.

    Args:
        device: as for ``fanlight.load``: the first CUDA device if there is one, else the CPU, when None.
        model: what ``get_model`` returned, or as for ``fanlight.load``, or what that returned.
        config: what ``create_config`` returned.
        coordinates: ``index``, in which the centre of the first pixel is (0, 0), or fanlight's ``continuous``.
        crop: how boxes become crops: the name of the detector that they come from, or a rule; as for the boxes
            of the network's training when None.

    Raises:
        InputError: the network, the device or the configuration cannot be used.

    Source: the interface of ``ibug/face_alignment/fan/fan_predictor.py`` in github.com/hhj1897/face_alignment.
    """

    def __init__(
        self,
        device: Any = None,
        model: SimpleNamespace | Model | None = None,
        config: SimpleNamespace | None = None,
        *,
        coordinates: Coordinates = "index",
        crop: CropRule | str | None = None,
    ) -> None:
        model = model.weights if isinstance(model, SimpleNamespace) else model
        settings = config or self.create_config()
        self._shift, self._crop, self.device = check_coordinates(coordinates), crop, device
        self.predictor = find_predictor(
            DEFAULT if model is None else model, device, settings.gamma, settings.radius
        )
        self.config = SimpleNamespace(
            **vars(settings),
            input_size=self.predictor.usage.input_size,
            num_landmarks=self.predictor.markup.count,
        )

    @staticmethod
    def get_model(name: str = DEFAULT) -> SimpleNamespace:
        """The network of that name, for the constructor.

        The names of that library's own weights, which fanlight does not have, stand for the default network, with
        a warning.
        """
        if name.lower() in _THEIRS:
            warnings.warn(
                f"{name}: weights of ibug.face_alignment, which fanlight does not have; its network "
                f"{DEFAULT!r} stands in",
                stacklevel=2,
            )
            name = DEFAULT
        return SimpleNamespace(weights=name, config=SimpleNamespace())

    @staticmethod
    def create_config(
        gamma: float | None = None, radius: float | None = None, use_jit: bool = True
    ) -> SimpleNamespace:
        """How to decode, for the constructor.

        Args:
            gamma: exponent of the heatmaps; the network's own when None.
            radius: of the window around a peak, as a fraction of the heatmap's side; likewise.
            use_jit: changes nothing here.
        """
        return SimpleNamespace(gamma=gamma, radius=radius, use_jit=use_jit)

    def __call__(
        self, image: NDArray[np.uint8], face_boxes: ArrayLike, rgb: bool = True, return_features: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Find the landmarks of each face.

        Args:
            image: (H, W, 3) uint8.
            face_boxes: (N, 4 or more) or (4 or more,): left, top, right, bottom in image px, then whatever the
                detector adds.
            rgb: whether the image is RGB, or else BGR.
            return_features: not possible here.

        Returns:
            landmarks: (N, L, 2) float32, (x, y) in image px.
            scores: (N, L) float32, the heights of the heatmaps' peaks, about 0 to 1.

        Raises:
            InputError: the image or a box cannot be used, or features are asked for.
        """
        if return_features:
            raise InputError("return_features = True: fanlight's networks give landmarks and scores only")
        boxes = np.asarray(face_boxes, np.float64)
        boxes = np.atleast_2d(boxes)[:, :4] if boxes.size else np.empty((0, 4))
        channels = "RGB" if rgb else "BGR"
        faces = self.predictor.predict(image, boxes, channels=channels, crop=self._crop)  # type: ignore[arg-type]
        count = self.predictor.markup.count
        landmarks = np.array(landmarks_of(faces, self._shift), np.float32).reshape(-1, count, 2)
        return landmarks, np.array([face.scores for face in faces], np.float32).reshape(-1, count)
