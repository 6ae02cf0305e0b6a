"""Heatmaps: encode and decode against plain formulas, borders included, and their gradients."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fanlight.errors import InputError
from fanlight.geometry import Motion
from fanlight.heatmap import CUT_SIGMAS, Decoder, covariances, encode, find_peaks, warp_heatmaps


def dense_grid(size: int) -> Tensor:
    """(1, N, 2) positions over the whole heatmap: closely spaced at the borders, on them, and in the corners."""
    near = torch.arange(0, 4.01, 0.29)
    inner = torch.linspace(0, size, 23)
    axis = torch.cat((near, size - near, inner)).clamp(0, size)
    return torch.cartesian_prod(axis, axis)[None]


def plain_gaussian(x: float, y: float, size: int, sigma: float = 1.0) -> np.ndarray:
    """The target's formula, cell by cell; the window is cut at 5 sigma along each axis."""
    heatmap = np.zeros((size, size))
    for row, column in itertools.product(range(size), repeat=2):
        dx, dy = column + 0.5 - x, row + 0.5 - y
        if max(abs(dx), abs(dy)) <= 5 * sigma:
            heatmap[row, column] = math.exp(-(dx * dx + dy * dy) / (2 * sigma * sigma))
    return heatmap


def plain_decode(heatmap: np.ndarray, radius: float, gamma: float) -> tuple[float, float, float]:
    """The public code's rule for one heatmap: x, y, score."""
    height, width = heatmap.shape
    peak_row, peak_column = divmod(int(np.argmax(heatmap)), width)
    mass = x = y = 0.0
    for row, column in itertools.product(range(height), range(width)):
        if math.hypot(row - peak_row, column - peak_column) <= radius * math.sqrt(height * width):
            value = max(float(heatmap[row, column]), 0.0)
            value = value**gamma if value > 0 else 0.0
            mass, x, y = mass + value, x + value * (column + 0.5), y + value * (row + 0.5)
    return x / mass, y / mass, float(heatmap.max())


# ------------------------------------------------------------------ encode


@pytest.mark.parametrize(("size", "sigma"), [(16, 1.0), (24, 1.7), (12, 0.6)])
def test_separable_encoding_equals_the_formula_in_two_dimensions(size: int, sigma: float) -> None:
    points = [(3.3, 7.9), (0.0, 0.0), (size, 5.5), (-2.2, 4.0), (size / 2, size / 2), (-90.0, 3.0)]
    made = encode(torch.tensor([points], dtype=torch.float64), size, sigma)
    expected = np.stack([plain_gaussian(x, y, size, sigma) for x, y in points])
    np.testing.assert_allclose(made[0].numpy(), expected, atol=1e-15)


def test_a_landmark_at_a_cell_centre_gives_peak_one_there() -> None:
    made = encode(torch.tensor([[[5.5, 2.5]]]), 16)[0, 0]
    assert made[2, 5] == 1
    assert made.argmax() == 2 * 16 + 5
    torch.testing.assert_close(made[2, 6], torch.tensor(math.exp(-0.5)))


def test_the_window_ends_at_five_sigma() -> None:
    """Cells whose centre is 5 px away are drawn, the next ones are zero exactly."""
    row = encode(torch.tensor([[[16.5, 16.5]]]), 32)[0, 0, 16]
    assert CUT_SIGMAS == 5
    assert row.nonzero().flatten().tolist() == list(range(11, 22))
    assert row[11] == pytest.approx(math.exp(-12.5), rel=1e-5)


def test_snapped_encoding_uses_the_centre_of_the_landmarks_cell() -> None:
    """Points anywhere in a cell look alike; a point on a line between cells belongs to the right one."""
    points = torch.tensor([[[3.01, 7.99], [3.99, 7.0], [3.0, 7.5]]])
    snapped = encode(points, 16, subpixel=False)
    exact = encode(torch.full((1, 3, 2), 3.5) + torch.tensor([0.0, 4.0]), 16)
    torch.testing.assert_close(snapped, exact, rtol=0, atol=0)


def test_encoding_into_a_buffer_overwrites_all_of_it() -> None:
    points = torch.rand(2, 5, 2) * 20
    buffer = torch.full((2, 5, 20, 20), torch.nan)
    made = encode(points, 20, out=buffer)
    assert made.data_ptr() == buffer.data_ptr()
    torch.testing.assert_close(buffer, encode(points, 20), rtol=0, atol=0)


