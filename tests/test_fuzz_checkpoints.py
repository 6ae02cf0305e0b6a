"""Checkpoints that are damaged, foreign or made to do harm: each is used as it is, or refused; none runs code."""

from __future__ import annotations

import copy
import io
import os
import pickle
import random
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fanlight.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fanlight.convert import Unseen, convert
from fanlight.geometry import CropRule
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions
from fanlight.network import TorchNetwork
from fanlight.predict import load
from fuzzing import Tally, few_or_many, flipped, spoilt
from odd_values import spoil

OPTIONS = FANOptions(points=68, stacks=1, features=8, depth=1, stem_features=4, input_size=32)


@pytest.fixture(scope="module")
def sound() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(
        options=OPTIONS,
        weights=FAN(OPTIONS).state_dict(),
        markup=Markup.load("ibug68"),
        crops={"haar": CropRule(1.5)},
        recipe={"data": {"index": "x", "train": ["a/b"]}, "train": {"epochs": 3.0}},
        metrics={"nme_box": 0.0123},
        provenance={"torch": "x", "command": "fanlight train"},
        training={"step": 3, "optimiser": {"state": {0: torch.ones(2)}}, "ranked": [("a.ckpt", 0.5)]},
    )


def use(path: Path) -> tuple[Checkpoint, np.ndarray]:
    """What is done with a checkpoint: it is loaded, and finds landmarks."""
    checkpoint = load_checkpoint(path)
    found = TorchNetwork(checkpoint)(
        np.full((1, checkpoint.options.input_size, checkpoint.options.input_size, 3), 90, np.uint8)
    )
    assert np.isfinite(found.landmarks).all()
    return checkpoint, found.landmarks


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert replace(one, weights={}, training={}) == replace(other, weights={}, training={})
    assert all(torch.equal(values, one.weights[name]) for name, values in other.weights.items())
    assert set(one.weights) == set(other.weights)


@few_or_many(50, 6000)
def test_damaged_bytes(cases: int, tmp_path: Path, sound: Checkpoint) -> None:
    """A byte that is read is told; one that is not, such as a date, changes nothing."""
    path = save_checkpoint(tmp_path / "a.ckpt", sound)
    whole, tally = path.read_bytes(), Tally("checkpoints, bytes damaged")
    for seed in range(cases):
        numbers = random.Random(f"checkpoint {seed}")
        once = numbers.random() < 0.5
        path.write_bytes(flipped(whole, numbers) if once else spoilt(whole, numbers))
        tally.take(seed, str(path), lambda: assert_same(load_checkpoint(path), sound))
    print(tally)


# ------------------------------------------------------------------ values of any kind


@few_or_many(25, 3000)
def test_odd_values(cases: int, tmp_path: Path, sound: Checkpoint) -> None:
    """Whatever stands where: what is loaded can be used, within bounds of time and memory."""
    path = save_checkpoint(tmp_path / "a.ckpt", sound)
    whole, tally = torch.load(path, weights_only=True), Tally("checkpoints, values changed")
    del whole["sha256"]  # as one who does harm would
    for seed in range(cases):
        numbers, content = random.Random(f"values {seed}"), copy.deepcopy(whole)
        for _ in range(numbers.choice([1, 1, 1, 3])):
            spoil(numbers, content)
        torch.save(content, path)
        tally.take(seed, str(path), lambda: use(path))
    print(tally)


# ------------------------------------------------------------------ code in files


