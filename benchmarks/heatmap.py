"""How fast heatmaps are encoded and decoded on one core.

    python benchmarks/heatmap.py                     # 32 faces x 68 landmarks x 64 x 64 cells, as in training
    python benchmarks/heatmap.py --faces 8 --size 32

Every figure is the median over rounds after one that warms up, in ms per face, with the fastest and the slowest
round; the process is bound to one core where the system allows it. Where other programs share that core, "cpu ms"
(the processor's own time) is closer to what it takes alone. "kept" writes into the same buffer each time, as
training does; "fresh" makes a new one. As in training, the process keeps the memory that it frees.

The public FAN training code takes 16.5 ms to encode and 18 ms to decode a face of 68 landmarks and 64 x 64 cells
(measured apart, on a machine of this kind); "x" is how many times faster.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fanlight.device import keep_freed_memory
from fanlight.heatmap import Decoder, encode

REFERENCE_ENCODE_MS = 16.5
REFERENCE_DECODE_MS = 18.0
NOISE = 0.02  # of the heatmaps that are decoded: about that of a trained network's


def main() -> None:
    """Read the command line, measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description="time encoding and decoding of heatmaps on one core")
    parser.add_argument("--faces", type=int, default=32, help="faces in a batch")
    parser.add_argument("--points", type=int, default=68, help="landmarks of a face")
    parser.add_argument("--size", type=int, default=64, help="side of the heatmaps in cells")
    parser.add_argument("--rounds", type=int, default=15, help="rounds that the medians are of")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    one_core()
    report = measure(options.faces, options.points, options.size, options.rounds)
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def one_core() -> None:
    """Bind this process to one core and one thread, with memory kept as in training."""
    keep_freed_memory()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure(faces: int, points: int, size: int, rounds: int) -> dict[str, Any]:
    """Time every way of encoding and decoding a batch."""
    generator = torch.Generator().manual_seed(0)
    landmarks = torch.rand((faces, points, 2), generator=generator) * size
    kept = torch.empty(faces, points, size, size)
    noise = NOISE * torch.randn(kept.shape, generator=generator)
    heatmaps = encode(landmarks, size) + noise
    learnt = heatmaps.clone().requires_grad_()

    def backward(decoder: Decoder) -> None:
        learnt.grad = None
        decoder(learnt)[0].sum().backward()

    corrected, cut, squared = Decoder(), Decoder(border="cut"), Decoder(gamma=2.0)
    ways: list[tuple[str, Callable[[], object], float | None]] = [
        ("encode, kept", lambda: encode(landmarks, size, out=kept), REFERENCE_ENCODE_MS),
        ("encode, fresh", lambda: encode(landmarks, size), REFERENCE_ENCODE_MS),
        ("decode, corrected", lambda: corrected(heatmaps), REFERENCE_DECODE_MS),
        ("decode, cut", lambda: cut(heatmaps), REFERENCE_DECODE_MS),
        ("decode, gamma 2", lambda: squared(heatmaps), REFERENCE_DECODE_MS),
        ("decode + backward", lambda: backward(corrected), None),
    ]
    like_reference = (points, size) == (68, 64)
    results = {}
    for name, run, reference in ways:
        figures = timed(run, rounds, faces)
        if reference and like_reference:
            figures["times_faster"] = reference / figures["ms"]
        results[name] = figures
    batch = {"faces": faces, "points": points, "size": size, "rounds": rounds, "noise": NOISE}
    return {"environment": environment(), "batch": batch, "results": results}


def timed(run: Callable[[], object], rounds: int, faces: int) -> dict[str, float]:
    """Median, fastest and slowest round in ms per face; a round takes some 50 ms at least."""
    run()
    started = time.perf_counter()
    run()
    repeats = max(1, round(0.05 / (time.perf_counter() - started)))
    wall, cpu = [], []
    for _ in range(rounds):
        started, started_cpu = time.perf_counter(), time.process_time()
        for _ in range(repeats):
            run()
        wall.append(1000 * (time.perf_counter() - started) / (repeats * faces))
        cpu.append(1000 * (time.process_time() - started_cpu) / (repeats * faces))
    return {
        "ms": statistics.median(wall),
        "fastest_ms": min(wall),
        "slowest_ms": max(wall),
        "cpu_ms": statistics.median(cpu),
    }


def environment() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
    }


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    batch = report["batch"]
    print(", ".join(f"{name} {value}" for name, value in report["environment"].items()))
    print(
        f"{batch['faces']} faces x {batch['points']} landmarks x {batch['size']} x {batch['size']} cells, "
        f"median of {batch['rounds']} rounds, ms per face"
    )
    print(f"{'':20}{'ms':>9}{'fastest':>9}{'slowest':>9}{'cpu ms':>9}{'x':>8}")
    for name, figures in report["results"].items():
        columns = [figures[key] for key in ("ms", "fastest_ms", "slowest_ms", "cpu_ms")]
        times = f"{figures['times_faster']:8.0f}" if "times_faster" in figures else ""
        print(f"{name:20}" + "".join(f"{value:9.4f}" for value in columns) + times)


if __name__ == "__main__":
    main()
