"""Weighted metrics against plain loops, against repeated faces, and beside unweighted ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.metric import (
    SUMMARY_KEYS,
    Metric,
    asked_keys,
    ced,
    compare,
    macc,
    measure,
    normalise,
    point_errors,
    single,
    summarise,
)

Array = NDArray[Any]
MARKUP = Markup.load("ibug68")
PLAIN = [*SUMMARY_KEYS, *(f"auc_box_0.07_{rule}" for rule in ("step", "lua", "simpson"))]
WEIGHTED = [f"{key}_weighted" for key in PLAIN]
STEADY = [key for key in PLAIN if Metric.parse(key).kind != "auc" or Metric.parse(key).rule != "trapezoid"]

weight_lists = st.lists(st.floats(0.01, 100), min_size=1, max_size=25)


def made_up(faces: int = 30, seed: int = 0) -> tuple[Array, Array, Array]:
    """Predictions, truth and the weights of 300W-LP."""
    generator = np.random.default_rng(seed)
    true = generator.uniform(0, 100, (faces, 68, 2))
    predicted = true + generator.normal(0, 1, true.shape) * generator.gamma(2, 2, (faces, 1, 1))
    return predicted, true, np.ceil(5 * 0.8 ** generator.integers(0, 9, faces))


def by_loops(key: str, predicted: Array, true: Array, weights: Array) -> float:
    """A weighted metric face by face and landmark by landmark, from its definition."""
    metric = Metric.parse(key)
    errors = point_errors(predicted, true, normalise(true, MARKUP, metric.normaliser))
    faces = [sum(face) / len(face) for face in errors.tolist()]
    total, limit = sum(weights), metric.threshold or 0.0
    if metric.kind == "nme":
        return sum(w * e for w, e in zip(weights, faces, strict=True)) / total
    if metric.kind == "fr":
        return sum(w for w, e in zip(weights, faces, strict=True) if e > limit) / total
    if metric.kind == "macc":
        within = 0.0
        for step in range(1, 101):
            for w, face in zip(weights, errors.tolist(), strict=True):
                within += sum(w for e in face if e <= step * limit / 100)
        return within / (100 * total * len(errors[0]))
    if metric.rule == "trapezoid":
        return trapezoid(faces, weights, limit)
    if metric.rule == "step":
        return sum(w * max(0.0, limit - e) for w, e in zip(weights, faces, strict=True)) / total / limit
    if metric.rule == "lua":
        grid = [i / 999 for i in range(1000) if i / 999 < limit]
        shares = [sum(w for w, e in zip(weights, faces, strict=True) if e < x) / total for x in grid]
        return sum(shares) / len(shares)
    grid = np.arange(0, limit + 1e-4, 1e-4)
    shares = [sum(w for w, e in zip(weights, faces, strict=True) if e <= x) / total for x in grid]
    simpson = pytest.importorskip("scipy.integrate").simpson
    return float(simpson(shares, x=grid)) / limit


def trapezoid(errors: list[float], weights: Array, limit: float) -> float:
    """The area under the line through (0, 0) and (e_i, share of the weights up to face i), over the limit."""
    area, x, y = 0.0, 0.0, 0.0
    for error, weight in sorted(zip(errors, weights.tolist(), strict=True)):
        share = y + weight / sum(weights)
        if error >= limit:
            at_limit = y + (share - y) * (limit - x) / (error - x)
            return float((area + (limit - x) * (y + at_limit) / 2) / limit)
        area += (error - x) * (y + share) / 2
        x, y = error, share
    return float((area + (limit - x) * y) / limit)


@pytest.mark.parametrize("key", WEIGHTED)
def test_weighted_metrics_are_those_of_plain_loops(key: str) -> None:
    predicted, true, weights = made_up()
    expected = by_loops(key, predicted, true, weights)
    assert 0.01 < expected < 0.99
    assert single(key, predicted, true, MARKUP, weights) == pytest.approx(expected, rel=1e-9)
    plain = single(key.removesuffix("_weighted"), predicted, true, MARKUP)
    assert plain != pytest.approx(expected, rel=1e-3), "the weights make a difference"


@pytest.mark.parametrize("key", PLAIN)
@pytest.mark.parametrize("weight", [0.1, 1, 3, 7.3])
def test_equal_weights_give_exactly_the_unweighted_value(key: str, weight: float) -> None:
    predicted, true, _ = made_up()
    plain = single(key, predicted, true, MARKUP)
    assert single(f"{key}_weighted", predicted, true, MARKUP, np.full(30, weight)) == plain


@pytest.mark.parametrize("key", STEADY)
def test_whole_weights_are_repeated_faces(key: str) -> None:
    predicted, true, weights = made_up(seed=1)
    repeated = np.repeat(np.arange(30), weights.astype(int))
    expected = single(key, predicted[repeated], true[repeated], MARKUP)
    assert single(f"{key}_weighted", predicted, true, MARKUP, weights) == pytest.approx(expected, rel=1e-12)


def test_a_heavy_face_is_climbed_along_the_line_and_a_repeated_one_on_the_spot() -> None:
    """By the trapezoid rule: (0, 0) (.04, 1) against (0, 0) (.04, .5) (.04, 1), up to .08."""
    true = np.zeros((1, 68, 2))
    true[0, :2] = [0, 0], [1, 1]
    predicted = true + np.array([0.04, 0])
    key = "auc_box_0.08"
    heavy = single(f"{key}_weighted", predicted, true, MARKUP, [2])
    assert heavy == pytest.approx((0.04 * 0.5 + 0.04) / 0.08)
    twice = single(key, predicted.repeat(2, 0), true.repeat(2, 0), MARKUP)
    assert twice == pytest.approx((0.04 * 0.25 + 0.04) / 0.08)


@settings(deadline=None, max_examples=40)
@given(weight_lists, st.randoms(use_true_random=False), st.floats(1e-3, 1e3))
def test_neither_the_order_nor_the_unit_of_the_weights_matters(
    weights: list[float], random: Any, unit: float
) -> None:
    predicted, true, _ = made_up(len(weights), 2)
    order = list(range(len(weights)))
    random.shuffle(order)
    values = measure(WEIGHTED, predicted, true, MARKUP, weights)
    shuffled = np.array(weights)[order] * unit
    again = measure(WEIGHTED, predicted[order], true[order], MARKUP, shuffled)
    assert again == pytest.approx(values, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(weight_lists)
def test_a_weighted_metric_lies_between_those_of_single_faces(weights: list[float]) -> None:
    predicted, true, _ = made_up(len(weights), 3)
    for key in ("nme_box", "fr_box_0.07", "macc_box_0.07", "auc_box_0.07_step"):
        alone = [single(key, predicted[i : i + 1], true[i : i + 1], MARKUP) for i in range(len(weights))]
        value = single(f"{key}_weighted", predicted, true, MARKUP, weights)
        assert min(alone) - 1e-12 <= value <= max(alone) + 1e-12


def test_the_area_is_that_under_the_weighted_curve() -> None:
    predicted, true, weights = made_up(seed=4)
    errors = point_errors(predicted, true, normalise(true, MARKUP, "box")).mean(axis=1)
    x, y = ced(errors, weights)
    area = single("auc_box_1_weighted", predicted, true, MARKUP, weights)
    assert area == pytest.approx(np.trapezoid(np.append(y, 1), np.append(x, 1)))


def test_each_landmark_counts_the_weight_of_its_face() -> None:
    # Face 1, weight 3: both landmarks within all 100 steps. Face 2, weight 1: one within all, one within none.
    assert macc([[0, 0], [0, 9]], 1.0, [3, 1]) == pytest.approx((3 * 2 + 1 * 1) / (4 * 2))


def test_weighted_and_unweighted_stand_side_by_side() -> None:
    predicted, true, weights = made_up()
    keys = [*WEIGHTED[:3], *PLAIN[:3], "nme_box_weighted"]
    together = measure(keys, predicted, true, MARKUP, weights)
    for key in keys:
        assert together[key] == pytest.approx(single(key, predicted, true, MARKUP, weights), rel=1e-12)
    for key in PLAIN:
        assert single(key, predicted, true, MARKUP, weights) == single(key, predicted, true, MARKUP)


def test_intervals_are_those_of_weighted_resamples() -> None:
    """The same draws, each face with its own weight, by plain loops."""
    predicted, true, weights = made_up(12)
    keys = ["auc_box_0.07_weighted", "nme_box_weighted", "macc_box_0.07_weighted", "auc_box_0.07", "nme_box"]
    summary = summarise(predicted, true, MARKUP, keys, weights, bootstrap=60, seed=5)
    drawn = np.random.default_rng(5).integers(0, 12, (60, 12))
    for key in keys:
        own = weights if key.endswith("weighted") else np.ones(12)
        values = [by_loops(key, predicted[d], true[d], own[d]) for d in drawn]
        low, high = np.quantile(values, [0.025, 0.975])
        assert summary[key]["low"] == pytest.approx(low)
        assert summary[key]["high"] == pytest.approx(high)


def test_differences_of_two_are_weighted_too() -> None:
    """Only the heavy face is better in B: three quarters of its gain count, not a half."""
    _, true, _ = made_up(2)
    lengths = normalise(true, MARKUP, "box")[:, None, None]
    worse = true + 0.04 * lengths * [1.0, 0.0]
    better = worse.copy()
    better[0] = true[0] + 0.02 * lengths[0] * [1.0, 0.0]
    result = compare(worse, better, true, MARKUP, ["nme_box", "nme_box_weighted"], [3, 1], bootstrap=50)
    plain, weighted = (result["metrics"][key]["difference"] for key in ("nme_box", "nme_box_weighted"))
    assert (plain["value"], weighted["value"]) == pytest.approx((-0.01, -0.015))
    assert (weighted["low"], weighted["high"]) == pytest.approx((-0.02, 0), abs=1e-12)
    assert result["b_better"]["value"] == 0.5


def test_weighted_forms_come_after_all_others() -> None:
    assert asked_keys(MARKUP, weighted=True) == [*SUMMARY_KEYS, *(f"{key}_weighted" for key in SUMMARY_KEYS)]
    keys = asked_keys(MARKUP, ["interpupil"], rules=["lua"], weighted=True)
    half = len(keys) // 2
    assert keys[half:] == [f"{key}_weighted" for key in keys[:half]]
    assert "auc_interpupil_0.08_lua_weighted" in keys


def test_a_weighted_metric_without_weights_is_refused() -> None:
    predicted, true, _ = made_up(3)
    with pytest.raises(InputError, match="a weighted metric needs weights: give one for each face"):
        measure(["nme_box", "nme_box_weighted"], predicted, true, MARKUP)
