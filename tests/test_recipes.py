"""The files people start from: every recipe and every built-in mark-up loads, and a recipe says how to run it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fanlight.config import Recipe, load_recipe
from fanlight.device import Team
from fanlight.geometry import Motion
from fanlight.learner import Learner
from fanlight.markup import Markup
from fanlight.recipes import BASE

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "recipes"
RECIPES = sorted(FOLDER.rglob("*.toml"))
EXPERIMENTS = [path for path in RECIPES if path.stem.startswith("exp_")]
MARKUPS = sorted((REPOSITORY / "src" / "fanlight" / "markups").glob("*.toml"))


def test_all_published_experiments_are_there() -> None:
    counts = {0: 2, 1: 2, 2: 3, 3: 3, 4: 5, 5: 1, 6: 1, 7: 4}
    names = [f"exp_{group}_{number + 1}" for group, count in counts.items() for number in range(count)]
    assert [path.stem for path in EXPERIMENTS] == names


def test_the_demo_has_its_recipe() -> None:
    assert REPOSITORY / "recipes" / "demo.toml" in RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert set(recipe.data.train).isdisjoint(recipe.data.val)
    assert Markup.load(recipe.data.markup).count > 0


@pytest.mark.parametrize("path", [p for p in RECIPES if p.name != BASE], ids=lambda path: path.name)
def test_recipe_says_how_to_run_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert f"fanlight train {path.relative_to(REPOSITORY)}" in header


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_an_experiment_learns(path: Path) -> None:
    """A step of its very network, but for its width and the side of its crops."""
    stride = load_recipe(path).model.stride
    sizes = {"input_size": 16 * stride, "depth": 3, "features": 8, "stem_features": 4}
    small = [f"model.{key}={value}" for key, value in sizes.items()]
    recipe = load_recipe(path, [*small, "train.device=cpu", "train.precision=float32", "decoder.radius=0.2"])
    learner = Learner(recipe, Team(0, 1, torch.device("cpu")))
    before = {name: values.clone() for name, values in learner.model.named_parameters()}
    numbers, side = torch.Generator().manual_seed(0), recipe.model.input_size
    losses = learner.step(
        {
            "image": torch.randint(256, (2, side, side, 3), generator=numbers, dtype=torch.uint8),
            "landmarks": side * torch.rand(2, 68, 2, generator=numbers),
            "weight": torch.tensor([0.5, 1.5]),
            "motion": torch.from_numpy(np.stack([Motion(mirror=True).matrix()] * 2)).float(),
        },
        recipe.optimiser.lr,
    )
    assert all(value.isfinite() for value in losses.values())
    assert ("adversarial" in losses) == (path.stem in ("exp_4_2", "exp_5_1"))
    assert ("distance" in losses) == (path.stem not in ("exp_3_1", "exp_3_2", "exp_3_3"))
    for name, values in learner.model.named_parameters():
        assert values.isfinite().all(), name
    moved = sum((values != before[name]).any().item() for name, values in learner.model.named_parameters())
    assert moved > len(before) // 2


def experiment(name: str) -> Recipe:
    return load_recipe(FOLDER / "300w" / f"exp_{name}.toml")


def differences(one: Recipe, other: Recipe) -> set[str]:
    """The keys, as TABLE.KEY, by which two recipes differ, published results aside."""
    a, b = one.to_dict(), other.to_dict()
    tables = [table for table in a if table != "published"]
    return {f"{table}.{key}" for table in tables for key in a[table] if a[table][key] != b[table][key]}


LONGER = {"schedule.step_epochs", "train.epochs", "train.validations_per_epoch"}


@pytest.mark.parametrize(
    ("name", "other", "keys"),
    [
        ("1_1", "2_1", {"train.epochs"}),
        ("2_2", "2_1", {"data.train", *LONGER}),
        ("2_3", "2_1", {"data.train", *LONGER}),
        ("3_1", "2_1", {"loss.distance"}),
        ("3_2", "3_1", {"loss.subpixel"}),
        ("3_3", "3_2", {"loss.warped"}),
        ("1_2", "2_1", {"data.index", "data.train", "optimiser.lr", "schedule.step_epochs", "train.epochs"}),
        ("4_1", "1_2", {"augment.photometric", "schedule.step_epochs", "train.epochs"}),
        ("4_2", "4_1", {"adversary.weight"}),
        ("5_1", "2_1", {"adversary.weight"}),
        ("4_3", "4_1", {"model.norm"}),
        ("4_4", "4_1", {"model.input_size"}),
        ("4_5", "4_1", {"model.input_size", "model.stem_pool"}),
        ("6_1", "2_1", {"model.norm"}),
        ("7_1", "2_1", {"model.input_size"}),
        ("7_2", "2_1", {"model.input_size", "model.stem_stride"}),
        ("7_3", "2_1", {"model.input_size", "model.stem_pool"}),
        ("7_4", "2_1", {"model.input_size", "model.stem_pool", "model.stem_kernel"}),
    ],
)
def test_experiments_differ_in_what_they_are_about(name: str, other: str, keys: set[str]) -> None:
    assert differences(experiment(name), experiment(other)) == keys


def test_the_experiments_have_the_published_numbers() -> None:
    large = experiment("4_1")
    for name, lr, step, epochs, validations in (
        ("1_1", 5e-4, 8, 10, 2),
        ("1_2", 3e-4, 3, 25, 2),
        ("2_1", 5e-4, 8, 60, 2),
        ("2_2", 5e-4, 12, 90, 1),
        ("2_3", 5e-4, 24, 180, 1),
        ("4_1", 3e-4, 4, 60, 2),
    ):
        recipe = experiment(name)
        optimiser, schedule, train = recipe.optimiser, recipe.schedule, recipe.train
        assert (optimiser.name, optimiser.lr, optimiser.momentum) == ("rmsprop", lr, 0.9)
        assert (schedule.name, schedule.step_epochs, schedule.factor) == ("step", step, 0.7)
        assert (train.epochs, train.validations_per_epoch, train.batch_size) == (epochs, validations, 32)
        assert recipe.augment.geometry.shift == 0.0625
        assert (recipe.loss.heatmap, recipe.loss.distance, recipe.decoder.border) == (1.0, 0.01, "cut")
        jitter = next(step for step in recipe.augment.photometric if step.name == "ColorJitter")
        assert jitter.arguments["hue"] == [0, 0]
    sizes = {name: experiment(name).model for name in ("4_4", "4_5", "7_1", "7_2", "7_3", "7_4")}
    assert {name: (m.input_size, m.heatmap_size) for name, m in sizes.items()} == {
        name: (128, 32 if name in ("4_4", "7_1") else 64) for name in sizes
    }
    for adversary in (experiment(name).adversary for name in ("4_2", "5_1")):
        assert (adversary.epsilon, adversary.alpha, adversary.steps, adversary.random_start) == (
            0.01,
            0.003,
            8,
            True,
        )
    assert large.published.results == {"300W": 0.683, "300W-LP": 0.717}
    names = [step.name for step in large.augment.photometric]
    assert names == ["Blur", "ColorJitter", "ISONoise", "ImageCompression", "CoarseDropout"]


@pytest.mark.parametrize("path", MARKUPS, ids=lambda path: path.name)
def test_markup_loads_by_its_name(path: Path) -> None:
    markup = Markup.load(path.stem)
    assert markup.name == path.stem
    assert Markup.from_dict(markup.to_dict()) == markup == Markup.load(path)


def test_built_in_markups_are_all_named() -> None:
    assert sorted(Markup.names()) == [path.stem for path in MARKUPS]
