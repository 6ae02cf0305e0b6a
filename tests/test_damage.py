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


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The last checkpoint of a run, and the one before."""
    folder = tmp_path_factory.mktemp("run")
    data = Index.read(make_index(folder / "faces"))
    run(make_recipe(data, train={"epochs": 1, "ema": 0.9}), data, folder)
    return [folder / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]


@pytest.mark.parametrize("times", [5, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("change", KINDS)
def test_no_damage_goes_unnoticed(
    checkpoints: list[Path],
    tmp_path: Path,
    change: Callable[[bytearray, bytes, random.Random], None],
    times: int,
) -> None:
    """At so many places of a last.ckpt; prints how many changes were refused."""
    good, other = (path.read_bytes() for path in checkpoints)
    saved, saved_before = (content_of(path) for path in checkpoints)
    bad, found = tmp_path / "bad.ckpt", Counter[str]()
    for number in range(times):
        content = bytearray(good)
        change(content, other, random.Random(f"{change.__name__} {number}"))
        bad.write_bytes(content)
        try:
            loaded = content_of(bad)
        except InputError:
            found["refused"] += 1
            continue
        whole_other = loaded["training"]["step"] != saved["training"]["step"]  # all that differs was taken
        assert_same(loaded, saved_before if whole_other else saved, f"{change.__name__} {number}")
        found["the same bytes" if content == good else "loaded as it was saved"] += 1
    print(change.__name__, dict(found))
    assert found["refused"] or change is append
