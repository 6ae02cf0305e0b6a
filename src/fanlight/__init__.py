"""fanlight: train, judge and use Face Alignment Networks.

>>> import fanlight
>>> predictor = fanlight.load("runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
>>> faces = predictor.predict(fanlight.read_image("photo.jpg"), boxes=[(60, 40, 200, 210)])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fanlight.errors import InputError
    from fanlight.image import read_image
    from fanlight.markup import Markup
    from fanlight.predict import Face, Predictor, load

__version__ = "0.1.0"

_HOMES = {
    "Face": "fanlight.predict",
    "InputError": "fanlight.errors",
    "Markup": "fanlight.markup",
    "Predictor": "fanlight.predict",
    "load": "fanlight.predict",
    "read_image": "fanlight.image",
}
__all__ = ["Face", "InputError", "Markup", "Predictor", "load", "read_image"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command's help need not wait for PyTorch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'fanlight' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
