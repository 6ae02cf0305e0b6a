"""The one exception that speaks to the user."""

from __future__ import annotations

from collections.abc import Sequence


class InputError(ValueError):
    """What was given cannot be used: says what it was, what was expected, and what to do next.

    The command line prints the message without a traceback and exits with code 2.

    Attributes:
        problems: one line each; a single message is its own only problem.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems: tuple[str, ...] = tuple(problems) or (message,)

    @classmethod
    def collect(cls, problems: Sequence[str], heading: str) -> InputError:
        """Put all problems of one input into one error, so that they can be mended together."""
        return cls("\n".join([heading, *(f"  - {problem}" for problem in problems)]), problems)


class NumberError(InputError):
    """A network's answers are no numbers: its weights are broken, or the precision cannot hold its values."""
