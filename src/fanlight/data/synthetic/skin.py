"""Paints the skin: one flat picture of the face's front plane with eyes, brows, lips, beard and blotches.

The picture's four channels are linear red, green, blue and gloss. A curve of the layout is filled as a
polygon of exactly its points, so a painted edge and its landmark are the same place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.canvas import (
    HEIGHT,
    SKIN_GLOSS,
    WIDTH,
    Canvas,
    Picture,
    coverage,
    ellipse,
    loop,
    noise_patch,
    to_picture,
)
from fanlight.data.synthetic.layout import CURVE_POINTS, Eye, Layout, mouth_y, nose_base_y
from fanlight.data.synthetic.person import SIDES, Generator, Looks, Person, sign

Array = NDArray[np.float64]

WET_GLOSS, LIP_GLOSS = 1.6, 0.5


def paint_face(person: Person, layout: Layout) -> Picture:
    """Paint everything that lies in the skin's surface, (HEIGHT, WIDTH, 4) linear RGB and gloss."""
    rng = np.random.default_rng(person.texture_seed)
    looks = person.looks
    canvas = Canvas(looks.skin, SKIN_GLOSS)
    _complexion(canvas, person, rng)
    _scalp(canvas, looks, rng)
    _folds(canvas, person, layout)
    _nostrils(canvas, person)
    _mouth(canvas, person, layout, rng)
    _beard(canvas, person, layout, rng)
    for side in SIDES:
        _eye(canvas, looks, layout.eyes[side], side)
        _brow(canvas, looks, layout.brows[side], layout.brow_half, side, rng)
    return canvas.picture()


def _complexion(canvas: Canvas, person: Person, rng: Generator) -> None:
    """Redder cheeks, nose and lids, blotches, freckles, pores."""
    looks = person.looks
    skin = np.array(looks.skin)
    red = skin * (0.98, 0.68, 0.68)
    blush = 0.3 + 0.3 * looks.makeup
    for x in (-4.0, 4.0):
        canvas.blend([ellipse((x, 3.4), 1.6, 1.3)], red, blush, soft=0.8)
    canvas.blend([ellipse((0, person.anatomy.nose_length), 1.3, 0.9)], red, 0.35, soft=0.5)
    if looks.makeup:
        shadow = skin * rng.uniform(0.3, 0.9, 3)
        for x in (-3.1, 3.1):
            canvas.blend([ellipse((x, -0.75), 1.5, 0.6)], shadow, 0.6 * looks.makeup, soft=0.25)
    blotches = noise_patch(rng, HEIGHT, WIDTH) * np.float32(0.045 + 0.04 * looks.age)
    canvas.planes[:3] *= 1 + blotches
    if looks.freckles:
        count = int(150 * looks.freckles)
        places = rng.normal((0, 2.6), (3.6, 1.8), (count, 2))
        dots = [ellipse(place, 0.06, 0.06, 6) for place in places]
        canvas.blend(dots, skin * (0.6, 0.45, 0.35), 0.6, soft=0.03)


def _scalp(canvas: Canvas, looks: Looks, rng: Generator) -> None:
    """Hair roots above a soft hairline and down the sides; nothing on a bald head."""
    if looks.style == "bald":
        return
    x = np.linspace(-1, 1, 41)
    hairline = -6.6 - 0.5 * np.cos(3 * np.pi * x) * (np.abs(x) < 0.6)
    side = np.clip((np.abs(x) - 0.62) / 0.12, 0, 1)
    line = np.stack([11.0 * x, hairline + (7.2 + 0.5 - 0.0) * side**1.5], axis=-1)
    roof = np.array([[12.0, -9.0], [-12.0, -9.0]])
    alpha = 0.75 if looks.style == "buzz" else 0.95
    grain = np.float32(1) - np.float32(0.12) * np.abs(noise_patch(rng, HEIGHT, WIDTH))
    canvas.blend([np.concatenate([line, roof])], looks.hair, alpha, soft=0.22, gloss=0.15, grain=grain)


def _folds(canvas: Canvas, person: Person, layout: Layout) -> None:
    """Darker lines where skin folds: nose to mouth, under the eyes, across the forehead."""
    dark = np.array(person.looks.skin) * (0.62, 0.5, 0.48)
    anatomy, age = person.anatomy, person.looks.age
    t = np.linspace(0, 1, 9)
    for side in SIDES:
        s = sign(side)
        smile = max(0.0, person.expression.smile[side])
        x = anatomy.nose_width + 0.1 + (1.1 + 0.25 * smile) * t**0.8
        fold = np.stack([s * x, anatomy.nose_length - 0.1 + 2.7 * t], axis=-1)
        canvas.blend([fold], dark, min(0.9, 0.12 + 0.35 * age + 0.3 * smile), soft=0.09, line=0.12)
        bag = layout.eyes[side].lower[6:-2] + np.array([0, 0.5])
        canvas.blend([bag], dark, 0.15 + 0.4 * age, soft=0.1, line=0.12)
    if age > 0.45:
        x = np.linspace(-3.6, 3.6, 15)
        lift = 0.3 * float(np.mean(person.expression.brows))
        lines = [np.stack([x, y - lift + 0.12 * np.cos(x * 1.7)], axis=-1) for y in (-4.0, -4.8, -5.5)]
        canvas.blend(lines, dark, 0.6 * age, soft=0.07, line=0.1)


