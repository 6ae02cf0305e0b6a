"""What was found out about a file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fanlight.errors import InputError
from fanlight.provenance import file_digest

LARGEST_TEXT = 512 << 20  # bytes
DEEPEST = 50  # tables and lists inside each other; fanlight's own have some six


@dataclass(frozen=True)
class Inspected:
    """A file, in plain values.

    Attributes:
        kind: what it is.
        path: of the file.
        facts: what is in it, for people.
        metrics: of a network, on the faces that it was chosen on, by their keys; fractions.
        provenance: where it comes from; empty where it does not say.
        recipe: of a network; empty where there is none.
    """

    kind: str
    path: Path
    facts: Mapping[str, str]
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """All of it with the file's SHA-256, for JSON."""
        return plain(
            {
                "kind": self.kind,
                "file": str(self.path),
                "sha256": file_digest(self.path),
                "facts": self.facts,
                "metrics": self.metrics,
                "provenance": self.provenance,
                "recipe": self.recipe,
            }
        )

    def identity(self) -> dict[str, Any]:
        """The same as ``models.identity`` gives of a checkpoint."""
        return plain(
            {
                "name": str(self.path),
                "sha256": file_digest(self.path),
                "recipe": self.recipe,
                "provenance": self.provenance,
            }
        )


def plain(value: Any) -> Any:
    """A value of anyone's file as JSON can hold it; what it cannot is told by its type."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return str(value)  # no number to calculate with
    return value if value is None or isinstance(value, str | int | float) else f"a {type(value).__name__}"


def mapping(value: Any) -> dict[str, Any]:
    """A value of anyone's file, if it is a mapping, else an empty one."""
    return plain(value) if isinstance(value, Mapping) else {}


def read_text(path: Path) -> str:
    """A text file, whose bytes that are no UTF-8 are replaced.

    Raises:
        InputError: it is too large to be one of fanlight's.
    """
    if path.stat().st_size > LARGEST_TEXT:
        raise InputError(
            f"{path}: more than {LARGEST_TEXT >> 20} MiB, which no report or table of fanlight's has: give another"
        )
    return path.read_text(encoding="utf-8", errors="replace")


def parse_json(text: str | bytes, path: Path) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: what it says of itself is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: damaged, or not of fanlight: it holds no JSON object")
    if _is_deep(found):
        raise InputError(f"{path}: damaged, or not of fanlight: more than {DEEPEST} tables inside each other")
    return found


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
