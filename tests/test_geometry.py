"""The warp against exact area averaging, the coordinate convention through it, and crops worked by hand."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from fanlight.errors import InputError
from fanlight.geometry import (
    CropRule,
    Floats,
    Motion,
    boxes_in,
    check_box,
    crop_matrix,
    invert,
    mirror_landmarks,
    transform,
    warp,
)
from fanlight.markup import Markup

SIZE = 64
FACTORS = (1.0, 1.15, 1.3, 1.59, 2.0, 2.7, 3.19, 3.21, 3.7, 5.3, 8.0)


def area_average(image: NDArray[np.uint8], matrix: Floats, size: int, dense: int = 10) -> Floats:
    """The mean of dense x dense samples of the photo's square pixels under each crop pixel; (size, size)."""
    steps = (np.arange(size * dense) + 0.5) / dense
    places = transform(invert(matrix), np.stack(np.meshgrid(steps, steps), axis=-1))
    x, y = np.floor(places).astype(int).transpose(2, 0, 1)
    samples = image[y, x, 0].astype(float)  # the tests keep the crop within the photo
    return samples.reshape(size, dense, size, dense).mean((1, 3))


def shrinking(factor: float, rotate_deg: float, size: int = SIZE) -> tuple[int, Floats]:
    """A photo's side, and a crop within it that shrinks it by ``factor`` and lies at no whole pixel."""
    side = math.ceil(size * factor * 1.5) + 8
    motion = Motion(shift_x=0.013, shift_y=-0.007, rotate_deg=rotate_deg)
    return side, crop_matrix((0, 0, side, side), CropRule(scale=size * factor / side), size, motion)


def grey(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return values.round().clip(0, 255).astype(np.uint8)[..., None].repeat(3, 2)


def grating(side: int, cycles_per_px: float, angle: float) -> NDArray[np.uint8]:
    y, x = np.mgrid[:side, :side] + 0.5
    phase = 2 * math.pi * cycles_per_px * (x * math.cos(angle) + y * math.sin(angle))
    return grey(127.5 + 120 * np.cos(phase))


@pytest.mark.parametrize("rotate_deg", [0.0, 17.0])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_shrinking_warp_is_close_to_area_averaging(factor: float, rotate_deg: float) -> None:
    """On noise as fine as the crop can show, to a tenth of the contrast."""
    side, matrix = shrinking(factor, rotate_deg)
    noise = np.random.default_rng(0).normal(size=(side, side))
    smooth = cv2.GaussianBlur(noise, (0, 0), 0.7 * factor)
    image = grey(127.5 + 40 * smooth / smooth.std())
    expected = area_average(image, matrix, SIZE)
    difference = warp(image, matrix, SIZE)[..., 0] - expected
    assert difference.std() < 0.1 * expected.std()
    assert abs(difference.mean()) < 0.3


@pytest.mark.parametrize("rotate_deg", [0.0, 17.0])
@pytest.mark.parametrize("factor", [f for f in FACTORS if f >= 1.3])
def test_detail_finer_than_the_crop_does_not_alias(factor: float, rotate_deg: float) -> None:
    """Gratings of 0.25 and 0.4 cycles per crop pixel pass, those of 0.75 and 0.9 fade as by area averaging."""
    side, matrix = shrinking(factor, rotate_deg)
    for cycles in (0.25, 0.4, 0.75, 0.9):
        gains = []
        for angle in (0.0, 0.3, 0.8):
            image = grating(side, cycles / factor, angle)
            warped, averaged = warp(image, matrix, SIZE)[..., 0], area_average(image, matrix, SIZE)
            gains.append([warped[4:-4, 4:-4].std(), averaged[4:-4, 4:-4].std()])
        gain, reference = np.mean(gains, 0) / (120 / math.sqrt(2))
        if cycles < 0.5:
            assert gain > reference - 0.1
        else:
            assert gain < reference + 0.12


@pytest.mark.parametrize("rotate_deg", [0.0, 17.0, 45.0])
@pytest.mark.parametrize("factor", [0.5, 0.8, *FACTORS])
def test_a_dot_stays_in_place(factor: float, rotate_deg: float) -> None:
    """On average to 0.02 px; OpenCV samples at 1/32 of a source pixel, so single dots scatter a little more."""
    side, matrix = shrinking(factor, rotate_deg)
    numbers = np.random.default_rng(1)
    y, x = np.mgrid[:side, :side] + 0.5
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    offsets = []
    for _ in range(12):
        place = side / 2 + numbers.uniform(-0.25, 0.25, 2) * SIZE * factor
        sigma = 1.5 * max(factor, 1.0)
        dot = grey(250 * np.exp(-((x - place[0]) ** 2 + (y - place[1]) ** 2) / (2 * sigma**2)))
        crop = warp(dot, matrix, SIZE)[..., 0].astype(float)
        found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
        offsets.append(found - transform(matrix, place))
    assert np.abs(np.mean(offsets, 0)).max() < 0.02 / min(factor, 1)
    assert np.abs(offsets).max() < 0.05 / min(factor, 1)


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.5, 4.3])
def test_what_lies_outside_the_photo_is_border(factor: float) -> None:
    photo = np.full((40, 50, 3), 90, np.uint8)
    side = SIZE * factor
    matrix = crop_matrix((0, 0, side, side), CropRule(scale=1.0), SIZE)
    crop = warp(photo, matrix, SIZE, border_value=7)
    x, y = (np.arange(SIZE) + 0.5) * factor, (np.arange(SIZE) + 0.5) * factor
    blend = 2 * max(factor, 1.0)
    assert (crop[y > 40 + blend] == 7).all()
    assert (crop[:, x > 50 + blend] == 7).all()
    assert (crop[np.ix_((y > blend) & (y < 40 - blend), (x > blend) & (x < 50 - blend))] == 90).all()


