"""Files that are there whole or not at all, whenever the program or the machine stops."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from fanlight.errors import InputError

SIDE = ".part"  # what a file is called until it is whole: a dot, its name, something random, this


@contextlib.contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Give a file that takes the place of ``path`` when the block ends without an error.

    What was written is on the disk before it gets its name, and the name before the block is left: a reader finds
    the old file or the new one, after a power cut, too. Folders on the way are made.

    Raises:
        InputError: the file cannot be written; also for an OSError in the block, and for a RuntimeError, by which
            PyTorch tells a full disk.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, side = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=SIDE)
    except OSError as error:
        raise InputError(f"{path}: cannot write: {error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(side, 0o644)
        move_whole(Path(side), path)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot write: {error}; what was there before is untouched") from None
    finally:  # also when interrupted
        Path(side).unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a text as UTF-8; see above."""
    with writing_whole(path) as file:
        file.write(text.encode())


def move_whole(source: Path, target: Path) -> None:
    """Rename a file within a file system, for good when this returns."""
    os.replace(source, target)
    with contextlib.suppress(OSError):  # some network disks do not know it for folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def link_whole(source: Path, target: Path) -> None:
    """Give a file a second name in its folder, or copy it where the disk knows no hard links.

    Either file may be replaced later without changing the other, but not written to.

    Raises:
        InputError: it cannot be written.
    """
    side = target.with_name(f".{target.name}{SIDE}")
    try:
        side.unlink(missing_ok=True)
        os.link(source, side)
        move_whole(side, target)
    except OSError:
        with writing_whole(target) as copy, source.open("rb") as file:
            shutil.copyfileobj(file, copy)
    finally:  # renaming onto another name of the same file does nothing
        side.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    for side in folder.glob(f".*{SIDE}"):
        side.unlink(missing_ok=True)
