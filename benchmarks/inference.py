"""Inference: the network `small` by every engine, and two presets, beside the bound of their convolutions.

For another checkpoint, with accuracy on real faces:

    python -m benchmarks.inference CHECKPOINT --index INDEX.tsv --partition lfpw/val
    python -m benchmarks.inference CHECKPOINT --input-size 192     # the same weights on larger crops
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import add_plan, plan_of, positive, report
from benchmarks.engines import BFLOAT16, INT8, Landmarks, Run, build_engines
from benchmarks.limits import NAMES
from benchmarks.plan import Plan
from benchmarks.references import FAN1_HALF_INFERENCE, FAN2_INFERENCE
from benchmarks.result import Figure, Other, Result, shown
from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.data.dataset import FaceDataset
from fanlight.data.index import Index
from fanlight.data.synthetic import draw_face
from fanlight.geometry import crop_matrix, warp
from fanlight.markup import Markup
from fanlight.metric import measure as values_of
from fanlight.model import FAN, PRESETS
from fanlight.models import count_flops, count_parameters, find
from fanlight.network import Crops, TorchNetwork

KEYS = ("auc_box_0.07", "nme_box")
SLOW_TO_BUILD = ("torch.compile", "TorchScript", "ONNX Runtime", INT8, "OpenVINO")


@dataclass(frozen=True)
class Crowd:
    """Faces to run a network on.

    Attributes:
        crops: (N, S, S, 3) uint8.
        truth: (N, L, 2), their landmarks in crop px, or None.
        name: what they are.
    """

    crops: Crops
    truth: Landmarks | None
    name: str


def measure(plan: Plan) -> Result:
    """The network `small` from crops to landmarks, scores and covariances, in calls of one face and of 16."""
    checkpoint = load_checkpoint(find("small"))
    skip = SLOW_TO_BUILD if plan.quick else ()
    result = engines_of(checkpoint, plan, batches=[1] if plan.quick else [1, 16], skip=skip)
    presets = {"fan1_narrow": None} if plan.quick else PRESET_REFERENCES
    figures = [row for name, reference in presets.items() for row in preset(name, reference, plan)]
    return replace(result, figures=[*result.figures, *figures])


PRESET_REFERENCES: Mapping[str, Other | None] = {"fan1_half": FAN1_HALF_INFERENCE, "fan2": FAN2_INFERENCE}


def preset(name: str, reference: Other | None, plan: Plan) -> list[Figure]:
    """A preset with random weights, one face a call, in each precision that the processor multiplies."""
    options, markup = PRESETS[name](), Markup.load("ibug68")
    torch.manual_seed(0)
    checkpoint = Checkpoint(options, FAN(options).state_dict(), markup)
    size, calls, bounds = options.input_size, {}, {}
    crops = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    for dtype in plan.limits.products:
        row = f"{name} at {size} px, PyTorch, {NAMES[dtype]}"
        network = TorchNetwork(checkpoint, precision="bfloat16" if dtype == torch.bfloat16 else "float32")
        calls[row] = functools.partial(network, crops)
        bounds[row] = plan.limits.convolution_bound(count_flops(options), dtype)
    times = plan.time(calls)
    return [Figure(row, times[row], reference, bounds[row], rate_unit="faces") for row in calls]


def engines_of(
    checkpoint: Checkpoint, plan: Plan, batches: Sequence[int], skip: Sequence[str] = ()
) -> Result:
    """A checkpoint's network by every engine.

    Args:
        checkpoint: the network.
        plan: with an index, faces of its partitions are judged, and its train partitions calibrate int8.
        batches: faces in a call.
        skip: engines to leave out.
    """
    crowd = crowd_for(checkpoint, plan, 1000)
    with tempfile.TemporaryDirectory() as folder:
        engines, missing = build_engines(
            checkpoint, Path(folder), crowd.crops, calibration_crops(checkpoint, plan), skip
        )
        accuracy = compare(engines, checkpoint.markup, crowd)
        figures = [
            figure
            for batch in batches
            for figure in speed(engines, crowd.crops, batch, count_flops(checkpoint.options), plan)
        ]
    options = checkpoint.options
    facts = {
        "stacks": options.stacks,
        "features": options.features,
        "input_size": options.input_size,
        "parameters": count_parameters(checkpoint),
        "gflop": count_flops(options) / 1e9,
        "faces": crowd.name,
        "accuracy": accuracy,
        "missing": missing,
    }
    notes = [f"{name}: {describe(found)}" for name, found in accuracy.items()]
    notes += [f"{name}: not here: {reason}" for name, reason in missing.items()]
    return Result("inference", "a face", figures, facts, notes)


def crowd_for(checkpoint: Checkpoint, plan: Plan, most: int) -> Crowd:
    """At most so many of the plan's faces as crops, with labels; 32 synthetic ones, without, where it has none."""
    size, faces = checkpoint.options.input_size, plan.faces(plan.size(most, 2))
    if faces is None:
        drawn = [draw_face(0, number) for number in range(plan.size(32, 2))]
        crops = [warp(face.image, crop_matrix(face.face_box, checkpoint.crop, size), size) for face in drawn]
        return Crowd(np.stack(crops), None, f"{len(drawn)} synthetic")
    dataset = FaceDataset(faces, checkpoint.markup, checkpoint.crop, size)
    batch = dataset.__getitems__([(0, position) for position in range(len(dataset))])
    name = f"{len(faces)} of {', '.join(faces.partitions())}"
    return Crowd(batch["image"].numpy(), batch["landmarks"].numpy(), name)


