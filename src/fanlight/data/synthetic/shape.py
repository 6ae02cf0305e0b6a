"""The head's surface: a smooth skull with bumps, from formulas of our own, and the landmarks on it.

The head is one grid. Its columns go around it by azimuth (0 in front, positive to the image's right), its
rows from the crown down to the jaw's lower edge, then under the jaw, down the neck and over the
shoulders. The place of a vertex in the face's front plane is its texture coordinate, and whatever lies at
some (x, y) of the front plane, an eye corner say, is found again on the surface by `Head.on_surface`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.layout import Layout, jaw_y, nose_base_y, smooth_curve
from fanlight.data.synthetic.mesh import CLOTH, SKIN, Mesh, grid_mesh, sample_grid
from fanlight.data.synthetic.person import SIDES, Anatomy, Person, sign

Array = NDArray[np.float64]

FRONT_COLUMNS, BACK_COLUMNS = 64, 6  # the face's half of the circle; each quarter behind
CROWN_ROWS, FACE_ROWS, NECK_ROWS = 8, 56, 16
FACE_TOP = 0.27  # share of the way from crown to jaw where the fine rows begin
NECK_BOTTOM_Y = 34.0  # the shoulders end well below the image
EAR_AZIMUTH = np.radians(84.0)  # the face's contour in front of the ear


def _azimuths() -> Array:
    quarter = np.linspace(np.pi / 2, np.pi, BACK_COLUMNS + 1)[1:]
    front = np.linspace(-np.pi / 2, np.pi / 2, FRONT_COLUMNS + 1)
    return np.concatenate([-quarter[::-1], front, quarter])


def _row_shares() -> Array:
    """Rows from crown (0) to jaw (1): closer where the crown is flat, then even over the face."""
    crown = FACE_TOP * (1 - np.cos(np.linspace(0, np.pi / 2, CROWN_ROWS, endpoint=False)))
    return np.concatenate([crown, np.linspace(FACE_TOP, 1, FACE_ROWS)])


AZIMUTHS = _azimuths()
ROW_SHARES = _row_shares()
JAW_ROW = len(ROW_SHARES) - 1
FOREHEAD_ROWS = JAW_ROW - 32  # the rows above the brows


class Skull:
    """The smooth head under the features: horizontal half-ellipses of a width and a depth."""

    def __init__(self, anatomy: Anatomy, chin_y: float) -> None:
        self.crown_y, self.chin_y, self.depth = anatomy.crown_y, chin_y, anatomy.depth
        widest = -3.0
        dome = np.linspace(0, 1, 12)  # a slightly square dome from the crown to the widest height
        dome_width = anatomy.skull_width * (1 - (1 - dome) ** 2.3) ** (1 / 2.3)
        gonion = 0.63 * chin_y
        self._y = np.concatenate([self.crown_y + (widest - self.crown_y) * dome,
                                  [0.5, 2.6, gonion, 0.9 * chin_y, chin_y + 0.5]])  # fmt: skip
        jaw_bulge = anatomy.jaw_width / 0.97  # the jaw angle lies at 75 degrees, not at the side
        chin_bulge = anatomy.chin_width / 0.53  # the chin's corner at 32
        self._width = np.concatenate([dome_width, [0.5 * (anatomy.skull_width + anatomy.cheek_width) - 0.1,
                                                   anatomy.cheek_width, jaw_bulge, chin_bulge,
                                                   chin_bulge]])  # fmt: skip
        self._front = np.concatenate([anatomy.depth * (dome_width / anatomy.skull_width) ** 0.9,
                                      anatomy.depth + np.array([-0.15, -0.35, -0.45, -0.55, -1.1])
                                      + anatomy.chin_forward * np.array([0, 0, 0.2, 0.9, 1.0])])  # fmt: skip

    def width(self, y: Array | float) -> Array:
        """Half width at a height."""
        return smooth_curve(y, self._y, self._width)

    def point(self, azimuth: Array, y: Array) -> Array:
        """Positions (..., 3) at azimuths and heights; behind the ears the skull is longer than in front."""
        width, front = self.width(y), smooth_curve(y, self._y, self._front)
        behind = np.minimum(front * 1.1, 1.15 * width + 1.5)
        depth = np.where(np.abs(azimuth) <= np.pi / 2, front, behind)
        return np.stack([width * np.sin(azimuth), y + 0 * azimuth, depth * np.cos(azimuth)], axis=-1)


@dataclass(frozen=True)
class Head:
    """The surface of one person's head, neck and shoulders."""

    grid: Array  # (R, C, 3)
    mesh: Mesh
    skull: Skull
    layout: Layout

    def on_surface(self, azimuth: Array, y: Array) -> Array:
        """Points (..., 3) of the surface at azimuths and heights of the front plane, jaw at the lowest."""
        jaw = jaw_y(azimuth, self.skull.chin_y)
        share = np.clip((y - self.skull.crown_y) / (jaw - self.skull.crown_y), 0, 1)
        return sample_grid(
            self.grid,
            np.interp(share, ROW_SHARES, np.arange(len(ROW_SHARES))),
            np.interp(azimuth, AZIMUTHS, np.arange(len(AZIMUTHS))),
        )

    def features(self, points: Array) -> Array:
        """Points (N, 3) of the surface at (N, 2) places of the front plane."""
        sine = points[:, 0] / self.skull.width(points[:, 1])
        return self.on_surface(np.arcsin(np.clip(sine, -1, 1)), points[:, 1])


