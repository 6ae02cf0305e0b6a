"""Judging a checkpoint on partitions of an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from fanlight.data.dataset import Batch, EpochSampler, FaceDataset, make_loader
from fanlight.data.index import Index
from fanlight.geometry import Floats, transform
from fanlight.metric import face_errors, normalise, point_errors, summarise
from fanlight.predict import Predictor

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


@dataclass(frozen=True)
class Predictions:
    """Landmarks of the faces of a loader, in its order.

    Attributes:
        positions: (N,) int64, each face's position in the loader's index.
        plain: (N, L, 2), in image px, from the crops as they are.
        mirrored: (N, L, 2), in image px, from the mirrored crops; None where those were not run.
    """

    positions: NDArray[np.int64]
    plain: Floats
    mirrored: Floats | None

    def landmarks(self, flip: bool) -> Floats:
        """(N, L, 2) in image px, averaged with those of the mirrored crops if ``flip``."""
        return (self.plain + self.mirrored) / 2 if flip and self.mirrored is not None else self.plain


def predict_loader(
    predictor: Predictor,
    loader: DataLoader[Batch],
    flip: bool,
    progress: Callable[[int], None] = lambda faces: None,
) -> Predictions:
    """Find the landmarks of every face that a loader gives.

    Args:
        predictor: the network.
        loader: crops without augmentation, made by the predictor's crop rule.
        flip: run the mirrored crops as well.
        progress: called with the number of faces after each batch.
    """
    positions, plain, mirrored = [], [], []
    for batch in loader:
        positions.append(batch["index"].numpy())
        plain.append(predictor.predict_crops(batch["image"], batch["matrix"]).landmarks)
        if flip:
            mirrored.append(predictor.predict_mirrored(batch["image"], batch["matrix"]).landmarks)
        progress(len(batch["index"]))
    if not positions:  # a process whose share of the faces is empty
        nobody = np.empty((0, predictor.markup.count, 2))
        return Predictions(np.empty(0, np.int64), nobody, nobody if flip else None)
    return Predictions(
        np.concatenate(positions), np.concatenate(plain), np.concatenate(mirrored) if flip else None
    )


def evaluate(
    predictor: Predictor,
    index: Index,
    partitions: Sequence[str],
    flip: bool = True,
    workers: int = 0,
    views: int = 0,
    progress: Callable[[int], None] = lambda faces: None,
) -> list[PartitionResult]:
    """Judge a network on partitions.

    Args:
        predictor: the network.
        index: holds the partitions; their labels follow the predictor's mark-up.
        partitions: each ``subset/split``.
        flip: average each prediction with that of the mirrored crop; the result without is given as well.
        workers: loader processes.
        views: how many of a partition's worst faces to keep for looking at, and half as many of its best and of
            its median ones.
        progress: called with the number of faces after each batch.

    Returns:
        One result for each partition, in the order of the index; where there are several, a last one called
        ``all`` for the faces of all together.

    Raises:
        InputError: a partition is unknown, or its images or labels cannot be used.
    """
    faces = index.select(partitions)
    dataset = FaceDataset(faces, predictor.markup, predictor.usage.crop, predictor.usage.input_size)
    sampler = EpochSampler(len(dataset), predictor.batch_size, shuffle=False, drop_last=False)
    predictions = predict_loader(predictor, make_loader(dataset, sampler, workers), flip, progress)
    partition_of = np.array([faces.partition_of(position) for position in range(len(faces))])
    groups = {name: np.flatnonzero(partition_of == name) for name in faces.partitions()}
    results = [_result(name, dataset, predictions, members, flip, views) for name, members in groups.items()]
    if len(groups) > 1:
        results.append(_result("all", dataset, predictions, np.arange(len(faces)), flip, 0))
    return results


def _result(
    name: str,
    dataset: FaceDataset,
    predictions: Predictions,
    members: NDArray[np.int64],
    flip: bool,
    views: int,
) -> PartitionResult:
    """The result for some faces of a data set, whose predictions stand in its order."""
    truth = dataset.landmarks_image[members]
    landmarks = predictions.landmarks(flip)[members]
    lengths = normalise(truth, dataset.markup, "box")
    errors = face_errors(point_errors(landmarks, truth, lengths))
    plain = predictions.landmarks(False)[members]
    return PartitionResult(
        name=name,
        summary=summarise(landmarks, truth, dataset.markup),
        summary_other_flip=summarise(plain, truth, dataset.markup) if flip else None,
        errors_box=errors,
        faces=_views(dataset, members, landmarks, errors, views),
        flip=flip,
    )


def _views(
    dataset: FaceDataset, members: NDArray[np.int64], landmarks_image: Floats, errors: Floats, worst: int
) -> list[FaceView]:
    """The best, the median and the worst of some faces of a data set."""
    order = np.argsort(errors, kind="stable")
    few = min(worst // 2, len(order))
    middle = max((len(order) - few) // 2, 0)
    groups: list[tuple[Group, NDArray[np.int64]]] = [
        ("best", order[:few]),
        ("median", order[middle : middle + few]),
        ("worst", order[::-1][:worst]),
    ]
    views = []
    for group, chosen in groups:
        for rank in chosen.tolist():
            position = int(members[rank])
            item = dataset[(0, position)]
            views.append(
                FaceView(
                    group=group,
                    caption=dataset.index[position].image_path.name,
                    image=item["image"].numpy(),
                    predicted=transform(item["matrix"].double().numpy(), landmarks_image[rank]),
                    true=item["landmarks"].double().numpy(),
                    error=float(errors[rank]),
                )
            )
    return views
