"""What the data doctor found, as a page with pictures and as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.data.faces import Faces
from fanlight.data.index import Index
from fanlight.doctor import KINDS, Examined, Finding
from fanlight.draw import Image, overlay
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, crop_matrix, transform, warp
from fanlight.markup import Markup
from fanlight.report.page import thumbnail, write_page

SIDE = 256  # px of a crop
_AT_ONCE = 4  # faces of a group that are shown
_CROP = CropRule(scale=1.8)


def write_findings(
    folder: Path,
    faces: Faces,
    markup: Markup,
    examined: Examined,
    facts: Mapping[str, str],
    pictures: int = 60,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Write ``report.html`` with pictures, ``findings.tsv`` and ``findings.json`` with everything.

    Args:
        folder: where to; it is made.
        faces: the data set that was examined.
        markup: of its labels.
        examined: what was found.
        facts: what the page says of the data set and the network.
        pictures: the most findings of a kind that the page shows.
        provenance: how they were found, in plain values; the table has no room for it.

    Returns:
        The page.

    Raises:
        InputError: the files cannot be written.
    """
    rows = [_row(faces, finding) for finding in examined.findings]
    columns = ("kind", "score", "partitions", "lines", "files", "message")
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(row[column]) for column in columns) for row in rows]
    write_whole(folder / "findings.tsv", "\n".join(lines) + "\n")
    content = {"facts": dict(facts), "counts": examined.counts(), "findings": rows}
    content["provenance"] = dict(provenance or {})
    write_whole(folder / "findings.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return write_page(
        folder / "report.html",
        "findings.html.jinja",
        provenance,
        where=faces.where,
        facts=facts,
        counts=[(key, KINDS[key], count) for key, count in examined.counts().items()],
        sections=_sections(faces, markup, examined, pictures),
        left_out=[kind.title for key, kind in KINDS.items() if key not in examined.looked_for],
        compared=bool(examined.predicted),
    )


def _row(faces: Faces, finding: Finding) -> dict[str, Any]:
    """A finding with what its positions stand for."""
    places = finding.positions
    row = asdict(finding)
    row["score"] = round(finding.score, 4)
    row["positions"] = list(places)
    row["lines"] = [int(faces.line_numbers[at]) for at in places]
    row["partitions"] = list(dict.fromkeys(faces.partition_of(at) for at in places))
    row["files"] = [
        str(faces[at].image_path) if isinstance(faces, Index) else faces.name(at) for at in places
    ]
    return row


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return " ".join(text.split())


def _sections(faces: Faces, markup: Markup, examined: Examined, most: int) -> list[dict[str, Any]]:
    """What the page says of each kind that was found."""
    sections = []
    for key, count in examined.counts().items():
        if not count:
            continue
        shown = [finding for finding in examined.findings if finding.kind == key][:most]
        sections.append(
            {
                "key": key.replace(" ", "-"),
                "kind": KINDS[key],
                "count": count,
                "findings": [
                    {
                        "message": finding.message,
                        "places": _places(faces, finding),
                        "pictures": [
                            _picture(faces, at, markup, examined) for at in finding.positions[:_AT_ONCE]
                        ],
                    }
                    for finding in shown
                ],
            }
        )
    return sections


def _places(faces: Faces, finding: Finding) -> str:
    """Where a single face stands; groups name their places themselves."""
    if len(finding.positions) != 1:
        return ""
    at = finding.positions[0]
    return f"{faces.name(at)}, {faces.partition_of(at)}, line {faces.line_numbers[at]}"


def _picture(faces: Faces, position: int, markup: Markup, examined: Examined) -> str:
    """The face with its label and what the network found, as a link; empty where there is no photo."""
    label, found = examined.landmarks.get(position), examined.predicted.get(position)
    try:
        box = _shown(faces.face_boxes[position], label)
        matrix = crop_matrix(box, _CROP, SIDE)
        image: Image = warp(faces.photo(position)[0], matrix, SIDE, border_value=128)
    except InputError:
        return ""
    if label is not None:
        drawn = transform(matrix, label)
        truth = None if found is None else drawn
        points = drawn if found is None else transform(matrix, found)
        image = overlay(image, points, markup, truth, face_px=1)
    return thumbnail(image, SIDE)[0]


def _shown(box: Floats, label: Floats | None) -> Floats:
    """The box to show: the face's, and the landmarks as far as they are not beyond all bounds."""
    if label is None:
        return box
    size = box[2:] - box[:2]
    near = np.clip(label, box[:2] - size, box[2:] + size)
    return np.concatenate([np.minimum(box[:2], near.min(axis=0)), np.maximum(box[2:], near.max(axis=0))])
