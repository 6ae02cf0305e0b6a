"""Every fault of some settings at once, each with its key, in words for the one who wrote them."""

from __future__ import annotations

import copy
import datetime
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fanlight.errors import InputError

Settings = TypeVar("Settings", bound=BaseModel)
Fault = tuple[str, str]  # the setting's key, and what is wrong with it
Location = tuple[int | str, ...]

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's words for an unknown setting


def check_all(kind: type[Settings], values: Mapping[str, Any]) -> tuple[Settings | None, list[Fault]]:
    """Build settings from plain values and list all their faults.

    One fault does not keep the rest from being checked: a setting at fault is left out, and what remains is
    checked again.

    Returns:
        The settings that remain, with defaults for those at fault, or None where nothing whole does; and the
        faults, none of them when the values are sound.
    """
    dates = {_key(place): "is a date or time: put it in quotes if it is a name" for place in _dates(values)}
    settings, found = _check(kind, values)
    return settings, [*dates.items(), *(fault for fault in found if fault[0] not in dates)]


def _check(kind: type[Settings], values: Mapping[str, Any]) -> tuple[Settings | None, list[Fault]]:
    try:  # as JSON, where a table may become a dataclass and a list a tuple, and nothing else is bent
        return kind.model_validate_json(json.dumps(values, default=str, ensure_ascii=False).encode()), []
    except UnicodeEncodeError:
        return None, [("", "a text in it is not Unicode: give names and paths in UTF-8")]
    except ValidationError as error:
        items = error.errors()
    faults = [fault for item in items for fault in _faults(kind, item)]
    needed = [(name,) for name, field in kind.model_fields.items() if field.is_required()]
    places = [item["loc"] for item in items if item["type"] != "missing" and item["loc"] not in needed]
    rest = _without(values, places)
    if rest == values:
        return None, faults
    settings, others = _check(kind, rest)
    removed = {_key(place) for place in places}
    return settings, faults + [fault for fault in others if fault not in faults and fault[0] not in removed]


def _dates(values: Mapping[str, Any], path: Location = ()) -> list[Location]:
    """Where TOML's dates and times stand, which no setting takes."""
    found: list[Location] = []
    for key, value in values.items():
        inner = value if isinstance(value, list) else [value]
        for number, entry in enumerate(inner):
            here: Location = (*path, key, number) if isinstance(value, list) else (*path, key)
            if isinstance(entry, Mapping):
                found += _dates(entry, here)
            elif isinstance(entry, (datetime.date, datetime.time)):
                found.append(here)
    return found


def _without(values: Mapping[str, Any], locations: Sequence[Location]) -> dict[str, Any]:
    """A deep copy of plain values that lacks those at the locations; a list lacking an entry is left out whole."""
    kept = copy.deepcopy(dict(values))
    for location in locations:
        names = list(location)
        while isinstance(names[-1], int):
            names.pop()
        table: Any = kept
        for name in names[:-1]:
            table = table[name] if isinstance(name, int) or name in table else {}
        table.pop(names[-1], None)
    return kept


def _key(location: Sequence[int | str]) -> str:
    """("augment", "photometric", 0, "p") -> augment.photometric[0].p"""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    return key


def _faults(kind: type[BaseModel], item: Mapping[str, Any]) -> list[Fault]:
    """One fault of pydantic's as (key, what is wrong and what to do)."""
    key, cause = _key(item["loc"]), item.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return [(key, problem) for problem in cause.problems]
    if item["type"] in _UNKNOWN:
        known = _known(kind, item["loc"][:-1])
        near = difflib.get_close_matches(str(item["loc"][-1]), known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return [
            (key, f"unknown setting; {'known are ' + ', '.join(known) if known else 'take it away'}{hint}")
        ]
    if item["type"] == "missing":
        return [(key, "missing")]
    message = str(item["msg"]).removeprefix("Value error, ")
    given = "" if item["type"] == "value_error" else f", given was {item['input']!r}"
    return [(key, message + given)]


def _known(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The names of the settings at a place."""
    place: Any = kind
    for part in location:
        annotations = getattr(place, "model_fields", {})
        place = annotations[part].annotation if part in annotations else None
    if isinstance(place, type) and issubclass(place, BaseModel):
        return list(place.model_fields)
    return [field.name for field in fields(place)] if is_dataclass(place) else []
