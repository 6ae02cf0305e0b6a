"""Trainings of seconds, for tests: faces of five dots, a network of a few thousand weights, 4 steps an epoch."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from torch import Tensor

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.data.index import Index
from fanlight.train import Outcome, train

MODEL = {"stacks": 1, "features": 8, "depth": 2, "stem_features": 8, "input_size": 32, "stem_pool": 1}
# What checkpoints say of where they come from however their run went.
SAME = ("index", "index_sha256", "source_sha256", "faces", "seed", "step")
STILL = {"geometry": {"mirror": 0, "probability": 0}, "photometric": []}


PLAIN = {
    # No statistics of a batch, so that parts of it add up to the whole; an optimiser that is linear in the
    # gradient; no decoder, whose window jumps with the highest cell, which rounding may change.
    "model": {"norm": "instance"},
    "optimiser": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
    "loss": {"distance": 0},
}


def make_recipe(index: Faces, **tables: dict[str, Any]) -> Recipe:
    """Tiny settings, 4 steps an epoch; tables given are laid over them."""
    values: dict[str, dict[str, Any]] = {
        "data": {
            "index": index.where,
            "markup": str(_folder(index) / "five.toml"),
            "train": ["dots/train"],
            "val": ["dots/val"],
        },
        "model": MODEL,
        "augment": STILL,
        "decoder": {"radius": 0.3},
        "optimiser": {"name": "adamw", "lr": 3e-3},
        "schedule": {"name": "constant"},
        "train": {"epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu", "precision": "float32"},
    }
    for table, given in tables.items():
        values[table] = {**values.get(table, {}), **given}
    return Recipe.from_dict(values)


def _folder(faces: Faces) -> Path:
    return faces.path.parent if isinstance(faces, Index) else Path(faces.where)


class Diary:
    """Notes what training tells."""

    def __init__(self) -> None:
        self.began: list[tuple[int, int]] = []
        self.advanced: list[tuple[int, float]] = []
        self.rows: list[dict[str, Any]] = []
        self.best: list[bool] = []
        self.warnings: list[str] = []

    def begin(self, total_steps: int, step: int) -> None:
        self.began.append((total_steps, step))

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        assert status.keys() in (set(), {"loss", "lr"})
        self.advanced.append((step, share))

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        self.rows.append(dict(row))
        self.best.append(best)

    def warned(self, message: str) -> None:
        self.warnings.append(message)


def run(recipe: Recipe, index: Faces, folder: Path, resume: bool = False) -> Outcome:
    outcome = train(recipe, index, folder, Diary(), resume)
    assert outcome is not None
    return outcome


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def final_weights(folder: Path) -> Mapping[str, Tensor]:
    return load_checkpoint(folder / "checkpoints" / "last.ckpt").weights


def assert_close(one: Mapping[str, Tensor], other: Mapping[str, Tensor], atol: float) -> None:
    for name, values in one.items():
        torch.testing.assert_close(other[name], values, atol=atol, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def assert_same(one: Any, other: Any, place: str = "") -> None:
    """Equal bit for bit, through all tensors, dicts and lists."""
    if isinstance(one, Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, Mapping):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{place}[{number}]")
    else:
        assert one == other, place


HOLD = """
import sys, time
from pathlib import Path
from fanlight.locking import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(1000)
"""


@contextmanager
def held_by_another(folder: Path) -> Iterator[int]:
    """Within the block another process, whose number is given, is at work in the folder; then it is killed."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        try:
            yield other.pid
        finally:
            other.kill()


def steps_written(folder: Path) -> dict[str, list[int]]:
    """The steps of each curve as they stand in the files of events, of whatever session."""
    steps: dict[str, list[int]] = {}
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in RawEventFileLoader(str(path)).Load():
            read = Event.FromString(event)
            for value in read.summary.value:
                steps.setdefault(value.tag, []).append(read.step)
    return steps


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_equal_runs(one: Path, other: Path, previous: bool = False) -> None:
    """Two runs have left the same bit for bit, but for the time they took and what they were called by.

    A run that was stopped has saved another step before its last one, so ``previous`` is left out.
    """
    assert_same(*([row | {"minutes": ""} for row in rows_of(folder)] for folder in (one, other)))
    names = sorted(os.listdir(other / "checkpoints"))
    assert sorted(os.listdir(one / "checkpoints")) == names
    for name in names:
        if previous or name != "previous.ckpt":
            assert_same(*(_content(folder / "checkpoints" / name) for folder in (one, other)), name)


def _content(path: Path) -> dict[str, Any]:
    checkpoint = load_checkpoint(path)
    content = {part.name: getattr(checkpoint, part.name) for part in fields(checkpoint)}
    training = {**checkpoint.training, "seconds": 0, "run": ""} if checkpoint.training else {}
    of_run = {name: value for name, value in checkpoint.provenance.items() if name in SAME}
    return {**content, "provenance": of_run, "training": training}
