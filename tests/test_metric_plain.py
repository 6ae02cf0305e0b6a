"""Every metric that a key can name, and what else is judged by, against slow loops (``plain_metrics``)."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import plain_metrics as plain
from fanlight.errors import InputError
from fanlight.judging import calibration
from fanlight.judging.breakdown import SIZE_EDGES_PX, group_faces
from fanlight.judging.faces import JudgedFaces
from fanlight.judging.jitter import rms_deviation, rms_jitter
from fanlight.judging.pose import HEAD, estimate_pose, known_points
from fanlight.markup import Markup
from fanlight.metric import EQUAL, Kind, Metric, Normaliser, Rule, ced, compare, measure, summarise

Array = NDArray[np.float64]
KITE = Markup(
    name="kite",
    source="four points for these tests",
    points=("right", "top", "left", "bottom"),
    mirror=(2, 1, 0, 3),
    parts={"sides": (0, 2), "middle": (1, 3)},
    eye_corners=(0, 2),
    pupils=((0, 1), (2, 1)),
)
SIDES = (16.0, 64.0)  # of boxes; the root of the product of any two is a whole number
AWAY = st.sampled_from([(0, 0), (1, 0), (0, -2), (3, 4), (-6, 8), (5, 0), (40, -30), (0, 1000)])


def all_metrics(limits: tuple[float, ...]) -> list[Metric]:
    """Each kind with each normaliser, rule and way of counting."""
    found = [Metric("nme", normaliser) for normaliser in get_args(Normaliser)]
    for normaliser, limit in itertools.product(get_args(Normaliser), limits):
        found += [Metric("auc", normaliser, limit, rule) for rule in get_args(Rule)]
        found += [Metric("fr", normaliser, limit), Metric("macc", normaliser, limit)]
    assert {metric.kind for metric in found} == set(get_args(Kind))
    return [
        Metric(m.kind, m.normaliser, m.threshold, m.rule, weighted)
        for m in found
        for weighted in (False, True)
    ]


@st.composite
def judged_faces(draw: Any) -> tuple[Array, Array, Array]:
    """Predictions, truth and weights of 1 to 8 faces whose errors are often equal, or one of the thresholds.

    All numbers are whole ones times a power of 2, so that no rounding decides which is the larger.
    """
    unit = 2.0 ** draw(st.integers(-300, 300))
    true, predicted, weights = [], [], []
    for _ in range(draw(st.integers(1, 8))):
        width, height = draw(st.sampled_from(SIDES)), draw(st.sampled_from(SIDES))
        left, top = draw(st.integers(-500, 500)), draw(st.integers(-500, 500))
        face = [[0, height / 2], [width / 2, 0], [width, height / 2], [width / 2, height]]
        same = draw(AWAY) if draw(st.booleans()) else None
        offsets = [same or draw(AWAY) for _ in face]
        true.append([[(x + left) * unit, (y + top) * unit] for x, y in face])
        predicted.append(
            [
                [(x + left + a) * unit, (y + top + b) * unit]
                for (x, y), (a, b) in zip(face, offsets, strict=True)
            ]
        )
        weights.append(draw(st.sampled_from([0.0, 1.0, 1.0, 2.0, 5.0, 0.25])))
    if not any(weights):
        weights[0] = 1.0
    return np.array(predicted), np.array(true), np.array(weights)


def plain_errors(metric: Metric, predicted: Array, true: Array) -> list[list[float]]:
    assert KITE.eye_corners
    assert KITE.pupils
    return [
        plain.landmark_errors(p, t, plain.length(t, metric.normaliser, KITE.eye_corners, KITE.pupils))
        for p, t in zip(predicted.tolist(), true.tolist(), strict=True)
    ]


def by_loops(metric: Metric, errors: list[list[float]], weights: list[float], factor: float = 1.0) -> float:
    """A face of weight 0 is not there, whether or not the others are weighed."""
    kept = [([e * factor for e in face], w) for face, w in zip(errors, weights, strict=True) if w > 0]
    counted = [w if metric.weighted else 1.0 for _, w in kept]
    return plain.metric(metric.kind, metric.rule, metric.threshold or 0.0, [f for f, _ in kept], counted)


def largest_difference(predicted: Array, true: Array, weights: Array) -> float:
    """Of all metrics from those of the plain loops.

    The diagonal of a box is no whole number: rounding may decide whether an error is within a threshold, so that
    the value has to lie between those of errors that are a hair larger and smaller.
    """
    metrics = all_metrics((0.0625, 0.3125))  # an odd and an even number of Simpson's intervals
    found = measure([metric.key for metric in metrics], predicted, true, KITE, weights)
    largest = 0.0
    for metric in metrics:
        errors, value = plain_errors(metric, predicted, true), found[metric.key]
        exact = metric.normaliser != "box_diagonal"
        factors = (1.0,) if exact else (1 - 1e-13, 1.0, 1 + 1e-13)
        ends = [by_loops(metric, errors, weights.tolist(), factor) for factor in factors]
        outside = max(min(ends) - value, value - max(ends), 0.0)
        largest = max(largest, outside / max(1.0, abs(value)))
    return largest


@settings(deadline=None, max_examples=12)
@given(judged_faces())
def test_every_metric_is_that_of_plain_loops(faces: tuple[Array, Array, Array]) -> None:
    assert largest_difference(*faces) < 1e-12


@pytest.mark.slow
@settings(deadline=None, max_examples=1000)
@given(judged_faces())
def test_every_metric_of_many_faces_is_that_of_plain_loops(faces: tuple[Array, Array, Array]) -> None:
    assert largest_difference(*faces) < 1e-12


@settings(deadline=None, max_examples=50)
@given(judged_faces())
def test_the_curve_is_that_of_plain_loops(faces: tuple[Array, Array, Array]) -> None:
    predicted, true, weights = faces
    errors = [plain.mean(face) for face in plain_errors(Metric("nme", "box"), predicted, true)]
    x, y = ced(errors, weights)
    np.testing.assert_allclose(
        list(zip(x, y, strict=True)), plain.curve(errors, weights.tolist()), rtol=1e-12
    )


# ------------------------------------------------------------------ intervals, parts, pairs


def intervals_by_loops(
    metric: Metric, errors: list[list[float]], weights: list[float], draws: Array
) -> list[float]:
    """Value, and the 2.5 % and 97.5 % quantiles of the resamples, which draw among the faces that are there."""
    kept = [i for i, weight in enumerate(weights) if weight > 0]
    drawn = [
        by_loops(metric, [errors[kept[d]] for d in draw], [weights[kept[d]] for d in draw])
        for draw in draws.tolist()
    ]
    return [by_loops(metric, errors, weights), plain.quantile(drawn, 0.025), plain.quantile(drawn, 0.975)]


@settings(deadline=None, max_examples=8)
@given(judged_faces(), st.integers(0, 99))
def test_intervals_are_those_of_plain_resamples(faces: tuple[Array, Array, Array], seed: int) -> None:
    """Of the whole face and of its parts, by the draws of the seed."""
    predicted, true, weights = faces
    metrics = [m for m in all_metrics((0.0625,)) if m.normaliser in ("box", "interocular")]
    there = int((weights > 0).sum())
    draws = np.random.default_rng(seed).integers(0, there, (20, there))
    keys = [metric.key for metric in metrics]
    summary = summarise(predicted, true, KITE, keys, weights, bootstrap=20, seed=seed)
    assert summary["n"] == there
    for metric in metrics:
        errors = plain_errors(metric, predicted, true)
        expected = intervals_by_loops(metric, errors, weights.tolist(), draws)
        assert list(summary[metric.key].values()) == pytest.approx(expected, rel=1e-9, abs=1e-12), metric.key
    for (part, points), key in itertools.product(
        KITE.parts.items(), ("nme_box", "nme_interocular", "macc_box_0.07")
    ):
        metric = Metric.parse(key)
        errors = [[face[i] for i in points] for face in plain_errors(metric, predicted, true)]
        expected = intervals_by_loops(metric, errors, weights.tolist(), draws)
        assert list(summary["parts"][part][key].values()) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=8)
@given(judged_faces(), st.integers(0, 99), st.integers(0, 2**32 - 1))
def test_comparisons_are_those_of_plain_pairs(
    faces: tuple[Array, Array, Array], seed: int, shuffle: int
) -> None:
    """B is A with its errors in another order of the landmarks, some of them gone."""
    first, true, weights = faces
    numbers = np.random.default_rng(shuffle)
    second = true + numbers.permutation(first - true, axis=1) * numbers.integers(0, 2, (len(true), 1, 1))
    metrics = [m for m in all_metrics((0.0625,)) if m.normaliser in ("box", "interocular")]
    found = compare(first, second, true, KITE, [m.key for m in metrics], weights, bootstrap=20, seed=seed)
    there = [i for i, weight in enumerate(weights) if weight > 0]
    draws = np.random.default_rng(seed).integers(0, len(there), (20, len(there)))
    drawn = [list(range(len(there))), *draws.tolist()]
    for metric in metrics:
        a, b = ([plain_errors(metric, p, true)[i] for i in there] for p in (first, second))
        own = [weights[i] for i in there]
        differences = [
            by_loops(metric, [b[i] for i in draw], [own[i] for i in draw])
            - by_loops(metric, [a[i] for i in draw], [own[i] for i in draw])
            for draw in drawn
        ]
        expected = [
            differences[0],
            plain.quantile(differences[1:], 0.025),
            plain.quantile(differences[1:], 0.975),
        ]
        got = list(found["metrics"][metric.key]["difference"].values())
        assert got == pytest.approx(expected, rel=1e-9, abs=1e-11), metric.key
    a, b = ([plain.mean(f) for f in plain_errors(Metric("nme", "box"), p, true)] for p in (first, second))
    gains = [a[i] - b[i] for i in there]
    assert found["b_better"]["value"] == pytest.approx(plain.mean([float(g > EQUAL) for g in gains]))
    assert found["a_better"]["value"] == pytest.approx(plain.mean([float(g < -EQUAL) for g in gains]))


# ------------------------------------------------------------------ what has no number


@settings(deadline=None, max_examples=20)
@given(judged_faces(), st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_a_landmark_that_is_no_number_is_refused_with_its_face(
    faces: tuple[Array, Array, Array], broken: float, data: Any
) -> None:
    predicted, true, weights = faces
    face = data.draw(st.integers(0, len(true) - 1))
    which = data.draw(st.sampled_from(["predicted", "true"]))
    {"predicted": predicted, "true": true}[which][face, 1, 0] = broken
    keys = [metric.key for metric in all_metrics((0.0625,))]
    for judge in (
        lambda: measure(keys, predicted, true, KITE, weights),
        lambda: summarise(predicted, true, KITE, keys, weights),
        lambda: compare(predicted, predicted, true, KITE, keys, weights),
    ):
        with pytest.raises(InputError, match=rf"{which} landmarks .* not finite, the first is face {face} "):
            judge()


def test_faces_too_large_or_too_small_for_numbers_are_refused() -> None:
    """The product of width and height leaves the range of the numbers beyond 1e154 px, and below 1e-162."""
    face = np.array([[[0.0, 1], [4, 0], [8, 1], [4, 2]]])
    with pytest.raises(InputError, match="finite and above 0"), np.errstate(over="ignore"):
        measure(["nme_box"], face * 1e200, face * 1e200, KITE)
    with pytest.raises(InputError, match="is 0 for face 0"):
        measure(["nme_box"], face * 1e-200, face * 1e-200, KITE)


# ------------------------------------------------------------------ jitter, pose, groups, signs of trouble

numbers = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=50)
@given(numbers, st.integers(4, 12), st.integers(1, 5), st.sampled_from([1e-6, 1.0, 1e6]))
def test_trembling_is_that_of_plain_loops(
    numbers: np.random.Generator, frames: int, points: int, unit: float
) -> None:
    trail = 50 + unit * numbers.normal(size=(frames, points, 2))
    assert rms_deviation(trail) == pytest.approx(plain.deviation(trail.tolist()), rel=1e-6)
    assert rms_jitter(trail) == pytest.approx(plain.jitter(trail.tolist()), rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(numbers, st.floats(-180, 180), st.floats(0.1, 1e4))
def test_the_pose_is_the_rotation_nearest_to_the_fitted_camera(
    numbers: np.random.Generator, turn: float, scale: float
) -> None:
    """Of any landmarks: no rotation around it fits the affine camera of least squares better."""
    markup = Markup.load("ibug68")
    known = known_points(markup)
    head = np.array([HEAD[markup.points[i]] for i in known])
    head -= head.mean(0)
    roll = rotation(0, 0, turn)
    seen = numbers.normal(size=(1, 68, 2))
    seen[0, known] += 2 * (head @ roll.T)[:, :2]
    pose = estimate_pose(seen * scale, markup)
    assert pose is not None
    camera, *_ = np.linalg.lstsq(head, seen[0, known] - seen[0, known].mean(0), rcond=None)

    def fit(angles: Array) -> float:
        return float((rotation(*angles)[:2] * camera.T).sum())

    for change in np.vstack([np.eye(3), -np.eye(3)]) * 0.05:
        assert fit(pose[0] + change) <= fit(pose[0])


def rotation(yaw: float, pitch: float, roll: float) -> Array:
    """By matrices, one after the other: turning to the image's right, bowing, tilting clockwise."""
    y, p, r = (math.radians(angle) for angle in (yaw, pitch, roll))
    turn = np.array([[math.cos(y), 0, math.sin(y)], [0, 1, 0], [-math.sin(y), 0, math.cos(y)]])
    bow = np.array([[1, 0, 0], [0, math.cos(p), math.sin(p)], [0, -math.sin(p), math.cos(p)]])
    tilt = np.array([[math.cos(r), -math.sin(r), 0], [math.sin(r), math.cos(r), 0], [0, 0, 1]])
    return np.asarray(tilt @ bow @ turn)


