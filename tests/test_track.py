"""Following faces of painted dots, whose landmarks and identities are known in each frame."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import FACE, FPS, HEIGHT, WIDTH, Detector, Way, dots, picture, pictures, truth
from fanlight.clips.association import bounds, centre, doubles, is_outside, is_step, pair, relation
from fanlight.clips.smooth import OneEuro
from fanlight.clips.track import Tracked, Tracker, TrackOptions, track_clip
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.predict import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots(tmp_path_factory.mktemp("dots"))


@pytest.fixture
def predictor(model: Predictor) -> Predictor:
    model.detector = Detector()
    return model


def follow(
    predictor: Predictor, ways: list[Way], count: int, options: TrackOptions | None = None
) -> list[list[Tracked]]:
    tracker = Tracker(predictor, options)
    return [tracker.update(image, number / FPS) for number, image in enumerate(pictures(ways, count))]


def ids_of(result: list[list[Tracked]], ways: list[Way]) -> list[dict[int, int]]:
    """In each frame, the id of each way's face that was found, each within 2 px of the truth."""
    found = []
    for number, faces in enumerate(result):
        ids = {}
        for tracked in faces:
            centres = [way(number) for way in ways]
            errors = [9e9 if c is None else np.abs(tracked.measured - truth(c)).max() for c in centres]
            assert min(errors) < 2
            ids[int(np.argmin(errors))] = tracked.id
        found.append(ids)
    return found


def right(number: int) -> tuple[float, float]:
    return 40 + 3 * number, 60 + 0.3 * number


def left(number: int) -> tuple[float, float]:
    return 280 - 3 * number, 180 - 0.3 * number


def test_landmarks_are_followed_exactly_and_the_detector_looks_now_and_then(predictor: Predictor) -> None:
    result = follow(predictor, [right], 40)
    for number, faces in enumerate(result):
        (tracked,) = faces
        assert tracked.id == 1
        assert tracked.detected == (number == 0)
        assert np.abs(tracked.face.landmarks - truth(right(number))).max() < 0.3
        np.testing.assert_array_equal(tracked.face.box, bounds(tracked.face.landmarks))
        np.testing.assert_array_equal(tracked.face.landmarks, tracked.measured)
    assert predictor.detector.calls == 4  # type: ignore[union-attr] # of 40 frames, each tenth


def test_faces_that_pass_each_other_keep_their_ids(predictor: Predictor) -> None:
    ids = ids_of(follow(predictor, [right, left], 45), [right, left])
    assert ids == [ids[0]] * 45
    assert sorted(ids[0].values()) == [1, 2]


def test_a_face_that_goes_behind_another_keeps_its_id(predictor: Predictor) -> None:
    def front(number: int) -> tuple[float, float]:
        return 280 - 5 * number, 122.0

    def back(number: int) -> tuple[float, float] | None:
        place = (40 + 5 * number, 118.0)
        return None if abs(place[0] - front(number)[0]) < 75 else place

    result = follow(predictor, [back, front], 48)
    hidden = [number for number in range(48) if back(number) is None]
    assert 10 < len(hidden) < 20
    ids = ids_of(result, [back, front])
    own = ids[0]
    for number in range(48):
        assert ids[number][1] == own[1]
        if number in hidden:
            assert 0 not in ids[number]
        elif number < hidden[0] or number > hidden[-1] + 3:  # found again within three frames
            assert ids[number][0] == own[0]


def test_a_face_hidden_for_a_few_frames_is_lost_and_found_at_once(predictor: Predictor) -> None:
    def blinks(number: int) -> tuple[float, float] | None:
        return None if 12 <= number < 20 else (60 + 4 * number, 100)

    result = follow(predictor, [blinks], 30, TrackOptions(detect_every=3))
    assert [len(faces) for faces in result] == [1] * 12 + [0] * 8 + [1] * 10
    assert {tracked.id for faces in result for tracked in faces} == {1}
    assert [number for number, faces in enumerate(result) if any(f.detected for f in faces)] == [0, 20]


def test_a_face_hidden_for_long_gets_a_new_id(predictor: Predictor) -> None:
    def blinks(number: int) -> tuple[float, float] | None:
        return None if 5 <= number < 30 else (100, 100)

    result = follow(predictor, [blinks], 45, TrackOptions(keep_s=0.5))
    assert {tracked.id for faces in result[:5] for tracked in faces} == {1}
    assert {tracked.id for faces in result[30:] for tracked in faces} == {2}
    assert len(result[-1]) == 1