def calibration_crops(checkpoint: Checkpoint, plan: Plan) -> Crops:
    """128 crops of the index's train partitions; synthetic faces where there are none."""
    partitions = Index.read(plan.index).partitions() if plan.index else {}
    train = tuple(name for name in partitions if name.endswith("/train"))
    calm = replace(plan, partitions=train) if train else replace(plan, index=None)
    return crowd_for(checkpoint, calm, 128).crops


def compare(engines: Mapping[str, Run], markup: Markup, crowd: Crowd) -> dict[str, dict[str, float]]:
    """How far each engine's landmarks are from the first one's, in crop px, and from the truth."""
    expected, figures = None, {}
    for name, run in engines.items():
        parts = [crowd.crops[start : start + 16] for start in range(0, len(crowd.crops), 16)]
        found = np.concatenate([run(part) for part in parts])
        expected = found if expected is None else expected
        apart = np.linalg.norm(found - expected, axis=-1)
        figures[name] = {"largest_px": float(apart.max()), "mean_px": float(apart.mean())}
        if crowd.truth is not None:
            figures[name] |= values_of(KEYS, found, crowd.truth, markup)
    return figures


def speed(engines: Mapping[str, Run], crops: Crops, batch: int, flops: float, plan: Plan) -> list[Figure]:
    """Each engine with so many faces in a call."""
    faces = np.resize(crops, (batch, *crops.shape[1:]))
    times = plan.time({name: functools.partial(run, faces) for name, run in engines.items()}, batch)
    figures = []
    for name, took in times.items():
        dtype = torch.bfloat16 if name == BFLOAT16 else torch.float32
        bound = None if name == INT8 else plan.limits.convolution_bound(flops, dtype)
        figures.append(Figure(f"{name}, batch {batch}", took, limit=bound, rate_unit="faces"))
    return figures


def describe(found: Mapping[str, float]) -> str:
    """An engine's answers in words."""
    text = f"{shown(found['mean_px'])} px from the first engine's landmarks, {shown(found['largest_px'])} at most"
    if KEYS[0] in found:
        text += f"; AUC@0.07 box {100 * found[KEYS[0]]:.2f} %, NME box {100 * found[KEYS[1]]:.2f} %"
    return text


def main() -> None:
    """Read the command line, measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.inference", description="time a network's engines on one core"
    )
    parser.add_argument("checkpoint", help="a checkpoint, or the name of a network that comes with fanlight")
    parser.add_argument("--input-size", type=int, help="run the network on crops of this many px")
    parser.add_argument("--batches", type=positive, nargs="+", default=[1, 16], help="faces in a call")
    parser.add_argument("--skip", nargs="*", default=[], help="engines to leave out")
    add_plan(parser)
    options = parser.parse_args()

    def measure_one(_: dict[str, Any]) -> dict[str, Any]:
        checkpoint = load_checkpoint(find(options.checkpoint))
        if options.input_size:
            shape = replace(checkpoint.options, input_size=options.input_size)
            checkpoint = replace(checkpoint, options=shape)
        result = engines_of(checkpoint, plan_of(options), options.batches, options.skip)
        print(result.table())
        return {"results": {result.subject: result.to_dict()}}

    report(measure_one, options.json)


if __name__ == "__main__":
    main()
