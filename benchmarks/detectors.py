"""How well and how fast the packaged face detectors find faces, on photos and on harder scenes made of them.

    python -m benchmarks.detectors INDEX.tsv --partition lfpw/val --partition ytf/val
    python -m benchmarks.detectors INDEX.tsv --partition lfpw/val --json figures.json --draw FOLDER

Scenes: "photos" as they are; "dim", with a fifth of their contrast; "turned" by 30 and by 60 degrees; "large" and
"small": 1600 x 1200 px full of photos, with faces of 64 to 160 and of 20 to 40 px; "none": strips of the photos
beside, above or below the face.

A face is found where a box overlaps that of the index by 0.3 (intersection over union) or, in turned photos, lies
over its centre with half to twice its size. Any other box is extra; many are of faces that the index does not
know, so those that no other detector confirms are counted in brackets. "centre" and "side" say how far crops by a
fitted rule are from those of the index, in % of their side: fitted to every second photo, measured on the others.
Times are the processor's own, medians for one picture on one core; the JSON has those by the clock, too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.command import add_json, report
from benchmarks.environment import in_words
from fanlight.crop_fit import crop_errors, fit_crop_rule, squares_of
from fanlight.data.index import Index
from fanlight.detect import detect_faces, find_detector, installed_detectors
from fanlight.detector_fit import spread
from fanlight.detectors.boxes import overlaps
from fanlight.geometry import CropRule
from fanlight.image import read_image, write_image

CANVAS = (1200, 1600)
PHOTO_PX = {"large": (64, 160), "small": (20, 40)}
FOUND = 0.3


@dataclass(frozen=True)
class Scene:
    """A picture, and the boxes (N, 4) of the faces that are known in it."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float64]
    turned: bool = False


@dataclass(frozen=True)
class Answer:
    """A detector's boxes (N, 4), which of them belongs to each known face, and the time that they took."""

    boxes: NDArray[np.float64]
    pairs: list[int | None]
    ms: float
    cpu_ms: float

    @property
    def extra(self) -> NDArray[np.float64]:
        """The boxes that belong to no known face."""
        return self.boxes[[at for at in range(len(self.boxes)) if at not in self.pairs]]


def main() -> None:
    """Read the command line, measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.detectors", description="compare the packaged face detectors on one core"
    )
    parser.add_argument("index", type=Path, help="an index of real faces")
    parser.add_argument("--partition", action="append", help="SUBSET/SPLIT of the index; all when left out")
    parser.add_argument("--faces", type=int, default=100, help="photos of each partition, spread over it")
    parser.add_argument("--detector", action="append", help="a name or module:function; all installed ones")
    parser.add_argument("--draw", type=Path, help="draw scenes with misses or extra boxes into this folder")
    add_json(parser)
    options = parser.parse_args()

    def measure_all(environment: dict[str, Any]) -> dict[str, Any]:
        partitions = of_partitions(options)
        print(in_words(environment))
        print_report(partitions)
        return {"partitions": partitions}

    report(measure_all, options.json)


def of_partitions(options: argparse.Namespace) -> dict[str, Any]:
    """All figures, by partition and detector."""
    names, index = options.detector or installed_detectors(), Index.read(options.index)
    figures: dict[str, Any] = {}
    for partition in options.partition or index.partitions():
        faces = spread(index, partition, options.faces)
        scenes = {kind: list(make()) for kind, make in makers(faces).items()}
        answers = {name: measure(name, scenes) for name in names}
        figures[partition] = compare(scenes, answers)
        if options.draw:
            draw_all(options.draw / partition.replace("/", "_"), scenes, answers)
    return figures


def makers(faces: Index) -> dict[str, Callable[[], Iterator[Scene]]]:
    """What makes the scenes of each kind from the photos of an index."""
    photos = [Scene(read_image(face.image_path), np.array([face.face_box])) for face in faces]
    return {
        "photos": lambda: iter(photos),
        "dim": lambda: (Scene((scene.image * 0.2 + 10).astype(np.uint8), scene.boxes) for scene in photos),
        "turned 30": lambda: (turned(scene, 30 * (-1) ** i) for i, scene in enumerate(photos)),
        "turned 60": lambda: (turned(scene, 60 * (-1) ** i) for i, scene in enumerate(photos)),
        "large": lambda: pasted(photos, *PHOTO_PX["large"]),
        "small": lambda: pasted(photos, *PHOTO_PX["small"]),
        "none": lambda: without_faces(photos),
    }


def turned(scene: Scene, degrees: float) -> Scene:
    """The photo turned about the face's centre."""
    left, top, right, bottom = scene.boxes[0]
    matrix = cv2.getRotationMatrix2D(((left + right) / 2, (top + bottom) / 2), degrees, 1.0)
    size = scene.image.shape[1::-1]
    return Scene(cv2.warpAffine(scene.image, matrix, size, borderMode=cv2.BORDER_REFLECT), scene.boxes, True)