def test_a_face_that_jumps_is_found_at_once_and_is_a_new_one(predictor: Predictor) -> None:
    result = follow(predictor, [lambda number: (60, 60) if number < 5 else (260, 180)], 10)
    assert [[tracked.id for tracked in faces] for faces in result] == [[1]] * 5 + [[2]] * 5


def test_newcomers_get_ids_of_their_own(predictor: Predictor) -> None:
    def leaves(number: int) -> tuple[float, float] | None:
        return None if 6 <= number < 36 else (60 + number, 60)

    def comes(number: int) -> tuple[float, float] | None:
        return (220, 180) if number >= 14 else None

    ids = ids_of(follow(predictor, [leaves, comes], 50, TrackOptions(keep_s=1.0)), [leaves, comes])
    assert ids[5] == {0: 1}
    assert ids[22] == {1: 2}  # found at a later look of the detector
    assert ids[49] == {0: 3, 1: 2}  # gone for longer than a second: it might be anybody


def test_no_more_faces_than_allowed_and_no_needless_detection(predictor: Predictor) -> None:
    result = follow(predictor, [right, left], 40, TrackOptions(max_faces=1))
    assert [len(faces) for faces in result] == [1] * 40
    assert predictor.detector.calls == 1  # type: ignore[union-attr]


def test_what_the_detector_takes_for_a_face_is_judged_by_its_scores(predictor: Predictor) -> None:
    predictor.detector = lambda image: [[200, 100, 260, 160]]  # there is nothing
    assert follow(predictor, [right], 12) == [[]] * 12


def test_boxes_of_your_own_take_the_detectors_place(predictor: Predictor) -> None:
    tracker = Tracker(predictor, TrackOptions(detect_every=10**6))
    x, y = right(0)
    box = [x - FACE / 2, y - FACE / 2, x + FACE / 2, y + FACE / 2]
    assert [tracked.id for tracked in tracker.update(picture(right(0)), 0.0, [box])] == [1]
    assert [tracked.id for tracked in tracker.update(picture(right(1)), 0.04)] == [1]
    assert predictor.detector.calls == 0  # type: ignore[union-attr]


def crops_of(predictor: Predictor, monkeypatch: pytest.MonkeyPatch, rule: CropRule | None) -> np.ndarray:
    """The squares (x, y, side) that are looked at in three frames of a face that moves by (3, 0.3)."""
    squares = []
    plain = Predictor.predict

    def noting(self: Predictor, image: Any, boxes: Any, **options: Any) -> Any:
        squares.extend(options["crop"].square(box) for box in boxes)
        return plain(self, image, boxes, **options)

    monkeypatch.setattr(Predictor, "predict", noting)
    if rule:
        usage = dataclasses.replace(predictor.usage, crops={"landmarks": rule})
        monkeypatch.setattr(predictor, "usage", usage)
    follow(predictor, [right], 3)
    return np.array(squares)


