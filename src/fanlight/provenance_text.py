"""Provenance for people: the same rows on a page and on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from fanlight.recipe_file import dump_toml

_TITLES = {
    "code_sha256": "SHA-256 of the code",
    "index_sha256": "SHA-256 of the index",
    "faces_sha256": "SHA-256 of which faces of it",
    "source_sha256": "SHA-256 of the index it was packed from",
    "predictions_sha256": "SHA-256 of the predictions",
    "weights_sha256": "SHA-256 of the weights",
    "sha256": "SHA-256",
    "fanlight": "fanlight",
    "python": "Python",
    "torch": "PyTorch",
    "start_from": "Began from",
}
_OWN = ("earlier", "networks", "recipe", "provenance")  # told apart from the rest


class Group(NamedTuple):
    """What is said of one thing.

    Attributes:
        title: which; empty for the file itself.
        rows: names and values.
        recipe: as TOML; empty where there is none.
    """

    title: str
    rows: list[tuple[str, str]]
    recipe: str = ""


def groups(provenance: Mapping[str, Any], recipe: Mapping[str, Any] | None = None) -> list[Group]:
    """All that provenance says: of the file, of earlier sessions of its run, and of each network it is about.

    Whatever it holds is told, known or not: it may be of another version, or damaged by hand.
    """
    found = [Group("", rows(provenance), _toml(recipe))]
    for number, session in enumerate(_mappings(provenance.get("earlier")), 1):
        found.append(Group(f"Session {number} of its training", rows(session)))
    for network in _mappings(provenance.get("networks")):
        inner = network.get("provenance")
        own = Group(f"Network {network.get('name', '')}".strip(), rows(network), "")
        first, *rest = groups(inner if isinstance(inner, Mapping) else {}, network.get("recipe"))
        found += [own._replace(rows=own.rows + first.rows, recipe=first.recipe), *rest]
    return found


def rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, one below the other."""
    shown = {key: value for key, value in values.items() if key not in _OWN}
    if shown.get("source_sha256") == shown.get("index_sha256"):
        shown.pop("source_sha256", None)
    return [(_TITLES.get(key, _title(str(key))), _text(value)) for key, value in shown.items()]


def _title(key: str) -> str:
    words = key.replace("_", " ")
    return words[:1].upper() + words[1:]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return (
        [value for value in values if isinstance(value, Mapping)] if isinstance(values, list | tuple) else []
    )


def _toml(recipe: Any) -> str:
    """A recipe as TOML; empty where there is none, or not one that TOML can hold."""
    if not isinstance(recipe, Mapping) or not all(isinstance(table, Mapping) for table in recipe.values()):
        return ""
    return dump_toml(recipe).rstrip("\n") + "\n" if recipe else ""
