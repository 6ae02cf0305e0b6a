"""What the commands print with: results on standard output, everything else on standard error.

Names of files and partitions come from anywhere. They are printed as they are spelt: neither are ``[words]`` taken
for colours and ``:words:`` for pictures, nor do a terminal's commands in them reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


def visible(text: str) -> str:
    r"""A text in which whatever is no letter, sign or line end is written out.

    >>> visible("a\x1b[2J.jpg")
    'a\\x1b[2J.jpg'
    """
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else letter.encode("unicode_escape").decode()
        for letter in text
    )


def one_line(text: str) -> str:
    r"""A value of anyone's file, whose line ends are written out: it prints no line that looks like our own.

    >>> one_line("fanlight train\nequal bit for bit")
    'fanlight train\\nequal bit for bit'
    """
    return text.replace("\n", "\\n")


class _Console(Console):
    """Prints texts as they are spelt, in tables, too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """See ``Console``."""
        return super().render_str(visible(text), **options)


out = _Console(soft_wrap=True)
err = _Console(soft_wrap=True, stderr=True)
LINE_SECONDS = 30.0  # at least, between two lines that stand for a progress bar


def warn(message: str) -> None:
    """Say what should be heeded, though the command goes on."""
    err.print(message, style="yellow")


def print_titled(title: str, style: str, message: str) -> None:
    """Say something behind a word in colour."""
    err.print(Text(title, style), message)


def print_wide(table: Table, width: int) -> None:
    """Print a table wide enough for every column: a pipe counts as 80 characters, and would wrap the figures."""
    _Console(width=max(out.width, width)).print(table)


class Bar:
    """A progress bar on a terminal; elsewhere, as in the log of a batch job, a line now and then."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task
        self._told = monotonic()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._bar.advance(self._task, count)
        self._tell()

    def reach(self, done: int, total: int) -> None:
        """So many of all are done."""
        self._bar.update(self._task, completed=done, total=total)
        self._tell()

    def _tell(self) -> None:
        if err.is_terminal or monotonic() - self._told < LINE_SECONDS:
            return
        self._told = monotonic()
        (task,) = self._bar.tasks
        err.print(
            f"{task.description}: {task.completed:.0f}" + (f" of {task.total:.0f}" if task.total else "")
        )


@contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Bar]:
    """Show a bar while the block runs; None where it is not known how many there are."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal, transient=True) as bar:
        yield Bar(bar, bar.add_task(what, total=total))
