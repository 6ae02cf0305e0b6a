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
from collections.abc import Mapping, Sequence
from pathlib import Path

import fanlight.cli
import fanlight.cli.faces
import fanlight.cli.train
from fanlight.run import can_go_on

for name in ("fanlight.train", "torch._dynamo"):  # the second is imported when an optimiser is made
    importlib.import_module(name)


def start(recipe: Path, folder: Path) -> tuple[int, int]:
    """Begin a run or go on with it; gives the process and a pipe that gets a byte when training begins."""
    heard, told = os.pipe()
    process = os.fork()
    if process:
        os.close(told)
        return process, heard
    begin = fanlight.cli.train.TrainingBar.begin

    def tell(self: fanlight.cli.train.TrainingBar, total_steps: int, step: int) -> None:
        os.write(told, b"!")
        begin(self, total_steps, step)

    fanlight.cli.train.TrainingBar.begin = tell  # type: ignore[method-assign]
    words = ["--resume", folder] if can_go_on(folder) else [recipe, "--out", folder]
    sys.argv = ["fanlight", "train", *map(str, words)]
    log = os.open(recipe.with_suffix(".log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        fanlight.cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        os._exit(code)


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
