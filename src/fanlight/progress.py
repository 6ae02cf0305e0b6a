"""Who is told how a training goes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Protocol


class Progress(Protocol):
    """Is told how training goes; the command line draws a bar."""

    def begin(self, total_steps: int, step: int) -> None:
        """Training starts, or goes on, at ``step``."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """``share`` of the run is done; ``status`` holds the latest figures, if there are any yet."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """A validation was made; ``row`` is that of metrics.csv."""

    def warned(self, message: str) -> None:
        """Something is not as it should be, and training goes on."""


class Silence:
    """A ``Progress`` that keeps to itself, but for Python's own warnings."""

    def begin(self, total_steps: int, step: int) -> None:
        """Nothing."""

    def advance(self, step: int, share: float, status: Mapping[str, float]) -> None:
        """Nothing."""

    def validated(self, row: Mapping[str, Any], best: bool) -> None:
        """Nothing."""

    def warned(self, message: str) -> None:
        """Warn."""
        warnings.warn(message, stacklevel=2)
