"""What augmentation draws, that albumentations is held to the recipe, and that landmarks go where pixels go."""

from __future__ import annotations

import pickle
import random
import warnings
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from fanlight.augment_settings import (
    DEFAULT_PHOTOMETRIC,
    AugmentSettings,
    GeometrySettings,
    PhotometricStep,
)
from fanlight.data.augment import Augmentation, draw_motion, sample_generator
from fanlight.data.photometric import Photometric, _offered, photometric_problems
from fanlight.errors import InputError
from fanlight.geometry import Motion

SIZE = 96


def step(name: str, **arguments: Any) -> PhotometricStep:
    return PhotometricStep(name=name, **arguments)


def photo(size: int = SIZE, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def draw_dot(place: NDArray[np.float64], size: int = SIZE, sigma: float = 1.2) -> NDArray[np.uint8]:
    y, x = np.mgrid[:size, :size] + 0.5
    dot = 250 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2))
    return dot.round().astype(np.uint8)[..., None].repeat(3, 2)


def find_dot(image: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """The centroid of the bright pixels; None where the dot is cut by the border or gone."""
    bright = np.where(image[..., 0] > 50, image[..., 0].astype(float), 0)
    edge = bright[:2].sum() + bright[-2:].sum() + bright[:, :2].sum() + bright[:, -2:].sum()
    if edge or bright.sum() < 500:
        return None
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(bright * x).sum(), (bright * y).sum()]) / bright.sum()


# ---------------------------------------------------------------------------- settings


def test_defaults_are_the_reference_s_numbers() -> None:
    geometry = AugmentSettings().geometry
    assert (geometry.mirror, geometry.probability, geometry.border) == (0.5, 0.5, 0)
    assert (geometry.shift, geometry.scale, geometry.rotate) == (0.0625, 0.2, 50.0)
    assert [s.name for s in DEFAULT_PHOTOMETRIC] == [
        "Blur",
        "ColorJitter",
        "ImageCompression",
        "CoarseDropout",
    ]
    assert tuple(AugmentSettings().photometric) == DEFAULT_PHOTOMETRIC
    assert photometric_problems(DEFAULT_PHOTOMETRIC) == []


