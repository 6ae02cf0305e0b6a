"""Files that are there whole or not at all, whenever the program or the machine stops."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO

from fanlight.errors import InputError

_SIDE = ".fanlight-{}.part"  # the name of what is not whole yet


@contextlib.contextmanager
def side_file(path: str | PathLike[str], lasting: bool = True) -> Iterator[Path]:
    """Give an empty file beside ``path`` that takes its place when the block ends without an error.

    A reader finds the old file or the new one, never a part. Folders on the way are made.

    Args:
        path: the file to make; an existing one is replaced.
        lasting: whether a power cut must not harm it: its content is on the disk before it gets its name, and the
            name before the block is left. That takes milliseconds, too many for results of a thousand photos.

    Raises:
        InputError: the file cannot be written; so is an OSError in the block told, unless it names another file.
    """
    path = Path(path)
    side = _side_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        side.touch(exist_ok=False)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield side
        if lasting:
            _flush(side)
            move_whole(side, path)
        else:
            side.replace(path)
    except OSError as error:
        if error.filename is not None and str(error.filename) not in {str(side), str(path)}:
            raise
        raise _unwritable(path, error) from None
    finally:  # also when interrupted
        with contextlib.suppress(OSError):
            side.unlink()


@contextlib.contextmanager
def writing_whole(path: str | PathLike[str], lasting: bool = True) -> Iterator[BinaryIO]:
    """Give a file to write bytes to that takes the place of ``path``; see ``side_file``."""
    with side_file(path, lasting) as side, side.open("wb") as file:
        yield file


def write_whole(path: str | PathLike[str], text: str, lasting: bool = True) -> None:
    """Write a text as UTF-8; see ``side_file``.

    Raises:
        InputError: the file cannot be written, or the text holds names of files that are not UTF-8.
    """
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise _unwritable(path, error) from None
    with writing_whole(path, lasting) as file:
        file.write(data)


@contextlib.contextmanager
def torch_saving() -> Iterator[None]:
    """Tell a full disk by an OSError, where PyTorch's writers tell it by a RuntimeError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(str(error)) from None


def move_whole(source: Path, target: Path) -> None:
    """Rename a file within a file system, for good when this returns."""
    os.replace(source, target)
    with contextlib.suppress(OSError):  # some network disks do not know it for folders
        _flush(target.parent)


def link_whole(source: Path, target: Path) -> None:
    """Give a file a second name in its folder, or copy it where the disk knows no hard links.

    Either file may be replaced later without changing the other, but not written to.

    Raises:
        InputError: it cannot be written.
    """
    side = _side_of(target)
    try:
        os.link(source, side)
        move_whole(side, target)
    except OSError:
        with writing_whole(target) as copy, source.open("rb") as file:
            shutil.copyfileobj(file, copy)
    finally:  # renaming onto another name of the same file does nothing
        side.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what writers that were killed have left in a folder."""
    for side in folder.glob(_SIDE.format("*")):
        side.unlink(missing_ok=True)


def _side_of(path: Path) -> Path:
    """A new name beside a file."""
    return path.with_name(_SIDE.format(secrets.token_hex(6)))


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritable(path: str | PathLike[str], error: Exception) -> InputError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    if isinstance(error, FileExistsError):
        reason = f"{error.filename} is no folder"
    return InputError(
        f"{os.fspath(path)}: cannot be written: {reason}; what was there before is untouched: make room there, or "
        "choose another place"
    )
