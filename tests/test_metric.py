"""Metrics worked by hand, the relations between the rules, and the bootstrap against plain repetition."""

from __future__ import annotations

import doctest
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fanlight.metric.key
from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.metric import (
    SUMMARY_KEYS,
    Metric,
    asked_keys,
    auc,
    ced,
    compare,
    face_errors,
    failure_rate,
    macc,
    measure,
    metric_key,
    nme,
    normalise,
    point_errors,
    possible_normalisers,
    single,
    summarise,
)
from fanlight.resample import Column, Faces

KITE = Markup(
    name="kite",
    source="four points for these tests",
    points=("right", "top", "left", "bottom"),
    mirror=(2, 1, 0, 3),
    parts={"sides": (0, 2), "middle": (1, 3)},
    eye_corners=(0, 2),
    pupils=((0,), (2,)),
)
BLIND = Markup(name="blind", source="no eyes", points=KITE.points, mirror=KITE.mirror, parts=KITE.parts)
# x from 0 to 8, y from 0 to 2: width 8, height 2, so box = sqrt(16) = 4, diagonal = sqrt(68); the eye corners are
# (0, 1) and (8, 1): 8 apart.
FACE = np.array([[0.0, 1], [4, 0], [8, 1], [4, 2]])
ERRORS = [0.02, 0.04, 0.06, 0.10]


