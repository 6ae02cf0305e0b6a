"""What only a CUDA device can show; skipped elsewhere. Run by ``pytest -m gpu``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import fanlight
from fanlight.cli import main
from fanlight.config import load_recipe
from fanlight.data.index import Index
from fanlight.data.synthetic import write_faces
from fanlight.device import Team
from fanlight.heatmap import Decoder, encode
from fanlight.judging.evaluate import evaluate
from fanlight.learner import Learner
from fanlight.loss import AlignmentLoss, LossOptions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

RECIPE = """
[data]
index = "{index}"
train = ["synthetic/train"]
val = ["synthetic/val"]
[model]
preset = "fan1_narrow"
[loss]
distance = 0.1
foreground = 20
[optimiser]
name = "adamw"
lr = 2e-3
clip_norm = 1.0
[train]
device = "cuda"
precision = "{precision}"
epochs = {epochs}
batch_size = 16
accumulate = 2
ema = 0.9
workers = 2
rank_by = "nme_box"
"""


def test_heatmaps_are_those_of_the_cpu() -> None:
    points = torch.rand(4, 68, 2) * 66 - 1
    heatmaps = encode(points, 64)
    torch.testing.assert_close(encode(points.cuda(), 64).cpu(), heatmaps, atol=1e-6, rtol=1e-5)
    for border in ("corrected", "cut"):
        decoder = Decoder(border=border)  # type: ignore[arg-type]
        torch.testing.assert_close(decoder(heatmaps.cuda())[0].cpu(), decoder(heatmaps)[0], atol=1e-3, rtol=0)


def test_the_loss_and_its_gradient_are_those_of_the_cpu() -> None:
    points = torch.rand(2, 5, 2) * 60 + 2
    heatmaps = encode(points + 0.5, 64) + 0.01 * torch.rand(2, 5, 64, 64)
    results = []
    for device in ("cpu", "cuda"):
        given = heatmaps.detach().clone().to(device).requires_grad_()
        loss = AlignmentLoss(LossOptions(distance=0.1), Decoder())
        total = loss([given], points.to(device), 64, torch.ones(2, device=device))["total"]
        total.backward()
        assert given.grad is not None
        results.append((total.detach().cpu(), given.grad.cpu()))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_training_and_going_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    index = write_faces(tmp_path / "faces", 60, workers=0)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(index=index, precision=precision, epochs=20))
    for words in (
        ["train", str(recipe), "--out", str(tmp_path / "run")],
        ["train", "--resume", str(tmp_path / "run")],
    ):
        monkeypatch.setattr("sys.argv", ["fanlight", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
    best = tmp_path / "run/checkpoints/best.ckpt"
    on_gpu, on_cpu = (
        evaluate(fanlight.load(best, device), Index.read(index), ["synthetic/train"])[0].errors_box
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(on_gpu, on_cpu, atol=5e-3)
    assert on_cpu.mean() < 0.3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["rmsprop", "adamw", "sgd"])
def test_a_step_waits_for_nothing(tmp_path: Path, precision: str, name: str) -> None:
    """CUDA itself raises if the host waits for the device."""
    index = write_faces(tmp_path / "faces", 20, workers=0)
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.format(index=index, precision=precision, epochs=1))
    recipe = load_recipe(path, [f"optimiser.name={name}"])
    learner = Learner(recipe, Team(0, 1, torch.device("cuda", 0)))
    batch = {
        "image": torch.randint(256, (16, 128, 128, 3), dtype=torch.uint8).pin_memory(),
        "landmarks": (128 * torch.rand(16, 68, 2)).pin_memory(),
        "weight": torch.ones(16).pin_memory(),
    }
    learner.step(batch, 1e-3)  # libraries choose their kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        learner.step(batch, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
