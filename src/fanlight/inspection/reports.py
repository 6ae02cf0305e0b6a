"""Reports, as pages or as JSON, and other results in JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlight.data.pack_file import FORMAT as PACK
from fanlight.inspection.data_sets import pack
from fanlight.inspection.found import Inspected, mapping, parse_json, read_text

# What kind of JSON holds which keys.
_KINDS = (
    ("evaluation", {"checkpoint", "partitions"}),
    ("comparison", {"a", "b", "partitions"}),
    ("check of a data set", {"facts", "findings"}),
    ("ablation", {"variants", "partitions"}),
    ("benchmarks", {"environment"}),
    ("predictions of landmarks", {"annotations", "images", "info"}),
)
_EMBEDDED = re.compile(r'<script type="application/json" id="provenance">(.*?)</script>', re.DOTALL)
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)


def table(path: Path) -> Inspected | None:
    """A JSON file; None where it is not one of fanlight's."""
    content = parse_json(read_text(path), path)
    if content.get("format") == PACK:
        return pack(path.parent)
    kind = next((kind for kind, keys in _KINDS if keys <= content.keys()), None)
    if kind is None:
        return None
    known = mapping(content.get("provenance"))
    if kind == "benchmarks":
        known = mapping(content["environment"])
    if kind == "predictions of landmarks":
        known = mapping(mapping(content["info"]).get("provenance"))
    return Inspected(kind, path, _facts(content), provenance=known)


def _facts(content: Mapping[str, Any]) -> dict[str, str]:
    """What results are about, in a few lines."""
    facts = {
        name.capitalize(): str(content[name])
        for name in ("title", "checkpoint", "a", "b", "flip")
        if name in content
    }
    for name, summary in mapping(content.get("partitions")).items():
        facts[name] = _figures(mapping(summary))
    facts |= {name: str(value) for name, value in mapping(content.get("facts")).items()}
    facts |= {name: f"{count} findings" for name, count in mapping(content.get("counts")).items() if count}
    if isinstance(content.get("annotations"), list):
        facts["Faces"] = str(len(content["annotations"]))
    if "results" in content:
        facts["Results"] = ", ".join(mapping(content["results"]))
    return facts


def _figures(summary: Mapping[str, Any]) -> str:
    """The first metrics of a partition."""
    values = {key: value for key, value in summary.items() if isinstance(value, Mapping) and "value" in value}
    shown = [f"{key} {100 * value['value']:.2f} %" for key, value in list(values.items())[:3]
             if isinstance(value["value"], int | float)]  # fmt: skip
    count = [f"{summary['n']} faces"] if "n" in summary else []
    return ", ".join(count + shown) or "see the file"


def page(path: Path) -> Inspected | None:
    """A report's page; None where it is not one of fanlight's."""
    text = read_text(path)
    found, title = _EMBEDDED.search(text), _TITLE.search(text)
    if not found:
        return None
    content = parse_json(found[1], path)
    facts = {"Title": html.unescape(title[1])} if title else {}
    return Inspected("report", path, facts, provenance=content)
