"""The recipe's file: reading TOML with its bases, finding the line of a setting, and writing it."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fanlight.errors import InputError
from fanlight.toml_file import parse_toml, read_toml

_HEADER = re.compile(r"\[\[?\s*([A-Za-z_][\w.-]*)\s*\]")  # a table's; not a list's line, as ["a", "b"]


class Places:
    """Where a setting was given: the line of its recipe, of a base of it, or ``--set``.

    Args:
        text: the recipe.
        file: what to call the recipe before a line of it; nothing for the one that the message names anyway.
    """

    def __init__(self, text: str, file: str = "") -> None:
        self._overridden: Sequence[str] = ()
        self._lines: dict[str, str] = {}
        place = f"{file}, line" if file else "line"
        table = ""
        rows: dict[str, int] = {}
        for number, line in enumerate(map(str.strip, text.split("\n")), 1):
            header = _HEADER.match(line)
            if header:
                table = header[1]
                if line.startswith("[["):
                    rows[table] = rows.get(table, -1) + 1
                    table = f"{table}[{rows[table]}]"
                self._lines.setdefault(table, f"{place} {number}: ")
            elif "=" in line and not line.startswith("#"):
                name = line.partition("=")[0].strip()
                self._lines.setdefault(f"{table}.{name}" if table else name, f"{place} {number}: ")

    def over(self, base: Places, given: Iterable[str]) -> Places:
        """The places of this recipe's settings and, where it gives none, of its base's.

        Args:
            base: where the base's settings stand.
            given: the keys of all values in this recipe, below which nothing of the base is left.
        """
        below = tuple(f"{key}{mark}" for key in given for mark in ".[")
        inherited = {key: line for key, line in base._lines.items() if not f"{key}.".startswith(below)}
        places = copy.copy(self)
        places._lines = inherited | self._lines
        return places

    def with_overridden(self, keys: Sequence[str]) -> Places:
        """The same, with settings that ``--set`` gave."""
        places = copy.copy(self)
        places._overridden = keys
        return places

    def find(self, key: str) -> str:
        """The place of a key, or of the table around it, as the beginning of a message.

        Where ``--set`` changed a setting in a table, what is wrong with the table may come from either.
        """
        inner = f"{key}."
        outer = tuple(f"{override}{mark}" for override in self._overridden for mark in ".[")
        if inner.startswith(outer):
            return "--set: "
        if any(override.startswith(inner) for override in outer):
            return f"--set or {self._lines[key]}" if key in self._lines else "--set: "
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return ""


def recipe_values(path: Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Places]:
    """A recipe's settings as they are written, unchecked, with overrides applied; and where each stands.

    Raises:
        InputError: the file or a base of it is missing or not TOML, or an override has no ``=``.
    """
    values, places = read_recipe(path)
    return values, places.with_overridden(override(values, overrides, str(path)))


def override(values: dict[str, Any], overrides: Sequence[str], source: str) -> list[str]:
    """Put overrides into the values of a recipe, and return their keys.

    Raises:
        InputError: listing every one that cannot be put in.
    """
    keys, problems = [], []
    for given in overrides:
        try:
            keys.append(_override(values, given))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError.collect(problems, f"{source}: these changes cannot be made:")
    return keys


def _override(values: dict[str, Any], override: str) -> str:
    """Put one override into the values and return its key."""
    key, equals, given = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set {override}: write KEY=VALUE, as in train.epochs=3")
    try:
        read = parse_toml(f"value = {given}")
    except ValueError:
        read = {"value": given.strip()}
    if set(read) != {"value"}:
        raise InputError(f"--set {override}: gives more than one value: repeat --set for each")
    table = values
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: {part} is not a table of settings")
        table = inner
    table[parts[-1]] = read["value"]
    return ".".join(parts)


def read_recipe(path: Path) -> tuple[dict[str, Any], Places]:
    """Read a recipe together with its base, and that one's.

    A recipe that begins with ``base = "FILE"``, relative to its own folder, takes over what it does not say
    itself: tables setting by setting, lists as a whole.

    Returns:
        The settings, and where each stands.

    Raises:
        InputError: a file is missing or not TOML, or the bases go round in a circle.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], Places]:
    """A recipe on its base; ``above`` are the recipes that stand on this one, the first of them the user's."""
    chain = (*above, path)
    if os.path.realpath(path) in map(
        os.path.realpath, above
    ):  # pathlib raises at links that lead to themselves
        circle = " -> ".join(recipe.name for recipe in chain)
        raise InputError(f"{above[0]}: its bases go round in a circle, {circle}: take one base away")
    needed = f", the base of {above[-1]}" if above else ""
    values, text = read_toml(path, f"the recipe{needed}")
    places = Places(text, path.name if above else "")
    if "base" not in values:
        return values, places
    base = values.pop("base")
    if not isinstance(base, str) or not base:
        raise InputError(
            f'{path}: base = {base!r}: give the file of another recipe, as in base = "base.toml"'
        )
    below, base_places = _read(path.parent / base, chain)
    return merge(below, values), places.over(base_places, _value_keys(values))


def merge(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The base's settings under the recipe's own: tables setting by setting, all else as a whole."""
    merged = dict(base)
    for key, value in values.items():
        under = merged.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            value = merge(under, value)
        merged[key] = value
    return merged


def _value_keys(values: Mapping[str, Any], table: str = "") -> Iterator[str]:
    """The keys of all that is no table."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _value_keys(value, f"{table}{name}.")
        else:
            yield f"{table}{name}"


def dump_toml(values: Mapping[str, Any]) -> str:
    """Write a resolved recipe as TOML: tables of plain values, one level of tables in them, and lists."""
    lines: list[str] = []
    for table, content in values.items():
        nested = {key: value for key, value in content.items() if isinstance(value, Mapping)}
        steps = {key: value for key, value in content.items() if _is_table_list(value)}
        lines.append(f"[{table}]")
        lines += [
            f"{_name(key)} = {_toml(v)}"
            for key, v in content.items()
            if key not in nested and key not in steps
        ]
        for key, inner in nested.items():
            lines += [
                "",
                f"[{table}.{key}]",
                *(f"{_name(name)} = {_toml(value)}" for name, value in inner.items()),
            ]
        for key, rows in steps.items():
            for row in rows:
                lines += [
                    "",
                    f"[[{table}.{key}]]",
                    *(f"{_name(name)} = {_toml(value)}" for name, value in row.items()),
                ]
        lines.append("")
    return "\n".join(lines)


def _is_table_list(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _name(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_name(key)} = {_toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # as in TOML, inf and nan too
    if isinstance(value, str):  # as in JSON, but for what TOML wants escaped, or wants as it is
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)  # whole numbers and booleans are written alike in JSON and TOML
