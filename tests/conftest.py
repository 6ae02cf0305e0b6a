"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archives import Run

REPOSITORY = Path(__file__).resolve().parent.parent

# The programs that tests start import PyTorch, too, which takes them half the time where it is compiled already.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a shell that started the tests in the background
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # else no program that a test starts could be stopped


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real faces (faces68/index.tsv, faces21/index.tsv), or a skip that says where to put it."""
    folder = Path(os.environ.get("FANLIGHT_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (folder / "faces68" / "index.tsv").exists():
        pytest.skip(f"no real faces at {folder}: set FANLIGHT_TEST_DATA to the folder that holds faces68/")
    return folder


@pytest.fixture(scope="session")
def dot_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a server whose networks find painted dots (dot_server.py), and its folder with its log."""
    from serving import TESTS, running

    folder = tmp_path_factory.mktemp("dots")
    with running([str(TESTS / "dot_server.py"), str(folder)], folder / "log") as (_, address):
        yield address, folder


@pytest.fixture
def fanlight(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``fanlight`` in this process; gives exit code, standard output and standard error."""
    from fanlight.cli import main

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fanlight", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture
def prepare(fanlight: Run) -> Run:
    """Run ``fanlight data prepare``, likewise."""
    return lambda *words: fanlight("data", "prepare", *words)
