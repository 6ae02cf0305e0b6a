"""Checkpoints whose bytes have changed: what is loaded is what was saved, or nothing is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fanlight.checkpoint import load_checkpoint
from fanlight.data.index import Index
from fanlight.errors import InputError
from painted import make_index
from runs import assert_same, make_recipe, run


def content_of(path: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    return {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)}


def flip_a_bit(content: bytearray, other: bytes, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def flip_a_bit_of_the_directory(content: bytearray, other: bytes, draw: random.Random) -> None:
    """The last part of a zip archive says where its entries are, and their sums."""
    content[-draw.randrange(1, 20_000)] ^= 1 << draw.randrange(8)


def change_a_byte(content: bytearray, other: bytes, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)


def empty_a_range(content: bytearray, other: bytes, draw: random.Random) -> None:
    size = 2 ** draw.randrange(14)
    start = draw.randrange(len(content) - size)
    content[start : start + size] = bytes(size)


def truncate(content: bytearray, other: bytes, draw: random.Random) -> None:
    del content[draw.randrange(len(content)) :]


def append(content: bytearray, other: bytes, draw: random.Random) -> None:
    content += draw.randbytes(draw.randrange(1, 100))


def _blocks(content: bytearray, count: int, draw: random.Random) -> list[slice]:
    size = draw.choice([64, 512, 4096])
    return [slice(n * size, (n + 1) * size) for n in draw.sample(range(len(content) // size), count)]


def swap_blocks(content: bytearray, other: bytes, draw: random.Random) -> None:
    one, two = _blocks(content, 2, draw)
    content[one], content[two] = content[two], content[one]


def take_a_block_of_another(content: bytearray, other: bytes, draw: random.Random) -> None:
    (block,) = _blocks(content, 1, draw)
    content[block] = other[block]


def end_like_another(content: bytearray, other: bytes, draw: random.Random) -> None:
    """As when one file is copied over another and the copy breaks off."""
    start = draw.randrange(len(content))
    content[start:] = other[start:]


KINDS: tuple[Callable[[bytearray, bytes, random.Random], None], ...] = (
    flip_a_bit,
    flip_a_bit_of_the_directory,
    change_a_byte,
    empty_a_range,
    truncate,
    append,
    swap_blocks,
    take_a_block_of_another,
    end_like_another,
)


@pytest.mark.parametrize("times", [5, pytest.param(600, marks=pytest.mark.slow)])
def test_no_damage_goes_unnoticed(tmp_path: Path, times: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind at so many places of a last.ckpt, with that of another step at hand."""
    data = Index.read(make_index(tmp_path / "faces"))
    run(make_recipe(data, train={"epochs": 1, "ema": 0.9}), data, tmp_path / "run")
    paths = [tmp_path / "run" / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    good, other = (path.read_bytes() for path in paths)
    saved, saved_before = (content_of(path) for path in paths)
    bad, found = tmp_path / "bad.ckpt", Counter[str]()
    for change in KINDS:
        for number in range(times):
            content = bytearray(good)
            change(content, other, random.Random(f"{change.__name__} {number}"))
            bad.write_bytes(content)
            try:
                loaded = content_of(bad)
            except InputError:
                found["refused"] += 1
                continue
            whole_other = (
                loaded["training"]["step"] != saved["training"]["step"]
            )  # all that differs was taken
            assert_same(loaded, saved_before if whole_other else saved, f"{change.__name__} {number}")
            found["changed nothing" if content == good else "loaded as it was saved"] += 1
    assert found["refused"] > 0.6 * sum(found.values())
    if times > 5:
        with capsys.disabled():
            print(f"\n{sum(found.values())} changes of a file of {len(good)} bytes: {dict(found)}")