def _nostrils(canvas: Canvas, person: Person) -> None:
    anatomy = person.anatomy
    dark = np.array(person.looks.skin) * (0.16, 0.08, 0.07)
    base = nose_base_y(anatomy) - 0.2
    for side in SIDES:
        s = sign(side)
        hole = ellipse((s * 0.4 * anatomy.nose_width, base), 0.23 * anatomy.nose_width, 0.14)
        canvas.blend([hole], dark, 0.95, soft=0.05)
        wing = ellipse((s * 0.93 * anatomy.nose_width, anatomy.nose_length + 0.35), 0.1, 0.5)
        canvas.blend([wing], np.array(person.looks.skin) * (0.6, 0.45, 0.43), 0.6, soft=0.1)


def _mouth(canvas: Canvas, person: Person, layout: Layout, rng: Generator) -> None:
    """Lips between their outer curves, then the opening with teeth and tongue between the inner ones."""
    lips = np.array(person.looks.lips)
    outline = loop(layout.lip_top, layout.lip_bottom)
    canvas.blend([outline], lips * 0.8, 1.0, gloss=LIP_GLOSS + person.looks.makeup)
    middle = 0.5 * (layout.lip_bottom + layout.lip_inner_bottom)
    canvas.blend(
        [middle[12:-12]], lips * 1.35 + 0.02, 0.5, soft=0.18, line=0.4, gloss=LIP_GLOSS, within=outline
    )
    hole = loop(layout.lip_inner_top, layout.lip_inner_bottom)
    gap = person.expression.open_mouth
    if gap < 0.05:
        canvas.blend([layout.lip_inner_top], lips * 0.15, 0.85, line=0.1)
        return
    canvas.blend([hole], (0.035, 0.006, 0.006), 1.0, gloss=0.1)
    line_y, half = mouth_y(person.anatomy), person.anatomy.mouth_width
    if gap > 1.1:
        tongue = ellipse((layout.mouth[0], line_y + 0.95 * gap), 0.55 * half, 0.35 * gap)
        canvas.blend([tongue], (0.34, 0.09, 0.085), 0.9, soft=0.12, gloss=WET_GLOSS, within=hole)
    white = np.array([0.62, 0.58, 0.49]) * rng.uniform(0.75, 1.1)
    bite = line_y + 0.1 - 0.2 * float(np.mean(person.expression.smile))
    if rng.random() < 0.85:
        teeth = ellipse((0, bite - 0.4), 0.86 * half, 0.95 + 0.1 * gap)
        canvas.blend([teeth], white, 1.0, soft=0.04, gloss=0.8, within=hole)
        gaps = [np.array([[x, bite - 1], [x, bite + 0.6]]) for x in np.linspace(-0.7, 0.7, 8) * half]
        canvas.blend(gaps, white * 0.45, 0.35, line=0.06, within=loop(teeth[:1], teeth))
    if gap > 1.6 and rng.random() < 0.5:
        canvas.blend(
            [ellipse((0, line_y + 1.02 * gap), 0.6 * half, 0.4)], white * 0.8, 1.0, soft=0.05, within=hole
        )


