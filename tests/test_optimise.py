"""Optimisers get the recipe's values; schedules at points worked by hand; the moving average."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fanlight.model import FAN, FANOptions
from fanlight.optimise import WeightAverage, learning_rate, make_optimiser
from fanlight.settings import OptimiserSettings, ScheduleSettings


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))


# ------------------------------------------------------------------ optimisers


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ({"name": "rmsprop", "momentum": 0.7}, torch.optim.RMSprop, {"momentum": 0.7, "alpha": 0.99}),
        ({"name": "sgd", "momentum": 0.8}, torch.optim.SGD, {"momentum": 0.8, "nesterov": True}),
        ({"name": "sgd", "momentum": 0.0}, torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
        ({"name": "adamw", "betas": (0.8, 0.95)}, torch.optim.AdamW, {"betas": (0.8, 0.95)}),
    ],
)  # fmt: skip
def test_settings_reach_the_optimiser(values: dict[str, Any], kind: type, expected: dict[str, Any]) -> None:
    optimiser = make_optimiser(network(), OptimiserSettings(lr=0.0123, weight_decay=0.04, **values))
    assert type(optimiser) is kind
    for group in optimiser.param_groups:
        assert group["lr"] == 0.0123
        assert {name: group[name] for name in expected} == expected
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.04, 0.0]


def test_weight_decay_touches_kernels_only_and_nothing_is_left_out() -> None:
    model = FAN(FANOptions(points=3, stacks=2, features=8, depth=1, stem_features=4, input_size=32))
    kernels, others = (group["params"] for group in make_optimiser(model, OptimiserSettings()).param_groups)
    assert {p.dim() for p in kernels} == {4}
    assert {p.dim() for p in others} == {1}
    assert {id(p) for p in [*kernels, *others]} == {id(p) for p in model.parameters()}
    assert len(kernels) + len(others) == len(list(model.parameters()))


def test_without_parameters_in_the_norms_the_second_group_holds_biases() -> None:
    options = FANOptions(
        points=3, stacks=1, features=8, depth=1, stem_features=4, input_size=32, norm="instance"
    )
    groups = make_optimiser(FAN(options), OptimiserSettings()).param_groups
    assert len(groups[1]["params"]) == 3  # conv1, conv_last0, l0


def test_rmsprops_first_step_by_hand() -> None:
    """Square average 0.01 g^2, so the step is lr * g / (0.1 |g| + eps): 10 lr against the gradient's sign."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    before = model.weight.item()
    optimiser = make_optimiser(model, OptimiserSettings(name="rmsprop", lr=0.01))
    (3 * model.weight).sum().backward()
    optimiser.step()
    assert model.weight.item() == pytest.approx(before - 0.1, abs=1e-6)


def test_adamws_decay_is_apart_from_the_gradient() -> None:
    """No gradient: the weight shrinks by lr * decay = 2 % and by nothing else."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    before = model.weight.item()
    optimiser = make_optimiser(model, OptimiserSettings(name="adamw", lr=0.1, weight_decay=0.2))
    (0 * model.weight).sum().backward()
    optimiser.step()
    assert model.weight.item() == pytest.approx(0.98 * before, rel=1e-6)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("settings", "progress", "epoch", "share"),
    [
        ({"name": "constant"}, 0.9, 50, 1.0),
        ({"name": "step"}, 0.1, 0, 1.0),
        ({"name": "step"}, 0.1, 7.999, 1.0),
        ({"name": "step"}, 0.1, 8, 0.7),
        ({"name": "step"}, 0.9, 59.9, 0.7**7),
        ({"name": "step", "step_epochs": 3.5, "factor": 0.5}, 0.5, 7.0, 0.25),
        ({"name": "cosine"}, 0.0, 0, 1.0),
        ({"name": "cosine"}, 0.5, 5, 0.5),
        ({"name": "cosine"}, 1 / 3, 5, 0.75),  # cos 60 degrees = 1/2
        ({"name": "cosine"}, 1.0, 10, 0.0),
        ({"name": "cosine", "final": 0.1}, 1.0, 10, 0.1),
        ({"name": "cosine", "final": 0.2}, 0.5, 10, 0.6),
        ({"name": "cosine", "warmup": 0.2}, 0.1, 1, 0.5),  # half of the rise
        ({"name": "cosine", "warmup": 0.2}, 0.2, 2, 1.0),
        ({"name": "cosine", "warmup": 0.2}, 0.6, 6, 0.5),  # half of what follows the warm-up
        ({"name": "step", "warmup": 0.1}, 0.0, 0, 0.0),
        ({"name": "step", "warmup": 0.1}, 0.025, 0.3, 0.25),
        ({"name": "constant", "warmup": 0.5}, 0.5, 3, 1.0),
    ],
)
def test_learning_rates_by_hand(
    settings: dict[str, Any], progress: float, epoch: float, share: float
) -> None:
    assert learning_rate(0.02, ScheduleSettings(**settings), progress, epoch) == pytest.approx(0.02 * share)


def test_cosine_never_rises_after_the_warm_up() -> None:
    settings = ScheduleSettings(name="cosine", warmup=0.1, final=0.05)
    rates = [learning_rate(1.0, settings, i / 200, 0) for i in range(201)]
    top = max(range(201), key=rates.__getitem__)
    assert top == 20
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)


# ------------------------------------------------------------------ moving average


def shift(model: nn.Module, by: float) -> None:
    with torch.no_grad():
        for values in model.state_dict().values():
            values += 1 if values.dtype == torch.int64 else by


def test_the_average_by_hand() -> None:
    """Decays (1 + n) / (10 + n), 0.1 and 2/11, until they reach the set one. From 0: values 1, then 2."""
    model = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.15)
    for value in (1.0, 2.0):
        nn.init.constant_(model.weight, value)
        average.update()
    first = 0.1 * 0 + 0.9 * 1
    assert average.weights()["weight"].item() == pytest.approx(0.15 * first + 0.85 * 2)
    assert average.updates == 2


def test_no_decay_follows_the_model_exactly() -> None:
    model = network()
    average = WeightAverage(model, 0.0)
    shift(model, 0.37)
    average.update()
    for name, values in model.state_dict().items():
        assert torch.equal(average.weights()[name], values), name


def test_statistics_are_averaged_and_counters_copied() -> None:
    model = network()
    average = WeightAverage(model, 0.99)
    shift(model, 1.0)
    average.update()  # decay 0.1
    assert average.weights()["1.running_mean"].tolist() == pytest.approx([0.9] * 4)
    assert average.weights()["1.num_batches_tracked"] == 1


def test_the_average_takes_no_part_in_training() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    before = {name: values.clone() for name, values in average.weights().items()}
    shift(model, 5.0)
    assert all(torch.equal(average.weights()[name], values) for name, values in before.items())
    assert not any(values.requires_grad for values in average.weights().values())


def test_a_restored_average_goes_on_alike() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    for _ in range(3):
        shift(model, 0.1)
        average.update()
    other = WeightAverage(model, 0.9)
    other.restore({name: values.clone() for name, values in average.weights().items()}, average.updates)
    shift(model, 0.1)
    average.update()
    other.update()
    for name, values in average.weights().items():
        assert torch.equal(other.weights()[name], values), name
    assert math.isclose(other.updates, 4)
