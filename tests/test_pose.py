"""The pose that landmarks show, against heads whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.data.synthetic.camera import View
from fanlight.data.synthetic.face import sit
from fanlight.judging.pose import HEAD, can_estimate_pose, estimate_pose
from fanlight.markup import Markup

IBUG = Markup.load("ibug68")


@pytest.mark.parametrize("angles", [(0, 0, 0), (40, 0, 0), (0, -25, 0), (0, 0, 30), (-50, 20, -15)])
def test_the_mean_head_itself_is_found_exactly(angles: tuple[float, float, float]) -> None:
    turned = np.zeros((1, 68, 2))
    rotation = View(*angles, 1, 1, 0, 0).rotation()
    for number, point in enumerate(IBUG.points):
        if point in HEAD:
            turned[0, number] = 3 * (np.array(HEAD[point]) @ rotation.T)[:2] + (100, 50)
    pose = estimate_pose(turned, IBUG)
    assert pose is not None
    np.testing.assert_allclose(pose[0], angles, atol=1e-6)


def test_the_pose_of_synthetic_heads_is_found_within_a_few_degrees() -> None:
    """Persons, expressions and perspective differ from the mean head."""
    heads = [sit(7, number) for number in range(60)]
    pose = estimate_pose([head.landmarks for head in heads], IBUG)
    known = np.array([(head.view.yaw, head.view.pitch, head.view.roll) for head in heads])
    assert np.abs(known[:, 0]).max() > 50
    assert pose is not None
    mean = np.abs(pose - known).mean(axis=0)
    assert (mean < (4, 5, 2)).all(), mean
    assert (np.quantile(np.abs(pose - known), 0.95, axis=0) < (10, 10, 5)).all()


def test_mirroring_turns_yaw_and_roll_round() -> None:
    landmarks = np.array([sit(7, number).landmarks for number in range(8)])
    mirrored = (landmarks * (-1, 1))[:, list(IBUG.mirror)]
    pose, other = estimate_pose(landmarks, IBUG), estimate_pose(mirrored, IBUG)
    assert pose is not None
    np.testing.assert_allclose(other, pose * (-1, 1, -1), atol=1e-9)


def test_other_markups_by_the_names_of_their_points() -> None:
    faces21 = Markup.load("faces21")
    assert can_estimate_pose(faces21)
    names = [IBUG.points.index(point) if point in IBUG.points else 0 for point in faces21.points]
    pose = estimate_pose(np.array([sit(7, 3).landmarks])[:, names], faces21)
    full = estimate_pose([sit(7, 3).landmarks], IBUG)
    assert pose is not None
    np.testing.assert_allclose(pose, full, atol=8)
    four = Markup(name="four", source="t", points=("a", "b", "nose_tip", "c"), mirror=(0, 1, 2, 3))
    assert not can_estimate_pose(four)
    assert estimate_pose(np.zeros((1, 4, 2)), four) is None
