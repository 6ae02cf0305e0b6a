"""The part of a report that says whether scores and spreads are worth anything."""

from __future__ import annotations

from typing import Any

import markupsafe
import numpy as np

from fanlight.geometry import Floats
from fanlight.judging.calibration import FAILED, Calibration, Signal, calibrate
from fanlight.judging.faces import JudgedFaces
from fanlight.markup import Markup
from fanlight.plot import line_plot
from fanlight.report.figures import percent

FEWEST = 5  # with fewer faces ranks say nothing
_VERDICTS = (
    (0.6, "tells good faces from bad ones well"),
    (0.4, "tells good faces from bad ones roughly"),
    (0.2, "says a little about a face's error"),
    (-0.1, "says next to nothing about a face's error"),
    (-1.1, "misleads: surer faces are worse"),
)


def signals_section(judged: JudgedFaces, markup: Markup) -> dict[str, Any] | None:
    """Verdicts in words, a plot and a table; None for too few faces or a network without scores."""
    if len(judged) < FEWEST:
        return None
    found = calibrate(judged, markup)
    if all(signal.rank_correlation is None for signal in found.signals):
        return None
    return {
        "verdicts": [_verdict(signal, found.failed) for signal in found.signals],
        "plot": markupsafe.Markup(_plot(found)),
        "rows": _rows(found),
    }


def _verdict(signal: Signal, failed: int) -> tuple[str, str]:
    """A sign of trouble and what it is worth."""
    rank = signal.rank_correlation
    if rank is None:
        return signal.title, "is the same for all faces"
    words = next(text for least, text in _VERDICTS if rank >= least)
    text = f"{words}. Rank correlation of doubt and error: {rank:.2f} over faces"
    if signal.rank_correlation_landmarks is not None:
        text += f", {signal.rank_correlation_landmarks:.2f} over single landmarks"
    text += " (1 would be perfect, 0 worthless)."
    if signal.detection is not None:
        text += (
            f" A failed face (error above {percent(FAILED)} %, {failed} of them) looks less sure than another "
            f"with probability {signal.detection:.2f}."
        )
    return signal.title, text


def _plot(found: Calibration) -> str:
    curves = {"by score": found.signals[0].kept_errors, "by spread": found.signals[1].kept_errors}
    curves = {**curves, "by the error itself, unknown in use": found.oracle}
    first = max(1, len(found.oracle) // 20)  # the mean of a handful jumps about

    def points(kept: Floats) -> tuple[Floats, Floats]:
        shares = np.arange(1, len(kept) + 1) / len(kept)
        chosen = np.unique(np.linspace(first - 1, len(kept) - 1, 200).astype(int))
        return shares[chosen], kept[chosen]

    return line_plot(
        {label: points(kept) for label, kept in curves.items()},
        "share of the faces kept, the surest first",
        "NME box of those kept",
    )


def _rows(found: Calibration) -> list[tuple[str, str, str, str, str]]:
    """Fifths of all landmarks from the least to the most sure: score and its error, spread and its error."""
    score, spread = (signal.bins for signal in found.signals)
    names = ["least sure fifth", *(f"fifth {n}" for n in range(2, len(score))), "surest fifth"]
    return [
        (name, f"{by_score[0]:.2f}", percent(by_score[1]), percent(by_spread[0]), percent(by_spread[1]))
        for name, by_score, by_spread in zip(names, score, spread, strict=False)
    ]
