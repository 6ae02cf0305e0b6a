"""Plots for pages: SVG with the page's own text colour for ink, byte for byte the same for the same input."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.metric import ced

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CURVES = ("#3b82c4", "#e08a00", "#2a9d76", "#c45a9a", "#8a7bd8", "#b5651d")
STYLES = ("-", "--", ":")
SHAPE_SIDE = 400  # px of a drawn mean shape

_INK, _FAINT = "#010203", "#040506"  # stand for the page's own colours in a plot


def ced_figure(curves: Mapping[str, ArrayLike], threshold: float, xlabel: str = "error") -> Figure:
    """Plot cumulative error distributions up to a threshold, as a matplotlib figure apart from pyplot.

    Args:
        curves: label -> (N,) errors of the faces, fractions.
        threshold: right end of the plot, a fraction.
        xlabel: what the errors are.
    """
    lines = {label: _thin(*ced(errors), threshold) for label, errors in curves.items()}
    figure, axes = _line_figure(lines, xlabel, "share of the faces")
    axes.set_xlim(0, threshold)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(_percent(0))
    return figure


def ced_plot(curves: Mapping[str, ArrayLike], threshold: float, xlabel: str = "error") -> str:
    """Plot cumulative error distributions; see ``ced_figure``.

    Returns:
        One ``<svg>`` element without a size of its own (it fills the width it is given), texts kept as text.
    """
    return _svg(lambda: ced_figure(curves, threshold, xlabel))


def line_plot(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]], xlabel: str, ylabel: str, zero: bool = True
) -> str:
    """Plot fractions against fractions, both axes in percent.

    Args:
        curves: label -> (x, y), each (N,).
        xlabel: what x is.
        ylabel: what y is.
        zero: let the vertical axis begin at 0.

    Returns:
        As ``ced_plot``.
    """

    def draw() -> Figure:
        lines = {label: (np.asarray(x, float), np.asarray(y, float)) for label, (x, y) in curves.items()}
        places = sorted({place for x, _ in lines.values() for place in x.tolist()})
        few = len(places) < 10
        figure, axes = _line_figure(lines, xlabel, ylabel, "o" if few else None)
        if few:
            axes.set_xticks(places)
            axes.xaxis.set_major_formatter(_percent(0))
        if zero:
            axes.set_ylim(0, 1.08 * max(y.max() for _, y in lines.values()) or 1)
        axes.yaxis.set_major_formatter(_percent(None))
        return figure

    return _svg(draw)


def shape_plot(shape: ArrayLike, errors: ArrayLike, markup: Markup) -> str:
    """Draw each landmark's mean error as a circle around its place on a mean shape, true to scale.

    Args:
        shape: (L, 2), of bounding box size 1 (the square root of width times height).
        errors: (L,), fractions of that size.
        markup: for the lines and the names, which show when a circle is pointed at.

    Returns:
        One ``<svg>`` element without a size of its own.
    """
    places, radii = np.asarray(shape, float), np.asarray(errors, float)
    if places.shape != (markup.count, 2) or radii.shape != (markup.count,):
        raise InputError(
            f"a shape {places.shape} with errors {radii.shape} does not fit the {markup.count} points of "
            f"{markup.name}"
        )
    margin = float(radii.max()) + 0.03
    low, high = places.min(axis=0) - margin, places.max(axis=0) + margin
    unit = SHAPE_SIDE / float((high - low).max())
    width, height = (high - low) * unit
    dots = (places - low) * unit
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height:.1f}" role="img" '
        'aria-label="mean error of each landmark">'
    ]
    for start, end in markup.edges:
        (x0, y0), (x1, y1) = dots[start], dots[end]
        parts.append(
            f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="currentColor" opacity=".3"/>'
        )
    worst = float(radii.max()) or 1.0
    for number in np.argsort(-radii).tolist():  # small circles above large ones
        (x, y), share = dots[number], float(radii[number]) / worst
        name = f"{number} {markup.points[number]}: {100 * radii[number]:.2f} %"
        parts.append(
            f'<g fill="hsl({50 - 50 * share:.0f} 85% 50%)"><circle cx="{x:.1f}" cy="{y:.1f}" '
            f'r="{max(radii[number] * unit, 1.5):.1f}" opacity=".45"><title>{escape(name)}</title></circle>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="currentColor" pointer-events="none"/></g>'
        )
    return "".join([*parts, "</svg>"])


def _percent(decimals: int | None) -> Any:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(1, decimals=decimals, symbol=" %")


def _line_figure(
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    xlabel: str,
    ylabel: str,
    marker: str | None = None,
) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.5), layout="constrained")
    axes = figure.add_subplot()
    for i, (label, (x, y)) in enumerate(lines.items()):
        style = STYLES[i // len(CURVES) % len(STYLES)]
        axes.plot(
            x,
            y,
            style,
            color=CURVES[i % len(CURVES)],
            linewidth=1.8,
            label=label,
            marker=marker,
            markersize=4,
        )
    axes.xaxis.set_major_formatter(_percent(None))
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.grid(color=_FAINT, alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if lines:
        legend = axes.legend(list(axes.lines), list(lines), frameon=False, loc="best")
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure, axes


def _svg(draw: Callable[[], Figure]) -> str:
    import matplotlib as mpl

    look: Any = {
        "svg.hashsalt": "fanlight",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 10,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK
        ),
    }
    with mpl.rc_context(look):
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        draw().savefig(text, format="svg", metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace(_FAINT, "currentColor").strip()
    for side in ("width", "height"):
        svg = re.sub(rf'(<svg[^>]*?) {side}="[^"]*"', r"\1", svg, count=1)
    mark = hashlib.sha256(svg.encode()).hexdigest()[:6]  # a page may hold several plots: names apart
    return re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>p{mark}-", svg)


def _thin(
    x: NDArray[np.float64], y: NDArray[np.float64], threshold: float, points: int = 500
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A curve's part up to the threshold, drawn with few enough points for a small file."""
    end = np.interp(threshold, x, y)
    inside = x <= threshold
    if inside.sum() <= points:
        return np.append(x[inside], threshold), np.append(y[inside], end)
    grid = np.linspace(0, threshold, points)
    return grid, np.interp(grid, x, y)
