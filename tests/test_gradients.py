"""Every gradient against differences of values, in double precision; and none that is no number.

``CHECKS`` holds one entry for everything public in ``fanlight.loss`` and ``fanlight.heatmap``, ``LOSSES`` and
``DECODERS`` every option of theirs: what is added there without a check here fails a test.
"""

from __future__ import annotations

import ast
import inspect
import itertools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck

import fanlight
import fanlight.heatmap
import fanlight.loss
from fanlight.adversarial import AdversaryOptions, attack
from fanlight.geometry import Motion
from fanlight.heatmap import LOWEST_PEAK, Decoder, covariances, encode, find_peaks, warp_heatmaps
from fanlight.loss import AlignmentLoss, LossOptions, heatmap_mse, landmark_distance
from fanlight.model import FAN, FANOptions, Norm
from fanlight.sync_norm import SyncBatchNorm

SIZE = 12
INSIDE, EDGE, CORNER, OUTSIDE = (6.2, 5.7), (0.3, 6.1), (11.8, 0.2), (-0.4, 12.3)
PLACES = (INSIDE, EDGE, CORNER, OUTSIDE)
TRUE = torch.tensor([[[3.4, 6.3], [9.1, 2.2]], [[5.0, 5.0], [8.2, 9.9]]], dtype=torch.float64)
WEIGHTS = torch.tensor([1.6, 0.4], dtype=torch.float64)

LOSSES = {
    "plain": LossOptions(distance=0.0),
    "distance alone": LossOptions(heatmap=0.0, distance=1.0),
    "both": LossOptions(0.7, 0.3),
    "snapped": LossOptions(distance=0.5, subpixel=False),
    "warped": LossOptions(distance=0.5, warped=True),
    "foreground": LossOptions(distance=0.5, foreground=20.0),
}
DECODERS = {
    "usual": Decoder(radius=0.3),
    "narrow": Decoder(radius=0.1),
    "whole": Decoder(radius=2.0),
    "half power": Decoder(radius=0.3, gamma=0.5),
    "between powers": Decoder(radius=0.3, gamma=1.5),
    "square": Decoder(radius=0.3, gamma=2.0),
    "wide": Decoder(radius=0.3, sigma_heatmap_px=1.7),
    "cut": Decoder(radius=0.3, border="cut"),
    "cut square": Decoder(radius=0.3, border="cut", gamma=2.0),
    "cut half power": Decoder(radius=0.3, border="cut", gamma=0.5),
}
WITHOUT_GRADIENT = {"argmax", "quarter"}  # test_heatmap.py: their landmarks have none


def noise(shape: Sequence[int], seed: int = 0) -> Tensor:
    """Between 0.01 and 0.05, so that no cell lies where a slope jumps."""
    return 0.01 + 0.04 * torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(points: Tensor, sigma: float = 1.0) -> Tensor:
    """Heatmaps of landmarks, with noise that breaks their symmetry."""
    heatmaps = encode(points.double(), SIZE, sigma)
    return (heatmaps + noise(heatmaps.shape)).requires_grad_()


def check(function: Callable[..., Any], *given: Tensor) -> None:
    """Every number of every input, which takes minutes, or all along one direction drawn at random."""
    assert gradcheck(function, given, eps=1e-6, atol=1e-6, rtol=1e-4, fast_mode=not THOROUGH.get())


THOROUGH = ContextVar("THOROUGH", default=False)

# ------------------------------------------------------------------ one check for each public function


def check_mse() -> None:
    heatmaps, targets = drawn(TRUE + 0.4), encode(TRUE, SIZE)
    for foreground in (0.0, 3.5, 20.0):
        check(lambda given, f=foreground: heatmap_mse(given, targets, f), heatmaps)


def check_distance() -> None:
    landmarks = (TRUE + 0.3).requires_grad_()
    check(lambda given: landmark_distance(given, TRUE), landmarks)
    assert gradgradcheck(lambda given: landmark_distance(given, TRUE), landmarks)


def check_encode() -> None:
    """In the landmarks, which training does not ask for; the cut at 5 sigma is a step of 4e-6."""
    points = TRUE.clone().requires_grad_()
    assert gradcheck(lambda given: encode(given, 8, 0.8), points, eps=1e-5, atol=1e-4, fast_mode=True)


def check_warp() -> None:
    matrices = torch.from_numpy(Motion(True, 0.04, -0.07, 1.1, 17.0).matrix())[None].expand(2, 2, 3)
    check(lambda given: warp_heatmaps(given, matrices), drawn(TRUE))


