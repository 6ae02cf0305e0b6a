"""Runs that are stopped, or whose newest checkpoint is lost, go on as if nothing had happened."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.dataset import Batch, FaceDataset
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.stopping import Stopped, StopSignals
from fanlight.train import train
from painted import make_index
from runs import Diary, assert_equal_runs, curves, make_recipe, rows_of, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """16 faces to learn from, 7 to validate on."""
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def recipe(data: Index) -> Recipe:
    """12 steps, a validation at every third one but the last."""
    settings = {"epochs": 2.75, "ema": 0.9, "validations_per_epoch": 4 / 3, "keep_best": 2}
    return make_recipe(data, augment={"geometry": {"mirror": 0.5, "probability": 1}}, train=settings)


@pytest.fixture(scope="module")
def whole(data: Index, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(recipe, data, folder)
    assert [row["step"] for row in rows_of(folder)] == ["3", "6", "9", "11"]
    return folder


class Stopper(Diary):
    """Sends this process a signal at some step, and a second time at another one."""

    def __init__(self, *steps: int, number: int = signal.SIGTERM) -> None:
        super().__init__()
        self.steps, self.number = steps, number

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        super().advance(step, share, status)
        if step in self.steps:
            signal.raise_signal(self.number)


@pytest.fixture
def hangup() -> Iterator[None]:
    """SIGHUP as usual, also where the tests run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stopped_run_loses_no_step(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, number: int
) -> None:
    """Stopped between two validations, right before one, and in the last step; its means go on, too."""
    for step in (1, 3, 5, 11):
        with pytest.raises(Stopped, match=rf"stopped after step {step}, which is saved"):
            train(recipe, data, tmp_path, Stopper(step, number=number), resume=step > 1)
        state = load_checkpoint(tmp_path / "checkpoints" / "last.ckpt").training
        assert (state["step"], state["due"]) == (step, step in (3, 11))
        assert state["means"]["count"] == {1: 1, 3: 3, 5: 2, 11: 2}[step]
    run(recipe, data, tmp_path, resume=True)
    assert_equal_runs(tmp_path, whole)
    assert curves(tmp_path) == curves(whole)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("hangup")
