"""A program that trains by recipes through ``fanlight train``, kills the process again and again, and goes on.

    python killing.py FOLDER SEED KILLS

For each FOLDER/NAME.toml it makes FOLDER/NAME/whole, which nothing happens to, and FOLDER/NAME/killed0, killed1,
..., whose processes get SIGKILL at random moments, KILLS times together. It prints how many runs and kills there
were, by name. What takes long to import is imported once: each process is a fork of this one.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import fanlight.cli
import fanlight.cli.faces
import fanlight.cli.train
from fanlight.run import can_go_on

for name in ("fanlight.train", "torch._dynamo"):  # the second is imported when an optimiser is made
    importlib.import_module(name)


class _Bar(fanlight.cli.train.TrainingBar):
    """Tells by a pipe when training begins, and does something after a step."""

    told: int
    deeds: Mapping[int, Callable[[], None]]

    def begin(self, total_steps: int, step: int) -> None:
        os.write(self.told, b"!")
        super().begin(total_steps, step)

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        super().advance(step, share, status)
        self.deeds.get(step, lambda: None)()


def start(
    recipe: Path, folder: Path, deeds: Mapping[int, Callable[[], None]] | None = None
) -> tuple[int, int]:
    """Begin a run or go on with it, in a process group of its own.

    Args:
        recipe: of the run.
        folder: the run's; what is printed goes to a .log beside it.
        deeds: what the process does after which steps.

    Returns:
        The process, and a pipe that gets a byte when training begins.
    """
    heard, told = os.pipe()
    process = os.fork()
    if process:
        os.close(told)
        return process, heard
    os.setpgid(0, 0)
    _Bar.told, _Bar.deeds = told, deeds or {}
    fanlight.cli.train.TrainingBar = _Bar  # type: ignore[misc]
    words = ["--resume", folder] if can_go_on(folder) else [recipe, "--out", folder]
    sys.argv = ["fanlight", "train", *map(str, words)]
    folder.parent.mkdir(exist_ok=True)
    log = os.open(folder.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    fanlight.cli.main()
    sys.exit()


def end_of(process: int, folder: Path) -> bool:
    """Wait for a process; True if it had finished its training, False if it was killed."""
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{folder}: exit code {os.WEXITSTATUS(status)}: see the .log beside it")
    return os.WIFEXITED(status)


def train_whole(recipe: Path, folder: Path) -> float:
    """Train without any kill; gives the seconds from the first step to the last."""
    process, heard = start(recipe, folder)
    os.read(heard, 1)
    began = time.monotonic()
    end_of(process, folder)
    os.close(heard)
    return time.monotonic() - began


def train_killed(
    recipe: Path, folders: Path, seconds: float, kills: int, draw: random.Random
) -> Mapping[str, int]:
    """Kill runs at random moments of their training, or of all of the process; all of them reach their end."""
    runs = killed = 0
    folder = folders / "killed0"
    while True:
        process, heard = start(recipe, folder)
        if killed < kills:
            if killed % 4 < 3:
                os.read(heard, 1)
            time.sleep(draw.uniform(0, 2 * seconds / (kills + 1)))
            os.kill(process, signal.SIGKILL)
        os.close(heard)
        if not end_of(process, folder):
            killed += 1
            continue
        runs += 1
        if killed == kills:
            return {"runs": runs, "kills": killed}
        folder = folders / f"killed{runs}"


def main(words: Sequence[str]) -> None:
    folder, seed, kills = Path(words[0]), int(words[1]), int(words[2])
    done = {}
    for number, recipe in enumerate(sorted(folder.glob("*.toml"))):
        folders = folder / recipe.stem
        seconds = train_whole(recipe, folders / "whole")
        done[recipe.stem] = train_killed(recipe, folders, seconds, kills, random.Random(f"{seed} {number}"))
    print(json.dumps(done))


if __name__ == "__main__":
    main(sys.argv[1:])
