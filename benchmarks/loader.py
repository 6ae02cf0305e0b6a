"""How fast training crops are made on one core, stage by stage.

    python benchmarks/loader.py                     # photos of 400 px that it makes itself
    python benchmarks/loader.py INDEX.tsv --partition lfpw/train --partition synthetics/train

Every figure is the median over passes through the same faces, after one that warms up; the process is bound to
one core where the system allows it. Where other programs share that core, "cpu ms" (the processor's own time) is
closer to what it takes alone. "no photometrics" is decode, crop, motion and batch; "full" adds blur, colour
jitter, JPEG and cut-outs as in training. The public FAN training code makes 43 samples a second.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import albumentations
import cv2
import numpy as np
import torch

from fanlight.augment_settings import AugmentSettings, GeometrySettings
from fanlight.data.augment import Augmentation, sample_generator
from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.errors import InputError
from fanlight.geometry import CropRule, crop_matrix, warp
from fanlight.image import read_image, write_image
from fanlight.markup import Markup

REFERENCE = 43.0
BATCH = 32


def main() -> None:
    """Read the command line, measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description="time the making of training crops on one core")
    parser.add_argument("index", nargs="?", type=Path, help="an index of real faces; else photos are made")
    parser.add_argument("--partition", action="append", help="SUBSET/SPLIT of the index; all when left out")
    parser.add_argument("--markup", default="ibug68", help="the labels' mark-up")
    parser.add_argument("--input-size", type=int, default=256, help="side of the crops in px")
    parser.add_argument("--faces", type=int, default=320, help="how many faces a pass goes through")
    parser.add_argument("--passes", type=int, default=7, help="passes that the medians are of")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    one_core()
    try:
        with faces_for(options) as index:
            report = measure(index, Markup.load(options.markup), options.input_size, options.passes)
    except InputError as error:
        sys.exit(f"{error}")
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def one_core() -> None:
    """Bind this process to one core and one thread."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


@contextmanager
def faces_for(options: argparse.Namespace) -> Iterator[Index]:
    """The faces to go through: some of an index, spread over it, or made for the purpose."""
    if options.index:
        index = Index.read(options.index)
        index = index.select(options.partition) if options.partition else index
        yield index.take(np.unique(np.linspace(0, len(index) - 1, options.faces).astype(int)))
        return
    with tempfile.TemporaryDirectory() as folder:
        yield make_faces(Path(folder), Markup.load(options.markup).count, options.faces)


def make_faces(folder: Path, points: int, count: int, size: int = 400) -> Index:
    """Photos of noise at all scales, which compress like real ones, with a box of a quarter of their area."""
    numbers = np.random.default_rng(0)
    samples = []
    for i in range(count):
        photo = np.zeros((size, size, 3), np.float32)
        for level in range(2, 9):
            noise = numbers.normal(0, 16 if level < 7 else 5, (2**level, 2**level, 3)).astype(np.float32)
            photo += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
        image, labels = folder / f"{i}.jpg", folder / f"{i}.pts"
        write_image(image, (photo + 120).clip(0, 255).astype(np.uint8))
        write_pts(labels, numbers.uniform(0.3 * size, 0.7 * size, (points, 2)))
        box = (0.3 * size, 0.3 * size, 0.7 * size, 0.7 * size)
        samples.append(Sample("made", "train", -1, image, labels, box))
    Index.write(folder / "index.tsv", samples)
    return Index.read(folder / "index.tsv")


def measure(index: Index, markup: Markup, size: int, passes: int) -> dict[str, Any]:
    """Milliseconds per sample of each stage alone and of whole batches."""
    rule, numbers = CropRule(), range(len(index))
    augmentation = Augmentation(AugmentSettings(), size, markup.mirror)
    paths = [sample.image_path for sample in index]
    photos = [read_image(path) for path in paths]
    motions = [augmentation.motion(sample_generator(0, 1, i)) for i in numbers]
    matrices = [crop_matrix(index.face_boxes[i], rule, size, motions[i]) for i in numbers]
    crops = [warp(photo, matrix, size) for photo, matrix in zip(photos, matrices, strict=True)]
    nowhere = np.zeros((markup.count, 2))
    stages: dict[str, Callable[[], object]] = {
        "decode": lambda: [read_image(path) for path in paths],
        "warp": lambda: [warp(photos[i], matrices[i], size) for i in numbers],
        "photometrics": lambda: [
            augmentation.photometric(crops[i], nowhere, sample_generator(0, 1, i)) for i in numbers
        ],
    }
    settled = AugmentSettings(geometry=GeometrySettings(), photometric=[])
    for name, settings in (("no photometrics", settled), ("full", AugmentSettings())):
        dataset = FaceDataset(index, markup, rule, size, Augmentation(settings, size, markup.mirror))
        stages[name] = batches_of(dataset)
    return {
        "ms_per_sample": {name: timed(run, passes, len(index)) for name, run in stages.items()},
        "faces": len(index),
        "input_size": size,
        "photo_megapixels": float(np.median([p.shape[0] * p.shape[1] for p in photos]) / 1e6),
        "environment": environment(),
    }


def batches_of(dataset: FaceDataset) -> Callable[[], object]:
    """One pass through the data set, a new epoch each time."""
    sampler = EpochSampler(len(dataset), min(BATCH, len(dataset)), drop_last=False)
    loader = make_loader(dataset, sampler)

    def run() -> int:
        sampler.set_epoch(sampler.epoch + 1)
        return sum(len(batch["image"]) for batch in loader)

    return run


def timed(run: Callable[[], object], passes: int, count: int) -> dict[str, float]:
    """Median, least and greatest milliseconds per sample, and the median of the processor's own time."""
    run()
    walls, cpus = [], []
    for _ in range(passes):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        walls.append(1e3 * (time.perf_counter() - wall) / count)
        cpus.append(1e3 * (time.process_time() - cpu) / count)
    return {
        "median": statistics.median(walls),
        "min": min(walls),
        "max": max(walls),
        "cpu_median": statistics.median(cpus),
    }


def environment() -> dict[str, str]:
    """What the figures depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [
            line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        cpu = models[0] if models else cpu
    return {
        "cpu": cpu,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "opencv": cv2.__version__,
        "albumentations": albumentations.__version__,
        "numpy": np.__version__,
    }


def print_report(report: dict[str, Any]) -> None:
    """The figures as a table."""
    print(
        f"{report['faces']} photos of {report['photo_megapixels']:.2f} MPix, crops of {report['input_size']} px"
    )
    print(", ".join(f"{name} {value}" for name, value in report["environment"].items()))
    print(
        f"{'stage':<18}{'ms per sample (min - max)':<30}{'cpu ms':>8}{'samples/s':>11}{'over the reference':>21}"
    )
    for name, ms in report["ms_per_sample"].items():
        rate = 1e3 / ms["median"]
        spread = f"{ms['median']:6.3f}  ({ms['min']:.3f} - {ms['max']:.3f})"
        versus = f"{rate / REFERENCE:.1f} x" if name in ("no photometrics", "full") else ""
        print(f"{name:<18}{spread:<30}{ms['cpu_median']:>8.3f}{rate:>11.0f}{versus:>21}")


if __name__ == "__main__":
    main()
