"""The training loss: terms worked by hand, weights, and gradients."""

from __future__ import annotations

import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from fanlight.errors import InputError
from fanlight.geometry import Motion
from fanlight.heatmap import Decoder, encode
from fanlight.loss import AlignmentLoss, LossOptions, heatmap_mse, landmark_distance
from fanlight.model import FAN, FANOptions

ONE = torch.ones(1)


def heatmaps_of(points: Tensor, size: int = 16) -> Tensor:
    return encode(points, size)


def test_mse_is_the_mean_over_landmarks_and_cells() -> None:
    """2 landmarks of 4 x 4 cells; one cell is off by 3, another by 1: (9 + 1) / 32."""
    heatmaps = torch.zeros(2, 2, 4, 4)
    heatmaps[0, 0, 1, 1], heatmaps[0, 1, 2, 3] = 3, -1
    assert heatmap_mse(heatmaps, torch.zeros(2, 2, 4, 4)).tolist() == [10 / 32, 0]


def test_mse_is_computed_in_single_precision_at_least() -> None:
    targets = torch.zeros(1, 1, 4, 4)
    assert heatmap_mse(torch.ones(1, 1, 4, 4, dtype=torch.bfloat16), targets).dtype == torch.float32
    assert heatmap_mse(torch.ones(1, 1, 4, 4).double(), targets.double()).dtype == torch.float64


def test_foreground_lets_cells_at_a_landmark_count_more() -> None:
    """Errors of 1 everywhere; a cell of target t counts 1 + 3 t: (15 * 1 + 1 * 4) / 16 and with t = 0.5, 2.5."""
    targets = torch.zeros(2, 1, 4, 4)
    targets[0, 0, 2, 2], targets[1, 0, 1, 1] = 1, 0.5
    assert heatmap_mse(targets + 1, targets, foreground=3).tolist() == [19 / 16, 17.5 / 16]
    loss = AlignmentLoss(LossOptions(distance=0, foreground=3.0), Decoder())
    got = loss([heatmaps_of(NEAR)], TRUE, 16, ONE)["total"]
    assert got == heatmap_mse(heatmaps_of(NEAR), heatmaps_of(TRUE), 3.0).mean()


def test_distance_is_the_mean_over_the_size_of_the_true_box() -> None:
    """Box 8 x 2, size 4. Errors 5 (3-4-5), 0 and 1: mean 2, over 4 is 0.5."""
    truth = torch.tensor([[[0.0, 0.0], [8.0, 1.0], [4.0, 2.0]]])
    landmarks = truth + torch.tensor([[[3.0, 4.0], [0.0, 0.0], [0.0, -1.0]]])
    assert landmark_distance(landmarks, truth).tolist() == [0.5]


def test_a_face_without_size_counts_as_one_pixel() -> None:
    """One point, or two on a level, span no area: their distance must not be divided by nearly nothing."""
    level = torch.tensor([[[2.0, 5.0], [9.0, 5.0]]])
    assert landmark_distance(level + 1, level).tolist() == pytest.approx([math.sqrt(2)])
    point = torch.tensor([[[2.0, 5.0]]])
    assert landmark_distance(point + torch.tensor([0.0, 3.0]), point).tolist() == [3]


def test_perfect_landmarks_have_no_distance_and_a_finite_gradient() -> None:
    truth = torch.tensor([[[0.0, 0.0], [8.0, 2.0]]])
    landmarks = truth.clone().requires_grad_()
    landmark_distance(landmarks, truth).sum().backward()
    assert landmarks.grad is not None
    assert torch.isfinite(landmarks.grad).all()


TRUE = torch.tensor([[[4.0, 4.0], [12.0, 8.0]]])  # box 8 x 4 heatmap px
NEAR = TRUE + torch.tensor([0.0, 1.0])


def test_total_is_the_weighted_mean_of_the_terms() -> None:
    """Every landmark is 1 heatmap px off and the box's size is sqrt(32): distance 1 / sqrt(32)."""
    heatmaps = heatmaps_of(NEAR)
    losses = AlignmentLoss(LossOptions(2.0, 0.5), Decoder(border="cut", radius=0.3))(
        [heatmaps], TRUE * 4, 64, ONE
    )
    mse = (heatmaps - heatmaps_of(TRUE)).square().mean().item()
    assert losses["heatmap"].item() == pytest.approx(mse, rel=1e-5)
    assert losses["distance"].item() == pytest.approx(1 / math.sqrt(32), abs=1e-3)
    assert losses["total"].item() == pytest.approx(
        (2 * mse + 0.5 * losses["distance"].item()) / 2.5, rel=1e-5
    )
    assert all(value.dim() == 0 for value in losses.values())