def pasted(photos: list[Scene], least: int, most: int) -> Iterator[Scene]:
    """Photos in rows on a dark canvas, each scaled so that its face is of a drawn size; some canvases, in all."""
    numbers = np.random.default_rng([0, least])
    canvas, x, y, row = np.full((*CANVAS, 3), 60, np.uint8), 0, 0, 0
    boxes: list[NDArray[np.float64]] = []
    for scene in photos:
        sides = scene.boxes[0, 2:] - scene.boxes[0, :2]
        factor = numbers.uniform(least, most) / sides.mean()
        small = cv2.resize(scene.image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        height, width = small.shape[:2]
        if x + width > CANVAS[1]:
            x, y, row = 0, y + row, 0
        if y + height > CANVAS[0]:
            yield Scene(canvas, np.array(boxes))
            canvas, boxes, x, y, row = np.full_like(canvas, 60), [], 0, 0, 0
        canvas[y : y + height, x : x + width] = small
        boxes.append(scene.boxes[0] * factor + [x, y, x, y])
        x, row = x + width, max(row, height)
    if boxes:
        yield Scene(canvas, np.array(boxes))


def without_faces(photos: list[Scene]) -> Iterator[Scene]:
    """Of each photo the largest strip beside, above or below its face."""
    for scene in photos:
        left, top, right, bottom = scene.boxes[0].astype(int)
        margin, image = (right - left) // 3, scene.image
        strips = (
            image[: max(top - margin, 0)],
            image[bottom + margin :],
            image[:, : max(left - margin, 0)],
            image[:, right + margin :],
        )
        strip = max(strips, key=lambda part: min(part.shape[:2]))
        if min(strip.shape[:2]) >= 32:
            yield Scene(np.ascontiguousarray(strip), np.empty((0, 4)))


def compare(scenes: dict[str, list[Scene]], answers: dict[str, dict[str, list[Answer]]]) -> dict[str, Any]:
    """All figures of one partition, by detector."""
    found: dict[str, Any] = {}
    for name, own in answers.items():
        others = [answer for other, answer in answers.items() if other != name]
        kinds = {
            kind: figures(some, own[kind], [other[kind] for other in others]) for kind, some in scenes.items()
        }
        found[name] = {"scenes": kinds, "crops": agreement(scenes["photos"], own["photos"])}
    return found


def measure(name: str, scenes: dict[str, list[Scene]]) -> dict[str, list[Answer]]:
    """What a detector answers in each scene."""
    _, detector = find_detector(name)
    detect_faces(detector, scenes["photos"][0].image)  # warms up
    answers: dict[str, list[Answer]] = {}
    for kind, some in scenes.items():
        answers[kind] = []
        for scene in some:
            wall, cpu = time.perf_counter(), time.process_time()
            boxes = np.array(detect_faces(detector, scene.image)).reshape(-1, 4)
            spent = 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)
            pairs = [match(face, boxes, scene.turned) for face in scene.boxes]
            answers[kind].append(Answer(boxes, pairs, *spent))
    return answers