def made_up(faces: int = 40, seed: int = 0, noise: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    true = FACE * generator.uniform(10, 30, (faces, 1, 1)) + generator.uniform(0, 50, (faces, 1, 2))
    spread = noise * generator.gamma(2, 1, (faces, 1, 1)) * generator.uniform(2, 6, (faces, 1, 1))
    return true + spread * generator.normal(size=true.shape), true


@pytest.mark.parametrize(
    ("normaliser", "length"),
    [("box", 4), ("box_diagonal", 68**0.5), ("box_height", 2), ("interocular", 8), ("interpupil", 8)],
)
def test_normalising_lengths_by_hand(normaliser, length):
    np.testing.assert_allclose(normalise([FACE, 3 * FACE + 7], KITE, normaliser), [length, 3 * length])


def test_interpupil_uses_the_mean_of_each_eye():
    pairs = Markup(
        name="pairs", source="test", points=tuple("abcd"), mirror=(2, 3, 0, 1), pupils=((0, 1), (2, 3))
    )
    # eye centres ((0+2)/2, (0+2)/2) = (1, 1) and ((4+4)/2, (4+6)/2) = (4, 5): 5 apart
    assert normalise([[[0, 0], [2, 2], [4, 4], [4, 6]]], pairs, "interpupil") == pytest.approx([5.0])


def test_a_markup_without_eyes_says_which_normalisers_are_possible():
    assert possible_normalisers(BLIND) == ("box", "box_diagonal", "box_height")
    for normaliser in ("interocular", "interpupil"):
        with pytest.raises(InputError, match=rf"'{normaliser}'.*blind: use box, box_diagonal, box_height"):
            normalise([FACE], BLIND, normaliser)
    with pytest.raises(InputError, match="'forehead' is not possible"):
        normalise([FACE], KITE, "forehead")


def test_a_face_without_extent_is_named():
    with pytest.raises(InputError, match="face 1 "):
        normalise([FACE, FACE * 0 + 5], KITE, "box")


def test_landmark_counts_must_be_the_markups():
    with pytest.raises(InputError, match="3 landmarks a face, but the mark-up kite has 4"):
        normalise([FACE[:3]], KITE)


def test_errors_by_hand():
    moved = FACE + np.array([[3, 4], [0, 0], [0, 2], [1, 0]])  # distances 5, 0, 2, 1
    errors = point_errors([moved], [FACE], [4.0])
    np.testing.assert_allclose(errors, [[1.25, 0, 0.5, 0.25]])
    np.testing.assert_allclose(face_errors(errors), [0.5])
    np.testing.assert_allclose(face_errors(errors, KITE.parts["middle"]), [0.125])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    broken = np.stack([FACE, FACE, FACE])
    broken[1:, 2, 0] = bad
    with pytest.raises(InputError, match=r"predicted landmarks of 2 of 3 faces .* the first is face 1"):
        point_errors(broken, [FACE] * 3, [4.0] * 3)
    with pytest.raises(InputError, match="true landmarks of 2 of 3"):
        normalise(broken, KITE)
    for metric in (
        nme,
        ced,
        lambda e: auc(e, 0.07),
        lambda e: failure_rate(e, 0.07),
        lambda e: macc([e], 0.07),
    ):
        with pytest.raises(InputError, match="finite"):
            metric([0.1, bad])


@pytest.mark.parametrize(
    ("predicted", "true", "lengths"),
    [
        ((3, 4, 2), (2, 4, 2), 3),
        ((3, 4, 2), (3, 5, 2), 3),
        ((3, 4, 2), (3, 4, 2), 2),
        ((3, 4, 3), (3, 4, 3), 3),
    ],
)
def test_shapes_that_differ_are_refused(predicted, true, lengths):
    with pytest.raises(InputError, match="expected"):
        point_errors(np.zeros(predicted), np.zeros(true), np.ones(lengths))


@pytest.mark.parametrize("metric", [nme, ced, lambda e: auc(e, 0.07), lambda e: failure_rate(e, 0.07)])
def test_no_faces_give_no_number(metric):
    with pytest.raises(InputError, match="not empty"):
        metric([])


def test_nme_and_failure_rate_by_hand():
    assert nme(ERRORS) == pytest.approx(0.055)
    assert nme(ERRORS, weights=[1, 0, 0, 3]) == pytest.approx((0.02 + 3 * 0.10) / 4)
    assert failure_rate(ERRORS, 0.05) == 0.5
    assert failure_rate(ERRORS, 0.06) == 0.25, "an error equal to the threshold is no failure"
    assert failure_rate(ERRORS, 0.05, weights=[1, 1, 1, 5]) == pytest.approx(6 / 8)


def test_trapezoid_by_hand():
    # (0, 0) (.02, .25) (.04, .5) (.06, .75) (.10, 1); at .08, half way from .06 to .10, the line is at .875.
    # Four strips of width .02 with mean heights .125, .375, .625, .8125: .02 * 1.9375 = .03875, over .08.
    assert auc(ERRORS, 0.08) == pytest.approx(0.484375)
    # Flat after the last error: the strips up to .06 as above, .06 to .10 .04 * .875, then .10 * 1, all over .2
    assert auc(ERRORS, 0.2) == pytest.approx((0.02 * 1.125 + 0.04 * 0.875 + 0.10) / 0.2)
    # All errors beyond T: the line from (0, 0) to (.1, .5) reaches .25 at .05: .05 * .25 / 2 / .05
    assert auc([0.1, 0.3], 0.05) == pytest.approx(0.125)
    # Equal errors climb on the spot: (0, 0) (.04, .5) (.04, 1), then flat: (.04 * .25 + .04 * 1) / .08
    assert auc([0.04, 0.04], 0.08) == pytest.approx(0.625)
    assert auc([0.0, 0.0], 0.08) == 1.0


def test_weighted_trapezoid_by_hand():
    # Shares 1/2, 1/4, 1/4: (0, 0) (.02, .5) (.04, .75) (.10, 1); at .07 the line is at .875.
    # .02 * .25 + .02 * .625 + .03 * .8125 = .041875, over .07
    assert auc([0.02, 0.04, 0.10], 0.07, weights=[2, 1, 1]) == pytest.approx(0.041875 / 0.07)
    # A face of weight 0 is no corner of the line.
    assert auc([0.02, 0.03, 0.04, 0.10], 0.07, weights=[2, 0, 1, 1]) == pytest.approx(0.041875 / 0.07)
    # Equal errors: the lightest first, (0, 0) (.05, .25) (.05, 1), whatever the order of the faces.
    for weights in ([1, 3], [3, 1]):
        assert auc([0.05, 0.05], 0.1, weights=weights) == pytest.approx((0.05 * 0.125 + 0.05) / 0.1)


def test_step_by_hand():
    # Each face contributes the share of the threshold that lies beyond its error: .75, .5, .25, 0 of .08
    assert auc(ERRORS, 0.08, "step") == pytest.approx(0.375)
    assert auc(ERRORS, 0.08, "step", weights=[1, 0, 0, 2]) == pytest.approx(0.25)


@given(st.lists(st.floats(0, 0.3), min_size=1, max_size=30), st.floats(0.01, 0.2))
def test_step_is_the_trapezoid_less_half_a_face(errors, threshold):
    below = auc(errors, threshold, "trapezoid") - auc(errors, threshold, "step")
    assert -1e-12 <= below <= 0.5 / len(errors) + 1e-12


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=30))
def test_the_difference_is_exactly_half_a_face_where_an_error_is_the_threshold(errors):
    errors = [*errors, 0.1]
    below = auc(errors, 0.1, "trapezoid") - auc(errors, 0.1, "step")
    assert below == pytest.approx(0.5 / len(errors))


