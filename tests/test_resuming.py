"""Runs know their own checkpoints, and one process at a time trains in a folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.config import Recipe
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.locking import held
from fanlight.run import open_recipe
from fanlight.train import train
from fanlight.training_state import TrainingState
from painted import make_index
from runs import Diary, assert_equal_runs, held_by_another, make_recipe, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def recipe(data: Index) -> Recipe:
    return make_recipe(data, train={"epochs": 1})


@pytest.fixture(scope="module")
def whole(data: Index, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(recipe, data, folder)
    return folder


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"optimiser": {"lr": 1e-4}}, "belongs to another run"),
        ({"train": {"epochs": 1, "seed": 1}}, "belongs to another run"),
    ],
    ids=["other rate", "other seed"],
)
def test_a_checkpoint_of_another_run_is_not_taken(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, setting: dict[str, dict[str, float]], told: str
) -> None:
    """Copied over the last one, it is recognised, and the one before is used; so it is where no run has a name."""
    other, folder = tmp_path / "other", tmp_path / "run"
    run(make_recipe(data, **{"train": {"epochs": 1}, **setting}), data, other)
    shutil.copytree(whole, folder)
    last = folder / "checkpoints" / "last.ckpt"
    shutil.copy(other / "checkpoints" / "last.ckpt", last)
    diary = Diary()
    assert train(recipe, data, folder, diary, resume=True)
    (warning,) = diary.warnings
    assert f"{last}: cannot go on with it: it {told}" in warning
    assert "going on from step 2, by " in warning
    assert_equal_runs(folder, whole)

    for name in ("last.ckpt", "previous.ckpt"):
        shutil.copy(other / "checkpoints" / "last.ckpt", folder / "checkpoints" / name)
    with pytest.raises(InputError, match=r"(?s)no checkpoint to go on from.*last\.ckpt.*previous\.ckpt"):
        run(recipe, data, folder, resume=True)


def test_runs_of_older_versions_go_on(data: Index, whole: Path, tmp_path: Path) -> None:
    """Their checkpoints name no run, and get a name; what they differ in is still looked at."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "run.id").unlink()
    for name in ("last.ckpt", "previous.ckpt"):
        path = folder / "checkpoints" / name
        checkpoint = load_checkpoint(path)
        checkpoint.training.pop("run")  # type: ignore[attr-defined]
        save_checkpoint(path, checkpoint)
    last = folder / "checkpoints" / "last.ckpt"
    longer = make_recipe(data, train={"epochs": 2})
    run(longer, data, folder, resume=True)
    assert load_checkpoint(last).training["run"] == (folder / "run.id").read_text().strip()
    with pytest.raises(
        InputError, match=r"last\.ckpt: cannot go on with it: train\.seed is now 1, and was 0"
    ):
        run(make_recipe(data, train={"epochs": 2, "seed": 1}), data, folder, resume=True)


def test_a_run_is_not_written_over(data: Index, recipe: Recipe, whole: Path) -> None:
    before = (whole / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match=f"{whole} holds a run already: go on with it by --resume {whole}"):
        train(recipe, data, whole)
    assert (whole / "checkpoints" / "last.ckpt").read_bytes() == before


def test_one_process_at_a_time_works_in_a_folder(data: Index, recipe: Recipe, tmp_path: Path) -> None:
    """Another one is told who does; once that is killed, it can have the folder."""
    with held_by_another(tmp_path) as process:
        with pytest.raises(
            InputError, match=f"{tmp_path}: process {process} on .* is at work there: wait for"
        ):
            train(recipe, data, tmp_path)
        assert os.listdir(tmp_path) == [".lock"]
    run(recipe, data, tmp_path)
    assert open_recipe(tmp_path) == recipe


def test_a_disk_without_locks_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*words: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with held(tmp_path / "new"):
        assert "process" in (tmp_path / "new" / ".lock").read_text()


def test_a_process_works_in_a_folder_once(tmp_path: Path) -> None:
    """Its own second try is refused, under any path, and does not let other processes in."""
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with held(tmp_path / "run"):
        with (
            pytest.raises(InputError, match="link: this process is at work there already"),
            held(tmp_path / "link"),
        ):
            pass
        with pytest.raises(AssertionError), held_by_another(tmp_path / "run"):
            pass
    with held(tmp_path / "link"):
        pass


def test_a_run_that_ended_just_before_is_not_written_over(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another process made after the first look, and before the folder was this process's own."""

    def late(*words: Any) -> TrainingState:
        shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
        return TrainingState(*words)

    monkeypatch.setattr("fanlight.train.TrainingState", late)
    with pytest.raises(InputError, match="holds a run already"):
        train(recipe, data, tmp_path)
    assert_equal_runs(tmp_path, whole, previous=True)


def test_a_run_keeps_the_metric_that_ranks_its_checkpoints(data: Index, whole: Path) -> None:
    """The values that are stored of it would be compared with those of another."""
    other = make_recipe(data, train={"epochs": 2, "rank_by": "auc_box_0.07"})
    with pytest.raises(InputError, match=r"train\.rank_by is now auc_box_0\.07, and was macc_box"):
        run(other, data, whole, resume=True)
