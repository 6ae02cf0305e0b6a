"""bfloat16 and float16 beside float32: what stays in single precision, how far results are apart, and why so far.

bfloat16 keeps 8 bits: a value is off by up to 2^-9, 0.2 %, each time it is rounded. What a network of some forty
layers makes of that is measured here, and bounded by a few times what was found.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.dataset import Batch, FaceDataset
from fanlight.data.index import Index
from fanlight.device import Team
from fanlight.distance import normalise
from fanlight.learner import Learner
from fanlight.models import find
from fanlight.network import TorchNetwork, locate, to_input
from painted import make_index
from runs import make_recipe, rows_of, run

ALONE = Team(0, 1, torch.device("cpu"))
LOW = {
    torch.bfloat16: 0.05,
    torch.float16: 0.01,
}  # by how much gradients are apart, as a share of their length


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


def make_batch(size: int = 4) -> Batch:
    numbers = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(256, (size, 32, 32, 3), generator=numbers, dtype=torch.uint8),
        "landmarks": 4 + 24 * torch.rand(size, 5, 2, generator=numbers),
        "weight": torch.ones(size),
    }


def learner(data: Index, dtype: torch.dtype, **tables: Any) -> Learner:
    """In float16 with its scaling, which the command leaves to GPUs: here the processor computes in it, slowly."""
    made = Learner(make_recipe(data, **tables), ALONE)
    made.precision = dtype
    if dtype == torch.float16:
        made.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    return made


# ------------------------------------------------------------------ what stays in single precision


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("dtype", LOW)
def test_what_is_summed_or_kept_is_in_single_precision(data: Index, dtype: torch.dtype, norm: str) -> None:
    """Heatmaps come in low precision; losses, decoder, statistics, gradients, averages and optimiser do not."""
    learns, seen = learner(data, dtype, model={"norm": norm}, train={"ema": 0.9}), list[torch.dtype]()
    learns.model.register_forward_hook(lambda *given: seen.append(given[2][-1].dtype))
    losses = learns.step(make_batch(), 1e-3)
    assert seen == [dtype]
    kept = [*losses.values(), *learns.model.state_dict().values(), *learns.average.weights().values()]
    kept += [weights.grad for weights in learns.model.parameters() if weights.grad is not None]
    kept += [values for state in learns.optimiser.state.values() for values in state.values()]
    assert {values.dtype for values in kept if values.is_floating_point()} == {torch.float32}
    heatmaps = torch.rand(1, 1, 16, 16).to(dtype)
    with torch.autocast("cpu", dtype):
        assert {values.dtype for values in learns.loss.decoder(heatmaps)} == {torch.float32}


@pytest.mark.parametrize("dtype", LOW)
def test_statistics_of_low_precision_are_those_of_single(dtype: torch.dtype) -> None:
    """Of values whose mean is far from zero: sums in bfloat16 would stop growing at 256."""
    images = (100 + 3 * torch.randn(8, 4, 32, 32, generator=torch.Generator().manual_seed(0))).to(dtype)
    norms = [torch.nn.BatchNorm2d(4) for _ in range(2)]
    with torch.autocast("cpu", dtype):
        norms[0](images)
    norms[1](images.float())
    torch.testing.assert_close(norms[0].running_mean, norms[1].running_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(norms[0].running_var, norms[1].running_var, rtol=1e-4, atol=0)


# ------------------------------------------------------------------ one step


@pytest.mark.parametrize("dtype", LOW)
def test_one_step_is_nearly_that_of_single_precision(data: Index, dtype: torch.dtype) -> None:
    """After some steps, when heatmaps have peaks. The distance jumps where another cell becomes the highest."""
    single = learner(data, torch.float32, loss={"distance": 0.1})
    for _ in range(20):
        single.step(make_batch(), 3e-3)
    low = learner(data, dtype, loss={"distance": 0.1})
    low.model.load_state_dict(single.model.state_dict())
    losses = [each.step(make_batch(), 0.0) for each in (low, single)]
    for name in losses[1]:
        assert losses[0][name].item() == pytest.approx(losses[1][name].item(), rel=0.02), name
    one, other = (gradient_of(each) for each in (low, single))
    assert F.cosine_similarity(one, other, 0) > 1 - LOW[dtype]
    assert (one - other).norm() < math.sqrt(2 * LOW[dtype]) * other.norm()


def gradient_of(learns: Learner) -> Tensor:
    """All of it, which a step leaves without float16's scale."""
    return torch.cat(
        [weights.grad.flatten() for weights in learns.model.parameters() if weights.grad is not None]
    )


# ------------------------------------------------------------------ real faces


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
def test_landmarks_of_real_faces_hardly_move(shared_data: Path, dtype: torch.dtype) -> None:
    """Crop px of 192: the mean under a twentieth, the NME by less than a hundredth of itself."""
    checkpoint = load_checkpoint(find("small"))
    faces = Index.read(shared_data / "faces68/index.tsv").select(["lfpw/val"])
    size = checkpoint.options.input_size
    dataset = FaceDataset(faces, checkpoint.markup, checkpoint.crop, size)
    items = [dataset[(0, face)] for face in range(8)]
    true = np.stack([item["landmarks"].double().numpy() for item in items])
    images, model = to_input(torch.stack([item["image"] for item in items])), TorchNetwork(checkpoint).model
    found = []
    with torch.inference_mode():
        for low in (True, False):
            with torch.autocast("cpu", dtype, enabled=low):
                heatmaps = model(images)[-1]
            found.append(locate(heatmaps, checkpoint.decoder, size)[0].double().numpy())
    apart = np.linalg.norm(found[0] - found[1], axis=-1)
    assert 0 < apart.mean() < 0.05
    assert np.quantile(apart, 0.99) < 0.2
    lengths = normalise(true, checkpoint.markup)
    one, other = ((np.linalg.norm(given - true, axis=-1).mean(1) / lengths).mean() for given in found)
    assert one == pytest.approx(other, rel=0.01)


# ------------------------------------------------------------------ a short training


@pytest.mark.slow
def test_a_training_in_low_precision_ends_where_others_do(tmp_path: Path) -> None:
    """300 steps on painted faces, judged on 48 others: closer to float32 than another seed is, or nearly so."""
    index = Index.read(make_index(tmp_path / "faces", 64, 48))
    errors: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for seed in (0, 1):
        curves = []
        for precision, found in errors.items():
            folder = tmp_path / f"{precision} {seed}"
            run(training(index, precision, seed), index, folder)
            rows = rows_of(folder)
            curves.append([float(row["train_total"]) for row in rows])
            found.append(float(rows[-1]["nme_box"]))
        assert curves[1] == pytest.approx(curves[0], rel=0.1)
    means = {precision: float(np.mean(found)) for precision, found in errors.items()}
    spread = max(abs(one - other) for one, other in errors.values())
    assert means["float32"] < 0.06
    assert abs(means["bfloat16"] - means["float32"]) < max(spread, 0.1 * means["float32"])


def training(index: Index, precision: str, seed: int) -> Recipe:
    return make_recipe(
        index,
        loss={"distance": 0.1, "foreground": 20.0},
        schedule={"name": "cosine", "warmup": 0.05},
        train={
            "epochs": 18.75,
            "precision": precision,
            "seed": seed,
            "ema": 0.98,
            "validations_per_epoch": 0.16,
            "rank_by": "nme_box",
        },
    )