@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0.1, 5)), min_size=1, max_size=20),
    st.integers(1, 25),
)
def test_trapezoid_is_the_area_under_the_ced(faces, threshold):
    errors, weights = np.array(faces).T / [[100], [1]]
    limit = threshold / 100
    x, y = ced(errors, weights)
    area = 0.0
    for (x0, x1), (y0, y1) in zip(pairwise(x), pairwise(y), strict=True):
        if x0 < limit and x1 > x0:
            end = min(x1, limit)
            area += (end - x0) * (y0 + (y0 + (y1 - y0) * (end - x0) / (x1 - x0))) / 2
    area += max(0.0, limit - x[-1])
    assert auc(errors, limit, weights=weights) == pytest.approx(area / limit, abs=1e-9)


def test_lua_rule_by_its_definition():
    errors = np.random.default_rng(1).gamma(4, 0.01, 200)
    # 70 grid points 0, 1/999 ... 69/999 lie below 0.07; the curve counts strictly smaller errors
    curve = [np.mean(errors < i / 999) for i in range(70)]
    assert auc(errors, 0.07, "lua") == pytest.approx(np.mean(curve))
    assert auc([0.0], 0.07, "lua") == pytest.approx(69 / 70), "at 0 the curve does not count an error of 0"
    assert auc(errors, 0.07) - auc(errors, 0.07, "lua") == pytest.approx(0.007, abs=0.003)


@pytest.mark.parametrize("threshold", [0.05, 0.07, 0.08, 0.1])  # an odd and an even number of intervals
def test_simpson_rule_by_its_definition(threshold):
    integrate = pytest.importorskip("scipy.integrate")
    errors = np.random.default_rng(2).gamma(4, 0.01, 57)
    grid = np.arange(0, threshold + 1e-4, 1e-4)
    curve = [np.mean(errors <= x) for x in grid]
    assert auc(errors, threshold, "simpson") == pytest.approx(integrate.simpson(curve, x=grid) / threshold)


def test_mean_accuracy_by_its_definition():
    errors = np.random.default_rng(3).gamma(4, 0.01, (11, 5))
    weights = np.arange(11) / 3
    steps = [k * 0.07 / 100 for k in range(1, 101)]
    assert macc(errors, 0.07) == pytest.approx(np.mean([np.mean(errors <= t) for t in steps]))
    weighted = [np.average((errors <= t).mean(1), weights=weights) for t in steps]
    assert macc(errors, 0.07, weights) == pytest.approx(np.mean(weighted))
    # An error of 0 is within all 100 thresholds, one of T within the last only, one above T within none.
    assert macc([[0, 1, 1.01]], 1.0) == pytest.approx((100 + 1 + 0) / 300)