def build_head(person: Person, layout: Layout) -> Head:
    """Build the surface of a person whose features lie as `layout` says."""
    chin_x, chin_y = layout.chin
    skull = Skull(person.anatomy, chin_y)
    jaw = jaw_y(AZIMUTHS, chin_y)
    y = skull.crown_y + (jaw - skull.crown_y) * ROW_SHARES[:, None]
    azimuth = np.broadcast_to(AZIMUTHS, y.shape)
    upper = skull.point(azimuth, y)
    texture = upper[..., :2].copy()
    behind = np.maximum(np.abs(azimuth) - np.pi / 2, 0)  # keep the back of the head off the face's paint
    texture[..., 0] += (
        np.sign(azimuth) * (np.maximum(skull.width(y), 6) - np.abs(upper[..., 0]) + 2) * (behind > 0)
    )
    front = slice(BACK_COLUMNS, BACK_COLUMNS + FRONT_COLUMNS + 1)
    relief = _relief(person, layout, texture[:, front])
    upper[:, front, 2] += relief * np.cos(AZIMUTHS[front]) ** 0.35
    upper[..., 0] += chin_x * np.clip((y - 4) / (chin_y - 4), 0, 1)
    lower, lower_texture = _neck(person.anatomy, upper[-1], texture[-1])
    grid = np.concatenate([upper, lower])
    mesh = grid_mesh(
        grid,
        np.concatenate([texture, lower_texture]),
        SKIN,
        _openness(grid, person.anatomy, layout),
    )
    cells = (len(grid) - 1) * (len(AZIMUTHS) - 1)
    collar = np.arange(2 * cells) % cells // (len(AZIMUTHS) - 1) >= JAW_ROW + 9
    mesh.material[collar] = CLOTH
    return Head(grid, mesh, skull, layout)


def _bump(x: Array, y: Array, at: tuple[float, float], size: tuple[float, float]) -> Array:
    """A Gaussian hill of height 1."""
    return np.asarray(np.exp(-(((x - at[0]) / size[0]) ** 2) - ((y - at[1]) / size[1]) ** 2))


def _relief(person: Person, layout: Layout, plane: Array) -> Array:
    """How far the features stand out (cm towards us) at places (R, C, 2) of the front plane."""
    x, y = plane[..., 0], plane[..., 1]
    anatomy, expression = person.anatomy, person.expression
    height = _nose_relief(anatomy, x, y) + _mouth_relief(person, layout, x, y)
    height += 0.6 * anatomy.brow_ridge * _bump(x, y, (0, anatomy.brow_y + 0.5), (1.4, 0.9))
    height += 0.65 * _bump(x, y, (layout.chin[0], layout.chin[1] - 0.9), (1.7, 1.2))
    for side in SIDES:
        s = sign(side)
        eye_x = s * 0.5 * (anatomy.eye_gap + anatomy.eye_length)
        lift = expression.brows[side]
        height += anatomy.brow_ridge * _bump(
            x, y, (1.05 * eye_x, anatomy.brow_y + 0.3 - 0.4 * lift), (2.0, 0.75)
        )
        height -= anatomy.socket * _bump(x, y, (eye_x, 0.1), (2.0, 1.15))
        height -= 0.3 * _bump(x, y, (s * 1.35, 0.0), (0.6, 1.0))
        height += 0.62 * np.exp(-((((x - eye_x) / 1.5) ** 2 + (y / 1.15) ** 2) ** 2))  # the eyeball
        height += anatomy.cheekbone * _bump(x, y, (s * 4.5, 2.7), (1.8, 1.4))
        smile = expression.smile[side]
        height += 0.4 * max(0.0, smile) * _bump(x, y, (s * 3.7, 3.9), (1.4, 1.2))
        fold = 0.12 + 0.22 * person.looks.age + 0.25 * max(0.0, smile)
        t = np.clip((y - anatomy.nose_length) / 3.2, 0, 1)  # from the nose's wing past the mouth's corner
        fold_x = anatomy.nose_width + 0.4 + (0.9 + 0.3 * smile) * t
        height -= fold * np.exp(-(((s * x - fold_x) / 0.45) ** 2)) * np.sin(np.pi * t)
        height -= 0.35 * _bump(x, y, (s * 6.2, -3.2), (1.5, 1.8))  # temple
    return np.asarray(height)


