"""The predictor: known places come out in image px through crop rule, offset, channel order and mirror."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fanlight
from fanlight import models
from fanlight.checkpoint import save_checkpoint
from fanlight.errors import InputError
from fanlight.geometry import CropRule, crop_matrix, mirror_landmarks, warp
from fanlight.image import write_image
from fanlight.network import Located, Network, TorchNetwork, Usage, to_input
from fanlight.predict import Predictor
from painted import OPTIONS, PLACES, dot_predictor, find_dots, paint, untrained

BOX = np.array([40.0, 30.0, 110.0, 96.0])
LANDMARKS = BOX[:2] + PLACES * (BOX[2:] - BOX[:2])
PHOTO = paint(LANDMARKS, 130, 150, 2.0)


@pytest.mark.parametrize(
    "crop", [CropRule(), CropRule(1.4, "max"), CropRule(2.0, "mean", 0.05, -0.1), CropRule(4.0)], ids=str
)
def test_dots_are_found_where_they_are(tmp_path: Path, crop: CropRule) -> None:
    (face,) = dot_predictor(tmp_path, crop).predict(PHOTO, BOX)
    np.testing.assert_allclose(face.landmarks, LANDMARKS, atol=0.15)  # of 70 px; uint8 and warping
    assert face.landmarks.dtype == face.scores.dtype == face.box.dtype == np.float64
    assert face.landmarks.shape == (5, 2)
    assert face.scores.shape == (5,)
    assert 0.2 < face.scores.min() <= face.scores.max() <= 1
    assert face.box.tolist() == BOX.tolist()


def test_the_offset_is_added_in_image_px(tmp_path: Path) -> None:
    plain, moved = (
        dot_predictor(tmp_path, offset=offset).predict(PHOTO, BOX)[0].landmarks
        for offset in ((0, 0), (0.5, -0.25))
    )
    np.testing.assert_allclose(moved - plain, np.tile([0.5, -0.25], (5, 1)))


def test_the_channel_order_is_heeded(tmp_path: Path) -> None:
    predictor = dot_predictor(tmp_path)
    (rgb,), (bgr,) = predictor.predict(PHOTO, BOX), predictor.predict(PHOTO[..., ::-1], BOX, channels="BGR")
    assert np.array_equal(rgb.landmarks, bgr.landmarks)
    (wrong,) = predictor.predict(PHOTO, BOX, channels="BGR")
    assert np.abs(wrong.landmarks - LANDMARKS).max() > 10  # eyes and mouth change places


def test_a_grey_photo_is_its_own_three_channels(tmp_path: Path) -> None:
    predictor = Predictor(TorchNetwork(untrained(tmp_path)))
    grey = PHOTO.max(2)
    (one,), (three,) = predictor.predict(grey, BOX), predictor.predict(np.repeat(grey[..., None], 3, 2), BOX)
    assert np.array_equal(one.landmarks, three.landmarks)


def test_the_whole_photo_can_be_the_face(tmp_path: Path) -> None:
    predictor = dot_predictor(tmp_path, CropRule(1.0))
    (face,) = predictor.predict(PHOTO, "whole")
    assert face.box.tolist() == [0, 0, 150, 130]
    np.testing.assert_allclose(face.landmarks, LANDMARKS, atol=0.3)


@pytest.mark.parametrize(
    "boxes", [BOX, BOX.tolist(), [BOX], BOX[None], [tuple(BOX)], BOX[None].astype(np.float32)]
)
def test_shapes_of_boxes(tmp_path: Path, boxes: object) -> None:
    (face,) = dot_predictor(tmp_path).predict(PHOTO, boxes)  # type: ignore[arg-type]
    np.testing.assert_allclose(face.landmarks, LANDMARKS, atol=0.2)


@pytest.mark.parametrize("boxes", [[], np.empty((0, 4)), ()])
def test_no_boxes_no_faces(tmp_path: Path, boxes: object) -> None:
    assert dot_predictor(tmp_path).predict(PHOTO, boxes) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([[1, 2, 3]], ["(1, 3)", "(N, 4)"]),
        (np.zeros((2, 2, 4)), ["(2, 2, 4)", "(N, 4)"]),
        ([[10, 10, 5, 20]], ["[10.0, 10.0, 5.0, 20.0]", "left < right"]),
        ([[0, 0, np.nan, 9]], ["nan", "four numbers"]),
        ([[0, 0, 1e8, 9]], ["100000000.0", "below a million"]),
        ([[0, 0, 9, 9], [1, 2, 3]], ["(N, 4)"]),
        (["face"], ["'face'", "(N, 4)"]),
    ],
)
def test_boxes_that_cannot_be_used(tmp_path: Path, boxes: object, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        dot_predictor(tmp_path).predict(PHOTO, boxes)  # type: ignore[arg-type]
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "image",
    [PHOTO.astype(np.float32), PHOTO[..., :2], PHOTO[None], np.zeros((0, 5, 3), np.uint8), np.uint8(3)],
)
def test_images_that_cannot_be_used(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"give \(H, W, 3\) or \(H, W\) of type uint8"):
        dot_predictor(tmp_path).predict(image, BOX)


def test_an_unknown_channel_order_is_refused(tmp_path: Path) -> None:
    """For a file too, though its own order is known."""
    write_image(tmp_path / "photo.png", PHOTO)
    for photo in (PHOTO, tmp_path / "photo.png"):
        with pytest.raises(InputError, match="'RGBA'"):
            dot_predictor(tmp_path).predict(photo, BOX, channels="RGBA")  # type: ignore[arg-type]


def test_each_detectors_boxes_are_cropped_by_its_rule(tmp_path: Path) -> None:
    """Without one for it, as those of the training, and once it is said how to find one."""
    wide = CropRule(3.0)
    checkpoint = replace(untrained(tmp_path), crops={"painted:find_dots": wide})
    predictor = Predictor(TorchNetwork(checkpoint, name="mine"), find_dots)
    (detected,) = predictor.predict(PHOTO)
    (expected,) = predictor.predict(PHOTO, find_dots(PHOTO), crop=wide)
    assert np.array_equal(detected.landmarks, expected.landmarks)
    predictor.detector = unknown = lambda photo: find_dots(photo)
    name = f"{__name__}:{unknown.__qualname__}"
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        faces = [predictor.predict(PHOTO)[0] for _ in range(3)]
    (message,) = [str(warning.message) for warning in told]
    assert f"mine has no crop rule for the detector {name}" in message
    assert "fanlight data fit-crop" in message
    (expected,) = predictor.predict(PHOTO, find_dots(PHOTO))
    assert np.array_equal(faces[0].landmarks, expected.landmarks)
    assert np.abs(faces[0].landmarks - detected.landmarks).max() > 1


# ------------------------------------------------------------------ covariances


STRETCHED = np.array([[9.0, 5.0], [5.0, 6.0]])  # image px squared


@pytest.mark.parametrize("factor", [0.5, 0.8], ids=["64 of 66 px", "64 of 106 px"])
@pytest.mark.parametrize("mirrored", [False, True], ids=["plain", "mirrored"])
def test_covariances_are_those_in_the_image(tmp_path: Path, factor: float, mirrored: bool) -> None:
    """A nose that spreads towards one lower corner, whatever the crop's scale, and also seen in a mirror."""
    y, x = np.mgrid[:130, :150] + 0.5
    away = np.stack([x, y], -1) - LANDMARKS[2]
    height = np.exp(-0.5 * np.einsum("hwi,ij,hwj->hw", away, np.linalg.inv(STRETCHED), away))
    photo = np.zeros_like(PHOTO)
    photo[..., 1] = (255 * height).round()
    predictor = dot_predictor(tmp_path)
    predictor.network.decoder = replace(predictor.network.decoder, radius=0.2)  # type: ignore[attr-defined]
    side = np.mean(BOX[2:] - BOX[:2]) * 2 * factor
    matrix = crop_matrix((*(LANDMARKS[2] - side / 2), *(LANDMARKS[2] + side / 2)), CropRule(1.0), 64)
    crops = warp(photo, matrix, 64)[None]
    find = predictor.predict_mirrored if mirrored else predictor.predict_crops
    found = find(crops, [matrix]).covariances[0, 2]
    np.testing.assert_allclose(found, STRETCHED, atol=0.6)


