"""Fitting the crop rule of a detector to labelled photos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from fanlight.crop_fit import CropErrors, crop_errors, fit_crop_rule, squares_of
from fanlight.data.faces import Faces
from fanlight.detect import Detector, detect_faces, find_detector
from fanlight.detectors.boxes import overlaps
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, check_box

LANDMARKS = "landmarks"
"""Not a detector: the box around a face's own landmarks, by which faces are followed through a video."""

SAME_FACE = 0.3  # intersection over union of a detector's box with the index's

Progress = Callable[[], object]
AnyFaces = TypeVar("AnyFaces", bound=Faces)


@dataclass(frozen=True)
class FacePairs:
    """The boxes of a detector, and the crops that the same faces have in training.

    Attributes:
        boxes: (N, 4) left, top, right, bottom in image px.
        squares: (N, 3) x, y and side of the crops.
        missed: faces of the index that the detector did not find; they are not among the N.
    """

    boxes: Floats
    squares: Floats
    missed: int

    def fit(self) -> CropRule:
        """The rule by which the boxes come closest to the crops; see ``fit_crop_rule``."""
        return fit_crop_rule(self.boxes, self.squares)

    def errors(self, rule: CropRule) -> CropErrors:
        """How far the crops that a rule makes are from those of the training."""
        return crop_errors(self.boxes, self.squares, rule)


def pair_faces(
    index: Faces, detector: Detector | str, trained: CropRule, progress: Progress | None = None
) -> FacePairs:
    """Find the faces of an index with a detector.

    Args:
        index: the faces; their boxes are like those that the network was trained with.
        detector: as for ``find_detector``, or ``"landmarks"``.
        trained: the rule of the network's training.
        progress: called after each face.

    Raises:
        InputError: a photo or a label cannot be used, the detector is not there, or it finds none of the faces.
    """
    detect = None if detector == LANDMARKS else find_detector(detector)[1]
    boxes: list[Floats] = []
    known: list[Floats] = []
    for position, face_box in enumerate(index.face_boxes):
        if detect is None:
            landmarks = index.landmarks(position)
            found = [check_box([*landmarks.min(0), *landmarks.max(0)])]
        else:
            found = detect_faces(detect, index.photo(position)[0])
        shares = overlaps(face_box, np.array(found))
        if detect is None or shares.max(initial=0) > SAME_FACE:
            boxes.append(np.array(found[int(shares.argmax())]))
            known.append(face_box)
        if progress is not None:
            progress()
    if not boxes:
        raise InputError(
            f"{index.where}: the detector found none of the {len(index)} faces, so its crop rule cannot be "
            "fitted; look at its boxes: are they left, top, right, bottom in px of the photo?"
        )
    return FacePairs(np.stack(boxes), squares_of(known, trained), len(index) - len(boxes))


def spread(index: AnyFaces, partition: str, most: int) -> AnyFaces:
    """At most so many faces of a partition, evenly spread over it."""
    faces = index.select([partition])
    return faces.take(np.unique(np.linspace(0, len(faces) - 1, min(most, len(faces))).astype(int)))


def together(pairs: Sequence[FacePairs]) -> FacePairs:
    """The faces of several partitions as one."""
    boxes, squares = (np.concatenate([getattr(one, name) for one in pairs]) for name in ("boxes", "squares"))
    return FacePairs(boxes, squares, sum(one.missed for one in pairs))
