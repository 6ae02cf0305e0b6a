"""Losses: each term of a training batch, forward and backward, beside moving its bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks.limits import memory_traffic
from benchmarks.plan import Plan
from benchmarks.result import Figure, Other, Result
from benchmarks.timing import Call
from fanlight.heatmap import Decoder, encode
from fanlight.loss import AlignmentLoss, LossOptions, heatmap_mse, landmark_distance

POINTS, SIZE, INPUT = 68, 64, 256
NOISE = 0.02
# How often the heatmaps' bytes have to be read and written, the targets counting as heatmaps. Backward, the
# gradient of the squares reads both again and is written.
TRAFFIC = {
    "heatmap MSE": (2, 0),
    "heatmap MSE, with foreground": (2, 0),
    "landmark distance": (1, 0),
    "whole loss": (1, 1),
}
BACKWARD = {name: (reads + 2, writes + 1) for name, (reads, writes) in TRAFFIC.items()}
BACKWARD["landmark distance"] = (1, 1)


def measure(plan: Plan) -> Result:
    """The terms for 32 faces, 68 landmarks, one stack of heatmaps of 64 x 64 cells in single precision."""
    faces = plan.size(32, 2)
    generator = torch.Generator().manual_seed(0)
    landmarks = (0.1 + 0.8 * torch.rand((faces, POINTS, 2), generator=generator)) * SIZE
    targets = encode(landmarks, SIZE)
    heatmaps = targets + NOISE * torch.randn(targets.shape, generator=generator)
    forward = terms(targets, landmarks)
    calls: dict[str, Call] = {}
    for name, term in forward.items():
        calls[name] = partial(term, heatmaps)
        calls[f"{name} + backward"] = backward(term, heatmaps)
    times = plan.time({**calls, **memory_traffic(heatmaps)}, faces)
    traffic = TRAFFIC | {f"{name} + backward": counts for name, counts in BACKWARD.items()}
    moved = {
        name: reads * times["read"].cpu_ms.median + writes * times["write"].cpu_ms.median
        for name, (reads, writes) in traffic.items()
    }
    figures = [
        Figure(name, times[name], limit=Other("memory traffic", moved[name]), rate_unit="faces")
        for name in calls
    ]
    return Result("losses", "a face", figures, {"faces": faces, "points": POINTS, "size": SIZE})


def terms(targets: Tensor, landmarks: Tensor) -> Mapping[str, Callable[[Tensor], Tensor]]:
    """Each term of the loss, and all of it with its targets, as functions of the heatmaps."""
    decoder, weight = Decoder(), torch.ones(len(targets))
    loss = AlignmentLoss(LossOptions(), decoder)
    truth = landmarks * (INPUT / SIZE)
    return {
        "heatmap MSE": lambda heatmaps: heatmap_mse(heatmaps, targets).mean(),
        "heatmap MSE, with foreground": lambda heatmaps: heatmap_mse(heatmaps, targets, 20.0).mean(),
        "landmark distance": lambda heatmaps: landmark_distance(decoder(heatmaps)[0], landmarks).mean(),
        "whole loss": lambda heatmaps: loss([heatmaps], truth, INPUT, weight)["total"],
    }


def backward(term: Callable[[Tensor], Tensor], heatmaps: Tensor) -> Call:
    """A term and its gradient."""
    learnt = heatmaps.clone().requires_grad_()

    def run() -> None:
        learnt.grad = None
        term(learnt).backward()

    return run