def test_a_crop_beside_the_photo_is_all_border() -> None:
    matrix = crop_matrix((500, 500, 600, 600), CropRule(), SIZE)
    assert (warp(np.full((40, 50, 3), 90, np.uint8), matrix, SIZE, border_value=3) == 3).all()


def test_a_crop_of_whole_pixels_is_a_copy() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (100, 120, 3), dtype=np.uint8)
    matrix = crop_matrix((20, 10, 84, 74), CropRule(scale=1.0), SIZE)
    assert np.array_equal(warp(photo, matrix, SIZE), photo[10:74, 20:84])
    mirrored = crop_matrix((20, 10, 84, 74), CropRule(scale=1.0), SIZE, Motion(mirror=True))
    assert np.array_equal(warp(photo, mirrored, SIZE), photo[10:74, 20:84][:, ::-1])


# ------------------------------------------------------------------ crops and motions, by hand

BOX = (10.0, 20.0, 50.0, 80.0)  # 40 x 60, centre (30, 50)


@pytest.mark.parametrize(
    ("rule", "square"),
    [
        (CropRule(), (30, 50, 50 / 0.55)),
        (CropRule(2.0), (30, 50, 100)),
        (CropRule(1.5, "max"), (30, 50, 90)),
        (CropRule(1.0, "mean", 0.1, -0.12), (34, 42.8, 50)),
    ],
)
def test_squares_by_hand(rule: CropRule, square: tuple[float, float, float]) -> None:
    assert rule.square(BOX) == pytest.approx(square)


def test_the_plain_crop_by_hand() -> None:
    """Side 100 around (30, 50) is x from -20, y from 0; 64 px of it are 0.64 each."""
    matrix = crop_matrix(BOX, CropRule(2.0), 64)
    np.testing.assert_allclose(matrix, [[0.64, 0, 12.8], [0, 0.64, 0]], atol=1e-12)


