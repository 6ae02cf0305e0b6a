"""The files people start from: every recipe and every built-in mark-up loads, and a recipe says how to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fanlight.config import load_recipe
from fanlight.markup import Markup

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPOSITORY / "recipes").glob("*.toml"))
MARKUPS = sorted((REPOSITORY / "src" / "fanlight" / "markups").glob("*.toml"))


def test_the_demo_has_its_recipe() -> None:
    assert REPOSITORY / "recipes" / "demo.toml" in RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_loads(path: Path) -> None:
    recipe = load_recipe(path)
    assert set(recipe.data.train).isdisjoint(recipe.data.val)
    assert Markup.load(recipe.data.markup).count > 0


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe_says_how_to_run_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    header = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert f"fanlight train recipes/{path.name}" in header


@pytest.mark.parametrize("path", MARKUPS, ids=lambda path: path.name)
def test_markup_loads_by_its_name(path: Path) -> None:
    markup = Markup.load(path.stem)
    assert markup.name == path.stem
    assert Markup.from_dict(markup.to_dict()) == markup == Markup.load(path)


def test_built_in_markups_are_all_named() -> None:
    assert sorted(Markup.names()) == [path.stem for path in MARKUPS]
