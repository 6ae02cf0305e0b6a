"""Where the features of a face lie: curves in its front plane, from which it is both drawn and labelled.

Everything here is in centimetres (see `person`). The skin painter fills exactly these curves, the head's
surface is shaped along them, and the landmarks are points on them: that is what makes the labels exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.person import SIDES, Anatomy, Expression, Person, sign

Array = NDArray[np.float64]

CURVE_POINTS = 33  # of each drawn curve: finer than a texture pixel
#: Azimuth (degrees from the midline) and height above the chin of the jaw's lower edge, as a share of
#: the way from the chin to the eye line: chin, jaw angle near 70, ear lobe, base of the skull behind.
JAW_AZIMUTH = np.array([0.0, 15, 30, 45, 60, 72, 82, 90, 115, 150, 180])
JAW_LIFT = np.array([0.0, 0.015, 0.065, 0.155, 0.27, 0.385, 0.53, 0.65, 0.72, 0.66, 0.62])


@dataclass(frozen=True)
class Eye:
    """One eye: lids from the outer to the inner corner, (N, 2), and the iris."""

    upper: Array
    lower: Array
    iris: Array  # centre (2,)
    landmarks: Array  # (6, 2): outer, upper outer, upper inner, inner, lower inner, lower outer


@dataclass(frozen=True)
class Layout:
    """The features of one face with its expression; curves are (N, 2), pairs are (right, left)."""

    eyes: tuple[Eye, Eye]
    brows: tuple[Array, Array]  # middle line, outer end first
    brow_half: Array  # (N,) half thickness along both brows
    lip_top: Array  # the four lip curves run from the subject's right to the left
    lip_inner_top: Array
    lip_inner_bottom: Array
    lip_bottom: Array
    nose: Array  # (9, 2) landmarks 27-35
    brow_landmarks: Array  # (10, 2) landmarks 17-26
    lip_landmarks: Array  # (20, 2) landmarks 48-67
    mouth: Array  # centre of the mouth line (2,)
    chin: Array  # (2,)


def lay_out(person: Person) -> Layout:
    """Place all features of a person's face."""
    anatomy, expression = person.anatomy, person.expression
    eyes = tuple(_eye(anatomy, expression, side) for side in SIDES)
    brows, brow_landmarks = _brows(anatomy, expression)
    top, inner_top, inner_bottom, bottom, lip_landmarks = _lips(anatomy, expression)
    chin_y = anatomy.chin_y + 0.85 * expression.open_mouth
    return Layout(
        eyes=(eyes[0], eyes[1]),
        brows=brows,
        brow_half=0.5 * anatomy.brow_thickness * _brow_profile(np.linspace(0, 1, CURVE_POINTS)),
        lip_top=top,
        lip_inner_top=inner_top,
        lip_inner_bottom=inner_bottom,
        lip_bottom=bottom,
        nose=_nose(anatomy, expression),
        brow_landmarks=brow_landmarks,
        lip_landmarks=lip_landmarks,
        mouth=np.array([0.5 * expression.jaw_shift, mouth_y(anatomy)]),
        chin=np.array([expression.jaw_shift, chin_y]),
    )


def nose_base_y(anatomy: Anatomy) -> float:
    """Where the nose meets the upper lip."""
    return anatomy.nose_length + 0.95


def mouth_y(anatomy: Anatomy) -> float:
    """Height of the closed mouth's line."""
    return nose_base_y(anatomy) + anatomy.mouth_drop


def jaw_y(azimuth: Array, chin_y: float) -> Array:
    """Height of the jaw's lower edge at an azimuth in radians."""
    lift = smooth_curve(np.abs(np.degrees(azimuth)), JAW_AZIMUTH, JAW_LIFT)
    return np.asarray(chin_y * (1 - lift))


def smooth_curve(x: Array | float, knots: Array, values: Array) -> Array:
    """Cubic Hermite curve through (knots, values), slopes by finite differences, constant outside."""
    x = np.clip(x, knots[0], knots[-1])
    slopes = np.gradient(values, knots)
    i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, len(knots) - 2)
    width = knots[i + 1] - knots[i]
    t = (x - knots[i]) / width
    start, end = values[i], values[i + 1]
    bend = width * (t * (1 - t) ** 2 * slopes[i] - t**2 * (1 - t) * slopes[i + 1])
    return np.asarray(start + (end - start) * t * t * (3 - 2 * t) + bend)


def _at(t: Array, curve: Array, where: tuple[float, ...]) -> Array:
    """Points of a drawn curve (linear between its points, as it is drawn) at values of its parameter."""
    return np.stack([np.interp(where, t, curve[:, axis]) for axis in (0, 1)], axis=-1)