# ------------------------------------------------------------------ mirroring


def test_mirroring_finds_the_same_places_and_names(tmp_path: Path) -> None:
    """The network sees the mirrored crop, where it calls the subject's left eye the right one."""
    predictor = dot_predictor(tmp_path)
    (face,) = predictor.predict(PHOTO, BOX, flip=True)
    np.testing.assert_allclose(face.landmarks, LANDMARKS, atol=0.15)
    crop = warp(PHOTO, matrix := crop_matrix(BOX, predictor.usage.crop, 64), 64)
    crops = torch.from_numpy(crop)[None]
    plain = predictor.predict_crops(crops, [matrix]).landmarks
    mirrored = predictor.predict_mirrored(crops, [matrix]).landmarks
    np.testing.assert_allclose(face.landmarks, (plain + mirrored)[0] / 2, atol=1e-3)
    assert np.abs(plain - mirrored).max() > 1e-4  # two predictions, not one twice


@dataclass
class Shifted:
    """A network that places every landmark off by the same step in its crop."""

    network: Network
    shift_crop: np.ndarray

    @property
    def usage(self) -> Usage:
        return self.network.usage

    def __call__(self, crops: torch.Tensor) -> Located:
        found = self.network(crops)
        return found._replace(landmarks=found.landmarks + self.shift_crop)

    def heatmaps(self, crops: torch.Tensor) -> np.ndarray:
        return self.network.heatmaps(crops)


