"""``fanlight reproduce``: a run made again equals the first, bit for bit, or it is said how it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archives import Run
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.cli import app
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.provenance import file_digest
from fanlight.recipe_file import dump_toml
from fanlight.reproduction import compare, plan
from fanlight.train import train
from painted import make_index
from runs import Diary, assert_same, make_recipe, rows_of

CHANGED: dict[str, Any] = {"train": {"epochs": 1, "seed": 5, "ema": 0.9}, "augment": {"geometry": {}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def last(data: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run of four steps, by the command."""
    folder = tmp_path_factory.mktemp("first")
    recipe = make_recipe(data, **CHANGED, schedule={"name": "cosine"})
    (folder / "recipe.toml").write_text(dump_toml(recipe.to_dict()), encoding="utf-8")
    words = ["train", str(folder / "recipe.toml"), "--out", str(folder / "run")]
    assert not app(args=words, standalone_mode=False)
    return folder / "run" / "checkpoints" / "last.ckpt"


@pytest.fixture
def trained(data: Index, tmp_path: Path, fanlight: Run) -> Callable[..., Path]:
    """Train by the command; gives the checkpoints' folder."""

    def run(name: str = "first", **tables: dict[str, Any]) -> Path:
        recipe = make_recipe(
            data, **{"train": {"epochs": 2, "seed": 5}, "augment": {"geometry": {}}, **tables}
        )
        file = tmp_path / f"{name}.toml"
        file.write_text(dump_toml(recipe.to_dict()), encoding="utf-8")
        assert fanlight("train", file, "--out", tmp_path / name)[0] == 0
        return tmp_path / name / "checkpoints"

    return run


def test_a_run_comes_out_equal_bit_for_bit(last: Path, tmp_path: Path, fanlight: Run) -> None:
    again = tmp_path / "again"
    early = ("reproduce", last.with_name("step00000002.ckpt"), "--out", again)
    code, out, err = fanlight(*early)
    assert code == 0, out + err
    assert load_checkpoint(again / "checkpoints" / "last.ckpt").provenance["step"] == 2
    code, out, err = fanlight("reproduce", last, "--out", again)  # goes on with it
    assert code == 0, out + err
    assert "equal bit for bit: weights and metrics" in out
    assert "going on after step 2 of 4" in err
    assert "warning" not in err
    rows = (rows_of(folder) for folder in (last.parent.parent, again))
    assert_same(*([row | {"minutes": ""} for row in found] for found in rows))
    code, _, err = fanlight(*early)
    assert (code, "has gone on to step 4, past step 2" in err) == (2, True)
    code, _, err = fanlight("reproduce", last, "--out", again, "--set", "train.seed=1")
    assert (code, "holds a run of other settings" in err) == (2, True)


def test_a_run_of_two_sittings_comes_out_equal(data: Index, tmp_path: Path, fanlight: Run) -> None:
    class Cut(Diary):
        def advance(self, step: int, share: float, status: Any) -> None:
            if step == 3:
                raise KeyboardInterrupt

    recipe = make_recipe(data, **CHANGED)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, data, tmp_path / "first", Cut())
    assert fanlight("train", "--resume", tmp_path / "first")[0] == 0
    resumed = tmp_path / "first" / "checkpoints" / "last.ckpt"
    assert len(load_checkpoint(resumed).provenance["earlier"]) == 1
    code, out, _ = fanlight("reproduce", resumed, "--out", tmp_path / "again")
    assert (code, "equal bit for bit" in out) == (0, True)


def test_another_seed_is_told(last: Path, tmp_path: Path, fanlight: Run) -> None:
    code, out, err = fanlight("reproduce", last, "--out", tmp_path / "again", "--set", "train.seed=6")
    assert code == 3
    assert "warning: train.seed is 6, and was 5" in err
    assert "not equal: weights differ by" in out
    assert "nme_box" in out


def test_a_planted_seed_is_found_out(last: Path, tmp_path: Path, fanlight: Run) -> None:
    original = load_checkpoint(last)
    settings = {**original.recipe, "train": {**original.recipe["train"], "seed": 7}}
    save_checkpoint(tmp_path / "planted.ckpt", replace(original, recipe=settings))
    code, out, _ = fanlight("reproduce", tmp_path / "planted.ckpt", "--out", tmp_path / "planted")
    assert (code, "not equal: weights differ by" in out) == (3, True)


