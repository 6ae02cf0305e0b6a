"""The network: tensor names, sizes, wiring and options."""

from __future__ import annotations

import hashlib
import re
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fanlight.errors import InputError
from fanlight.model import FAN, PRESETS, ConvBlock, FANOptions, Hourglass, Norm, fan1, fan2, fan4

TINY = FANOptions(points=5, stacks=2, features=8, depth=2, stem_features=4, input_size=32)


def on_meta(options: FANOptions) -> FAN:
    """The network's names and shapes, without memory or time."""
    with torch.device("meta"):
        return FAN(options)


def tiny(**changes: Any) -> FAN:
    torch.manual_seed(0)
    return FAN(replace(TINY, **changes)).eval()


# ------------------------------------------------------------------ names and sizes


@pytest.mark.parametrize(
    ("options", "entries", "parameters"),
    [(fan1(), 334, 6_249_668), (fan2(), 599, 12_106_504), (fan4(), 1129, 23_820_176)],
    ids=["FAN-1", "FAN-2", "FAN-4"],
)
def test_entries_and_parameters(options: FANOptions, entries: int, parameters: int) -> None:
    model = on_meta(options)
    assert len(model.state_dict()) == entries
    assert sum(p.numel() for p in model.parameters()) == parameters


def published_names(stacks: int, depth: int = 4) -> set[str]:
    """The modules of the published weights, put together from their naming scheme."""
    layers = ["bn1", "bn2", "bn3", "conv1", "conv2", "conv3"]
    branches = [f"{b}_{level}" for b in ("b1", "b2", "b3") for level in range(1, depth + 1)] + ["b2_plus_1"]
    names = {"conv1", "bn1"} | {f"conv{i}.{layer}" for i in (2, 3, 4) for layer in layers}
    names |= {f"conv{i}.downsample.{j}" for i in (2, 4) for j in (0, 2)}
    for i in range(stacks):
        names |= {f"m{i}.{branch}.{layer}" for branch in branches for layer in layers}
        names |= {f"top_m_{i}.{layer}" for layer in layers} | {f"conv_last{i}", f"bn_end{i}", f"l{i}"}
        names |= {f"bl{i}", f"al{i}"} if i < stacks - 1 else set()
    return names


@pytest.mark.parametrize("stacks", [1, 2, 4])
def test_names_are_those_of_the_published_weights(stacks: int) -> None:
    state = on_meta(FANOptions(stacks=stacks)).state_dict()
    assert {name.rpartition(".")[0] for name in state} == published_names(stacks)
    kinds = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
    assert {name.rpartition(".")[2] for name in state} == kinds
    assert all(
        not name.endswith("bias") for name in state if re.search(r"(^conv[234]|_\d|plus_1)\.conv\d\.b", name)
    )


DIGESTS = {
    (1, "batch"): "733210a93b2a3dcc3f4066a8ff0df00e094ee56506410beadf79a143fad8dcf7",
    (2, "batch"): "2e3d4da2ede9c989639b42fb588dec6d5b1bc2796888cc543b9c031d0be540da",
    (4, "batch"): "0d87cf689f0e7da53efe30820ee3c0911f4cdddef49dec890fe2243627f25d23",
    (1, "instance"): "b3e30379f555b2b8b666ece2876d9e9c8bd421096bb44b63f90a09d0a789fb93",
    (2, "instance"): "98c8da8e470472f2cbc9cbab1ad6f649011f0a5130be83a0dea677934502b76b",
    (4, "instance"): "95d742e1c127c9603248af29e453abc23a01b09ce865425228ad35f5df4fe5c7",
}


@pytest.mark.parametrize(("stacks", "norm"), DIGESTS)
def test_names_and_shapes_are_pinned(stacks: int, norm: Norm) -> None:
    """Digests of the names and shapes in ibug.face_alignment's FAN: whatever changes them breaks its files."""
    state = on_meta(FANOptions(stacks=stacks, norm=norm)).state_dict()
    listing = "\n".join(f"{name} {tuple(values.shape)}" for name, values in sorted(state.items()))
    assert hashlib.sha256(listing.encode()).hexdigest() == DIGESTS[stacks, norm]


def test_some_shapes_of_fan_2() -> None:
    """A few that the digests hold, to be seen."""
    shapes = {name: tuple(values.shape) for name, values in on_meta(fan2()).state_dict().items()}
    assert shapes["conv1.weight"] == (64, 3, 7, 7)
    assert shapes["conv2.conv1.weight"] == (64, 64, 3, 3)
    assert shapes["conv4.downsample.2.weight"] == (256, 128, 1, 1)
    assert shapes["m1.b2_plus_1.conv3.weight"] == (64, 64, 3, 3)
    assert shapes["l0.weight"] == (68, 256, 1, 1)
    assert shapes["al0.weight"] == (256, 68, 1, 1)


