"""Numbers that programs such as torchrun and SLURM leave in the environment."""

from __future__ import annotations

import os
import re

from fanlight.errors import InputError


def whole_number(name: str, otherwise: int, least: int = 0) -> int:
    """The whole number in an environment variable.

    Args:
        name: the variable.
        otherwise: the number where it is not set.
        least: the smallest number that makes sense.

    Raises:
        InputError: it holds something else.
    """
    text = os.environ.get(name, str(otherwise))
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) < least:
        raise InputError(
            f"the environment says {name}={text!r}: expected a whole number from {least} on, as torchrun sets it: "
            f"start by torchrun, or unset {name}"
        )
    return int(text)