# ------------------------------------------------------------------ encode -> decode


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("size", [16, 32, 64])
def test_decoding_finds_the_encoded_landmark_everywhere(size: int, gamma: float) -> None:
    points = dense_grid(size)
    decoded, scores = Decoder(gamma=gamma)(encode(points, size))
    assert (decoded - points).norm(dim=-1).max() < 0.05
    assert scores.min() > math.exp(-0.25) - 1e-5  # at most half a cell in x and in y from a centre


@pytest.mark.parametrize("radius", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
@pytest.mark.parametrize("size", [12, 20, 24, 32, 64])
def test_decoding_is_exact_for_any_size_window_and_sigma(size: int, sigma: float, radius: float) -> None:
    if radius * size < 1:
        pytest.skip("a window below one cell is refused by the recipe")
    points = dense_grid(size)
    decoded, _ = Decoder(radius=radius, sigma_heatmap_px=sigma)(encode(points, size, sigma))
    assert (decoded - points).norm(dim=-1).max() < 0.05


def test_a_landmark_up_to_one_pixel_outside_is_recovered() -> None:
    outside = torch.tensor([[[-0.9, 20.0], [64.9, 3.2], [-0.7, -0.7], [30.0, 64.8]]])
    decoded, _ = Decoder()(encode(outside, 64))
    assert (decoded - outside).abs().max() < 0.05
    further, _ = Decoder()(encode(torch.tensor([[[-3.0, 20.0]]]), 64))
    assert further[0, 0, 0] == pytest.approx(-1.0, abs=1e-4)  # no further than that


def test_heatmaps_need_not_be_square() -> None:
    """Drawn on a square and cut to 20 rows: what lies well inside stays where it was."""
    points = torch.tensor([[[3.3, 9.1], [29.7, 6.5]]])
    decoded, _ = Decoder(radius=0.2)(encode(points, 32)[:, :, :20])
    torch.testing.assert_close(decoded, points, atol=0.01, rtol=0)


# ------------------------------------------------------------------ the public code's rule


def test_the_cut_rule_has_the_known_bias_at_the_border() -> None:
    """x = 0: cells 0.5, 1.5, ... weigh exp(-x^2 / 2) = 0.8825, 0.3247, 0.0439, 0.0022; their mean is 0.834."""
    points = torch.tensor([[[0.0, 32.0], [32.0, 0.0], [64.0, 32.0]]])
    heatmaps = encode(points, 64)
    cut, _ = Decoder(border="cut")(heatmaps)
    bias = torch.tensor([[[0.834, 0.0], [0.0, 0.834], [-0.834, 0.0]]])
    torch.testing.assert_close(cut - points, bias, atol=0.01, rtol=0)
    corrected, _ = Decoder()(heatmaps)
    torch.testing.assert_close(corrected, points, atol=1e-3, rtol=0)


@pytest.mark.parametrize("gamma", [1.0, 2.0, 0.5])
@pytest.mark.parametrize(("height", "width", "radius"), [(16, 16, 0.1), (20, 12, 0.25), (9, 9, 2.0)])
def test_the_cut_rule_equals_a_plain_computation(
    height: int, width: int, radius: float, gamma: float
) -> None:
    heatmaps = torch.randn((3, 4, height, width), generator=torch.Generator().manual_seed(1)).double()
    landmarks, scores = Decoder(radius=radius, gamma=gamma, border="cut")(heatmaps)
    for b, landmark in itertools.product(range(3), range(4)):
        x, y, score = plain_decode(heatmaps[b, landmark].numpy(), radius, gamma)
        assert landmarks[b, landmark].tolist() == pytest.approx([x, y], abs=1e-9)
        assert scores[b, landmark] == score


def test_the_correction_leaves_the_middle_alone() -> None:
    """Far from the border the two rules agree, whatever the heatmap looks like."""
    heatmaps = torch.zeros(2, 3, 64, 64)  # what there is lies in both windows, the disc and the square
    heatmaps[..., 26:35, 30:39] = torch.rand((2, 3, 9, 9), generator=torch.Generator().manual_seed(0)) * 0.1
    heatmaps[..., 30, 34] = 1
    corrected, cut = (Decoder(border=border)(heatmaps)[0] for border in ("corrected", "cut"))  # type: ignore[arg-type]
    assert (corrected - cut).abs().max() < 0.02


# ------------------------------------------------------------------ batches, types and odd maps


def test_each_heatmap_is_decoded_by_itself() -> None:
    heatmaps = torch.randn((4, 6, 32, 32), generator=torch.Generator().manual_seed(2))
    landmarks, scores = Decoder()(heatmaps)
    for b, landmark in itertools.product(range(4), range(6)):
        alone, score = Decoder()(heatmaps[b : b + 1, landmark : landmark + 1])
        torch.testing.assert_close(alone[0, 0], landmarks[b, landmark], rtol=0, atol=1e-5)
        assert score[0, 0] == scores[b, landmark]
    order = torch.tensor([3, 0, 2, 1])
    torch.testing.assert_close(Decoder()(heatmaps[order])[0], landmarks[order], rtol=0, atol=1e-5)


def test_decoding_follows_a_mirror_and_a_turn() -> None:
    heatmaps = torch.randn((1, 8, 32, 32), generator=torch.Generator().manual_seed(3))
    landmarks = Decoder()(heatmaps)[0]
    mirrored = Decoder()(heatmaps.flip(-1))[0]
    torch.testing.assert_close(mirrored * torch.tensor([-1.0, 1.0]) + torch.tensor([32.0, 0.0]), landmarks)
    turned = Decoder()(heatmaps.transpose(-1, -2))[0]
    torch.testing.assert_close(turned.flip(-1), landmarks)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_low_precision_heatmaps_give_landmarks_of_at_least_single_precision(dtype: torch.dtype) -> None:
    points = torch.tensor([[[10.3, 20.8], [0.0, 5.0]]])
    landmarks, scores = Decoder()(encode(points, 32).to(dtype))
    expected = torch.float64 if dtype == torch.float64 else torch.float32
    assert landmarks.dtype == scores.dtype == expected
    torch.testing.assert_close(landmarks.float(), points, atol=0.02, rtol=0)  # bfloat16 has 8 bits


def test_a_heatmap_without_a_positive_cell_gives_its_peak_cell() -> None:
    heatmaps = torch.full((1, 2, 16, 16), -1.0)
    heatmaps[0, 0, 4, 9] = -0.5
    landmarks, scores = Decoder()(heatmaps)
    assert landmarks[0].tolist() == [[9.5, 4.5], [0.5, 0.5]]
    assert scores[0].tolist() == [-0.5, -1.0]
    assert Decoder()(torch.zeros(1, 1, 16, 16))[0].tolist() == [[[0.5, 0.5]]]


def test_a_constant_heatmap_gives_a_finite_landmark_at_the_first_cell() -> None:
    """The peak is the first cell; the cut rule's centroid is that of the quarter disc inside: 1 for 16 px."""
    heatmaps = torch.ones(1, 1, 16, 16)
    cut, _ = Decoder(border="cut")(heatmaps)
    torch.testing.assert_close(cut, torch.full((1, 1, 2), 1.0))  # cells 0 and 1 along each axis
    corrected, scores = Decoder()(heatmaps)
    assert torch.isfinite(corrected).all()
    assert ((corrected >= -1) & (corrected <= 17)).all()
    assert scores.item() == 1


def test_not_a_number_shows_in_the_score_and_stays_in_its_heatmap() -> None:
    """A NaN becomes the peak: the score says so, the landmark is finite, and other heatmaps are untouched."""
    heatmaps = encode(torch.tensor([[[10.0, 10.0], [5.0, 6.0]]]), 16)
    heatmaps[0, 0, 3, 12] = torch.nan
    landmarks, scores = Decoder()(heatmaps)
    assert torch.isnan(scores[0]).tolist() == [True, False]
    assert torch.isfinite(landmarks).all()
    assert landmarks[0, 1].tolist() == pytest.approx([5, 6], abs=1e-3)


@pytest.mark.parametrize("gamma", [1.0, 50.0, 1000.0])
def test_a_large_gamma_stays_finite(gamma: float) -> None:
    landmarks, _ = Decoder(gamma=gamma)(encode(torch.tensor([[[-1.0, 16.0], [0.1, 3.0]]]), 16))
    assert torch.isfinite(landmarks).all()


def test_peaks_are_the_first_in_reading_order() -> None:
    heatmaps = torch.zeros(1, 2, 5, 7)
    heatmaps[0, 0, 2, [3, 5]] = 2.0
    heatmaps[0, 0, 4, 0] = 2.0
    values, rows, columns = find_peaks(heatmaps)[0], find_peaks(heatmaps)[2], find_peaks(heatmaps)[1]
    assert (values[0].tolist(), rows[0].tolist(), columns[0].tolist()) == ([2, 0], [2, 0], [3, 0])


def test_heatmaps_of_another_shape_are_refused_with_their_shape() -> None:
    with pytest.raises(ValueError, match=r"\(3, 16, 16\): expected \(B, L, H, W\)"):
        Decoder()(torch.zeros(3, 16, 16))


def test_all_wrong_options_are_named_together() -> None:
    with pytest.raises(InputError) as caught:
        Decoder(radius=0, gamma=math.inf, border="sharp", sigma_heatmap_px=-1)  # type: ignore[arg-type]
    assert [problem.split(" ")[0] for problem in caught.value.problems] == [
        "radius", "gamma", "border", "sigma_heatmap_px",
    ]  # fmt: skip


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize("border", ["corrected", "cut"])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("place", [(6.2, 5.7), (0.3, 6.1), (11.8, 0.2), (-0.4, 12.3)])
def test_gradients_of_the_decoder(place: tuple[float, float], gamma: float, border: str) -> None:
    """Against differences, inside, at a border and in a corner; the noise breaks the Gaussian's symmetry."""
    noise = 0.02 * torch.rand((1, 1, 12, 12), generator=torch.Generator().manual_seed(4)).double()
    heatmaps = (encode(torch.tensor([[place]]).double(), 12) + noise).requires_grad_()
    decoder = Decoder(radius=0.3, gamma=gamma, border=border)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(decoder, heatmaps, eps=1e-6, atol=1e-4, rtol=1e-3)


def test_no_gradient_is_lost_or_broken_where_cells_are_not_positive() -> None:
    heatmaps = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(5))
    heatmaps[0, 3] = -1
    heatmaps.requires_grad_()
    Decoder(gamma=0.5)(heatmaps)[0].sum().backward()
    assert heatmaps.grad is not None
    assert torch.isfinite(heatmaps.grad).all()
    assert (heatmaps.grad[0, :3].flatten(1) != 0).any(1).all()
    assert (heatmaps.grad[0, 3] == 0).all()