def test_a_network_with_an_offset_is_put_right_in_mirrored_crops_too(tmp_path: Path) -> None:
    """Weights that place every landmark 3 px left and 2 px up of the truth, in whatever they are shown."""
    exact = dot_predictor(tmp_path)
    shifted = dot_predictor(tmp_path)
    matrix = crop_matrix(BOX, exact.usage.crop, 64)
    shift_crop = matrix[:, :2] @ (-3, -2)
    shifted.network = Shifted(exact.network, shift_crop)
    shifted.usage = replace(exact.usage, offset_image=(3.0, 2.0))
    for flip in (False, True):
        right, mended = (predictor.predict(PHOTO, BOX, flip=flip)[0] for predictor in (exact, shifted))
        np.testing.assert_allclose(mended.landmarks, right.landmarks, atol=1e-6)
    crops = torch.from_numpy(warp(PHOTO, matrix, 64))[None]
    right, mended = (p.predict_mirrored(crops, [matrix]).landmarks for p in (exact, shifted))
    np.testing.assert_allclose(mended, right, atol=1e-6)


@pytest.mark.parametrize("trained", [True, False], ids=["dots", "random weights"])
def test_the_prediction_of_a_mirrored_photo_is_the_mirrored_prediction(tmp_path: Path, trained: bool) -> None:
    """With flip, for any network whatever: both photos give the same two crops."""
    predictor = dot_predictor(tmp_path) if trained else Predictor(TorchNetwork(untrained(tmp_path)))
    photo = np.maximum(PHOTO, np.random.default_rng(0).integers(0, 90, PHOTO.shape, np.uint8))
    box_mirrored = np.array([150 - BOX[2], BOX[1], 150 - BOX[0], BOX[3]])
    (face,) = predictor.predict(photo, BOX, flip=True)
    (other,) = predictor.predict(photo[:, ::-1], box_mirrored, flip=True)
    expected = mirror_landmarks(face.landmarks, 150, predictor.markup.mirror)
    np.testing.assert_allclose(other.landmarks, expected, atol=0.05)
    np.testing.assert_allclose(other.scores, face.scores[list(predictor.markup.mirror)], atol=0.02)


# ------------------------------------------------------------------ batches, files, the network's input


def test_batching_does_not_change_results(tmp_path: Path) -> None:
    boxes = BOX + np.random.default_rng(0).uniform(-6, 6, (7, 4))
    all_at_once, few = (Predictor(TorchNetwork(untrained(tmp_path)), batch_size=size) for size in (32, 3))
    together = all_at_once.predict(PHOTO, boxes, flip=True)
    assert len(together) == 7
    for face, other, box in zip(together, few.predict(PHOTO, boxes, flip=True), boxes, strict=True):
        np.testing.assert_allclose(other.landmarks, face.landmarks, atol=1e-3)
        (alone,) = few.predict(PHOTO, box, flip=True)
        np.testing.assert_allclose(alone.landmarks, face.landmarks, atol=1e-3)
        assert face.box.tolist() == box.tolist()


