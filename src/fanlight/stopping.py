"""Signals that ask a training to stop: noted when they come, heeded between two steps or while it waits."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Stopped(KeyboardInterrupt):
    """A training was asked to stop, and says what became of the step that it had reached.

    Attributes:
        number: the signal that asked.
    """

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(message)
        self.number = int(number)


class StopSignals:
    """Notes SIGINT (Ctrl-C), SIGTERM and SIGHUP while it is entered; a Ctrl-C after that interrupts at once.

    A second SIGTERM changes nothing, since torchrun and SLURM may both send one. SIGHUP says that the terminal is
    gone, and what is printed from then on goes nowhere; under ``nohup`` it stays ignored. In another thread than
    the main one, which gets no signals, nothing is noted.

    Attributes:
        asked: whether one has come.
        number: which one it was; SIGTERM before, since another process may have got one.
    """

    def __init__(self) -> None:
        self.asked, self.number = False, int(signal.SIGTERM)
        self._before: dict[signal.Signals, Any] = {}
        self._process, self._waits = os.getpid(), False
        self._terminals = _terminals()

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, *_hangup()):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Raise KeyboardInterrupt as soon as one is noted: for what may take long, and can be broken off."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number in _hangup():
            _print_nowhere(self._terminals)
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self.number = True, number
            if (
                self._waits and os.getpid() == self._process
            ):  # and not in a loader process that was just forked
                raise KeyboardInterrupt


def _hangup() -> tuple[signal.Signals, ...]:
    """SIGHUP, where there is one and nobody had it ignored."""
    number = getattr(signal, "SIGHUP", None)
    return () if number is None or signal.getsignal(number) == signal.SIG_IGN else (number,)


def _terminals() -> list[int]:
    """The descriptors that print to a terminal; once it is gone it no longer says that it is one."""
    streams = [
        stream for stream in (sys.__stdout__, sys.__stderr__) if stream is not None and not stream.closed
    ]
    return [stream.fileno() for stream in streams if stream.isatty()]


def _print_nowhere(terminals: Iterable[int]) -> None:
    """Spare what still prints an error."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in terminals:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