@pytest.mark.parametrize(
    "wrong",
    [{"mirror": 1.5}, {"scale": 1.0}, {"rotate": "50"}, {"border": 300}, {"shear": 0.1}, {"shift": -0.1}],
)
def test_geometry_settings_are_strict(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        GeometrySettings(**wrong)


# ---------------------------------------------------------------------------- motions


def many_motions(settings: GeometrySettings, count: int = 4000) -> list[Motion]:
    return [draw_motion(settings, sample_generator(3, 1, sample)) for sample in range(count)]


def test_motions_fill_their_ranges() -> None:
    motions = many_motions(GeometrySettings(probability=1.0))
    for values, low, high in (
        ([m.shift_x for m in motions], -0.0625, 0.0625),
        ([m.shift_y for m in motions], -0.0625, 0.0625),
        ([m.scale for m in motions], 0.8, 1.2),
        ([m.rotate_deg for m in motions], -50, 50),
    ):
        assert low <= min(values) < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < max(values) <= high
        assert np.mean(values) == pytest.approx((low + high) / 2, abs=0.02 * (high - low))


def test_shift_scale_and_rotation_come_together_or_not_at_all() -> None:
    motions = many_motions(GeometrySettings())
    moved = np.array([[m.shift_x != 0, m.shift_y != 0, m.scale != 1, m.rotate_deg != 0] for m in motions])
    assert (moved.all(1) | ~moved.any(1)).all()
    assert moved[:, 0].mean() == pytest.approx(0.5, abs=0.03)
    assert np.mean([m.mirror for m in motions]) == pytest.approx(0.5, abs=0.03)


def test_no_motion_when_everything_is_off() -> None:
    assert set(many_motions(GeometrySettings(mirror=0.0, probability=0.0), 50)) == {Motion()}


def test_mirroring_is_independent_of_all_other_draws() -> None:
    """The correlation of 4000 independent pairs has a deviation of 0.016; one shared stream would give 1."""
    settings = AugmentSettings(photometric=[step("ToGray", p=0.5), step("InvertImg", p=0.5)])
    augmentation = Augmentation(settings, SIZE, range(1))
    image, nowhere = photo(), np.zeros((1, 2))
    rows = []
    for sample in range(4000):
        generator = sample_generator(0, 0, sample)
        motion = augmentation.motion(generator)
        varied, _ = augmentation.photometric(image[:8, :8], nowhere, generator)
        grey = (varied[..., 0] == varied[..., 1]).all()
        dark = varied.mean() < 255 - varied.mean()
        inverted = dark != (image[:8, :8].mean() < 127.5)
        rows.append([motion.mirror, motion.scale != 1, motion.rotate_deg, motion.scale, grey, inverted])
    correlation = np.corrcoef(np.array(rows, float).T)
    assert np.abs(correlation - np.eye(6))[np.triu_indices(6, 1)].max() < 0.07


# ---------------------------------------------------------------------------- the recipe is obeyed

FAULTS = [
    (step("Blurr"), "[0].name", "no transform 'Blurr'; did you mean Blur"),
    (step("blur"), "[0].name", "did you mean Blur"),
    (step("Blur", blur_limt=3), "[0].blur_limt", "takes no such argument; did you mean blur_limit"),
    (step("CoarseDropout", max_holes=8), "[0].max_holes", "it takes num_holes_range, hole_height_range"),
    (step("ImageCompression", quality_range=[0, 300]), "[0].quality_range", "got [0, 300]"),
    (step("Blur", blur_limit="big"), "[0].blur_limit", "got 'big'"),
    (step("Blur", blur_limit=[5, 3]), "[0]", "Invalid range (5, 3)"),
    (step("Resize"), "[0].height", "Field required"),
    (step("Normalize"), "[0]", "makes float32"),
    (step("RandomCrop", height=64, width=64), "[0]", "of shape (64, 64, 3) from uint8 of (96, 96, 3)"),
    (step("RandomScale", p=0.01), "[0]", "keep the crop's size"),
    (step("MaskDropout"), "[0]", "fails on a 96 x 96 crop"),
    (step("Pad3D", padding=1), "[0].name", "no transform 'Pad3D'"),
    (step("PiecewiseAffine"), "[0].name", "take ElasticTransform"),
    (step("DualTransform"), "[0].name", "no transform 'DualTransform'"),
]


@pytest.mark.parametrize(("wrong", "key", "part"), FAULTS, ids=[f"{s.name}-{k}" for s, k, _ in FAULTS])
def test_a_step_that_cannot_be_used_is_named(wrong: PhotometricStep, key: str, part: str) -> None:
    problems = photometric_problems([wrong], SIZE)
    assert (f"augment.photometric{key}", True) in [(where, part in why) for where, why in problems]


def test_all_faults_are_reported_together() -> None:
    settings = AugmentSettings(photometric=[step("Blurr"), step("Blur"), step("Blur", a=1, b=2)])
    with pytest.raises(InputError) as caught:
        Augmentation(settings, SIZE, range(1))
    assert [p.split(":")[0] for p in caught.value.problems] == [
        "augment.photometric[0].name",
        "augment.photometric[2].a",
        "augment.photometric[2].b",
    ]


def test_probability_must_be_one() -> None:
    with pytest.raises(ValidationError):
        step("Blur", p=1.5)


def test_arguments_reach_the_transform() -> None:
    image, nowhere = photo(), np.zeros((1, 2))
    white = step("CoarseDropout", p=1.0, num_holes_range=[1, 1], fill=255, **_holes(0.5))
    varied, _ = Photometric([white], SIZE, [0])(image.copy(), nowhere, np.random.default_rng(0))
    assert (varied == 255).all(-1).sum() == pytest.approx((SIZE // 2) ** 2, abs=20)


def _holes(share: float) -> dict[str, Any]:
    return {"hole_height_range": [share, share], "hole_width_range": [share, share]}


# ---------------------------------------------------------------------------- the default transforms


def test_default_cut_outs_have_the_reference_s_number_and_size() -> None:
    pipeline = Photometric([DEFAULT_PHOTOMETRIC[3]], 256, [0])
    sizes: list[int] = []
    numbers: list[int] = []
    white = np.full((256, 256, 3), 255, np.uint8)
    for sample in range(300):
        varied, _ = pipeline(white.copy(), np.zeros((1, 2)), sample_generator(0, 0, sample))
        count, _, stats, _ = cv2.connectedComponentsWithStats((varied[..., 0] == 0).astype(np.uint8))
        numbers.append(count - 1)
        alone = stats[1:][stats[1:, 2] * stats[1:, 3] == stats[1:, 4]]
        sizes += alone[:, 2:4].ravel().tolist()
    assert np.mean(np.array(numbers) == 0) == pytest.approx(0.5, abs=0.08)
    assert max(numbers) <= 8
    assert min(sizes) == 8
    assert np.quantile(sizes, 0.9) <= 32


def test_default_colour_jitter_keeps_the_hue() -> None:
    pipeline = Photometric([DEFAULT_PHOTOMETRIC[1].model_copy(update={"p": 1.0})], SIZE, [0])
    colour = np.tile(np.array([120, 80, 60], np.uint8), (SIZE, SIZE, 1))
    for sample in range(20):
        varied, _ = pipeline(colour.copy(), np.zeros((1, 2)), sample_generator(0, 0, sample))
        red, green, blue = varied[0, 0].astype(float)
        # hue = (g - b) / (r - b) in this sextant: (80 - 60) / (120 - 60) = 1/3, up to rounding to whole levels
        assert (green - blue) / (red - blue) == pytest.approx(1 / 3, abs=1.5 / (red - blue))


# ---------------------------------------------------------------------------- every transform there is

REQUIRED: dict[str, dict[str, Any]] = {
    "CropAndPad": {"percent": [-0.1, 0.1]},
    "GridElasticDeform": {"num_grid_xy": [4, 4], "magnitude": 4},
    "RandomResizedCrop": {"size": [SIZE, SIZE], "scale": [0.5, 1.0]},
    "RandomSizedCrop": {"size": [SIZE, SIZE], "min_max_height": [60, 90]},
    "ElasticTransform": {"alpha": 100, "sigma": 8},
    "GridDistortion": {"distort_limit": 0.3},
    "ThinPlateSpline": {"scale_range": [0.02, 0.06]},
}


def usable() -> dict[str, PhotometricStep]:
    """Every transform that works on a crop as it is, or with the arguments above."""
    steps = {name: step(name, p=1.0, **REQUIRED.get(name, {})) for name in sorted(_offered())}
    return {name: s for name, s in steps.items() if not photometric_problems([s], SIZE)}


USABLE = usable()
GEOMETRIC = [
    "Affine", "CropAndPad", "D4", "ElasticTransform", "GridDistortion", "HorizontalFlip", "OpticalDistortion",
    "Perspective", "RandomResizedCrop", "RandomRotate90", "RandomSizedCrop", "Rotate",
    "SafeRotate", "ShiftScaleRotate", "SquareSymmetry", "ThinPlateSpline", "Transpose", "VerticalFlip",
]  # fmt: skip


def test_most_of_albumentations_can_be_named() -> None:
    assert len(USABLE) > 80
    assert set(GEOMETRIC) <= set(USABLE)


@pytest.mark.parametrize("name", USABLE)
def test_a_transform_draws_only_from_the_sample_s_generator(name: str) -> None:
    results = []
    for seed in (1, 2):
        pipeline = Photometric([USABLE[name]], SIZE, [0])
        random.seed(seed)
        np.random.seed(seed)
        cv2.setRNGSeed(seed)
        results.append(pipeline(photo(), np.array([[40.0, 50.0]]), sample_generator(5, 6, 7)))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_a_painted_dot_and_its_landmark_land_together(name: str) -> None:
    """To a quarter of a pixel in every draw (kinks in its map apart), and unbiased."""
    pipeline = Photometric([USABLE[name]], SIZE, [0])
    offsets = []
    for sample in range(40):
        place = np.random.default_rng(sample).uniform(0.25 * SIZE, 0.75 * SIZE, 2)
        varied, landmarks = pipeline(draw_dot(place), place[None], sample_generator(0, 0, sample))
        found = find_dot(varied)
        if found is not None:
            offsets.append(landmarks[0] - found)
    assert len(offsets) >= 15
    assert np.abs(offsets).max() < (0.75 if name == "GridDistortion" else 0.25)
    assert np.abs(np.mean(offsets, 0)).max() < 0.06


@pytest.mark.parametrize("name", ["HorizontalFlip", "VerticalFlip", "Transpose"])
def test_a_mirroring_transform_renames_the_points(name: str) -> None:
    right, left = np.array([30.0, 40.0]), np.array([70.0, 45.0])
    pipeline = Photometric([step(name, p=1.0)], SIZE, mirror=[1, 0, 2])
    landmarks = np.array([right, left, [50.0, 60.0]])
    for named, painted in ((1, right), (0, left)):  # what was the right eye is the mirrored face's left
        varied, moved = pipeline(draw_dot(painted), landmarks, np.random.default_rng(0))
        assert moved[named] == pytest.approx(find_dot(varied), abs=0.1)
    rotated = Photometric([step("Rotate", p=1.0, limit=[170, 175])], SIZE, mirror=[1, 0, 2])
    varied, moved = rotated(draw_dot(right), landmarks, np.random.default_rng(0))
    assert moved[0] == pytest.approx(find_dot(varied), abs=0.1)


def test_points_outside_the_crop_are_kept() -> None:
    outside = np.array([[-10.0, 20.0], [SIZE + 30.0, 50.0], [40.0, 40.0]])
    for name in ("Affine", "ElasticTransform", "CoarseDropout", "RandomResizedCrop"):
        _, moved = Photometric([USABLE[name]], SIZE, range(3))(photo(), outside, np.random.default_rng(0))
        assert moved.shape == (3, 2)
        assert np.isfinite(moved).all()


def test_a_transform_that_loses_points_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import albumentations

    def lose(self: Any, keypoints: NDArray[Any], **_rest: Any) -> NDArray[Any]:
        return keypoints[1:]

    monkeypatch.setattr(albumentations.HorizontalFlip, "apply_to_keypoints", lose)
    [(key, why)] = photometric_problems([step("HorizontalFlip")], SIZE)
    assert key == "augment.photometric[0]"
    assert "8 went in, 7 came" in why


# ---------------------------------------------------------------------------- the whole


def test_augmentation_can_be_sent_to_a_worker() -> None:
    augmentation = Augmentation(
        AugmentSettings(photometric=[*DEFAULT_PHOTOMETRIC, USABLE["ElasticTransform"]]), SIZE, range(3)
    )
    copy = pickle.loads(pickle.dumps(augmentation))
    landmarks = np.random.default_rng(0).uniform(20, 80, (3, 2))
    first, second = (
        a.photometric(photo(), landmarks, sample_generator(1, 2, 3)) for a in (augmentation, copy)
    )
    assert np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Augmentation(AugmentSettings(photometric=[step("ShiftScaleRotate")]), SIZE, range(3))
