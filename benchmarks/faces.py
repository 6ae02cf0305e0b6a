"""Faces to measure on: those of an index, or photos that are made for the purpose."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from benchmarks.plan import Plan
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.image import write_image


@contextmanager
def some_faces(plan: Plan, count: int, points: int = 68) -> Iterator[Index]:
    """So many faces of the plan's index, spread over it, or made ones of 400 px."""
    index = plan.faces(count)
    if index is not None:
        yield index
        return
    with tempfile.TemporaryDirectory() as folder:
        yield make_faces(Path(folder), points, count)


def make_faces(folder: Path, points: int, count: int, size: int = 400) -> Index:
    """Photos of noise at all scales, which compress like real ones, with a box of a sixth of their area."""
    numbers = np.random.default_rng(0)
    samples = []
    for number in range(count):
        photo = np.zeros((size, size, 3), np.float32)
        for level in range(2, 9):
            noise = numbers.normal(0, 16 if level < 7 else 5, (2**level, 2**level, 3)).astype(np.float32)
            photo += cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
        image, labels = folder / f"{number}.jpg", folder / f"{number}.pts"
        write_image(image, (photo + 120).clip(0, 255).astype(np.uint8))
        write_pts(labels, numbers.uniform(0.3 * size, 0.7 * size, (points, 2)))
        box = (0.3 * size, 0.3 * size, 0.7 * size, 0.7 * size)
        samples.append(Sample("made", "train", -1, image, labels, box))
    Index.write(folder / "index.tsv", samples)
    return Index.read(folder / "index.tsv")
