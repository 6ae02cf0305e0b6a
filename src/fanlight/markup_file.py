"""The mark-up file: TOML that people write, with points by name, number or range.

``fanlight.markup`` describes the format and checks what comes out of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fanlight.errors import InputError

_REQUIRED = ("name", "source", "points", "mirror")
_OPTIONAL = ("middle", "lines", "closed", "eye_corners", "pupils", "parts")
_KINDS = {"name": str, "source": str, "eye_corners": dict, "pupils": dict, "parts": dict}  # the others: list
_MOST_POINTS = 10_000  # each has a heatmap of its own
_WORDS = {str: "a text in quotes", list: "a list", dict: "a table"}


def parse_markup(data: dict[str, Any], file: str) -> tuple[dict[str, Any], list[str]]:
    """Turn what a mark-up file says into the attributes of a ``Markup``, every reference a number.

    Args:
        data: its values; those that cannot be used are taken out.
        file: what messages call it.

    Returns:
        fields: the attributes; those that a problem leaves unknown are None, or missing from their list.
        problems: keys missing or unknown, values of the wrong type, references to no point, points that no mirror
            pair covers.

    Raises:
        InputError: it has no list of points, so that nothing more can be told.
    """
    problems = _check_shape(data)
    if "points" not in data:
        raise InputError.collect(problems, f"{file}: this mark-up cannot be used: correct these:")
    references = _References(data["points"])
    lines = [_polyline(references, line, "lines") for line in data.get("lines", [])]
    lines += [_polyline(references, line, "closed") for line in data.get("closed", [])]
    parts = {
        part: references.expand(members, f"parts.{part}") for part, members in data.get("parts", {}).items()
    }
    corners = _sides(references, data, "eye_corners")
    if corners and [len(side) for side in corners] != [1, 1]:
        references.problems.append("eye_corners: each side is one point, the outer corner of that eye")
        corners = None
    fields = {
        "name": data.get("name"),
        "source": data.get("source"),
        "points": tuple(data["points"]),
        "mirror": _mirror_map(references, data["mirror"], data.get("middle", []))
        if "mirror" in data
        else None,
        "parts": {part: members for part, members in parts.items() if members is not None},
        "edges": tuple(dict.fromkeys(edge for line in lines for edge in line)),
        "eye_corners": (corners[0][0], corners[1][0]) if corners else None,
        "pupils": _sides(references, data, "pupils"),
    }
    return fields, problems + references.problems


class _References:
    """Turns what a file says about points (names, numbers, ranges) into numbers, noting what it cannot."""

    def __init__(self, points: Sequence[str]) -> None:
        self.points = points
        self.problems: list[str] = []
        self._numbers = {point: number for number, point in reversed(list(enumerate(points)))}
        self._left = (
            100 * len(points) + 1000
        )  # ranges may be many; no sensible file refers to points as often

    def expand(self, value: object, where: str) -> tuple[int, ...] | None:
        """One reference, or a list of them, as numbers; None when one of them is unknown."""
        found: list[int | None] = []
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, str) and ".." in reference:
                first, last = (self._one(end.strip(), where) for end in reference.split("..", 1))
                if first is None or last is None:
                    found.append(None)
                else:
                    step = 1 if last >= first else -1
                    found += range(first, last + step, step)
            else:
                found.append(self._one(reference, where))
            if len(found) > self._left:
                self.problems.append(f"{where}: too many references to so few points")
                return None
        self._left -= len(found)
        return None if None in found else tuple(number for number in found if number is not None)

    def _one(self, reference: object, where: str) -> int | None:
        number: object = reference
        if isinstance(reference, str) and reference in self._numbers:
            number = self._numbers[reference]
        elif (
            isinstance(reference, str) and reference.isascii() and reference.isdigit() and len(reference) < 9
        ):
            number = int(reference)
        if type(number) is int and 0 <= number < len(self.points):
            return number
        self.problems.append(
            f"{where}: {reference!r} is not a point: give a name, a number from 0 to {len(self.points) - 1}, "
            'or a range such as "0..2"'
        )
        return None


def _check_shape(data: dict[str, Any]) -> list[str]:
    """Note missing and unknown keys and values of the wrong type, and take those values out."""
    problems = [f"{key}: missing" for key in _REQUIRED if key not in data]
    known = (*_REQUIRED, *_OPTIONAL)
    wrong = {key: f"unknown key; known are {', '.join(known)}" for key in data if key not in known}
    for key in known:
        kind = _KINDS.get(key, list)
        if key in data and not isinstance(data[key], kind):
            wrong[key] = f"should be {_WORDS[kind]}, is {data[key]!r}"
    for key in ("eye_corners", "pupils"):
        if key not in wrong and key in data and set(data[key]) != {"right", "left"}:
            wrong[key] = f"should be {{ right = ..., left = ... }}, has {', '.join(data[key]) or 'nothing'}"
    if "points" not in wrong and not all(isinstance(point, str) for point in data.get("points", [])):
        wrong["points"] = f"should be names in quotes, is {data['points']!r}"
    elif "points" not in wrong and len(data.get("points", [])) > _MOST_POINTS:
        wrong["points"] = f"{len(data['points'])} of them; a mark-up has at most {_MOST_POINTS}"
    for key in wrong:
        del data[key]
    return problems + [f"{key}: {what}" for key, what in wrong.items()]


def _sides(
    references: _References, data: Mapping[str, Any], key: str
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    if key not in data:
        return None
    right, left = (references.expand(data[key][side], f"{key}.{side}") for side in ("right", "left"))
    return None if right is None or left is None else (right, left)


def _polyline(references: _References, line: object, where: str) -> list[tuple[int, int]]:
    """The edges between neighbours of one line; a closed one joins its last point to its first."""
    members = references.expand(line, where)
    if members is None:
        return []
    least = 3 if where == "closed" else 2
    if len(members) < least:
        references.problems.append(f"{where}: {line!r} has too few points: name at least {least}")
        return []
    ends = members[1:] + members[:1] if where == "closed" else members[1:]
    return list(zip(members, ends, strict=False))


def _mirror_map(
    references: _References, pairs: Sequence[object], middle: Sequence[object]
) -> tuple[int, ...] | None:
    """The mirror map of the given pairs and middle points; every point must be given exactly once."""
    known = len(references.problems)
    table: dict[int, int] = {}
    uses: Counter[int] = Counter()
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            references.problems.append(f"mirror: {pair!r} should be a pair such as [0, 16]")
            continue
        right, left = (references.expand(side, "mirror") or () for side in pair)
        if right and left and len(right) != len(left):
            references.problems.append(f"mirror: {pair!r} pairs {len(right)} points with {len(left)}")
        for a, b in zip(right, left, strict=False):
            table[a], table[b] = b, a
            uses.update((a, b))
    centre = references.expand(list(middle), "middle") or ()
    table |= {i: i for i in centre}
    uses.update(centre)
    names = references.points
    references.problems += [f"mirror: {names[i]} is given {n} times" for i, n in uses.items() if n > 1]
    missing = [f"{name} ({i})" for i, name in enumerate(names) if i not in table]
    if missing and len(references.problems) == known:
        references.problems.append(f"mirror: {', '.join(missing)}: neither in a pair of mirror nor in middle")
    return tuple(table[i] for i in range(len(names))) if len(references.problems) == known else None
