"""Plots show the numbers they are given, repeat byte for byte, and live together on one page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.plot import ced_figure, ced_plot, line_plot, shape_plot

PAIR = Markup(name="pair", source="test", points=("a", "b"), mirror=(1, 0), edges=((0, 1),))
SVG = "{http://www.w3.org/2000/svg}"


def curves() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        "a <b>& $x$": generator.gamma(4, 0.01, 50),
        "_hidden": generator.gamma(4, 0.01, 5000),
        "c": np.full(3, 0.5),
    }


def test_the_plot_is_one_svg_that_repeats_byte_for_byte():
    svg = ced_plot(curves(), 0.07)
    assert svg == ced_plot(curves(), 0.07)
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "width" not in root.attrib
    assert "height" not in root.attrib
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b>& $x$", "_hidden", "c", "error", "share of the faces"} <= set(texts)
    assert "currentColor" in svg
    assert len(svg) < 60_000
    assert 'href="http' not in svg


def test_the_curves_are_the_cumulative_shares():
    errors = [0.02, 0.04, 0.06, 0.10]
    (line,) = ced_figure({"x": errors}, 0.08).axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [0, 0.02, 0.04, 0.06, 0.08])
    np.testing.assert_allclose(line.get_ydata(), [0, 0.25, 0.5, 0.75, 0.875])


def test_a_curve_of_many_faces_is_thinned_and_stays_in_place():
    errors = np.random.default_rng(1).uniform(0, 0.1, 50_000)
    (line,) = ced_figure({"x": errors}, 0.05).axes[0].lines
    x, y = line.get_data()
    assert len(x) == 500
    np.testing.assert_allclose(y, 10 * x, atol=0.01)


def test_plots_on_one_page_share_no_names():
    pages = [ced_plot({"x": [0.01 * n, 0.02]}, 0.07) for n in (1, 2)]
    names = [set(re.findall(r'\bid="([^"]+)"', page)) for page in pages]
    assert names[0]
    assert not names[0] & names[1]
    for page, own in zip(pages, names, strict=True):
        targets = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page))
        assert targets
        assert targets <= own


def test_a_line_plot_has_a_line_for_each_curve():
    svg = line_plot({"up": ([-0.1, 0, 0.1], [0.05, 0.03, 0.04]), "down": ([0, 0.1], [0.03, 0.06])}, "x", "y")
    assert svg == line_plot(
        {"up": ([-0.1, 0, 0.1], [0.05, 0.03, 0.04]), "down": ([0, 0.1], [0.03, 0.06])}, "x", "y"
    )
    texts = {element.text for element in ET.fromstring(svg).iter(f"{SVG}text")}
    assert {"up", "down", "x", "y", "10 %", "−10 %"} <= texts


def test_a_shape_has_a_circle_of_true_size_for_each_landmark():
    root = ET.fromstring(shape_plot([[0, 0], [1, 0]], [0.1, 0.2], PAIR))
    circles = [c for c in root.iter(f"{SVG}circle") if c.find(f"{SVG}title") is not None]
    titles = [c.find(f"{SVG}title").text for c in circles]
    assert titles == ["1 b: 20.00 %", "0 a: 10.00 %"], "the larger one below"
    (x1, r1), (x0, r0) = ((float(c.get("cx")), float(c.get("r"))) for c in circles)
    assert r1 == pytest.approx(2 * r0, abs=0.1)
    assert (x1 - x0) * 0.2 == pytest.approx(r1, abs=0.1)
    assert len(list(root.iter(f"{SVG}line"))) == 1


def test_a_shape_of_another_markup_is_refused():
    with pytest.raises(
        InputError, match=r"a shape \(3, 2\) with errors \(2,\) does not fit the 2 points of pair"
    ):
        shape_plot(np.zeros((3, 2)), [0.1, 0.2], PAIR)