def _beard(canvas: Canvas, person: Person, layout: Layout, rng: Generator) -> None:
    """Stubble to full beard along jaw and cheeks, and a moustache; the lips stay free."""
    looks, anatomy = person.looks, person.anatomy
    if not looks.beard:
        return
    grain = np.clip(0.85 + 0.3 * noise_patch(rng, HEIGHT, WIDTH), 0, 1).astype(np.float32)
    colour = np.array(looks.hair) * (0.9 if looks.beard > 0.5 else 1.1)
    alpha = min(0.95, 0.25 + 0.9 * looks.beard)
    lips = loop(layout.lip_top, layout.lip_bottom)
    low = np.floor(to_picture(lips.min(0) - 0.3)).astype(np.int64)
    high = np.ceil(to_picture(lips.max(0) + 0.3)).astype(np.int64)
    window = (slice(None), slice(low[1], high[1]), slice(low[0], high[0]))
    kept = canvas.planes[window].copy()
    mouth, chin_y = layout.mouth[1], layout.chin[1]
    if rng.random() < 0.7:
        upper = np.array(
            [[-8, 0.5], [-6.3, 2.0], [-5.4, 5.0], [-3.4, mouth - 0.3], [-2.4, mouth + 1.6], [0, mouth + 1.9]]
        )
    else:  # chin only
        upper = np.array([[-3.2, mouth + 0.9], [-2.0, mouth + 1.5], [0, mouth + 1.9]])
    right = np.concatenate(
        [upper, [[0, chin_y + 1.3], [-3.5, chin_y + 0.9], [min(-3.5, upper[0, 0]), chin_y - 1]]]
    )
    canvas.blend([right], colour, alpha, soft=0.35, gloss=0.1, grain=grain)
    canvas.blend([right * (-1, 1)], colour, alpha, soft=0.35, gloss=0.1, grain=grain)
    if looks.moustache:
        base = nose_base_y(anatomy) + 0.35
        half = anatomy.mouth_width
        shape = np.array([[-half - 0.4, mouth + 0.9], [-half - 0.2, mouth - 0.5], [-1.0, base], [1.0, base],
                          [half + 0.2, mouth - 0.5], [half + 0.4, mouth + 0.9], [half - 0.1, mouth + 0.2],
                          [-half + 0.1, mouth + 0.2]])  # fmt: skip
        canvas.blend([shape], colour, alpha, soft=0.16, gloss=0.1, grain=grain)
    free = coverage([lips], low, high, 0.0) / np.float32(255)
    canvas.planes[window] += free * (kept - canvas.planes[window])


def _eye(canvas: Canvas, looks: Looks, eye: Eye, side: int) -> None:
    """White, iris and pupil inside the lids, then the lids' edges, lashes and crease."""
    opening = loop(eye.upper, eye.lower)
    skin = np.array(looks.skin)
    canvas.blend([opening], (0.55, 0.5, 0.47), 1.0, gloss=WET_GLOSS)
    canvas.blend(
        [eye.upper + np.array([0, 0.1])],
        (0.16, 0.12, 0.11),
        0.55,
        soft=0.12,
        line=0.25,
        gloss=WET_GLOSS,
        within=opening,
    )
    inner = eye.upper[-1] + (-0.08 * sign(side), 0.05)
    canvas.blend(
        [ellipse(inner, 0.22, 0.14)], (0.45, 0.17, 0.15), 0.8, soft=0.05, gloss=WET_GLOSS, within=opening
    )
    iris = np.array(looks.iris)
    for radius, colour in ((0.62, iris * 0.35), (0.55, iris), (0.36, iris * 1.5), (0.24, np.full(3, 0.004))):
        canvas.blend([ellipse(eye.iris, radius, radius)], colour, 1.0, gloss=WET_GLOSS, within=opening)
    glint = eye.iris + np.array([0.17, -0.2])
    canvas.blend([ellipse(glint, 0.09, 0.09, 10)], (0.9, 0.9, 0.9), 0.85, gloss=WET_GLOSS, within=opening)
    canvas.blend([eye.lower + np.array([0, 0.03])], skin * (0.75, 0.55, 0.52), 0.8, soft=0.03, line=0.08)
    lash = 0.1 + 0.07 * looks.makeup
    canvas.blend([eye.upper], np.array((0.015, 0.01, 0.008)), 0.65 + 0.3 * looks.makeup, soft=0.02, line=lash)
    crease = eye.upper[2:-2] + np.stack(
        [np.zeros(CURVE_POINTS - 4), np.linspace(-0.2, -0.34, CURVE_POINTS - 4)], -1
    )
    canvas.blend([crease], skin * (0.55, 0.4, 0.38), 0.55, soft=0.06, line=0.1)


def _brow(canvas: Canvas, looks: Looks, curve: Array, half: Array, side: int, rng: Generator) -> None:
    """A soft band along the brow's middle line, and short hairs across it."""
    up = curve - np.stack([0 * half, half], axis=-1)
    down = curve + np.stack([0 * half, half], axis=-1)
    canvas.blend([loop(up, down)], looks.brows, 0.6, soft=0.08, gloss=0.1)
    t = rng.uniform(0, CURVE_POINTS - 1, 70)
    place = np.stack([np.interp(t, np.arange(CURVE_POINTS), curve[:, axis]) for axis in (0, 1)], axis=-1)
    reach = np.interp(t, np.arange(CURVE_POINTS), half)
    place[:, 1] += reach * rng.uniform(-0.8, 0.8, 70)
    lean = np.stack([sign(side) * rng.uniform(0.1, 0.4, 70), rng.uniform(-0.3, 0.02, 70)], axis=-1)
    canvas.blend(
        list(np.stack([place, place + lean], axis=1)), np.array(looks.brows) * 0.8, 0.7, line=0.05, gloss=0.1
    )
