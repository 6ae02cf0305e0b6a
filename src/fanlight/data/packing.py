"""Making a pack: faces cut out with a margin, with their labels, in tar files that can be read at any place."""

from __future__ import annotations

import io
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fanlight.data.check import write_problems
from fanlight.data.faces import Problem
from fanlight.data.index import Index, Sample
from fanlight.data.pack_file import (
    DESCRIPTION,
    FACE,
    FACES,
    FORMAT,
    LANDMARKS,
    SOURCES,
    Description,
    PhotoFormat,
    Photos,
    StoredFile,
)
from fanlight.data.pts import read_pts
from fanlight.data.shard_writer import ShardWriter, shard_stems
from fanlight.data.stage import staged_folder
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, transform
from fanlight.image import decode_image_reduced, encode_image, oriented_size, read_photo_file
from fanlight.markup import Markup

WORTH_CUTTING = 0.75
"""A photo is cut when less than this share of it is left: cutting costs a second JPEG compression."""

_EDGE_PX = 4  # around the square, for the filter of crops that shrink
_AHEAD = 64  # faces in work at a time, for each core
_ENDINGS = {"jpeg": ".jpg", "raw": ".npy"}


@dataclass(frozen=True)
class PackOptions:
    """How to pack.

    Attributes:
        margin: side of the square that is kept around a face, over the side of the crop that training makes of it
            (by the default crop rule); twice that is all that the default augmentation can reach.
        size: longest side of a packed photo in px; larger ones are shrunk.
        format: ``jpeg`` or ``raw``.
        quality: of JPEG files that have to be made anew, 1 to 100.
        shard_mib: a tar file is closed once it is that large.
    """

    margin: float = 2.0
    size: int = 512
    format: PhotoFormat = "jpeg"
    quality: int = 95
    shard_mib: int = 64

    def __post_init__(self) -> None:
        problems = []
        if not 1 <= self.margin < math.inf:
            problems.append(f"--margin {self.margin:g}: at least 1, the crop itself, and 2 to vary it")
        if self.size < 16:
            problems.append(f"--size {self.size}: at least 16 px; twice the network's input is a good size")
        if not 1 <= self.quality <= 100:
            problems.append(f"--quality {self.quality}: from 1 to 100")
        if self.shard_mib < 1:
            problems.append(f"--shard-mib {self.shard_mib}: at least 1")
        if problems:
            raise InputError.collect(problems, "the data cannot be packed like that:")