def test_gradients_after_a_prediction_of_the_same_size() -> None:
    """The window is kept between calls: one that inference made must serve training as well."""
    heatmaps = torch.rand(1, 1, 22, 22, requires_grad=True)
    with torch.inference_mode():
        Decoder(radius=0.31)(heatmaps)
    Decoder(radius=0.31)(heatmaps)[0].sum().backward()
    assert heatmaps.grad is not None


# ------------------------------------------------------------------ the old ways


def two_peaks() -> Tensor:
    """(1, 2, 8, 8): a peak in row 2, column 3 among unlike neighbours, and one at the border in row 5."""
    heatmaps = torch.zeros(1, 2, 8, 8)
    heatmaps[0, 0, 2, 3] = 0.9
    heatmaps[0, 0, 2, 2], heatmaps[0, 0, 2, 4] = 0.2, 0.6
    heatmaps[0, 0, 1, 3], heatmaps[0, 0, 3, 3] = 0.5, -0.1
    heatmaps[0, 1, 5, 0], heatmaps[0, 1, 5, 1], heatmaps[0, 1, 6, 0] = 0.7, 0.4, 0.3
    return heatmaps


def test_argmax_is_the_centre_of_the_highest_cell() -> None:
    landmarks, scores = Decoder(kind="argmax", gamma=3.0)(two_peaks())
    assert landmarks.tolist() == [[[3.5, 2.5], [0.5, 5.5]]]
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.7]]))


