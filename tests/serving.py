"""Servers as processes of their own, for tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).resolve().parent


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server, and wait for the line in which it says its address.

    Yields:
        The process and the address, without the slash at its end.
    """
    path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            words = [word for word in line.split() if word.startswith("http://")]
            if words:
                yield process, words[0].rstrip("/")
                break
        else:
            raise AssertionError(f"no server: {log.read_text()}")
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