def _nose_relief(anatomy: Anatomy, x: Array, y: Array) -> Array:
    """Ridge from between the eyes to the tip, a steep base below it, and the wings."""
    tip, length = anatomy.nose_height, anatomy.nose_length
    knots_y = np.array(
        [-1.6, 0.0, 0.35 * length, 0.72 * length, length, length + 0.45, length + 0.95, length + 1.4]
    )
    knots_z = np.array(
        [0.15, anatomy.bridge, 0.5 * anatomy.bridge + 0.38 * tip, 0.85 * tip, tip, 0.72 * tip, 0.1, 0.0]
    )
    half = smooth_curve(y, knots_y, np.array([1.2, 0.85, 0.95, 1.1, 1.2, 1.1, 0.9, 0.9]))
    inside = (y > knots_y[0]) & (y < knots_y[-1])
    ridge = np.where(inside, smooth_curve(y, knots_y, knots_z), 0.0)
    height = ridge * np.exp(-(np.abs(x / half) ** 2.2))
    for side in SIDES:
        wing = sign(side) * 0.74 * anatomy.nose_width
        height = height + 0.36 * tip * _bump(x, y, (wing, length + 0.15), (0.5, 0.62))
        height -= 0.4 * _bump(x, y, (sign(side) * 0.36 * anatomy.nose_width, length + 0.85), (0.32, 0.2))
    return np.asarray(height)