def test_ced_by_hand():
    x, y = ced([0.3, 0.1, 0.2], weights=[2, 1, 1])
    np.testing.assert_allclose(x, [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(y, [0, 0.25, 0.5, 1])
    x, y = ced([0.3, 0.1, 0.2], weights=[2, 0, 1])
    np.testing.assert_allclose((x, y), ([0, 0.2, 0.3], [0, 1 / 3, 1]))


ALL_KEYS = [*SUMMARY_KEYS, *(f"auc_box_height_0.3_{rule}" for rule in ("step", "lua", "simpson"))]


@pytest.mark.parametrize("plain_key", ALL_KEYS)
def test_weights_are_a_matter_of_ratios_and_not_of_order(plain_key):
    key = f"{plain_key}_weighted"
    predicted, true = made_up(30)
    weights = np.random.default_rng(4).integers(1, 4, 30)
    order = np.random.default_rng(5).permutation(30)
    value = single(key, predicted, true, KITE, weights)
    assert single(key, predicted, true, KITE, weights / 7) == pytest.approx(value)
    assert single(key, predicted[order], true[order], KITE, weights[order]) == pytest.approx(value)
    assert single(key, predicted, true, KITE, np.full(30, 2.5)) == pytest.approx(
        single(plain_key, predicted, true, KITE)
    )
    if key.startswith("auc") and Metric.parse(key).rule == "trapezoid":
        return  # a repeated face climbs on the spot, a heavy one along the line
    repeated = np.repeat(np.arange(30), weights)
    assert single(plain_key, predicted[repeated], true[repeated], KITE) == pytest.approx(value)


@pytest.mark.parametrize("weights", [[1, 1], [1, -1, 1], [1, np.nan, 1], [0, 0, 0], [[1], [1], [1]]])
def test_useless_weights_are_refused(weights):
    with pytest.raises(InputError, match="weights"):
        nme([0.1, 0.2, 0.3], weights)


@pytest.mark.parametrize("threshold", [0, -0.07, np.nan, np.inf])
def test_useless_thresholds_are_refused(threshold):
    with pytest.raises(InputError, match="fraction above 0"):
        auc(ERRORS, threshold)


@pytest.mark.parametrize(
    ("key", "metric"),
    [
        ("nme_box", Metric("nme", "box")),
        ("nme_box_diagonal", Metric("nme", "box_diagonal")),
        ("fr_interocular_0.08", Metric("fr", "interocular", 0.08)),
        ("auc_box_height_0.1_simpson", Metric("auc", "box_height", 0.1, "simpson")),
        ("macc_interpupil_1", Metric("macc", "interpupil", 1.0)),
        ("auc_box_0.00001", Metric("auc", "box", 1e-5)),
        ("nme_box_weighted", Metric("nme", "box", weighted=True)),
        ("macc_box_0.07_weighted", Metric("macc", "box", 0.07, weighted=True)),
        ("auc_interocular_0.08_step_weighted", Metric("auc", "interocular", 0.08, "step", True)),
    ],
)
def test_keys_are_read_back(key, metric):
    assert Metric.parse(key) == metric
    assert metric.key == key == metric_key(**vars(metric))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "auc",
        "auc_box",
        "nme_box_0.07",
        "auc_0.07",
        "fr_box_0.07_lua",
        "auc_box_0.0",
        "mse_box",
        "nme_nose",
        "weighted_nme_box",
        "auc_box_0.07_weighted_lua",
        "nme_weighted",
        "nme_box_weighted_weighted",
    ],
)
def test_what_is_no_key_is_refused_with_the_forms(key):
    with pytest.raises(
        InputError, match=r"is no metric: write nme_NORMALISER.*0.07_weighted; .*box_diagonal.*simpson"
    ):
        Metric.parse(key)


def test_every_metric_says_what_it_is_and_how_it_ranks():
    better = {key: Metric.parse(key).larger_is_better for key in SUMMARY_KEYS}
    assert [key for key, larger in better.items() if larger] == [
        "auc_box_0.07",
        "auc_interocular_0.08",
        "macc_box_0.07",
    ]
    metric = Metric.parse("auc_interocular_0.08_step")
    assert metric.title == "AUC@0.08 interocular, step"
    for word in ("0.08", "staircase", "eye corners"):
        assert word in metric.definition
    weighted = Metric.parse("macc_box_0.07_weighted")
    assert weighted.larger_is_better
    assert weighted.title == "mAcc@0.07 box, weighted"
    assert weighted.definition.endswith("; each face counts by its weight")
    assert "weight" not in metric.definition


