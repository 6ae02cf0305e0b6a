"""Mark-ups as data: what the landmarks of a face are called and how they belong together.

A mark-up is a small TOML file. Some are built in (``Markup.names()``); any other is loaded by its path.
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

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

from fanlight.errors import InputError
from fanlight.markup_file import parse_markup
from fanlight.toml_file import parse_toml, read_toml

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


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
        problems = [f"{key}: missing" for key in ("name", "source", "mirror") if getattr(self, key) is None]
        problems += _problems(vars(self))
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
        return tuple(
            sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
        )

    @classmethod
    def load(cls, name_or_path: str | PathLike[str]) -> Markup:
        """Read a built-in mark-up by its name, or any other by the path of its TOML file.

        Raises:
            InputError: no such mark-up, not TOML, or problems inside; all of them are listed.
        """
        name = file = str(name_or_path)
        if name in cls.names():
            file = f"{name}.toml"
            data = parse_toml((resources.files("fanlight") / "markups" / file).read_text(encoding="utf-8"))
        elif os.path.isfile(name):
            data, _ = read_toml(Path(name_or_path), "the mark-up")
        else:
            raise InputError(
                f"cannot read the mark-up {name!r}: there is no such file: give the path of a mark-up file or "
                f"one of the built-in names: {', '.join(cls.names())}"
            )
        fields, problems = parse_markup(data, file)
        problems += _problems(fields)
        if problems:
            raise InputError.collect(problems, f"{file}: this mark-up cannot be used: correct these:")
        return cls(**fields)

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
            given = ", ".join(sorted(map(str, data)))
            raise InputError(f"a stored mark-up has the keys {', '.join(sorted(keys))}; found {given}")
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


def _problems(fields: Mapping[str, Any]) -> list[str]:
    """Everything that does not fit together among a mark-up's attributes; one that is None is not looked at."""
    points, mirror, parts = fields["points"], fields["mirror"], fields["parts"]
    problems = _name_problems(fields)
    groups: list[tuple[str, Sequence[Any]]] = [(f"parts.{part}", members) for part, members in parts.items()]
    groups += [("edges", edge) for edge in fields["edges"]]
    groups += [("eye_corners", fields["eye_corners"] or ())]
    groups += [("pupils", group) for group in fields["pupils"] or ()]
    outside = [
        f"{what}: {member!r} is not a point; points are numbered 0 to {len(points) - 1}"
        for what, members in [*groups, ("mirror", mirror or ())]
        for member in members
        if type(member) is not int or not 0 <= member < len(points)
    ]
    if outside:
        return problems + outside  # nothing below can be told before these are mended
    for what, members in groups:
        twice = [points[i] for i, n in Counter(members).items() if n > 1]
        problems += [f"{what}: {', '.join(twice)} given more than once: name each once"] if twice else []
    problems += [
        f"parts.{part}: has no points: name some, or leave it out"
        for part, members in parts.items()
        if not members
    ]
    return problems + ([] if mirror is None else _mirror_problems(fields))


def _name_problems(fields: Mapping[str, Any]) -> list[str]:
    words = [("name", fields["name"])] if fields["name"] is not None else []
    words += [("points", point) for point in fields["points"]] + [("parts", part) for part in fields["parts"]]
    problems = [
        f"{what}: {word!r} should be letters, digits, _ and -, beginning with a letter"
        for what, word in words
        if not isinstance(word, str) or not _WORD.fullmatch(word)
    ]
    repeated = [(point, n) for point, n in Counter(fields["points"]).items() if n > 1]
    problems += [f"points: {point!r} names {n} points" for point, n in repeated]
    if not fields["points"]:
        problems.append("points: there are none")
    source = fields["source"]
    if source is not None and not (isinstance(source, str) and source.strip()):
        problems.append("source: say in a few words where these points come from")
    return problems


def _mirror_problems(fields: Mapping[str, Any]) -> list[str]:
    mirror, points = fields["mirror"], fields["points"]
    if len(mirror) != len(points):
        return [f"mirror: covers {len(mirror)} of the {len(points)} points"]
    problems = [
        f"mirror: {points[i]} becomes {points[j]}, which becomes {points[mirror[j]]}"
        for i, j in enumerate(mirror)
        if mirror[j] != i
    ]
    if problems:
        return problems
    if fields["eye_corners"] and mirror[fields["eye_corners"][0]] != fields["eye_corners"][1]:
        right, left = (points[i] for i in fields["eye_corners"])
        problems.append(f"eye_corners: {right} and {left} are not each other's mirror image")
    if fields["pupils"]:
        right_group, left_group = fields["pupils"]
        if not right_group or not left_group:
            problems.append("pupils: each eye needs at least one point")
        elif {mirror[i] for i in right_group} != set(left_group):
            problems.append("pupils: the right and the left eye's points are not each other's mirror image")
    return problems
