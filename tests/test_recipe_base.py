"""Recipes that begin with a base: what is taken over, where faults are said to stand, and what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fanlight.config import Recipe, load_recipe
from fanlight.errors import InputError
from fanlight.recipe_file import dump_toml

BASE = (
    '[data]\nindex = "faces.tsv"\ntrain = ["a/train", "b/train"]\nval = ["a/val"]\n'  # lines 1 to 4
    "[optimiser]\nlr = 1e-3\nmomentum = 0.5\n"                                          # lines 5 to 7
    '[[augment.photometric]]\nname = "Blur"\nblur_limit = [3, 5]\n'                     # lines 8 to 10
    '[[augment.photometric]]\nname = "ToGray"\n'                                        # lines 11 and 12
)  # fmt: skip


def write(folder: Path, **files: str) -> Path:
    """The files by their stems; the path of the first."""
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(files))}.toml"


def refused(path: Path, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    return caught.value


def test_what_a_recipe_does_not_say_comes_from_its_base(tmp_path: Path) -> None:
    path = write(tmp_path, recipe='base = "base.toml"\n[optimiser]\nlr = 2e-3\n', base=BASE)
    recipe = load_recipe(path)
    assert (recipe.optimiser.lr, recipe.optimiser.momentum) == (2e-3, 0.5)
    assert recipe.data.train == ["a/train", "b/train"]
    assert [step.name for step in recipe.augment.photometric] == ["Blur", "ToGray"]


def test_lists_are_replaced_as_a_whole(tmp_path: Path) -> None:
    text = (
        'base = "base.toml"\n[data]\ntrain = ["c/train"]\n[[augment.photometric]]\nname = "ToGray"\np = 0.1\n'
    )
    recipe = load_recipe(write(tmp_path, recipe=text, base=BASE))
    assert recipe.data.train == ["c/train"]
    assert recipe.data.val == ["a/val"]
    assert [(step.name, step.p) for step in recipe.augment.photometric] == [("ToGray", 0.1)]


def test_a_base_may_have_a_base_in_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    write(tmp_path / "shared", deep=BASE, middle='base = "deep.toml"\n[optimiser]\nmomentum = 0.6\n')
    path = write(tmp_path, recipe='base = "shared/middle.toml"\n[optimiser]\nlr = 3e-3\n')
    assert load_recipe(path).optimiser.model_dump(include={"lr", "momentum"}) == {"lr": 3e-3, "momentum": 0.6}


def test_set_wins_over_both(tmp_path: Path) -> None:
    path = write(tmp_path, recipe='base = "base.toml"\n[optimiser]\nlr = 2e-3\n', base=BASE)
    recipe = load_recipe(path, ["optimiser.lr=5e-3", "optimiser.momentum=0.1"])
    assert (recipe.optimiser.lr, recipe.optimiser.momentum) == (5e-3, 0.1)


def test_the_resolved_recipe_needs_no_base(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, recipe='base = "base.toml"\n', base=BASE))
    written = dump_toml(recipe.to_dict())
    assert "base" not in tomllib.loads(written)
    assert Recipe.from_dict(tomllib.loads(written)) == recipe


def test_faults_stand_where_they_were_written(tmp_path: Path) -> None:
    """The base's momentum and second transform are at fault, and the recipe's own rate."""
    base = BASE.replace("momentum = 0.5", "momentum = 1.5").replace('"ToGray"', '"ToGrey"')
    path = write(tmp_path, recipe='base = "base.toml"\n[optimiser]\nlr = 0.0\n', base=base)
    found = refused(path).problems
    assert any(p.startswith("line 3: optimiser.lr: ") for p in found), found
    assert any(p.startswith("base.toml, line 7: optimiser.momentum: ") for p in found), found
    assert any(p.startswith("base.toml, line 12: augment.photometric[1].name: ") for p in found), found
    assert len(found) == 3
    assert any(
        p.startswith("--set: optimiser.momentum: ") for p in refused(path, "optimiser.momentum=2").problems
    )


def test_a_replaced_lists_faults_stand_in_the_recipe(tmp_path: Path) -> None:
    """The base has two transforms with their lines; the recipe's list, on one line, replaces them."""
    text = 'base = "base.toml"\n[augment]\nphotometric = [{ name = "Blur", blur_limt = 3 }]\n'
    (problem,) = refused(write(tmp_path, recipe=text, base=BASE)).problems
    assert problem.startswith("line 3: augment.photometric[0].blur_limt: ")


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path, one='base = "two.toml"\n', two='base = "three.toml"\n', three='base = "two.toml"\n'
    )
    assert "one.toml -> two.toml -> three.toml -> two.toml" in str(refused(path))
    assert "itself.toml -> itself.toml" in str(refused(write(tmp_path, itself='base = "itself.toml"\n')))


def test_a_base_that_cannot_be_read_is_named_with_who_needs_it(tmp_path: Path) -> None:
    path = write(tmp_path, recipe='base = "nowhere.toml"\n')
    message = str(refused(path))
    assert message.startswith(f"{tmp_path / 'nowhere.toml'}: cannot read the recipe, the base of {path}: ")
    broken = write(tmp_path, other='base = "broken.toml"\n', broken="[data\n")
    assert "broken.toml: cannot read the recipe" in str(refused(broken))
    assert "line 1" in str(refused(broken))


@pytest.mark.parametrize("base", ["3", '["base.toml"]', '""'])
def test_a_base_is_a_file_name(tmp_path: Path, base: str) -> None:
    assert 'base = "base.toml"' in str(refused(write(tmp_path, recipe=f"base = {base}\n", base=BASE)))