@settings(deadline=None, max_examples=20)
@given(numbers, st.integers(1, 30))
def test_each_face_is_in_the_group_that_its_figures_say(numbers: np.random.Generator, count: int) -> None:
    """Sizes on the edges included: a group begins with its lower edge."""
    sizes = numbers.choice([*SIZE_EDGES_PX, 39.999, 40.001, 5.0, 1000.0], count)
    boxes = np.column_stack([np.zeros((count, 2)), sizes, sizes])
    subsets = [f"s{i}" for i in numbers.integers(0, 3, count)]
    shapes = numbers.normal(size=(count, 4, 2))
    judged = JudgedFaces(
        shapes,
        shapes,
        shapes[..., 0],
        np.zeros((count, 4, 2, 2)),
        np.ones(count),
        boxes,
        subsets,
        [""] * count,
    )
    for by, _, groups in group_faces(judged, KITE):
        for face in range(count):
            (name,) = [name for name, mask in groups if mask[face]]
            if by == "subset":
                assert name == subsets[face]
                continue
            below = sum(edge <= sizes[face] for edge in SIZE_EDGES_PX)
            low, high = (None, *SIZE_EDGES_PX)[below], (*SIZE_EDGES_PX, None)[below]
            assert name.replace(" and more", "").replace("below ", "") == (
                f"{low} px" if high is None else f"{high} px" if low is None else f"{low} to {high} px"
            )


@settings(deadline=None, max_examples=30)
@given(numbers, st.integers(2, 12))
def test_what_signs_of_trouble_are_worth_is_that_of_plain_loops(
    numbers: np.random.Generator, count: int
) -> None:
    """Rounded, so that many are equal."""
    doubt, errors = numbers.normal(size=(2, count)).round(1)
    expected = plain.rank_correlation(doubt.tolist(), errors.tolist())
    assert calibration.rank_correlation(doubt, errors) == (expected and pytest.approx(expected, abs=1e-12))
    failed = errors > 0
    expected = plain.detection(doubt.tolist(), failed.tolist())
    found = calibration._detection(doubt, failed)
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))
