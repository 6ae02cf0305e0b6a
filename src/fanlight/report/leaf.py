"""Faces to leaf through: the pictures and landmarks that a page's viewer shows one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.judging.compare import PairView
from fanlight.judging.faces import FaceView
from fanlight.markup import Markup
from fanlight.metric import EQUAL
from fanlight.report.figures import percent, signed
from fanlight.report.page import thumbnail

SIDE = 192  # px of a picture; with its landmarks a face takes about 10 KB of the page


def leaf_faces(faces: Sequence[FaceView], markup: Markup) -> dict[str, Any] | None:
    """What the viewer needs to show predictions and truth, as plain values; None without faces."""
    shown = []
    for face in faces:
        picture, factor = thumbnail(face.image, SIDE)
        shown.append(
            {
                "title": face.caption,
                "note": f"{percent(face.error)} % error, score {face.score:.2f}",
                "image": picture,
                "side": round(face.image.shape[0] * factor),
                "sets": [_points(face.true * factor), _points(face.predicted * factor)],
                "error": face.error,
                "score": face.score,
            }
        )
    orders = {"error": "largest error first", "score": "lowest score first", "best": "smallest error first"}
    return _viewer(shown, markup, [["true", [0, 1]]], ["true", "predicted"], orders)


def leaf_pairs(faces: Sequence[PairView], markup: Markup) -> dict[str, Any] | None:
    """What the viewer needs to show A and B side by side, as plain values; None without faces."""
    shown = []
    for face in faces:
        picture, factor = thumbnail(face.image, SIDE)
        gain = face.error_a - face.error_b
        shown.append(
            {
                "title": face.caption,
                "note": f"A {percent(face.error_a)} %, B {percent(face.error_b)} %, "
                f"B − A {signed(-gain)}: {_verdict(gain)}",
                "image": picture,
                "side": round(face.image.shape[0] * factor),
                "sets": [_points(points * factor) for points in (face.true, face.a, face.b)],
                "error": abs(gain),
                "gain": gain,
                "loss": -gain,
            }
        )
    orders = {
        "error": "largest difference first",
        "gain": "where B is better",
        "loss": "where A is better",
    }
    panes = [["A", [0, 1]], ["B", [0, 2]]]
    return _viewer(shown, markup, panes, ["true", "A", "B"], orders)


def _verdict(gain: float) -> str:
    if abs(gain) <= EQUAL:
        return "equal"
    return f"{'B' if gain > 0 else 'A'} is better"


def _viewer(
    faces: list[dict[str, Any]],
    markup: Markup,
    panes: list[list[Any]],
    sets: list[str],
    orders: dict[str, str],
) -> dict[str, Any] | None:
    if not faces:
        return None
    return {
        "faces": faces,
        "edges": [list(edge) for edge in markup.edges],
        "panes": panes,
        "sets": sets,
        "orders": list(orders.items()),
    }


def _points(landmarks: NDArray[np.floating[Any]]) -> list[float]:
    """x, y, x, y ... with a decimal, which a picture of this size can show."""
    return [round(float(value), 1) for value in landmarks.ravel()]