def test_quarter_moves_the_centre_towards_the_higher_neighbours() -> None:
    """Right 0.6 over left 0.2: + 1/4; above 0.5 over below -0.1: - 1/4. A peak at the border stays."""
    landmarks, scores = Decoder(kind="quarter")(two_peaks())
    assert landmarks.tolist() == [[[3.75, 2.25], [0.5, 5.5]]]
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.7]]))
    alike = torch.zeros(1, 1, 8, 8)
    alike[..., 4, 4] = 1
    assert Decoder(kind="quarter")(alike)[0].tolist() == [[[4.5, 4.5]]]


@pytest.mark.parametrize("kind", ["argmax", "quarter"])
def test_the_old_ways_take_any_precision_and_have_no_gradient(kind: str) -> None:
    decoder = Decoder(kind=kind)  # type: ignore[arg-type]
    expected = decoder(two_peaks())[0]
    for dtype, result in ((torch.bfloat16, torch.float32), (torch.float64, torch.float64)):
        landmarks, scores = decoder(two_peaks().to(dtype))
        assert landmarks.dtype == scores.dtype == result
        assert torch.equal(landmarks.float(), expected)
    landmarks, scores = decoder(two_peaks().requires_grad_())
    assert not landmarks.requires_grad
    assert scores.requires_grad