def check_peaks() -> None:
    """Of the value; the place is a number of a cell."""
    check(lambda given: find_peaks(given)[0], drawn(TRUE))


def check_covariances() -> None:
    check(lambda given: covariances(given, TRUE, 0.3), drawn(TRUE))


def check_decoders() -> None:
    """The landmark and its score, inside, at a border, in a corner and beyond it."""
    for decoder, place in itertools.product(DECODERS.values(), PLACES):
        check(decoder, drawn(torch.tensor([[place]]), decoder.sigma_heatmap_px))


def check_losses() -> None:
    """All terms of a batch of two faces whose weights differ, by two stacks."""
    motion = torch.from_numpy(Motion(True, 0.04, -0.07, 1.1, 17.0).matrix())[None].expand(2, 2, 3)
    stacks = [drawn(TRUE + 0.4), drawn(TRUE - 0.6)]
    for options in LOSSES.values():
        loss = AlignmentLoss(options, Decoder(radius=0.3))
        check(lambda *h, loss=loss: tuple(loss(h, TRUE * 4, 4 * SIZE, WEIGHTS, motion).values()), *stacks)


CHECKS: dict[str, Callable[[], None]] = {
    "heatmap_mse": check_mse,
    "landmark_distance": check_distance,
    "AlignmentLoss": check_losses,
    "encode": check_encode,
    "warp_heatmaps": check_warp,
    "Decoder": check_decoders,
    "find_peaks": check_peaks,
    "covariances": check_covariances,
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    """Along a direction: the sum of the differences of all numbers, by random weights."""
    CHECKS[name]()


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKS)
def test_the_gradient_of_each_number_is_that_of_the_value(name: str) -> None:
    before = THOROUGH.set(True)
    try:
        CHECKS[name]()
    finally:
        THOROUGH.reset(before)


def public_names(module: ModuleType) -> set[str]:
    return {
        name
        for name, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def test_nothing_is_left_unchecked() -> None:
    known = public_names(fanlight.loss) | public_names(fanlight.heatmap)
    assert known - {"LossOptions"} == set(CHECKS), "give it a check in CHECKS"
    for kind, cases in ((LossOptions, LOSSES), (Decoder, DECODERS)):
        for field in fields(kind):  # type: ignore[arg-type]
            varied = any(getattr(case, field.name) != field.default for case in cases.values())
            assert varied or field.name == "kind", f"{kind.__name__}.{field.name} is never varied"
    kinds = set(get_args(get_type_hints(Decoder)["kind"]))
    assert kinds == {decoder.kind for decoder in DECODERS.values()} | WITHOUT_GRADIENT
    borders = set(get_args(get_type_hints(Decoder)["border"]))
    assert borders == {decoder.border for decoder in DECODERS.values()}


def test_every_gradient_written_by_hand_is_known() -> None:
    sources = Path(fanlight.__file__).parent.rglob("*.py")
    texts = [text for path in sources if "autograd.Function" in (text := path.read_text("utf-8"))]
    classes = [node for text in texts for node in ast.walk(ast.parse(text))]
    by_hand = {
        node.name
        for node in classes
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(b).endswith("autograd.Function") for b in node.bases)
    }
    assert by_hand == {"_WeightedSquares", "_SumOverProcesses"}, "check its gradient, and name it here"


