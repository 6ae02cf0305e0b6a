"""Adversarial examples worked by hand, and what learning from them leaves behind."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from fanlight.adversarial import AdversaryOptions, attack
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.data.index import Index
from fanlight.device import Team
from fanlight.errors import InputError
from fanlight.learner import Learner
from painted import make_index
from runs import make_recipe

STILL = AdversaryOptions(epsilon=0.25, alpha=0.1, steps=1, random_start=False)
SLOPE = torch.tensor([[[[2.0, -3.0], [0.0, float("nan")]]]])


def linear(images: Tensor) -> Tensor:
    """A loss whose gradient is SLOPE wherever it is taken."""
    return (images * SLOPE).sum()


def numbers(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("steps", "alpha", "expected"),
    [
        (1, 0.1, [0.6, 0.4, 0.5, 0.5]),  # alpha along the sign; nothing where there is no slope, or no number
        (2, 0.1, [0.7, 0.3, 0.5, 0.5]),
        (9, 0.1, [0.75, 0.25, 0.5, 0.5]),  # epsilon = 0.25 ends it
        (1, 0.25, [0.75, 0.25, 0.5, 0.5]),  # FGSM
    ],
)
def test_each_step_goes_along_the_sign_of_the_slope(steps: int, alpha: float, expected: list[float]) -> None:
    options = AdversaryOptions(epsilon=0.25, alpha=alpha, steps=steps, random_start=False)
    changed = attack(torch.full((1, 1, 2, 2), 0.5), linear, options, numbers())
    assert changed.flatten().tolist() == pytest.approx(expected)
    assert not changed.requires_grad


def test_colours_stay_in_their_range_and_images_as_they_were() -> None:
    images = torch.tensor([[[[0.95, 0.02], [0.0, 1.0]]]])
    before = images.clone()
    assert attack(images, linear, STILL, numbers()).flatten().tolist() == pytest.approx([1, 0, 0, 1])
    assert torch.equal(images, before)


def test_the_random_start_lies_within_epsilon_and_repeats() -> None:
    options = AdversaryOptions(epsilon=0.01, alpha=1e-9, steps=1)
    images = torch.full((2, 3, 8, 8), 0.5)
    found = [attack(images, lambda x: x.sum(), options, numbers(seed)) for seed in (0, 0, 1)]
    assert 0.008 < (found[0] - images).abs().max() <= 0.01 + 1e-6
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_impossible_options_are_all_named() -> None:
    with pytest.raises(InputError) as caught:
        AdversaryOptions(weight=-1.0, epsilon=0.0, alpha=2.0, steps=0)
    assert [problem.partition(" ")[0] for problem in caught.value.problems] == [
        "weight",
        "epsilon",
        "alpha",
        "steps",
    ]


def test_a_compiled_network_cannot_be_attacked() -> None:
    data = {"index": "faces.tsv", "train": ["a/train"], "val": ["a/val"]}
    with pytest.raises(InputError, match=r"train\.compile: adversarial examples"):
        Recipe.from_dict({"data": data, "adversary": {"weight": 1.0}, "train": {"compile": True}})


# ------------------------------------------------------------------ learning


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


def batch() -> Batch:
    return {
        "image": torch.randint(256, (4, 32, 32, 3), generator=numbers(), dtype=torch.uint8),
        "landmarks": 32 * torch.rand(4, 5, 2, generator=numbers()),
        "weight": torch.ones(4),
    }


def learner(data: Index, **tables: Any) -> Learner:
    return Learner(make_recipe(data, **tables), Team(0, 1, torch.device("cpu")))


def state_after_step(data: Index, **tables: Any) -> dict[str, Tensor]:
    learns = learner(data, optimiser={"name": "sgd", "lr": 0.05}, **tables)
    learns.step(batch(), 0.05)
    return learns.model.state_dict()


def test_examples_that_do_not_differ_change_nothing(data: Index) -> None:
    """Twice the same loss has the same mean: no gradient of the attack is left, nor is one counted twice."""
    plain = state_after_step(data)
    same = state_after_step(data, adversary={"weight": 0.5, "epsilon": 1e-12, "alpha": 1e-12})
    for name, values in plain.items():
        torch.testing.assert_close(
            same[name], values, atol=1e-6, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("table", [{}, {"train": {"recompute": True}}, {"train": {"accumulate": 2}}])
def test_running_statistics_follow_the_images_as_they_are(data: Index, table: dict[str, Any]) -> None:
    plain = state_after_step(data, **table)
    hostile = state_after_step(data, adversary={"weight": 1.0, "epsilon": 0.2, "alpha": 0.1}, **table)
    for name in plain:
        if "running" in name or "num_batches" in name:
            assert torch.equal(hostile[name], plain[name]), name
    assert any(not torch.equal(hostile[name], plain[name]) for name in plain)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_loss_on_adversarial_examples_is_larger(data: Index, precision: str) -> None:
    options = {"weight": 3.0, "epsilon": 0.1, "alpha": 0.03, "random_start": False}
    learns = learner(data, adversary=options, train={"precision": precision})
    for _ in range(5):
        losses = learns.step(batch(), 3e-3)
    clean = (losses["heatmap"] + 0.01 * losses["distance"]) / 1.01
    assert losses["adversarial"] > clean
    assert losses["total"].item() == pytest.approx((clean + 3 * losses["adversarial"]).item() / 4, rel=1e-5)


@pytest.mark.parametrize("scale", [2.0**10, 2.0**127])
def test_scaled_losses_make_the_same_examples(data: Index, scale: float) -> None:
    """As float16 scales them. Where that overflows, the step is left out, and nothing is broken."""
    options = {"adversary": {"weight": 1.0, "epsilon": 0.1}, "loss": {"foreground": 1e4}}
    plain, scaled = (learner(data, **options) for _ in range(2))
    expected = plain.step(batch(), 3e-3)
    before = {name: values.clone() for name, values in scaled.model.named_parameters()}
    scaled.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    losses = scaled.step(batch(), 3e-3)
    assert all(values.isfinite() for values in losses.values())
    assert scaled.scaler.get_scale() == (scale if scale < 2**20 else scale / 2)
    if scale < 2**20:
        assert losses["adversarial"].item() == pytest.approx(expected["adversarial"].item(), rel=1e-5)
        before = dict(plain.model.named_parameters())
    for name, values in scaled.model.named_parameters():
        torch.testing.assert_close(values, before[name], atol=1e-5, rtol=0)


def test_a_step_repeats_in_a_run_that_goes_on(data: Index) -> None:
    """To the bit, random starts included; the weights that are averaged are those of the learner."""
    options = {"adversary": {"weight": 1.0}, "train": {"ema": 0.9, "accumulate": 2}}
    whole, other = (learner(data, **options) for _ in range(2))
    whole.step(batch(), 3e-3)
    averaged = {name: values.clone() for name, values in whole.average.weights().items()}
    other.restore(copy.deepcopy(whole.state()), averaged)
    for each in (whole, other):
        each.step(batch(), 3e-3)
    for found in ("model", "average"):
        one, two = (
            each.model.state_dict() if found == "model" else each.average.weights() for each in (whole, other)
        )
        assert all(torch.equal(one[name], two[name]) for name in one)
