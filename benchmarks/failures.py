"""Where a network fails: its accuracy on real faces that are turned, hidden, shrunk, darkened or boxed badly.

    python -m benchmarks.failures MODEL INDEX.tsv --partition lfpw/val --picture limits.jpg

Every face of the partitions is made worse by one thing at a time, by the same amount; the crops, not the files,
are changed. AUC and NME are those of ``fanlight eval`` without mirroring. The picture shows rendered faces, which
nobody's terms bind: they differ from photos, so it is the kind of failure that it shows, not its rate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import fanlight
from benchmarks.command import add_json, report
from fanlight.data.index import Index
from fanlight.data.pts import read_pts
from fanlight.data.synthetic.face import detector_box, draw_face, project_landmarks, render, sit
from fanlight.data.synthetic.scene import background
from fanlight.data.synthetic.shade import random_lighting
from fanlight.draw import contact_sheet, overlay
from fanlight.geometry import Motion, crop_matrix, transform, warp
from fanlight.image import read_image, write_image
from fanlight.metric import measure

Crop = NDArray[np.uint8]
BATCH = 32


@dataclass(frozen=True)
class Trouble:
    """One way of making faces harder.

    Attributes:
        name: what is done.
        levels: how much, as it is printed, and the motion of the crop and the change of its pixels for it.
    """

    name: str
    levels: dict[str, tuple[Motion, Callable[[Crop], Crop]]]


def same(crop: Crop) -> Crop:
    """The crop as it is."""
    return crop


def hide(share: float) -> Callable[[Crop], Crop]:
    """Cover the lower part of the face's box, the middle 55 % of the crop, with grey."""

    def change(crop: Crop) -> Crop:
        size = len(crop)
        top, bottom = round(size * (0.775 - 0.55 * share)), round(size * 0.775)
        crop = crop.copy()
        crop[top:bottom, round(size * 0.2) : round(size * 0.8)] = 128
        return crop

    return change


def shrink(face_px: int) -> Callable[[Crop], Crop]:
    """Leave no more detail than a photo has whose face box measures so many px."""

    def change(crop: Crop) -> Crop:
        side = round(face_px / 0.55)
        small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.resize(small, crop.shape[:2], interpolation=cv2.INTER_LINEAR), np.uint8)

    return change


def darken(gain: float) -> Callable[[Crop], Crop]:
    """Let in so much less light, with the sensor's noise on top."""

    def change(crop: Crop) -> Crop:
        noise = np.random.default_rng(0).normal(0, 4, crop.shape)
        return np.clip(crop * gain + noise, 0, 255).astype(np.uint8)

    return change


STILL = Motion()
TROUBLES = (
    Trouble("as it is", {"": (STILL, same)}),
    Trouble("turned in the image", {f"{a} deg": (Motion(rotate_deg=a), same) for a in (30, 60, 90, 180)}),
    Trouble("lower face hidden", {f"{s:.0%}": (STILL, hide(s)) for s in (0.2, 0.4, 0.6)}),
    Trouble("face box of", {f"{px} px": (STILL, shrink(px)) for px in (48, 24, 12)}),
    Trouble("light times", {f"{g:g}": (STILL, darken(g)) for g in (0.3, 0.1, 0.03)}),
    Trouble("crop moved by", {f"{s:.0%}": (Motion(shift_x=s), same) for s in (0.05, 0.1, 0.2)}),
    Trouble("crop larger by", {f"{1 / s - 1:.0%}": (Motion(scale=s), same) for s in (1 / 1.2, 1 / 1.5, 0.5)}),
    Trouble("crop smaller by", {f"{1 - 1 / s:.0%}": (Motion(scale=s), same) for s in (1.25, 1.5)}),
)


def judge(
    predictor: fanlight.Predictor, faces: Index, motion: Motion, change: Callable[[Crop], Crop]
) -> dict[str, float]:
    """AUC and NME of a network on faces that are changed."""
    usage = predictor.usage
    predicted, truth = [], []
    for batch in _batches(list(faces)):
        matrices = [crop_matrix(face.face_box, usage.crop, usage.input_size, motion) for face in batch]
        crops = [
            change(warp(read_image(face.image_path), matrix, usage.input_size))
            for face, matrix in zip(batch, matrices, strict=True)
        ]
        predicted.append(predictor.predict_crops(np.stack(crops), np.stack(matrices)).landmarks)
        truth.append(np.stack([read_pts(face.landmarks_path) for face in batch]))
    keys = ["auc_box_0.07", "nme_box"]
    return measure(keys, np.concatenate(predicted), np.concatenate(truth), usage.markup)


