"""Draw the pictures of README.md and docs/, from synthetic faces alone.

python docs/images/draw.py                    # faces.jpg (true landmarks), heatmaps.jpg, ibug68.jpg
python docs/images/draw.py CHECKPOINT.ckpt    # faces.jpg with what that network predicts on unseen faces
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

import fanlight
from fanlight.augment_settings import AugmentSettings
from fanlight.data.augment import Augmentation, sample_generator
from fanlight.data.synthetic import SyntheticFace, draw_face
from fanlight.draw import contact_sheet, heatmap_overlay, overlay
from fanlight.geometry import CropRule, crop_matrix, transform, warp
from fanlight.heatmap import encode
from fanlight.image import write_image
from fanlight.markup import Markup

FOLDER = Path(__file__).parent
MARKUP = Markup.load("ibug68")
SEED = 1  # no face of the demo, which has seed 0
CROP = 256
FRONTAL = 3  # this one looks straight ahead, with its mouth open
EPOCH = 2  # whose augmentation is shown
COLUMNS = 4

Image = NDArray[np.uint8]


def cropped(face: SyntheticFace, number: int, augmented: bool) -> tuple[Image, NDArray[np.float64]]:
    """A face as the network sees it, with its true landmarks in crop px."""
    augmentation = Augmentation(AugmentSettings(), CROP, MARKUP.mirror)
    generator = sample_generator(SEED, EPOCH, number)
    if not augmented:
        matrix = crop_matrix(face.face_box, CropRule(), CROP)
        return warp(face.image, matrix, CROP), transform(matrix, face.landmarks)
    motion = augmentation.motion(generator)
    matrix = crop_matrix(face.face_box, CropRule(), CROP, motion)
    landmarks = transform(matrix, face.landmarks)
    landmarks = landmarks[list(MARKUP.mirror)] if motion.mirror else landmarks
    return augmentation.photometric(warp(face.image, matrix, CROP), landmarks, generator)


def true_faces(faces: list[SyntheticFace]) -> Image:
    """Above: crops with their true landmarks. Below: the same faces as they are augmented in training."""
    rows = [cropped(face, i, augmented) for augmented in (False, True) for i, face in enumerate(faces)]
    return contact_sheet(
        [overlay(crop, points, MARKUP, face_px=100) for crop, points in rows], (), COLUMNS, cell=208
    )


def predicted_faces(faces: list[SyntheticFace], checkpoint: str) -> Image:
    """Crops with the landmarks that a network predicts."""
    predictor = fanlight.load(checkpoint)
    pictures = []
    for face in faces:
        matrix = crop_matrix(face.face_box, CropRule(), CROP)
        found = predictor.predict(face.image, face.face_box, flip=True)[0]
        crop = warp(face.image, matrix, CROP)
        pictures.append(overlay(crop, transform(matrix, found.landmarks), predictor.markup, face_px=100))
    return contact_sheet(pictures, (), COLUMNS, cell=208)


def heatmaps(face: SyntheticFace) -> Image:
    """A crop, the targets of all landmarks over it, and the landmarks."""
    crop, points = cropped(face, 0, augmented=False)
    targets = encode(torch.from_numpy(points)[None] / 4, CROP // 4)[0].numpy()
    return contact_sheet([crop, heatmap_overlay(crop, targets), overlay(crop, points, MARKUP)], (), 3)


def numbered(face: SyntheticFace, side: int = 800) -> Image:
    """The points of the mark-up with their numbers, close up."""
    matrix = crop_matrix(face.face_box, CropRule(scale=1.35), side)
    points = transform(matrix, face.landmarks)
    picture = overlay(warp(face.image, matrix, side), points, MARKUP)
    around = np.tile(points.mean(axis=0), (len(points), 1))
    for part in ("right_eye", "left_eye", "outer_lips", "inner_lips"):
        around[list(MARKUP.parts[part])] = points[list(MARKUP.parts[part])].mean(axis=0)
    away = points - around
    away[list(MARKUP.parts["inner_lips"])] *= -1  # their numbers find room inside the mouth
    for i, point in enumerate(points):
        outwards = away[i] / np.linalg.norm(away[i])
        x, y = np.rint(point + 13 * outwards + (-7, 4)).astype(int).tolist()
        for colour, thickness in (((16, 16, 16), 3), ((255, 255, 255), 1)):
            cv2.putText(
                picture, str(i), (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, thickness, cv2.LINE_AA
            )
    return picture


def main() -> None:
    """Write the pictures beside this file."""
    if len(sys.argv) > 1:
        shown = [draw_face(SEED, i) for i in range(2 * COLUMNS)]
        write_image(FOLDER / "faces.jpg", predicted_faces(shown, sys.argv[1]), 88)
        return
    write_image(FOLDER / "faces.jpg", true_faces([draw_face(SEED, i) for i in range(COLUMNS)]), 88)
    front = draw_face(SEED, FRONTAL, 640)
    write_image(FOLDER / "heatmaps.jpg", heatmaps(front), 88)
    write_image(FOLDER / "ibug68.jpg", numbered(front), 80)


if __name__ == "__main__":
    main()
