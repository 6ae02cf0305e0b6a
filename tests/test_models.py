"""The networks that come with fanlight, and figures of any checkpoint."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fanlight import models
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.errors import InputError
from fanlight.export import slim
from fanlight.model import FANOptions, fan2
from fanlight.network import TorchNetwork
from painted import untrained


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fanlight", *words], capture_output=True, text=True)


def test_flops_by_hand() -> None:
    """A stem alone is not to be had, so take the difference that one more heatmap makes.

    l0 multiplies and adds 256 features at each of 64 x 64 cells: 2 * 256 * 4096 operations.
    """
    one = models.count_flops(FANOptions(points=10, stacks=1))
    more = models.count_flops(FANOptions(points=11, stacks=1))
    assert more - one == 2 * 256 * 64 * 64


def test_flops_grow_with_the_crops_area() -> None:
    small, large = (models.count_flops(replace(fan2(), input_size=size)) for size in (128, 256))
    assert large == 4 * small


def test_facts_of_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = replace(untrained(tmp_path), metrics={"nme_box": 0.25})
    path = save_checkpoint(tmp_path / "mine.ckpt", checkpoint)
    facts = models.describe(path)
    assert facts.parameters == sum(p.numel() for p in checkpoint.build().parameters())
    assert (facts.points, facts.input_size, facts.bytes) == (5, 64, path.stat().st_size)
    assert facts.metrics == {"nme_box": 0.25}
    (listed,) = json.loads(command("models", str(path), "--json").stdout)
    assert listed["path"] == str(path)
    assert listed["flops"] == facts.flops


def test_what_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no network of that name comes with fanlight; there are:"):
        models.find("huge")
    done = command("models", str(tmp_path / "none.ckpt"))
    assert done.returncode == 2
    assert "none.ckpt" in done.stderr


def test_an_exported_network_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"any")
    with pytest.raises(InputError, match="an exported network; give the checkpoint"):
        models.describe(tmp_path / "a.onnx")


def test_a_slim_checkpoint_says_the_same_in_half_the_bytes(tmp_path: Path) -> None:
    checkpoint = replace(
        untrained(tmp_path),
        training={"weights": {"a": torch.ones(9999)}},
        recipe={"data": {"index": "/data/faces/index.tsv", "train": ["lfpw/train"]}, "train": {"lr": 0.5}},
        provenance={"command": "/opt/fanlight train recipes/x.toml --set data.index=/data/i.tsv"},
    )
    light = load_checkpoint(save_checkpoint(tmp_path / "slim.ckpt", slim(checkpoint)))
    assert light.training == {}
    assert light.recipe == {"data": {"index": "index.tsv", "train": ["lfpw/train"]}, "train": {"lr": 0.5}}
    assert light.provenance == {"command": "fanlight train recipes/x.toml --set data.index=i.tsv"}
    assert sum(v.nbytes for v in light.weights.values()) < 0.75 * sum(
        v.nbytes for v in checkpoint.weights.values()
    )
    crops = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 3), np.uint8)
    full, half = (TorchNetwork(c).heatmaps(crops) for c in (checkpoint, light))
    np.testing.assert_allclose(half, full, atol=2e-3 * np.abs(full).max())


def test_export_writes_a_slim_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "mine.ckpt", untrained(tmp_path))
    done = command("export", str(path), "--format", "fanlight", "--out", str(tmp_path / "small.ckpt"))
    assert done.returncode == 0, done.stderr
    assert "on 32 synthetic faces, landmarks are" in done.stdout
    kernels = [
        values for values in load_checkpoint(tmp_path / "small.ckpt").weights.values() if values.dim() == 4
    ]
    assert {values.dtype for values in kernels} == {torch.float16}
