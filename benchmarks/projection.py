"""How long a training takes on GPUs, from what was measured on a CPU, counted, and assumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.step_cost import StepCost, count_weights, step_cost
from fanlight.errors import InputError

PRESET = "fan2"
BACKWARD = 2 / 3  # of a step, during which gradients are exchanged


def assumed(default: float, about: str) -> Any:
    """A field of ``Assumptions``, with what it is."""
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Assumptions:
    """What was not measured."""

    gpu_tflops: float = assumed(312, "dense bfloat16 peak of a GPU, TFLOP/s (A100)")
    share: float = assumed(0.3, "share of it that the convolutions of a step reach")
    gpu_tbytes: float = assumed(2.0, "memory bandwidth of a GPU, TB/s")
    memory_share: float = assumed(0.8, "share of it that is reached")
    launch_us: float = assumed(10, "from one operator's start to the next, us")
    gpus_per_machine: int = assumed(8, "GPUs in a machine")
    inside_gbytes: float = assumed(200, "gradients exchanged within a machine (NVLink), GB/s")
    network_gbit: float = assumed(100, "network of each machine, Gbit/s")
    photo_kbytes: float = assumed(32, "a photo, kB")
    disk_gbytes: float = assumed(0.3, "writing a checkpoint, GB/s")


@dataclass(frozen=True)
class Measured:
    """What one core took, in ms of its own time for a face unless said otherwise.

    Attributes:
        loader: photo to augmented crop of 256 px.
        judged: photo to plain crop, for validation.
        step: one face's share of a training step.
        convolutions: those of the step alone.
        bound: the same at the best rate of any product.
        judging: metrics with intervals.
        judging_bytes: memory that those take for a face, its landmarks included.
        opening: for a million faces, s: from an index and from a pack, to the first order of an epoch.
    """

    loader: float
    judged: float
    step: float
    convolutions: float
    bound: float
    judging: float
    judging_bytes: float
    opening: tuple[float, float]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Measured:
        """Take figures from files of ``python -m benchmarks --json``, the last that has them.

        Raises:
            InputError: a file is none of those, or a subject was not measured.
        """
        results: dict[str, Any] = {}
        for path in paths:
            results |= _results(path)
        missing = [name for name in ("loader", "step", "evaluation", "start_up") if name not in results]
        if missing:
            raise InputError(
                f"{', '.join(map(str, paths))}: {', '.join(missing)} not measured there: measure by "
                f"python -m benchmarks --only {' '.join(missing)} --json more.json, and give more.json besides"
            )

        def ms(subject: str, name: str) -> float:
            return float(results[subject]["figures"][name]["cpu_ms"]["median"])

        step = f"{PRESET}, bfloat16"
        if step not in results["step"]["figures"]:
            step = f"{PRESET}, float32"
        facts, million = results["evaluation"]["facts"], 1e6 / results["start_up"]["facts"]["faces"]
        opening = [
            ms("start_up", f"{kind}: open, choose, order") * million / 1000 for kind in ("index", "pack")
        ]
        return cls(
            loader=ms("loader", "loader, full"),
            judged=ms("loader", "loader, as judged"),
            step=ms("step", step),
            convolutions=ms("step", f"{step}: its convolutions alone"),
            bound=results["step"]["figures"][f"{step}: its convolutions alone"]["limit"]["ms"],
            judging=ms("evaluation", "metrics with intervals"),
            judging_bytes=2**20 * (facts["extra_memory_mib"] + facts["landmarks_mib"]) / facts["faces"],
            opening=(opening[0], opening[1]),
        )


def _results(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["results"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{path}: holds no figures: give a file of python -m benchmarks --json FILE"
        ) from None


@dataclass(frozen=True)
class Projection:
    """A training of FAN-2 at 256 px on GPUs.

    Args:
        measured: on one core.
        given: what is assumed.
    """

    measured: Measured
    given: Assumptions

    @cached_property
    def cost(self) -> StepCost:
        """Of a step as it is."""
        return step_cost(PRESET)

    @cached_property
    def weights(self) -> int:
        """Numbers that are learnt."""
        return count_weights(PRESET)

    @property
    def face_s(self) -> float:
        """Seconds of a GPU for a face in a large batch: for its operations or its traffic, the longer of them."""
        compute = self.cost.flops / (1e12 * self.given.gpu_tflops * self.given.share)
        memory = self.cost.traffic / (1e12 * self.given.gpu_tbytes * self.given.memory_share)
        return max(compute, memory)

    @property
    def launching_s(self) -> float:
        """Seconds that a step takes at least, however few faces it has."""
        return 1e-6 * self.given.launch_us * self.cost.operators

    @property
    def loader_cores(self) -> float:
        """Cores that keep up with a GPU."""
        return self.measured.loader / 1000 / self.face_s

    def compute_s(self, faces: float) -> float:
        """Seconds of a step with so many faces on each GPU, without the exchange of gradients."""
        return max(faces * self.face_s, self.launching_s)

    def exchange_s(self, gpus: int) -> float:
        """Seconds for a ring over all GPUs to add up float32 gradients."""
        inside = gpus <= self.given.gpus_per_machine
        rate = self.given.inside_gbytes if inside else self.given.network_gbit / 8
        return 2 * (gpus - 1) / gpus * 4 * self.weights / (1e9 * rate)

    def step_s(self, gpus: int, faces: float) -> float:
        """Seconds of a step; of the exchange counts what the backward pass does not hide."""
        compute = self.compute_s(faces)
        return compute + max(0.0, self.exchange_s(gpus) - BACKWARD * compute)

    def hidden_from(self, gpus: int) -> float:
        """Faces on each GPU from which the exchange is hidden."""
        needed = self.exchange_s(gpus) / BACKWARD
        return 0.0 if needed <= self.launching_s else needed / self.face_s

    def validation_s(self, faces: int, gpus: int) -> float:
        """Seconds to judge so many faces, with the cores that load for training, and to save."""
        network = faces * self.face_s / 3 / gpus
        loading = faces * self.measured.judged / 1000 / (self.loader_cores * gpus)
        return max(network, loading) + self.saved_bytes / (1e9 * self.given.disk_gbytes)

    @property
    def saved_bytes(self) -> float:
        """Written by a validation with a new best: the weights twice, and all that going on takes."""
        return 4 * self.weights * (2 + 4)
