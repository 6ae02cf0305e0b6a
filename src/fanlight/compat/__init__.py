"""Stand-ins for other libraries: programs written for these run on fanlight's networks once the import is changed.

| instead of | write |
|---|---|
| ``from ibug.face_alignment import FANPredictor`` | ``from fanlight.compat.ibug import FANPredictor`` |
| ``import face_alignment`` | ``from fanlight.compat import face_alignment`` |

Both give what programs for those libraries expect: float32, and index coordinates, in which the centre of the
first pixel is (0, 0). Those are fanlight's continuous ones less 0.5, which ``coordinates="continuous"`` gives.
Boxes are taken and given as they are: half a pixel of a box makes no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from os import PathLike
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError
from fanlight.predict import Face, Predictor, load

Coordinates = Literal["index", "continuous"]
Model = str | PathLike[str] | Predictor

_SHIFTS = {"index": -0.5, "continuous": 0.0}


def find_predictor(
    model: Model, device: Any, gamma: float | None = None, radius: float | None = None
) -> Predictor:
    """The network to stand in, loaded where it is not a ``Predictor`` already.

    Args:
        model: as for ``fanlight.load``, or what that returned.
        device: as for ``fanlight.load``.
        gamma: the decoder's exponent; the network's own when None.
        radius: the decoder's window, likewise.

    Raises:
        InputError: the network cannot be loaded, or decodes by itself and cannot be told how.
    """
    predictor = model if isinstance(model, Predictor) else load(model, device)
    changes = {name: value for name, value in (("gamma", gamma), ("radius", radius)) if value is not None}
    if not changes:
        return predictor
    network: Any = copy(predictor.network)
    if not hasattr(network, "decoder"):
        raise InputError(
            f"{predictor.usage.name} decodes its heatmaps by itself, so gamma and radius have no meaning: leave "
            "them out, or take a checkpoint"
        )
    network.decoder = replace(network.decoder, **changes)
    return Predictor(network, predictor.detector, predictor.batch_size)


def check_coordinates(coordinates: str) -> float:
    """What to add to continuous coordinates to get these.

    Raises:
        InputError: there are none of that name.
    """
    if coordinates not in _SHIFTS:
        raise InputError(f'coordinates = {coordinates!r}: give "index" or "continuous"')
    return _SHIFTS[coordinates]


def landmarks_of(faces: Sequence[Face], shift: float) -> list[NDArray[np.float32]]:
    """The landmarks (L, 2) of each face, moved."""
    return [(face.landmarks + shift).astype(np.float32) for face in faces]
