"""Who is drawn: anatomy, expression, colours and style of one synthetic person, drawn at random.

Lengths are centimetres of a real head, in the front plane of a face that looks at us: x to the image's
right (so the subject's right side has x < 0), y down, both 0 between the eyes; z comes towards us.
What may differ between the sides is a pair (subject's right, subject's left).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Pair = tuple[float, float]
Colour = tuple[float, float, float]
Generator = np.random.Generator

RIGHT, LEFT = 0, 1
SIDES = (RIGHT, LEFT)


def sign(side: int) -> float:
    """-1 for the subject's right (image left, x < 0), +1 for the left."""
    return -1.0 if side == RIGHT else 1.0


@dataclass(frozen=True)
class Anatomy:
    """The bones and the cartilage. Half widths are from the midline."""

    skull_width: float  # half width at the temples
    cheek_width: float  # half width at the cheekbones
    jaw_width: float  # half width at the jaw angle
    chin_width: float  # half width just above the chin's tip
    chin_y: float
    crown_y: float
    depth: float  # from the ears' plane to the forehead
    chin_forward: float
    brow_ridge: float
    cheekbone: float
    socket: float  # how deep the eyes lie
    eye_gap: float  # between the inner corners
    eye_length: float  # from inner to outer corner
    eye_height: float  # upper lid above the corners, eye at rest
    eye_tilt: float  # outer corner above the inner
    brow_y: float
    brow_arch: float
    brow_thickness: float
    nose_length: float
    nose_height: float  # the tip in front of the face
    nose_width: float  # half width at the wings
    bridge: float  # height of the nose's root
    mouth_drop: float  # from the nose's base to the mouth line
    mouth_width: float  # half width
    upper_lip: float
    lower_lip: float
    ear_size: float
    neck_width: float


@dataclass(frozen=True)
class Expression:
    """What the muscles do. 0 is at rest unless said otherwise."""

    open_mouth: float  # gap between the lips, cm
    smile: Pair  # -1 sad .. 1 broad
    pucker: float  # 0 .. 1
    eyes: Pair  # 0 closed, 1 at rest, 1.4 wide
    brows: Pair  # -1 down .. 1 up
    frown: float  # inner ends of the brows: -1 up (worry) .. 1 down (anger)
    jaw_shift: float  # cm to the image's right
    gaze_x: float  # cm the iris moves on the eye
    gaze_y: float


@dataclass(frozen=True)
class Looks:
    """Colours (linear RGB, 0..1) and style."""

    skin: Colour
    lips: Colour
    iris: Colour
    hair: Colour
    brows: Colour
    cloth: Colour
    style: str  # of the hair, a key of `hair.STYLES`
    parting: float  # where the hairline is highest, radians of azimuth
    volume: float  # hair thickness, cm
    beard: float  # 0 none .. 1 full
    moustache: float
    freckles: float
    age: float  # depth of folds, 0 .. 1
    makeup: float
    glasses: str  # "", "clear" or "dark"
    glasses_shape: float  # 0 round .. 1 angular
    frame: Colour


@dataclass(frozen=True)
class Person:
    """Everything that decides one head's shape and colours; `texture_seed` the details of its skin and hair."""

    anatomy: Anatomy
    expression: Expression
    looks: Looks
    texture_seed: int

    def mirrored(self) -> Person:
        """The same person in a mirror: the sides change places (details of skin and hair are not mirrored)."""
        e = self.expression
        expression = replace(
            e,
            smile=e.smile[::-1],
            eyes=e.eyes[::-1],
            brows=e.brows[::-1],
            jaw_shift=-e.jaw_shift,
            gaze_x=-e.gaze_x,
        )
        return replace(self, expression=expression, looks=replace(self.looks, parting=-self.looks.parting))


def random_person(rng: Generator) -> Person:
    """Draw one person; all draws come from `rng`."""
    return Person(random_anatomy(rng), random_expression(rng), random_looks(rng), int(rng.integers(2**31)))


def around(rng: Generator, mean: float, spread: float) -> float:
    """A normal draw, cut at 2.2 standard deviations so that no head falls apart."""
    return float(mean + spread * np.clip(rng.normal(), -2.2, 2.2))


def random_anatomy(rng: Generator) -> Anatomy:
    """Means and spreads follow adult head measurements, the spreads a third wider."""
    stocky = around(rng, 0, 1)  # one draw that widens the whole lower face together
    return Anatomy(
        skull_width=around(rng, 7.5, 0.3),
        cheek_width=around(rng, 7.0 + 0.2 * stocky, 0.25),
        jaw_width=around(rng, 5.9 + 0.4 * stocky, 0.35),
        chin_width=around(rng, 2.6 + 0.2 * stocky, 0.35),
        chin_y=around(rng, 10.5, 0.55),
        crown_y=around(rng, -11.2, 0.5),
        depth=around(rng, 8.7, 0.4),
        chin_forward=around(rng, 0.0, 0.45),
        brow_ridge=around(rng, 0.45, 0.2),
        cheekbone=around(rng, 0.45, 0.2),
        socket=around(rng, 0.9, 0.2),
        eye_gap=around(rng, 3.3, 0.25),
        eye_length=around(rng, 2.9, 0.2),
        eye_height=around(rng, 0.72, 0.14),
        eye_tilt=around(rng, 0.15, 0.17),
        brow_y=around(rng, -2.15, 0.25),
        brow_arch=around(rng, 0.4, 0.25),
        brow_thickness=around(rng, 0.65, 0.2),
        nose_length=around(rng, 4.2, 0.4),
        nose_height=around(rng, 2.5, 0.4),
        nose_width=around(rng, 1.85, 0.22),
        bridge=around(rng, 0.75, 0.22),
        mouth_drop=around(rng, 2.15, 0.25),
        mouth_width=around(rng, 2.55, 0.25),
        upper_lip=around(rng, 0.7, 0.2),
        lower_lip=around(rng, 0.95, 0.22),
        ear_size=around(rng, 1.0, 0.12),
        neck_width=around(rng, 5.7 + 0.3 * stocky, 0.45),
    )


