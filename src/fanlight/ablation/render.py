"""An ablation's figures as a table for people, in Markdown, and as plots.

The figures are those of ``ablation.json``: ``title``, ``seeds``, ``images``, ``minutes``, ``flip``, ``metrics``,
the index's SHA-256 and versions; ``variants`` and ``claims`` by name, with titles, changes and ``loader`` in faces
a second of one core; ``partitions`` as ``compare_variants`` gives them, in fractions; ``jitter`` as ``jitter_of``
does, in px of the crop and in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fanlight.metric import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXTRA = {"loader": "faces a core second, with heatmaps"}  # figures of a variant that no partition changes
GOOD, BAD, OPEN, DOT = "#2a9d76", "#c44b4b", "#808080", "#3b82c4"


def as_markdown(results: Mapping[str, Any]) -> str:
    """The table that ``fanlight ablate`` prints: for each partition the variants, then the claims."""
    metrics = [Metric.parse(key) for key in results["metrics"]]
    parts = [f"# {results['title']}", _budget(results)]
    for name, part in results["partitions"].items():
        parts.append(f"## {name}, {part['faces']} faces")
        parts.append(_variants(results, part, metrics))
        if part["claims"]:
            parts.append(_claims(results, part, metrics))
    for name, part in results["jitter"].items():
        parts.append(f"## Jitter, {name}, {part['faces']} faces moved by sub-pixel steps, not mirrored")
        parts.append(_jitter(results, part))
    return "\n\n".join(parts) + "\n"


def _budget(results: Mapping[str, Any]) -> str:
    flip = f"mirrored faces {'averaged in' if results['flip'] else 'not averaged in'}"
    interval = "[ ] is the 95 % interval over the faces"
    if not (results["images"] or results["minutes"]):
        return f"Percent; {flip}. {interval}."
    seeds = ", ".join(map(str, results["seeds"]))
    images, minutes = f"sees {results['images']:,} images", f"takes {results['minutes']:g} minutes"
    return (
        f"Percent; seeds {seeds}; each training {images if results['images'] else minutes}; {flip}. "
        f"± is the standard deviation over the seeds, {interval}, of the mean of the seeds."
    )


def _variants(results: Mapping[str, Any], part: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    extra = [key for key in EXTRA if any(key in row for row in results["variants"].values())]
    rows = []
    for name, estimates in part["variants"].items():
        about = results["variants"][name]
        cells = [_value(estimates[metric.key]) for metric in metrics]
        rows.append([about["title"], *cells, *(_plain(about.get(key)) for key in extra)])
    return _table(["variant", *(metric.title for metric in metrics), *(EXTRA[key] for key in extra)], rows)


def _claims(results: Mapping[str, Any], part: Mapping[str, Any], metrics: Sequence[Metric]) -> str:
    rows, head = [], metrics[0]
    seeds = max(len(estimates[head.key]["seeds"]) for estimates in part["claims"].values())
    for name, estimates in part["claims"].items():
        first = estimates[head.key]
        cells = [_interval(estimates[metric.key], "+.2f", 100) for metric in metrics]
        if seeds > 1:
            cells.append(" ".join(f"{100 * value:+.2f}" for value in first["seeds"]))
        rows.append([results["claims"][name]["title"], *cells, verdict(first, head)])
    heads = [f"{metric.title}, new - old" for metric in metrics]
    by_seed = [f"{head.title} by seed"] if seeds > 1 else []
    return _table(["claim", *heads, *by_seed, "better"], rows)


def _jitter(results: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    for name, figures in part["variants"].items():
        found, ideal, difference = (figures[kind] for kind in ("found", "ideal", "difference"))
        rows.append(
            [
                results["variants"][name]["title"],
                _interval(found["deviation_px"], ".3f"),
                _interval(found["jitter_px"], ".3f"),
                " / ".join(f"{ideal[key]['value']:.3f}" for key in ("deviation_px", "jitter_px")),
                _interval(found["jitter_percent"], ".3f"),
                _interval(difference["jitter_percent"], "+.3f") if rows else "",
            ]
        )
    first = next(iter(results["variants"].values()))["title"]
    heads = [
        *("variant", "deviation, crop px", "jitter, crop px", "both of ideal heatmaps"),
        *("jitter, % of the face", f"less that of {first}"),
    ]
    return _table(heads, rows)


def verdict(estimate: Mapping[str, Any], metric: Metric) -> str:
    """Which side of a claim is better: ``new``, ``old``, or ``open``.

    A side is better where the interval over the faces lies on its side of 0, and every seed does.
    """
    sign = 1 if metric.larger_is_better else -1
    new = sign * estimate["low"] > 0 and sign * estimate["high"] > 0
    old = sign * estimate["low"] < 0 and sign * estimate["high"] < 0
    if new and all(sign * value > 0 for value in estimate["seeds"]):
        return "new"
    if old and all(sign * value < 0 for value in estimate["seeds"]):
        return "old"
    return "open"


def figure(results: Mapping[str, Any]) -> Figure:
    """The claims' differences by the first metric, or the variants' values where nothing is claimed."""
    from matplotlib.figure import Figure

    kind = "claims" if results["claims"] else "variants"
    names, parts = list(results[kind]), results["partitions"]
    metric = Metric.parse(results["metrics"][0])
    height = 0.9 + 0.42 * len(names)
    drawn = Figure(figsize=(4.0 + 3.0 * len(parts), height), layout="constrained")
    for at, (axes, (name, part)) in enumerate(zip(_panels(drawn, len(parts)), parts.items(), strict=True)):
        for row, key in enumerate(names):
            _draw(axes, row, part[kind][key][metric.key], metric, kind == "claims")
        _finish(axes, [results[kind][key]["title"] for key in names], at == 0)
        axes.set_title(f"{name}, {part['faces']} faces", fontsize=10)
        axes.set_xlabel(f"{metric.title}, {'new - old, points' if kind == 'claims' else '%'}")
    return drawn


def jitter_figure(results: Mapping[str, Any]) -> Figure:
    """The variants' jitter in crop px, and beside it what the decoder makes of ideal heatmaps."""
    from matplotlib.figure import Figure

    names, parts = list(results["variants"]), results["jitter"]
    drawn = Figure(figsize=(4.0 + 3.0 * len(parts), 1.2 + 0.36 * len(names)), layout="constrained")
    for at, (axes, (name, part)) in enumerate(zip(_panels(drawn, len(parts)), parts.items(), strict=True)):
        for row, key in enumerate(names):
            found, ideal = (part["variants"][key][kind]["jitter_px"] for kind in ("found", "ideal"))
            axes.plot([found["low"], found["high"]], [row, row], color=DOT, linewidth=2.2)
            axes.plot(found["value"], row, "o", color=DOT, markersize=6, label="" if row else "photos")
            label = "" if row else "ideal heatmaps"
            axes.plot(ideal["value"], row, "x", color=OPEN, markersize=6, label=label)
        _finish(axes, [results["variants"][key]["title"] for key in names], at == 0)
        axes.set_title(f"{name}, {part['faces']} faces", fontsize=10)
        axes.set_xlabel("jitter, crop px")
        axes.set_xlim(left=-0.02)
    drawn.axes[0].legend(frameon=False, fontsize=8)
    return drawn