def figures(scenes: list[Scene], answers: list[Answer], others: list[list[Answer]]) -> dict[str, float]:
    """One detector's figures for one kind of scene, given what the other detectors answered."""
    alone = 0
    for number, answer in enumerate(answers):
        seen = np.concatenate([np.empty((0, 4)), *(other[number].boxes for other in others)])
        alone += sum(overlaps(box, seen).max(initial=0) < FOUND for box in answer.extra)
    return {
        "pictures": len(scenes),
        "faces": sum(len(scene.boxes) for scene in scenes),
        "found": sum(at is not None for answer in answers for at in answer.pairs),
        "extra": sum(len(answer.extra) for answer in answers),
        "extra_unconfirmed": alone,
        "ms": statistics.median(answer.ms for answer in answers),
        "cpu_ms": statistics.median(answer.cpu_ms for answer in answers),
        "megapixels": float(np.median([scene.image[..., 0].size for scene in scenes]) / 1e6),
    }


def match(face: NDArray[np.float64], boxes: NDArray[np.float64], turned: bool) -> int | None:
    """Which box is this face's."""
    if not len(boxes):
        return None
    if turned:
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1) / (face[2:] - face[:2]).prod())
        centre = (face[:2] + face[2:]) / 2
        over = (boxes[:, :2] < centre).all(1) & (centre < boxes[:, 2:]).all(1) & (sides > 0.5) & (sides < 2)
        return int(over.argmax()) if over.any() else None
    shares = overlaps(face, boxes)
    return int(shares.argmax()) if shares.max() > FOUND else None


def agreement(scenes: list[Scene], answers: list[Answer]) -> dict[str, float]:
    """How far fitted crops are from the index's, in fractions of their side."""
    pairs = [
        (scene.boxes[0], answer.boxes[answer.pairs[0]])
        for scene, answer in zip(scenes, answers, strict=True)
        if answer.pairs[0] is not None
    ]
    known, boxes = (np.array(side) for side in zip(*pairs, strict=True))
    squares = squares_of(known, CropRule())
    return asdict(crop_errors(boxes[1::2], squares[1::2], fit_crop_rule(boxes[::2], squares[::2])))


def draw_all(
    folder: Path, scenes: dict[str, list[Scene]], answers: dict[str, dict[str, list[Answer]]]
) -> None:
    """Scenes with misses or extra boxes: the index's boxes in green, the detector's in red."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, own in answers.items():
        for kind, some in scenes.items():
            for number, (scene, answer) in enumerate(zip(some, own[kind], strict=True)):
                if None not in answer.pairs and not len(answer.extra):
                    continue
                image = scene.image.copy()
                for boxes, colour in ((scene.boxes, (0, 255, 0)), (answer.boxes, (255, 0, 0))):
                    for left, top, right, bottom in np.rint(boxes).astype(int).tolist():
                        cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
                write_image(folder / f"{name}_{kind}_{number}.jpg", image)


def print_report(partitions: dict[str, Any]) -> None:
    """The figures as a table for each partition."""
    for partition, detectors in partitions.items():
        print(f"\n{partition:<24}" + "".join(f"{name:>32}" for name in detectors))
        first = next(iter(detectors.values()))["scenes"]
        for kind, scene in first.items():
            row = "".join(f"{cell(own['scenes'][kind]):>32}" for own in detectors.values())
            print(f"{kind:<10}{scene['faces']:>4} faces    {row}")
        for key in ("centre", "side"):
            crops = [own["crops"] for own in detectors.values()]
            cells = [f"{100 * one[key]:.1f} (90 %: below {100 * one[key + '_90']:.1f})" for one in crops]
            print(f"{key + ' off by, %':<24}" + "".join(f"{text:>32}" for text in cells))
    print("\nfound + other boxes (of these, confirmed by no other detector), ms for each picture")


def cell(figures: dict[str, float]) -> str:
    """One detector on one kind of scene."""
    share = f"{100 * figures['found'] / figures['faces']:.1f} %" if figures["faces"] else "-"
    return f"{share} + {figures['extra']} ({figures['extra_unconfirmed']}) {figures['cpu_ms']:6.1f} ms"


if __name__ == "__main__":
    main()