# ------------------------------------------------------------------ heatmaps that move


def motion(**how: Any) -> Tensor:
    return torch.from_numpy(Motion(**how).matrix()).float()[None]


LANDMARKS = torch.tensor([[[5.3, 9.8], [12.0, 3.5]]])


def test_warping_by_whole_cells_moves_them() -> None:
    drawn = encode(LANDMARKS, 16)
    torch.testing.assert_close(warp_heatmaps(drawn, motion()), drawn)
    torch.testing.assert_close(warp_heatmaps(drawn, motion(mirror=True)), drawn.flip(-1))
    moved = warp_heatmaps(drawn, motion(shift_x=2 / 16, shift_y=-3 / 16))
    expected = torch.zeros_like(drawn)
    expected[..., :-3, 2:] = drawn[..., 3:, :-2]
    torch.testing.assert_close(moved, expected)


def test_warped_heatmaps_lie_where_the_landmarks_move() -> None:
    """Turned by 90 degrees clockwise about (8, 8), (5.3, 9.8) comes to (8 - 1.8, 8 - 2.7)."""
    turned = Decoder()(warp_heatmaps(encode(LANDMARKS, 16), motion(rotate_deg=90.0)))[0]
    expected = torch.tensor([[[6.2, 5.3], [12.5, 12.0]]])
    torch.testing.assert_close(turned, expected, atol=0.03, rtol=0)


def test_warped_heatmaps_grow_with_the_picture() -> None:
    """Magnified by 1.5 a Gaussian of sigma 1 has sigma 1.5, and a little more for being sampled linearly."""
    centre = torch.tensor([[[32.0, 32.0]]])
    grown = warp_heatmaps(encode(centre, 64), motion(scale=1.5))
    spread = covariances(grown, centre, radius=0.15)[0, 0]
    assert spread[0, 0].item() == pytest.approx(2.25, rel=0.2)
    assert spread[0, 1].item() == pytest.approx(0, abs=1e-3)


# ------------------------------------------------------------------ covariances


def test_the_covariance_of_a_clean_gaussian_is_its_own() -> None:
    landmarks = torch.tensor([[[20.3, 31.8], [40.0, 12.6]]], dtype=torch.float64)
    for sigma in (0.8, 1.0, 1.3):
        found = covariances(encode(landmarks, 64, sigma), landmarks, radius=0.12)
        expected = sigma**2 * torch.eye(2, dtype=torch.float64).expand(1, 2, 2, 2)
        torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_the_covariance_is_longer_along_a_contour() -> None:
    """Sigma 2 along the diagonal x = y, 0.7 across: variances (4 + 0.49) / 2, covariance (4 - 0.49) / 2."""
    cells = torch.arange(64, dtype=torch.float64) + 0.5
    x, y = cells - 30.2, (cells - 33.7).unsqueeze(-1)
    along, across = (x + y) / 2**0.5, (x - y) / 2**0.5
    heatmap = torch.exp(-0.5 * (along**2 / 4 + across**2 / 0.49))[None, None]
    found = covariances(heatmap, torch.tensor([[[30.2, 33.7]]], dtype=torch.float64), radius=0.15)
    expected = torch.tensor([[[[2.245, 1.755], [1.755, 2.245]]]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_the_covariance_of_nothing_is_zero_and_the_border_adds_nothing() -> None:
    empty = covariances(torch.full((1, 1, 16, 16), -1.0), torch.full((1, 1, 2), 3.0))
    assert empty.tolist() == [[[[0, 0], [0, 0]]]]
    single = torch.zeros(1, 1, 16, 16)
    single[..., 0, 0] = 0.5  # one cell in the corner, whose centre is the landmark
    assert covariances(single, torch.full((1, 1, 2), 0.5)).abs().max() == 0
