"""Judging a checkpoint: what a partition's evaluation holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Group = Literal["best", "median", "worst"]


@dataclass(frozen=True)
class FaceView:
    """One judged face to look at.

    Attributes:
        group: why it is shown.
        caption: what it is, usually its file name.
        image: (S, S, 3) uint8 RGB, the crop that the network saw.
        predicted: (L, 2), in crop px.
        true: (L, 2), in crop px.
        error: mean landmark error over the size of the true landmarks' box, a fraction.
    """

    group: Group
    caption: str
    image: NDArray[np.uint8]
    predicted: NDArray[np.floating[Any]]
    true: NDArray[np.floating[Any]]
    error: float


@dataclass(frozen=True)
class PartitionResult:
    """One partition, judged.

    Attributes:
        name: such as ``lfpw/val``.
        summary: from ``metric.summarise``.
        summary_other_flip: the same with test-time mirroring the other way, or None where that was not run.
        errors_box: (N,) error of each face, box-normalised.
        faces: some to look at.
        flip: whether ``summary`` was made with test-time mirroring.
    """

    name: str
    summary: dict[str, Any]
    summary_other_flip: dict[str, Any] | None
    errors_box: NDArray[np.floating[Any]]
    faces: list[FaceView] = field(default_factory=list)
    flip: bool = True