def test_terms_are_averaged_over_the_stacks() -> None:
    loss = AlignmentLoss(LossOptions(), Decoder())
    good, bad = heatmaps_of(TRUE), heatmaps_of(NEAR)
    alone = [{k: v.item() for k, v in loss([stack], TRUE, 16, ONE).items()} for stack in (good, bad)]
    both = loss([good, bad], TRUE, 16, ONE)
    for name, value in both.items():
        assert value.item() == pytest.approx((alone[0][name] + alone[1][name]) / 2, rel=1e-5)
    assert alone[0]["heatmap"] == 0
    assert alone[0]["distance"] < 1e-4 < alone[1]["distance"]


def test_sample_weights_weigh_the_faces() -> None:
    """Weights 1.5 and 0.5: 1.5/2 of the first face's loss and 0.5/2 of the second's."""
    loss = AlignmentLoss(LossOptions(), Decoder())
    truth = torch.cat((TRUE, TRUE))
    heatmaps = torch.cat((heatmaps_of(NEAR), heatmaps_of(TRUE + 2)))
    first, second = (loss([heatmaps[i : i + 1]], TRUE, 16, ONE) for i in (0, 1))
    first, second = ({k: v.item() for k, v in terms.items()} for terms in (first, second))
    together = loss([heatmaps], truth, 16, torch.tensor([1.5, 0.5]))
    for name, value in together.items():
        assert value.item() == pytest.approx(0.75 * first[name] + 0.25 * second[name], rel=1e-5)


def test_a_weight_of_zero_leaves_the_distance_out() -> None:
    losses = AlignmentLoss(LossOptions(distance=0), Decoder())([heatmaps_of(NEAR)], TRUE, 16, ONE)
    assert set(losses) == {"total", "heatmap"}
    assert losses["total"] == losses["heatmap"]


def test_snapped_targets_are_those_of_the_cell_centres() -> None:
    centres = TRUE.floor() + 0.5
    loss = AlignmentLoss(LossOptions(distance=0, subpixel=False), Decoder())
    assert loss([heatmaps_of(centres)], TRUE + 0.3, 16, ONE)["heatmap"] == 0


def test_the_decoders_sigma_is_that_of_the_targets() -> None:
    loss = AlignmentLoss(LossOptions(distance=0), Decoder(sigma_heatmap_px=1.6))
    assert loss([encode(TRUE, 16, 1.6)], TRUE, 16, ONE)["heatmap"] == 0


def test_the_kept_target_buffer_follows_every_batch() -> None:
    """Other batch sizes, landmark counts and types, and losses whose backward pass comes later."""
    loss = AlignmentLoss(LossOptions(distance=0), Decoder())
    first = heatmaps_of(NEAR).requires_grad_()
    waiting = loss([first], TRUE, 16, ONE)["total"]
    assert loss([heatmaps_of(NEAR)], NEAR, 16, ONE)["total"] == 0  # overwrites the buffer
    waiting.backward()
    expected = 2 * (heatmaps_of(NEAR) - heatmaps_of(TRUE)) / first.numel()
    torch.testing.assert_close(first.grad, expected)
    for shape in ((3, 2, 2), (3, 5, 2)):
        points = torch.rand(shape) * 16
        assert loss([heatmaps_of(points)], points, 16, torch.ones(3))["total"] == 0
    with torch.inference_mode():
        loss([torch.zeros(1, 2, 12, 12)], TRUE, 16, ONE)
    assert loss([torch.zeros(1, 2, 12, 12).double()], TRUE.double(), 16, ONE)["total"].dtype == torch.float64
    assert loss([torch.zeros(1, 2, 12, 12)], TRUE, 16, ONE)["total"] > 0


def test_warped_targets_are_drawn_before_the_motion_and_moved_with_the_picture() -> None:
    """Snapped, then mirrored: (4.2, 6.9) of 16 cells is drawn in cell (4, 6), and mirrored to (11, 6)."""
    motion = torch.from_numpy(Motion(mirror=True).matrix()).float()[None]
    before = torch.tensor([[[4.2, 6.9], [9.0, 2.5]]])
    after = torch.tensor([[[16 - 4.2, 6.9], [16 - 9.0, 2.5]]])
    loss = AlignmentLoss(LossOptions(distance=0, subpixel=False, warped=True), Decoder())
    expected = encode(before, 16, subpixel=False).flip(-1)
    assert expected[0, 0, 6, 11] == 1
    losses = loss([expected + 0.5], after * 4, 64, ONE, motion)
    assert losses["total"].item() == pytest.approx(0.25, rel=1e-4)
    other = AlignmentLoss(LossOptions(distance=0, subpixel=False), Decoder())
    assert other([expected + 0.5], after * 4, 64, ONE)["total"] > 0.2501  # 16 - 9 = 7.0 lies in another cell