def test_under_nohup_a_closed_terminal_changes_nothing() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)
    assert not signals.asked
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_stop_during_validation_puts_it_off(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FaceDataset.__getitems__

    def stop(self: FaceDataset, keys: Any) -> Batch:
        if self.augmentation is None:
            signal.raise_signal(signal.SIGTERM)
        return read(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(FaceDataset, "__getitems__", stop)
        with pytest.raises(Stopped, match="after step 3,"):
            run(recipe, data, tmp_path)
    assert not (tmp_path / "metrics.csv").exists()
    run(recipe, data, tmp_path, resume=True)
    assert_equal_runs(tmp_path, whole)
    assert curves(tmp_path) == curves(whole)


def test_a_batch_that_does_not_come_is_not_waited_for(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from a server that has fallen silent: before the first step, and before the third."""
    read, calls = FaceDataset.__getitems__, 0

    def stop(self: FaceDataset, keys: Any) -> Batch:
        nonlocal calls
        calls += 1
        if calls in (1, 4):
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("still there")
        return read(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(FaceDataset, "__getitems__", stop)
        with pytest.raises(Stopped, match="stopped before the first step"):
            run(recipe, data, tmp_path / "empty")
        with pytest.raises(Stopped, match="stopped after step 2, which is saved"):
            run(recipe, data, tmp_path / "begun")
    run(recipe, data, tmp_path / "begun", resume=True)
    assert_equal_runs(tmp_path / "begun", whole)
    assert curves(tmp_path / "begun") == curves(whole)


def test_a_second_ctrl_c_leaves_at_once(data: Index, recipe: Recipe, tmp_path: Path) -> None:
    class Impatient(Diary):
        def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("still there")

    with pytest.raises(KeyboardInterrupt) as caught:
        train(recipe, data, tmp_path, Impatient())
    assert not isinstance(caught.value, Stopped)


# ------------------------------------------------------------------ a checkpoint that is lost


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    weights = load_checkpoint(path).weights["bn1.running_mean"].numpy().tobytes()
    content[content.index(weights) + 2] ^= 1
    path.write_bytes(content)


def put_something_else(path: Path) -> None:
    torch.save({"weights": {}}, path)


DAMAGE = {
    "truncated": (truncate, "not a checkpoint that can be loaded"),
    "bit flipped": (flip_a_bit, "damaged"),
    "foreign": (put_something_else, "not a checkpoint of fanlight"),
    "empty": (lambda path: path.write_bytes(b""), "not a checkpoint"),
    "gone": (Path.unlink, "no such checkpoint"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_the_checkpoint_before_is_used_where_the_last_is_damaged(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path, kind: str
) -> None:
    """Twice, since the run ends again before it has saved anything: the good one must not be pushed out."""
    damage, told = DAMAGE[kind]
    with pytest.raises(Stopped):
        train(recipe, data, tmp_path, Stopper(10))
    with pytest.raises(Stopped):  # the newest two are now those of steps 10 and 11
        train(recipe, data, tmp_path, Stopper(11), resume=True)
    last = tmp_path / "checkpoints" / "last.ckpt"
    damage(last)
    for _ in range(2):
        diary = Diary()
        with pytest.raises(RuntimeError, match="power cut"):
            train(recipe, data, tmp_path, PowerCut(diary), resume=True)
        (warning,) = diary.warnings
        for word in (str(last), told, "going on from step 10", str(last.with_name("previous.ckpt"))):
            assert word in warning
    run(recipe, data, tmp_path, resume=True)
    assert_equal_runs(tmp_path, whole)
    assert curves(tmp_path) == curves(whole)


class PowerCut(Diary):
    """Ends a training as soon as it begins."""

    def __init__(self, diary: Diary) -> None:
        super().__init__()
        self.warnings = diary.warnings

    def begin(self, total_steps: int, step: int) -> None:
        raise RuntimeError("power cut")


def test_without_a_sound_checkpoint_both_faults_are_told(data: Index, recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, data, tmp_path)
    for name in ("last.ckpt", "previous.ckpt"):
        truncate(tmp_path / "checkpoints" / name)
    with pytest.raises(InputError, match=r"(?s)no checkpoint to go on from.*last\.ckpt.*previous\.ckpt"):
        run(recipe, data, tmp_path, resume=True)


def test_what_a_kill_leaves_half_done_is_put_in_order(
    data: Index, recipe: Recipe, whole: Path, tmp_path: Path
) -> None:
    """Side files, a checkpoint that no state names, one that is named and gone, and the best of a later step."""
    with pytest.raises(Stopped):
        train(recipe, data, tmp_path, Stopper(7))
    kept = tmp_path / "checkpoints"
    for name in (".fanlight-0f12.part", ".next.ckpt", "step00000009.ckpt", ".another.part"):
        (kept / name).write_bytes(b"half")
    (tmp_path / ".fanlight-0f13.part").touch()
    (kept / "best.ckpt").unlink()
    (kept / "best.ckpt").write_bytes(b"of step 9")
    with pytest.raises(RuntimeError, match="power cut"):
        train(recipe, data, tmp_path, PowerCut(Diary()), resume=True)
    names = ["best.ckpt", "last.ckpt", "previous.ckpt", "step00000003.ckpt", "step00000006.ckpt"]
    assert sorted(os.listdir(kept)) == [".another.part", *names]  # which is not of the run
    assert [path.name for path in tmp_path.glob(".*")] == [".lock"]
    (kept / "step00000003.ckpt").unlink()
    run(recipe, data, tmp_path, resume=True)
    for row in load_checkpoint(kept / "last.ckpt").training["ranked"]:
        assert (kept / row[0]).exists()