def _finish(axes: Axes, titles: Sequence[str], first: bool) -> None:
    """Name the rows of a panel, from the top."""
    axes.set_yticks(range(len(titles)), titles, parse_math=False)
    axes.tick_params(labelleft=first)
    axes.set_ylim(len(titles) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _panels(drawn: Figure, count: int) -> Iterable[Axes]:
    return list(drawn.subplots(1, count, sharey=True, squeeze=False)[0])


def _draw(axes: Axes, row: int, estimate: Mapping[str, Any], metric: Metric, difference: bool) -> None:
    """One row: the interval, the mean, and a dot for each seed."""
    value, low, high = (100 * estimate[key] for key in ("value", "low", "high"))
    colour = DOT
    if difference:
        axes.axvline(0, color=OPEN, linewidth=0.8)
        colour = {"new": GOOD, "old": BAD, "open": OPEN}[verdict(estimate, metric)]
    axes.plot([low, high], [row, row], color=colour, linewidth=2.2)
    axes.plot(value, row, "o", color=colour, markersize=6)
    seeds = [100 * seed for seed in estimate["seeds"]]
    axes.plot(seeds, [row + 0.22] * len(seeds), "|", color=colour, markersize=6, alpha=0.8)


def _value(estimate: Mapping[str, Any]) -> str:
    """``52.3 ± 0.4 [50.1, 54.2]``, in percent."""
    value, interval = _interval(estimate, ".2f", 100).split(" ", 1)
    seeds = 100 * np.array(estimate["seeds"])
    return f"{value} ± {seeds.std(ddof=1):.2f} {interval}" if len(seeds) > 1 else f"{value} {interval}"


def _interval(estimate: Mapping[str, Any], form: str, times: float = 1) -> str:
    """``1.5 [1.2, 1.8]``."""
    value, low, high = (format(times * estimate[key], form) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text, too."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in [heads, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