def test_other_faces_are_refused(data: Index, last: Path, tmp_path: Path, fanlight: Run) -> None:
    other = Path(shutil.copytree(data.path.parent, tmp_path / "other")) / data.path.name
    other.write_text(other.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    words = ("reproduce", last, "--out", tmp_path / "again", "--data", other)
    code, _, err = fanlight(*words)
    assert code == 2
    assert all(part in err for part in (data.sha256, file_digest(other), "--data", "--anyway"))
    assert not (tmp_path / "again").exists()
    code, out, err = fanlight(*words, "--anyway", "--set", f"data.markup={other.parent / 'five.toml'}")
    assert (code, "equal bit for bit" in out) == (0, True)  # it was an empty line
    assert "warning" not in err


@pytest.mark.slow
def test_a_run_by_the_clock_says_that_it_cannot_be_equal(
    trained: Callable[..., Path], tmp_path: Path, fanlight: Run
) -> None:
    last = (
        trained(schedule={"name": "cosine", "clock": "time"}, train={"max_minutes": 5, "epochs": 1})
        / "last.ckpt"
    )
    code, out, err = fanlight("reproduce", last, "--out", tmp_path / "again")
    assert err.splitlines()[0].startswith(
        "warning: its learning rate followed the clock, so that no run can be equal"
    )
    assert code in (0, 3)
    assert "equal" in out
    assert load_checkpoint(tmp_path / "again" / "checkpoints" / "last.ckpt").provenance["step"] == 4


def test_versions_threads_and_sessions_that_differ_are_told(
    last: Path, tmp_path: Path, fanlight: Run
) -> None:
    original = load_checkpoint(last)
    known = original.provenance
    earlier = {"from_step": 0, "packages": {"torch": "1.0"}, "settings": {"train.epochs": 9.0}}
    changed = {
        "packages": {**known["packages"], "numpy": "1.2.3"},
        "processes": 2,
        "code_sha256": "00",
        "threads": 3,
    }
    path = tmp_path / "changed.ckpt"
    save_checkpoint(
        path, replace(original, provenance={**known, **changed, "from_step": 4, "earlier": [earlier]})
    )
    threads = torch.get_num_threads()
    _, _, err = fanlight("reproduce", path, "--out", tmp_path / "again")
    assert "warning: from step 0 on: torch: 1.0 then, " in err
    assert "warning: from step 0 on: train.epochs was 9.0, before it was changed" in err
    assert "warning: from step 4 on: numpy: 1.2.3 then, " in err
    assert "warning: from step 4 on: processes: 2 then, 1 now" in err
    assert "warning: from step 4 on: SHA-256 of the source code: 00 then, " in err
    assert "threads:" not in err  # it took as many
    assert load_checkpoint(tmp_path / "again" / "checkpoints" / "last.ckpt").provenance["threads"] == 3
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_weights_that_a_run_began_with_are_needed(
    last: Path, trained: Callable[..., Path], tmp_path: Path, fanlight: Run
) -> None:
    start = tmp_path / "start.ckpt"
    shutil.copy(last, start)
    second = trained("second", train={"epochs": 1, "start_from": str(start)}) / "last.ckpt"
    expected = file_digest(start)
    kept = start.rename(tmp_path / "kept.ckpt")
    words = ("reproduce", second, "--out", tmp_path / "again")
    code, _, err = fanlight(*words)
    assert (code, str(start) in err, "--set train.start_from=FILE" in err) == (2, True, True)
    start.write_bytes(b"another")
    code, _, err = fanlight(*words)
    assert (code, expected in err, file_digest(start) in err) == (2, True, True)
    code, out, err = fanlight(*words, "--set", f"train.start_from={kept}")
    assert (code, "equal bit for bit" in out) == (0, True), err


def test_what_cannot_be_made_again_is_named(last: Path, tmp_path: Path, fanlight: Run) -> None:
    original = load_checkpoint(last)
    path = tmp_path / "x.ckpt"
    save_checkpoint(path, replace(original, recipe={}, provenance={"converted_from": "2dfan2.pth"}))
    assert "converted from 2dfan2.pth: fanlight did not train it" in fanlight("reproduce", path)[2]
    old = {name: value for name, value in original.provenance.items() if name != "step"}
    save_checkpoint(path, replace(original, provenance=old))
    code, _, err = fanlight("reproduce", path)
    assert (code, f"fanlight info {path} --recipe" in err) == (2, True)
    assert fanlight("reproduce", tmp_path / "none.ckpt")[0] == 2


@pytest.mark.parametrize(
    "changed",
    [
        {"step": "x"},
        {"step": -4},
        {"step": True},
        {"threads": -3},
        {"threads": 10**9},
        {"epoch": 0.0, "minutes": 0.0},
        {"epoch": None},
        {"minutes": "x"},
        {"faces": [1]},
        {"device": 3},
        {"index_sha256": {}},
        {"start_from": "x"},
        {"start_from": {"file": "x"}},
        {"earlier": 3},
        {"earlier": ["x"]},
        {"settings": "x"},
        {"packages": [1]},
    ],
    ids=str,
)
def test_odd_provenance_is_named(changed: dict[str, Any], last: Path, tmp_path: Path) -> None:
    original, path = load_checkpoint(last), tmp_path / "odd.ckpt"
    odd = replace(original, provenance={**original.provenance, **changed})
    with pytest.raises(InputError, match=r"odd\.ckpt: what it says of its training is damaged"):
        plan(path, odd)


def test_odd_recipes_and_metrics_are_named(last: Path, tmp_path: Path) -> None:
    original, path = load_checkpoint(last), tmp_path / "odd.ckpt"
    for table in ("train", "data"):
        with pytest.raises(InputError, match=r"odd\.ckpt: .*recipe: expected tables"):
            plan(path, replace(original, recipe={**original.recipe, table: 5}), ["data.index=x"])
    with pytest.raises(InputError, match=r"odd\.ckpt: .*metrics: expected numbers"):
        plan(path, replace(original, metrics={"nme_box": "x"}))  # type: ignore[dict-item]


def test_a_markup_that_has_moved_can_be_named(last: Path) -> None:
    original = load_checkpoint(last)
    gone = {**original.recipe["data"], "markup": "gone.toml"}
    moved = replace(original, recipe={**original.recipe, "data": gone})
    name = original.recipe["data"]["markup"]
    assert plan(last, moved, [f"data.markup={name}"]).recipe.data.markup == name


def test_networks_of_other_shapes_are_not_equal(last: Path) -> None:
    original = load_checkpoint(last)
    other = replace(original, options=replace(original.options, stacks=original.options.stacks + 1))
    assert not compare(original, other).equal


@pytest.mark.slow
def test_a_slim_checkpoint_is_compared_as_it_is_stored(
    data: Index, last: Path, tmp_path: Path, fanlight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim = tmp_path / "slim.ckpt"
    assert fanlight("export", last, "--format", "fanlight", "--out", slim)[0] == 0
    monkeypatch.chdir(data.path.parent)  # it holds no folders
    code, out, err = fanlight("reproduce", slim, "--out", tmp_path / "again")
    assert code == 0, out + err
    assert "rounded to half precision as it is stored" in out


def test_a_run_is_not_gone_on_with_or_made_again_with_more_faces_left_out(
    tmp_path: Path, fanlight: Run
) -> None:
    """The index is the same; photos have vanished since."""
    faces = Index.read(make_index(tmp_path / "faces"))
    lost, later = (faces[position].image_path for position in (2, 7))
    lost.unlink()
    (tmp_path / "recipe.toml").write_text(
        dump_toml(make_recipe(faces, **CHANGED).to_dict()), encoding="utf-8"
    )
    run, again = tmp_path / "run", tmp_path / "again"
    assert fanlight("train", tmp_path / "recipe.toml", "--out", run, "--skip-invalid")[0] == 0
    listed = (run / "skipped.tsv").read_bytes()
    later.rename(tmp_path / "away.png")
    code, _, err = fanlight("train", "--resume", run)
    assert (code, f"other faces of {faces.where} are left out than when the run began" in err) == (2, True)
    assert (run / "skipped.tsv").read_bytes() == listed
    last = run / "checkpoints" / "last.ckpt"
    code, _, err = fanlight("reproduce", last, "--out", again)
    assert (code, "others cannot be used, and are left out" in err) == (2, True)
    assert not again.exists()
    (tmp_path / "away.png").rename(later)
    assert fanlight("train", "--resume", run)[0] == 0
    assert fanlight("reproduce", last, "--out", again)[0] == 0
    assert (again / "skipped.tsv").read_bytes() == listed
