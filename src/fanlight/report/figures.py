"""Numbers for print, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fanlight.metric import Metric

FEW = 10  # faces; intervals over fewer are not printed


@dataclass(frozen=True)
class Number:
    """A metric's value for print: ``45.3``, ``42.1`` and ``48.4``, in percent.

    Attributes:
        title: the metric's.
        value: the value.
        low: where its interval begins.
        high: where it ends.
        between: what stands between the two.
    """

    title: str
    value: str
    low: str
    high: str
    between: str = "\u202f–\u202f"


def percent(fraction: float, kind: str = "nme") -> str:
    """A fraction in percent without the sign: errors with two decimals, shares and areas with one.

    >>> percent(0.05447), percent(0.45321, "auc")
    ('5.45', '45.3')
    """
    return f"{100 * fraction:.{2 if kind == 'nme' else 1}f}"


def signed(fraction: float, kind: str = "nme") -> str:
    """A difference in percentage points, with its sign.

    >>> signed(0.0042), signed(-0.02, "auc"), signed(0.0)
    ('+0.42', '−2.0', '0.00')
    """
    text = percent(abs(fraction), kind)
    if not text.strip("0."):
        return text
    return ("+" if fraction > 0 else "−") + text


def metrics_of(summary: Mapping[str, Any]) -> list[Metric]:
    """The metrics that a summary holds, in its order."""
    return [Metric.parse(key) for key in summary if key not in ("n", "parts")]


def present(keys: Sequence[str], summary: Mapping[str, Any]) -> list[Metric]:
    """Those of some metrics that a summary holds."""
    return [Metric.parse(key) for key in keys if key in summary]


def numbers(summary: Mapping[str, Any], metrics: Sequence[Metric]) -> list[Number]:
    """A summary's values of some metrics."""
    return [interval(metric.title, summary[metric.key], metric.kind) for metric in metrics]


def interval(title: str, values: Mapping[str, float], kind: str = "nme") -> Number:
    """``{"value", "low", "high"}`` for print."""
    value, low, high = (percent(values[name], kind) for name in ("value", "low", "high"))
    return Number(title, value, low, high)


def difference(title: str, values: Mapping[str, float], kind: str = "nme") -> Number:
    """As ``interval``, for a difference."""
    value, low, high = (signed(values[name], kind) for name in ("value", "low", "high"))
    return Number(title, value, low, high, between=" to ")


def few(number: Number) -> Number:
    """A number of so few faces that the interval over resamples is too narrow to be believed."""
    return Number(number.title, number.value, "few", "faces", " ")


def bars(values: Sequence[float]) -> list[float]:
    """Widths of bars in percent of the longest."""
    largest = max(values, default=0.0) or 1.0
    return [100 * value / largest for value in values]
