"""Faces through a clip: found by the detector now and then, followed by their landmarks in between.

>>> import fanlight
>>> from fanlight.clips.track import track_clip
>>> predictor = fanlight.load("runs/mine/checkpoints/best.ckpt")  # doctest: +SKIP
>>> for frame, faces in track_clip(predictor, "clip.mp4"):  # doctest: +SKIP
...     print(frame.number, frame.time_s, [(tracked.id, tracked.face.landmarks) for tracked in faces])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.clips.association import (
    MIN_SIZE_PX,
    Box,
    bounds,
    centre,
    doubles,
    face_size,
    is_outside,
    is_same,
    is_step,
    overlap,
    pair,
    relation,
)
from fanlight.clips.smooth import OneEuro, Smoother
from fanlight.clips.video import Clip, Frame
from fanlight.detect import Detector, detect_faces, find_detector
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats, check_box, touches
from fanlight.predict import Face, Predictor

Square = tuple[float, float, float]

MIN_OVERLAP = 0.3
"""Intersection over union from which a detected box is a face that is followed already."""

VELOCITY_S = 0.2
"""Seconds over which a face's velocity is averaged, to tell where it is when something hides it."""

REACH = 1.0
"""Face sizes from where it is expected within which a hidden face may turn up again; each second adds as
many."""

_SQUARE = CropRule(scale=1.0)  # for a box that is the crop's square already


@dataclass(frozen=True)
class TrackOptions:
    """How faces are followed.

    The limits of the scores suit networks trained by this project's recipes. Of such a one, on 210 real
    faces: 99 % of the faces score 0.79 or more, and 0.62 or more in a box that is off by 30 % of its size;
    with half of the face covered, 95 % score 0.55 or more (median 0.72), and when it is covered as a whole,
    99 % score 0.56 or less; pure noise scores 0.59 (99 %: 0.72 or less). A network with other scores needs
    other limits.

    Attributes:
        detect_every: the detector looks at one in so many frames, at once when a face is lost, and then three
            times as often until it is found.
        max_faces: no more faces than this; any number when None. begin_score: mean score of the landmarks
        below which a detected box is no face, or none that can be seen. min_score: mean score of the
        landmarks below which a face that is followed is lost. keep_s: seconds for which a lost face keeps its
        id; the detector may find it again in that time. flip: see ``Predictor.predict``. smooth: settings of
        the smoothing; none when None.
    """

    detect_every: int = 10
    max_faces: int | None = None
    begin_score: float = 0.7
    min_score: float = 0.6
    keep_s: float = 2.0
    flip: bool = False
    smooth: OneEuro | None = None

    def __post_init__(self) -> None:
        problems = []
        if self.detect_every < 1:
            problems.append(f"detect_every = {self.detect_every}: must be 1 or more")
        if self.max_faces is not None and self.max_faces < 1:
            problems.append(f"max_faces = {self.max_faces}: must be 1 or more")
        for name, score in (("begin_score", self.begin_score), ("min_score", self.min_score)):
            if not 0 <= score < math.inf:
                problems.append(f"{name} = {score}: must be 0 or more")
        if not 0 <= self.keep_s < math.inf:
            problems.append(f"keep_s = {self.keep_s}: must be 0 or more")
        if problems:
            raise InputError.collect(problems, "faces cannot be followed so:")


@dataclass(frozen=True)
class Tracked:
    """A face in one frame of a clip.

    Attributes:
        id: the face's number, from 1, the same in each frame; never used again for another.
        face: its landmarks, smoothed where that was asked for; its box is their bounding box.
        measured: (L, 2) landmarks before smoothing, px.
        detected: whether the detector began, or began anew, to follow it in this frame.
    """

    id: int
    face: Face
    measured: Floats
    detected: bool = False


@dataclass
class _Track:
    """A face that is followed, or hidden for the moment."""

    id: int
    landmarks: Floats
    time_s: float
    rule: CropRule  # bounding box of the landmarks -> next crop
    smoother: Smoother | None = None
    velocity: Floats = field(default_factory=lambda: np.zeros(2))
    hidden: bool = False

    def square(self) -> Square:
        return self.rule.square(bounds(self.landmarks))

    def expected(self, time_s: float) -> Floats:
        """The centre, moved on as it moved before."""
        return centre(self.landmarks) + self.velocity * (time_s - self.time_s)

    def follow(self, landmarks: Floats, time_s: float) -> None:
        elapsed = time_s - self.time_s
        speed = (centre(landmarks) - centre(self.landmarks)) / elapsed
        self.velocity = self.velocity + elapsed / (elapsed + VELOCITY_S) * (speed - self.velocity)
        self.landmarks, self.time_s = landmarks, time_s


