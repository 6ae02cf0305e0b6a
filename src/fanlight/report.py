"""One HTML file that shows how good a checkpoint is: numbers, curves, faces. It needs nothing beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import jinja2
import markupsafe

from fanlight.distance import NORMALISERS
from fanlight.draw import Image, ced_plot, overlay
from fanlight.errors import InputError
from fanlight.evaluate import FaceView, PartitionResult
from fanlight.markup import Markup
from fanlight.metric import Metric

CURVE_THRESHOLD = 0.07
HEADLINE = ("auc_box_0.07", "nme_box", "fr_box_0.07")
_GROUPS = {"best": "Best", "median": "Around the median", "worst": "Worst"}


@dataclass(frozen=True)
class Number:
    """A metric's value for print: ``45.3``, ``42.1`` and ``48.4``, in percent."""

    title: str
    value: str
    low: str
    high: str


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
    path: Path, title: str, facts: Mapping[str, str], partitions: Sequence[PartitionResult], markup: Markup
) -> Path:
    """Write the report of an evaluation as one self-contained HTML file.

    Args:
        path: the file to write; its folder is made.
        title: heading of the page.
        facts: what was judged: name, parameters, input size, decoder, recipe ...
        partitions: at least one.
        markup: for the lines that the overlays draw.

    Returns:
        The path written.

    Raises:
        InputError: no partitions.
    """
    if not partitions:
        raise InputError("a report needs at least one judged partition")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanlight"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        title=title,
        facts=facts,
        headlines=[(part, _numbers(part.summary, _present(HEADLINE, part.summary))) for part in partitions],
        tables=_tables(partitions),
        curves=_curves(partitions),
        sections=[_section(part, markup) for part in partitions],
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def percent(fraction: float, kind: str = "nme") -> str:
    """A fraction in percent without the sign: errors with two decimals, shares and areas with one.

    >>> percent(0.05447), percent(0.45321, "auc")
    ('5.45', '45.3')
    """
    return f"{100 * fraction:.{2 if kind == 'nme' else 1}f}"


def _metrics(summary: Mapping[str, Any]) -> list[Metric]:
    return [Metric.parse(key) for key in summary if key not in ("n", "parts")]


def _present(keys: Sequence[str], summary: Mapping[str, Any]) -> list[Metric]:
    return [Metric.parse(key) for key in keys if key in summary]


def _numbers(summary: Mapping[str, Any], metrics: Sequence[Metric]) -> list[Number]:
    numbers = []
    for metric in metrics:
        value, low, high = (
            percent(summary[metric.key][name], metric.kind) for name in ("value", "low", "high")
        )
        numbers.append(Number(metric.title, value, low, high))
    return numbers


def _tables(partitions: Sequence[PartitionResult]) -> list[Table]:
    """A table per normaliser; partitions in the given order, mirroring as asked first, the other way below."""
    metrics = _metrics(partitions[0].summary)
    tables = []
    for normaliser in dict.fromkeys(metric.normaliser for metric in metrics):
        chosen = [metric for metric in metrics if metric.normaliser == normaliser]
        rows = []
        for part in partitions:
            for flip, summary in ((part.flip, part.summary), (not part.flip, part.summary_other_flip)):
                if summary is not None:
                    rows.append(Row(part.name, summary["n"], flip, _numbers(summary, chosen)))
        tables.append(Table(NORMALISERS[normaliser], chosen, rows))
    return tables


def _curves(partitions: Sequence[PartitionResult]) -> markupsafe.Markup:
    """The error curves of all partitions; the plot escapes its own texts."""
    curves = {f"{part.name}, {len(part.errors_box)} faces": part.errors_box for part in partitions}
    return markupsafe.Markup(ced_plot(curves, CURVE_THRESHOLD, "box-normalised error of a face"))


def _section(part: PartitionResult, markup: Markup) -> dict[str, Any]:
    """What the page says of one partition alone: its parts and faces."""
    parts = part.summary["parts"]
    metrics = _metrics(next(iter(parts.values()))) if parts else []
    largest = max((p[metrics[0].key]["value"] for p in parts.values()), default=0.0) or 1.0
    rows = [
        (name.replace("_", " "), _numbers(values, metrics), 100 * values[metrics[0].key]["value"] / largest)
        for name, values in parts.items()
    ]
    groups = [
        (heading, [_face(face, markup) for face in part.faces if face.group == group])
        for group, heading in _GROUPS.items()
    ]
    return {"name": part.name, "metrics": metrics, "rows": rows, "groups": [g for g in groups if g[1]]}


def _face(face: FaceView, markup: Markup) -> dict[str, str]:
    picture = overlay(face.image, face.predicted, markup, face.true, face_px=160)
    return {"caption": face.caption, "error": percent(face.error), "image": _data_uri(picture)}


def _data_uri(image: Image, quality: int = 85) -> str:
    """An image as a JPEG inside a link, so that the page needs no file beside it."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
