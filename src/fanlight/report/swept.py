"""The part of a report that says how a network bears face boxes that are off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import markupsafe

from fanlight.judging.sweep import BoxChange
from fanlight.plot import line_plot
from fanlight.report.figures import metrics_of, numbers, signed

Rows = Sequence[tuple[BoxChange, dict[str, Any]]]


def swept_section(rows: Rows) -> dict[str, Any]:
    """Two plots and a table of a partition's sweep; the first row is that of the boxes as given."""
    metrics = metrics_of(rows[0][1])
    lead = metrics[0]
    given = rows[0][1][lead.key]["value"]
    return {
        "metrics": metrics,
        "plots": [
            markupsafe.Markup(plot) for plot in (_shift_plot(rows, lead.key), _scale_plot(rows, lead.key))
        ],
        "rows": [
            (
                change.title,
                numbers(summary, metrics),
                "" if change == BoxChange() else signed(summary[lead.key]["value"] - given),
            )
            for change, summary in rows
        ],
    }


def _shift_plot(rows: Rows, key: str) -> str:
    ways = {"left or right": "right", "up or down": "down"}
    curves = {}
    for label, way in ways.items():
        other = "down" if way == "right" else "right"
        points = sorted(
            (getattr(change, way), summary[key]["value"])
            for change, summary in rows
            if change.scale == 1 and getattr(change, other) == 0
        )
        curves[label] = ([x for x, _ in points], [y for _, y in points])
    return line_plot(curves, "boxes moved, of their size (right and down above 0)", "NME box")


def _scale_plot(rows: Rows, key: str) -> str:
    points = sorted(
        (change.scale, summary[key]["value"])
        for change, summary in rows
        if change.right == 0 and change.down == 0
    )
    return line_plot(
        {"scaled about the centre": ([x for x, _ in points], [y for _, y in points])},
        "size of the boxes, of that given",
        "NME box",
    )
