"""How much a network minds its face boxes: all boxes moved or scaled, and judged again."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fanlight.data.dataset import FaceDataset
from fanlight.data.faces import Faces
from fanlight.geometry import Floats
from fanlight.judging.evaluate import predict_dataset
from fanlight.metric import summarise, usual_keys
from fanlight.predict import Predictor

SHIFTS = (-0.2, -0.1, 0.1, 0.2)
SCALES = (0.8, 0.9, 1.1, 1.25)
SWEEP_KEYS = ("nme_box", "auc_box_0.07", "fr_box_0.07")


@dataclass(frozen=True)
class BoxChange:
    """What is done to every box.

    Attributes:
        right: rightwards, in box widths.
        down: downwards, in box heights.
        scale: of width and height, about the centre.
    """

    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0

    def apply(self, boxes: Floats) -> Floats:
        """(N, 4) boxes, left, top, right, bottom -> the changed ones."""
        low, high = boxes[:, :2], boxes[:, 2:]
        size = high - low
        centre = (low + high) / 2 + size * (self.right, self.down)
        return np.concatenate([centre - size * self.scale / 2, centre + size * self.scale / 2], axis=1)

    @property
    def title(self) -> str:
        """Such as ``10 % left``; ``as given`` for no change.

        >>> BoxChange(down=-0.2).title, BoxChange(scale=1.25).title, BoxChange().title
        ('20 % up', '25 % larger', 'as given')
        """
        words = [
            (self.right, ("right", "left")),
            (self.down, ("down", "up")),
            (self.scale - 1, ("larger", "smaller")),
        ]
        parts = [f"{abs(v):.0%}".replace("%", " %") + f" {w[v < 0]}" for v, w in words if abs(v) > 1e-9]
        return ", ".join(parts) or "as given"


CHANGES = (
    BoxChange(),
    *(BoxChange(right=shift) for shift in SHIFTS),
    *(BoxChange(down=shift) for shift in SHIFTS),
    *(BoxChange(scale=scale) for scale in SCALES),
)

Swept = dict[str, list[tuple[BoxChange, dict[str, Any]]]]


def sweep_boxes(
    predictor: Predictor,
    index: Faces,
    partitions: Sequence[str],
    workers: int = 0,
    progress: Callable[[int], None] = lambda faces: None,
    changes: Sequence[BoxChange] = CHANGES,
) -> Swept:
    """Judge a network on boxes that are off, without test-time mirroring.

    Args:
        predictor: the network.
        index: holds the partitions.
        partitions: each ``subset/split``.
        workers: loader processes.
        progress: called with the number of faces after each batch; all faces pass once for each change.
        changes: of the boxes.

    Returns:
        For each partition, and for ``all`` where there are several: each change with its ``metric.summarise``,
        without parts. All changes draw the same resamples of the faces.

    Raises:
        InputError: as ``evaluate``.
    """
    faces = index.select(partitions)
    dataset = FaceDataset(faces, predictor.markup, predictor.usage.crop, predictor.usage.input_size)
    dataset.check_labels()
    groups = {name: faces.members(name) for name in faces.partitions()}
    if len(groups) > 1:
        groups["all"] = np.arange(len(faces))
    whole, keys = replace(predictor.markup, parts={}), usual_keys(predictor.markup, SWEEP_KEYS)
    swept: Swept = {name: [] for name in groups}
    for change in changes:
        found = predict_dataset(predictor, _with_boxes(dataset, change), False, workers, progress).plain
        for name, members in groups.items():
            summary = summarise(found[members], dataset.landmarks_image[members], whole, keys)
            summary.pop("parts")
            swept[name].append((change, summary))
    return swept


def _with_boxes(dataset: FaceDataset, change: BoxChange) -> FaceDataset:
    """The same faces with other boxes; labels are shared."""
    changed = copy.copy(dataset)
    changed.faces = copy.copy(dataset.faces)
    changed.faces.face_boxes = change.apply(dataset.faces.face_boxes)
    return changed
