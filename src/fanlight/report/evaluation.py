"""The report of an evaluation: numbers, curves, where the errors are, and faces to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import markupsafe

from fanlight.distance import NORMALISERS
from fanlight.draw import overlay
from fanlight.errors import InputError
from fanlight.judging.breakdown import break_down, landmark_errors, mean_shape, pose_remark
from fanlight.judging.faces import FaceView, PartitionResult
from fanlight.judging.sweep import Swept
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.plot import ced_plot, shape_plot
from fanlight.report.figures import FEW, Number, bars, few, metrics_of, numbers, percent, present
from fanlight.report.leaf import leaf_faces
from fanlight.report.page import data_uri, write_page
from fanlight.report.signals import signals_section
from fanlight.report.swept import swept_section

CURVE_THRESHOLD = 0.07
HEADLINE = ("auc_box_0.07", "nme_box", "fr_box_0.07")
GROUP_TITLES = {
    "yaw": "Turned to a side",
    "pitch": "Looking up or down",
    "roll": "Tilted",
    "size": "Size of the face",
    "subset": "Subset",
}
_GROUPS = {"best": "Best", "median": "Around the median", "worst": "Worst"}


@dataclass(frozen=True)
class Row:
    """A partition's numbers, made with or without test-time mirroring."""

    partition: str
    n: int
    flip: bool
    numbers: list[Number]


@dataclass(frozen=True)
class Table:
    """The numbers of one normaliser, a row for each partition and way."""

    divisor: str
    metrics: list[Metric]
    rows: list[Row]


def write_report(
    path: Path,
    title: str,
    facts: Mapping[str, str],
    partitions: Sequence[PartitionResult],
    markup: Markup,
    sweep: Swept | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of an evaluation as one self-contained HTML file.

    Args:
        path: the file to write; its folder is made.
        title: heading of the page.
        facts: what was judged: name, parameters, input size, decoder, recipe ...
        partitions: at least one.
        markup: for the lines that the overlays draw.
        sweep: how the network bears boxes that are off, where that was tried.
        provenance: where the figures come from, in plain values.

    Returns:
        The path written.

    Raises:
        InputError: no partitions.
    """
    if not partitions:
        raise InputError("a report needs at least one judged partition")
    sections = [_section(part, markup, sweep or {}) for part in partitions]
    return write_page(
        path,
        "report.html.jinja",
        provenance,
        title=title,
        facts=facts,
        headlines=[(part, numbers(part.summary, present(HEADLINE, part.summary))) for part in partitions],
        tables=_tables(partitions),
        curves=_curves(partitions),
        sections=sections,
        remark=pose_remark(markup),
        legend=_legend(markup),
    )


def _tables(partitions: Sequence[PartitionResult]) -> list[Table]:
    """A table per normaliser; partitions in the given order, mirroring as asked first, the other way below."""
    metrics = metrics_of(partitions[0].summary)
    tables = []
    for normaliser in dict.fromkeys(metric.normaliser for metric in metrics):
        chosen = [metric for metric in metrics if metric.normaliser == normaliser]
        rows = []
        for part in partitions:
            for flip, summary in ((part.flip, part.summary), (not part.flip, part.summary_other_flip)):
                if summary is not None:
                    rows.append(Row(part.name, summary["n"], flip, numbers(summary, chosen)))
        tables.append(Table(NORMALISERS[normaliser], chosen, rows))
    return tables


def _curves(partitions: Sequence[PartitionResult]) -> markupsafe.Markup:
    """The error curves of all partitions; the plot escapes its own texts."""
    curves = {f"{part.name}, {len(part.errors_box)} faces": part.errors_box for part in partitions}
    return markupsafe.Markup(ced_plot(curves, CURVE_THRESHOLD, "box-normalised error of a face"))


def _section(part: PartitionResult, markup: Markup, sweep: Swept) -> dict[str, Any]:
    """What the page says of one partition alone."""
    shape = shape_plot(mean_shape(part.judged.true), landmark_errors(part.judged, markup), markup)
    groups = [
        (heading, [_face(face, markup) for face in part.faces if face.group == group])
        for group, heading in _GROUPS.items()
    ]
    leaf = leaf_faces([face for face in part.faces if face.group == "leaf"], markup)
    return {
        "name": part.name,
        **_parts(part),
        "shape": markupsafe.Markup(shape),
        "breakdowns": [_breakdown_table(found) for found in break_down(part.judged, markup)],
        "sweep": swept_section(sweep[part.name]) if part.name in sweep else None,
        "signals": signals_section(part.judged, markup),
        "leaf": leaf,
        "leaf_total": len(part.errors_box),
        "groups": [group for group in groups if group[1]],
    }


def _parts(part: PartitionResult) -> dict[str, Any]:
    """The table of the face's parts."""
    parts = part.summary["parts"]
    metrics = metrics_of(next(iter(parts.values()))) if parts else []
    widths = bars([values[metrics[0].key]["value"] for values in parts.values()])
    rows = [
        (name.replace("_", " "), numbers(values, metrics), width)
        for (name, values), width in zip(parts.items(), widths, strict=True)
    ]
    return {"metrics": metrics, "rows": rows}


def _breakdown_table(found: Any) -> dict[str, Any]:
    """One way of grouping the faces, as a table."""
    metrics = metrics_of(found.rows[0][1])
    widths = bars([summary[metrics[0].key]["value"] for _, summary in found.rows])
    return {
        "title": GROUP_TITLES[found.by],
        "note": found.note,
        "metrics": metrics,
        "rows": [
            (name, summary["n"], _group_numbers(summary, metrics), width)
            for (name, summary), width in zip(found.rows, widths, strict=True)
        ],
    }


def _group_numbers(summary: Mapping[str, Any], metrics: Sequence[Metric]) -> list[Number]:
    found = numbers(summary, metrics)
    return found if summary["n"] >= FEW else [few(number) for number in found]


def _face(face: FaceView, markup: Markup) -> dict[str, str]:
    picture = overlay(face.image, face.predicted, markup, face.true, face_px=160)
    return {"caption": face.caption, "error": percent(face.error), "image": data_uri(picture)}


def _legend(markup: Markup) -> list[tuple[str, str]]:
    """What words of the page mean, beside the metrics."""
    words = [
        (
            "Interval",
            "from the 2.5 % to the 97.5 % quantile of the metric over resamples of the faces (percentile "
            "bootstrap); it covers the choice of faces, not that of the training run",
        ),
        (
            "Mirroring",
            "on: each face is predicted as it is and mirrored, and the two sets of landmarks are averaged",
        ),
        ("Part", "errors of the part's landmarks, divided by the length of the whole face"),
    ]
    if pose_remark(markup) is None:
        words.append(
            (
                "Pose",
                "yaw, pitch and roll of a mean head that is turned, scaled and shifted to fit the true landmarks; "
                "good for groups of faces, not for single angles",
            )
        )
    return words
