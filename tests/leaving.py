"""A program that trains through ``fanlight train``; something happens after a step, and it goes on.

    python leaving.py RECIPE FOLDER DEED...

Makes FOLDER/whole, to which nothing happens, and FOLDER/DEED for each deed, with what was printed beside it.
Prints for each deed the exit code of the process that it happened to, whether one of its group was left, and the
exit code of the one that went on.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from fanlight.run import open_recipe
from killing import start

STEP = 5  # of the deed; a checkpoint was saved after step 4


def press_ctrl_c() -> None:
    """As a terminal does: every process of the group gets a signal."""
    os.killpg(0, signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def kill_a_loader() -> None:
    multiprocessing.active_children()[0].kill()


def take_the_photos_away(recipe: Path) -> None:
    """A folder of photos is emptied, and the shards of a pack, which stay open, are cut."""
    place = Path(open_recipe(recipe.parent).data.index)
    for path in (place if place.is_dir() else place.parent).iterdir():
        if path.suffix == ".png":
            path.rename(path.with_suffix(".away"))
        elif path.suffix == ".tar":
            shutil.copy(path, path.with_suffix(".away"))
            os.truncate(path, 0)


def bring_the_photos_back(recipe: Path) -> None:
    place = Path(open_recipe(recipe.parent).data.index)
    is_pack = place.is_dir()
    for path in list((place if is_pack else place.parent).glob("*.away")):
        path.rename(path.with_suffix(".tar" if is_pack else ".png"))


@contextlib.contextmanager
def without_photos(recipe: Path) -> Iterator[Callable[[], None]]:
    yield lambda: take_the_photos_away(recipe)
    bring_the_photos_back(recipe)


DEEDS: Mapping[str, Callable[[Path], AbstractContextManager[Callable[[], None]]]] = {
    "ctrl_c": lambda recipe: contextlib.nullcontext(press_ctrl_c),
    "sigterm": lambda recipe: contextlib.nullcontext(terminate),
    "loader": lambda recipe: contextlib.nullcontext(kill_a_loader),
    "photos": without_photos,
}


def code_of(process: int) -> int:
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def is_left(group: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False


def main(recipe: Path, folder: Path, *deeds: str) -> None:
    done = {"whole": [code_of(start(recipe, folder / "whole")[0])]}
    for name in deeds:
        with DEEDS[name](recipe) as deed:
            process, _ = start(recipe, folder / name, {STEP: deed})
            code = code_of(process)
        done[name] = [code, is_left(process), code_of(start(recipe, folder / name)[0])]
    print(json.dumps(done))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
