"""Folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fanlight.errors import InputError


@contextmanager
def staged_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that takes its place when all went well, and vanishes when not.

    Raises:
        InputError: ``out`` holds something, or cannot be made or written.
    """
    target = Path(os.path.abspath(out))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{out}: is there already: give --out a new folder, or remove this one")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{out}: cannot make the folder: {error.strerror}") from None
    try:
        yield stage
        stage.chmod(0o755)
        if target.exists():
            target.rmdir()
        stage.rename(target)
    except OSError as error:
        raise InputError(f"{out}: cannot write the data set: {error}") from None
    finally:
        shutil.rmtree(stage, ignore_errors=True)
