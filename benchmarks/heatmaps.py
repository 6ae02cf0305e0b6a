"""Heatmaps: encoding and decoding a batch, beside writing and reading its bytes."""

from __future__ import annotations

import cv2
import torch

from benchmarks.limits import memory_traffic
from benchmarks.plan import Plan
from benchmarks.references import DECODE, ENCODE
from benchmarks.result import Figure, Other, Result
from benchmarks.timing import Call
from fanlight.heatmap import Decoder, encode, warp_heatmaps

POINTS, SIZE = 68, 64
CHANNELS = 4  # of a picture that OpenCV warps at once
NOISE = 0.02  # of the heatmaps that are decoded: about that of a trained network's


def measure(plan: Plan) -> Result:
    """Encode and decode 68 landmarks in heatmaps of 64 x 64 cells, in batches of 32 faces.

    "kept" writes into the same buffer each time, as training does; "fresh" makes a new one. "warp" moves heatmaps
    like pictures, as is done where they are drawn before augmentation, on top of encoding.
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

    motions = torch.tensor([[0.9, -0.2, 0.1], [0.2, 0.9, -0.05]]).expand(faces, 2, 3)  # shares of the side
    pixels = motions[0].numpy() * (1, 1, SIZE)
    pictures = [face.permute(1, 2, 0).numpy().copy() for face in heatmaps]

    def warp_by_opencv() -> None:
        for picture in pictures:
            for first in range(0, POINTS, CHANNELS):
                cv2.warpAffine(picture[:, :, first : first + CHANNELS], pixels, (SIZE, SIZE))

    calls: dict[str, Call] = {
        "encode, kept": lambda: encode(landmarks, SIZE, out=kept),
        "encode, fresh": lambda: encode(landmarks, SIZE),
        "warp, PyTorch": lambda: warp_heatmaps(heatmaps, motions),
        "warp, OpenCV": warp_by_opencv,
        "decode, corrected": lambda: corrected(heatmaps),
        "decode, cut": lambda: cut(heatmaps),
        "decode, gamma 2": lambda: squared(heatmaps),
        "decode + backward": backward,
    }
    times = plan.time(calls | memory_traffic(heatmaps), faces)
    read, write = (Other(f"memory, {way}", times[way].cpu_ms.median) for way in ("read", "write"))
    figures = []
    for name in calls:
        reference, limit = (DECODE, read) if name.startswith("decode") else (ENCODE, write)
        alone = "backward" not in name and "warp" not in name
        figures.append(
            Figure(name, times[name], reference if alone else None, limit if alone else None, 1, "faces")
        )
    return Result(
        "heatmaps", "a face", figures, {"faces": faces, "points": POINTS, "size": SIZE, "noise": NOISE}
    )
