"""``fanlight export``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from fanlight.cli.console import out, progress_bar, warn
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.checkpoint import Checkpoint
    from fanlight.data.faces import Faces
    from fanlight.export import ExampleFaces, Exported
    from fanlight.geometry import Floats
    from fanlight.network import Crops, Network

TEST_FACES = 32
CALIBRATION_FACES = 128
KEYS = ("auc_box_0.07", "nme_box")
BEARABLE_LOSS = 0.01  # of AUC


class Format(StrEnum):
    """What files there are."""

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    TORCHSCRIPT = "torchscript"
    IBUG = "ibug"
    FANLIGHT = "fanlight"


ENDINGS = {
    Format.ONNX: ".onnx",
    Format.ONNX_INT8: "-int8.onnx",
    Format.TORCHSCRIPT: ".pt",
    Format.IBUG: "-ibug.pth",
    Format.FANLIGHT: "-slim.ckpt",
}


def export(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, or a network's name (fanlight models).")
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="onnx: for ONNX Runtime and others. onnx-int8: a third of the size, faster, a little less exact. "
            "torchscript: for C++ and Python without fanlight. ibug: weights for ibug.face_alignment. fanlight: a "
            "checkpoint to give away, in half precision and without what only training needs.",
        ),
    ],
    file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="The file to write, or write over; CHECKPOINT's name here.",
        ),
    ] = None,
    index: Annotated[
        str | None,
        typer.Option(help="An index (TSV) or a pack of real faces to compare, calibrate and judge on."),
    ] = None,
    partition: Annotated[
        list[str] | None,
        typer.Option(metavar="SUBSET/SPLIT", help="What of it to compare and judge on; may be repeated."),
    ] = None,
    calibrate: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUBSET/SPLIT|FOLDER",
            help="onnx-int8: faces that set the ranges of the integers, partitions of the index or folders of "
            "photos that show one face each; may be repeated. All */train of the index if not given.",
        ),
    ] = None,
    heatmaps: Annotated[bool, typer.Option("--heatmaps", help="Give the heatmaps as an output too.")] = False,
) -> None:
    """Write a network as one file for other programs: crops in, landmarks out, decoding included."""
    from fanlight import export as exporting
    from fanlight.checkpoint import load_checkpoint
    from fanlight.data.opening import open_faces
    from fanlight.models import find

    source = find(checkpoint)
    path = file or Path(f"{source.stem}{ENDINGS[form]}")
    _check_options(form, path, source, index, partition, calibrate, heatmaps)
    loaded = load_checkpoint(source)
    listed = open_faces(index) if index else None
    chosen = listed.select(partition) if listed and partition else listed
    faces = _test_faces(loaded, chosen)
    if form in (Format.IBUG, Format.FANLIGHT):
        write_weights = exporting.export_ibug if form is Format.IBUG else exporting.export_slim
        _report(write_weights(loaded, path, faces), faces)
    elif form is Format.ONNX_INT8:
        calibration = _calibration_faces(loaded, listed, calibrate or [])
        _report(exporting.export_onnx_int8(loaded, path, faces, calibration, heatmaps), faces)
        if chosen and partition:
            _report_loss(loaded, path, chosen)
        else:
            warn("its accuracy was not measured: give --index and --partition")
    else:
        write = exporting.export_onnx if form is Format.ONNX else exporting.export_torchscript
        _report(write(loaded, path, faces, heatmaps), faces)


def _check_options(
    form: Format,
    path: Path,
    source: Path,
    index: str | None,
    partition: list[str] | None,
    calibrate: list[str] | None,
    heatmaps: bool,
) -> None:
    problems = []
    if form in (Format.ONNX, Format.ONNX_INT8) and path.suffix.lower() != ".onnx":
        problems.append(f"--out {path}: should end in .onnx, by which fanlight knows such files")
    if os.path.realpath(path) == os.path.realpath(source):
        problems.append(f"--out {path}: is the checkpoint itself; choose another name")
    if partition and not index:
        problems.append(f"--partition {' '.join(partition)}: of which index? add --index INDEX.tsv")
    if calibrate and form is not Format.ONNX_INT8:
        problems.append(f"--calibrate: is for --format onnx-int8, not for {form}")
    if form is Format.ONNX_INT8 and not index and not calibrate:
        problems.append(
            "--format onnx-int8: needs real faces to set the ranges of its integers: add --index INDEX.tsv, whose "
            "train partitions are taken, or --calibrate FOLDER"
        )
    if heatmaps and form in (Format.IBUG, Format.FANLIGHT):
        problems.append("--heatmaps: a file of weights has no outputs; leave it out")
    if problems:
        raise InputError.collect(problems, "these options cannot be used:")


def _test_faces(checkpoint: Checkpoint, index: Faces | None) -> ExampleFaces:
    """Faces to compare on: some of an index, or made ones."""
    from fanlight.data.synthetic import draw_face
    from fanlight.export import ExampleFaces

    if index is not None:
        some = _spread(index, TEST_FACES)
        names = ", ".join(index.partitions())
        return ExampleFaces(_index_crops(checkpoint, some), f"{len(some)} real faces of {names}")
    made = (draw_face(0, number) for number in range(TEST_FACES))
    crops = [_crop(checkpoint, face.image, face.face_box) for face in made]
    return ExampleFaces(np.stack(crops), f"{len(crops)} synthetic faces")


def _calibration_faces(checkpoint: Checkpoint, index: Faces | None, sources: list[str]) -> Crops:
    """Crops of the faces that set the ranges of the integers, from partitions and from folders of photos."""
    from fanlight.image import read_image
    from fanlight.photos import find_photos

    folders = [name for name in sources if os.path.isdir(name)]
    partitions = [name for name in sources if name not in folders]
    if index is not None and not sources:
        partitions = [name for name in index.partitions() if name.endswith("/train")]
        if not partitions:
            raise InputError(
                f"{index.where}: has no train partition to set the ranges of the integers with: name another with "
                f"--calibrate; there are: {', '.join(index.partitions())}"
            )
    if partitions and index is None:
        raise InputError(
            f"--calibrate {' '.join(partitions)}: neither a folder nor, without --index, a partition of one"
        )
    crops: list[Crops] = []
    if index is not None and partitions:
        crops.append(_index_crops(checkpoint, _spread(index.select(partitions), CALIBRATION_FACES)))
    photos = find_photos(folders)
    for number in np.unique(np.linspace(0, len(photos) - 1, min(len(photos), CALIBRATION_FACES)).round()):
        photo = read_image(photos[int(number)])
        crops.append(_crop(checkpoint, photo, (0, 0, photo.shape[1], photo.shape[0]))[None])
    return np.concatenate(crops)


def _spread(index: Faces, count: int) -> Faces:
    """So many of an index's faces, from its beginning to its end."""
    count = min(count, len(index))
    return index.take(np.linspace(0, len(index) - 1, count).round().astype(np.int64))