@pytest.mark.parametrize(
    ("motion", "place"),
    [  # where (40, 50), 10 px to the right of the centre, lands in a crop of 100 px with 1 px a pixel
        (Motion(), (60, 50)),
        (Motion(mirror=True), (40, 50)),
        (Motion(shift_x=0.1, shift_y=-0.05), (70, 45)),
        (Motion(scale=1.5), (65, 50)),
        (Motion(rotate_deg=90), (50, 60)),  # clockwise on the screen: right becomes down
        (Motion(mirror=True, rotate_deg=90), (50, 40)),  # mirrored first
        (Motion(mirror=True, shift_x=0.1), (50, 50)),  # the shift is of what is seen
        (Motion(scale=2, rotate_deg=30, shift_x=0.1), (60 + 20 * math.cos(math.pi / 6), 60)),
    ],
)
def test_motions_by_hand(motion: Motion, place: tuple[float, float]) -> None:
    matrix = crop_matrix(BOX, CropRule(2.0), 100, motion)
    assert transform(matrix, (40, 50)).tolist() == pytest.approx(place)


def test_inverting_undoes_any_motion() -> None:
    matrix = crop_matrix(BOX, CropRule(), 64, Motion(True, 0.1, -0.2, 0.7, 33))
    points = np.random.default_rng(0).uniform(-50, 150, (4, 68, 2))
    np.testing.assert_allclose(transform(invert(matrix), transform(matrix, points)), points, atol=1e-9)


@pytest.mark.parametrize("name", Markup.names())
def test_mirroring_twice_is_the_identity(name: str) -> None:
    mirror = Markup.load(name).mirror
    points = np.random.default_rng(0).uniform(0, 100, (3, len(mirror), 2))
    once = mirror_landmarks(points, 100, mirror)
    assert not np.allclose(once, points)
    np.testing.assert_allclose(mirror_landmarks(once, 100, mirror), points, atol=1e-12)


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotate_deg", [0.0, -40.0])
def test_a_painted_pixel_and_its_landmark_land_together(mirror: bool, rotate_deg: float) -> None:
    """One pixel at column 33, row 57 has its centre at (33.5, 57.5), whatever the crop; here magnified."""
    photo = np.zeros((100, 120, 3), np.uint8)
    photo[57, 33] = 255
    matrix = crop_matrix((20, 45, 44, 69), CropRule(1.0), 96, Motion(mirror, 0.03, -0.05, 1.1, rotate_deg))
    crop = warp(photo, matrix, 96)[..., 0].astype(float)
    y, x = np.mgrid[:96, :96] + 0.5
    found = np.array([(crop * x).sum(), (crop * y).sum()]) / crop.sum()
    np.testing.assert_allclose(found, transform(matrix, (33.5, 57.5)), atol=0.1)


@pytest.mark.parametrize(
    "box",
    [
        (10, 20, 10, 40),
        (10, 20, 5, 40),
        (10, 40, 20, 40),
        (0, 0, math.nan, 9),
        (0, 0, math.inf, 9),
        (1, 2, 3),
    ],
)
def test_degenerate_boxes_are_refused_with_their_numbers(box: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="left < right, top < bottom") as caught:
        check_box(box)
    assert str([float(v) for v in box]) in str(caught.value)


def test_impossible_crop_rules_name_all_that_is_wrong() -> None:
    with pytest.raises(InputError) as caught:
        CropRule(0, "area", math.nan)  # type: ignore[arg-type]
    assert [problem.split(" ")[0] for problem in caught.value.problems] == ["scale", "measure", "shift_x"]


def test_boxes_beside_the_photo_are_named() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    good, bad = (25.0, 0.0, 40.0, 20.0), (30.0, 0.0, 40.0, 20.0)
    assert boxes_in(image, [good, good]) == [good, good]
    told = r"photo of 30 x 20 px: boxes\[1\] = \(30\.0, .*\), boxes\[3\] = \(.*: give boxes .* and leave out those"
    with pytest.raises(InputError, match=told):
        boxes_in(image, [good, bad, good, bad])
    with pytest.raises(InputError, match=r"boxes\[4\] = \([^)]*\) and 3 more: give"):
        boxes_in(image, [bad] * 8)
