"""One synthetic face from its seed: draw a person and a view, render, photograph, label."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.data.synthetic.camera import View, contour, pose_body
from fanlight.data.synthetic.hair import ear_meshes, glasses_meshes, hair_mesh
from fanlight.data.synthetic.layout import lay_out
from fanlight.data.synthetic.mesh import SKIN, Mesh
from fanlight.data.synthetic.person import Generator, Person, around, random_person
from fanlight.data.synthetic.raster import rasterise
from fanlight.data.synthetic.scene import background, occlude, photograph
from fanlight.data.synthetic.shade import Lighting, random_lighting, shade
from fanlight.data.synthetic.shape import AZIMUTHS, JAW_ROW, Head, build_head, jaw_lines, landmarks_on_head
from fanlight.data.synthetic.skin import paint_face

Array = NDArray[np.float64]

FACE_BRIGHTNESS = 0.27  # linear, of a well exposed face
SUPERSAMPLE = 1.5  # rendered larger by this in each direction, then averaged


@dataclass(frozen=True)
class SyntheticFace:
    """A drawn face and what is known about it.

    Attributes:
        image: (size, size, 3) uint8 RGB.
        landmarks: (68, 2) continuous px, iBUG's order; exact, also where something hides them.
        face_box: (4,) left, top, right, bottom as a detector might give it.
        yaw: degrees, positive turns the face to the image's right.
        pitch: degrees, positive bows the head.
        roll: degrees, positive tilts the head clockwise in the image.
    """

    image: NDArray[np.uint8]
    landmarks: Array
    face_box: Array
    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True)
class Sitting:
    """A person before the camera: all that is known of a face before it is rendered."""

    rng: Generator  # what is left of the face's random numbers
    person: Person
    head: Head
    view: View
    landmarks: Array
    face_box: Array


def sit(seed: int, index: int, size: int = 256) -> Sitting:
    """Choose and place the person of face `index` of series `seed`; a tenth of the work of drawing it."""
    rng = np.random.default_rng([seed, index])
    person = random_person(rng)
    view = random_view(rng, size)
    head = build_head(person, lay_out(person))
    landmarks = project_landmarks(head, person, view)
    return Sitting(rng, person, head, view, landmarks, detector_box(rng, landmarks))


def draw_face(seed: int, index: int, size: int = 256) -> SyntheticFace:
    """Draw face `index` of the endless series `seed`.

    The same arguments give the same bytes, in any order and process; other versions of numpy or OpenCV,
    or another kind of processor, may round some pixels differently.

    Args:
        seed: of the series, 0 or more.
        index: of the face, 0 or more; every face is independent of all others.
        size: side of the image, px.
    """
    sitting = sit(seed, index, size)
    rng, view = sitting.rng, sitting.view
    figure = render(sitting.head, sitting.person, view, random_lighting(rng), size)
    image = background(rng, size)
    image *= 1 - figure[..., 3:]
    image += figure[..., :3] * _exposure(rng, figure, sitting.landmarks)
    occlude(rng, image, sitting.face_box)
    photo = photograph(rng, image)
    return SyntheticFace(photo, sitting.landmarks, sitting.face_box, view.yaw, view.pitch, view.roll)


def random_view(rng: Generator, size: int) -> View:
    """Mostly near frontal, a third anywhere up to 75 degrees of yaw; the face 0.35 to 0.55 of the image."""
    yaw = float(rng.uniform(-75, 75)) if rng.random() < 0.35 else around(rng, 0, 20)
    distance = float(np.exp(rng.uniform(np.log(38), np.log(200))))
    face_cm = 14.0  # landmarks span about this much
    face_px = size * float(rng.uniform(0.36, 0.52))
    return View(
        yaw=yaw,
        pitch=around(rng, 2, 11),
        roll=around(rng, 0, 12),
        distance=distance,
        focal=face_px / face_cm * distance,
        centre_x=size * (0.5 + around(rng, 0, 0.03)),
        centre_y=size * (0.52 + around(rng, 0, 0.03)),
    )


def project_landmarks(head: Head, person: Person, view: View) -> Array:
    """All 68 landmarks (68, 2) in the image, continuous px."""
    inner = view.project(landmarks_on_head(head, person))
    return np.concatenate([contour(view, jaw_lines(head)), inner])


def render(
    head: Head,
    person: Person,
    view: View,
    lighting: Lighting,
    size: int,
    skin: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Render the lit figure without background.

    Args:
        head: its surface.
        person: for colours and style.
        view: pose and camera of an image of this size.
        lighting: the lights.
        size: side of the image, px.
        skin: another picture than `paint_face` would paint, to look at the geometry alone.
    Returns:
        (size, size, 4): linear RGB times coverage, and coverage 0..1.
    """
    parts = [head.mesh, *ear_meshes(person, head.skull), *glasses_meshes(person, head)]
    hair = hair_mesh(person, head.skull)
    mesh = Mesh.join(parts if hair is None else [*parts, hair])
    below_jaw = np.zeros(len(mesh.vertices), np.bool_)
    below_jaw[(JAW_ROW + 1) * len(AZIMUTHS) : len(head.mesh.vertices)] = True
    vertices, normals = pose_body(view, mesh.vertices, mesh.normals, below_jaw)
    side = round(size * SUPERSAMPLE)
    large = view.scaled(side / size)
    nearness = 1 / (large.distance - vertices[:, 2])
    fragments = rasterise(
        large.to_image(vertices), nearness, mesh.triangles, mesh.material != SKIN, side, side
    )
    px_per_cm = large.focal / large.distance
    skin = paint_face(person, head.layout) if skin is None else skin
    lit = shade(mesh, vertices, normals, fragments, skin, person.looks, lighting, px_per_cm, side)
    return np.asarray(cv2.resize(lit, (size, size), interpolation=cv2.INTER_AREA), np.float32)


def _exposure(rng: Generator, figure: NDArray[np.float32], landmarks: Array) -> np.float32:
    """The factor an automatic exposure would choose for the face, give or take."""
    size = len(figure)
    low = landmarks.min(0).astype(int).clip(0, size - 8)
    high = landmarks.max(0).astype(int).clip(low + 8, size)
    face = figure[low[1] : high[1], low[0] : high[0]]
    brightness = float(face[..., :3].mean()) / max(float(face[..., 3].mean()), 0.05)
    return np.float32(np.exp(rng.normal(0, 0.25)) * ((brightness + 0.01) / FACE_BRIGHTNESS) ** -0.7)


def detector_box(rng: Generator, landmarks: Array) -> Array:
    """A face box (4,) as detectors draw it: the landmarks' box and the forehead, off by a few percent.

    The margins and their spread are those of a common detector's boxes around hand-labelled faces.
    """
    low, high = landmarks.min(0), landmarks.max(0)
    width, height = high - low
    left, right = low[0] + 0.01 * width, high[0] - 0.02 * width
    top, bottom = low[1] - 0.34 * height, high[1] - 0.02 * height
    jitter = np.array([around(rng, 0, spread) for spread in (0.045, 0.08, 0.045, 0.035)])
    return np.array([left, top, right, bottom]) + jitter * np.array([width, height, width, height])
