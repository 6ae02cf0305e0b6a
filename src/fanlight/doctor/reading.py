"""What the doctor keeps of each face: one pass over the photos, of which only a few numbers stay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fanlight.data.dataset import check_reach
from fanlight.data.faces import Faces
from fanlight.doctor.alike import LOOK, LOOK_CROP, LOOK_PX, look_of
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, crop_matrix, warp
from fanlight.markup import Markup

if TYPE_CHECKING:
    from fanlight.predict import Predictor

_BATCH = 32  # faces that are in memory at once, twice


@dataclass(frozen=True)
class Measured:
    """What is known of N faces, about 1.7 KB each for 68 landmarks, 2.8 with what a network finds.

    Attributes:
        landmarks: (N, L, 2) of the labels, in image px.
        boxes: (N, 4) face boxes: left, top, right, bottom, in image px.
        sizes: (N, 2) width and height of the photos.
        digests: (N,) uint64, of the photos' pixels.
        looks: (N, D) float32, what the faces look like; see ``alike.look_of``.
        predicted: (N, L, 2) what a network finds, in image px, averaged with what it finds in the mirrored
            crops; None without a network.
    """

    landmarks: Floats
    boxes: Floats
    sizes: NDArray[np.int32]
    digests: NDArray[np.uint64]
    looks: NDArray[np.float32]
    predicted: Floats | None = None

    def __len__(self) -> int:
        return len(self.landmarks)


class _Seen(NamedTuple):
    """One photo's share: its (width, height), its digest, the look of the face, and the network's crop."""

    size: tuple[int, int]
    digest: int
    look: NDArray[np.float32]
    crop: NDArray[np.uint8] | None


def measure(
    faces: Faces,
    markup: Markup,
    predictor: Predictor | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 2,
) -> Measured:
    """Read every photo and label once.

    Args:
        faces: of an index or a pack, none of which ``data.check`` refuses.
        markup: of their labels.
        predictor: a network of the same mark-up, to compare labels with.
        progress: called now and then with how many faces are done, and how many there are.
        workers: threads that read photos.

    Raises:
        InputError: the network finds other points, or a face cannot be read.
    """
    if predictor is not None:
        check_points(predictor, markup)
        check_reach(faces, predictor.usage.crop, 1.0)
    landmarks = faces.all_landmarks(markup).astype(np.float64)
    count = len(faces)
    sizes, digests = np.empty((count, 2), np.int32), np.empty(count, np.uint64)
    looks = np.empty((count, LOOK), np.float32)
    predicted = None if predictor is None else np.empty_like(landmarks)
    done = 0
    for batch in _batches(faces, predictor, workers):
        rows = slice(done, done + len(batch))
        sizes[rows] = [seen.size for seen in batch]
        digests[rows] = [seen.digest for seen in batch]
        looks[rows] = [seen.look for seen in batch]
        if predictor is not None and predicted is not None:
            matrices = [_matrix(box, predictor) for box in faces.face_boxes[rows]]
            crops = np.stack([seen.crop for seen in batch if seen.crop is not None])
            predicted[rows] = predictor.predict_crops(crops, np.stack(matrices), flip=True).landmarks
        done += len(batch)
        if progress:
            progress(done, count)
    return Measured(landmarks, faces.face_boxes, sizes, digests, looks, predicted)


def check_points(predictor: Predictor, markup: Markup) -> None:
    """Refuse a network that finds other points than the labels have.

    Raises:
        InputError: it does.
    """
    found = predictor.markup
    if found.points != markup.points:
        raise InputError(
            f"the labels have the {markup.count} points of {markup.name}, and the network finds the {found.count} "
            f"of {found.name}: give a network of the labels' own mark-up by --model, or none"
        )


def _batches(faces: Faces, predictor: Predictor | None, workers: int) -> Iterator[list[_Seen]]:
    """What is seen in the photos, in their order; the next batch is read while one is worked on."""
    positions = iter(range(len(faces)))
    waiting: list[list[Future[_Seen]]] = []
    pool = ThreadPoolExecutor(workers)
    try:
        while True:
            batch = [pool.submit(_see, faces, at, predictor) for at in islice(positions, _BATCH)]
            if batch:
                waiting.append(batch)
            if not waiting:
                return
            if len(waiting) > 1 or not batch:
                yield [future.result() for future in waiting.pop(0)]
    finally:
        pool.shutdown(cancel_futures=True)


def _see(faces: Faces, position: int, predictor: Predictor | None) -> _Seen:
    photo, _ = faces.photo(position)
    box = faces.face_boxes[position]
    digest = hashlib.blake2b(photo.tobytes(), digest_size=8, key=str(photo.shape).encode())
    look = look_of(warp(photo, crop_matrix(box, LOOK_CROP, LOOK_PX), LOOK_PX))
    crop = None
    if predictor is not None:
        crop = warp(photo, _matrix(box, predictor), predictor.usage.input_size)
    return _Seen((photo.shape[1], photo.shape[0]), int.from_bytes(digest.digest(), "little"), look, crop)


def _matrix(box: Floats, predictor: Predictor) -> Floats:
    rule: CropRule = predictor.usage.crop
    return crop_matrix(box, rule, predictor.usage.input_size)
