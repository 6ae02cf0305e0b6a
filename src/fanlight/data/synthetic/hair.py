"""Hair, hats, ears and glasses: further grids around the head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.canvas import noise_patch
from fanlight.data.synthetic.layout import smooth_curve
from fanlight.data.synthetic.mesh import CLOTH, EAR, FRAME, HAIR, LENS, Mesh, grid_mesh
from fanlight.data.synthetic.person import SIDES, Person, sign
from fanlight.data.synthetic.shape import Head, Skull

Array = NDArray[np.float64]

SHELL_COLUMNS, SHELL_ROWS = 60, 26


@dataclass(frozen=True)
class Style:
    """Where the hair ends (cm of height) in front, at the temples, above the ears, behind; and its bulk."""

    front: float
    temple: float
    ear: float
    nape: float
    bulk: float = 1.0
    material: int = HAIR
    curls: float = 0.0  # cm of unevenness


STYLES = {
    "bald": None,
    "buzz": None,
    "short": Style(-6.6, -4.5, -0.8, 4.5),
    "fringe": Style(-3.2, -2.2, 1.5, 5.5),
    "bob": Style(-6.2, -3.0, 8.0, 9.0, 1.2),
    "long": Style(-6.4, -3.5, 17.0, 20.0, 1.1),
    "curly": Style(-5.8, -3.5, 1.5, 5.0, 1.5, HAIR, 0.45),
    "afro": Style(-6.0, -4.0, 1.0, 4.0, 2.6, HAIR, 0.3),
    "swept": Style(-6.8, -5.0, -1.5, 6.0, 0.7),
    "hat": Style(-5.0, -4.6, -3.2, -1.0, 1.0, CLOTH),
    "scarf": Style(-5.5, -4.0, 14.0, 17.0, 0.9, CLOTH),
}


def hair_mesh(person: Person, skull: Skull) -> Mesh | None:
    """A shell over the skull from the crown to where the style ends it; None for bald or shaved heads."""
    style = STYLES[person.looks.style]
    if style is None:
        return None
    rng = np.random.default_rng(person.texture_seed + 1)
    azimuth = np.linspace(-np.pi, np.pi, SHELL_COLUMNS)
    degrees = np.degrees(np.abs(azimuth - person.looks.parting * np.exp(-(azimuth**2))))
    ragged = np.convolve(rng.normal(0, 0.8, SHELL_COLUMNS + 2), (0.3, 0.4, 0.3), "valid")
    end = rng.uniform(-1.0, 0.8) + smooth_curve(
        np.clip(degrees, 0, 180),
        np.array([0, 28, 52, 78, 100, 180.0]),
        np.array([style.front, style.front + 0.2, style.temple, style.ear, style.ear, style.nape]),
    )
    if style.material == HAIR:
        end = end + ragged
    share = np.linspace(0, 1, SHELL_ROWS)[:, None]
    y = skull.crown_y + (end - skull.crown_y) * (0.45 * (1 - np.cos(share * np.pi / 2)) + 0.55 * share**1.3)
    points = skull.point(np.broadcast_to(azimuth, y.shape), y)
    radius = np.hypot(points[..., 0], points[..., 2])
    hanging = np.maximum.accumulate(radius, axis=0)  # below the widest place hair hangs straight down
    thick = style.bulk * person.looks.volume * (1 - share**3) + 0.3
    if style.material == HAIR:
        locks = sum(np.sin(azimuth * k + rng.uniform(0, 6.3)) / k**0.5 for k in (5, 7, 13, 23))
        curls = noise_patch(rng, SHELL_ROWS, SHELL_COLUMNS) if style.curls else 0.0
        thick = thick * (1 + 0.14 * locks * (0.4 + share)) + style.curls * np.asarray(curls)
    outwards = hanging - radius + thick * np.minimum(1, (share / 0.3) ** 0.7)  # the crown stays closed
    points[..., 0] += np.sin(azimuth) * outwards
    points[..., 2] += np.cos(azimuth) * outwards
    points[..., 1] -= person.looks.volume * style.bulk * (1 - share) ** 2
    texture = np.stack(np.broadcast_arrays(azimuth * 40 / np.pi, 8 * share), axis=-1)
    openness = np.broadcast_to(0.6 + 0.4 * np.sin(np.pi * np.clip(share * 1.1, 0, 1)), y.shape)
    return grid_mesh(points, texture, style.material, openness)


def ear_meshes(person: Person, skull: Skull) -> list[Mesh]:
    """Two flat shells with a rim, at the sides of the head."""
    size = person.anatomy.ear_size
    meshes = []
    for side in SIDES:
        s = sign(side)
        around = np.linspace(0, 2 * np.pi, 19) * s
        ring = np.linspace(0.02, 1, 7)[:, None]
        up = 3.0 * size * ring * np.cos(around)
        back = (
            1.75 * size * ring * np.sin(np.abs(around)) * (1 - 0.25 * np.cos(around + np.pi)) * s * np.sign(s)
        )
        back = 1.75 * size * ring * np.sin(around) * s
        rim = (
            0.55 * np.sin(np.pi * np.clip(ring, 0, 1) ** 2.2)
            - 0.35 * np.exp(-((ring / 0.4) ** 2))
            - 0.5 * (ring == 1)
        )
        side_x = float(skull.width(1.5)) - 0.15
        lean = 0.42  # the rear edge stands off the head
        x = s * (side_x + rim + lean * (back + 1.2))
        points = np.stack([x + 0 * up, 1.9 - up, -0.9 - back + 0.25 * up], axis=-1)
        texture = np.broadcast_to(np.array([s * 6.5, 3.0]), (*up.shape, 2))
        openness = np.broadcast_to(0.45 + 0.55 * ring, up.shape)
        meshes.append(grid_mesh(points, texture, EAR, openness))
    return meshes


def glasses_meshes(person: Person, head: Head) -> list[Mesh]:
    """Two rims, a bridge and two temples as tubes; dark glasses have lenses too."""
    looks, anatomy = person.looks, person.anatomy
    if not looks.glasses:
        return []
    eye_x = 0.5 * (anatomy.eye_gap + anatomy.eye_length)
    plane = float(head.features(np.array([[0.0, -0.6]]))[0, 2]) + 0.35  # rests on the nose's root
    thickness = 0.09 + 0.1 * float(np.mean(looks.frame))
    angle = np.linspace(0, 2 * np.pi, 25)
    power = 1 - 0.45 * looks.glasses_shape  # below 1 the circle becomes a rounded box
    cos, sin = (np.sign(f) * np.abs(f) ** power for f in (np.cos(angle), np.sin(angle)))
    wide, tall = min(2.7, eye_x - 0.35), 1.75 + 0.4 * (1 - looks.glasses_shape)
    meshes = []
    for side in SIDES:
        s = sign(side)
        rim_x, rim_y = s * (eye_x + 0.15) + wide * cos, 0.35 + tall * sin
        rim = np.stack([rim_x, rim_y, plane - 0.06 * (np.abs(rim_x) - 1) ** 2], axis=-1)
        meshes.append(_tube(rim, thickness))
        if looks.glasses == "dark":
            centre = rim.mean(axis=0)
            rings = centre + (rim - centre) * np.linspace(0.02, 1, 6)[:, None, None]
            rings[..., 2] += 0.25 * (1 - np.linspace(0.02, 1, 6)[:, None] ** 2)
            meshes.append(grid_mesh(rings[:, ::-1], rings[..., :2], LENS))
        hinge = rim[np.argmax(np.abs(rim_x))] + (0, -0.6, 0)
        ear = np.array([s * (float(head.skull.width(0)) + 0.25), -0.6, 0.5])
        meshes.append(_tube(hinge + (ear - hinge) * np.linspace(0, 1, 12)[:, None], thickness))
    inner = eye_x + 0.15 - wide
    x = np.linspace(-inner, inner, 8)
    meshes.append(_tube(np.stack([x, -0.1 - 0.3 * np.cos(x), plane + 0 * x], axis=-1), thickness))
    return meshes


def _tube(path: Array, radius: float) -> Mesh:
    """A round tube along a path (N, 3)."""
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    side = np.cross(along, np.where(np.abs(along[:, 2:]) > 0.7, (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, 6)[:, None, None]
    points = path + radius * (np.cos(angle) * side + np.sin(angle) * up)
    return grid_mesh(points, points[..., :2], FRAME)
