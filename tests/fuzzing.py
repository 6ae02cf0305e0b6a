"""Fuzzing: seeded damage, and the question asked of each case: is it right, is it told, or is it a fault?

Each test of thousands of cases has a short form in the plain suite. ``pytest -m slow tests/test_fuzz_*.py -rP``
runs the long ones and prints how many cases were right and how many were told.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlight.errors import InputError

REMEDY = re.compile(
    r"\b(add|anew|ask|a fraction|a share|choose|convert|copy|correct|expected|give|known|leave|look|make|mend|"
    r"must|missing|name|needs|one of|pack|put|remove|replace|restore|save|say|scale|see|send|set|should|"
    r"show|store|take|takes|there are|try|write)\b"
)
"""What a message says to do, or what was expected instead."""


SECONDS = 60  # after which a case hangs
ROOM_BYTES = 2 << 30  # of memory that a case may ask for
LONGEST = 20_000  # characters of a message

TOKENS = (
    b"../../../etc/hostname", b"/etc/hostname", b"nan", b"-inf", b"1e999", b"1e308", b"-1", b"0x10",
    b"9" * 400, b"9" * 5000, b"a" * 5000, b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]",
    b"[" * 3000, b'"', b"'", b'"""', b",", b";", b"\t", b"\r\n", b"\r", b"\n", b" ", b"#", b"=", b".",
    b"..", b"true", b"null", b"{}", b"[]", b"1_0", b"1e5", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xd9\xa3",
    b"\xc2\xb2", b"\x1f", b"\x0b", b"\x7f", b"\\", b"\\u0000", b"\xed\xa0\x80", b"2026-01-01", b"-", b"+",
    b"%s", b"{0}", b"$(touch sprung)", b"<script>",
)  # fmt: skip
"""What texts are spoilt with."""


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


def spoilt(data: bytes, numbers: random.Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """A text as a slip, another program or an attacker leaves it: words put in, lines moved, bits turned."""
    start, end = sorted(numbers.randrange(len(data) + 1) for _ in range(2))
    kind = numbers.randrange(13)
    if kind < 4:
        return data[:start] + numbers.choice(tokens) + data[start + numbers.choice([0, 1, 4]) :]
    if kind < 7:
        return flipped(data, numbers, numbers.choice([1, 1, 2, 64]))
    if kind == 7:
        return data[:start]
    if kind == 8:
        return data[:start] + data[end:]
    if kind == 9:
        return data[:end] + data[start:]
    if kind == 10:
        return data[:start] + bytes(end - start) + data[end:]
    if kind == 11:
        lines = data.split(b"\n")
        numbers.shuffle(lines)
        return b"\n".join(lines[: numbers.randrange(len(lines)) + 1])
    others = [b"", data * 2, numbers.randbytes(300), b"\xef\xbb\xbf" + data, data.replace(b"\n", b"\r\n")]
    return numbers.choice(others)


def flipped(data: bytes, numbers: random.Random, count: int = 1) -> bytes:
    """Bytes with some bits turned."""
    changed = bytearray(data)
    for at in numbers.choices(range(len(data)), k=count) if data else ():
        changed[at] ^= 1 << numbers.randrange(8)
    return bytes(changed)


@contextmanager
def bounded() -> Iterator[None]:
    """Within the block, neither time nor memory is endless."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + ROOM_BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, _hangs)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _hangs(*_: Any) -> None:
    raise KeyboardInterrupt(f"no end after {SECONDS} s")  # which no code under test takes for an error


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
            with bounded():
                work()
        except InputError as error:
            text = str(error)
            assert len(text) < LONGEST, (
                f"{self.what}, case {case}: a message of {len(text)} characters: {text[:999]}"
            )
            assert names in text, f"{self.what}, case {case}: {names} is not named: {text}"
            assert REMEDY.search(text), f"{self.what}, case {case}: says not what to do: {text}"
            self.told += 1
        except (Exception, KeyboardInterrupt) as error:
            raise AssertionError(f"{self.what}, case {case}: {error!r}") from error
        else:
            self.right += 1

    def __str__(self) -> str:
        return f"{self.what}: {self.right + self.told} cases, {self.right} right, {self.told} told"
