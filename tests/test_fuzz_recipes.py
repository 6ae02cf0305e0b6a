"""Recipes, ablations and ``--set`` with anything in the place of anything: used as given, or refused."""

from __future__ import annotations

import copy
import math
import random
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanlight.ablation.plan import load_ablation
from fanlight.ablation.settings import read_settings
from fanlight.config import Recipe, load_recipe
from fanlight.metric import Metric
from fanlight.recipe_file import dump_toml
from fuzzing import Tally, few_or_many, spoilt

REPOSITORY = Path(__file__).resolve().parent.parent
RECIPES = sorted((REPOSITORY / "recipes").rglob("*.toml"))
ABLATIONS = sorted((REPOSITORY / "ablations").rglob("*.toml"))
WHOLE = Recipe.from_dict({"data": {"index": "index.tsv", "train": ["a/b"], "val": ["c/d"]}}).to_dict()

ODD_VALUES: tuple[Any, ...] = (
    0, -1, 1, 2, 7, 10**9, 2**63 - 1, -(2**63), 0.0, -0.5, 0.5, 1.0, 1.5, 1e-300, 1e308, math.inf,
    -math.inf, math.nan,
    True, False, "", "x", "none", "auto", "cuda:99999999999999999999", "cuda:\u00b2", "cpu:0", "nan",
    "1", "3.5", "a/b",
    "\u0660", "x" * 5000, "../../etc/passwd", "\U0001f600", "$(touch sprung)", "[bold]", "{0}", "%s",
    [], [1], [[0.0, 64]],
    [[0.0, 64], [0.3, 128]], [0.9, 0.999], ["a/b"], ["a/b", "a/b"], [[]], [{}], [[[[[[[[]]]]]]]], {},
    {"x": 1}, {"a/b": 2},
    {"a/b": -1}, {"a": {"b": {"c": 1}}}, [{"name": "Blur"}], [{"name": "Blur", "p": 2}],
    [{"name": "no such"}],
    [{"name": "RandomCrop", "height": 8, "width": 8}], [{"name": "Blur", "blur_limit": [10**9, 10**9 + 2]}],
    [{"name": "GaussNoise", "std_range": [-1, 5]}], [{"p": 0.5}],
)  # fmt: skip
WORDS = (
    "3", "3.5", "[1, 2]", "{a = 1}", "x", "", '"x"', "'x'", "1e999", "9" * 5000, "0x" + "f" * 5000,
    "3\nother = 4",
    "3\n[data]\nindex = 'x'", "[" * 2000, "true", "nan", "inf", "2026-01-01", "12:00:00", "\x00",
    "a\x00b", "\ud800", "#", "= 3",
    '"""', "\u0663", "1_000", "-0",
)  # fmt: skip