@pytest.mark.parametrize("stacks", [1, 2])
def test_instance_norm_has_no_norm_entries(stacks: int) -> None:
    batch, instance = (
        set(on_meta(FANOptions(stacks=stacks, norm=n)).state_dict()) for n in ("batch", "instance")
    )
    norms = re.compile(r"(^|\.)bn\w*\.|downsample\.0")
    assert instance == {name for name in batch if not norms.search(name)}
    assert instance < batch


@pytest.mark.parametrize(("name", "millions"), [("fan1_half", 1.74), ("fan1_narrow", 0.92)])
def test_the_sizes_that_presets_claim(name: str, millions: float) -> None:
    model = on_meta(PRESETS[name]())
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_take_any_number_of_points(name: str) -> None:
    options = PRESETS[name](21)
    assert on_meta(options).state_dict()["l0.weight"].shape[0] == options.points == 21
    assert FANOptions(**asdict(options)) == options


# ------------------------------------------------------------------ wiring, against a plain computation


def norm_relu(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Batch norm in use (running statistics, eps 1e-5), then ReLU."""
    mean, variance = (state[f"{name}.running_{part}"][:, None, None] for part in ("mean", "var"))
    weight, bias = (state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias"))
    return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp_min(0)


def plain_block(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Norm, ReLU and 3x3 convolution, three times in a row; all three results side by side, plus the input."""
    y, parts = x, []
    for i in (1, 2, 3):
        y = F.conv2d(norm_relu(state, f"{name}.bn{i}", y), state[f"{name}.conv{i}.weight"], padding=1)
        parts.append(y)
    if f"{name}.downsample.2.weight" in state:
        x = F.conv2d(norm_relu(state, f"{name}.downsample.0", x), state[f"{name}.downsample.2.weight"])
    return torch.cat(parts, 1) + x


def plain_hourglass(state: dict[str, Tensor], name: str, x: Tensor, depth: int) -> Tensor:
    """Down with one block a level, one block at the bottom, up with one block a level; skips at each level."""
    skips, low = {}, x
    for level in range(depth, 0, -1):
        skips[level] = plain_block(state, f"{name}.b1_{level}", low)
        low = low.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
        low = plain_block(state, f"{name}.b2_{level}", low)
    low = plain_block(state, f"{name}.b2_plus_1", low)
    for level in range(1, depth + 1):
        low = plain_block(state, f"{name}.b3_{level}", low)
        low = low.repeat_interleave(2, 2).repeat_interleave(2, 3) + skips[level]
    return low


def plain_fan(state: dict[str, Tensor], images: Tensor, options: FANOptions) -> list[Tensor]:
    def conv1x1(name: str, x: Tensor) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])

    x = F.conv2d(images, state["conv1.weight"], state["conv1.bias"], stride=2, padding=3)
    x = plain_block(state, "conv2", norm_relu(state, "bn1", x))
    x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    x = plain_block(state, "conv4", plain_block(state, "conv3", x))
    heatmaps = []
    for i in range(options.stacks):
        y = plain_block(state, f"top_m_{i}", plain_hourglass(state, f"m{i}", x, options.depth))
        y = norm_relu(state, f"bn_end{i}", conv1x1(f"conv_last{i}", y))
        heatmaps.append(conv1x1(f"l{i}", y))
        if i < options.stacks - 1:
            x = x + conv1x1(f"bl{i}", y) + conv1x1(f"al{i}", heatmaps[-1])
    return heatmaps


def scramble(model: FAN) -> FAN:
    """Give norms statistics and weights of their own, so that a mixed-up norm shows."""
    for name, values in model.state_dict().items():
        if re.search(r"bn|downsample\.0", name) and values.is_floating_point():
            values.uniform_(0.5, 1.5)
    return model


@pytest.mark.parametrize(
    "changes", [{}, {"stacks": 3, "depth": 3}, {"stem_features": 2, "features": 12}], ids=str
)
def test_the_network_equals_a_plain_computation(changes: dict[str, Any]) -> None:
    model = scramble(tiny(**changes)).double()
    images = torch.rand(2, 3, 32, 32).double()
    with torch.no_grad():
        made = model(images)
        expected = plain_fan(model.state_dict(), images, model.options)
    assert len(made) == model.options.stacks
    for stack, plain in zip(made, expected, strict=True):
        torch.testing.assert_close(stack, plain)


