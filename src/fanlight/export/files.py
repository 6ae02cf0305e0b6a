"""Writing a file whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from fanlight.errors import InputError


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[Path]:
    """Give a file beside ``path`` to write to, which takes its place when the block ends without an error.

    Raises:
        InputError: the folder cannot be written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}; choose another --out") from None
    side = Path(name)
    try:
        yield side
        os.chmod(side, 0o644)
        os.replace(side, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error}; choose another --out") from None
    finally:  # also when interrupted
        side.unlink(missing_ok=True)