def _mouth_relief(person: Person, layout: Layout, x: Array, y: Array) -> Array:
    """The dental arch, the lips as rolls between their curves, and the hollow of an open mouth."""
    mouth_x, line_y = layout.mouth
    gap = person.expression.open_mouth
    height = 0.75 * _bump(x, y, (0, line_y + 0.3 * gap), (2.9, 2.2 + 0.5 * gap))
    height += 0.5 * person.expression.pucker * _bump(x, y, (mouth_x, line_y), (1.3, 1.3))
    height -= 0.4 * _bump(
        x, y, (mouth_x, layout.lip_bottom[len(layout.lip_bottom) // 2, 1] + 0.45), (1.5, 0.5)
    )
    height -= 0.12 * _bump(x, y, (0, 0.5 * (nose_base_y(person.anatomy) + line_y)), (0.35, 0.8))
    curves = (layout.lip_top, layout.lip_inner_top, layout.lip_inner_bottom, layout.lip_bottom)
    top, inner_top, inner_bottom, bottom = (np.interp(x, curve[:, 0], curve[:, 1]) for curve in curves)
    within = (x > layout.lip_top[0, 0]) & (x < layout.lip_top[-1, 0])
    for edge, seam, roll in ((top, inner_top, 0.32), (bottom, inner_bottom, 0.4)):
        share = np.clip((y - edge) / np.where(np.abs(seam - edge) < 0.05, 0.05, seam - edge), 0, 1)
        height += roll * np.where(within, np.sin(np.pi * share**1.3), 0.0)
    open_here = np.clip((np.minimum(y - inner_top, inner_bottom - y)) / 0.25, 0, 1)
    hollow = np.where(within & (inner_bottom - inner_top > 0.1), open_here, 0.0)
    return np.asarray(height - 0.9 * hollow)


def _neck(anatomy: Anatomy, jaw: Array, jaw_texture: Array) -> tuple[Array, Array]:
    """Rows under the jaw, down the neck and over the shoulders, (NECK_ROWS, C, 3), and their texture."""
    t = np.linspace(0, 1, NECK_ROWS + 1)[1:, None]
    neck_top = float(jaw[:, 1].max()) + 0.8
    y = smooth_curve(t, np.array([0, 0.25, 0.5, 0.62, 0.75, 1.0]),
                     np.array([neck_top - 1.2, neck_top, 14.8, 16.8, 19.0, NECK_BOTTOM_Y]))  # fmt: skip
    width = smooth_curve(t, np.array([0, 0.45, 0.56, 0.68, 0.82, 1.0]),
                         np.array([1.0, 1.03, 1.35, 2.5, 3.7, 4.0]) * anatomy.neck_width)  # fmt: skip
    depth = smooth_curve(t, np.array([0, 0.5, 0.7, 1.0]), np.array([1.0, 1.05, 1.4, 1.9]) * 5.2)
    column = np.stack([width * np.sin(AZIMUTHS), y + 0 * AZIMUTHS, depth * np.cos(AZIMUTHS) - 1.6], axis=-1)
    tuck = np.clip(t / 0.25, 0, 1)[..., None] ** 0.7  # from the jaw's edge inwards to the neck
    points = jaw + (column - jaw) * tuck
    texture = np.repeat(jaw_texture[None], NECK_ROWS, axis=0)
    texture[..., 1] += 0.6 + 8 * t
    return points, texture


def _openness(grid: Array, anatomy: Anatomy, layout: Layout) -> Array:
    """Ambient light 0..1: what lies deeper than its surroundings is darker, and the throat most of all."""
    depth = grid[..., 2].astype(np.float32)
    around = cv2.GaussianBlur(depth, (0, 0), 3.5, borderType=cv2.BORDER_REPLICATE)
    openness = np.clip(1 - 0.9 * np.maximum(around - depth, 0), 0.35, 1.0).astype(np.float64)
    openness[:FOREHEAD_ROWS] = np.maximum(openness[:FOREHEAD_ROWS], 0.8)
    under = np.array([0.42, 0.32, 0.32, 0.38, 0.45, 0.55, 0.65, 0.75, 0.9])
    openness[JAW_ROW + 1 :] = 1.0
    openness[JAW_ROW + 1 : JAW_ROW + 10] = under[:, None]
    return openness


def landmarks_on_head(head: Head, person: Person) -> Array:
    """The 51 inner landmarks (17-67) on the surface, (51, 3) cm."""
    layout = head.layout
    return head.features(
        np.concatenate(
            [
                layout.brow_landmarks,
                layout.nose,
                layout.eyes[0].landmarks,
                _left_eye(layout),
                layout.lip_landmarks,
            ]
        )
    )


def _left_eye(layout: Layout) -> Array:
    """42-47 start at the inner corner and go over the upper lid to the outer."""
    return layout.eyes[1].landmarks[[3, 2, 1, 0, 5, 4]]


def jaw_lines(head: Head, samples: int = 48) -> Array:
    """The lines on which landmarks 0-16 may lie, (17, samples, 3) cm.

    Each starts (sample 0) at the anatomical place: the face's edge in front of the ear for the upper
    ones, the jaw's lower edge for the others, evenly spaced. It runs at the same height towards the
    middle of the face. Seen from the side, the far cheek hides that place, and the landmark is where
    the line meets the face's visible contour (see `camera.contour`).
    """
    chin_y = head.skull.chin_y
    azimuth = np.concatenate([np.full(24, EAR_AZIMUTH), np.linspace(EAR_AZIMUTH, 0, 97)[1:]])
    ear_end = float(jaw_y(np.array(EAR_AZIMUTH), chin_y))
    y = np.concatenate([np.linspace(-0.4, ear_end, 24), jaw_y(azimuth[24:], chin_y)])
    outline = head.skull.point(azimuth, y)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(outline[:, :2], axis=0), axis=1))])
    even = np.linspace(0, length[-1], 9)
    place_azimuth, place_y = np.interp(even, length, azimuth), np.interp(even, length, y)
    towards_middle = np.linspace(1, 0, samples)
    right = head.on_surface(-place_azimuth[:, None] * towards_middle, place_y[:, None] + 0 * towards_middle)
    left = head.on_surface(place_azimuth[:, None] * towards_middle, place_y[:, None] + 0 * towards_middle)
    return np.concatenate([right, left[-2::-1]])