def test_measure_agrees_with_the_single_functions():
    predicted, true = made_up(25)
    weights = np.linspace(0, 2, 25)
    boxed = point_errors(predicted, true, normalise(true, KITE))
    eyed = face_errors(point_errors(predicted, true, normalise(true, KITE, "interocular")))
    keys = [f"{key}_weighted" for key in SUMMARY_KEYS]
    assert measure(keys, predicted, true, KITE, weights) == pytest.approx(
        {
            "nme_box_weighted": nme(face_errors(boxed), weights),
            "nme_interocular_weighted": nme(eyed, weights),
            "auc_box_0.07_weighted": auc(face_errors(boxed), 0.07, weights=weights),
            "auc_interocular_0.08_weighted": auc(eyed, 0.08, weights=weights),
            "fr_box_0.07_weighted": failure_rate(face_errors(boxed), 0.07, weights),
            "fr_interocular_0.08_weighted": failure_rate(eyed, 0.08, weights),
            "macc_box_0.07_weighted": macc(boxed, 0.07, weights),
        }
    )


def test_summary_holds_every_metric_with_an_interval_around_it():
    predicted, true = made_up(60, noise=0.6)
    summary = summarise(predicted, true, KITE, bootstrap=200)
    assert list(summary) == ["n", *SUMMARY_KEYS, "parts"]
    assert summary["n"] == 60
    for key, value in measure(SUMMARY_KEYS, predicted, true, KITE).items():
        assert summary[key]["value"] == pytest.approx(value)
        assert summary[key]["low"] < value < summary[key]["high"]
    assert list(summary["parts"]) == ["sides", "middle"]
    errors = point_errors(predicted, true, normalise(true, KITE, "interocular"))
    sides = summary["parts"]["sides"]["nme_interocular"]["value"]
    assert sides == pytest.approx(errors[:, [0, 2]].mean())


def test_summary_leaves_out_what_the_markup_cannot_give():
    predicted, true = made_up(10)
    summary = summarise(predicted, true, BLIND, bootstrap=10)
    assert list(summary) == ["n", "nme_box", "auc_box_0.07", "fr_box_0.07", "macc_box_0.07", "parts"]
    assert list(summary["parts"]["sides"]) == ["nme_box", "macc_box_0.07"]
    with pytest.raises(InputError, match="'interocular' is not possible"):
        summarise(predicted, true, BLIND, keys=["nme_interocular"])


