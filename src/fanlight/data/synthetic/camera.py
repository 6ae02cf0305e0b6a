"""Pose and perspective camera, and the landmarks that depend on the view: the visible contour.

Camera frame: x to the image's right, y down, z towards the camera, which looks along -z. Pixel
coordinates are continuous: pixel i covers [i, i + 1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FACE_CENTRE = np.array([0.0, 4.0, 3.0])  # of the head's frame (cm); the camera aims near it
NECK_FOLLOWS = 0.35  # share of the head's turn that the shoulders make
NECK_TOP_Y, NECK_BASE_Y = 9.0, 19.0  # the turn fades between these heights below the jaw


@dataclass(frozen=True)
class View:
    """Head pose (degrees) and camera.

    Attributes:
        yaw: positive turns the face towards the image's right.
        pitch: positive bows the head.
        roll: positive tilts clockwise in the image.
        distance: camera to face centre, cm.
        focal: pixels.
        centre_x: where the face centre is seen, continuous px; centre_y likewise.
    """

    yaw: float
    pitch: float
    roll: float
    distance: float
    focal: float
    centre_x: float
    centre_y: float

    def mirrored(self, width: float) -> View:
        """The view of the mirrored head in an image mirrored left to right."""
        return replace(self, yaw=-self.yaw, roll=-self.roll, centre_x=width - self.centre_x)

    def scaled(self, factor: float) -> View:
        """The same view in an image `factor` times as large."""
        return replace(
            self,
            focal=self.focal * factor,
            centre_x=self.centre_x * factor,
            centre_y=self.centre_y * factor,
        )

    def rotation(self, share: float = 1.0) -> Array:
        """(3, 3) rotation of head directions into the camera frame; `share` of the pose angles."""
        yaw, pitch, roll = (np.radians(share * angle) for angle in (self.yaw, self.pitch, self.roll))
        turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
        nod = np.array([[1, 0, 0], [0, np.cos(pitch), np.sin(pitch)], [0, -np.sin(pitch), np.cos(pitch)]])
        tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        return np.asarray(tilt @ nod @ turn)

    def to_camera(self, points: Array) -> Array:
        """Head-frame points (..., 3) in the camera frame, cm, face centre at the origin."""
        return np.asarray((points - FACE_CENTRE) @ self.rotation().T)

    def to_image(self, points_camera: Array) -> Array:
        """Camera-frame points (..., 3) to continuous px (..., 2)."""
        scale = self.focal / (self.distance - points_camera[..., 2:])
        return np.asarray(points_camera[..., :2] * scale + (self.centre_x, self.centre_y))

    def project(self, points: Array) -> Array:
        """Head-frame points (..., 3) to continuous px (..., 2)."""
        return self.to_image(self.to_camera(points))


def pose_body(
    view: View, vertices: Array, normals: Array, below_jaw: NDArray[np.bool_]
) -> tuple[Array, Array]:
    """Move head, neck and shoulders into the camera frame; the shoulders turn less than the head.

    Args:
        view: the pose.
        vertices: (V, 3) head frame.
        normals: (V, 3).
        below_jaw: (V,) which vertices belong to the neck and shoulders.
    Returns:
        vertices and normals in the camera frame.
    """
    posed, turned = view.to_camera(vertices), normals @ view.rotation().T
    body = View(view.yaw, view.pitch, view.roll, 1, 1, 0, 0).rotation(NECK_FOLLOWS)
    pivot = np.array([0.0, NECK_TOP_Y, -1.5])  # where the head sits on the neck
    low = vertices[below_jaw]
    moved = (low - pivot) @ body.T + view.to_camera(pivot)
    share = np.clip((low[:, 1:2] - NECK_TOP_Y) / (NECK_BASE_Y - NECK_TOP_Y), 0, 1)
    posed[below_jaw] += share * (moved - posed[below_jaw])
    turned[below_jaw] += share * (normals[below_jaw] @ body.T - turned[below_jaw])
    return posed, turned


def contour(view: View, lines: Array) -> Array:
    """Landmarks 0-16 (17, 2) px: on each line the place that is outermost across the face as seen.

    Args:
        view: pose and camera.
        lines: (17, N, 3) from `shape.jaw_lines`, anatomical place first.

    On the near side, and everywhere on a frontal face, that is the anatomical place at the face's edge;
    on the far side it slides forward along the cheek to the visible contour, as annotators of iBUG's
    mark-up place it.
    """
    seen = view.project(lines)
    roll = np.radians(view.roll)
    across = seen @ np.array([np.cos(roll), np.sin(roll)])  # along the line through the eyes
    outwards = np.where(np.arange(17) < 8, -1.0, 1.0)
    out = across * outwards[:, None]
    best = np.argmax(out, axis=1)
    best[8] = 0  # the chin's tip stays
    row = np.arange(17)
    inner = np.clip(best, 1, out.shape[1] - 2)  # the top of the parabola through the three places around it
    before, here, after = out[row, inner - 1], out[row, inner], out[row, inner + 1]
    bend = np.minimum(before - 2 * here + after, -1e-9)
    offset = np.where(best == inner, np.clip(0.5 * (before - after) / bend, -0.5, 0.5), 0.0)
    other = best + np.where(best == inner, np.sign(offset).astype(int), 0)
    share = np.abs(offset)[:, None]
    return np.asarray(seen[row, best] * (1 - share) + seen[row, other] * share)
