"""What a benchmark gives: figures, each beside a reference and a physical limit where there is one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import Times
from fanlight.errors import InputError


@dataclass(frozen=True)
class Other:
    """A time to compare with.

    Attributes:
        name: what takes it.
        ms: how long, for the same unit of work.
    """

    name: str
    ms: float


@dataclass(frozen=True)
class Figure:
    """How long something takes.

    Attributes:
        name: what.
        times: of one unit of work.
        reference: the same job done by other software, measured elsewhere.
        limit: what the hardware needs at least.
        work: the amount that a rate counts, in one unit of work.
        rate_unit: what that is an amount of; nothing where a rate says nothing.
    """

    name: str
    times: Times
    reference: Other | None = None
    limit: Other | None = None
    work: float = 1.0
    rate_unit: str = ""

    @property
    def rate(self) -> float:
        """Work per second of the processor."""
        return 1000 * self.work / self.times.cpu_ms.median

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, ratios included, which are of the processor's own time."""
        took = self.times.cpu_ms.median
        entry: dict[str, Any] = {**self.times.to_dict()}
        if self.rate_unit:
            entry["rate"] = {"value": self.rate, "unit": f"{self.rate_unit}/s"}
        if self.reference:
            entry["reference"] = {**vars(self.reference), "times_faster": self.reference.ms / took}
        if self.limit:
            entry["limit"] = {**vars(self.limit), "share": self.limit.ms / took}
        return entry


@dataclass(frozen=True)
class Result:
    """The figures of one subject.

    Attributes:
        subject: its name.
        unit: what the milliseconds are for, such as "a face".
        figures: in the order in which they are shown.
        facts: what they depend on, and whatever else was measured.
        notes: lines for people, below the table.
    """

    subject: str
    unit: str
    figures: Sequence[Figure]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        figures = {figure.name: figure.to_dict() for figure in self.figures}
        return {"unit": self.unit, "facts": dict(self.facts), "figures": figures}

    def table(self) -> str:
        """As people read it."""
        facts = ", ".join(f"{name} {shown(value)}" for name, value in self.facts.items() if _plain(value))
        width = max(len(figure.name) for figure in self.figures)
        head = f"{'ms':>10} {'min - max':^21} {'cpu ms':>10} {'rate':>18}"
        lines = [f"{self.subject}: ms for {self.unit}; {facts}", f"{'':{width}}{head}"]
        for figure in self.figures:
            ms, cpu = figure.times.ms, figure.times.cpu_ms.median
            spread = f"{shown(ms.min)} - {shown(ms.max)}"
            rate = f"{shown(figure.rate)} {figure.rate_unit}/s" if figure.rate_unit else ""
            row = f"{figure.name:{width}}{shown(ms.median):>10} {spread:^21} {shown(cpu):>10} {rate:>18}"
            lines.append(row + _beside(figure))
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def shown(value: object) -> str:
    """A number with three or four digits that count; anything else as it is."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _beside(figure: Figure) -> str:
    """The comparisons of a row."""
    took, text = figure.times.cpu_ms.median, ""
    if figure.reference:
        text += f"  {shown(figure.reference.ms / took)} x {figure.reference.name}"
    if figure.limit:
        text += f"  {100 * figure.limit.ms / took:.0f} % of {figure.limit.name}"
    return text


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Keep a report.

    Raises:
        InputError: it cannot be written.
    """
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot write the figures: {error.strerror or error}") from None