def write_pack(
    index: Index,
    markup: Markup,
    out: Path,
    options: PackOptions,
    skipped: Sequence[Problem] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Description:
    """Pack the faces of an index, whole or not at all.

    The same faces give the same bytes, whatever the number of cores.

    Args:
        index: faces that were checked.
        markup: of their labels.
        out: the new folder.
        options: how to pack.
        skipped: what kept other faces out; listed in ``skipped.tsv``.
        progress: called with the number of faces packed and that of all faces.

    Raises:
        InputError: ``out`` holds something or cannot be written, or a photo or label cannot be used.
    """
    with staged_folder(out) as stage:
        writer = _Writer(stage, index, markup, options)
        done = 0
        stems = shard_stems(writer.partitions)
        for code, (pair, stem) in enumerate(zip(writer.partitions, stems, strict=True)):
            positions = index.members("/".join(pair))
            with ShardWriter(stage, stem, options.shard_mib << 20) as shards:
                for position, face in _in_order(lambda p: pack_face(index[p], options), positions.tolist()):
                    writer.add(position, code, face, shards, len(writer.shards))
                    done += 1
                    progress(done, len(index))
            writer.shards += shards.done
        description = writer.finish()
        if skipped:
            write_problems(stage / "skipped.tsv", skipped)
    return description


@dataclass(frozen=True)
class PackedFace:
    """One face as it is packed.

    Attributes:
        sample: what it was made from.
        photo: the bytes of the file.
        landmarks: (L, 2) in px of the packed photo.
        face_box: (4,) likewise.
        matrix: (2, 3), from the source photo to the packed one, continuous.
        cut: whether something was cut off the photo.
        kept: whether the bytes are those of the source.
    """

    sample: Sample
    photo: bytes
    landmarks: Floats
    face_box: Floats
    matrix: Floats
    cut: bool
    kept: bool


def pack_face(sample: Sample, options: PackOptions) -> PackedFace:
    """Cut a face out of its photo, and shrink it, where either is worth it.

    Raises:
        InputError: the photo or the label cannot be read.
    """
    data, header = read_photo_file(sample.image_path)
    size = oriented_size(header)
    left, top, right, bottom = _region(sample, size, options.margin)
    width, height = right - left, bottom - top
    shrink = min(1.0, options.size / max(width, height))
    cut = (width, height) != size
    kept = options.format == "jpeg" and header.format == "JPEG" and not cut and shrink == 1
    matrix = np.array([[1.0, 0.0, -left], [0.0, 1.0, -top]])
    if not kept:
        photo = decode_image_reduced(data, str(sample.image_path), 1)[0][top:bottom, left:right]
        if shrink < 1:
            target = (max(1, round(width * shrink)), max(1, round(height * shrink)))
            photo = cv2.resize(photo, target, interpolation=cv2.INTER_AREA)
            matrix *= np.array([[target[0] / width], [target[1] / height]])
        data = _encode(photo, options)
    box = transform(matrix, np.reshape(sample.face_box, (2, 2))).ravel()
    landmarks = transform(matrix, read_pts(sample.landmarks_path))
    return PackedFace(sample, data, landmarks, box, matrix, cut, kept)


def _region(sample: Sample, size: tuple[int, int], margin: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is kept of a photo of this (width, height), in px."""
    x, y, side = CropRule().square(sample.face_box)
    half = margin * side / 2 + _EDGE_PX
    width, height = size
    left, right = (min(max(0, edge), width) for edge in (math.floor(x - half), math.ceil(x + half)))
    top, bottom = (min(max(0, edge), height) for edge in (math.floor(y - half), math.ceil(y + half)))
    share = (right - left) * (bottom - top) / (width * height)
    return (left, top, right, bottom) if 0 < share < WORTH_CUTTING else (0, 0, width, height)


def _encode(photo: NDArray[np.uint8], options: PackOptions) -> bytes:
    if options.format == "jpeg":
        return encode_image("face.jpg", photo, options.quality)
    file = io.BytesIO()
    np.save(file, np.ascontiguousarray(photo))
    return file.getvalue()


def _in_order(
    work: Callable[[int], PackedFace], positions: Sequence[int]
) -> Iterator[tuple[int, PackedFace]]:
    """Do the work for each position on all cores, a little ahead, and give the results in order."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    waiting: deque[tuple[int, Future[PackedFace]]] = deque()
    pool = ThreadPoolExecutor(cores)
    try:
        for position in positions:
            waiting.append((position, pool.submit(work, position)))
            if len(waiting) > _AHEAD * cores:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _new_table(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A table to fill in any order, on room that is taken now: a disk that is full kills who writes to a map."""
    table = open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):  # macOS has none
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return table


@dataclass
class _Writer:
    """Fills the tables of a pack."""

    stage: Path
    index: Index
    markup: Markup
    options: PackOptions
    shards: list[StoredFile] = field(default_factory=list)
    cut: int = 0
    kept: int = 0

    def __post_init__(self) -> None:
        count, points = len(self.index), self.markup.count
        names = self.index.partitions()
        self.partitions = [(name.rpartition("/")[0], name.rpartition("/")[2]) for name in names]
        self.table = _new_table(self.stage / FACES, FACE, (count,))
        self.landmarks = _new_table(self.stage / LANDMARKS, np.dtype(np.float32), (count, points, 2))
        self.sources: list[str] = [""] * count

    def add(self, position: int, code: int, face: PackedFace, shards: ShardWriter, before: int) -> None:
        """Put a face into the tar file and the tables; ``before`` it there are so many closed shards."""
        sample, key = face.sample, f"{position:08d}"
        source = os.path.relpath(sample.image_path, self.index.path.parent)
        label = {
            "landmarks": face.landmarks.round(4).tolist(),
            "face_box": face.face_box.round(4).tolist(),
            "matrix": face.matrix.tolist(),
            "subset": sample.subset,
            "split": sample.split,
            "aug_idx": sample.aug_idx,
            "source": source,
        }
        shard, offset = shards.add(key, face.photo, _ENDINGS[self.options.format], label)
        row = self.table[position]
        row["shard"], row["offset"], row["bytes"] = before + shard, offset, len(face.photo)
        row["partition"], row["aug_idx"] = code, sample.aug_idx
        row["line"] = self.index.line_numbers[position]
        row["face_box"], row["matrix"] = face.face_box, face.matrix
        self.landmarks[position] = face.landmarks
        self.sources[position] = source
        self.cut += face.cut
        self.kept += face.kept

    def finish(self) -> Description:
        """Write what is left to write."""
        lines = [f"{source}\n".encode() for source in self.sources]
        lengths = np.array([len(line) for line in lines])
        self.table["source"] = np.cumsum(lengths) - lengths
        (self.stage / SOURCES).write_bytes(b"".join(lines))
        self.table.flush()
        self.landmarks.flush()
        options = self.options
        description = Description(
            format=FORMAT,
            fanlight=version("fanlight"),
            markup=self.markup.to_dict(),
            faces=len(self.index),
            partitions=self.partitions,
            photos=Photos(
                format=options.format,
                quality=options.quality,
                size=options.size,
                margin=options.margin,
                reach=options.margin * CropRule().scale,
                cut=self.cut,
                kept=self.kept,
            ),
            source=self.index.path.name,
            source_sha256=self.index.sha256,
            tables=[StoredFile.of(self.stage / name) for name in (FACES, LANDMARKS, SOURCES)],
            shards=self.shards,
        )
        write_whole(self.stage / DESCRIPTION, description.model_dump_json(indent=1) + "\n")
        return description
