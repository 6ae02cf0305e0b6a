"""The mark-up file: TOML that people write, with points by name, number or range.

``fanlight.markup`` describes the format and checks what comes out of it.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fanlight.errors import InputError

_REQUIRED = ("name", "source", "points", "mirror")
_OPTIONAL = ("middle", "lines", "closed", "eye_corners", "pupils", "parts")


class _References:
    """Turns what a file says about points (names, numbers, ranges) into numbers, gathering what it cannot."""

    def __init__(self, points: Sequence[str]) -> None:
        self.points = points
        self.problems: list[str] = []

    def expand(self, value: object, where: str) -> tuple[int, ...]:
        """One reference, or a list of them, as numbers; unreadable ones are noted and left out."""
        found: list[int] = []
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, str) and ".." in reference:
                first, _, last = reference.partition("..")
                ends = [self._one(first.strip(), where), self._one(last.strip(), where)]
                if ends[0] is not None and ends[1] is not None:
                    step = 1 if ends[1] >= ends[0] else -1
                    found += range(ends[0], ends[1] + step, step)
            else:
                number = self._one(reference, where)
                found += [] if number is None else [number]
        return tuple(found)

    def _one(self, reference: object, where: str) -> int | None:
        if isinstance(reference, str) and reference in self.points:
            return self.points.index(reference)
        if isinstance(reference, str) and reference.isascii() and reference.isdigit():
            reference = int(reference)
        if (
            isinstance(reference, int)
            and not isinstance(reference, bool)
            and 0 <= reference < len(self.points)
        ):
            return reference
        self.problems.append(
            f"{where}: {reference!r} is not a point: give a name, a number from 0 to {len(self.points) - 1}, "
            'or a range such as "0..2"'
        )
        return None


def parse_markup(text: str, file: str) -> dict[str, Any]:
    """Turn the text of a mark-up file into the attributes of a ``Markup``, every reference a number.

    Args:
        text: TOML.
        file: what messages call it.

    Raises:
        InputError: not TOML, keys missing or unknown, values of the wrong type, references to no point, or points
            that no mirror pair covers; all of them are listed.
    """
    heading = f"{file}: this mark-up cannot be used:"
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file}: not a TOML file: {error}") from None
    problems = _shape_problems(data)
    if problems:
        raise InputError.collect(problems, heading)
    references = _References(data["points"])
    sides: dict[str, list[tuple[int, ...]] | None] = {}
    for key in ("eye_corners", "pupils"):
        table = data.get(key)
        sides[key] = table and [references.expand(table[side], f"{key}.{side}") for side in ("right", "left")]
    parts = {
        part: references.expand(members, f"parts.{part}") for part, members in data.get("parts", {}).items()
    }
    edges = [edge for line in data.get("lines", []) for edge in _polyline(references, line, "lines")]
    edges += [edge for line in data.get("closed", []) for edge in _polyline(references, line, "closed")]
    corners, pupils = sides["eye_corners"], sides["pupils"]
    if corners and not references.problems and [len(side) for side in corners] != [1, 1]:
        references.problems.append("eye_corners: each side is one point, the outer corner of that eye")
    mirror = _mirror_table(references, data["mirror"], data.get("middle", []))
    if references.problems:
        raise InputError.collect(references.problems, heading)
    return {
        "name": data["name"],
        "source": data["source"],
        "points": tuple(data["points"]),
        "mirror": mirror,
        "parts": parts,
        "edges": tuple(dict.fromkeys(edges)),
        "eye_corners": (corners[0][0], corners[1][0]) if corners else None,
        "pupils": (pupils[0], pupils[1]) if pupils else None,
    }


def _shape_problems(data: Mapping[str, Any]) -> list[str]:
    """Missing and unknown keys, and values of the wrong type."""
    problems = [f"{key}: missing" for key in _REQUIRED if key not in data]
    known = (*_REQUIRED, *_OPTIONAL)
    problems += [f"{key}: unknown key; known are {', '.join(known)}" for key in data if key not in known]
    kinds = {"name": str, "source": str, "eye_corners": dict, "pupils": dict, "parts": dict}
    words = {str: "a text", list: "a list", dict: "a table"}
    for key in known:
        kind = kinds.get(key, list)
        if key in data and not isinstance(data[key], kind):
            problems.append(f"{key}: should be {words[kind]}, is {data[key]!r}")
    if isinstance(data.get("points"), list):
        problems += [
            f"points: {p!r} should be a name in quotes" for p in data["points"] if not isinstance(p, str)
        ]
    for key in ("eye_corners", "pupils"):
        table = data.get(key)
        if isinstance(table, dict) and set(table) != {"right", "left"}:
            problems.append(
                f"{key}: should be {{ right = ..., left = ... }}, has {', '.join(table) or 'nothing'}"
            )
    return problems


def _polyline(references: _References, line: object, where: str) -> Iterable[tuple[int, int]]:
    """The edges between neighbours of one line; a closed one joins its last point to its first."""
    members = references.expand(line, where)
    if len(members) < (3 if where == "closed" else 2):
        references.problems.append(f"{where}: {line!r} has too few points")
        return []
    ends = members[1:] + members[:1] if where == "closed" else members[1:]
    return list(zip(members, ends, strict=False))


def _mirror_table(references: _References, pairs: list[object], middle: list[object]) -> tuple[int, ...]:
    """The mirror map of the given pairs and middle points; every point must be given exactly once."""
    table: dict[int, int] = {}
    uses: Counter[int] = Counter()
    known = len(references.problems)
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            references.problems.append(f"mirror: {pair!r} should be a pair such as [0, 16]")
            continue
        right, left = (references.expand(side, "mirror") for side in pair)
        if len(right) != len(left):
            references.problems.append(f"mirror: {pair!r} pairs {len(right)} points with {len(left)}")
            continue
        for a, b in zip(right, left, strict=True):
            table[a], table[b] = b, a
            uses.update((a, b))
    centre = references.expand(middle, "middle")
    uses.update(centre)
    table |= {i: i for i in centre}
    names = references.points
    references.problems += [f"mirror: {names[i]} is given {n} times" for i, n in uses.items() if n > 1]
    missing = [f"{name} ({i})" for i, name in enumerate(names) if i not in table]
    if missing and len(references.problems) == known:
        references.problems.append(f"mirror: {', '.join(missing)}: neither in a pair of mirror nor in middle")
    return tuple(table.get(i, i) for i in range(len(names)))
