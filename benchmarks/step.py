"""Training step: each preset's whole step beside its convolutions alone, and where the rest of the time goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from benchmarks.limits import NAMES, types
from benchmarks.plan import Plan
from benchmarks.references import FAN1_HALF_STEP, FAN2_STEP
from benchmarks.result import Figure, Other, Result
from benchmarks.timing import Call
from fanlight.config import Recipe
from fanlight.data.dataset import Batch
from fanlight.device import Team
from fanlight.learner import Learner

PROFILED_STEPS = 3
# Operators of PyTorch by what they are for, the first that fits; a gradient counts as its operator.
KINDS = {
    "convolutions": ("convolution",),
    "batch norms": ("batch_norm",),
    "rectifiers": ("threshold", "clamp_min", "relu"),
    "sums and concatenations": ("aten::add", "aten::cat"),
    "pooling and upsampling": ("pool", "upsample"),
    "casts and copies": ("copy", "aten::to", "empty", "aten::fill", "aten::zero"),
    "optimiser": ("adam", "Adam", "_foreach", "lerp", "rmsprop"),
}


@dataclass(frozen=True)
class Case:
    """A network to train, and how many faces a step sees."""

    preset: str
    faces: int
    reference: Other | None = None


CASES = (
    Case("fan1_narrow", 16),
    Case("fan1_half", 16, FAN1_HALF_STEP),
    Case("fan1", 4),
    Case("fan2", 4, FAN2_STEP),
    Case("fan4", 2),
)


def measure(plan: Plan) -> Result:
    """A step of every preset, in every precision that the processor computes in."""
    figures, notes = [], []
    for case in CASES[:1] if plan.quick else CASES:
        for dtype in types():
            found, shares = measure_case(plan, case, dtype)
            figures += found
            notes.append(f"{case.preset}, {NAMES[dtype]}: {in_words(shares)}")
    return Result("step", "a face", figures, {"optimiser": "adamw", "loss": "heatmaps and distance"}, notes)


def measure_case(plan: Plan, case: Case, dtype: torch.dtype) -> tuple[list[Figure], Mapping[str, float]]:
    """The step and its convolutions, timed in turns; and the shares of the step by kind of operator."""
    faces = plan.size(case.faces, 2)
    learner = make_learner(case.preset, faces, NAMES[dtype])
    batch = make_batch(faces, learner.model.options.input_size)
    step = partial(learner.step, batch, 1e-4)
    convolutions, operations = convolutions_of(learner, batch)
    times = plan.time({"step": step, "convolutions": convolutions}, faces)
    name = f"{case.preset}, {NAMES[dtype]}"
    alone = times["convolutions"].cpu_ms.median
    figures = [
        Figure(
            name,
            times["step"],
            case.reference,
            limit=Other("the rate of its convolutions", alone),
            rate_unit="faces",
        ),
        Figure(
            f"{name}: its convolutions alone",
            times["convolutions"],
            limit=plan.limits.convolution_bound(operations / faces, dtype),
            work=operations / faces / 1e9,
            rate_unit="GFLOP",
        ),
    ]
    return figures, shares_by_kind(step)


def make_learner(preset: str, faces: int, precision: str) -> Learner:
    """A network that learns with AdamW, as the recipes for CPUs do."""
    recipe = Recipe.from_dict(
        {
            "data": {"index": "made", "train": ["made/train"], "val": ["made/val"]},
            "model": {"preset": preset},
            "optimiser": {"name": "adamw", "clip_norm": 1.0},
            "train": {"batch_size": faces, "precision": precision, "ema": 0.999},
        }
    )
    return Learner(recipe, Team(0, 1, torch.device("cpu")))


def make_batch(faces: int, size: int) -> Batch:
    """Crops of noise: how long a step takes does not depend on what it sees."""
    numbers = torch.Generator().manual_seed(0)
    return {
        "image": torch.randint(0, 256, (faces, size, size, 3), dtype=torch.uint8, generator=numbers),
        "landmarks": size * torch.rand(faces, 68, 2, generator=numbers),
        "weight": torch.ones(faces),
    }


def convolutions_of(learner: Learner, batch: Batch) -> tuple[Call, float]:
    """A call that runs the network's convolutions, forward and backward and nothing else; and its operations."""
    seen: list[tuple[nn.Conv2d, torch.Size]] = []

    def note(module: nn.Module, given: tuple[Tensor], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        seen.append((module, given[0].shape))

    hooks = [m.register_forward_hook(note) for m in learner.model.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad(), learner.autocast():
        learner.model(batch["image"].permute(0, 3, 1, 2) / 255)
    for hook in hooks:
        hook.remove()
    made: dict[object, tuple[Call, float]] = {}
    calls = []
    for module, shape in seen:
        key = (shape, module.weight.shape, module.stride, module.bias is None)
        if key not in made:
            made[key] = convolution(module, shape, learner.precision)
        calls.append(made[key])

    def run() -> None:
        for call, _ in calls:
            call()

    return run, sum(operations for _, operations in calls)


def convolution(module: nn.Conv2d, shape: torch.Size, dtype: torch.dtype) -> tuple[Call, float]:
    """One convolution with its gradients, on numbers of its own; and its floating-point operations."""
    last = torch.channels_last
    given = torch.rand(shape).to(dtype).contiguous(memory_format=last)
    weight = module.weight.detach().to(dtype).contiguous(memory_format=last)
    bias = None if module.bias is None else module.bias.detach().to(dtype)
    first = shape[1] == 3  # nobody asks for the gradient of the photo
    stride, padding = module.stride, module.padding
    assert not isinstance(padding, str)
    gradient = torch.rand_like(F.conv2d(given, weight, bias, stride, padding))

    def run() -> None:
        F.conv2d(given, weight, bias, stride, padding)
        torch.ops.aten.convolution_backward(
            gradient, given, weight, None if bias is None else [len(bias)], stride, padding, [1, 1],
            False, [0, 0], 1, [not first, True, bias is not None],
        )  # fmt: skip

    return run, 2.0 * gradient.numel() * weight[0].numel() * (2 if first else 3)


def shares_by_kind(step: Call) -> dict[str, float]:
    """Which share of the processor's time goes to which kind of operator; the profiler itself costs a little."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(PROFILED_STEPS):
            step()
    times: Counter[str] = Counter()
    for event in seen.key_averages():
        kind = next((kind for kind, words in KINDS.items() if any(w in event.key for w in words)), "the rest")
        times[kind] += event.self_cpu_time_total
    return {kind: took / times.total() for kind, took in times.most_common()}


def in_words(shares: Mapping[str, float]) -> str:
    """Shares in percent."""
    return ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares.items())
