"""fanlight: train, judge and use Face Alignment Networks.

>>> import fanlight
>>> model = fanlight.load("small")  # doctest: +SKIP
>>> faces = model.predict("photo.jpg")  # doctest: +SKIP
>>> fanlight.write_json("faces.json", model.predict_many("photos"), model.markup)  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanlight.errors import InputError
    from fanlight.geometry import CropRule
    from fanlight.image import read_image
    from fanlight.markup import Markup
    from fanlight.predict import Face, Predictor, load
    from fanlight.results import write_csv, write_json, write_pts

__version__ = "0.1.0"

_HOMES = {
    "CropRule": "fanlight.geometry",
    "Face": "fanlight.predict",
    "InputError": "fanlight.errors",
    "Markup": "fanlight.markup",
    "Predictor": "fanlight.predict",
    "load": "fanlight.predict",
    "read_image": "fanlight.image",
    "write_csv": "fanlight.results",
    "write_json": "fanlight.results",
    "write_pts": "fanlight.results",
}
__all__ = [
    "CropRule",
    "Face",
    "InputError",
    "Markup",
    "Predictor",
    "load",
    "read_image",
    "write_csv",
    "write_json",
    "write_pts",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command's help need not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fanlight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
