"""Export to the layout of ibug.face_alignment: weights that its FANPredictor loads as they are."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch

from fanlight.checkpoint import Checkpoint
from fanlight.durable import side_file, torch_saving
from fanlight.errors import InputError
from fanlight.export.check import ExampleFaces, Exported, check, distances
from fanlight.export.facts import add_facts
from fanlight.network import TorchNetwork

STEM_FEATURES = 64  # what the layout takes for granted
POINTS = 68  # what it took for granted before its settings named the number of landmarks
LABELS_OFFSET_PX = 0.5  # its labels are those of .pts files less 1, ours less 0.5


def export_ibug(checkpoint: Checkpoint, path: str | PathLike[str], faces: ExampleFaces) -> Exported:
    """Write a network's weights as a state dict for ``FANPredictor`` of ibug.face_alignment.

    The tensors already have that package's names; its settings are given in the notes, because it reads none from
    the file. ``fanlight.convert`` does: it makes the same network of the file again, to be used in the same way.
    What the package does differently, and no file can change:

    - Its crop is rounded to whole source pixels and 1 px larger, and shrunk without a low-pass filter.
    - Its decoder takes the plain centroid over a disc (our ``border = "cut"``), which is pulled inwards near the
      crop's border; a heatmap without a positive cell gives the crop's corner, not the cell of its peak.
    - Its landmarks are in the convention of the labels that the network learnt from, because it has no place for
      an offset. With networks of fanlight that is the continuous one (the first pixel's centre is 0.5, 0.5); those
      that come with the package, and those that ``fanlight.convert`` made of them, give 0.5 px less in x and y.

    Args:
        checkpoint: the network.
        path: the file to write.
        faces: what to compare its landmarks with ours on, in the same crops.

    Raises:
        InputError: the layout cannot hold the network, or the file cannot be written.
    """
    path = Path(path)
    _check_layout(checkpoint, path)
    plain = replace(checkpoint, decoder=replace(checkpoint.decoder, kind="centroid", border="cut"))
    with side_file(path) as side:
        with side.open("wb") as file, torch_saving():
            torch.save(
                {name: _plain(values) for name, values in checkpoint.build().state_dict().items()}, file
            )
        add_facts(side, checkpoint)
        written = replace(plain, weights=torch.load(side, map_location="cpu", weights_only=True))
        theirs = TorchNetwork(written)
        one = ExampleFaces(faces.crops[:1], faces.source)  # enough: the tensors are the same or they are not
        check(path, distances(plain, lambda crops: theirs(crops).landmarks, one), one)
        apart = distances(checkpoint, lambda crops: theirs(crops).landmarks, faces)
    return Exported(path, float(apart.mean()), float(apart.max()), _notes(checkpoint, path))


def _check_layout(checkpoint: Checkpoint, path: Path) -> None:
    found = checkpoint.options.stem_features
    if found != STEM_FEATURES:
        raise InputError(
            f"{path}: not written: FANPredictor of ibug.face_alignment cannot hold this network: "
            f"stem_features = {found}, and its first convolution has {STEM_FEATURES} channels; train with "
            f"stem_features = {STEM_FEATURES}, or export as onnx"
        )


def _plain(values: torch.Tensor) -> torch.Tensor:
    return (values.float() if values.is_floating_point() else values).detach().clone().contiguous()


def _notes(checkpoint: Checkpoint, path: Path) -> tuple[str, ...]:
    """How to load the file, and what its landmarks mean."""
    options, crop, decoder = checkpoint.options, checkpoint.crop, checkpoint.decoder
    x, y = checkpoint.offset_image
    notes = [
        "load it with:\n"
        "  from types import SimpleNamespace\n"
        "  from ibug.face_alignment import FANPredictor\n"
        f"  model = SimpleNamespace(weights={path.name!r}, config=SimpleNamespace(\n"
        f"      crop_ratio={1 / crop.scale:.6g}, input_size={options.input_size}, num_modules={options.stacks}, "
        f"hg_num_features={options.features}, hg_depth={options.depth},\n"
        f"      use_avg_pool={options.pooling == 'average'}, use_instance_norm={options.norm == 'instance'}, "
        f"stem_conv_kernel_size={options.stem_kernel}, stem_conv_stride={options.stem_stride},\n"
        f"      stem_pool_kernel_size={options.stem_pool}, num_landmarks={options.points}))\n"
        f"  config = FANPredictor.create_config(gamma={decoder.gamma:g}, radius={decoder.radius:g})\n"
        '  predictor = FANPredictor(device="cpu", model=model, config=config)',
        f"its landmarks plus ({x:g}, {y:g}) are continuous (the first pixel's centre is 0.5, 0.5), and plus "
        f"({x - LABELS_OFFSET_PX:g}, {y - LABELS_OFFSET_PX:g}) they are what the package's own networks give, "
        f"which is {LABELS_OFFSET_PX:g} px less",
    ]
    if options.points != POINTS:
        notes.append(
            f"versions of the package whose get_model does not name num_landmarks have {POINTS} heatmaps, and "
            "cannot load it"
        )
    if crop.measure != "mean" or crop.shift_x or crop.shift_y:
        notes.append(
            f"its crop cannot follow this network's rule ({crop}): give it boxes whose centre, and mean of width "
            "and height, are those of the rule's square over its scale"
        )
    if decoder.kind != "centroid":
        notes.append(f"its decoder takes the centroid, not {decoder.kind} as this network's does")
    elif decoder.border == "corrected":
        notes.append(
            "its decoder has no border correction: near a crop's border its landmarks are pulled inwards"
        )
    return tuple(notes)
