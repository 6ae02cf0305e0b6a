"""How fast a trained network finds landmarks on one core, by engine, and what each engine does to its answers.

    python benchmarks/inference.py CHECKPOINT --index INDEX.tsv --partition lfpw/val
    python benchmarks/inference.py CHECKPOINT                      # on synthetic faces, without accuracy
    python benchmarks/inference.py CHECKPOINT --input-size 192     # the same weights on larger crops

A call goes from uint8 crops to landmarks, scores and covariances; reading photos, finding faces and cropping are
not part of it. Every engine takes its turn in each round, so that whatever else the machine does meets all alike.
Figures are the median and the fastest of the rounds, in ms per face, and "cpu", the median of the processor's own
time, which is closer to what it takes alone where other programs share the core. "px" is the largest and the mean
distance of the landmarks from those of PyTorch in float32, in crop px; AUC and NME are without mirroring, in
percent.

"PyTorch" is what fanlight.load gives: channels last in memory. Engines that cannot run here are listed with the
reason. OpenVINO is tried where it is installed, and chooses bfloat16 itself where the processor multiplies it; it
is in no extra, because it may look up a host when imported.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fanlight.checkpoint import Checkpoint, load_checkpoint
from fanlight.data.dataset import FaceDataset
from fanlight.data.index import Index
from fanlight.data.synthetic import draw_face
from fanlight.errors import InputError
from fanlight.export import ExampleFaces, export_onnx, export_onnx_int8, export_torchscript
from fanlight.geometry import crop_matrix, warp
from fanlight.metric import measure
from fanlight.models import count_flops, count_parameters, find
from fanlight.network import Crops, TorchNetwork
from fanlight.onnx_network import OnnxNetwork

Run = Callable[[Crops], np.ndarray[Any, Any]]  # crops -> landmarks (B, L, 2) in crop px
KEYS = ("auc_box_0.07", "nme_box")
ROUND_SECONDS = 0.1


def main() -> None:
    """Read the command line, measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description="time a network's engines on one core")
    parser.add_argument("checkpoint", help="a checkpoint, or the name of a network that comes with fanlight")
    parser.add_argument("--index", type=Path, help="real faces: */train calibrates int8")
    parser.add_argument("--partition", help="where accuracy is measured, such as lfpw/val")
    parser.add_argument("--input-size", type=int, help="run the network on crops of this many px")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="faces in a call")
    parser.add_argument("--rounds", type=int, default=15, help="rounds that the medians are of")
    parser.add_argument("--skip", nargs="*", default=[], help="engines to leave out")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    one_core()
    checkpoint = load_checkpoint(find(options.checkpoint))
    if options.input_size:
        checkpoint = replace(checkpoint, options=replace(checkpoint.options, input_size=options.input_size))
    crops, truth = labelled_faces(checkpoint, options.index, options.partition)
    calibration = calibration_faces(checkpoint, options.index)
    with tempfile.TemporaryDirectory() as folder:
        engines, missing = build(checkpoint, Path(folder), crops, calibration, options.skip)
        report = describe(checkpoint, options, len(crops), truth is not None)
        report["accuracy"] = accuracy(engines, checkpoint, crops, truth)
        report["speed"] = {str(b): speed(engines, crops, b, options.rounds) for b in options.batches}
    report["missing"] = missing
    print_report(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def one_core() -> None:
    """Bind this process to one of its cores and one thread."""
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def labelled_faces(
    checkpoint: Checkpoint, index: Path | None, partition: str | None
) -> tuple[Crops, np.ndarray[Any, Any] | None]:
    """Crops (N, S, S, 3), and their true landmarks where there are any."""
    size = checkpoint.options.input_size
    if index is None or partition is None:
        faces = [draw_face(0, number) for number in range(32)]
        crops = [warp(f.image, crop_matrix(f.face_box, checkpoint.crop, size), size) for f in faces]
        return np.stack(crops), None
    dataset = FaceDataset(Index.read(index).select([partition]), checkpoint.markup, checkpoint.crop, size)
    batch = dataset.__getitems__([(0, position) for position in range(len(dataset))])
    return batch["image"].numpy(), batch["landmarks"].numpy()


def calibration_faces(checkpoint: Checkpoint, index: Path | None) -> Crops:
    """128 crops of the index's train partitions; synthetic faces without an index."""
    if index is None:
        return labelled_faces(checkpoint, None, None)[0]
    faces = Index.read(index)
    faces = faces.select([name for name in faces.partitions() if name.endswith("/train")])
    faces = faces.take(np.linspace(0, len(faces) - 1, min(128, len(faces))).round().astype(int))
    dataset = FaceDataset(faces, checkpoint.markup, checkpoint.crop, checkpoint.options.input_size)
    return dataset.__getitems__([(0, position) for position in range(len(dataset))])["image"].numpy()


def build(
    checkpoint: Checkpoint, folder: Path, crops: Crops, calibration: Crops, skip: list[str]
) -> tuple[dict[str, Run], dict[str, str]]:
    """Every engine that runs here, and for the others the reason why not."""
    faces = ExampleFaces(crops[:32], "the benchmark's faces")
    makers: dict[str, Callable[[], Run]] = {
        "PyTorch": lambda: of_network(TorchNetwork(checkpoint)),
        "PyTorch, channels first": lambda: of_network(channels_first(checkpoint)),
        "PyTorch, bfloat16": lambda: autocast(TorchNetwork(checkpoint)),
        "torch.compile": lambda: compiled(checkpoint),
        "TorchScript": lambda: torchscript(export_torchscript(checkpoint, folder / "n.pt", faces).path),
        "ONNX Runtime": lambda: of_network(
            OnnxNetwork(export_onnx(checkpoint, folder / "n.onnx", faces).path, threads=1)
        ),
        "ONNX Runtime, int8": lambda: of_network(
            OnnxNetwork(export_onnx_int8(checkpoint, folder / "q.onnx", faces, calibration).path, threads=1)
        ),
        "OpenVINO": lambda: openvino(folder / "n.onnx"),
    }
    engines, missing = {}, {}
    for name, make in makers.items():
        if name in skip:
            continue
        try:
            run = make()
            run(crops[:1])
            engines[name] = run
        except (InputError, ImportError, RuntimeError) as error:
            missing[name] = str(error).strip().splitlines()[0][:120]
    return engines, missing


def of_network(network: TorchNetwork | OnnxNetwork) -> Run:
    """Its landmarks."""
    return lambda crops: network(crops).landmarks


def channels_first(checkpoint: Checkpoint) -> TorchNetwork:
    """PyTorch with its usual order in memory."""
    network = TorchNetwork(checkpoint)
    network.model = checkpoint.build()
    return network


def autocast(network: TorchNetwork) -> Run:
    """Convolutions in bfloat16; many times slower where the processor cannot multiply it."""

    def run(crops: Crops) -> np.ndarray[Any, Any]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return network(crops).landmarks

    return run


def compiled(checkpoint: Checkpoint) -> Run:
    """The network compiled, for each batch size anew; needs a C++ compiler."""
    network = TorchNetwork(checkpoint)
    network.model = torch.compile(network.model, dynamic=False)  # type: ignore[assignment]
    return of_network(network)


def torchscript(path: Path) -> Run:
    """A frozen file, run by PyTorch."""
    scripted = torch.jit.load(path)

    def run(crops: Crops) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            return scripted(torch.from_numpy(crops))[0].numpy()

    return run


def openvino(path: Path) -> Run:
    """The ONNX file, run by OpenVINO."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    model = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda crops: model([crops])[0]


def accuracy(
    engines: dict[str, Run], checkpoint: Checkpoint, crops: Crops, truth: np.ndarray[Any, Any] | None
) -> dict[str, dict[str, float]]:
    """How far each engine's landmarks are from PyTorch's, and from the truth."""
    parts = [crops[start : start + 16] for start in range(0, len(crops) // 16 * 16, 16)]
    expected, figures = None, {}
    for name, run in engines.items():
        found = np.concatenate([run(part) for part in parts])
        expected = found if expected is None else expected
        apart = np.linalg.norm(found - expected, axis=-1)
        figures[name] = {"largest_px": float(apart.max()), "mean_px": float(apart.mean())}
        if truth is not None:
            figures[name] |= measure(KEYS, found, truth[: len(found)], checkpoint.markup)
    return figures


def speed(engines: dict[str, Run], crops: Crops, batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median and fastest round of each engine in ms per face, and the median of the processor's time."""
    faces = np.resize(crops, (batch, *crops.shape[1:])) if len(crops) < batch else crops[:batch]
    calls = {name: functools.partial(run, faces) for name, run in engines.items()}
    repeats = {}
    for name, call in calls.items():
        call()
        started = time.process_time()
        call()
        repeats[name] = max(1, round(ROUND_SECONDS / max(time.process_time() - started, 1e-6)))
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            started, started_cpu = time.perf_counter(), time.process_time()
            for _ in range(repeats[name]):
                call()
            per_face = 1000 / (repeats[name] * batch)
            wall[name].append(per_face * (time.perf_counter() - started))
            cpu[name].append(per_face * (time.process_time() - started_cpu))
    return {
        name: {
            "ms": statistics.median(wall[name]),
            "fastest_ms": min(wall[name]),
            "cpu_ms": statistics.median(cpu[name]),
        }
        for name in calls
    }


def describe(
    checkpoint: Checkpoint, options: argparse.Namespace, faces: int, labelled: bool
) -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("torch", "onnxruntime", "openvino", "numpy")
    return {
        "environment": {
            "processor": processor(),
            "bfloat16": bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()),
            "system": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
            **{name: version for name in packages if (version := installed(name))},
        },
        "network": {
            "stacks": checkpoint.options.stacks,
            "features": checkpoint.options.features,
            "input_size": checkpoint.options.input_size,
            "parameters": count_parameters(checkpoint),
            "gflop": count_flops(checkpoint.options) / 1e9,
        },
        "faces": f"{faces // 16 * 16} of {options.partition}" if labelled else f"{faces} synthetic",
        "rounds": options.rounds,
    }


