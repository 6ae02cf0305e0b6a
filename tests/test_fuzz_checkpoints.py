"""Checkpoints that are damaged, foreign or made to do harm: each is used as it is, or refused; none runs code."""

from __future__ import annotations

import collections
import copy
import io
import math
import os
import pickle
import random
import subprocess
import tarfile
import warnings
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


def laughs(depth: int = 60) -> list[Any]:
    """A list that is small in a file, and has 2 ** depth entries written out."""
    values: list[Any] = ["ha"]
    for _ in range(depth):
        values = [values, values]
    return values


def endless() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


def deep() -> list[Any]:
    values: list[Any] = []
    for _ in range(400):
        values = [values]
    return values


ODD: tuple[Callable[[], Any], ...] = (
    lambda: None, lambda: True, lambda: 0, lambda: 1, lambda: -1, lambda: 3, lambda: 10**9,
    lambda: 2**31, lambda: 2**63,
    lambda: 10**4000, lambda: 0.5, lambda: 2.0, lambda: math.nan, lambda: math.inf, lambda: 1e308,
    lambda: 3j, lambda: "",
    lambda: "x", lambda: "max", lambda: "x" * 100_000, lambda: "\ud800", lambda: b"x",
    lambda: bytearray(9), list,
    lambda: [1, 2, 3], lambda: (1.0, 2.0), dict, lambda: {"x": 1}, lambda: {3: 4},
    lambda: {None: torch.ones(2)},
    lambda: {1, 2}, lambda: collections.OrderedDict(a=1), lambda: torch.Size([3]),
    lambda: torch.float16, laughs, endless,
    deep, lambda: torch.ones(2), lambda: torch.tensor(3), lambda: torch.tensor(0.5), lambda: torch.empty(0),
    lambda: torch.ones(1).expand(10**11), lambda: torch.zeros(1).expand(10**5, 10**5),
    lambda: torch.eye(3).to_sparse(),
    lambda: torch.full((8,), math.nan), lambda: torch.ones(8, dtype=torch.complex64),
    lambda: torch.ones(8, dtype=torch.bool),
    lambda: torch.quantize_per_tensor(torch.ones(8), 0.1, 0, torch.qint8), lambda: torch.ones(8,
    dtype=torch.int8),
    lambda: torch.empty(8, device="meta"), lambda: torch.nn.Parameter(torch.ones(8)),
    lambda: torch.ones(8, dtype=torch.float64),
)  # fmt: skip


def tensor_like(numbers: random.Random, values: torch.Tensor) -> torch.Tensor:
    """A tensor that might nearly be taken for another."""
    spoiled = values.clone()
    if spoiled.is_floating_point():
        spoiled.view(-1)[numbers.randrange(spoiled.numel())] = numbers.choice([math.nan, math.inf, 1e38])
    kinds = (
        torch.float16,
        torch.float64,
        torch.bfloat16,
        torch.int64,
        torch.complex64,
        torch.bool,
        torch.float8_e4m3fn,
    )
    options = [
        lambda: spoiled,
        lambda: values.to(numbers.choice(kinds)),
        lambda: values[..., None],
        lambda: values.flatten()[:-1],
        lambda: values.flatten()[:1].expand(values.numel()).view(values.shape),
        lambda: values.transpose(0, -1),
        lambda: values.to_sparse(),
        lambda: values.to("meta"),
    ]
    return numbers.choice(options)() if values.dim() else torch.ones(2)


def spoil(numbers: random.Random, content: dict[str, Any]) -> None:
    """Put something odd somewhere, take something away, or add something."""
    table, key = content, numbers.choice(list(content))
    while isinstance(table[key], dict) and table[key] and numbers.random() < 0.85:
        table = table[key]
        key = numbers.choice(list(table))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = numbers.random()
        if kind < 0.1:
            del table[key]
        elif kind < 0.2:
            table[numbers.choice(["x", 3, "l0.weight", "__class__", ""])] = numbers.choice(ODD)()
        elif isinstance(table[key], torch.Tensor) and kind < 0.8:
            table[key] = tensor_like(numbers, table[key])
        elif isinstance(table[key], list) and table[key] and kind < 0.7:
            table[key] = list(table[key])
            table[key][numbers.randrange(len(table[key]))] = numbers.choice(ODD)()
        else:
            table[key] = numbers.choice(ODD)()


@few_or_many(25, 5000)
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
