"""Fuzzing: seeded damage, and the question asked of each case: is it right, is it told, or is it a fault?

Each test of thousands of cases has a short form in the plain suite. ``pytest -m slow tests/test_fuzz_*.py -rP``
runs the long ones and prints how many cases were right and how many were told.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from fanlight.errors import InputError

REMEDY = re.compile(
    r"\b(add|ask|choose|convert|copy|correct|expected|give|look|mend|pack|remove|replace|restore|scale|see|send|set|"
    r"show|store|take|try)\b"
)
"""What a message says to do, or what was expected instead."""


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    """Give a test the number of its ``cases``: few in the plain suite, many under ``slow``."""
    forms = [pytest.param(few, id=f"{few}"), pytest.param(many, id=f"{many}", marks=pytest.mark.slow)]
    return pytest.mark.parametrize("cases", forms)


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes as a bad disk, a broken transfer or an attacker leaves them: cut, changed, moved, doubled, filled."""
    if not data:
        return data
    at, length = int(rng.integers(len(data))), int(rng.integers(1, min(len(data), 600) + 1))
    some = data[at : at + length]
    match int(rng.integers(8)):
        case 0:
            return data[:at]
        case 1:
            flipped = bytearray(data)
            for place in rng.integers(0, len(data), rng.integers(1, 9)):
                flipped[place] ^= 1 << int(rng.integers(8))
            return bytes(flipped)
        case 2:
            return data[:at] + rng.bytes(len(some)) + data[at + length :]
        case 3:
            return data[:at] + bytes(len(some)) + data[at + length :]
        case 4:
            return data[:at] + data[at + length :]
        case 5:
            return data[:at] + some + data[at:]
        case 6:
            return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]
        case _:
            header = bytearray(
                data[:200]
            )  # where sizes and counts stand: the largest and the smallest numbers
            place, width = int(rng.integers(len(header))), int(rng.choice([1, 2, 4]))
            header[place : place + width] = bytes([int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))]) * width
            return bytes(header) + data[200:]


@dataclass
class Tally:
    """How many cases ended how.

    Attributes:
        what: was tried.
        right: were answered, and the answer was checked.
        told: were refused by a message that names the file and what to do.
    """

    what: str
    right: int = 0
    told: int = 0

    def take(self, case: object, names: str, work: Callable[[], None]) -> None:
        """Try one case.

        Args:
            case: tells it from the others, so that it can be repeated.
            names: what a message has to name.
            work: does what is asked for, and checks the answer.

        Raises:
            AssertionError: it ends neither in a right answer nor in a message.
        """
        try:
            work()
        except InputError as error:
            text = str(error)
            assert names in text, f"{self.what}, case {case}: {names} is not named: {text}"
            assert REMEDY.search(text), f"{self.what}, case {case}: says not what to do: {text}"
            self.told += 1
        except Exception as error:
            raise AssertionError(f"{self.what}, case {case}: {error!r}") from error
        else:
            self.right += 1

    def __str__(self) -> str:
        return f"{self.what}: {self.right + self.told} cases, {self.right} right, {self.told} told"
