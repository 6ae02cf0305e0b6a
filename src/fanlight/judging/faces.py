"""What a judgement holds: figures, the faces behind them, and some faces to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.geometry import Floats
from fanlight.metric import BOOTSTRAP, BOOTSTRAP_SEED
from fanlight.provenance import made_by

Group = Literal["best", "median", "worst", "leaf"]


@dataclass(frozen=True)
class FaceView:
    """One judged face to look at.

    Attributes:
        group: why it is shown; ``leaf`` is for leafing through the faces from the worst on.
        caption: what it is, usually its file name.
        image: (S, S, 3) uint8 RGB, the crop that the network saw.
        predicted: (L, 2), in crop px.
        true: (L, 2), in crop px.
        error: mean landmark error over the size of the true landmarks' box, a fraction.
        score: mean score of its landmarks.
    """

    group: Group
    caption: str
    image: NDArray[np.uint8]
    predicted: NDArray[np.floating[Any]]
    true: NDArray[np.floating[Any]]
    error: float
    score: float = 0.0


@dataclass(frozen=True)
class JudgedFaces:
    """Predictions and truth of N faces, in image px.

    Attributes:
        predicted: (N, L, 2).
        true: (N, L, 2).
        scores: (N, L), heights of the heatmaps' peaks, from the crops as they are.
        covariances: (N, L, 2, 2), px squared, of the same.
        weights: (N,), how much each counts in weighted metrics.
        boxes: (N, 4), the face boxes that the crops were made from.
        subsets: the subset of each, such as ``lfpw``.
        captions: the file name of each photo.
    """

    predicted: Floats
    true: Floats
    scores: Floats
    covariances: Floats
    weights: Floats
    boxes: Floats
    subsets: list[str]
    captions: list[str]

    def __len__(self) -> int:
        return len(self.true)


@dataclass(frozen=True)
class PartitionResult:
    """One partition, judged.

    Attributes:
        name: such as ``lfpw/val``.
        summary: from ``metric.summarise``.
        summary_other_flip: the same with test-time mirroring the other way, or None where that was not run.
        errors_box: (N,) error of each face, box-normalised.
        judged: every face, for closer looks.
        faces: some to look at.
        flip: whether ``summary`` was made with test-time mirroring.
    """

    name: str
    summary: dict[str, Any]
    summary_other_flip: dict[str, Any] | None
    errors_box: Floats
    judged: JudgedFaces
    faces: list[FaceView] = field(default_factory=list)
    flip: bool = True


@dataclass(frozen=True)
class Wanted:
    """What a judgement should hold.

    Attributes:
        keys: metrics; None for the usual ones.
        flip: judge landmarks averaged with those of the mirrored crops; the result without is given as well.
        views: how many of a partition's worst faces to show, and half as many of its best and median ones.
        leaf: how many faces to leaf through, from the worst on.
    """

    keys: Sequence[str] | None = None
    flip: bool = True
    views: int = 0
    leaf: int = 0


def provenance_of(faces: Faces, networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where figures come from: how they were made, from which faces, and by which networks.

    Args:
        faces: those that were judged.
        networks: what is known of each.
    """
    return {
        **made_by(),
        "index": faces.where,
        "index_sha256": faces.sha256,
        "bootstrap": {"resamples": BOOTSTRAP, "seed": BOOTSTRAP_SEED},
        "networks": list(networks),
    }