def _eye(anatomy: Anatomy, expression: Expression, side: int) -> Eye:
    """Lids as arcs between the corners; closing brings the upper lid down onto the lower."""
    t = np.linspace(0, 1, CURVE_POINTS)  # 0 outer corner, 1 inner
    inner = 0.5 * anatomy.eye_gap
    x = sign(side) * (inner + anatomy.eye_length * (1 - t))
    corners = -anatomy.eye_tilt * (1 - t)
    arc = (4 * t * (1 - t)) ** 0.75
    openness = expression.eyes[side]
    squint = 0.22 * max(0.0, expression.smile[side])  # a smile lifts the lower lid
    lower = corners + (0.42 - squint) * arc * (1.1 - 0.2 * t)
    rest = corners - anatomy.eye_height * arc * (0.9 + 0.2 * t)
    upper = lower + (rest - lower) * openness
    upper_lid, lower_lid = np.stack([x, upper], axis=-1), np.stack([x, lower], axis=-1)
    where = (0.33, 0.67)
    top, bottom = _at(t, upper_lid, where), _at(t, lower_lid, where)
    centre = np.array([sign(side) * (inner + 0.5 * anatomy.eye_length), -0.5 * anatomy.eye_tilt - 0.1])
    return Eye(
        upper=upper_lid,
        lower=lower_lid,
        iris=centre + np.array([expression.gaze_x, expression.gaze_y]),
        landmarks=np.stack([upper_lid[0], top[0], top[1], upper_lid[-1], bottom[1], bottom[0]]),
    )


def _brow_profile(t: Array) -> Array:
    """Relative thickness along a brow, outer end first: a taper outside, full towards the nose."""
    return np.asarray(np.sin(np.pi * (0.08 + 0.8 * t)) ** 0.8 * (0.5 + 0.6 * t))


def _brows(anatomy: Anatomy, expression: Expression) -> tuple[tuple[Array, Array], Array]:
    """Brow middle lines and their landmarks 17-26, at the ends and the quarters of the lines."""
    t = np.linspace(0, 1, CURVE_POINTS)
    inner = 0.5 * anatomy.eye_gap - 0.3 - 0.2 * max(0.0, expression.frown)
    outer = 0.5 * anatomy.eye_gap + anatomy.eye_length + 0.75
    curves, landmarks = [], []
    for side in SIDES:
        x = sign(side) * (outer + (inner - outer) * t)
        y = anatomy.brow_y + 0.45 - 0.7 * np.sin(np.pi * (0.12 + 0.62 * t)) ** 1.3
        y -= anatomy.brow_arch * np.exp(-(((t - 0.35) / 0.25) ** 2))
        y -= 0.65 * expression.brows[side] * (1 - 0.3 * t)
        y += 0.55 * expression.frown * t**2
        curve = np.stack([x, y], axis=-1)
        points = _at(t, curve, (0, 0.25, 0.5, 0.75, 1))
        curves.append(curve)
        landmarks.append(points if side == SIDES[0] else points[::-1])
    return (curves[0], curves[1]), np.concatenate(landmarks)


def _lips(anatomy: Anatomy, expression: Expression) -> tuple[Array, Array, Array, Array, Array]:
    """Four lip curves and landmarks 48-67. Opening moves the lower lip with the jaw."""
    t = np.sin(np.linspace(-0.5, 0.5, 2 * CURVE_POINTS) * np.pi)  # -1 right corner, 1 left; dense there
    smile = np.interp(t, (-1, 1), expression.smile)
    spread = 1 + 0.16 * np.mean(expression.smile) - 0.42 * expression.pucker
    half = anatomy.mouth_width * spread - 0.1 * expression.open_mouth
    thick = 1 + 0.3 * expression.pucker - 0.15 * np.clip(np.mean(expression.smile), 0, 1)
    gap = expression.open_mouth
    x = 0.5 * expression.jaw_shift + half * t
    corner_y = 0.35 * gap - 0.05 - 0.7 * smile  # the corners hang half-way of the gap and rise with a smile
    line = mouth_y(anatomy) + corner_y * t**2 + 0.06 * np.cos(2.5 * np.pi * t) * (1 - t**2)
    belly = 1 - t**2
    cupid = 1 - 0.22 * np.exp(-((t / 0.16) ** 2))
    upper_edge = line - 0.12 * gap * belly
    lower_edge = line + 0.88 * gap * belly**0.8
    top = upper_edge - thick * anatomy.upper_lip * belly**0.75 * cupid
    bottom = lower_edge + thick * anatomy.lower_lip * belly**0.6
    inner = 0.9  # the inner corners lie a little inside the outer ones
    curves = [np.stack([x, y], axis=-1) for y in (top, upper_edge, lower_edge, bottom)]
    inner_curves = [
        np.stack([inner * (x - x.mean()) + x.mean(), curve[:, 1]], axis=-1) for curve in curves[1:3]
    ]
    landmarks = np.concatenate(
        [
            _at(t, curves[0], (-1, -0.62, -0.22, 0, 0.22, 0.62, 1)),
            _at(t, curves[3], (0.62, 0.28, 0, -0.28, -0.62)),
            _at(t, inner_curves[0], (-1, -0.4, 0, 0.4, 1)),
            _at(t, inner_curves[1], (0.4, 0, -0.4)),
        ]
    )
    return curves[0], inner_curves[0], inner_curves[1], curves[3], landmarks


def _nose(anatomy: Anatomy, expression: Expression) -> Array:
    """Landmarks 27-30 down the ridge and 31-35 along the base, wing to wing."""
    ridge = np.stack([np.zeros(4), np.linspace(0.0, anatomy.nose_length, 4)], axis=-1)
    flare = anatomy.nose_width * (1 + 0.06 * max(0.0, float(np.mean(expression.smile))))
    base_y = nose_base_y(anatomy)
    base_x = flare * np.array([-0.78, -0.4, 0.0, 0.4, 0.78])
    base = np.stack([base_x, base_y - np.array([0.22, 0.08, 0.0, 0.08, 0.22])], axis=-1)
    return np.concatenate([ridge, base])