def places(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all settings and tables."""
    for name, value in values.items():
        yield (*path, name)
        if isinstance(value, dict):
            yield from places(value, (*path, name))


def put(values: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        values = values.setdefault(name, {})
    values[path[-1]] = value


def at(values: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        values = values[name]
    return values


def is_kept(recipe: dict[str, Any], path: tuple[str, ...], given: Any) -> bool:
    """Whether a recipe has a value as it was given, or in the one other form that means the same."""
    if path in (("model", "preset"), ("model", "points")):
        return True  # filled in: what it means stands in other keys
    if isinstance(given, dict):
        return all(is_kept(recipe, (*path, name), inner) for name, inner in given.items())
    kept = recipe["data"]["repeat"][path[-1]] if path[:2] == ("data", "repeat") else at(recipe, path)
    if path in (("train", "rank_by"), ("published", "metric")):
        return kept == Metric.parse(given).key
    if path in (("data", "index"), ("data", "markup"), ("data", "cache"), ("train", "start_from")):
        return kept == given or (Path(kept).is_absolute() and Path(kept) == Path(given).absolute())
    if path == ("augment", "photometric"):
        return all(
            step.items() <= {**other, "p": other["p"]}.items()
            for step, other in zip(given, kept, strict=True)
        )
    if isinstance(given, bool) or isinstance(kept, bool):
        return kept is given
    if isinstance(kept, float):
        return kept == float(given)
    return kept == (list(map(list, given)) if path == ("schedule", "crop_sizes") else given)


def check_recipe(recipe: Recipe, given: dict[str, Any], file: Path) -> None:
    """What was given is what it has, and it is the same when it is written and read again."""
    values = recipe.to_dict()
    for path in places(given):
        if path not in (("base",), ("published",)) and not isinstance(at(given, path), dict):
            assert is_kept(values, path, at(given, path)), path
    again = file.with_name("again.toml")
    again.write_text(dump_toml(values), encoding="utf-8")
    assert load_recipe(again) == recipe


@few_or_many(25, 4000)
def test_recipes_with_odd_values(cases: int, tmp_path: Path) -> None:
    """Any value in the place of any setting or table."""
    tally, file = Tally("recipes, a setting changed"), tmp_path / "r.toml"
    keys = [
        *places(WHOLE),
        ("published", "results"),
        ("published",),
        ("x",),
        ("train", "x"),
        ("data", "repeat", "a/b"),
    ]
    for seed in range(cases):
        numbers = random.Random(f"recipe {seed}")
        values = {"data": copy.deepcopy(WHOLE["data"])}
        for _ in range(numbers.choice([1, 1, 1, 2, 5])):
            path = numbers.choice(keys)
            if all(isinstance(at(values, path[:n]), dict) for n in range(len(path)) if has(values, path[:n])):
                put(values, path, copy.deepcopy(numbers.choice(ODD_VALUES)))
        file.write_text(whole_toml(values), encoding="utf-8")
        given = tomllib.loads(file.read_text(encoding="utf-8"))
        tally.take(seed, str(file), lambda given=given: check_recipe(load_recipe(file), given, file))
    print(tally)


def has(values: Any, path: tuple[str, ...]) -> bool:
    try:
        at(values, path)
    except (KeyError, TypeError):
        return False
    return True


def whole_toml(values: dict[str, Any]) -> str:
    """Any plain values as TOML, tables inline."""

    def text(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, dict):
            return "{" + ", ".join(f"{text(k)} = {text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(text, value)) + "]"
        return (
            '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            if isinstance(value, str)
            else repr(value)
        )

    return "".join(f"{text(name)} = {text(value)}\n" for name, value in values.items())


@few_or_many(20, 3000)
def test_recipes_with_damaged_text(cases: int, tmp_path: Path) -> None:
    """Every recipe that is shipped, damaged; bases lie beside it."""
    tally = Tally("recipes, text damaged")
    for seed in range(cases):
        numbers = random.Random(f"recipe text {seed}")
        source = numbers.choice(RECIPES)
        folder = tmp_path / source.parent.name
        if not folder.exists():
            shutil.copytree(source.parent, folder)
        file = folder / source.name
        whole = file.read_bytes()
        data = spoilt(whole, numbers)
        if numbers.random() < 0.1:
            data = (
                numbers.choice(
                    [
                        f'base = "{source.name}"\n',
                        "base = 3\n",
                        'base = ""\n',
                        'base = "."\n',
                        'base = "/dev/zero"\n',
                    ]
                ).encode()
                + whole
            )
        file.write_bytes(data)

        def read(data: bytes = data, file: Path = file) -> None:
            recipe = load_recipe(file, ["data.index=x.tsv", "data.markup=ibug68", "train.rank_by=nme_box"])
            given = tomllib.loads(data.decode("utf-8-sig"))
            given.setdefault("data", {}).update(index="x.tsv", markup="ibug68")
            given.setdefault("train", {}).update(rank_by="nme_box")
            check_recipe(recipe, given, file)

        tally.take(seed, str(file), read)
        file.write_bytes(whole)
    print(tally)


@few_or_many(25, 2000)
def test_changes_by_set(cases: int, tmp_path: Path) -> None:
    tally, file = Tally("--set"), tmp_path / "r.toml"
    file.write_text(dump_toml(WHOLE), encoding="utf-8")
    keys = [".".join(path) for path in places(WHOLE)]
    for seed in range(cases):
        numbers = random.Random(f"set {seed}")
        key = numbers.choice(
            [
                *keys,
                *keys,
                "",
                ".",
                "a..b",
                "data.repeat.a/b",
                "x.y.z",
                "\x00",
                "\ud800",
                "train",
                "train.epochs.x",
            ]
        )
        given = key + numbers.choice(["=", "=", "=", "=", " = ", "", ":"]) + numbers.choice(WORDS)
        if numbers.random() < 0.4:
            given = f"{key}={whole_toml({'x': numbers.choice(ODD_VALUES)})[6:-1]}"

        def read(given: str = given) -> None:
            recipe = load_recipe(file, [given])
            name, _, value = given.partition("=")
            path = tuple(name.strip().split("."))
            try:
                meant = tomllib.loads(f"value = {value}")
            except ValueError:
                meant = {"value": value.strip()}
            assert set(meant) == {"value"}
            assert is_kept(recipe.to_dict(), path, meant["value"])

        tally.take((seed, given[:80]), str(file), read)
    print(tally)


@few_or_many(20, 2000)
def test_ablations(cases: int, tmp_path: Path) -> None:
    tally = Tally("ablations")
    shutil.copytree(REPOSITORY / "ablations", tmp_path / "ablations")
    shutil.copytree(REPOSITORY / "recipes", tmp_path / "recipes")
    (tmp_path / "random.ckpt").write_bytes(b"none")
    for seed in range(cases):
        numbers = random.Random(f"ablation {seed}")
        file = tmp_path / numbers.choice(ABLATIONS).relative_to(REPOSITORY)
        whole = file.read_bytes()
        if numbers.random() < 0.5:
            values = tomllib.loads(whole.decode())
            path = numbers.choice(
                [*places(values), ("x",), ("variant", "x"), ("claim", "x", "new"), ("jitter",)]
            )
            if all(isinstance(at(values, path[:n]), dict) for n in range(len(path)) if has(values, path[:n])):
                put(values, path, numbers.choice([*ODD_VALUES, "random.ckpt", "small"]))
            data = whole_toml(values).encode()
        else:
            data = spoilt(whole, numbers)
        file.write_bytes(data)

        def read(data: bytes = data, file: Path = file) -> None:
            settings = read_settings(file)
            given = tomllib.loads(data.decode("utf-8-sig"))
            assert settings.title == given["title"]
            assert list(settings.variant) == list(given["variant"])
            plan = load_ablation(file, [], "index.tsv")
            assert [variant.name for variant in plan.variants] == list(given["variant"])
            assert plan.settings == settings

        tally.take(seed, "ablations", read)
        file.write_bytes(whole)
    print(tally)
