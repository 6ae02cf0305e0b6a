"""Training states with anything in the place of anything, and no sums: gone on with, or refused untouched."""

from __future__ import annotations

import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.index import Index
from fanlight.errors import InputError
from fuzzing import Tally, few_or_many
from odd_values import spoil
from painted import make_index
from runs import assert_same, final_weights, make_recipe, run

Spoil = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


def recipe_of(data: Index, epochs: float) -> Recipe:
    return make_recipe(data, train={"epochs": epochs, "keep_best": 1})


@pytest.fixture(scope="module")
def begun(data: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step, which another one follows."""
    folder = tmp_path_factory.mktemp("runs") / "begun"
    run(recipe_of(data, 0.25), data, folder)
    return folder


def resealed(begun: Path, folder: Path, change: Spoil) -> None:
    """A copy of a run whose only checkpoint to go on from was changed, and its sum taken away."""
    shutil.copytree(begun, folder)
    last = folder / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    del content["sha256"]  # as one who does harm would
    change(content["training"])
    torch.save(content, last)


def moments(training: dict[str, Any]) -> dict[str, Any]:
    return training["optimiser"]["state"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.update(step=-1), "step"),
        (lambda t: t.update(step=10**15), "step"),
        (lambda t: t.update(step="1"), "step"),
        (lambda t: t.update(step=True), "step"),
        (lambda t: t.update(seconds=math.nan), "seconds"),
        (lambda t: t.update(seconds=-1.0), "seconds"),
        (lambda t: t.update(updates=7), "updates"),
        (lambda t: t.update(due="no"), "due"),
        (lambda t: t.pop("optimiser"), "lacks optimiser"),
        (lambda t: moments(t).clear(), "optimiser"),
        (lambda t: moments(t).pop(3), "optimiser"),
        (lambda t: moments(t)[0].pop("exp_avg"), "optimiser"),
        (lambda t: moments(t)[0].update(exp_avg=moments(t)[0]["exp_avg"][:1]), "optimiser"),
        (lambda t: t["weights"].popitem(), "weights"),
        (lambda t: t.update(ranked=[("../../kept.ckpt", 0.5)]), "ranked"),
        (lambda t: t.update(ranked=[("step00000001.ckpt", "good")]), "ranked"),
        (lambda t: t.update(run="../x"), "another run"),
        (lambda t: t["means"].update(count=3), "means"),
    ],
)
def test_what_cannot_be_gone_on_with_is_told(
    data: Index, begun: Path, tmp_path: Path, change: Spoil, told: str
) -> None:
    resealed(begun, tmp_path / "run", change)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=told) as caught:
        run(recipe_of(data, 0.5), data, tmp_path / "run", resume=True)
    assert "last.ckpt" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_another_optimiser_in_the_recipe_is_told(data: Index, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "run")
    recipe = make_recipe(data, optimiser={"name": "sgd"}, train={"epochs": 0.5})
    with pytest.raises(InputError, match=r"not one of this run's recipe: optimiser"):
        run(recipe, data, tmp_path / "run", resume=True)


def test_changed_settings_of_the_optimiser_are_followed(data: Index, begun: Path, tmp_path: Path) -> None:
    finals = []
    for decay in (0.0, 0.5):
        shutil.copytree(begun, tmp_path / f"{decay}")
        recipe = make_recipe(data, optimiser={"weight_decay": decay}, train={"epochs": 0.5})
        run(recipe, data, tmp_path / f"{decay}", resume=True)
        finals.append(final_weights(tmp_path / f"{decay}"))
    assert any(not values.equal(finals[1][name]) for name, values in finals[0].items())


@few_or_many(8, 300)
def test_odd_training_states(cases: int, data: Index, begun: Path, tmp_path: Path) -> None:
    """Those that are gone on with reach the last step, and nothing outside the run is touched."""
    tally, folder = Tally("training states, values changed"), tmp_path / "runs" / "run"
    (tmp_path / "kept.ckpt").write_bytes(b"kept")
    for seed in range(cases):
        numbers = random.Random(f"training {seed}")

        def change(training: dict[str, Any], numbers: random.Random = numbers) -> None:
            for _ in range(numbers.choice([1, 1, 3])):
                spoil(numbers, training)

        shutil.rmtree(folder, ignore_errors=True)
        resealed(begun, folder, change)

        def go_on() -> None:
            run(recipe_of(data, 0.5), data, folder, resume=True)
            assert load_checkpoint(folder / "checkpoints" / "last.ckpt").training["step"] == 2

        tally.take(seed, str(folder), go_on)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.ckpt", "runs"]
    print(tally)


def test_what_is_whole_is_gone_on_with(data: Index, begun: Path, tmp_path: Path) -> None:
    resealed(begun, tmp_path / "run", lambda training: None)
    run(recipe_of(data, 0.5), data, tmp_path / "run", resume=True)
    run(recipe_of(data, 0.5), data, tmp_path / "whole")
    assert_same(final_weights(tmp_path / "run"), final_weights(tmp_path / "whole"))
