"""Mark-ups as data: what the landmarks of a face are called and how they belong together.

A mark-up is a small TOML file. Two are built in (``ibug68``, ``faces21``); any other is loaded by its path.
A point may be given by its name, by its number (from 0), or as a range ``"36..41"``, which may run backwards::

    name = "eyes3"
    source = "made up for this example"
    points = ["right_eye", "left_eye", "nose"]
    mirror = [["right_eye", "left_eye"]]          # pairs; ranges are paired point by point
    middle = ["nose"]                             # the points that are their own mirror image
    lines = [["right_eye", "nose", "left_eye"]]   # optional, and so is everything below
    closed = [["0..2"]]
    eye_corners = { right = 0, left = 1 }         # outer corners: needed by nme_interocular
    pupils = { right = 0, left = [1] }            # means of these points: needed by nme_interpupil
    [parts]
    eyes = ["0..1"]

Sides are always the subject's.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from fanlight.errors import InputError

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_REQUIRED = ("name", "source", "points", "mirror")
_OPTIONAL = ("middle", "lines", "closed", "eye_corners", "pupils", "parts")


@dataclass(frozen=True)
class Markup:
    """The points of a face and their relations; checked on construction.

    Attributes:
        name: what recipes and checkpoints call it.
        source: where the scheme comes from.
        points: the name of each landmark, in the order of the label files.
        mirror: ``mirror[i]`` is the landmark that landmark i becomes when the face is mirrored.
        parts: named groups of landmarks for reports; they may overlap and need not cover all.
        edges: pairs of landmarks that overlays join with a line.
        eye_corners: the (right, left) outer eye corners, or None where the mark-up has none.
        pupils: the landmarks whose means are the centres of the (right, left) eye, or None.

    Raises:
        InputError: anything does not fit together; all problems are listed.
    """

    name: str
    source: str
    points: tuple[str, ...]
    mirror: tuple[int, ...]
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    edges: tuple[tuple[int, int], ...] = ()
    eye_corners: tuple[int, int] | None = None
    pupils: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def __post_init__(self) -> None:
        problems = _problems(self)
        if problems:
            raise InputError.collect(problems, f"mark-up {self.name!r} does not fit together:")

    @property
    def count(self) -> int:
        """How many landmarks a face has."""
        return len(self.points)

    def index(self, point: str) -> int:
        """The number of the landmark called ``point``.

        Raises:
            InputError: there is none of that name.
        """
        try:
            return self.points.index(point)
        except ValueError:
            raise InputError(
                f"the mark-up {self.name} has no point {point!r}; it has: {', '.join(self.points)}"
            ) from None

    @staticmethod
    def names() -> tuple[str, ...]:
        """The names of the built-in mark-ups."""
        folder = resources.files("fanlight") / "markups"
        return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))

    @classmethod
    def load(cls, name_or_path: str | PathLike[str]) -> Markup:
        """Read a built-in mark-up by its name, or any other by the path of its TOML file.

        Raises:
            InputError: no such mark-up, not TOML, or problems inside; all of them are listed.
        """
        name = str(name_or_path)
        if name in cls.names():
            text = (resources.files("fanlight") / "markups" / f"{name}.toml").read_text(encoding="utf-8")
            return _parse(text, f"{name}.toml")
        path = Path(name_or_path)
        try:
            return _parse(path.read_text(encoding="utf-8-sig"), str(path))
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"cannot read the mark-up {name!r} ({_reason(error)}): give the path of a mark-up file "
                f"or one of the built-in names: {', '.join(cls.names())}"
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """The mark-up as plain lists, strings and numbers, for JSON and checkpoints."""
        return {
            "name": self.name,
            "source": self.source,
            "points": list(self.points),
            "mirror": list(self.mirror),
            "parts": {part: list(members) for part, members in self.parts.items()},
            "edges": [list(edge) for edge in self.edges],
            "eye_corners": None if self.eye_corners is None else list(self.eye_corners),
            "pupils": None if self.pupils is None else [list(group) for group in self.pupils],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Markup:
        """The inverse of ``to_dict``.

        Raises:
            InputError: a key is missing or unknown, a value has the wrong type, or problems as on load.
        """
        keys = {"name", "source", "points", "mirror", "parts", "edges", "eye_corners", "pupils"}
        if set(data) != keys:
            raise InputError(
                f"a stored mark-up has the keys {', '.join(sorted(keys))}; given were {', '.join(sorted(map(str, data)))}"
            )
        corners, pupils = data["eye_corners"], data["pupils"]
        try:
            return cls(
                name=data["name"],
                source=data["source"],
                points=tuple(data["points"]),
                mirror=tuple(data["mirror"]),
                parts={part: tuple(members) for part, members in data["parts"].items()},
                edges=tuple((a, b) for a, b in data["edges"]),
                eye_corners=None if corners is None else (corners[0], corners[1]),
                pupils=None if pupils is None else (tuple(pupils[0]), tuple(pupils[1])),
            )
        except (TypeError, ValueError, AttributeError, IndexError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"a stored mark-up is damaged: {error}") from None


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


# ---------------------------------------------------------------------------- checks


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _problems(markup: Markup) -> list[str]:
    """Everything that does not fit together in a mark-up whose references are numbers."""
    problems = _name_problems(markup)
    count = len(markup.points)
    groups: list[tuple[str, Sequence[Any]]] = [("mirror", markup.mirror)]
    groups += [(f"part {part!r}", members) for part, members in markup.parts.items()]
    groups += [("edges", edge) for edge in markup.edges]
    groups += [("eye_corners", markup.eye_corners or ())]
    groups += [("pupils", group) for group in markup.pupils or ()]
    outside = [
        f"{what}: {member!r} is not a point; points are numbered 0 to {count - 1}"
        for what, members in groups
        for member in members
        if not _is_index(member) or not 0 <= member < count
    ]
    if outside:
        return problems + outside  # nothing below can be told before these are mended
    for what, members in groups[1:]:
        twice = [markup.points[i] for i, n in Counter(members).items() if n > 1]
        if twice:
            problems.append(f"{what}: {', '.join(twice)} given more than once")
    for part, members in markup.parts.items():
        if not members:
            problems.append(f"part {part!r} has no points")
    return problems + _mirror_problems(markup)


def _name_problems(markup: Markup) -> list[str]:
    problems = []
    if not isinstance(markup.name, str) or not _WORD.fullmatch(markup.name):
        problems.append(f"name: {markup.name!r} should be letters, digits, _ and -, beginning with a letter")
    if not isinstance(markup.source, str) or not markup.source.strip():
        problems.append("source: say in a few words where these points come from")
    if not markup.points:
        problems.append("points: there are none")
    wrong = [p for p in markup.points if not isinstance(p, str) or not _WORD.fullmatch(p)]
    problems += [
        f"points: {p!r} should be letters, digits, _ and -, beginning with a letter" for p in wrong
    ]
    problems += [f"points: {p!r} names {n} points" for p, n in Counter(markup.points).items() if n > 1]
    problems += [
        f"parts: {part!r} should be letters, digits, _ and -, beginning with a letter"
        for part in markup.parts
        if not isinstance(part, str) or not _WORD.fullmatch(part)
    ]
    return problems


def _mirror_problems(markup: Markup) -> list[str]:
    mirror, points = markup.mirror, markup.points
    if len(mirror) != len(points):
        return [f"mirror: covers {len(mirror)} of the {len(points)} points"]
    problems = [
        f"mirror: {points[i]} becomes {points[j]}, which becomes {points[mirror[j]]}"
        for i, j in enumerate(mirror)
        if mirror[j] != i
    ]
    if problems:
        return problems
    if markup.eye_corners and mirror[markup.eye_corners[0]] != markup.eye_corners[1]:
        right, left = (points[i] for i in markup.eye_corners)
        problems.append(f"eye_corners: {right} and {left} are not each other's mirror image")
    if markup.pupils:
        right_group, left_group = markup.pupils
        if not right_group or not left_group:
            problems.append("pupils: each eye needs at least one point")
        elif {mirror[i] for i in right_group} != set(left_group):
            problems.append("pupils: the right and the left eye's points are not each other's mirror image")
    return problems


# ---------------------------------------------------------------------------- reading TOML


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
        if _is_index(reference) and 0 <= reference < len(self.points):  # type: ignore[operator]
            return reference  # type: ignore[return-value]
        self.problems.append(
            f"{where}: {reference!r} is not a point: give a name, a number from 0 to {len(self.points) - 1}, "
            'or a range such as "0..2"'
        )
        return None


def _parse(text: str, file: str) -> Markup:
    """Read a mark-up file's text; ``file`` is only named in messages."""
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
    parts = {part: references.expand(members, f"parts.{part}") for part, members in data.get("parts", {}).items()}
    edges = [edge for line in data.get("lines", []) for edge in _polyline(references, line, "lines")]
    edges += [edge for line in data.get("closed", []) for edge in _polyline(references, line, "closed")]
    corners, pupils = sides["eye_corners"], sides["pupils"]
    if corners and not references.problems and [len(side) for side in corners] != [1, 1]:
        references.problems.append("eye_corners: each side is one point, the outer corner of that eye")
    mirror = _mirror_table(references, data["mirror"], data.get("middle", []))
    if references.problems:
        raise InputError.collect(references.problems, heading)
    try:
        return Markup(
            name=data["name"],
            source=data["source"],
            points=tuple(data["points"]),
            mirror=mirror,
            parts=parts,
            edges=tuple(dict.fromkeys(edges)),
            eye_corners=(corners[0][0], corners[1][0]) if corners else None,
            pupils=(pupils[0], pupils[1]) if pupils else None,
        )
    except InputError as error:
        raise InputError.collect(error.problems, heading) from None


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
        problems += [f"points: {p!r} should be a name in quotes" for p in data["points"] if not isinstance(p, str)]
    for key in ("eye_corners", "pupils"):
        table = data.get(key)
        if isinstance(table, dict) and set(table) != {"right", "left"}:
            problems.append(f"{key}: should be {{ right = ..., left = ... }}, has {', '.join(table) or 'nothing'}")
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
        references.problems.append(
            f"mirror: {', '.join(missing)}: neither in a pair of mirror nor in middle"
        )
    return tuple(table.get(i, i) for i in range(len(names)))