def _index_crops(checkpoint: Checkpoint, index: Faces) -> Crops:
    """(N, S, S, 3); labels are not read."""
    crops = []
    with progress_bar("reading faces", len(index)) as bar:
        for position, box in enumerate(index.face_boxes):
            crops.append(_crop(checkpoint, index.photo(position)[0], box))
            bar.advance()
    return np.stack(crops)


def _crop(checkpoint: Checkpoint, image: Crops, box: Any) -> Crops:
    from fanlight.geometry import crop_matrix, warp

    size = checkpoint.options.input_size
    return warp(image, crop_matrix(box, checkpoint.crop, size), size)


def _report(written: Exported, faces: ExampleFaces) -> None:
    out.print(f"{written.path}: {written.path.stat().st_size / 1e6:.2f} MB")
    out.print(
        f"on {faces.source}, landmarks are {written.mean_px:.2g} crop px from PyTorch's on average, "
        f"{written.largest_px:.2g} at most"
    )
    for note in written.notes:
        out.print(note)


def _report_loss(checkpoint: Checkpoint, path: Path, index: Faces) -> None:
    """Print how well the network and its quantised form do on faces with labels."""
    from fanlight.metric import Metric, measure
    from fanlight.network import TorchNetwork
    from fanlight.onnx_network import OnnxNetwork

    networks: dict[str, Network] = {"PyTorch": TorchNetwork(checkpoint), "int8": OnnxNetwork(path)}
    found, truth = _locate_all(checkpoint, networks, index)
    values = {name: measure(KEYS, landmarks, truth, checkpoint.markup) for name, landmarks in found.items()}
    table = Table(f"{', '.join(index.partitions())}, {len(truth)} faces", *networks)
    for key in KEYS:
        table.add_row(Metric.parse(key).title, *(f"{100 * values[name][key]:.2f}" for name in networks))
    out.print(table)
    moved = float(np.linalg.norm(found["int8"] - found["PyTorch"], axis=-1).mean())
    out.print(
        f"in percent; mirrored faces averaged in: no; int8 moves landmarks by {moved:.3f} crop px on average"
    )
    loss = values["PyTorch"]["auc_box_0.07"] - values["int8"]["auc_box_0.07"]
    if not loss <= BEARABLE_LOSS:
        warn(
            f"{path}: int8 costs {100 * loss:.1f} points of AUC: calibrate with more faces like those of "
            "its use (--calibrate), or take --format onnx"
        )


def _locate_all(
    checkpoint: Checkpoint, networks: dict[str, Network], index: Faces
) -> tuple[dict[str, Floats], Floats]:
    """What each network finds, (N, L, 2) in crop px, and the true landmarks."""
    from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader

    dataset = FaceDataset(index, checkpoint.markup, checkpoint.crop, checkpoint.options.input_size)
    sampler = EpochSampler(len(dataset), 16, shuffle=False, drop_last=False)
    found: dict[str, list[Floats]] = {name: [] for name in networks}
    truth = []
    with progress_bar("judging", len(dataset)) as bar:
        for batch in make_loader(dataset, sampler):
            for name, network in networks.items():
                found[name].append(network(batch["image"]).landmarks)
            truth.append(batch["landmarks"].double().numpy())
            bar.advance(len(batch["image"]))
    return {name: np.concatenate(parts) for name, parts in found.items()}, np.concatenate(truth)