def installed(package: str) -> str | None:
    """A package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


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
    network = report["network"]
    print(", ".join(f"{name} {value}" for name, value in report["environment"].items()))
    print(
        f"FAN of {network['stacks']} x {network['features']} features, {network['parameters'] / 1e6:.2f} M "
        f"parameters, {network['input_size']} px, {network['gflop']:.2f} GFLOP a face; one core, ms per face, "
        f"median (fastest; cpu) of {report['rounds']} rounds; faces: {report['faces']}"
    )
    batches = list(report["speed"])
    head = "".join(f"{'batch ' + batch:>24}" for batch in batches)
    print(f"{'':25}{head}{'largest px':>12}{'mean px':>10}{'AUC@0.07':>10}{'NME':>7}")
    for name, figures in report["accuracy"].items():
        cells = ""
        for batch in batches:
            took = report["speed"][batch][name]
            times = f"{took['ms']:.1f} ({took['fastest_ms']:.1f}; {took['cpu_ms']:.1f})"
            cells += f"{times:>24}"
        cells += f"{figures['largest_px']:12.2g}{figures['mean_px']:10.2g}"
        if KEYS[0] in figures:
            cells += f"{100 * figures[KEYS[0]]:10.2f}{100 * figures[KEYS[1]]:7.2f}"
        print(f"{name:25}{cells}")
    for name, reason in report["missing"].items():
        print(f"{name:25} not here: {reason}")


if __name__ == "__main__":
    main()
