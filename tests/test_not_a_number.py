"""NaN and infinity, put in everywhere: each is told with what it is, where and what to do, and none is saved."""

from __future__ import annotations

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fanlight
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.data.dataset import Batch
from fanlight.data.index import Index
from fanlight.device import Team
from fanlight.errors import InputError, NumberError
from fanlight.learner import LOWEST_SCALE, Learner
from fanlight.markup import Markup
from fanlight.network import Located, TorchNetwork
from fanlight.recipe_file import dump_toml
from fanlight.resuming import find_origin
from fanlight.soundness import in_short, named_tensors, not_numbers
from fanlight.train import train
from painted import make_index
from runs import Diary, assert_same, make_recipe, run

ALONE = Team(0, 1, torch.device("cpu"))
IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def finished(data: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps, saved at 2 and 4."""
    folder = tmp_path_factory.mktemp("finished")
    run(make_recipe(data, train={"epochs": 1, "ema": 0.5}), data, folder)
    return folder


def make_batch() -> Batch:
    numbers = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(256, (4, 32, 32, 3), generator=numbers, dtype=torch.uint8),
        "landmarks": 32 * torch.rand(4, 5, 2, generator=numbers),
        "weight": torch.ones(4),
    }


# ------------------------------------------------------------------ in a training


def into(tensor: Tensor, value: float = math.nan) -> None:
    with torch.no_grad():
        tensor[(0,) * tensor.dim()] = value


def into_gradient(learner: Learner) -> None:
    """Of the next step."""
    learner.model.get_parameter("conv2.conv1.weight").register_hook(lambda gradient: gradient * math.inf)


def into_optimiser(learner: Learner) -> None:
    state = learner.optimiser.state[learner.model.get_parameter("l0.weight")]
    into(state["exp_avg_sq"], math.inf)  # the weight never moves again, and stays a number


BROKEN: dict[str, tuple[Callable[[Learner], None], str]] = {
    "a weight": (
        lambda learner: into(learner.model.get_parameter("l0.weight")),
        "the loss is no longer a number",
    ),
    "a gradient": (into_gradient, "no longer numbers: conv2.conv1.weight and 3 more"),
    "a running mean": (
        lambda learner: into(learner.model.get_buffer("m0.b1_1.bn1.running_mean"), math.inf),
        "no longer numbers: m0.b1_1.bn1.running_mean and 1 more",
    ),
    "the moving average": (
        lambda learner: into(learner.average.weights()["l0.bias"]),
        "no longer numbers: average.l0.bias (loss",
    ),
    "the optimiser": (into_optimiser, "no longer numbers: optimiser.l0.weight.exp_avg_sq (loss"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_breaks_in_a_step_stops_the_run(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Broken before step 4, and told at the validation after it; the checkpoints stay those of step 2."""
    spoil, told = BROKEN[what]
    take_step, kept = Learner.step, dict[str, bytes]()

    def step(self: Learner, batch: Batch, lr: float) -> dict[str, Tensor]:
        if self.average.updates == 3:
            kept.update({path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()})
            spoil(self)
        return take_step(self, batch, lr)

    monkeypatch.setattr(Learner, "step", step)
    with pytest.raises(InputError) as caught:
        run(make_recipe(data, train={"epochs": 1, "ema": 0.9}), data, tmp_path)
    message = str(caught.value)
    for words in (told, "step 4", str(tmp_path / "checkpoints"), "optimiser.lr", f"--resume {tmp_path}"):
        assert words in message
    assert set(kept) == {"last.ckpt", "best.ckpt", "step00000002.ckpt"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == kept
    monkeypatch.setattr(Learner, "step", take_step)
    assert (
        run(make_recipe(data, train={"epochs": 1, "ema": 0.9}), data, tmp_path, resume=True).stopped
        == "epochs"
    )


def test_a_loss_is_looked_at_between_validations(data: Index, tmp_path: Path) -> None:
    """A label that has become no number shows at the first step, long before the validation of step 4000."""

    class Spoilt(Diary):
        def begin(self, total_steps: int, step: int) -> None:
            super().begin(total_steps, step)
            data_set.landmarks_image[:] = np.nan

    from fanlight import training_state

    recipe = make_recipe(data, train={"epochs": 1000, "validations_per_epoch": 0.001})
    with pytest.MonkeyPatch.context() as patch:
        feed = training_state.training_feed(recipe, data, Markup.load(recipe.data.markup), ALONE)
        data_set = feed.dataset
        patch.setattr(training_state, "training_feed", lambda *given: feed)
        with pytest.raises(
            InputError, match=r"the loss is no longer a number .*total = nan.* step 1: .*begin anew"
        ):
            train(recipe, data, tmp_path, Spoilt())


def test_predictions_of_a_validation_that_are_no_numbers_stop_the_run(
    data: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = TorchNetwork.__call__

    def overflow(self: TorchNetwork, crops: Any) -> Located:
        found = find(self, crops)
        found.scores[1, 3] = math.inf
        return found

    monkeypatch.setattr(TorchNetwork, "__call__", overflow)
    with pytest.raises(
        InputError, match=r"in validation, .* answers 1 of 7 faces .* step 2: training stopped; .*anew"
    ):
        run(make_recipe(data), data, tmp_path)
    assert os.listdir(tmp_path / "checkpoints") == []


def test_a_label_that_is_no_number_is_refused_before_training(data: Index, tmp_path: Path) -> None:
    index = Index.read(make_index(tmp_path / "data", train=4, val=2))
    label = index[0].landmarks_path
    lines = label.read_text().splitlines()
    lines[4] = "nan 3.5"
    label.write_text("\n".join(lines))
    with pytest.raises(InputError, match=rf"{label.name}:5: expected two finite numbers"):
        make_recipe(index, train={"batch_size": 2}).data.faces()


def test_the_command_tells_it_and_exits_with_2(data: Index, tmp_path: Path) -> None:
    """A rate that is absurd, in a run that was sound: the folder keeps the checkpoints of the sound part."""
    run(make_recipe(data, train={"epochs": 1}), data, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run/checkpoints").iterdir()}
    absurd = make_recipe(data, train={"epochs": 3}, optimiser={"lr": 1e30})
    (tmp_path / "run/recipe.toml").write_text(dump_toml(absurd.to_dict()))
    command = [sys.executable, "-m", "fanlight", "train", "--resume", "run"]
    left = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert left.returncode == 2, left.stderr
    told = " ".join(left.stderr.split())
    for words in (
        "no longer",
        "training stopped",
        "lower optimiser.lr, or set optimiser.clip_norm = 1.0, in run/recipe.toml",
        "go on from the last checkpoint by fanlight train --resume run",
    ):
        assert words in told
    assert "Traceback" not in told
    assert {path.name: path.read_bytes() for path in (tmp_path / "run/checkpoints").iterdir()} == before


# ------------------------------------------------------------------ float16's scaling


def scaled_learner(data: Index, scale: float, **train: Any) -> Learner:
    """Computes in float32, and scales its loss as for float16."""
    learner = Learner(make_recipe(data, train=train, loss={"foreground": 1e4}), ALONE)
    learner.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return learner


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_beyond_float16_leaves_the_step_out(data: Index, clip: float) -> None:
    """Halved until it fits: weights, moving average and optimiser stay; then all of them move."""
    learner = scaled_learner(data, 2.0**127, ema=0.9)
    learner.clip_norm = clip
    weights = {name: values.detach().clone() for name, values in learner.model.named_parameters()}
    averaged = {name: values.clone() for name, values in learner.average.weights().items()}
    skipped = 0
    while not learner.average.updates:
        scale = learner.scaler.get_scale()
        losses = learner.step(make_batch(), 1e-3)
        assert all(value.isfinite() for value in losses.values())
        assert learner.broken(ALONE) == []
        if not learner.average.updates:
            skipped += 1
            assert learner.scaler.get_scale() == scale / 2
            states = learner.optimiser.state.values()  # AdamW prepares its own even so
            assert not any(values.any() for state in states for values in state.values())
            assert_same(dict(learner.average.weights()), averaged)
            assert_same({name: values.detach() for name, values in learner.model.named_parameters()}, weights)
    assert 1 <= skipped < 20
    assert all(state["step"] == 1 for state in learner.optimiser.state.values())
    moved = [not torch.equal(values, weights[name]) for name, values in learner.model.named_parameters()]
    assert sum(moved) > len(moved) / 2


def test_a_step_left_out_is_the_same_after_going_on(data: Index) -> None:
    one, other = (scaled_learner(data, 2.0**127, ema=0.9) for _ in range(2))
    one.step(make_batch(), 1e-3)
    averaged = {name: values.clone() for name, values in one.average.weights().items()}
    other.restore(copy.deepcopy(one.state()), averaged)
    for learner in (one, other):
        for _ in range(15):
            learner.step(make_batch(), 1e-3)
    assert one.average.updates > 0
    assert_same(*({**each.state(), "average": dict(each.average.weights())} for each in (one, other)))


def test_gradients_that_never_fit_are_told(data: Index) -> None:
    learner = scaled_learner(data, LOWEST_SCALE / 2)
    learner.step(make_batch(), 1e-3)
    assert learner.broken(ALONE) == ["each gradient in float16"]


# ------------------------------------------------------------------ in files


def spoilt(path: Path, where: str, to: Path) -> Path:
    """The checkpoint with one number of its weights, or of its training state, broken."""
    checkpoint = load_checkpoint(path)
    content: Mapping[str, Any] = {"weights": checkpoint.weights, "training": checkpoint.training}
    into(dict(named_tensors(content))[where])
    return save_checkpoint(to, checkpoint)


@pytest.mark.parametrize(
    "words",
    [
        ["eval", "bad.ckpt", "--index", "{index}", "--partition", "dots/val"],
        ["predict", "{photo}", "--model", "bad.ckpt", "--boxes", "whole"],
        ["export", "bad.ckpt", "--format", "torchscript", "--out", "bad.pt"],
    ],
)
def test_no_command_uses_weights_that_are_no_numbers(
    data: Index,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    from fanlight.cli import main

    spoilt(finished / "checkpoints/best.ckpt", "weights.conv1.weight", tmp_path / "bad.ckpt")
    monkeypatch.chdir(tmp_path)
    given = [word.format(index=data.path, photo=data[0].image_path) for word in words]
    monkeypatch.setattr(sys, "argv", ["fanlight", *given])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = " ".join(capfd.readouterr().err.split())
    assert "bad.ckpt: holds values that are no numbers (weights.conv1.weight)" in told
    assert "give an earlier checkpoint" in told
    assert os.listdir(tmp_path) == ["bad.ckpt"]


def test_a_run_goes_on_from_the_checkpoint_before(data: Index, finished: Path, tmp_path: Path) -> None:
    """Whatever of the newest one is broken; and a training does not begin with such weights."""
    recipe = make_recipe(data, train={"epochs": 1, "ema": 0.5})
    for number, where in enumerate(
        ("weights.l0.bias", "training.weights.l0.bias", "training.optimiser.state.3.exp_avg")
    ):
        folder = tmp_path / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        for name in ("last.ckpt", "previous.ckpt"):
            (folder / "checkpoints" / name).write_bytes((finished / "checkpoints" / name).read_bytes())
        bad = spoilt(finished / "checkpoints/last.ckpt", where, folder / "checkpoints/last.ckpt")
        origin = find_origin(folder, recipe, Markup.load(recipe.data.markup), data)
        assert origin.path.name == "previous.ckpt"
        assert f"no numbers ({where})" in origin.warning
        with pytest.raises(InputError, match=r"last\.ckpt: holds values that are no numbers"):
            Learner(make_recipe(data, train={"start_from": str(bad)}), ALONE)


def test_answers_that_are_no_numbers_are_refused_with_how_many(finished: Path) -> None:
    """Of a network in memory, or one in another precision: files are refused before."""
    checkpoint = load_checkpoint(finished / "checkpoints/best.ckpt")
    weights = {
        name: values * 1e30 if name == "l0.weight" else values for name, values in checkpoint.weights.items()
    }
    network = TorchNetwork(replace(checkpoint, weights=weights), name="too loud")
    predictor = fanlight.Predictor(network)
    with torch.no_grad():
        network.model.l0.bias[2] = math.nan
    for flip in (False, True):
        with pytest.raises(
            NumberError, match=r'network too loud answers 2 of 2 faces .*precision = "float32"'
        ):
            predictor.predict_batch([IMAGE, IMAGE], "whole", flip=flip)


def test_tensors_are_named_by_the_way_to_them() -> None:
    content = {"a": [torch.zeros(2), {"b": torch.tensor([1.0, math.inf])}], "c": 3, "d": torch.tensor(4)}
    assert [name for name, _ in named_tensors(content)] == ["a.0", "a.1.b", "d"]
    assert not_numbers(content) == ["a.1.b"]
    assert not_numbers({}) == []
    assert in_short(["a"]) == "a"
    assert in_short(["a", "b", "c"]) == "a and 2 more"