@pytest.mark.parametrize("count", [1, 2])
def test_the_gradient_of_the_norm_of_all_processes(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Against differences for one process; for two with the same share, against PyTorch's on both shares."""
    monkeypatch.setattr(dist, "get_world_size", lambda: count)
    monkeypatch.setattr(dist, "get_rank", lambda: 0)
    monkeypatch.setattr(
        dist, "all_reduce", lambda values: values.add_(values.flip(0)) if count == 2 else None
    )
    numbers = torch.Generator().manual_seed(0)
    images = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=numbers, requires_grad=True)
    upstream = torch.randn(3, 2, 4, 4, dtype=torch.float64, generator=numbers)
    own, theirs = (kind(2).double() for kind in (SyncBatchNorm, nn.BatchNorm2d))
    nn.init.uniform_(own.weight, generator=numbers)
    theirs.load_state_dict(own.state_dict())
    if count == 1:
        check(own, images)
    (found,) = torch.autograd.grad((own(images) * upstream).sum(), images)
    both, twice = torch.cat([images] * count), torch.cat([upstream] * count)
    (expected,) = torch.autograd.grad((theirs(both) * twice).sum(), images)
    torch.testing.assert_close(found, expected / count, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------ from the image to the loss


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_gradient_of_the_whole_chain(norm: Norm) -> None:
    """In the image, which adversarial examples follow, and in the weights of each kind of layer."""
    torch.manual_seed(0)
    options = FANOptions(points=2, stacks=2, features=8, depth=1, stem_features=4, input_size=32, norm=norm)
    model = FAN(options).double()
    for name, weights in model.named_parameters():
        if name.startswith(("l0", "l1")):
            nn.init.normal_(weights, std=0.3)  # else all heatmaps begin near zero
    loss = AlignmentLoss(LossOptions(distance=0.5), Decoder(radius=0.3))
    images = torch.rand(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)

    def total(*given: Tensor) -> Tensor:
        heatmaps = model(given[0])
        return loss(heatmaps, TRUE * 2, 32, WEIGHTS)["total"]

    names = ("conv2.conv1.weight", "m0.b1_1.conv1.weight", "l0.weight", "al0.weight", "l1.bias")
    weights = [dict(model.named_parameters())[name] for name in names]
    assert gradcheck(total, (images, *weights), eps=1e-6, atol=1e-6, rtol=1e-3, fast_mode=True)


def test_an_attack_follows_the_gradient_of_the_chain() -> None:
    """One step along its sign raises the loss by about epsilon times the sum of its sizes."""
    target = torch.rand(1, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    images = torch.full((1, 2, 8, 8), 0.5, dtype=torch.float64)
    options = AdversaryOptions(epsilon=1e-4, alpha=1e-4, steps=1, random_start=False)

    def loss(given: Tensor) -> Tensor:
        return heatmap_mse(given.square(), target).sum()

    given = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(given), given)
    gain = loss(attack(images, loss, options, torch.Generator())) - loss(images)
    assert gain.item() == pytest.approx(1e-4 * slope.abs().sum().item(), rel=1e-3)


# ------------------------------------------------------------------ second derivatives


def test_second_derivatives_are_right_or_refused() -> None:
    """No training asks for them: adversarial examples take the sign of a first derivative."""
    heatmaps, cut = drawn(TRUE + 0.4), Decoder(radius=0.3, border="cut")
    assert gradgradcheck(lambda given: cut(given)[0], drawn(TRUE[:1, :1]), fast_mode=True)
    slope = torch.autograd.grad(heatmap_mse(heatmaps, encode(TRUE, SIZE)).sum(), heatmaps, create_graph=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        slope[0].square().sum().backward()


# ------------------------------------------------------------------ where there is no slope, or hardly any number


def degenerate(dtype: torch.dtype) -> dict[str, Tensor]:
    """Heatmaps (1, 1, 12, 12) that say little."""
    smallest, largest = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    maps = {
        name: torch.full((SIZE, SIZE), value, dtype=dtype)
        for name, value in (("zero", 0.0), ("negative", -1.0), ("flat", 1.0), ("least", smallest))
    }
    for name, background, value in (
        ("one cell", 0.0, 1.0),
        ("tie", 0.0, 1.0),
        ("smallest", -1.0, smallest / 2),
        ("below the floor", -1.0, LOWEST_PEAK / 3),
        ("largest", 0.0, largest),
        ("large", 0.0, largest**0.5),
        ("beside -inf", -torch.inf, 1.0),
    ):
        maps[name] = torch.full((SIZE, SIZE), background, dtype=dtype)
        maps[name][0, 0] = value
        if name != "one cell":
            maps[name][0, 1] = value
    return {name: values[None, None].requires_grad_() for name, values in maps.items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0])
def test_no_heatmap_has_a_gradient_that_is_no_number(gamma: float, dtype: torch.dtype) -> None:
    check_degenerate(gamma, dtype, (0.3,), (1.0,))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 1.5, 2.0, 50.0])
def test_no_odd_decoder_has_a_gradient_that_is_no_number(gamma: float, dtype: torch.dtype) -> None:
    check_degenerate(gamma, dtype, (0.1, 0.3, 2.0), (0.01, 1.0, 30.0))


