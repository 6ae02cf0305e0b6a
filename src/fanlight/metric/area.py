"""The area under the cumulative error distribution, by each of the rules that published figures use.

Every rule is written as a score that depends on one face alone, so that the area is the mean of the scores and a
bootstrap resample costs one matrix product; ``fanlight.resample`` adds what the trapezoid has beside that.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from fanlight.distance import Floats
from fanlight.errors import InputError
from fanlight.resample import Column

Rule = Literal["trapezoid", "step", "lua", "simpson"]

RULES: dict[Rule, str] = {
    "trapezoid": "trapezoid rule through (0, 0) and one point per face",
    "step": "exact area under the staircase",
    "lua": "mean of the curve on the grid i/999, as in the FAN paper's evaluation",
    "simpson": "Simpson's rule on a grid of 0.0001, as in ADNet and STAR",
}


def area_column(errors: Floats, threshold: float, rule: Rule) -> Column:
    """Score faces so that their mean is the area up to a threshold, divided by the threshold.

    Args:
        errors: (N,), each face's error, a fraction.
        threshold: T, a fraction above 0.
        rule: as ``fanlight.metric.auc`` defines them.

    Raises:
        InputError: the threshold is too small for Simpson's rule.
    """
    if rule == "lua":
        grid = np.arange(1000) / 999
        grid = grid[grid < threshold]
        return Column(1 - np.searchsorted(grid, errors, side="right") / len(grid))
    if rule == "simpson":
        grid, weights = _simpson(threshold)
        beyond = np.append(np.cumsum(weights[::-1])[::-1], 0.0)
        return Column(beyond[np.searchsorted(grid, errors)] / threshold)
    staircase = np.maximum(0.0, 1 - errors / threshold)
    return Column(staircase) if rule == "step" else Column(staircase, errors, threshold)


def _simpson(threshold: float, step: float = 1e-4) -> tuple[Floats, Floats]:
    """Grid and weights of Simpson's rule: sum(weights * y(grid)) is the integral of y.

    The grid is that of the published code, where rounding may add a step beyond the threshold (it does for 0.07,
    not for 0.08). A last interval without a partner is integrated along the parabola of the last three points.
    """
    grid = np.arange(0, threshold + step, step)
    intervals = len(grid) - 1
    if intervals < 2:
        raise InputError(f"threshold {threshold} is too small for Simpson's rule: at least {2 * step}")
    weights = np.zeros(len(grid))
    for start in range(0, intervals - 1, 2):
        weights[start : start + 3] += step * np.array([1, 4, 1]) / 3
    if intervals % 2:
        weights[-3:] += step * np.array([-1, 8, 5]) / 12
    return grid, weights
