"""Trainings on a disk that fills up, or whose photos vanish: a clear error, and the last checkpoint stays good."""

from __future__ import annotations

import random
import resource
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fanlight.checkpoint import load_checkpoint
from fanlight.cli import main
from fanlight.config import Recipe
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.recipe_file import dump_toml
from fanlight.train import train
from painted import make_index
from runs import Diary, assert_equal_runs, curves, make_recipe, run


class CutAt(Diary):
    """Ends a training right after a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        if step == self.step:
            raise RuntimeError("power cut")


class Unplug(Diary):
    """Takes a photo away at the first validation."""

    def __init__(self, photo: Path) -> None:
        super().__init__()
        self.photo = photo

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        if not self.rows:
            self.photo.rename(self.photo.with_suffix(".away"))
        super().validated(row, best)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def recipe(data: Index) -> Recipe:
    return make_recipe(data, train={"epochs": 1, "keep_best": 2})


@pytest.fixture(scope="module")
def whole(data: Index, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(recipe, data, folder)
    return folder


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Within the block, writing behind this byte of any file fails, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_at_any_byte_leaves_the_last_checkpoint(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    """12 times between two validations: the recipe, the events, the rows, or a checkpoint cannot be written."""
    half = tmp_path / "half"
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, data, half, CutAt(3))
    size = (whole / "checkpoints" / "last.ckpt").stat().st_size
    draw = random.Random(0)
    told = set()
    for limit in [300, 1000, *(draw.randrange(2000, size) for _ in range(10))]:
        folder = tmp_path / str(limit)
        shutil.copytree(half, folder)
        with files_of_at_most(limit), pytest.raises(InputError) as caught:
            run(recipe, data, folder, resume=True)
        message = str(caught.value)
        assert (
            "cannot write" in message or "cannot be written" in message
        )  # and "File too large", or PyTorch's word for it
        assert str(folder) in message
        told |= {name for name in ("recipe.toml", "step00000004.ckpt", "next.ckpt") if name in message}
        assert load_checkpoint(folder / "checkpoints" / "last.ckpt").training["step"] == 2
        if "recipe.toml" not in message:
            assert "make room there, or move the folder elsewhere, and go on from" in message
            assert f"fanlight train --resume {folder}" in message
    assert told == {"recipe.toml", "step00000004.ckpt", "next.ckpt"}
    run(recipe, data, folder, resume=True)
    assert_equal_runs(folder, whole)
    assert curves(folder) == curves(whole)


def test_a_full_disk_ends_with_code_2(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """A real one, of so many bytes that the second validation's checkpoint does not fit."""
    disk, plan = tmp_path / "disk", tmp_path / "recipe.toml"
    disk.mkdir()
    plan.write_text(dump_toml(recipe.to_dict()))
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size * 2 // 3}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        monkeypatch.setattr("sys.argv", ["fanlight", "train", str(plan), "--out", str(disk / "run")])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        message = "".join(capfd.readouterr().err.split())
        assert "Nospaceleftondevice" in message
        assert f"fanlighttrain--resume{disk}/run" in message
        assert load_checkpoint(disk / "run" / "checkpoints" / "last.ckpt").training["step"] == 2
        shutil.copytree(disk / "run", tmp_path / "moved")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    run(recipe, data, tmp_path / "moved", resume=True)
    assert_equal_runs(tmp_path / "moved", whole)


def test_a_folder_that_cannot_be_written_to_is_refused(data: Index, recipe: Recipe, tmp_path: Path) -> None:
    """Below a file, where nobody can make one, and on a disk that became read-only between two sessions."""
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "run", Path("/proc/self/run")):
        with pytest.raises(InputError, match=f"{folder}: cannot write there: .*; give a folder that can be"):
            run(recipe, data, folder)
    half, disk = tmp_path / "half", tmp_path / "disk"
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, data, half, CutAt(3))
    disk.mkdir()
    if subprocess.run(["mount", "--bind", str(half), str(disk)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        before = (half / "checkpoints" / "last.ckpt").read_bytes()
        with pytest.raises(InputError, match="Read-only file system"):
            run(recipe, data, disk, resume=True)
        assert (half / "checkpoints" / "last.ckpt").read_bytes() == before
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_photos_that_vanish_are_named_with_the_way_on(tmp_path: Path, workers: int) -> None:
    """Unplugged after the first validation; when they are back, the run goes on to the same end."""
    data = Index.read(make_index(tmp_path / "faces"))
    settings = {"epochs": 4, "validations_per_epoch": 1, "workers": workers}
    recipe = make_recipe(data, train=settings)
    run(recipe, data, tmp_path / "whole")
    photo = data[data.members("dots/train")[0]].image_path
    with pytest.raises(InputError) as caught:
        train(recipe, data, tmp_path / "run", Unplug(photo))
    message = str(caught.value)
    assert str(photo) in message
    assert (
        "which is saved; when that is mended, go on from the last checkpoint by fanlight train --resume"
        in message
    )
    photo.with_suffix(".away").rename(photo)
    run(recipe, data, tmp_path / "run", resume=True)
    assert_equal_runs(tmp_path / "run", tmp_path / "whole")
