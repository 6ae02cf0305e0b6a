"""Heatmaps: encoding and decoding a batch, beside writing and reading its bytes."""

from __future__ import annotations

import torch

from benchmarks.limits import memory_traffic
from benchmarks.plan import Plan
from benchmarks.references import DECODE, ENCODE
from benchmarks.result import Figure, Other, Result
from benchmarks.timing import Call
from fanlight.heatmap import Decoder, encode

POINTS, SIZE = 68, 64
NOISE = 0.02  # of the heatmaps that are decoded: about that of a trained network's


def measure(plan: Plan) -> Result:
    """Encode and decode 68 landmarks in heatmaps of 64 x 64 cells, in batches of 32 faces.

    "kept" writes into the same buffer each time, as training does; "fresh" makes a new one.
    """
    faces = plan.size(32, 2)
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.rand((faces, POINTS, 2), generator=generator) * SIZE
    kept = torch.empty(faces, POINTS, SIZE, SIZE)
    heatmaps = encode(landmarks, SIZE) + NOISE * torch.randn(kept.shape, generator=generator)
    learnt = heatmaps.clone().requires_grad_()
    corrected, cut, squared = Decoder(), Decoder(border="cut"), Decoder(gamma=2.0)

    def backward() -> None:
        learnt.grad = None
        corrected(learnt)[0].sum().backward()

    calls: dict[str, Call] = {
        "encode, kept": lambda: encode(landmarks, SIZE, out=kept),
        "encode, fresh": lambda: encode(landmarks, SIZE),
        "decode, corrected": lambda: corrected(heatmaps),
        "decode, cut": lambda: cut(heatmaps),
        "decode, gamma 2": lambda: squared(heatmaps),
        "decode + backward": backward,
    }
    times = plan.time(calls | memory_traffic(heatmaps), faces)
    read, write = (Other(f"memory, {way}", times[way].cpu_ms.median) for way in ("read", "write"))
    figures = []
    for name in calls:
        reference, limit = (ENCODE, write) if name.startswith("encode") else (DECODE, read)
        alone = "backward" not in name
        figures.append(
            Figure(name, times[name], reference if alone else None, limit if alone else None, 1, "faces")
        )
    return Result(
        "heatmaps", "a face", figures, {"faces": faces, "points": POINTS, "size": SIZE, "noise": NOISE}
    )
