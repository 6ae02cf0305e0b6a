"""Recipes: strictness, messages with lines, overrides, and writing them back."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.config import Recipe, load_recipe
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.model import PRESETS
from fanlight.recipe_file import Places, dump_toml

DATA = {"index": "faces.tsv", "train": ["a/train"], "val": ["a/val"]}
START = '[data]\nindex = "faces.tsv"\ntrain = ["a/train"]\nval = ["a/val"]\n'  # lines 1 to 4


def recipe(**tables: dict[str, Any]) -> Recipe:
    return Recipe.from_dict({"data": DATA, **tables})


def faults(**tables: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        recipe(**tables)
    return caught.value.problems


def faults_of(tmp_path: Path, text: str, overrides: list[str] | None = None) -> tuple[str, ...]:
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides or [])
    assert str(caught.value).startswith(f"{path}: cannot be used:")
    return caught.value.problems


# ------------------------------------------------------------------ reading


def test_a_short_recipe_has_the_references_defaults() -> None:
    got = recipe()
    assert (got.optimiser.name, got.optimiser.lr, got.optimiser.momentum) == ("rmsprop", 5e-4, 0.9)
    assert (got.schedule.name, got.schedule.step_epochs, got.schedule.factor) == ("step", 8, 0.7)
    assert (got.train.epochs, got.train.batch_size, got.train.keep_best) == (60, 32, 10)
    assert (got.train.rank_by, got.train.validations_per_epoch) == ("macc_box_0.07", 2)
    assert (got.loss.heatmap, got.loss.distance) == (1.0, 0.01)
    assert got.crop.scale == 1 / 0.55
    assert (got.augment.geometry.rotate, got.augment.geometry.shift) == (50, 0.0625)
    assert got.model == PRESETS["fan2"](68)


def test_values_arrive_with_their_types() -> None:
    got = recipe(
        crop={"scale": 2, "measure": "max"},
        model={"preset": "fan1_narrow", "stacks": 3, "norm": "instance"},
        optimiser={"name": "adamw", "betas": [0.8, 0.99], "weight_decay": 1},
        augment={"photometric": [{"name": "Blur", "p": 0.1, "blur_limit": [3, 5]}]},
        decoder={"gamma": 2},
        train={"max_minutes": 5},
    )
    assert (got.crop.scale, got.crop.measure) == (2, "max")
    assert (got.model.stacks, got.model.features, got.model.norm) == (3, 96, "instance")
    assert got.optimiser.betas == (0.8, 0.99)
    assert got.augment.photometric[0].arguments == {"blur_limit": [3, 5]}
    assert (got.decoder.gamma, got.train.max_minutes) == (2.0, 5.0)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("markup", Markup.names())
def test_presets_get_the_points_of_the_markup(preset: str, markup: str) -> None:
    got = Recipe.from_dict({"data": {**DATA, "markup": markup}, "model": {"preset": preset}})
    assert got.model == PRESETS[preset](Markup.load(markup).count)


def test_points_come_from_a_markup_file_too(tmp_path: Path) -> None:
    file = tmp_path / "three.toml"
    file.write_text(
        'name = "three"\nsource = "a test"\npoints = ["right", "left", "nose"]\n'
        'mirror = [["right", "left"]]\nmiddle = ["nose"]\n'
    )
    assert Recipe.from_dict({"data": {**DATA, "markup": str(file)}}).model.points == 3


def test_windows_line_ends_and_a_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xef\xbb\xbf" + START.replace("\n", "\r\n").encode())
    assert load_recipe(path).data.train == ["a/train"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[data\n", "line 1"), (b"a = 1\na = 2\n", "line 2"), (b"\xff\xfe", "line 1 is not UTF-8")],
)
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot read the recipe"):
        load_recipe(tmp_path / "nowhere.toml")


# ------------------------------------------------------------------ refusing


def test_all_faults_are_listed_with_their_lines(tmp_path: Path) -> None:
    text = START + (
        'markup = "ibug86"\n'                     # line 5
        "[model]\n"
        "stacks = 2.5\n"                          # line 7
        "[augment.geometry]\n"
        "rotate = 200\n"                          # line 9
        "[[augment.photometric]]\n"
        'name = "Blur"\n'
        "[[augment.photometric]]\n"
        'name = "Blur"\n'
        "p = 1.5\n"                               # line 14
        "[optimiser]\n"
        "lr = -1.0\n"                             # line 16
        'moment = 0.5\n'                          # line 17
        "[decoder]\n"                             # line 18
        "radius = 0.0\n"
        "[train]\n"
        "epochs = 0 # too few\n"                  # line 21
        'rank_by = "auc_box"\n'                   # line 22
        "[trian]\n"                               # line 23
    )  # fmt: skip
    found = faults_of(tmp_path, text)
    expected = [
        ("line 5: data.markup:", "faces21, ibug100"),
        ("line 7: model.stacks:", "2.5"),
        ("line 9: augment.geometry.rotate:", "200"),
        ("line 14: augment.photometric[1].p:", "1.5"),
        ("line 16: optimiser.lr:", "-1.0"),
        ("line 17: optimiser.moment: unknown setting", "momentum"),
        ("line 18: decoder: radius = 0.0", "(0, 2]"),
        ("line 21: train.epochs:", "given was 0"),
        ("line 22: train.rank_by:", "auc_box_0.07"),
        ("line 23: trian: unknown setting", "train"),
    ]
    assert len(found) == len(expected)
    for beginning, detail in expected:
        assert any(p.startswith(beginning) and detail in p for p in found), (beginning, found)


def test_faults_of_an_override_say_so(tmp_path: Path) -> None:
    found = faults_of(tmp_path, START + "[train]\nepochs = 3\n", ["train.epochs=many", "optimiser.lr=0"])
    assert [problem[: problem.index(": ", 8)] for problem in found] == [
        "--set: optimiser.lr",
        "--set: train.epochs",
    ]


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("model", "stacks", "2"), ("model", "stacks", 2.0), ("model", "stacks", True), ("model", "norm", "group"),
        ("decoder", "gamma", "1"), ("crop", "scale", True), ("loss", "subpixel", 1), ("loss", "subpixel", "true"),
        ("train", "epochs", "all"), ("train", "flip", "yes"), ("train", "device", "gpu"), ("train", "ema", 1.0),
        ("optimiser", "lr", "1e-4"), ("optimiser", "lr", float("inf")), ("optimiser", "lr", float("nan")),
        ("optimiser", "name", "adam"), ("optimiser", "betas", [0.9]), ("schedule", "factor", 1.01),
        ("data", "train", []), ("data", "train", "a/train"), ("data", "index", 3),
        ("augment", "geometry", {"scale": 1.0}), ("augment", "photometric", {"name": "Blur"}),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused(table: str, key: str, value: object) -> None:
    given = {**DATA, key: value} if table == "data" else {key: value}
    with pytest.raises(InputError) as caught:
        Recipe.from_dict({"data": DATA, table: given})
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"{table}.{key}")


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"data": {**DATA, "val": ["a/train"]}}, ["a/train", "both train and val"]),
        ({"schedule": {"clock": "time"}}, ["schedule.clock", "train.max_minutes"]),
        ({"train": {"batch_size": 10, "accumulate": 4}}, ["batch_size = 10", "accumulate = 4"]),
        ({"model": {"input_size": 100}}, ["input_size = 100", "64 or 128"]),
        ({"model": {"points": 98}}, ["model.points: 98", "68"]),
        ({"model": {"preset": "fan3"}}, ["'fan3'", "fan1_narrow"]),
        ({"model": {"preset": ["fan1"]}}, ["['fan1']", "fan1_narrow"]),
        ({"decoder": {"radius": 0.01}}, ["decoder.radius: 0.01", "64 px", "0.015625"]),
        ({"decoder": {"kind": "argmax"}}, ["loss.distance: 0.01", "'argmax'", "no gradient"]),
        ({"decoder": {"kind": "peak"}}, ["decoder.kind", "'peak'", "'quarter'"]),
        ({"loss": {"heatmap": 0, "distance": 0}}, ["loss", "both zero"]),
    ],
)  # fmt: skip
def test_impossible_combinations_are_refused(tables: dict[str, Any], words: list[str]) -> None:
    (problem,) = faults(**tables)
    for word in words:
        assert word in problem


def test_a_ranking_metric_must_suit_the_markup(tmp_path: Path) -> None:
    file = tmp_path / "three.toml"
    file.write_text(
        'name = "three"\nsource = "a test"\npoints = ["right", "left", "nose"]\n'
        'mirror = [["right", "left"]]\nmiddle = ["nose"]\n'
    )
    (problem,) = faults(data={**DATA, "markup": str(file)}, train={"rank_by": "nme_interocular"})
    assert "'nme_interocular'" in problem
    assert "box" in problem


def test_the_ranking_metric_is_written_in_its_usual_form() -> None:
    assert recipe(train={"rank_by": "auc_box_0.0700"}).train.rank_by == "auc_box_0.07"


def test_a_fault_does_not_hide_others() -> None:
    """An unknown preset, an unknown key and a value out of range, in one go and once each."""
    found = faults(
        model={"preset": "fan9"}, train={"epohs": 3, "accumulate": 5}, decoder={"gama": 1, "radius": 9}
    )
    starts = [problem.partition(" ")[0] for problem in found]
    assert sorted(starts) == ["decoder.gama:", "decoder:", "model.preset:", "train.epohs:", "train:"]
    assert any("radius = 9" in problem for problem in found)


@pytest.mark.parametrize("values", [{}, {"data": 3}, {"data": DATA, "model": 3}, {"data": DATA, "train": []}])
def test_whole_tables_that_are_wrong(values: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        Recipe.from_dict(values)


def test_lines_are_found_in_unusual_layouts() -> None:
    text = '[ data ] # here = there\nindex = "a"\ntrain = [\n  "x/y",\n]\n[augment]\nphotometric = [\n'
    text += '  { name = "Blur",\n    blur_limit = [3, 5] },\n  ["odd"],\n]\n  [train]\n  epochs = 1\n'
    places = Places(text)
    assert places.find("data.train[0]") == "line 3: "
    assert places.find("augment.photometric[0].p") == "line 7: "
    assert places.find("train.epochs") == "line 13: "
    assert places.find("train.seed") == "line 12: "
    assert places.find("nowhere.at.all") == ""


# ------------------------------------------------------------------ overriding


@pytest.mark.parametrize(
    ("override", "get", "value"),
    [
        ("train.epochs=3", lambda r: r.train.epochs, 3),
        ("train.flip = true", lambda r: r.train.flip, True),
        ("optimiser.lr=1e-4", lambda r: r.optimiser.lr, 1e-4),
        ("optimiser.name=sgd", lambda r: r.optimiser.name, "sgd"),
        ('data.index="with = sign.tsv"', lambda r: Path(r.data.index).name, "with = sign.tsv"),
        ("data.index=/a b/c=d.tsv", lambda r: r.data.index, "/a b/c=d.tsv"),
        ('data.train=["a/x", "b/y"]', lambda r: r.data.train, ["a/x", "b/y"]),
        ("model.preset=fan1", lambda r: r.model.stacks, 1),
        ("augment.geometry.rotate=10", lambda r: r.augment.geometry.rotate, 10),
        ("augment.photometric=[]", lambda r: r.augment.photometric, []),
    ],
)
def test_overrides(tmp_path: Path, override: str, get: Any, value: object) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(START + "[train]\nepochs = 7\n")
    assert get(load_recipe(path, [override])) == value


@pytest.mark.parametrize("override", ["train.epochs", "=3", "train.=3", ".epochs=3", "data.index.x=3"])
def test_overrides_of_another_form_are_refused(tmp_path: Path, override: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(START)
    with pytest.raises(InputError, match=f"--set {override}"):
        load_recipe(path, [override])


# ------------------------------------------------------------------ writing


def test_a_written_recipe_reads_back_the_same() -> None:
    original = recipe(
        model={"preset": "fan4", "input_size": 128, "depth": 3},
        optimiser={"name": "adamw", "lr": 1e-5, "betas": [0.8, 0.99]},
        augment={
            "geometry": {"mirror": 0},
            "photometric": [
                {"name": "Blur", "p": 1, "blur_limit": [3, 7]},
                {"name": "ColorJitter", "p": 0.25, "hue": [0, 0]},
            ],
        },
        schedule={"clock": "time", "name": "cosine", "warmup": 0.05},
        train={"max_minutes": 1.5},
    )  # fmt: skip
    text = dump_toml(original.to_dict())
    assert Recipe.from_dict(tomllib.loads(text)) == original
    assert dump_toml(Recipe.from_dict(tomllib.loads(text)).to_dict()) == text


def test_odd_values_of_a_transform_are_written_as_they_are() -> None:
    step = {"name": "Made", "deep": {"a b": [1.5, True]}, "text": 'say "hi"', "tiny": 1e-300, "none": []}
    values = {"augment": {"photometric": [step]}}
    assert tomllib.loads(dump_toml(values)) == values


def test_no_photometric_steps_stay_none() -> None:
    original = recipe(augment={"photometric": []})
    assert Recipe.from_dict(tomllib.loads(dump_toml(original.to_dict()))).augment.photometric == []


def test_a_recipe_holds_plain_values_only() -> None:
    def check(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                assert type(key) is str
                check(inner)
        elif isinstance(value, list):
            for inner in value:
                check(inner)
        else:
            assert type(value) in (str, int, float, bool)

    check(recipe().to_dict())


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_written_as_toml(text: str) -> None:
    assert tomllib.loads(dump_toml({"data": {"index": text}})) == {"data": {"index": text}}


@pytest.mark.parametrize(
    "text",
    [
        'q"uote',
        "back\\slash",
        "\\u0041",
        "tab\tline\n\r",
        "é",
        "\U0001f600",
        "\x7f",
        "\x00",
        "\x85\u2028",
        "",
    ],
)
def test_awkward_texts_survive_a_resolved_recipe(text: str) -> None:
    original = Recipe.from_dict({"data": {**DATA, "index": text}})
    written = dump_toml(original.to_dict()).encode()  # as the run's folder keeps it
    assert Recipe.from_dict(tomllib.loads(written.decode())) == original


def test_text_that_is_not_unicode_is_refused() -> None:
    """As a path with bytes that are not UTF-8 arrives from the command line."""
    (problem,) = faults(data={**DATA, "index": "odd\udcff.tsv"})
    assert "UTF-8" in problem


@pytest.mark.parametrize("number", [1e-5, 1e22, 5e-324, 0.1, -0.0, 3.0, float("inf"), 1 / 0.55])
def test_numbers_are_written_exactly(number: float) -> None:
    read = tomllib.loads(dump_toml({"table": {"number": number}}))["table"]["number"]
    assert type(read) is float
    assert repr(read) == repr(number)


def test_photometric_arguments_are_checked_with_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[data]\nindex = "x.tsv"\ntrain = ["a/b"]\nval = ["a/c"]\n'
        '[[augment.photometric]]\nname = "Blur"\nblur_limt = 3\n'
        '[[augment.photometric]]\nname = "ColourJitter"\n'
    )
    with pytest.raises(InputError) as caught:
        load_recipe(recipe)
    first, second = caught.value.problems
    assert first.startswith("line 7: augment.photometric[0].blur_limt: ")
    assert "'blur_limit'" in first or "blur_limit" in first
    assert second.startswith("line 9: augment.photometric[1].name: ")
    assert "ColorJitter" in second


def test_every_kind_of_fault_is_listed_at_once(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[data]\nindex = 2026-01-01\ntrain = ["a/b"]\nval = ["a/c"]\n'
        '[schedule]\nclock = "time"\n[train]\nepochs = 0\n'
        '[[augment.photometric]]\nname = "Blur"\nblur_limt = 3\n'
    )
    with pytest.raises(InputError) as caught:
        load_recipe(recipe)
    told = "\n".join(caught.value.problems)
    assert "line 2: data.index: is a date" in told
    assert "line 8: train.epochs: " in told
    assert "line 11: augment.photometric[0].blur_limt: " in told
    assert 'line 6: schedule.clock: "time" needs train.max_minutes' in told
    with pytest.raises(InputError) as caught:
        load_recipe(recipe, ["nonsense", "train=1=2", "data.index.x=1"])
    assert len(caught.value.problems) == 2


def test_paths_hold_in_any_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\nindex = "faces/index.tsv"\ntrain = ["a/b"]\nval = ["a/c"]\n')
    monkeypatch.chdir(tmp_path)
    assert load_recipe(recipe).data.index == str(tmp_path / "faces/index.tsv")
    assert load_recipe(recipe).data.markup == "ibug68"


def test_a_fault_inside_a_list_that_set_gave_is_not_the_files() -> None:
    places = Places("[schedule]\ncrop_sizes = [[0.0, 64]]\n").with_overridden(["schedule.crop_sizes"])
    assert places.find("schedule.crop_sizes[1][0]") == "--set: "
    assert places.find("schedule.name") == "line 1: "


def test_a_table_that_set_changed_may_be_at_fault_by_either() -> None:
    places = Places("[loss]\nheatmap = 0\n").with_overridden(["loss.distance", "model.depth"])
    assert places.find("loss") == "--set or line 1: "
    assert places.find("model") == "--set: "
    assert places.find("loss.heatmap") == "line 2: "


def test_a_recipe_that_is_a_link_to_itself_is_told(tmp_path: Path) -> None:
    (tmp_path / "r.toml").symlink_to("r.toml")
    with pytest.raises(InputError, match=r"r\.toml: cannot read the recipe"):
        load_recipe(tmp_path / "r.toml")
