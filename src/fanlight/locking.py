"""One piece of work at a time in a folder."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fanlight.errors import InputError

LOCK = ".lock"
_held_here = set[str]()  # by this process, whose own locks do not keep it out
_one_thread = threading.Lock()


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep all others out of a folder, which is made where it is missing, while the block runs.

    Others are other processes and other calls of this one. However the process ends, its lock ends with it, and
    its children do not inherit it. Where the disk knows no locks, as some network disks, no other process is
    kept out.

    Raises:
        InputError: another is at work in the folder, or it cannot be written to.
    """
    with _held_once(folder), _held_by_process(folder):
        yield


@contextlib.contextmanager
def _held_once(folder: Path) -> Iterator[None]:
    """Keep other calls of this process out, before they open the lock's file: closing it would end the lock."""
    place = os.path.realpath(folder)
    with _one_thread:
        if place in _held_here:
            raise InputError(f"{folder}: this process is at work there already: wait for its end")
        _held_here.add(place)
    try:
        yield
    finally:
        _held_here.discard(place)


@contextlib.contextmanager
def _held_by_process(folder: Path) -> Iterator[None]:
    """Keep other processes out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write there: {error}; give a folder that can be written to"
        ) from None
    with file:
        if not _lock(file):
            file.seek(0)
            raise InputError(
                f"{folder}: {file.read() or 'another process'} is at work there: wait for its end, or stop it"
            )
        with contextlib.suppress(OSError):  # a full disk, which others tell of
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
        yield


def _lock(file: IO[str]) -> bool:
    """Take the lock of an open file; False if another process has it."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True