class Tracker:
    """Follows the faces of a clip, one frame after the other.

    In each frame, a face is looked for where it was in the frame before: its crop comes from its last
    landmarks' bounding box, by the network's own rule for such boxes (``usage.crops["landmarks"]``), or else
    by one that keeps the square of its first crop where it was relative to the landmarks. The detector looks
    now and then for new faces, and at once for those that were lost. A face is lost when
    its scores fall below ``min_score``, when it jumps, or when it shows the landmarks of another; it ends
    when it leaves the picture or is not found again in ``keep_s``.

    Args:
        predictor: network and detector.
        options: how faces are followed.
    """

    def __init__(self, predictor: Predictor, options: TrackOptions | None = None) -> None:
        self.predictor, self.options = predictor, options or TrackOptions()
        self._tracks: list[_Track] = []
        self._detector: tuple[str, Detector] | None = None
        self._ids, self._time_s = 0, -math.inf
        self._until_detection = 0

    def update(
        self, image: NDArray[np.uint8], time_s: float, boxes: ArrayLike | None = None
    ) -> list[Tracked]:
        """Find the faces of the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            time_s: seconds, more than at the call before.
            boxes: (N, 4) face boxes that are known for this frame, taken instead of asking the detector.

        Returns:
            The faces that are seen, by id.

        Raises:
            InputError: time does not move forward, a box is none, or the detector cannot be used.
        """
        if not time_s > self._time_s:
            raise InputError(
                f"a frame at {time_s} s comes after one at {self._time_s} s: give each frame a later time"
            )
        self._time_s = time_s
        self._tracks = [t for t in self._tracks if not t.hidden or time_s - t.time_s < self.options.keep_s]
        seen = self._follow(image)
        self._until_detection -= 1
        if boxes is not None or self._is_due():
            seen += self._detect(image, boxes, seen)
            lost = any(track.hidden for track in self._tracks)
            self._until_detection = max(1, self.options.detect_every // (3 if lost else 1))
        return sorted(seen, key=lambda tracked: tracked.id)

    def _is_due(self) -> bool:
        """Whether the detector is to look at this frame."""
        followed = sum(not track.hidden for track in self._tracks)
        if self.options.max_faces is not None and followed >= self.options.max_faces:
            return False
        return self._until_detection <= 0

    def _follow(self, image: NDArray[np.uint8]) -> list[Tracked]:
        """Look for the known faces where they were; frames may change their size."""
        self._tracks = [t for t in self._tracks if t.hidden or touches(_box(t.square()), image)]
        tracks = [track for track in self._tracks if not track.hidden]
        found = []
        for track, face in zip(
            tracks, self._predict(image, [track.square() for track in tracks]), strict=True
        ):
            track.hidden = not (
                _is_face(face, self.options.min_score) and is_step(track.landmarks, face.landmarks)
            )
            if is_outside(face.landmarks, image):
                self._tracks.remove(track)
            elif not track.hidden:
                found.append((track, face))
            else:
                self._until_detection = 0
        places = [face.landmarks for _, face in found]
        for number in doubles(places, [track.expected(self._time_s) for track, _ in found]):
            found[number][0].hidden, self._until_detection = True, 0
        seen = [(track, face) for track, face in found if not track.hidden]
        for track, face in seen:
            track.follow(face.landmarks, self._time_s)
        return [self._tracked(track, face) for track, face in seen]

    def _detect(
        self, image: NDArray[np.uint8], boxes: ArrayLike | None, seen: Sequence[Tracked]
    ) -> list[Tracked]:
        """Begin to follow the faces that the detector finds and that nobody follows: hidden ones and new ones."""
        fresh = self._fresh(image, boxes, seen)
        hidden = [track for track in self._tracks if track.hidden]
        expected = [track.expected(self._time_s) for track in hidden]
        reach = [REACH * (1 + self._time_s - track.time_s) for track in hidden]
        again = pair(
            [track.landmarks for track in hidden], expected, reach, [face.landmarks for face, _ in fresh]
        )
        known = {number: hidden[i] for i, number in again}
        room = math.inf if self.options.max_faces is None else self.options.max_faces - len(seen)
        begun: list[Tracked] = []
        for number in sorted(range(len(fresh)), key=lambda number: number not in known):
            if len(begun) >= room:
                break
            face, rule = fresh[number]
            track = known.get(number) or self._new(face)
            track.landmarks, track.time_s, track.rule, track.hidden = (
                face.landmarks,
                self._time_s,
                rule,
                False,
            )
            track.velocity = np.zeros(2)
            track.smoother = Smoother(self.options.smooth) if self.options.smooth else None
            begun.append(replace(self._tracked(track, face), detected=True))
        return begun

    def _fresh(
        self, image: NDArray[np.uint8], boxes: ArrayLike | None, seen: Sequence[Tracked]
    ) -> list[tuple[Face, CropRule]]:
        """The faces in the detector's boxes that are not followed already, and the rule for their next crops."""
        found, rule = self._boxes(image, boxes)
        known = [bounds(tracked.measured) for tracked in seen]
        squares = [
            rule.square(box) for box in found if all(overlap(box, other) < MIN_OVERLAP for other in known)
        ]
        places = [tracked.measured for tracked in seen]
        fresh = []
        own = self.predictor.usage.crops.get("landmarks")
        for square, face in zip(squares, self._predict(image, squares), strict=True):
            usable = _is_face(face, self.options.begin_score) and not is_outside(face.landmarks, image)
            if usable and not any(is_same(face.landmarks, place) for place in places):
                fresh.append((face, own or relation(square, face.landmarks)))
                places.append(face.landmarks)
        return fresh

    def _boxes(self, image: NDArray[np.uint8], boxes: ArrayLike | None) -> tuple[Sequence[Box], CropRule]:
        usage = self.predictor.usage
        if boxes is not None:
            return [check_box(box) for box in np.asarray(boxes, np.float64).reshape(-1, 4)], usage.crop
        name, detector = self._detector = self._detector or find_detector(self.predictor.detector)
        return detect_faces(detector, image), usage.rule_for(name)

    def _predict(self, image: NDArray[np.uint8], squares: Sequence[Square]) -> list[Face]:
        """The landmarks in crops, all in one batch."""
        if not squares:
            return []
        boxes = [_box(square) for square in squares]
        return self.predictor.predict(image, boxes, flip=self.options.flip, crop=_SQUARE)

    def _new(self, face: Face) -> _Track:
        self._ids += 1
        track = _Track(self._ids, face.landmarks, self._time_s, _SQUARE)
        self._tracks.append(track)
        return track

    def _tracked(self, track: _Track, face: Face) -> Tracked:
        measured = face.landmarks
        smooth = track.smoother(measured, self._time_s) if track.smoother else measured
        return Tracked(track.id, replace(face, landmarks=smooth, box=np.array(bounds(smooth))), measured)


def _box(square: Square) -> Box:
    x, y, side = square
    return x - side / 2, y - side / 2, x + side / 2, y + side / 2


def _is_face(face: Face, least: float) -> bool:
    return float(face.scores.mean()) >= least and face_size(face.landmarks) >= MIN_SIZE_PX


def track_clip(
    predictor: Predictor, clip: Clip | str | PathLike[str] | int, options: TrackOptions | None = None
) -> Iterator[tuple[Frame, list[Tracked]]]:
    """Follow the faces of a clip; each frame comes with its faces and is then forgotten.

    Args:
        predictor: network and detector.
        clip: an opened clip, a file, or a camera's number.
        options: how faces are followed.

    Yields:
        Each frame, and the faces seen in it, by id.

    Raises:
        InputError: the clip cannot be read, or the detector cannot be used.
    """
    if not isinstance(clip, Clip):
        with Clip(clip) as opened:
            yield from track_clip(predictor, opened, options)
        return
    tracker = Tracker(predictor, options)
    for frame in clip:
        yield frame, tracker.update(frame.image, frame.time_s)