def test_load_gives_the_saved_network(tmp_path: Path) -> None:
    checkpoint = untrained(tmp_path, CropRule(1.5), (0.5, 0.5))
    path = save_checkpoint(tmp_path / "a.ckpt", checkpoint)
    (face,), (loaded,) = (
        p.predict(PHOTO, BOX) for p in (Predictor(TorchNetwork(checkpoint)), fanlight.load(path, "cpu"))
    )
    assert np.array_equal(loaded.landmarks, face.landmarks)
    assert fanlight.load(str(path)).markup == checkpoint.markup


def test_load_finds_networks_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``small`` is what load takes without a word; a file in the working folder does not stand in its way."""
    monkeypatch.setattr(models, "FOLDER", tmp_path / "weights")
    small = save_checkpoint(tmp_path / "weights" / "small.ckpt", untrained(tmp_path, CropRule(1.5)))
    other = save_checkpoint(tmp_path / "small", untrained(tmp_path, CropRule(1.2)))
    monkeypatch.chdir(tmp_path)
    (expected,) = fanlight.load(small, "cpu").predict(PHOTO, BOX)
    for predictor in (fanlight.load(device="cpu"), fanlight.load("small", torch.device("cpu"))):
        assert np.array_equal(predictor.predict(PHOTO, BOX)[0].landmarks, expected.landmarks)
        assert predictor.usage.name == "small"
    assert fanlight.load(other).usage.crop == CropRule(1.2)
    with pytest.raises(InputError, match=r"smal: .* there are: small"):
        fanlight.load("smal")


def test_devices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "a.ckpt", untrained(tmp_path))
    with pytest.raises(InputError, match="cuda:99"):
        fanlight.load(path, "cuda:99")
    (tmp_path / "a.onnx").touch()
    with pytest.raises(InputError, match=r"'cuda': .* runs on the CPU only"):
        fanlight.load(tmp_path / "a.onnx", "cuda")


def test_predicting_leaves_the_photo_alone(tmp_path: Path) -> None:
    photo = PHOTO.copy()
    photo.flags.writeable = False
    dot_predictor(tmp_path).predict(photo, BOX, flip=True)
    assert np.array_equal(photo, PHOTO)


def test_the_networks_input() -> None:
    crops = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    crops[0, 1, 2] = torch.tensor([255, 51, 0])
    images = to_input(crops)
    assert images.shape == (1, 3, 2, 3)
    assert images[0, :, 1, 2].tolist() == pytest.approx([1, 0.2, 0])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_gradients_are_not_kept(tmp_path: Path) -> None:
    crops = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    found = Predictor(TorchNetwork(untrained(tmp_path))).predict_crops(crops, [np.eye(2, 3)])
    assert all(isinstance(values, np.ndarray) for values in found)
    assert found.landmarks.shape == (1, OPTIONS.points, 2)
    assert found.scores.shape == (1, OPTIONS.points)
    assert found.covariances.shape == (1, OPTIONS.points, 2, 2)


def test_precision_is_what_was_asked_for(tmp_path: Path) -> None:
    """bfloat16 keeps 8 bits: the heatmaps of random weights move by some of 1 / 256, and not by nothing."""
    path = save_checkpoint(tmp_path / "a.ckpt", untrained(tmp_path))
    crops = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    exact, rough = (
        fanlight.load(path, "cpu", precision=precision).network.heatmaps(crops)
        for precision in ("float32", "bfloat16")
    )
    assert rough.dtype == exact.dtype == np.float32
    moved = np.abs(rough - exact).max() / np.abs(exact).max()
    assert 1e-4 < moved < 0.2
    with pytest.raises(InputError, match="'float64'"):
        fanlight.load(path, "cpu", precision="float64")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="CUDA"):
        fanlight.load(path, "cpu", precision="float16")
