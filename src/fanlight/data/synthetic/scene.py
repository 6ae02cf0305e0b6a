"""What surrounds a face in a photograph: background, things in front of it, and the camera's faults."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.canvas import noise_patch
from fanlight.data.synthetic.person import SKINS, Generator

Picture = NDArray[np.float32]

OCCLUDED_SHARE = 0.3  # of the faces have something in front
GAMMA = 2.2


def background(rng: Generator, size: int) -> Picture:
    """(size, size, 3) linear RGB: a gradient with noise, blurred shapes or stripes."""
    corners = (rng.random((2, 2, 3)) ** 2.2 * rng.uniform(0.2, 1)).astype(np.float32)
    if rng.random() < 0.4:
        corners = corners[:1, :1] * rng.uniform(0.8, 1.2, (2, 2, 1)).astype(np.float32)
    image = np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    kind = rng.integers(4)
    if kind == 1:
        _shapes(rng, image, int(rng.integers(6, 30)))
    elif kind == 2:
        _stripes(rng, image)
    elif kind == 3:
        _shapes(rng, image, int(rng.integers(40, 120)))
    image *= np.exp(rng.uniform(0, 0.35) * _noise(rng, size))[..., None]
    grey = image.mean(axis=-1, keepdims=True)
    image = grey + np.float32(rng.beta(1.2, 2)) * (image - grey)
    blur = float(rng.choice((0.5, 2, 5))) * size / 256
    return np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.float32)


def _noise(rng: Generator, size: int) -> Picture:
    """(size, size) smooth noise at a random magnification."""
    cells = int(rng.integers(48, 512))
    return np.asarray(cv2.resize(noise_patch(rng, cells, cells), (size, size)), np.float32)


def _shapes(rng: Generator, image: Picture, count: int) -> None:
    """Scatter rectangles, discs and triangles, also the skin-coloured blobs that fool a model."""
    size = len(image)
    for _ in range(count):
        colour = SKINS[rng.integers(len(SKINS))] if rng.random() < 0.2 else rng.random(3) ** 2.2
        x, y = (int(v) for v in rng.integers(-size // 8, size + size // 8, 2))
        a, b = (int(v) for v in rng.integers(size // 40 + 1, size // 4, 2))
        fill = tuple(float(c) for c in colour)
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(image, (x, y), (x + a, y + b), fill, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.ellipse(
                image, (x, y), (a // 2, b // 2), float(rng.uniform(0, 180)), 0, 360, fill, -1, cv2.LINE_AA
            )
        else:
            corners = np.array([[x, y], [x + a, y + int(rng.integers(-b, b))], [x + a // 2, y + b]], np.int32)
            cv2.fillConvexPoly(image, corners, fill, cv2.LINE_AA)


def _stripes(rng: Generator, image: Picture) -> None:
    """Curtains, blinds, bricks: a wave along a random direction."""
    size = len(image)
    direction = rng.uniform(0, np.pi)
    frequency = rng.uniform(0.05, 0.5) * 256 / size
    x, y = np.meshgrid(np.arange(size, dtype=np.float32), np.arange(size, dtype=np.float32))
    wave = np.sin((x * np.cos(direction) + y * np.sin(direction)) * np.float32(frequency))
    if rng.random() < 0.5:
        wave = np.sign(wave) * np.float32(0.6)
    image *= (1 + np.float32(rng.uniform(0.1, 0.6)) * wave.astype(np.float32))[..., None]


def occlude(rng: Generator, image: Picture, face: NDArray[np.float64]) -> None:
    """Put a hand, a bar, a patch, strands of hair or a veil in front of a face, in place.

    Args:
        rng: all draws come from here.
        image: (size, size, 3) linear RGB, changed.
        face: (4,) box of the face, px.
    """
    if rng.random() >= OCCLUDED_SHARE:
        return
    side = float(np.mean(face[2:] - face[:2]))
    edge = rng.uniform(0, 2 * np.pi)  # covers come in from the outside more than across the middle
    centre = 0.5 * (face[:2] + face[2:]) + side * rng.uniform(0.25, 0.6) * np.array(
        [np.cos(edge), np.sin(edge)]
    )
    kind = rng.choice(
        ("hand", "bar", "patch", "strands", "object", "veil"), p=(0.3, 0.12, 0.13, 0.2, 0.2, 0.05)
    )
    if kind == "hand":
        colour = SKINS[rng.integers(len(SKINS))] * rng.uniform(0.7, 1.1)
        _puffy(image, _hand(rng, image.shape[0], centre, side), colour, rng, 0.09 * side)
    elif kind == "object":
        mask = np.zeros(image.shape[:2], np.uint8)
        axes = tuple(int(v) for v in side * rng.uniform(0.1, 0.28, 2))
        cv2.ellipse(mask, _whole(centre), axes, float(rng.uniform(0, 180)), 0, 360, (255,), -1, cv2.LINE_AA)
        _puffy(image, mask, rng.random(3) ** 2, rng, 0.2 * side)
    elif kind == "strands":
        _strands(rng, image, face, side)
    else:
        mask = np.zeros(image.shape[:2], np.uint8)
        size = side * (
            np.array([2.5, rng.uniform(0.06, 0.16)]) if kind == "bar" else rng.uniform(0.2, 0.45, 2)
        )
        corners = cv2.boxPoints(
            (tuple(map(float, centre)), tuple(map(float, size)), float(rng.uniform(0, 180)))
        )
        cv2.fillConvexPoly(mask, np.round(corners * 16).astype(np.int32), (255,), cv2.LINE_AA, 4)
        alpha = rng.uniform(0.25, 0.6) if kind == "veil" else 1.0
        texture = np.exp(0.3 * _noise(rng, len(image)))[..., None] * (rng.random(3) ** 2).astype(np.float32)
        _over(image, mask, texture, alpha)


def _whole(point: NDArray[np.float64]) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _over(image: Picture, mask: NDArray[np.uint8], colour: Picture, alpha: float = 1.0) -> None:
    """Blend a colour over the image where the mask (0..255) says."""
    opacity = mask.astype(np.float32)[..., None] * np.float32(alpha / 255)
    image += opacity * (colour - image)


def _hand(rng: Generator, size: int, centre: NDArray[np.float64], side: float) -> NDArray[np.uint8]:
    """Mask of a palm with four fingers and a thumb, as thick lines."""
    mask = np.zeros((size, size), np.uint8)
    turn = rng.uniform(0, 2 * np.pi)
    width = 0.095 * side * rng.uniform(0.85, 1.2)
    spread = rng.uniform(0.02, 0.14)

    def place(along: float, across: float) -> tuple[int, int]:
        c, s = np.cos(turn), np.sin(turn)
        return _whole(centre + np.array([along * c - across * s, along * s + across * c]))

    cv2.line(mask, place(-7 * width, 0.0), place(-2 * width, 0.0), (255,), int(2.6 * width), cv2.LINE_AA)
    cv2.line(mask, place(-1.6 * width, 0.0), place(-0.6 * width, 0.0), (255,), int(3.9 * width), cv2.LINE_AA)
    for finger, length in enumerate((3.0, 4.0, 4.3, 3.6)):
        across = (finger - 1.5) * 1.12 * width
        tip = place(length * width, across * (1 + 6 * spread))
        cv2.line(mask, place(0, across), tip, (255,), int(width), cv2.LINE_AA)
    cv2.line(
        mask,
        place(-1.5 * width, 1.8 * width),
        place(1.2 * width, 3.6 * width),
        (255,),
        int(width),
        cv2.LINE_AA,
    )
    return mask


def _puffy(
    image: Picture, mask: NDArray[np.uint8], colour: NDArray[np.float64], rng: Generator, radius: float
) -> None:
    """Shade a flat mask as if it were inflated: its height grows with the distance to its edge."""
    distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    inside = np.clip(distance / radius, 0, 1)
    height = cv2.GaussianBlur(np.sqrt(1 - (1 - inside) ** 2) * radius, (0, 0), max(0.6, radius / 8))
    slope_x, slope_y = cv2.Sobel(height, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(height, cv2.CV_32F, 0, 1) / 8
    light = rng.normal(0, 0.5, 2)
    lit = (1 - light[0] * slope_x - light[1] * slope_y) / np.sqrt(1 + slope_x**2 + slope_y**2)
    shadow = cv2.GaussianBlur(mask, (0, 0), max(1.0, radius / 4))
    _over(image, np.asarray(shadow, np.uint8), np.float32(0.01) + 0 * image, 0.45)
    tone = np.clip(lit, 0.12, 1.6)[..., None] * colour.astype(np.float32) * np.float32(rng.uniform(0.5, 1.0))
    _over(image, mask, tone.astype(np.float32))


def _strands(rng: Generator, image: Picture, face: NDArray[np.float64], side: float) -> None:
    """Locks of loose hair falling over the face."""
    mask = np.zeros(image.shape[:2], np.uint8)
    root = np.array([rng.uniform(face[0], face[2]), face[1] - 0.5 * side])
    t = np.linspace(0, 1, 12)[:, None]
    sway = rng.uniform(-0.6, 0.6)
    for _ in range(int(rng.integers(6, 40))):
        start = root + rng.normal(0, 0.06 * side, 2)
        end = start + side * np.array([sway + rng.normal(0, 0.08), rng.uniform(0.8, 1.6)])
        bend = side * np.array([rng.normal(0.1, 0.06), 0.0])
        path = start + (end - start) * t + bend * np.sin(np.pi * t)
        cv2.polylines(mask, [np.round(path * 16).astype(np.int32)], False, (255,),
                      int(rng.integers(1, 3)), cv2.LINE_AA, 4)  # fmt: skip
    _over(image, mask, (rng.random(3) ** 3 * 0.3).astype(np.float32) + 0 * image, 0.9)


def photograph(rng: Generator, image: Picture) -> NDArray[np.uint8]:
    """Develop linear RGB (size, size, 3) into an 8-bit photograph: blur, tint, contrast, noise."""
    size = len(image)
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), float(0.35 + rng.gamma(1.2, 0.25)) * size / 256))
    if rng.random() < 0.12:
        image = _shaken(rng, image)
    if rng.random() < 0.2:
        small = max(16, int(size * rng.uniform(0.3, 0.7)))
        image = cv2.resize(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size))
    gain = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    photo = np.asarray(cv2.pow(np.clip(image * gain, 0, 1.5), 1 / GAMMA), np.float32)
    photo = photo + np.float32(rng.normal(0, 0.12)) * (photo - np.float32(0.45))
    if rng.random() < 0.08:
        photo = np.repeat(photo.mean(axis=-1, keepdims=True), 3, axis=-1)
    grain = rng.standard_normal((size, size, 1), np.float32) * np.float32(rng.gamma(1.2, 0.009))
    return np.asarray(np.clip((photo + grain) * 255 + 0.5, 0, 255).astype(np.uint8))


def _shaken(rng: Generator, image: Picture) -> Picture:
    """Blur along a line that is centred, so that nothing moves."""
    length = 2 * int(rng.integers(1, 4)) + 1
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = (length - 1) / 2
    for t in np.linspace(-reach, reach, 4 * length):
        kernel[round(reach + t * np.sin(angle)), round(reach + t * np.cos(angle))] += 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.float32)
