"""TOML that people write, read so that whatever is wrong with it is told and not run into."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fanlight.errors import InputError

MAX_BYTES = 4 << 20  # far more than anyone writes by hand
_WHOLE = 1 << 63  # TOML's whole numbers have 64 bits; Python's would take any number of digits


def read_toml(path: Path, what: str) -> tuple[dict[str, Any], str]:
    """Read a TOML file.

    Args:
        path: the file; a byte-order mark is fine.
        what: to call it in messages, such as "the recipe".

    Returns:
        values: what it says.
        text: the file as it is.

    Raises:
        InputError: it is missing, no file, too large, not UTF-8, or not TOML.
    """
    try:
        if not os.path.isfile(path):  # a folder; or a pipe, which would never end
            raise ValueError(
                "not a file: give the path of one"
                if os.path.exists(path)
                else "there is no such file: give its path"
            )
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ValueError(
                f"larger than {MAX_BYTES >> 20} MiB, so not one that someone wrote: give another"
            )
        text = data.decode("utf-8-sig")
        return parse_toml(text), text
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: cannot read {what}: line {line} is not UTF-8: save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror or error) if isinstance(error, OSError) else error
        raise InputError(f"{path}: cannot read {what}: {reason}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Read TOML, in which numbers have 64 bits and texts no NUL, as no name or path has one.

    Raises:
        ValueError: it is none.
    """
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not TOML: {error}: correct it there") from None
    except ValueError:  # of a number of thousands of digits
        raise ValueError("a whole number in it is beyond 64 bits: give a smaller one") from None
    except RecursionError:
        raise ValueError("lists or tables too deep inside each other: take some away") from None
    _check(values)
    return values


def _check(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check(key)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
    elif isinstance(value, int) and not -_WHOLE <= value < _WHOLE:
        raise ValueError("a whole number in it is beyond 64 bits: give a smaller one")
    elif isinstance(value, str) and "\0" in value:
        raise ValueError("a text in it holds a NUL character: take that away")