@pytest.mark.parametrize(("before", "after"), [(8, 8), (4, 8), (12, 8)])
def test_a_block_changes_channels_only(before: int, after: int) -> None:
    block = ConvBlock(before, after, "batch")
    assert (block.downsample is None) == (before == after)
    x = torch.rand(2, before, 6, 10)
    kept = x.clone()
    assert block(x).shape == (2, after, 6, 10)
    torch.testing.assert_close(x, kept, rtol=0, atol=0)  # nothing is done in place to the input


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_hourglass_pools_as_often_as_it_is_deep(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    pool = F.max_pool2d
    monkeypatch.setattr(F, "max_pool2d", lambda x, size: sizes.append(x.shape[-1]) or pool(x, size))
    assert Hourglass(depth, 4, "max", "batch").eval()(torch.rand(1, 4, 16, 24)).shape == (1, 4, 16, 24)
    assert sizes == [24 // 2**i for i in range(depth)]


# ------------------------------------------------------------------ options


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 8),
        ({"stem_stride": 1}, 16),
        ({"stem_pool": 1}, 16),
        ({"stem_stride": 1, "stem_pool": 1, "input_size": 16}, 16),
        ({"stem_kernel": 3}, 8),
        ({"stem_kernel": 5, "stem_pool": 1}, 16),
        ({"stem_kernel": 1}, 8),
        ({"stem_pool": 4, "input_size": 64}, 8),
        ({"stem_stride": 3, "stem_pool": 1, "input_size": 48}, 16),
        ({"depth": 3}, 8),
        ({"depth": 1, "norm": "instance"}, 8),
        ({"pooling": "average"}, 8),
        ({"stacks": 1, "points": 98}, 8),
        ({"stacks": 4, "features": 16, "stem_features": 6}, 8),
        ({"stem_features": 4, "features": 8}, 8),
    ],
    ids=str,
)
def test_the_size_of_the_heatmaps(changes: dict[str, Any], size: int) -> None:
    model = tiny(**changes)
    options = model.options
    heatmaps = model(torch.rand(1, 3, options.input_size, options.input_size))
    assert [tuple(stack.shape) for stack in heatmaps] == [(1, options.points, size, size)] * options.stacks
    assert options.heatmap_size == size == options.input_size / options.stride


def test_pooling_changes_the_result_but_not_the_weights() -> None:
    images = torch.rand(1, 3, 32, 32)
    largest, average = tiny(), tiny(pooling="average")
    assert largest.state_dict().keys() == average.state_dict().keys()
    average.load_state_dict(largest.state_dict())
    assert not torch.allclose(largest(images)[-1], average(images)[-1], atol=1e-3)


def test_instance_norm_looks_at_one_face_at_a_time() -> None:
    """In training, too: a face's heatmaps do not depend on the others in its batch."""
    images = torch.rand(3, 3, 32, 32)
    for norm, alone in (("instance", True), ("batch", False)):
        model = tiny(norm=norm).train()
        same = torch.allclose(model(images)[-1][:1], model(images[:1])[-1], atol=1e-4)
        assert same is alone


def test_later_stacks_see_the_first_ones_heatmaps() -> None:
    model, images = tiny(), torch.rand(1, 3, 32, 32)
    before = model(images)
    with torch.no_grad():
        model.get_parameter("al0.weight").add_(1.0)
    after = model(images)
    torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
    assert not torch.allclose(after[1], before[1])


def test_other_sizes_of_the_same_step_are_fine() -> None:
    assert tiny()(torch.rand(1, 3, 48, 64))[-1].shape == (1, 5, 12, 16)


def test_channels_last_gives_the_same() -> None:
    model, images = tiny(), torch.rand(2, 3, 32, 32)
    expected = model(images)
    last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))  # type: ignore[call-overload]
    for stack, other in zip(expected, last, strict=True):
        torch.testing.assert_close(stack, other, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("changes", "numbers"),
    [
        ({"input_size": 200}, ["200", "by 4", "4 times", "multiple of 64", "192 or 256"]),
        ({"input_size": 30}, ["30", "multiple of 64", "take 64"]),
        ({"input_size": 100, "stem_pool": 1, "depth": 3}, ["by 2", "3 times", "multiple of 16", "96 or 112"]),
        ({"input_size": 64, "norm": "instance"}, ["64", "16 px", "4 times", "128"]),
    ],
    ids=str,
)
def test_an_input_that_cannot_be_halved_is_refused_with_sizes_that_can(
    changes: dict[str, Any], numbers: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        FANOptions(**changes)
    assert len(caught.value.problems) == 1
    for number in numbers:
        assert number in caught.value.problems[0]


@pytest.mark.parametrize("size", [64, 128, 192, 256])
def test_sizes_that_a_message_offers_are_accepted(size: int) -> None:
    assert FANOptions(input_size=size).heatmap_size * 4 == size


def test_all_impossible_options_are_named_together() -> None:
    with pytest.raises(InputError) as caught:
        FANOptions(0, -1, 10, 0, "mean", "group", 3, 4, 0, 0, 0)  # type: ignore[arg-type]
    named = {problem.partition(" ")[0] for problem in caught.value.problems}
    assert named == {field.name for field in fields(FANOptions)}


@pytest.mark.parametrize("shape", [(1, 3, 40, 32), (1, 3, 32, 36), (3, 32, 32), (1, 1, 32, 32)])
def test_images_that_do_not_fit_are_refused_with_their_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=re.escape(f"shape {shape}") + ".*multiples of 16"):
        tiny()(torch.rand(shape))


def test_heatmaps_begin_near_zero() -> None:
    """Nearly all of a target is zero; the head's random weights have a deviation of 0.001."""
    torch.manual_seed(1)
    model = FAN(replace(TINY, features=64))
    assert all(stack.abs().max() < 0.05 for stack in model(torch.rand(2, 3, 32, 32)))
    assert (model.get_parameter("l1.bias") == 0).all()
