"""At scale: time, memory, disk and network of large trainings on many GPUs, worked out on paper.

    python -m benchmarks.scale benchmarks/results/epyc.json
    python -m benchmarks.scale FIGURES.json --gpu-tflops 989 --gpu-tbytes 3.35 --network-gbit 400

Prints the tables of docs/scale.md.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from benchmarks.projection import PRESET, Assumptions, Measured, Projection
from benchmarks.step_cost import step_cost
from fanlight.errors import InputError

# A recipe's defaults: passes, faces in a step, validations of an epoch.
EPOCHS, BATCH, VALIDATIONS = 60, 32, 2
# A .pts file of 68 points, a line of an index, a disk's block.
LABEL_BYTES, INDEX_BYTES, BLOCK = 1106, 107, 4096
PACKED_BYTES = 2830  # of a face in a shard beside its photo: two tar headers, labels as JSON, padding
TABLE_BYTES = 116 + 68 * 2 * 4 + 26  # of a face in a pack's tables
SHARD_BYTES = 64 * 2**20
# What a step takes at its peak beyond what is kept, bytes for a face: measured on a CPU, with four stacks.
BEYOND = {"as it is": 10 * 2**20, "`recompute`": 68 * 2**20}
CROP_BYTES = 3 * 256**2


@dataclass(frozen=True)
class DataSet:
    """Faces to train on, and to validate on."""

    name: str
    faces: int
    val: int


SETS = (DataSet("300W-LP", 180_000, 689), DataSet("10 M faces", 10_000_000, 10_000))
GPUS = (1, 8, 64)
CARDS: dict[str, dict[str, Any]] = {  # dense bfloat16 TFLOP/s and TB/s, by their maker
    "RTX 4090": {"gpu_tflops": 165, "gpu_tbytes": 1.01},
    "A100 80 GB": {"gpu_tflops": 312, "gpu_tbytes": 2.0},
    "H100 SXM": {"gpu_tflops": 989, "gpu_tbytes": 3.35},
}


def tables(paper: Projection) -> dict[str, str]:
    """All tables of the page, by what they are about."""
    return {
        "measured, counted, assumed": inputs(paper),
        "one GPU": one_gpu(paper),
        "time": times(paper),
        "network": network(paper),
        "memory": memory(paper),
        "disk": disk(paper),
    }


def inputs(paper: Projection) -> str:
    """What everything else follows from."""
    measured, cost = paper.measured, paper.cost
    rows = [
        ("photo to augmented crop", f"{measured.loader:.2f} ms", "measured"),
        ("photo to plain crop", f"{measured.judged:.2f} ms", "measured"),
        ("training step, a face", f"{measured.step:.0f} ms", "measured"),
        ("its convolutions alone", f"{measured.convolutions:.0f} ms", "measured"),
        ("the same at the core's peak rate", f"{measured.bound:.0f} ms", "measured"),
        ("metrics with intervals, a face", f"{measured.judging:.3f} ms", "measured"),
        ("forward and backward pass, a face", f"{cost.flops / 1e9:.1f} GFLOP", "counted"),
        ("memory traffic of it, nothing fused", f"{cost.traffic / 1e9:.2f} GB", "counted"),
        ("operators in a step", f"{cost.operators}", "counted"),
        ("weights", f"{paper.weights / 1e6:.2f} M", "counted"),
    ]
    rows += [
        (
            str(entry.metadata["about"]),
            f"{getattr(paper.given, entry.name):g}",
            f"assumed, {option(entry.name)}",
        )
        for entry in fields(Assumptions)
    ]
    return table(("what", "value", "from"), rows)


def one_gpu(paper: Projection) -> str:
    """Faces a second of several GPUs, and what feeds them."""
    rows = []
    for name, card in CARDS.items():
        speeds = [
            replace(paper, given=replace(paper.given, **card, share=share)) for share in (0.2, 0.3, 0.5)
        ]
        rates = [1 / speed.face_s for speed in speeds]
        middle = speeds[1]
        rows.append(
            (
                name,
                *(f"{rate:,.0f}" for rate in rates),
                f"{middle.launching_s / middle.face_s:.0f}",
                f"{middle.loader_cores:.1f}",
                f"{rates[1] * paper.given.photo_kbytes / 1000:.0f}",
                f"{rates[1] * CROP_BYTES / 1e9:.2f}",
            )
        )
    head = ("GPU", "faces/s at 20 %", "at 30 %", "at 50 %", "faces a step needs", "loader cores")
    return table((*head, "photos read, MB/s", "crops to the GPU, GB/s"), rows)


def times(paper: Projection) -> str:
    """An epoch and a whole training."""
    rows: list[tuple[str, ...]] = []
    for faces in SETS:
        hours = faces.faces * paper.measured.step / 3.6e6
        rows.append(
            (
                faces.name,
                "one core, measured",
                "",
                "",
                f"{1000 / paper.measured.step:.1f}",
                duration(3600 * hours),
                duration(3600 * hours * EPOCHS),
                "",
            )
        )
        for gpus in GPUS:
            for batch in dict.fromkeys((BATCH, BATCH * gpus)):
                rows.append((faces.name, *timed(paper, faces, gpus, batch)))
    head = ("faces", "GPUs", "batch", "step, ms", "faces/s", "epoch", f"{EPOCHS} epochs")
    return table((*head, "validations in all"), rows)


def timed(paper: Projection, faces: DataSet, gpus: int, batch: int) -> tuple[str, ...]:
    """One training."""
    if batch < gpus:
        return (str(gpus), str(batch), "no: half a face each", "", "", "", "")
    step = paper.step_s(gpus, batch / gpus)
    epoch = faces.faces // batch * step
    judging = EPOCHS * VALIDATIONS * paper.validation_s(faces.val, gpus)
    return (
        str(gpus),
        f"{batch:,}",
        f"{1000 * step:.1f}",
        f"{batch / step:,.0f}",
        duration(epoch),
        duration(EPOCHS * epoch),
        duration(judging),
    )


def network(paper: Projection) -> str:
    """When the exchange of gradients is hidden behind the backward pass."""
    within = paper.given.gpus_per_machine
    cases = [(f"{within} in one machine", within, paper)]
    for gbit in (400, 100, 25, 10):
        slower = replace(paper, given=replace(paper.given, network_gbit=gbit))
        cases.append((f"64 in {64 // within} machines, {gbit} Gbit/s", 64, slower))
    rows = []
    for name, gpus, case in cases:
        least = case.hidden_from(gpus)
        efficiency = [case.compute_s(faces) / case.step_s(gpus, faces) for faces in (4, 32)]
        rows.append(
            (
                name,
                f"{1000 * case.exchange_s(gpus):.1f}",
                f"{math.ceil(least)}" if least else "always",
                *(f"{100 * share:.0f} %" for share in efficiency),
            )
        )
    head = ("GPUs", "exchange, ms", "hidden from ... faces on a GPU", "speed kept at 4 faces", "at 32 faces")
    return table(head, rows)


def memory(paper: Projection) -> str:
    """Faces that a GPU holds."""
    state = (
        paper.weights * (4 + 4 + 8 + 4 + 2) + 1e9
    )  # weights, gradients, RMSprop, buckets, casts; the runtime
    rows = []
    for name, cost in (("as it is", paper.cost), ("`recompute`", step_cost(PRESET, recompute=True))):
        peak = cost.kept + BEYOND[name]
        rows.append(
            (
                name,
                f"{cost.kept / 1e6:.0f}",
                f"{peak / 1e6:.0f}",
                f"{100 * (cost.flops / paper.cost.flops - 1):.0f} %",
                *(f"{(1e9 * size - state) / peak:.0f}" for size in (24, 80)),
            )
        )
    head = ("FAN-2 at 256 px, bfloat16", "kept for a face, MB", "peak for a face, MB", "more operations")
    return table((*head, "faces on 24 GB", "on 80 GB"), rows)


def disk(paper: Projection) -> str:
    """Files, packs, start-up and what a training reads."""
    rows = [("", *(faces.name for faces in SETS))]
    photo, index, pack = 1000 * paper.given.photo_kbytes, *paper.measured.opening
    blocks = BLOCK * (math.ceil(photo / BLOCK) + math.ceil(LABEL_BYTES / BLOCK))
    packed = photo + PACKED_BYTES
    lines: Mapping[str, Callable[[int], str]] = {
        "files: bytes on disk": lambda n: size(n * blocks),
        "files: how many": lambda n: f"{2 * n:,}",
        "index: bytes": lambda n: size(n * INDEX_BYTES),
        "index: opened and ordered in, s": lambda n: f"{n / 1e6 * index:.1f}",
        "pack: bytes": lambda n: size(n * packed),
        "pack: tar files": lambda n: f"{math.ceil(n * packed / SHARD_BYTES):,}",
        "pack: tables, mapped into memory": lambda n: size(n * TABLE_BYTES),
        "pack: opened and ordered in, s": lambda n: f"{n / 1e6 * pack:.2f}",
        f"read in {EPOCHS} epochs": lambda n: size(EPOCHS * n * packed),
        "order and weights, each process": lambda n: size(n * (8 + 8 + 4)),
        "judging all of them with intervals, s": lambda n: f"{n * paper.measured.judging / 1000:,.0f}",
        "memory for that": lambda n: size(n * paper.measured.judging_bytes),
    }
    for name, each in lines.items():
        rows.append((name, *(each(faces.faces) for faces in SETS)))
    return table(rows[0], rows[1:])


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def duration(seconds: float) -> str:
    """In the largest unit that leaves a number of at least 1.5."""
    for unit, length in (("years", 365.25 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """In bytes' decimal units."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= length:
            return f"{count / length:.3g} {unit}"
    return f"{count:.0f} B"


def option(name: str) -> str:
    """A field's name on the command line."""
    return f"--{name.replace('_', '-')}"


def main() -> None:
    """Read the command line, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="work out what large trainings of FAN-2 take on many GPUs",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "figures", nargs="+", type=Path, help="written by python -m benchmarks --json; later ones add"
    )
    for entry in fields(Assumptions):
        kind = int if entry.type == "int" else float
        parser.add_argument(
            option(entry.name), type=kind, default=entry.default, help=entry.metadata["about"]
        )
    options = vars(parser.parse_args())
    try:
        paper = Projection(Measured.read(options.pop("figures")), Assumptions(**options))
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    print("\n\n".join(f"{name}\n\n{text}" for name, text in tables(paper).items()))


if __name__ == "__main__":
    main()