def _batches(faces: list[Any]) -> Iterator[list[Any]]:
    return (faces[start : start + BATCH] for start in range(0, len(faces), BATCH))


def rendered(index: int, size: int = 384, **pose: float) -> tuple[Crop, NDArray[np.float64]]:
    """A rendered face in a chosen pose, and its face box."""
    sitting = sit(7, index, size)
    rng, view = sitting.rng, replace(sitting.view, **pose)
    landmarks = project_landmarks(sitting.head, sitting.person, view)
    figure = render(sitting.head, sitting.person, view, random_lighting(rng), size)
    image = background(rng, size) * (1 - figure[..., 3:]) + figure[..., :3]
    photo = np.clip(255 * np.clip(image, 0, 1) ** (1 / 2.2), 0, 255).astype(np.uint8)
    return photo, detector_box(rng, landmarks)


def picture(predictor: fanlight.Predictor) -> Crop:
    """Rendered faces with what the network makes of them."""
    scenes: list[tuple[str, Crop, NDArray[np.float64]]] = []
    plain = draw_face(7, 3, 384)
    scenes.append(("as it is", plain.image, plain.face_box))
    for yaw in (50.0, 80.0):
        scenes.append((f"head turned {yaw:.0f} deg", *rendered(3, yaw=yaw, pitch=0.0, roll=0.0)))
    scenes.append(("head bowed 40 deg", *rendered(3, yaw=0.0, pitch=40.0, roll=0.0)))
    for angle in (60, 90, 180):
        matrix = crop_matrix(
            (0, 0, 384, 384), replace(predictor.usage.crop, scale=1.0), 384, Motion(rotate_deg=angle)
        )
        left, top, right, bottom = plain.face_box
        corners = transform(matrix, [(left, top), (right, top), (left, bottom), (right, bottom)])
        box = np.concatenate([corners.min(0), corners.max(0)])
        scenes.append((f"turned {angle} deg", warp(plain.image, matrix, 384, 96), box))
    left, top, right, bottom = plain.face_box
    hidden = plain.image.copy()
    hidden[round(bottom - 0.6 * (bottom - top)) : round(bottom), round(left) : round(right)] = 128
    scenes.append(("lower 60 % hidden", hidden, plain.face_box))
    small = cv2.resize(plain.image, (24, 24), interpolation=cv2.INTER_AREA)
    tiny = np.asarray(cv2.resize(small, (384, 384), interpolation=cv2.INTER_LINEAR), np.uint8)
    scenes.append(("face of 12 px", tiny, plain.face_box))
    shifted = plain.face_box + 0.35 * (right - left)
    scenes.append(("box off by 35 %", plain.image, shifted))
    drawn = []
    for _, photo, box in scenes:
        (face,) = predictor.predict(photo, box)
        drawn.append(overlay(photo, face.landmarks, predictor.markup))
    return contact_sheet(drawn, [name for name, _, _ in scenes], columns=5, cell=220)


def main() -> None:
    """Read the command line, measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.failures", description="measure where a network fails"
    )
    parser.add_argument("model", help="a name or a checkpoint")
    parser.add_argument(
        "index", nargs="?", type=Path, help="an index of real faces; only the picture without it"
    )
    parser.add_argument("--partition", action="append", help="SUBSET/SPLIT of the index; all when left out")
    parser.add_argument("--picture", type=Path, help="write a picture of rendered faces here")
    add_json(parser)
    options = parser.parse_args()

    def measure_all(_: dict[str, Any]) -> dict[str, Any]:
        predictor = fanlight.load(options.model)
        if options.picture:
            write_image(options.picture, picture(predictor))
        return {"troubles": troubles(predictor, options)} if options.index else {}

    report(measure_all, options.json)


def troubles(predictor: fanlight.Predictor, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Judge the network in every trouble at every level, and print it."""
    faces = Index.read(options.index)
    faces = faces.select(options.partition) if options.partition else faces
    results = []
    print(f"{len(faces)} faces of {options.index}, {options.model}, in percent, without mirroring\n")
    print(f"{'trouble':24}{'level':>10}{'AUC@0.07 box':>14}{'NME box':>10}")
    for trouble in TROUBLES:
        for level, (motion, change) in trouble.levels.items():
            found = judge(predictor, faces, motion, change)
            auc, nme = (100 * found[key] for key in ("auc_box_0.07", "nme_box"))
            print(f"{trouble.name:24}{level:>10}{auc:14.1f}{nme:10.2f}", flush=True)
            results.append({"trouble": trouble.name, "level": level, **found})
    return results


if __name__ == "__main__":
    main()
