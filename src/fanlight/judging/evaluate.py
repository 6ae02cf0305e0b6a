"""Judging a network on partitions of an index: predict once, then judge what was predicted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.data.dataset import Batch, EpochSampler, FaceDataset, make_loader
from fanlight.data.faces import Faces
from fanlight.geometry import Floats, transform
from fanlight.judging.faces import FaceView, Group, JudgedFaces, PartitionResult, Wanted
from fanlight.judging.predictions import Found, Origin, Predictions
from fanlight.metric import face_errors, normalise, point_errors, summarise
from fanlight.predict import Predictor


def predict_loader(
    predictor: Predictor,
    loader: Iterable[Batch],
    flip: bool,
    progress: Callable[[int], None] = lambda faces: None,
) -> Found:
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
        plain.append(predictor.predict_crops(batch["image"], batch["matrix"]))
        if flip:
            mirrored.append(predictor.predict_mirrored(batch["image"], batch["matrix"]).landmarks)
        progress(len(batch["index"]))
    if not positions:  # a process whose share of the faces is empty
        points = predictor.markup.count
        nobody = np.empty((0, points, 2))
        spread = np.empty((0, points, 2, 2))
        return Found(np.empty(0, np.int64), nobody, nobody if flip else None, np.empty((0, points)), spread)
    landmarks, scores, spread = (np.concatenate(parts) for parts in zip(*plain, strict=True))
    return Found(
        np.concatenate(positions), landmarks, np.concatenate(mirrored) if flip else None, scores, spread
    )


def predict_partitions(
    predictor: Predictor,
    index: Faces,
    partitions: Sequence[str],
    flip: bool = True,
    workers: int = 0,
    progress: Callable[[int], None] = lambda faces: None,
    origin: Origin | None = None,
) -> Predictions:
    """Find the landmarks of every face of some partitions; see ``evaluate``.

    Args:
        predictor: the network.
        index: holds the partitions.
        partitions: each ``subset/split``.
        flip: run the mirrored crops as well.
        workers: loader processes.
        progress: called with the number of faces after each batch.
        origin: what to note about the network; what the predictor knows of itself when None.

    Raises:
        InputError: a partition is unknown, or its images or labels cannot be used.
    """
    faces = index.select(partitions)
    dataset = _dataset(predictor, faces)
    found = predict_dataset(predictor, dataset, flip, workers, progress)
    lines = faces.line_numbers.astype(np.int64)
    return Predictions(origin or origin_of(predictor), index.sha256, replace(found, positions=lines))


def predict_dataset(
    predictor: Predictor,
    dataset: FaceDataset,
    flip: bool,
    workers: int,
    progress: Callable[[int], None] = lambda faces: None,
) -> Found:
    """Find the landmarks of every face of a data set, in its order; see ``predict_loader``."""
    sampler = EpochSampler(len(dataset), predictor.batch_size, shuffle=False, drop_last=False)
    return predict_loader(predictor, make_loader(dataset, sampler, workers), flip, progress)


def origin_of(predictor: Predictor) -> Origin:
    """What a predictor knows of itself."""
    usage = predictor.usage
    return Origin(usage.name, predictor.markup, usage.crop, usage.input_size)


def _dataset(predictor: Predictor, faces: Faces) -> FaceDataset:
    dataset = FaceDataset(faces, predictor.markup, predictor.usage.crop, predictor.usage.input_size)
    dataset.check_labels()
    return dataset


def evaluate(
    predictor: Predictor,
    index: Faces,
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
    dataset = _dataset(predictor, index.select(partitions))
    found = predict_dataset(predictor, dataset, flip, workers, progress)
    return _judge(found, dataset, Wanted(flip=flip, views=views))


def judge(
    predictions: Predictions, index: Faces, partitions: Sequence[str], wanted: Wanted | None = None
) -> list[PartitionResult]:
    """Judge predictions, wherever they come from, on partitions of the index that they were made for.

    Returns:
        As ``evaluate``.

    Raises:
        InputError: as ``evaluate``, and as ``Predictions.of``.
    """
    wanted = wanted or Wanted()
    faces, origin = index.select(partitions), predictions.origin
    found = predictions.of(faces, wanted.flip)
    return _judge(found, FaceDataset(faces, origin.markup, origin.crop, origin.input_size), wanted)


def _judge(found: Found, dataset: FaceDataset, wanted: Wanted) -> list[PartitionResult]:
    """Judge what was found in the faces of a data set, in its order."""
    faces = dataset.faces
    groups = {name: faces.members(name) for name in faces.partitions()}
    results = [_result(name, dataset, found, members, wanted) for name, members in groups.items()]
    if len(groups) > 1:
        alone = Wanted(wanted.keys, wanted.flip)
        results.append(_result("all", dataset, found, np.arange(len(faces)), alone))
    return results


def _result(
    name: str, dataset: FaceDataset, found: Found, members: NDArray[np.int64], wanted: Wanted
) -> PartitionResult:
    """The result for some faces of a data set, whose predictions stand in its order."""
    judged = judged_faces(dataset, found, members, wanted.flip)
    lengths = normalise(judged.true, dataset.markup, "box")
    errors = face_errors(point_errors(judged.predicted, judged.true, lengths))

    def summary(predicted: Floats) -> dict[str, Any]:
        return summarise(predicted, judged.true, dataset.markup, wanted.keys, judged.weights)

    return PartitionResult(
        name=name,
        summary=summary(judged.predicted),
        summary_other_flip=summary(found.plain[members]) if wanted.flip else None,
        errors_box=errors,
        faces=_views(dataset, members, judged, errors, wanted),
        flip=wanted.flip,
        judged=judged,
    )


def judged_faces(dataset: FaceDataset, found: Found, members: NDArray[np.int64], flip: bool) -> JudgedFaces:
    """Some faces of a data set with what was found in them, both in the data set's order."""
    faces, positions = dataset.faces, members.tolist()
    return JudgedFaces(
        predicted=found.landmarks(flip)[members],
        true=dataset.landmarks_image[members].astype(np.float64),
        scores=found.scores[members],
        covariances=found.covariances[members],
        weights=faces.weights[members],
        boxes=faces.face_boxes[members],
        subsets=[faces.partition_of(position).rpartition("/")[0] for position in positions],
        captions=[faces.name(position) for position in positions],
    )


def _views(
    dataset: FaceDataset, members: NDArray[np.int64], judged: JudgedFaces, errors: Floats, wanted: Wanted
) -> list[FaceView]:
    """The best, the median and the worst of some faces of a data set, and those to leaf through."""
    order = np.argsort(errors, kind="stable")
    few = min(wanted.views // 2, len(order))
    middle = max((len(order) - few) // 2, 0)
    groups: list[tuple[Group, NDArray[np.int64]]] = [
        ("best", order[:few]),
        ("median", order[middle : middle + few]),
        ("worst", order[::-1][: wanted.views]),
        ("leaf", order[::-1][: wanted.leaf]),
    ]
    views = []
    for group, chosen in groups:
        for rank in chosen.tolist():
            item = dataset[(0, int(members[rank]))]
            views.append(
                FaceView(
                    group=group,
                    caption=judged.captions[rank],
                    image=item["image"].numpy(),
                    predicted=transform(item["matrix"].double().numpy(), judged.predicted[rank]),
                    true=item["landmarks"].double().numpy(),
                    error=float(errors[rank]),
                    score=float(judged.scores[rank].mean()),
                )
            )
    return views