def test_crops_stay_as_the_first_was_relative_to_the_landmarks(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = crops_of(predictor, monkeypatch, None)
    np.testing.assert_allclose(first, (*right(0), FACE / 0.55), atol=1)
    np.testing.assert_allclose(second, first, atol=1e-6)  # where the landmarks of the frame before are
    np.testing.assert_allclose(third - second, (3, 0.3, 0), atol=0.5)


def test_crops_follow_the_networks_own_rule_for_landmarks(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = CropRule(scale=3.5, measure="max", shift_x=0.1, shift_y=-0.1)
    _, second, third = crops_of(predictor, monkeypatch, rule)
    np.testing.assert_allclose(second, rule.square(bounds(truth(right(0)))), atol=0.6)
    np.testing.assert_allclose(third, rule.square(bounds(truth(right(1)))), atol=0.6)


def test_smoothing_changes_the_landmarks_but_not_the_measured_ones(predictor: Predictor) -> None:
    plain = follow(predictor, [right], 15)
    smooth = follow(predictor, [right], 15, TrackOptions(smooth=OneEuro(beta=0)))
    for (one,), (other,) in zip(plain, smooth, strict=True):
        np.testing.assert_allclose(one.measured, other.measured)
    assert smooth[0][0].face.landmarks == pytest.approx(plain[0][0].face.landmarks)
    behind = plain[-1][0].measured - smooth[-1][0].face.landmarks
    assert (behind[:, 0] > 3).all()
    np.testing.assert_allclose(smooth[-1][0].face.box, bounds(smooth[-1][0].face.landmarks))


def test_a_face_found_again_is_not_drawn_from_where_it_was(predictor: Predictor) -> None:
    def blinks(number: int) -> tuple[float, float] | None:
        return None if 5 <= number < 12 else (60 + 6 * number, 100)

    result = follow(predictor, [blinks], 14, TrackOptions(detect_every=1, smooth=OneEuro(beta=0)))
    (found,) = result[12]
    assert found.id == 1
    np.testing.assert_array_equal(found.face.landmarks, found.measured)


def test_a_clip_is_followed_frame_by_frame(predictor: Predictor, tmp_path: Path) -> None:
    from clips import write_clip

    path = write_clip(tmp_path / "clip.avi", pictures([right, left], 20))
    count = 0
    for frame, faces in track_clip(predictor, path):
        assert frame.number == count
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert ids_of([[]] * count + [faces], [right, left])[-1].keys() == {0, 1}
        count += 1
    assert count == 20


def test_time_must_move_on_and_options_make_sense(predictor: Predictor) -> None:
    tracker = Tracker(predictor)
    tracker.update(picture(), 1.0)
    with pytest.raises(InputError, match=r"a frame at 1\.0 s comes after one at 1\.0 s"):
        tracker.update(picture(), 1.0)
    with pytest.raises(InputError) as caught:
        TrackOptions(detect_every=0, max_faces=0, min_score=-1, begin_score=-1, keep_s=-1)
    assert len(caught.value.problems) == 5
    assert "detect_every = 0: must be 1 or more" in str(caught.value)


def test_of_two_on_one_face_the_one_off_its_way_is_lost() -> None:
    face = truth((100, 100))
    assert doubles([face, face + 1, face + 200], [(100, 100), (80, 100), (300, 300)]) == {1}
    assert doubles([face, face + 1], [(60, 100), (101, 101)]) == {0}
    assert doubles([face, face + 30], [(60, 100), (101, 101)]) == set()


def test_hidden_faces_are_paired_with_the_nearest_each_once() -> None:
    face = truth((0, 0))
    size = float(np.sqrt(np.ptp(face, axis=0).prod()))
    along = np.array([size, 0.0])
    near, far, small = face + 0.3 * along, face + 1.4 * along, face * 0.3
    here = centre(face)
    assert pair([face], [here], [1.0], [far, near]) == [(0, 1)]
    assert pair([face], [here], [1.0], [far, small]) == []
    assert pair([face], [here], [2.0], [far]) == [(0, 0)]
    assert pair([face, far], [here, centre(far)], [2.0, 2.0], [near, far]) == [(1, 1), (0, 0)]
    assert pair([face], [here + 9 * along], [1.0], [near]) == []  # it should have moved away


def test_steps_that_no_face_makes() -> None:
    face = truth((100, 100))
    assert is_step(face, face + 10)
    assert not is_step(face, face + 40)
    assert not is_step(face, (face - 100) * 1.6 + 100)
    assert not is_step(face, (face - 100) / 1.6 + 100)
    assert not is_step((face - 100) * 0.3, (face - 100) * 0.3)  # under 8 px
    assert not is_step(face, np.full_like(face, 100.0))


def test_a_face_has_left_when_half_of_it_is_outside() -> None:
    image, face, step = picture(), truth((0, 100)), np.array([1.0, 0.0])
    inside = -bounds(face)[0] / (bounds(face)[2] - bounds(face)[0])
    assert inside == pytest.approx(0.5)
    assert is_outside(face - step, image)
    assert not is_outside(face + step, image)
    assert is_outside(truth((100, HEIGHT + 10)), image)
    assert is_outside(truth((WIDTH + 40, HEIGHT + 40)), image)


def test_a_relation_gives_the_square_back() -> None:
    face, square = truth((80, 90)), (77.0, 85.0, 123.0)
    np.testing.assert_allclose(relation(square, face).square(bounds(face)), square)
