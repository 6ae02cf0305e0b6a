"""Mistakes planted in a copy of a data set, so that it is known what there is to find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.index import Index, Sample
from fanlight.data.pts import read_pts, write_pts
from fanlight.image import read_image, write_image
from fanlight.markup import Markup

Points = NDArray[np.float64]
EACH = 20


@dataclass(frozen=True)
class Planted:
    """A mistake: its kind, and the lines of the index that it is in."""

    kind: str
    lines: tuple[int, ...]


class Planter:
    """Writes a copy of an index with mistakes in it, each of a kind in faces of its own.

    Args:
        index: the sound data set.
        markup: of its labels.
        folder: where the copy goes; photos and labels that are as they were are named where they lie.
        seed: of what is drawn.
    """

    def __init__(self, index: Index, markup: Markup, folder: Path, seed: int) -> None:
        self.markup, self.folder = markup, folder
        self.samples = list(index)
        self._sound = tuple(self.samples)
        self.planted: list[Planted] = []
        self._rng = np.random.default_rng(seed)
        self._order = iter(self._rng.permutation(len(self.samples)).tolist())
        folder.mkdir(parents=True)

    def plant(self, each: int = EACH) -> Index:
        """Plant so many mistakes of each kind, and write the index."""
        for number in range(each):
            self._copy("duplicate", number, self._same)
            self._copy("near-duplicate", number, self._altered)
            for kind, change in self._labels().items():
                self._relabel(kind, number, change)
            self._move_box(number)
        Index.write(self.folder / "index.tsv", self.samples)
        return Index.read(self.folder / "index.tsv")

    def _labels(self) -> dict[str, Callable[[Points, Sample], Points]]:
        return {
            "swapped": lambda points, sample: points[list(self.markup.mirror)],
            "shifted": self._shifted,
            "outside": self._outside,
            "degenerate": self._collapsed,
            "shape": self._displaced,
            "other face": self._of_another,
        }

    # ------------------------------------------------------------------------ photos

    def _copy(self, kind: str, number: int, make: Callable[[Sample, Path], Sample]) -> None:
        """Add a copy of a face under another name; every second one in another split."""
        at = next(self._order)
        sample = make(self.samples[at], self.folder / f"{kind[0]}{number:02d}x{at}q")
        if number % 2:
            sample = replace(sample, split="val" if sample.split == "train" else "train")
        self.samples.append(sample)
        self.planted.append(Planted(kind, (at + 2, len(self.samples) + 1)))

    def _same(self, sample: Sample, name: Path) -> Sample:
        photo, label = name.with_suffix(sample.image_path.suffix), name.with_suffix(".pts")
        photo.write_bytes(sample.image_path.read_bytes())
        label.write_bytes(sample.landmarks_path.read_bytes())
        return replace(sample, image_path=photo, landmarks_path=label)

    def _altered(self, sample: Sample, name: Path) -> Sample:
        """Cut at the edges by up to 5 %, scaled by 0.6 to 1.4, compressed anew, the box off by up to 2 %."""
        image, rng = read_image(sample.image_path), self._rng
        height, width = image.shape[:2]
        left, top, right, bottom = (rng.uniform(0, 0.05, 4) * (width, height, width, height)).astype(int)
        factor = rng.uniform(0.6, 1.4)
        cut = image[top : height - bottom, left : width - right]
        size = (round(cut.shape[1] * factor), round(cut.shape[0] * factor))
        scale = np.array(size) / cut.shape[1::-1]
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
        write_image(
            name.with_suffix(".jpg"), cv2.resize(cut, size, interpolation=method), int(rng.integers(60, 90))
        )
        write_pts(name.with_suffix(".pts"), (read_pts(sample.landmarks_path) - (left, top)) * scale)
        box = (np.array(sample.face_box).reshape(2, 2) - (left, top)) * scale
        box += rng.uniform(-0.02, 0.02, (2, 2)) * (box[1] - box[0])
        x0, y0, x1, y1 = box.ravel().tolist()
        return replace(
            sample,
            image_path=name.with_suffix(".jpg"),
            landmarks_path=name.with_suffix(".pts"),
            face_box=(x0, y0, x1, y1),
        )

    # ------------------------------------------------------------------------ labels and boxes

    def _relabel(self, kind: str, number: int, change: Callable[[Points, Sample], Points]) -> None:
        at = next(self._order)
        sample = self.samples[at]
        path = self.folder / f"{kind.replace(' ', '')}{number:02d}.pts"
        write_pts(path, change(read_pts(sample.landmarks_path), sample))
        self.samples[at] = replace(sample, landmarks_path=path)
        self.planted.append(Planted(kind, (at + 2,)))

    def _shifted(self, points: Points, sample: Sample) -> Points:
        """By 3 to 6 % of the face in any direction."""
        return points + self._step(points, 0.03, 0.06)

    def _outside(self, points: Points, sample: Sample) -> Points:
        """One point beyond the nearest edge of the photo, by 5 to 30 % of the face."""
        height, width = read_image(sample.image_path).shape[:2]
        moved, point = points.copy(), int(self._rng.integers(len(points)))
        beyond = self._rng.uniform(0.05, 0.3) * _size(points)
        x, y = points[point]
        places = {
            x: (-beyond, y),
            width - x: (width + beyond, y),
            y: (x, -beyond),
            height - y: (x, height + beyond),
        }
        moved[point] = places[min(places)]
        return moved

    def _collapsed(self, points: Points, sample: Sample) -> Points:
        """Small as a dot, flat as a line, or most points on one spot, in turn."""
        middle, moved = points.mean(axis=0), points.copy()
        way = int(self._rng.integers(3))
        if way == 0:
            return middle + (points - middle) * self._rng.uniform(0.05, 0.12)
        if way == 1:
            axis = int(self._rng.integers(2))
            moved[:, axis] = middle[axis] + (points[:, axis] - middle[axis]) * self._rng.uniform(0.02, 0.08)
            return moved
        moved[self._rng.permutation(len(points))[: round(0.6 * len(points))]] = middle
        return moved

    def _displaced(self, points: Points, sample: Sample) -> Points:
        """A part of the face moved by 6 to 12 % of it."""
        parts = list(self.markup.parts.values())
        members = list(parts[int(self._rng.integers(len(parts)))])
        moved = points.copy()
        moved[members] += self._step(points, 0.06, 0.12)
        return moved

    def _of_another(self, points: Points, sample: Sample) -> Points:
        """The label of another face of the same partition."""
        same = [other for other in self._sound if other.partition == sample.partition and other != sample]
        return read_pts(same[int(self._rng.integers(len(same)))].landmarks_path)

    def _move_box(self, number: int) -> None:
        """The face box beside the face by 50 to 90 % of its size, or half or twice as large, in turn."""
        at = next(self._order)
        sample, rng = self.samples[at], self._rng
        box = np.array(sample.face_box).reshape(2, 2)
        side = float(np.sqrt(np.prod(box[1] - box[0])))
        if number % 2:
            angle = rng.uniform(0, 2 * np.pi)
            box = box + rng.uniform(0.5, 0.9) * side * np.array([np.cos(angle), np.sin(angle)])
        else:
            factor = rng.choice([rng.uniform(0.4, 0.5), rng.uniform(2.0, 2.5)])
            box = box.mean(axis=0) + (box - box.mean(axis=0)) * factor
        x0, y0, x1, y1 = box.ravel().tolist()
        self.samples[at] = replace(sample, face_box=(x0, y0, x1, y1))
        self.planted.append(Planted("box", (at + 2,)))

    def _step(self, points: Points, least: float, most: float) -> Points:
        angle, length = self._rng.uniform(0, 2 * np.pi), self._rng.uniform(least, most) * _size(points)
        return np.array([np.cos(angle), np.sin(angle)]) * length


def _size(points: Points) -> float:
    return float(np.sqrt(np.prod(np.ptp(points, axis=0))))
