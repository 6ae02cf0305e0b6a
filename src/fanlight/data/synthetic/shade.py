"""Lights the visible surface: albedo by material, soft skin, gloss, and shadows found in the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.canvas import LEFT_CM, PX_PER_CM, TOP_CM, Picture, noise_sheet
from fanlight.data.synthetic.mesh import CLOTH, EAR, FRAME, HAIR, LENS, SKIN, Mesh
from fanlight.data.synthetic.person import Generator, Looks, around
from fanlight.data.synthetic.raster import Fragments

#: Light wraps around the edge of its shadow in skin, the red most of all.
SKIN_WRAP = np.array([0.34, 0.2, 0.16], np.float32)
HARD_WRAP = 0.1  # of everything else
WET_FROM = 0.9  # gloss above which a highlight is small and sharp
HIGHLIGHT = 0.35  # strength of all highlights
SHADOW_STEPS_CM = (0.5, 0.9, 1.4, 2.0, 2.8, 3.8, 5.0, 6.5)
SHADOW_THICKNESS_CM = 5.0  # what is nearer to the camera than this above the ray casts none
GLOSS = {CLOTH: 0.05, FRAME: 1.2, LENS: 1.5, HAIR: 0.5}


@dataclass(frozen=True)
class Light:
    """A distant light: unit direction towards it in the camera frame, and its colour."""

    direction: NDArray[np.float32]
    colour: NDArray[np.float32]


@dataclass(frozen=True)
class Lighting:
    """Light from above and below everywhere, and one to three distant lights; the first casts shadows."""

    sky: NDArray[np.float32]
    ground: NDArray[np.float32]
    lights: tuple[Light, ...]


def random_lighting(rng: Generator) -> Lighting:
    """A key light anywhere in front, perhaps a fill and a rim light from behind; tinted."""

    def light(azimuth: float, elevation: float, strength: float) -> Light:
        direction = (
            np.sin(azimuth) * np.cos(elevation),
            -np.sin(elevation),
            np.cos(azimuth) * np.cos(elevation),
        )
        tint = np.exp(rng.normal(0, 0.12, 3)) * strength
        return Light(np.array(direction, np.float32), tint.astype(np.float32))

    ambient = float(rng.uniform(0.12, 0.6))
    key = light(around(rng, 0, 0.65), around(rng, 0.5, 0.4), float(rng.uniform(0.5, 1.1)))
    lights = [key]
    if rng.random() < 0.6:
        lights.append(light(around(rng, 0, 0.9), around(rng, 0.2, 0.4), float(rng.uniform(0.1, 0.5))))
    if rng.random() < 0.35:
        side = rng.choice((-1, 1))
        lights.append(light(side * rng.uniform(1.8, 2.6), rng.uniform(0, 0.6), float(rng.uniform(0.4, 1.5))))
    sky = ambient * np.exp(rng.normal(0, 0.12, 3))
    ground = sky * rng.uniform(0.3, 0.8) * (1.08, 1.0, 0.92)
    return Lighting(sky.astype(np.float32), ground.astype(np.float32), tuple(lights))


def shade(
    mesh: Mesh,
    vertices: NDArray[np.float64],
    normals: NDArray[np.float64],
    fragments: Fragments,
    skin: Picture,
    looks: Looks,
    lighting: Lighting,
    px_per_cm: float,
    size: int,
) -> Picture:
    """Colour every visible pixel.

    Args:
        mesh: for its attributes, triangles and materials.
        vertices: (V, 3) camera frame, cm.
        normals: (V, 3) camera frame.
        fragments: what is visible.
        skin: the painted front plane, from `skin.paint_face`.
        looks: colours of hair, cloth and frames.
        lighting: the lights.
        px_per_cm: of the image at the face's distance.
        size: side of the square image, px.
    Returns:
        (size, size, 4): linear RGB times coverage, and coverage (0 or 1).
    """
    values = np.concatenate([normals.T, mesh.attributes.T, vertices[:, 2:].T])
    seen = fragments.interpolate(values, mesh.triangles)  # arrays are (channels, pixels) from here on
    material = mesh.material[fragments.triangle]
    normal, place, openness, height = seen[:3], seen[3:5], seen[5], seen[6]
    normal *= 1 / np.sqrt(np.maximum(np.einsum("kn,kn->n", normal, normal), 1e-9))
    normal *= np.where((material != SKIN) & (normal[2] < 0), np.float32(-1), np.float32(1))
    paint = _paint(material, place, skin, looks)
    shadow = _shadow(fragments.pixel, height, lighting.lights[0].direction, px_per_cm, size)
    lit, shine = _illuminate(normal, openness, shadow, material, paint[3], lighting)
    image = np.zeros((size * size, 4), np.float32)
    for channel in range(3):
        image[fragments.pixel, channel] = paint[channel] * lit[channel] + shine[channel]
    image[fragments.pixel, 3] = 1
    return image.reshape(size, size, 4)


def _illuminate(
    normal: Picture,
    openness: Picture,
    shadow: Picture,
    material: NDArray[np.int64],
    gloss: Picture,
    lighting: Lighting,
) -> tuple[Picture, Picture]:
    """Diffuse light and highlights, (3, N) each; the first light is the one that `shadow` dims."""
    soft = (material == SKIN) | (material == EAR)
    wet = gloss > WET_FROM
    up = 0.5 - 0.5 * normal[1]
    lit = np.stack([(low + up * (high - low)) * openness
                    for low, high in zip(lighting.ground, lighting.sky, strict=True)])  # fmt: skip
    shine = np.zeros_like(lit)
    scales = [np.where(soft, 1 / (1 + wrap), np.float32(1 / (1 + HARD_WRAP))) for wrap in SKIN_WRAP]
    for number, lamp in enumerate(lighting.lights):
        falling = _dot(lamp.direction, normal)
        half = lamp.direction + np.array([0, 0, 1], np.float32)
        facing = np.maximum(_dot(half / np.linalg.norm(half), normal), 0)
        dull = np.square(np.square(facing)) * np.square(np.square(np.square(facing)))  # to the 12th
        arriving = shadow if number == 0 else np.ones_like(shadow)
        highlight = np.where(wet, _power_64(facing), dull) * gloss * arriving * openness * HIGHLIGHT
        arriving = arriving * (0.4 + 0.6 * openness)
        for channel, scale in enumerate(scales):
            lit[channel] += np.maximum((falling - 1) * scale + 1, 0) * arriving * lamp.colour[channel]
            shine[channel] += highlight * lamp.colour[channel]
    return lit, shine


def _dot(direction: Picture, normal: Picture) -> Picture:
    """direction (3,) times normals (3, N)."""
    return np.asarray(direction[0] * normal[0] + direction[1] * normal[1] + direction[2] * normal[2])


def _power_64(values: Picture) -> Picture:
    """values ** 64, by squaring."""
    for _ in range(6):
        values = np.square(values)
    return values


def _paint(material: NDArray[np.int64], place: Picture, skin: Picture, looks: Looks) -> Picture:
    """Colour and gloss at the visible pixels, (4, N)."""
    where = np.stack([(place[0] - LEFT_CM) * PX_PER_CM - 0.5, (place[1] - TOP_CM) * PX_PER_CM - 0.5], axis=-1)
    paint = np.ascontiguousarray(_look_up(skin, where).T)
    strands = np.flatnonzero(material == HAIR)
    streak = _look_up(noise_sheet(), place[:, strands].T * np.array([12.0, 3.0]) + 512)
    shine = np.exp(0.38 * streak)
    for channel, tone in enumerate(looks.hair):
        paint[channel][strands] = tone * shine
    paint[3][strands] = GLOSS[HAIR] * np.clip(1 + 0.7 * streak, 0, 2)
    for kind, colour in ((CLOTH, looks.cloth), (FRAME, looks.frame), (LENS, (0.012, 0.011, 0.012))):
        those = np.flatnonzero(material == kind)
        for plane, value in zip(paint, (*colour, GLOSS[kind]), strict=True):
            plane[those] = value
    return paint


def _look_up(picture: Picture, where: NDArray[np.floating]) -> Picture:
    """Sample a picture at (N, 2) places whose pixel centres are whole numbers, bilinearly, edges repeated."""
    if len(where) == 0:
        return np.zeros((0, *picture.shape[2:]), np.float32)
    columns = 1024  # cv2.remap takes images of less than 32768 px a side, so the list is folded
    padded = np.zeros((-(-len(where) // columns) * columns, 2), np.float32)
    padded[: len(where)] = where
    folded = padded.reshape(-1, columns, 2)
    found = cv2.remap(picture, folded, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, *picture.shape[2:])[: len(where)], np.float32)


def _shadow(
    pixel: NDArray[np.int64], height: Picture, direction: NDArray[np.float32], px_per_cm: float, size: int
) -> Picture:
    """How much of the first light arrives, (N,) 0..1, by walking from each pixel towards it in the image.

    The surface seen is all that can cast a shadow, at half the image's resolution: enough for a nose's,
    a brow's or a chin's.
    """
    surface = np.full(size * size, -100, np.float32)
    surface[pixel] = height
    half = surface.reshape(size, size)[::2, ::2]
    across = float(np.hypot(direction[0], direction[1]))
    if across < 0.05 or len(pixel) == 0:
        return np.ones(len(pixel), np.float32)
    rise = float(direction[2]) / across
    hidden = np.zeros(half.shape, np.float32)
    for step in SHADOW_STEPS_CM:
        dx, dy = -step * px_per_cm / 2 * direction[:2] / across
        matrix = np.array([[1, 0, dx], [0, 1, dy]])
        shifted = cv2.warpAffine(half, matrix, half.shape[::-1], borderValue=-100.0)
        above = shifted - half - step * rise
        hidden = np.maximum(hidden, ((above > 0.12) & (above < SHADOW_THICKNESS_CM)).astype(np.float32))
    soft = cv2.GaussianBlur(hidden, (0, 0), 0.12 * px_per_cm)
    full = cv2.resize(soft, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.asarray(1 - 0.8 * full.reshape(-1)[pixel], np.float32)
