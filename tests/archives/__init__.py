"""Small data sets in the layouts of the real ones, with drawn faces."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
"""``fanlight data prepare``: words to exit code, standard output and standard error."""