def test_summary_is_repeatable_and_seeded():
    predicted, true = made_up(20)
    first, again, other = (summarise(predicted, true, KITE, bootstrap=50, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first["nme_box"]["value"] == other["nme_box"]["value"]
    assert first["nme_box"]["low"] != other["nme_box"]["low"]


def test_weightless_faces_are_not_there():
    predicted, true = made_up(20)
    weights = np.r_[np.ones(15), np.zeros(5)]
    assert summarise(predicted, true, KITE, weights=weights) == summarise(predicted[:15], true[:15], KITE)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("key", ["auc_box_0.07", "auc_box_0.07_simpson", "fr_box_0.05", "nme_box"])
def test_a_resample_is_the_metric_of_the_drawn_faces(key, weighted):
    errors = np.random.default_rng(6).gamma(3, 0.02, 13).round(2)  # rounded: some are equal
    weights = np.random.default_rng(7).integers(1, 4, 13) / 2 if weighted else np.ones(13)
    metric = replace(Metric.parse(key), weighted=weighted)
    column = metric.column(errors[:, None])
    drawn = np.random.default_rng(8).integers(0, 13, (40, 13))
    expected = [Faces([metric.column(errors[d, None])], weights[d]).values()[0] for d in drawn]
    np.testing.assert_allclose(Faces([column], weights).resampled(40, seed=8)[:, 0], expected)


def test_the_interval_of_a_mean_has_the_width_of_the_normal_one():
    scores = np.random.default_rng(9).gamma(3, 0.02, 2000)
    low, high = np.quantile(Faces([Column(scores)]).resampled(1000, 0)[:, 0], [0.025, 0.975])
    assert high - low == pytest.approx(2 * 1.96 * scores.std() / 2000**0.5, rel=0.1)


def test_no_resamples_are_refused():
    predicted, true = made_up(5)
    with pytest.raises(InputError, match="0 bootstrap resamples"):
        summarise(predicted, true, KITE, bootstrap=0)


def test_what_is_asked_for_comes_after_the_usual_metrics():
    usual = list(SUMMARY_KEYS)
    assert asked_keys(KITE) == usual
    assert asked_keys(BLIND) == [key for key in usual if "interocular" not in key]
    assert asked_keys(KITE, rules=["lua", "step"]) == [
        *usual,
        *("auc_box_0.07_lua", "auc_box_0.07_step", "auc_interocular_0.08_lua", "auc_interocular_0.08_step"),
    ]
    assert asked_keys(KITE, ["interpupil"]) == [
        *usual, "nme_interpupil", "auc_interpupil_0.08", "fr_interpupil_0.08", "macc_interpupil_0.08",
    ]  # fmt: skip
    assert asked_keys(KITE, ["box"], [0.07, 0.1], ["trapezoid", "simpson"])[len(usual) :] == [
        "auc_box_0.07_simpson",
        *("auc_box_0.1", "auc_box_0.1_simpson", "fr_box_0.1", "macc_box_0.1"),
    ]
    predicted, true = made_up(10)
    keys = asked_keys(KITE, ["box_height", "interpupil"], [0.3], ["lua"])
    assert measure(keys, predicted, true, KITE)["auc_box_height_0.3_lua"] == pytest.approx(
        single("auc_box_height_0.3_lua", predicted, true, KITE)
    )
    with pytest.raises(InputError, match="interpupil: not possible with the mark-up blind; use box, "):
        asked_keys(BLIND, ["interpupil"])
    with pytest.raises(InputError, match="threshold -1"):
        asked_keys(KITE, thresholds=[-1.0])


def test_two_predictions_are_compared_on_the_same_draws():
    """A constant improvement of every face has an interval of no width, however much the faces differ."""
    _, true = made_up(30)
    lengths = normalise(true, KITE)[:, None]
    hard = np.random.default_rng(1).uniform(0.02, 0.2, (30, 1))
    worse, better = (true + (share * lengths)[..., None] * [1.0, 0.0] for share in (hard + 0.01, hard))
    result = compare(worse, better, true, KITE, ["nme_box", "auc_box_0.07"], bootstrap=100)
    assert result["n"] == 30
    difference = result["metrics"]["nme_box"]["difference"]
    assert difference == pytest.approx({"value": -0.01, "low": -0.01, "high": -0.01})
    alone = result["metrics"]["nme_box"]["b"]
    assert alone["high"] - alone["low"] > 0.01
    assert alone == summarise(better, true, KITE, ["nme_box"], bootstrap=100)["nme_box"]
    area = result["metrics"]["auc_box_0.07"]
    assert area["difference"]["value"] == pytest.approx(area["b"]["value"] - area["a"]["value"])
    assert 0 < area["difference"]["low"] < area["difference"]["value"] < area["difference"]["high"]
    assert (result["a_better"]["value"], result["b_better"]["value"]) == (0, 1)


def test_equal_faces_are_better_for_neither():
    predicted, true = made_up(20)
    moved = predicted.copy()
    moved[:5] = true[:5]  # 5 of 20 faces are perfect in B
    result = compare(predicted, moved, true, KITE, bootstrap=200)
    assert result["a_better"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    share = result["b_better"]
    assert share["value"] == 0.25
    assert 0 < share["low"] < 0.25 < share["high"] < 0.6
    assert list(result["metrics"]) == list(SUMMARY_KEYS)


def test_rounding_makes_nobody_better():
    predicted, true = made_up(20)
    result = compare(predicted, predicted + 1e-6, true, KITE, bootstrap=10)
    assert result["a_better"]["value"] == result["b_better"]["value"] == 0


def test_docstring_examples():
    result = doctest.testmod(fanlight.metric.key)
    assert result.attempted
    assert result.failed == 0
