"""The recipe's file: writing TOML, and finding the line of a setting in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_HEADER = re.compile(r"\[\[?\s*([A-Za-z_][\w.-]*)\s*\]")  # a table's; not a list's line, as ["a", "b"]


class Places:
    """Where a setting was given: the line of its recipe, or ``--set``."""

    def __init__(self, text: str, overridden: Sequence[str] = ()) -> None:
        self._overridden = overridden
        self._lines: dict[str, int] = {}
        table = ""
        rows: dict[str, int] = {}
        for number, line in enumerate(map(str.strip, text.splitlines()), 1):
            header = _HEADER.match(line)
            if header:
                table = header[1]
                if line.startswith("[["):
                    rows[table] = rows.get(table, -1) + 1
                    table = f"{table}[{rows[table]}]"
                self._lines.setdefault(table, number)
            elif "=" in line and not line.startswith("#"):
                name = line.partition("=")[0].strip()
                self._lines.setdefault(f"{table}.{name}" if table else name, number)

    def find(self, key: str) -> str:
        """The place of a key, or of the table around it, as the beginning of a message."""
        inner, outer = f"{key}.", tuple(f"{override}." for override in self._overridden)
        if inner.startswith(outer) or (key not in self._lines and any(o.startswith(inner) for o in outer)):
            return "--set: "
        while key:
            if key in self._lines:
                return f"line {self._lines[key]}: "
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return ""


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
