"""Programs written for two other libraries find what they expect: call, types, coordinates, empty answers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fanlight import models
from fanlight.checkpoint import save_checkpoint
from fanlight.compat import face_alignment
from fanlight.compat.face_alignment import FaceAlignment, LandmarksType
from fanlight.compat.ibug import FANPredictor
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.image import write_image
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from painted import PLACES, dot_predictor, find_dots, paint, untrained

BOX = np.array([40.0, 30.0, 110.0, 96.0])
LANDMARKS = BOX[:2] + PLACES * (BOX[2:] - BOX[:2])  # continuous
INDEX = LANDMARKS - 0.5  # where the same dots are when the first pixel's centre is (0, 0)
PHOTO = paint(LANDMARKS, 130, 150, 2.0)
BLACK = np.zeros_like(PHOTO)


@pytest.fixture
def dots(tmp_path: Path) -> Predictor:
    predictor = dot_predictor(tmp_path)
    predictor.detector = find_dots
    return predictor


# ------------------------------------------------------------------ ibug.face_alignment


@pytest.mark.parametrize("shape", ["(4,)", "(1, 4)", "(1, 5)", "(1, 15)", "list"])
def test_ibug_call(dots: Predictor, shape: str) -> None:
    """A RetinaFace of theirs gives 15 numbers a face: box, score, five points."""
    more = np.concatenate([BOX, [0.99], LANDMARKS.ravel()])
    boxes = {
        "(4,)": BOX,
        "(1, 4)": BOX[None],
        "(1, 5)": more[None, :5],
        "(1, 15)": more[None],
        "list": [list(BOX)],
    }
    landmarks, scores = FANPredictor(model=dots)(PHOTO, boxes[shape])
    assert landmarks.shape == (1, 5, 2)
    assert scores.shape == (1, 5)
    assert landmarks.dtype == scores.dtype == np.float32
    np.testing.assert_allclose(landmarks[0], INDEX, atol=0.15)
    assert 0.2 < scores.min() <= scores.max() <= 1


def test_ibug_reads_bgr_where_told(dots: Predictor) -> None:
    find = FANPredictor(model=dots)
    rgb, bgr = find(PHOTO, BOX, rgb=True)[0], find(PHOTO[..., ::-1], BOX, rgb=False)[0]
    assert np.array_equal(rgb, bgr)
    assert np.abs(find(PHOTO, BOX, rgb=False)[0] - rgb).max() > 10


def test_ibug_without_faces(dots: Predictor) -> None:
    for none in (np.empty((0, 4)), np.array([]), []):
        landmarks, scores = FANPredictor(model=dots)(PHOTO, none)
        assert landmarks.shape == (0, 5, 2)
        assert scores.shape == (0, 5)


def test_ibug_coordinates_and_crop(tmp_path: Path, dots: Predictor) -> None:
    (landmarks,), _ = FANPredictor(model=dots, coordinates="continuous")(PHOTO, BOX)
    (index,), _ = FANPredictor(model=dots)(PHOTO, BOX)
    np.testing.assert_allclose(landmarks - index, 0.5, atol=1e-4)
    random = Predictor(TorchNetwork(untrained(tmp_path)))
    usual, wide = (FANPredictor(model=random, crop=crop)(PHOTO, BOX)[0] for crop in (None, CropRule(3.0)))
    assert np.abs(usual - wide).max() > 1
    with pytest.raises(InputError, match="'pixels'"):
        FANPredictor(model=dots, coordinates="pixels")  # type: ignore[arg-type]


def test_ibug_models_and_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    path = save_checkpoint(tmp_path / "small.ckpt", untrained(tmp_path))
    boxes = BOX[None]
    usual = FANPredictor("cpu")(PHOTO, boxes)[0]
    for model in (FANPredictor.get_model(), FANPredictor.get_model("small"), str(path), path):
        assert np.array_equal(FANPredictor(device="cpu", model=model)(PHOTO, boxes)[0], usual)
    with pytest.warns(UserWarning, match=r"2dfan2_alt: weights of ibug\.face_alignment"):
        assert FANPredictor.get_model("2dfan2_alt") == SimpleNamespace(
            weights="small", config=SimpleNamespace()
        )
    find = FANPredictor("cpu", config=FANPredictor.create_config(gamma=4.0, radius=0.2))
    assert (find.config.gamma, find.config.radius) == (4.0, 0.2)
    assert (find.config.input_size, find.config.num_landmarks) == (64, 5)
    assert np.abs(find(PHOTO, boxes)[0] - usual).max() > 1e-3
    same = FANPredictor("cpu", config=FANPredictor.create_config(radius=0.05, use_jit=False))
    assert np.array_equal(same(PHOTO, boxes)[0], usual)  # what the network decodes with anyway


def test_ibug_decoding_does_not_change_the_given_predictor(tmp_path: Path) -> None:
    predictor = Predictor(TorchNetwork(untrained(tmp_path)))
    before = predictor.predict(PHOTO, BOX)[0].landmarks
    other = FANPredictor(model=predictor, config=FANPredictor.create_config(radius=0.3))(PHOTO, BOX)[0]
    assert np.array_equal(predictor.predict(PHOTO, BOX)[0].landmarks, before)
    assert np.abs(other[0] + 0.5 - before).max() > 1e-3
    fixed = SimpleNamespace(usage=predictor.usage)
    with pytest.raises(InputError, match="gamma and radius have no meaning"):
        FANPredictor(model=Predictor(fixed), config=FANPredictor.create_config(gamma=2.0))  # type: ignore[arg-type]


def test_ibug_has_no_features(dots: Predictor) -> None:
    with pytest.raises(InputError, match="return_features"):
        FANPredictor(model=dots)(PHOTO, BOX, return_features=True)


# ------------------------------------------------------------------ face-alignment


@pytest.fixture
def fa(dots: Predictor) -> FaceAlignment:
    return FaceAlignment(LandmarksType.TWO_D, model=dots)


def test_landmarks_of_an_image(tmp_path: Path, fa: FaceAlignment) -> None:
    write_image(tmp_path / "a.png", PHOTO)
    rgba = np.concatenate([PHOTO, np.full((130, 150, 1), 255, np.uint8)], 2)
    for image in (PHOTO, rgba, tmp_path / "a.png", str(tmp_path / "a.png"), torch.from_numpy(PHOTO).float()):
        (landmarks,) = fa.get_landmarks(image)
        assert landmarks.dtype == np.float32
        np.testing.assert_allclose(landmarks, INDEX, atol=0.2)
    (by_name,) = face_alignment.FaceAlignment(
        1, model=fa.predictor, coordinates="continuous"
    ).get_landmarks_from_image(PHOTO)
    np.testing.assert_allclose(by_name, LANDMARKS, atol=0.2)


def test_boxes_and_scores_are_given_on_request(fa: FaceAlignment) -> None:
    landmarks, scores, boxes = fa.get_landmarks(PHOTO, None, True, True)
    assert [a.shape for a in (landmarks[0], scores[0], boxes[0])] == [(5, 2), (5,), (5,)]
    np.testing.assert_allclose(boxes[0], [*BOX, 1], atol=2)
    assert np.array_equal(fa.face_detector.detect_from_image(PHOTO)[0], boxes[0])
    assert fa.get_landmarks(PHOTO, return_bboxes=True)[1] is None
    assert fa.get_landmarks(PHOTO, return_landmark_score=True)[2] is None
    mine = [np.array([*BOX, 0.9]), tuple(BOX)]
    landmarks, scores, boxes = fa.get_landmarks(PHOTO, mine, return_bboxes=True, return_landmark_score=True)
    assert len(landmarks) == len(scores) == 2
    assert boxes[0] is mine[0]
    assert np.array_equal(landmarks[0], landmarks[1])


def test_no_face_is_none(fa: FaceAlignment) -> None:
    for arguments in ((BLACK,), (PHOTO, [])):
        with pytest.warns(UserWarning, match="No faces were detected"):
            assert fa.get_landmarks(*arguments) is None
    with pytest.warns(UserWarning, match="No faces"):
        assert fa.get_landmarks(BLACK, return_bboxes=True) == (None, None, None)


def test_landmarks_of_a_folder(tmp_path: Path, fa: FaceAlignment) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, image in {"a.png": PHOTO, "b.PNG": BLACK, "c.bmp": PHOTO, "deep/d.png": PHOTO}.items():
        write_image(folder / name, image)
    found = fa.get_landmarks_from_directory(str(folder), show_progress_bar=False)
    assert list(found) == [str(folder / name) for name in ("a.png", "b.PNG", "deep/d.png")]
    assert found[str(folder / "b.PNG")] is None
    np.testing.assert_allclose(found[str(folder / "deep/d.png")][0], INDEX, atol=0.2)
    flat = fa.get_landmarks_from_directory(
        folder, [".bmp", ".png"], recursive=False, return_landmark_score=True
    )
    assert list(flat) == [str(folder / name) for name in ("a.png", "b.PNG", "c.bmp")]
    landmarks, scores, boxes = flat[str(folder / "c.bmp")]
    assert (len(landmarks), len(scores), boxes) == (1, 1, None)
    assert flat[str(folder / "b.PNG")] == (None, None, None)
    with pytest.raises(InputError, match="holds no photos"):
        fa.get_landmarks_from_directory(folder, [".jpg"], recursive=False)


def test_landmarks_of_a_batch(fa: FaceAlignment) -> None:
    batch = torch.from_numpy(np.stack([PHOTO, BLACK, PHOTO]).transpose(0, 3, 1, 2)).float()
    one, none, other = fa.get_landmarks_from_batch(batch)
    assert one.shape == (5, 2)
    np.testing.assert_allclose(one, INDEX, atol=0.2)
    assert np.array_equal(one, other)
    assert none == []
    landmarks, scores, boxes = fa.get_landmarks_from_batch(
        batch, [[BOX, BOX], [], [BOX]], return_landmark_score=True
    )
    assert [len(found) for found in landmarks] == [10, 0, 5]
    assert [len(found) for found in scores] == [2, 0, 1]
    assert boxes is None


def test_boxes_of_a_batch_may_be_one_array(fa: FaceAlignment) -> None:
    """And come back as they were given."""
    batch = np.stack([PHOTO, PHOTO]).transpose(0, 3, 1, 2)
    for given in (np.tile(BOX, (2, 1, 1)), torch.tensor(BOX).tile(2, 1, 1)):
        landmarks, scores, boxes = fa.get_landmarks_from_batch(batch, given, return_bboxes=True)  # type: ignore[arg-type]
        np.testing.assert_allclose(landmarks[1], INDEX, atol=0.2)
        assert boxes is given
        assert scores is None
    none = fa.get_landmarks_from_batch(batch[:0], [], return_bboxes=True)
    assert none == ([], None, [])


def test_faces_alone_of_a_batch(fa: FaceAlignment) -> None:
    batch = torch.from_numpy(np.stack([PHOTO, BLACK]).transpose(0, 3, 1, 2))
    (found,), none = fa.face_detector.detect_from_batch(batch)
    assert np.array_equal(found, fa.face_detector.detect_from_image(PHOTO)[0])
    assert none == []


def test_a_lone_channel_is_grey(tmp_path: Path) -> None:
    random = FaceAlignment(1, model=Predictor(TorchNetwork(untrained(tmp_path))))
    lone, grey = (random.get_landmarks(image, [BOX])[0] for image in (PHOTO[..., 1:2], PHOTO[..., 1]))
    assert np.array_equal(lone, grey)


@pytest.mark.parametrize("more", [{"flip_input": True}, {"crop": CropRule(3.0)}], ids=["flip", "crop"])
def test_flip_and_crop_are_heeded(tmp_path: Path, more: dict[str, Any]) -> None:
    """In one image, in a batch and in a folder, whose boxes the detector gives."""
    random = Predictor(TorchNetwork(untrained(tmp_path)), find_dots)
    fa, plain = (FaceAlignment(1, model=random, **options) for options in (more, {}))
    flip, crop = more.get("flip_input", False), more.get("crop")
    (expected,) = random.predict(PHOTO, BOX, flip=flip, crop=crop)
    assert np.abs(expected.landmarks - 0.5 - plain.get_landmarks(PHOTO, [BOX])[0]).max() > 0.01
    batch = PHOTO.transpose(2, 0, 1)[None]
    for found in (fa.get_landmarks(PHOTO, [BOX])[0], fa.get_landmarks_from_batch(batch, [[BOX]])[0]):
        np.testing.assert_allclose(found, expected.landmarks - 0.5, atol=1e-4)
    write_image(tmp_path / "photos.png", PHOTO)
    (detected,) = random.predict(PHOTO, flip=flip)
    for found in (
        fa.get_landmarks_from_directory(tmp_path)[str(tmp_path / "photos.png")][0],
        fa.get_landmarks_from_batch(batch)[0],
    ):
        np.testing.assert_allclose(found, detected.landmarks - 0.5, atol=1e-4)


def test_names_of_old_programs() -> None:
    assert LandmarksType._2D is LandmarksType.TWO_D
    assert LandmarksType._3D is LandmarksType.THREE_D
    assert LandmarksType._2halfD is LandmarksType.TWO_HALF_D
    assert face_alignment.NetworkSize.LARGE == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"landmarks_type": LandmarksType.THREE_D}, "2D landmarks"),
        ({"landmarks_type": 1, "face_detector": "folder"}, "detected_faces"),
        ({"landmarks_type": 1, "face_detector_kwargs": {"filter_threshold": 0.8}}, "filter_threshold"),
        ({"landmarks_type": 1, "coordinates": "dlib"}, "'dlib'"),
    ],
)
def test_what_is_not_there_is_refused(dots: Predictor, arguments: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FaceAlignment(**arguments, model=dots)  # type: ignore[arg-type]


def test_detectors_of_theirs_are_ours(dots: Predictor) -> None:
    for name in ("sfd", "blazeface", None):
        assert FaceAlignment(1, model=dots, face_detector=name).predictor.detector is find_dots
    fa = FaceAlignment(1, model=dots, face_detector=lambda image: [BOX, BOX + 30])
    assert len(fa.get_landmarks(BLACK)) == 2
    with pytest.raises(InputError, match="'nobody'"):
        FaceAlignment(1, model=dots, face_detector="nobody").get_landmarks(PHOTO)


@pytest.mark.parametrize(
    "image", [PHOTO / 255.0, PHOTO.astype(int) - 1, PHOTO * 2.0, PHOTO[..., :2], np.full((9, 9, 3), np.nan)]
)
def test_images_that_cannot_be_used(fa: FaceAlignment, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="an image of"):
        fa.get_landmarks(image, [BOX])
