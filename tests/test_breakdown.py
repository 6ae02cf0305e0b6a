"""Groups of faces: everybody is in one of each kind, and each group's figures are its own."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.data.synthetic.face import sit
from fanlight.judging.breakdown import break_down, group_faces, landmark_errors, mean_shape, pose_remark
from fanlight.judging.calibration import calibrate, rank_correlation
from fanlight.judging.faces import JudgedFaces
from fanlight.markup import Markup
from fanlight.metric import face_errors, normalise, point_errors, single

IBUG = Markup.load("ibug68")


@pytest.fixture(scope="module")
def judged() -> JudgedFaces:
    """40 heads of known pose; predictions are worse the farther a head is turned."""
    heads = [sit(5, number) for number in range(40)]
    true = np.array([head.landmarks for head in heads])
    generator = np.random.default_rng(0)
    noise = np.array([1 + abs(head.view.yaw) / 15 for head in heads])[:, None, None]
    boxes = np.array([head.face_box for head in heads]) * generator.uniform(0.2, 3, (40, 1))
    return JudgedFaces(
        predicted=true + noise * generator.normal(size=true.shape),
        true=true,
        scores=np.repeat(1 / noise[..., 0], 68, axis=1),
        covariances=np.eye(2) * np.repeat(noise[..., None] ** 2, 68, axis=1),
        weights=np.ones(40),
        boxes=boxes,
        subsets=["one"] * 30 + ["two"] * 10,
        captions=["x.jpg"] * 40,
    )


def test_each_face_is_in_one_group_of_each_kind(judged: JudgedFaces) -> None:
    ways = group_faces(judged, IBUG)
    assert [by for by, _, _ in ways] == ["yaw", "pitch", "roll", "size", "subset"]
    for _, _, groups in ways:
        assert (np.sum([mask for _, mask in groups], axis=0) == 1).all()


def test_a_groups_figures_are_those_of_its_faces(judged: JudgedFaces) -> None:
    found = {breakdown.by: dict(breakdown.rows) for breakdown in break_down(judged, IBUG)}
    two = found["subset"]["two"]
    assert two["n"] == 10
    expected = single("nme_box", judged.predicted[30:], judged.true[30:], IBUG)
    assert two["nme_box"]["value"] == pytest.approx(expected)
    assert set(two) == {"n", "nme_box", "auc_box_0.07", "fr_box_0.07"}
    yaw = [summary["nme_box"]["value"] for summary in found["yaw"].values()]
    assert yaw == sorted(yaw), "made worse the farther they turn"
    assert len(yaw) >= 3
    sizes = np.sqrt(np.prod(judged.boxes[:, 2:] - judged.boxes[:, :2], axis=1))
    assert found["size"]["below 40 px"]["n"] == (sizes < 40).sum() > 0


def test_faces_all_alike_are_not_split(judged: JudgedFaces) -> None:
    alone = JudgedFaces(**{name: value[:1] for name, value in vars(judged).items()})
    assert break_down(alone, IBUG) == []


def test_a_markup_without_known_points_goes_without_pose(judged: JudgedFaces) -> None:
    plain = Markup(
        name="plain", source="t", points=tuple(f"p{i}" for i in range(68)), mirror=tuple(range(68))
    )
    assert {by for by, _, _ in group_faces(judged, plain)} == {"size", "subset"}
    assert pose_remark(IBUG) is None
    assert "0 points of the mark-up plain" in str(pose_remark(plain))


def test_landmark_errors_average_to_the_nme(judged: JudgedFaces) -> None:
    errors = landmark_errors(judged, IBUG)
    assert errors.shape == (68,)
    assert errors.mean() == pytest.approx(single("nme_box", judged.predicted, judged.true, IBUG))


def test_the_mean_of_moved_copies_is_their_shape() -> None:
    shape = np.array([[0.0, 0], [4, 0], [4, 1], [0, 1.5]])
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    moved = np.array([shape, 5 * shape + 7, 0.3 * shape @ turn.T, 2 * shape @ turn])
    mean = mean_shape(moved)
    size = np.sqrt(np.prod(np.ptp(mean, axis=0)))
    assert size == pytest.approx(1)
    expected = (shape - shape.mean(0)) / np.sqrt(np.prod(np.ptp(shape, axis=0)))
    np.testing.assert_allclose(mean, expected, atol=0.02)  # turned both ways, so upright again


def test_a_score_that_knows_is_told_from_one_that_does_not(judged: JudgedFaces) -> None:
    found = calibrate(judged, IBUG)
    errors = face_errors(point_errors(judged.predicted, judged.true, normalise(judged.true, IBUG)))
    assert found.failed == (errors > 0.07).sum() > 0
    score, spread = found.signals
    assert score.rank_correlation == pytest.approx(rank_correlation(-judged.scores.mean(1), errors))
    assert score.rank_correlation > 0.7
    assert score.detection > 0.8
    assert spread.rank_correlation > 0.5
    assert sum(count for _, _, count in score.bins) == 40 * 68
    means = [error for _, error, _ in score.bins]
    assert means == sorted(means, reverse=True)
    assert found.oracle[-1] == pytest.approx(score.kept_errors[-1]) == pytest.approx(errors.mean())
    assert (found.oracle <= score.kept_errors + 1e-12).all()
    blind = JudgedFaces(**{**vars(judged), "scores": np.ones((40, 68))})
    assert calibrate(blind, IBUG).signals[0].rank_correlation is None
    upside_down = JudgedFaces(**{**vars(judged), "scores": -judged.scores})
    assert calibrate(upside_down, IBUG).signals[0].detection == pytest.approx(1 - score.detection)


def test_rank_correlation_by_hand() -> None:
    # ranks 0 1 2 against 0 2 1: deviations (-1, 0, 1) and (-1, 1, 0): 1 / 2
    assert rank_correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 15])) == pytest.approx(0.5)
    # ties share ranks: 0.5 0.5 2 against 0 1 2: (-.5, -.5, 1) . (-1, 0, 1) = 1.5, over sqrt(1.5 * 2)
    assert rank_correlation(np.array([1.0, 1, 3]), np.array([1.0, 2, 3])) == pytest.approx(1.5 / 3**0.5)
    assert rank_correlation(np.ones(3), np.arange(3.0)) is None
