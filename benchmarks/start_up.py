"""Start-up: an index and a pack of a million faces: opening them, and what the memory of loaders does.

The rows are as many and as long as those of real faces, and name a few tiny photos over and over.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.plan import Plan
from benchmarks.result import Figure, Result
from fanlight.augment_settings import AugmentSettings
from fanlight.data.augment import Augmentation
from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader
from fanlight.data.faces import Faces
from fanlight.data.index import Index, Sample
from fanlight.data.opening import open_faces
from fanlight.data.pack_file import DESCRIPTION, FACES, LANDMARKS, SOURCES, Description, StoredFile
from fanlight.data.packing import PackOptions, write_pack
from fanlight.data.pts import write_pts
from fanlight.geometry import CropRule
from fanlight.image import write_image
from fanlight.markup import Markup

PHOTOS, SIDE, WORKERS, BATCH = 16, 24, 2, 500
PARTITIONS = ("made/train", "made/val")  # nine faces of ten, and the tenth
WARM, LAST = "warm", "in the end"


def measure(plan: Plan) -> Result:
    """Opening, choosing partitions and ordering an epoch; private memory of two loader processes on the way."""
    count, served = plan.size(1_000_000, 4000), plan.size(100_000, 2000)
    with tempfile.TemporaryDirectory() as folder:
        places = {"index": make_index(Path(folder), count), "pack": make_pack(Path(folder), count)}
        calls: dict[str, Callable[[], object]] = {}
        for kind, place in places.items():
            calls[f"{kind}: open"] = lambda place=place: open_faces(place)  # type: ignore[misc]
            calls[f"{kind}: open, choose, order"] = lambda place=place: start(open_faces(place))  # type: ignore[misc]
        times = replace(plan, rounds=min(plan.rounds, 3)).time(calls)
        memory = {kind: worker_memory(open_faces(place), served) for kind, place in places.items()}
    figures = [Figure(name, took, work=count, rate_unit="faces") for name, took in times.items()]
    return Result(
        "start_up", "a data set", figures, {"faces": count, "memory": memory}, notes(memory, served)
    )


def make_index(folder: Path, count: int) -> Path:
    """An index of so many faces, on a few photos."""
    numbers = np.random.default_rng(0)
    photos = folder / "collection" / "photographs"
    photos.mkdir(parents=True)
    samples = []
    for number in range(PHOTOS):
        photo = photos / f"image_{number:07d}.jpg"
        write_image(photo, numbers.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8))
        write_pts(photo.with_suffix(".pts"), numbers.uniform(6, SIDE - 6, (68, 2)))
        box = (5.125, 5.25, SIDE - 5.125, SIDE - 5.25)
        samples.append(Sample("made", "train", -1, photo, photo.with_suffix(".pts"), box))
    Index.write(folder / "few.tsv", samples)
    header, *lines = (folder / "few.tsv").read_text().splitlines(keepends=True)
    with (folder / "index.tsv").open("w") as file:
        file.write(header)
        for number in range(count):
            line = lines[number % PHOTOS]
            file.write(line.replace("train", "val", 1) if number % 10 == 9 else line)
    return folder / "index.tsv"


def make_pack(folder: Path, count: int) -> Path:
    """A pack whose tables have so many rows; its one tar file holds the few photos that they name."""
    pack = folder / "pack"
    few = write_pack(Index.read(folder / "few.tsv"), Markup.load("ibug68"), pack, PackOptions())
    turn = np.arange(count) % PHOTOS
    faces = np.load(pack / FACES)[turn]
    faces["partition"] = np.arange(count) % 10 == 9
    faces["line"] = np.arange(count) + 2
    lines = (pack / SOURCES).read_text().splitlines(keepends=True)
    lengths = np.array([len(line) for line in lines])[turn]
    faces["source"] = np.cumsum(lengths) - lengths
    np.save(pack / FACES, faces)
    np.save(pack / LANDMARKS, np.load(pack / LANDMARKS)[turn])
    with (pack / SOURCES).open("w") as file:
        file.writelines(lines[number] for number in turn)
    described = few.model_dump()
    described["faces"], described["partitions"] = count, [name.split("/") for name in PARTITIONS]
    described["tables"] = [StoredFile.of(pack / name).model_dump() for name in (FACES, LANDMARKS, SOURCES)]
    (pack / DESCRIPTION).write_text(json.dumps(described))
    Description.parse((pack / DESCRIPTION).read_bytes(), str(pack))
    return pack


def start(faces: Faces) -> tuple[FaceDataset, EpochSampler]:
    """What a training does before its first batch, the check of every face left out."""
    markup = Markup.load("ibug68")
    augmentation = Augmentation(AugmentSettings(photometric=[]), SIDE, markup.mirror)
    dataset = FaceDataset(faces.select(PARTITIONS), markup, CropRule(), SIDE, augmentation)
    sampler = EpochSampler(len(dataset), min(BATCH, len(dataset)))
    next(iter(sampler))
    return dataset, sampler


def worker_memory(faces: Faces, served: int) -> dict[str, Any]:
    """Private memory of loader processes, in bytes, once warm and after so many faces in the drawn order."""
    dataset, sampler = start(faces)
    loader = make_loader(dataset, sampler, WORKERS)
    batches, total = iter(loader), served // BATCH
    found: dict[str, Any] = {}
    for number in range(1, total + 1):
        next(batches)
        if number in (total // 4, total):
            workers = loader._iterator._workers  # type: ignore[union-attr]
            found[WARM if number < total else LAST] = [private_bytes(worker.pid) for worker in workers]
    grown = [after - before for before, after in zip(found[WARM], found[LAST], strict=True)]
    found["growth per face"] = WORKERS * max(grown) / (served * 3 / 4)
    return found


def private_bytes(process: int) -> int:
    """Memory that only this process has, pages it shares with its parent or maps from files left out."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return 1024 * int(re.search(r"^Private_Dirty:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]


def notes(memory: Mapping[str, Mapping[str, Any]], served: int) -> list[str]:
    """What the memory did, in words."""
    lines = []
    for kind, found in memory.items():
        warm, last = (max(found[when]) / 1e6 for when in (WARM, LAST))
        lines.append(
            f"{kind}: the own memory of a loader process grows from {warm:.1f} to {last:.1f} MB over the last "
            f"three quarters of {served:,} faces: {found['growth per face']:.1f} bytes for each face served"
        )
    return lines
