"""What commands print: names from anywhere as they are spelt, and nothing that a terminal would obey."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest
from rich.table import Table

from fanlight.cli import console
from fanlight.data.tsv import HEADER

NAMES = {
    "\x1b]0;title\x07\x1b[2J": r"\x1b]0;title\x07\x1b[2J",
    "a\rb\x08": r"a\rb\x08",
    "\x9b31m": r"\x9b31m",  # the same as ESC [ on some terminals
    "gpj\u202e.exe": r"gpj\u202e.exe",  # would be shown backwards
    "a\udcff": r"a\udcff",  # a name that is no UTF-8
    "[red]x[/] [/nothing]": "[red]x[/] [/nothing]",
    ":x::smile:": ":x::smile:",
    "Ærø 東京 å_1-2.jpg": "Ærø 東京 å_1-2.jpg",
}


def test_docstring_examples() -> None:
    assert doctest.testmod(console).failed == 0


@pytest.mark.parametrize("name", NAMES)
def test_names_are_printed_as_they_are_spelt(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.out.print(name)
    console.warn(name)
    console.print_titled("warning:", "bold", name)
    table = Table(name, title=name)
    table.add_row(name)
    console.print_wide(table, 200)
    said = capsys.readouterr()
    shown = NAMES[name]
    assert said.out.startswith(f"{shown}\n")
    assert said.out.count(shown) == 4
    assert said.err == f"{shown}\nwarning: {shown}\n"


def test_a_message_about_a_hostile_name_is_one_that_can_be_read(tmp_path: Path) -> None:
    index = tmp_path / "i.tsv"
    index.write_text(f"{HEADER}\na\ttrain\t-1\t:x:[/b]\x9b2J.png\ta.pts\t0\t0\t9\t9\n", encoding="utf-8")
    command = [sys.executable, "-m", "fanlight", "data", "check", str(index), "--markup", "ibug68"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert r":x:[/b]\x9b2J.png: no such image" in result.stderr
    assert "\x9b" not in result.stderr


def test_where_there_is_no_terminal_a_line_now_and_then_stands_for_the_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A face each 20 seconds: lines after 40 and 80 seconds, each at least 30 after the one before."""
    now = 0.0
    monkeypatch.setattr(console, "monotonic", lambda: now)
    with console.progress_bar("packing", 5) as bar, console.progress_bar("reading", None) as other:
        for done in range(1, 6):
            now += 20
            bar.reach(done, 5)
        other.advance(2)
    said = capsys.readouterr()
    assert said.err == "packing: 2 of 5\npacking: 4 of 5\nreading: 2\n"
    assert said.out == ""
