"""Figures for TensorBoard, in folders that hold other files of that kind, or damaged ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from fanlight.events import Events
from runs import steps_written


def write(folder: Path, step: int, steps: range) -> Path:
    """The file of a run that goes on from a step, and plots others."""
    before = set(folder.iterdir())
    events = Events(folder, step)
    for number in steps:
        events.add(number, {"loss": 1.0})
    (new,) = set(folder.iterdir()) - before
    return new


def test_steps_that_come_again_are_cut_off_the_runs_files_and_no_others(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as another:  # type: ignore[no-untyped-call]
        for step in range(1, 10):
            another.add_scalar("another", 1.0, step)  # type: ignore[no-untyped-call]
    write(tmp_path, 0, range(1, 7))
    write(tmp_path, 4, range(5, 9))
    assert steps_written(tmp_path) == {"another": list(range(1, 10)), "loss": list(range(1, 9))}
    write(tmp_path, 0, range(1, 2))  # begun anew
    assert steps_written(tmp_path) == {"another": list(range(1, 10)), "loss": [1]}


@pytest.mark.parametrize("damage", [(1 << 40).to_bytes(8, "little"), b"\xff" * 12, b"half"])
def test_a_file_is_cut_where_its_damage_begins(tmp_path: Path, damage: bytes) -> None:
    path = write(tmp_path, 0, range(1, 4))
    with path.open("ab") as file:
        file.write(damage)
    write(tmp_path, 3, range(4, 6))
    assert steps_written(tmp_path) == {"loss": [1, 2, 3, 4, 5]}