def check_degenerate(
    gamma: float, dtype: torch.dtype, radii: Sequence[float], sigmas: Sequence[float]
) -> None:
    for (name, heatmaps), border, radius, sigma in itertools.product(
        degenerate(dtype).items(), ("corrected", "cut"), radii, sigmas
    ):
        decoder = Decoder(radius=radius, gamma=gamma, border=border, sigma_heatmap_px=sigma)  # type: ignore[arg-type]
        landmarks, scores = decoder(heatmaps)
        (slope,) = torch.autograd.grad(landmarks.sum(), heatmaps)
        case = (name, decoder)
        assert landmarks.isfinite().all(), case
        assert slope.isfinite().all(), case
        assert ((landmarks >= -1) & (landmarks <= SIZE + 1)).all(), case
        assert covariances(heatmaps.detach(), landmarks, radius).isfinite().all(), case
        assert scores == heatmaps.amax(), case


@pytest.mark.parametrize("name", ["cut", "cut square", "usual", "square", "between powers"])
@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1e6, 1e30])
def test_the_scale_of_a_heatmap_does_not_matter(name: str, factor: float) -> None:
    """Nor to its gradient, but by that factor; in single precision, where 1e30 squared is no number."""
    heatmaps = drawn(torch.tensor([PLACES])).float().detach()
    found = []
    for scale in (1.0, factor):
        given = (heatmaps * scale).requires_grad_()
        landmarks = DECODERS[name](given)[0]
        (slope,) = torch.autograd.grad(landmarks.sum(), given)
        found.append((landmarks.detach(), slope * scale))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_among_equal_peaks_the_gradient_is_that_of_the_first() -> None:
    """Two peaks 8 cells apart: the window around the first does not see the second."""
    both = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.float64)
    both[0, 0, 2, 2] = both[0, 0, 9, 9] = 1
    both += noise(both.shape)
    both[0, 0, 9, 9] = both[0, 0, 2, 2]
    both.requires_grad_()
    first = both.detach().clone()
    first[0, 0, 9, 9] = 0.02
    first.requires_grad_()
    decoder = Decoder(radius=0.3)
    slopes = [torch.autograd.grad(decoder(given)[0].sum(), given)[0] for given in (both, first)]
    assert torch.equal(slopes[0], slopes[1])
    # Where the window holds everything it does not matter which of two equal cells is the peak.
    tie = both.detach().clone().requires_grad_()
    check(lambda given: Decoder(radius=2.0, border="cut")(given)[0], tie)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_distance_of_equal_points_has_a_gradient_of_zero(dtype: torch.dtype) -> None:
    """Where sqrt has an infinite slope; and the face may have no size, or stand at one point."""
    for truth in (TRUE, torch.zeros(2, 2, 2), torch.full((2, 1, 2), 5.0)):
        landmarks = truth.to(dtype).clone().requires_grad_()
        (slope,) = torch.autograd.grad(landmark_distance(landmarks, truth.to(dtype)).sum(), landmarks)
        assert (slope == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_of_nothing_has_a_gradient_that_is_no_number(name: str) -> None:
    """Heatmaps that are zero, or below it; landmarks far outside; faces without size or weight."""
    motion = torch.from_numpy(Motion().matrix()).float()[None].expand(2, 2, 3)
    truths = (TRUE.float(), torch.full((2, 2, 2), 5.0), TRUE.float() * 1e4 - 1e5)
    for value, truth, weights in itertools.product(
        (0.0, -1.0, 1.0, 1e15), truths, (torch.zeros(2), WEIGHTS.float())
    ):
        heatmaps = torch.full((2, 2, SIZE, SIZE), value, requires_grad=True)
        total = AlignmentLoss(LOSSES[name], Decoder())([heatmaps], truth, SIZE, weights, motion)["total"]
        (slope,) = torch.autograd.grad(total, heatmaps)
        assert total.isfinite(), (value, truth)
        assert slope.isfinite().all(), (value, truth)
        assert weights.any() or not slope.any()


@pytest.mark.parametrize("name", LOSSES)
def test_a_label_that_is_no_number_shows_in_the_loss(name: str) -> None:
    """It must not become an empty target, as that of a landmark outside is."""
    truth = TRUE.float().clone()
    truth[0, 1, 0] = torch.nan
    motion = torch.from_numpy(Motion().matrix()).float()[None].expand(2, 2, 3)
    heatmaps = [torch.rand(2, 2, SIZE, SIZE)]
    total = AlignmentLoss(LOSSES[name], Decoder())(heatmaps, truth, SIZE, torch.ones(2), motion)["total"]
    assert not total.isfinite()