def random_expression(rng: Generator) -> Expression:
    """Half of the mouths are closed, one eye pair in ten is shut; the sides differ a little."""
    smile = around(rng, 0.3, 0.45)
    brows = around(rng, 0.0, 0.45)
    eyes = 0.0 if rng.random() < 0.08 else float(np.clip(around(rng, 1.0, 0.22), 0.2, 1.45))
    wink = rng.random() < 0.03
    lopsided = around(rng, 0.0, 0.12)
    return Expression(
        open_mouth=0.0 if rng.random() < 0.5 else float(np.clip(rng.gamma(1.6, 0.75), 0.1, 4.5)),
        smile=(smile + lopsided, smile - lopsided),
        pucker=float(rng.uniform(0.3, 1.0)) if rng.random() < 0.1 else 0.0,
        eyes=(0.0 if wink else eyes, eyes),
        brows=(brows + around(rng, 0, 0.12), brows - lopsided),
        frown=around(rng, -0.05, 0.28),
        jaw_shift=around(rng, 0.0, 0.12),
        gaze_x=around(rng, 0.0, 0.35),
        gaze_y=around(rng, 0.02, 0.12),
    )


#: Skin from light to dark, linear RGB; a person lies anywhere between.
SKINS = np.array(
    [
        (0.80, 0.56, 0.46),
        (0.68, 0.43, 0.31),
        (0.52, 0.30, 0.19),
        (0.32, 0.165, 0.095),
        (0.16, 0.078, 0.046),
        (0.075, 0.036, 0.023),
    ]
)
#: Hair styles (see `hair.STYLES`) and how often they are worn.
STYLE_SHARES = {"bald": 0.06, "buzz": 0.1, "short": 0.22, "fringe": 0.08, "bob": 0.1, "long": 0.14,
                "curly": 0.12, "afro": 0.04, "swept": 0.06, "hat": 0.05, "scarf": 0.03}  # fmt: skip
HAIRS = ((0.012, 0.01, 0.01), (0.035, 0.02, 0.013), (0.09, 0.045, 0.022), (0.24, 0.13, 0.05),
         (0.5, 0.35, 0.17), (0.26, 0.07, 0.02), (0.45, 0.44, 0.43), (0.2, 0.19, 0.19))  # fmt: skip
IRISES = ((0.05, 0.025, 0.012), (0.13, 0.065, 0.025), (0.1, 0.14, 0.06), (0.11, 0.2, 0.3), (0.2, 0.22, 0.22))


def random_looks(rng: Generator) -> Looks:
    """Colours and style; darker skins get darker hair and eyes more often."""
    tone = float(rng.beta(1.1, 1.4)) * (len(SKINS) - 1)
    skin = np.array([np.interp(tone, np.arange(len(SKINS)), SKINS[:, c]) for c in range(3)])
    skin = skin * np.exp(rng.normal(0, (0.06, 0.08, 0.1)))
    reach = len(HAIRS) if tone < 2.5 else 3
    hair = np.array(HAIRS[int(rng.integers(reach))]) * np.exp(rng.normal(0, 0.2))
    iris = IRISES[int(rng.integers(len(IRISES) if tone < 2 else 2))]
    makeup = float(rng.random() < 0.25) * float(rng.uniform(0.3, 1))
    natural_lips = skin * (0.85, 0.55, 0.58) + (0.03, 0.005, 0.01)
    lipstick = np.array([rng.uniform(0.15, 0.6), rng.uniform(0.01, 0.12), rng.uniform(0.02, 0.18)])
    bearded = makeup == 0 and rng.random() < 0.4
    beard = float(rng.uniform(0.15, 1)) if bearded else 0.0
    style = str(rng.choice(tuple(STYLE_SHARES), p=tuple(STYLE_SHARES.values())))
    return Looks(
        skin=_colour(skin),
        lips=_colour(natural_lips + makeup * (lipstick - natural_lips)),
        iris=_colour(np.array(iris) * np.exp(rng.normal(0, 0.2, 3))),
        hair=_colour(hair),
        brows=_colour(hair * rng.uniform(0.35, 0.9)),
        cloth=_colour(_faded(rng, rng.random(3) ** 2.2)),
        style=style,
        parting=around(rng, 0.0, 0.35),
        volume=float(rng.uniform(0.6, 2.2)),
        beard=beard,
        moustache=beard if rng.random() < 0.75 else 0.0,
        freckles=float(rng.random() < 0.2) * float(rng.uniform(0.2, 1)),
        age=float(rng.beta(1.2, 2)),
        makeup=makeup,
        glasses=str(rng.choice(("", "clear", "dark"), p=(0.76, 0.17, 0.07))),
        glasses_shape=float(rng.random()),
        frame=_colour(_faded(rng, rng.random(3) ** 3 * 0.6)),
    )


def _faded(rng: Generator, colour: np.ndarray) -> np.ndarray:
    """The colour mixed with its grey: most things people wear are not garish."""
    return np.asarray(colour.mean() + rng.beta(1.2, 1.8) * (colour - colour.mean()))


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = np.clip(values, 0.003, 0.9)
    return float(red), float(green), float(blue)