@pytest.mark.parametrize("subpixel", [True, False])
def test_warped_targets_are_what_opencv_makes_of_those_drawn_before(subpixel: bool) -> None:
    """Within its rounding, a thirty-second of a cell; half a cell to the right is told apart."""
    drawing = np.random.default_rng(0)
    options = LossOptions(distance=0, subpixel=subpixel, warped=True)
    for mirror, size in itertools.product((False, True), (16, 64)):
        shift_x, shift_y, scale, rotate = drawing.uniform(-1, 1, 4) * (0.1, 0.1, 0.2, 50)
        motion = Motion(mirror, shift_x, shift_y, 1 + scale, rotate).matrix()
        before, linear = drawing.uniform(-1, size + 1, (6, 2)), motion[:, :2]
        matrix = np.column_stack([linear, linear @ (0.5, 0.5) + size * motion[:, 2] - 0.5])
        drawn = encode(torch.from_numpy(before)[None].float(), size, subpixel=subpixel)[0].numpy()
        moved = np.stack([cv2.warpAffine(heatmap, matrix, (size, size)) for heatmap in drawn])
        after = torch.from_numpy(before @ linear.T + size * motion[:, 2])[None].float()
        heatmaps, given = torch.from_numpy(moved)[None], torch.from_numpy(motion)[None].float()
        half_a_cell_off = (heatmaps + heatmaps.roll(1, -1)) / 2
        exact, off = (
            AlignmentLoss(options, Decoder())([found], after, size, ONE, given)["total"]
            for found in (heatmaps, half_a_cell_off)
        )
        assert exact < off / 100


def test_warped_targets_need_the_motion() -> None:
    loss = AlignmentLoss(LossOptions(warped=True), Decoder())
    with pytest.raises(ValueError, match="motion"):
        loss([heatmaps_of(NEAR)], TRUE, 16, ONE)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_gradients_of_the_loss(gamma: float) -> None:
    truth = torch.tensor([[[0.4, 6.3], [9.1, 2.2]]]).double()
    noise = 0.02 * torch.rand((1, 2, 12, 12), generator=torch.Generator().manual_seed(0)).double()
    stacks = [(encode(truth + shift, 12) + noise).requires_grad_() for shift in (0.8, -0.6)]
    loss = AlignmentLoss(LossOptions(1.0, 1.0), Decoder(gamma=gamma))
    assert torch.autograd.gradcheck(
        lambda *h: loss(h, truth, 12, ONE.double())["total"], stacks, eps=1e-6, atol=1e-5, fast_mode=True
    )


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_gradient_reaches_every_parameter(norm: str) -> None:
    torch.manual_seed(0)
    model = FAN(
        FANOptions(points=3, stacks=2, features=8, depth=2, stem_features=4, input_size=32, norm=norm)
    )  # type: ignore[arg-type]
    heatmaps = model(torch.rand(4, 3, 32, 32))
    AlignmentLoss(LossOptions(), Decoder(radius=0.3))(heatmaps, torch.rand(4, 3, 2) * 32, 32, torch.ones(4))[
        "total"
    ].backward()
    before_a_norm = ("conv1.bias", "conv_last0.bias", "conv_last1.bias")  # which takes their constant away
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if name not in before_a_norm:
            assert (parameter.grad != 0).any(), name


@pytest.mark.parametrize("foreground", [-1.0, math.inf, math.nan])
def test_impossible_foreground_is_refused_with_its_value(foreground: float) -> None:
    with pytest.raises(InputError, match=f"foreground = {foreground}"):
        LossOptions(foreground=foreground)


@pytest.mark.parametrize("weights", [(-1, 1), (0, 0), (1, -0.1), (math.nan, 1), (math.inf, 0)])
def test_impossible_weights_are_refused_with_their_values(weights: tuple[float, float]) -> None:
    with pytest.raises(InputError, match=f"heatmap = {weights[0]}, distance = {weights[1]}"):
        LossOptions(*weights)


@pytest.mark.parametrize("foreground", [0.0, 20.0])
def test_the_slope_of_the_heatmap_loss_is_that_of_its_value(foreground: float) -> None:
    """The slope is written by hand, for the sake of speed."""
    numbers = torch.Generator().manual_seed(0)
    heatmaps = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=numbers, requires_grad=True)
    targets = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=numbers)
    assert torch.autograd.gradcheck(lambda given: heatmap_mse(given, targets, foreground), heatmaps)
    plain = (heatmaps - targets).square() * (1 + foreground * targets)
    torch.testing.assert_close(heatmap_mse(heatmaps, targets, foreground), plain.mean((1, 2, 3)))
