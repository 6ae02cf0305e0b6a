"""Training that begins on small crops: the sizes follow the schedule, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.data.index import Index
from fanlight.data.synthetic import write_faces
from fanlight.errors import InputError
from fanlight.judging.evaluate import evaluate
from fanlight.learner import Learner
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from fanlight.train import Outcome, train


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("faces")
    write_faces(folder, 24, seed=0)
    return Index.read(folder / "index.tsv")


def recipe_for(faces: Index, **schedule: Any) -> Recipe:
    first, second = list(faces.partitions())[:2]
    return Recipe.from_dict(
        {
            "data": {"index": str(faces.path), "train": [first], "val": [second]},
            "model": {"features": 16, "stacks": 1, "stem_features": 8, "depth": 2, "input_size": 64},
            "decoder": {"radius": 0.2},
            "schedule": schedule,
            "train": {
                "epochs": 4,
                "batch_size": 4,
                "workers": 0,
                "precision": "float32",
                "validations_per_epoch": 1,
            },
        }
    )


def sizes_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    seen: list[int] = []
    take_step = Learner.step

    def step(self: Learner, batch: Batch, lr: float) -> dict[str, torch.Tensor]:
        assert batch["landmarks"].amax() <= 2 * batch["image"].shape[1]
        seen.append(batch["image"].shape[1])
        return take_step(self, batch, lr)

    monkeypatch.setattr(Learner, "step", step)
    return seen


def run(recipe: Recipe, faces: Index, folder: Path, resume: bool = False) -> Outcome:
    outcome = train(recipe, faces, folder, resume=resume)
    assert outcome is not None
    return outcome


def test_crops_grow_at_the_steps_that_the_schedule_says(
    faces: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = sizes_seen(monkeypatch)
    recipe = recipe_for(faces, crop_sizes=[[0, 32], [0.3, 64]])
    outcome = run(recipe, faces, tmp_path)
    steps = len(seen)
    assert seen == [32 if number / steps < 0.3 else 64 for number in range(steps)]
    assert {32, 64} == set(seen)
    assert steps % 4 == 0  # four epochs: none loses or repeats a batch where the size changes inside it
    last = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    assert last.options.input_size == 64
    assert load_checkpoint(outcome.best).build().options.points == 68


def test_a_checkpoint_is_judged_at_the_size_it_was_trained_on(faces: Index, tmp_path: Path) -> None:
    recipe = recipe_for(faces, crop_sizes=[[0, 32], [0.9, 64]])
    run(recipe, faces, tmp_path)
    early = load_checkpoint(sorted((tmp_path / "checkpoints").glob("step*.ckpt"))[0])
    assert early.options.input_size == 32
    judged = evaluate(Predictor(TorchNetwork(early)), faces, recipe.data.val, flip=False)[0].summary
    assert early.metrics["nme_box"] == pytest.approx(judged["nme_box"]["value"], rel=1e-4)


def test_an_interrupted_run_goes_on_at_the_size_it_had(
    faces: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_for(faces, crop_sizes=[[0, 32], [0.4, 64]])
    run(recipe, faces, tmp_path / "whole")
    seen = sizes_seen(monkeypatch)
    counted = Learner.step

    def stop(self: Learner, batch: Batch, lr: float) -> dict[str, torch.Tensor]:
        if len(seen) == 8:
            raise KeyboardInterrupt
        return counted(self, batch, lr)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            run(recipe, faces, tmp_path / "cut")
    run(recipe, faces, tmp_path / "cut", resume=True)
    assert seen[-1] == 64
    whole, cut = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "cut"))
    for name, values in whole.weights.items():
        assert torch.equal(values, cut.weights[name]), name


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ([[0.0, 32], [0.5, 192]], "ends with 192 px, but model.input_size is 64"),
        ([[0.1, 32], [0.5, 64]], "must begin with 0 and rise"),
        ([[0.0, 32], [0.0, 64]], "must begin with 0 and rise"),
        ([[0.0, 40], [0.5, 64]], "input_size = 40: .* take 32 or 48"),
        ([[0.0, 32], [1.0, 64]], "less than 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(faces: Index, sizes: Any, words: str) -> None:
    with pytest.raises(InputError, match=rf"(?s)schedule\.crop_sizes.*{words}"):
        recipe_for(faces, crop_sizes=sizes)