class Trap:
    """Unpickled carelessly, it makes a folder."""

    def __init__(self, call: Callable[..., Any], *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> Any:
        return self.call, self.given


def traps(folder: Path) -> list[Trap]:
    """Ways to have code run by unpickling; each would leave ``folder`` behind."""
    code = f"__import__('os').mkdir({str(folder)!r})"
    return [
        Trap(os.mkdir, str(folder)),
        Trap(os.system, f"mkdir {folder}"),
        Trap(eval, code),
        Trap(exec, code),
        Trap(getattr, Trap(__import__, "os"), "mkdir"),
        Trap(subprocess.call, ["mkdir", str(folder)]),
        Trap(pickle.loads, pickle.dumps(Trap(os.mkdir, str(folder)))),
        Trap(torch.load, str(folder.with_suffix(".inner")), None, None, False),
    ]


def wrapped(numbers: random.Random, trap: Trap, whole: dict[str, Any]) -> bytes:
    """A trap in one of the shapes that files of weights have."""
    protocol, buffer = numbers.randrange(6), io.BytesIO()
    place = numbers.choice(
        [trap, [trap], {"state_dict": trap}, {**whole, "weights": trap}, {**whole, "recipe": {"x": trap}}]
    )
    plain = pickle.dumps(trap, protocol)
    kind = numbers.randrange(6)
    if kind == 0:
        return plain
    if kind == 1:  # as PyTorch writes it now
        torch.save(place, buffer)
    elif kind == 2:  # as it wrote it before
        torch.save(place, buffer, _use_new_zipfile_serialization=False)
    elif kind == 3:  # as it wrote it at first
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name in ("pickle", "storages", "tensors", "version"):
                entry = tarfile.TarInfo(name)
                entry.size = len(plain)
                archive.addfile(entry, io.BytesIO(plain))
    else:  # a zip archive, with TorchScript's constants or without
        with zipfile.ZipFile(buffer, "w", numbers.choice([0, 8])) as archive:
            archive.writestr("a/data.pkl", plain)
            archive.writestr("a/version", "3\n")
            if kind == 5:
                archive.writestr("a/constants.pkl", plain)
                archive.writestr("a/code/__torch__.py", f"import os\nos.mkdir({str(trap.given)!r})\n")
    return buffer.getvalue()


@few_or_many(60, 2000)
def test_code_in_files(cases: int, tmp_path: Path, sound: Checkpoint) -> None:
    """Loaded as a checkpoint, converted, or taken for an exported network: no code runs, whatever its shape."""
    sprung = tmp_path / "sprung"
    sprung.with_suffix(".inner").write_bytes(pickle.dumps(Trap(os.mkdir, str(sprung))))
    whole = torch.load(save_checkpoint(tmp_path / "whole.ckpt", sound), weights_only=True)
    tally = Tally("files with code in them")
    readers: list[tuple[str, Callable[[Path], Any]]] = [
        ("a.ckpt", load),
        ("a.pt", load),
        ("a.safetensors", load_checkpoint),
        ("a.onnx", load),
        ("a.pth", convert),
    ]
    for seed in range(cases):
        numbers = random.Random(f"code {seed}")
        name, read = numbers.choice(readers)
        path = tmp_path / name
        path.write_bytes(wrapped(numbers, numbers.choice(traps(sprung)), whole))
        tally.take(seed, str(path), lambda read=read, path=path: read(path))
        assert not sprung.exists(), seed
    assert not tally.right
    print(tally)


@few_or_many(20, 2000)
def test_weights_of_others(cases: int, tmp_path: Path, sound: Checkpoint) -> None:
    """State dicts that are damaged, in which tensors are exchanged, or of which some are missing."""
    tally, path = Tally("files of weights to convert"), tmp_path / "w.pth"
    weights = dict(sound.weights)
    unseen = Unseen(pooling="max", input_size=32)
    torch.save(weights, path)
    whole = path.read_bytes()
    for seed in range(cases):
        numbers, content = random.Random(f"weights {seed}"), dict(weights)
        if numbers.random() < 0.5:
            path.write_bytes(spoilt(whole, numbers))
        else:
            spoil(numbers, content)
            torch.save(content, path)

        def read() -> None:
            checkpoint = convert(path, unseen)
            assert set(checkpoint.weights) == set(weights)
            assert all(values.isfinite().all() for values in checkpoint.weights.values())

        tally.take(seed, str(path), read)
    print(tally)
