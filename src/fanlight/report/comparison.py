"""The report of a comparison: which of two is better, by how much, and on which faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import markupsafe

from fanlight.errors import InputError
from fanlight.judging.compare import ComparedPartition, better
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.plot import ced_plot
from fanlight.report.evaluation import CURVE_THRESHOLD, GROUP_TITLES, HEADLINE
from fanlight.report.figures import FEW, difference, few, interval, percent
from fanlight.report.leaf import leaf_pairs
from fanlight.report.page import write_page

NEITHER = "no clear difference"


def write_comparison(
    path: Path,
    names: tuple[str, str],
    facts: Mapping[str, tuple[str, str]],
    partitions: Sequence[ComparedPartition],
    markup: Markup,
    flip: bool,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of a comparison as one self-contained HTML file.

    Args:
        path: the file to write; its folder is made.
        names: what A and B are called.
        facts: what is known of both: for each fact that of A and that of B.
        partitions: at least one.
        markup: for the lines that are drawn.
        flip: whether mirrored predictions were averaged in.
        provenance: where the figures come from, in plain values.

    Returns:
        The path written.

    Raises:
        InputError: no partitions.
    """
    if not partitions:
        raise InputError("a report needs at least one compared partition")
    return write_page(
        path,
        "compare.html.jinja",
        provenance,
        names=names,
        facts=facts,
        flip=flip,
        sections=[_section(part, markup) for part in partitions],
        metrics=[Metric.parse(key) for key in partitions[0].comparison["metrics"]],
    )


def verdict(key: str, values: Mapping[str, float]) -> str:
    """``A is better``, ``B is better`` or ``no clear difference``."""
    who = better(key, dict(values))
    return f"{who} is better" if who else NEITHER


def _section(part: ComparedPartition, markup: Markup) -> dict[str, Any]:
    found = part.comparison
    curves = {"A": part.errors_a, "B": part.errors_b}
    label = "box-normalised error of a face"
    return {
        "name": part.name,
        "n": found["n"],
        "headline": _headline(found),
        "shares": [interval(f"{who} is better", found[f"{who.lower()}_better"], "auc") for who in "AB"],
        "rows": [_row(key, values) for key, values in found["metrics"].items()],
        "curves": markupsafe.Markup(ced_plot(curves, CURVE_THRESHOLD, label)),
        "groups": [
            {
                "title": GROUP_TITLES[by],
                "note": note,
                "rows": [(name, group["n"], _group_row(group)) for name, group in rows],
            }
            for by, note, rows in part.groups
        ],
        "leaf": leaf_pairs(part.faces, markup),
    }


def _row(key: str, values: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    metric = Metric.parse(key)
    return {
        "metric": metric,
        "numbers": [
            interval("A", values["a"], metric.kind),
            interval("B", values["b"], metric.kind),
            difference("B − A", values["difference"], metric.kind),
        ],
        "verdict": verdict(key, values["difference"]),
    }


def _group_row(group: Mapping[str, Any]) -> dict[str, Any]:
    """The NME of a group; of a few faces without intervals and verdict."""
    row = _row("nme_box", group["metrics"]["nme_box"])
    if group["n"] < FEW:
        row |= {"numbers": [few(number) for number in row["numbers"]], "verdict": ""}
    return row


def _headline(found: Mapping[str, Any]) -> str:
    """The comparison in a sentence, by the first headline metric."""
    key = next(key for key in (*HEADLINE, *found["metrics"]) if key in found["metrics"])
    metric, values = Metric.parse(key), found["metrics"][key]["difference"]
    who = better(key, values)
    a, b = (percent(found["metrics"][key][name]["value"], metric.kind) for name in "ab")
    if who is None:
        return f"No clear difference: {metric.title} is {a} % for A and {b} % for B."
    return f"{who} is better: {metric.title} is {a} % for A and {b} % for B."
