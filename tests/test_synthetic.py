"""Synthetic faces: the labels are where things are drawn, and the same numbers give the same bytes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from fanlight.data.index import Index
from fanlight.data.pts import read_pts
from fanlight.data.synthetic import draw_face, write_faces
from fanlight.data.synthetic.camera import View
from fanlight.data.synthetic.canvas import PX_PER_CM, Canvas, ellipse, to_picture
from fanlight.data.synthetic.face import project_landmarks, render, sit
from fanlight.data.synthetic.layout import lay_out
from fanlight.data.synthetic.person import Person, random_person
from fanlight.data.synthetic.raster import rasterise
from fanlight.data.synthetic.shade import Light, Lighting
from fanlight.data.synthetic.shape import NECK_ROWS, build_head, landmarks_on_head
from fanlight.data.synthetic.skin import LIP_GLOSS, WET_GLOSS, paint_face
from fanlight.errors import InputError
from fanlight.geometry import mirror_landmarks
from fanlight.image import read_image
from fanlight.markup import Markup

NO_LIGHT = np.zeros(3, np.float32)
FLAT = Lighting(
    np.ones(3, np.float32), np.ones(3, np.float32), (Light(np.array([0, 0, 1], np.float32), NO_LIGHT),)
)


def bare_person(number: int) -> Person:
    """A random person with nothing in front of the face."""
    person = random_person(np.random.default_rng(number))
    looks = replace(person.looks, style="bald", glasses="", beard=0.0, moustache=0.0, cloth=(0.0, 0.0, 0.0))
    return replace(person, looks=looks)


def view_of(yaw: float, pitch: float = 0.0, roll: float = 0.0, size: int = 256) -> View:
    distance = 80.0
    return View(yaw, pitch, roll, distance, size * 0.45 / 14 * distance, 0.5 * size, 0.52 * size)


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# What is drawn and what is labelled


POSES = [(1, 0.0, 0.0, 0.0), (2, 25.0, 10.0, -20.0), (3, -40.0, -12.0, 35.0)]


@pytest.mark.parametrize(("number", "yaw", "pitch", "roll"), POSES)
def test_landmarks_are_where_the_rasteriser_shows_their_place(
    number: int, yaw: float, pitch: float, roll: float
) -> None:
    """Of all rendered pixels, the one that shows a landmark's place of the front plane is at the landmark."""
    size, zoom = 256, 8
    person, view = bare_person(number), view_of(yaw, pitch, roll, size)
    layout = lay_out(person)
    head = build_head(person, layout)
    vertices, triangles = head.mesh.vertices, head.mesh.triangles
    nearness = 1 / (view.distance - view.to_camera(vertices)[:, 2])
    one_sided = np.zeros(len(triangles), np.bool_)
    points = view.scaled(zoom).project(vertices)
    seen = rasterise(points, nearness, triangles, one_sided, size * zoom, size * zoom)
    shown = seen.interpolate(head.mesh.attributes.T[:2], triangles)
    expected = project_landmarks(head, person, view)[17:]
    left_eye = layout.eyes[1].landmarks[[3, 2, 1, 0, 5, 4]]
    eyes = np.concatenate([layout.eyes[0].landmarks, left_eye])
    places = np.concatenate([layout.brow_landmarks, layout.nose, eyes, layout.lip_landmarks])
    found = 0
    for place, landmark in zip(places, expected, strict=True):
        apart = np.hypot(shown[0] - place[0], shown[1] - place[1])
        nearest = int(apart.argmin())
        if apart[nearest] > 0.03:
            continue  # hidden by the nose, say
        found += 1
        pixel = int(seen.pixel[nearest])
        at = np.array([pixel % (size * zoom) + 0.5, pixel // (size * zoom) + 0.5]) / zoom
        assert np.abs(at - landmark).max() < 2 / zoom
    assert found >= 40


def test_a_dot_painted_at_a_landmark_is_seen_at_the_landmark() -> None:
    """The dot goes through paint, mesh, rasteriser and filter; the label does not."""
    size = 384
    person, view = bare_person(1), view_of(12, 5, 10, size)
    layout = lay_out(person)
    head = build_head(person, layout)
    expected = project_landmarks(head, person, view)
    places = {
        17: layout.brow_landmarks[0],
        36: layout.eyes[0].landmarks[0],
        45: layout.eyes[1].landmarks[0],
        48: layout.lip_landmarks[0],
        57: layout.lip_landmarks[9],
    }
    for landmark, place in places.items():
        canvas = Canvas((0, 0, 0), 0)
        canvas.blend([ellipse(place, 0.09, 0.09)], (1, 1, 1), gloss=0)
        seen = render(head, person, view, FLAT, size, canvas.picture())[..., 0]
        rows, columns = np.indices(seen.shape) + 0.5
        centre = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
        assert np.abs(centre - expected[landmark]).max() < 0.5, landmark


def test_painted_eyes_and_lips_end_at_their_corners() -> None:
    """In the paint, what is wet (eyes) and what is lip spans from corner landmark to corner landmark."""
    for number in range(6):
        person = bare_person(number)
        person = replace(
            person,
            looks=replace(person.looks, makeup=0.0, glasses=""),
            expression=replace(person.expression, open_mouth=0.0, eyes=(1.0, 1.0)),
        )
        layout = lay_out(person)
        gloss = paint_face(person, layout)[..., 3]
        corners = [
            *(to_picture(eye.landmarks[[0, 3]]) for eye in layout.eyes),
            to_picture(layout.lip_landmarks[[0, 6]]),
        ]
        for (first, last), value in zip(corners, (WET_GLOSS, WET_GLOSS, LIP_GLOSS), strict=True):
            low, high = sorted((first[0], last[0]))
            middle = round(0.5 * (first[1] + last[1]))
            window = gloss[middle - 30 : middle + 30, int(low) - 12 : int(high) + 12]
            columns = np.flatnonzero((np.abs(window - value) < 0.2 * value).any(axis=0)) + int(low) - 12
            # Lashes and the lid's edge are painted over the eye, 0.1 cm from either side.
            assert columns.min() == pytest.approx(low, abs=0.22 * PX_PER_CM)
            assert columns.max() + 1 == pytest.approx(high, abs=0.22 * PX_PER_CM)


def test_pupils_lie_between_the_lids_and_teeth_between_the_inner_lips() -> None:
    for number in range(20):
        person = random_person(np.random.default_rng(number))
        layout = lay_out(person)
        top, bottom = layout.lip_inner_top[:, 1], layout.lip_inner_bottom[:, 1]
        assert (bottom - top >= -1e-9).all()
        assert (layout.lip_top[1:-1, 1] < layout.lip_bottom[1:-1, 1]).all()
        for eye in layout.eyes:
            assert (eye.lower[:, 1] - eye.upper[:, 1] >= -1e-9).all()
            assert min(eye.landmarks[:, 0]) < eye.iris[0] < max(eye.landmarks[:, 0])


@pytest.mark.parametrize("yaw", [-60.0, -35.0, 35.0, 60.0])
def test_the_far_jaw_follows_the_visible_contour(yaw: float) -> None:
    """Landmarks of the far cheek: head on the inner side, nothing on the outer."""
    size = 256
    person, view = bare_person(5), view_of(yaw)
    head = build_head(person, lay_out(person))
    points = view.project(head.grid[:-NECK_ROWS].reshape(-1, 3))  # without neck and shoulders
    used = np.flatnonzero((head.mesh.triangles < len(points)).all(axis=1))
    nearness = np.ones(len(points))
    seen = rasterise(points, nearness, head.mesh.triangles[used], np.ones(len(used), np.bool_), size, size)
    covered = np.zeros(size * size, np.bool_)
    covered[seen.pixel] = True
    covered = covered.reshape(size, size)
    landmarks = project_landmarks(head, person, view)
    outwards = np.sign(yaw)  # a face turned to the image's right has its far cheek there
    for landmark in range(12, 16) if yaw > 0 else range(1, 5):
        x, y = landmarks[landmark]
        assert covered[int(y), int(x - 2.5 * outwards)], landmark
        assert not covered[int(y), int(x + 2.5 * outwards)], landmark


def test_a_mirrored_head_has_mirrored_landmarks() -> None:
    markup = Markup.load("ibug68")
    size = 256
    for number, yaw in ((1, 0.0), (2, 20.0), (3, -50.0), (4, 70.0)):
        person, view = random_person(np.random.default_rng(number)), view_of(yaw, 8, -15)
        there = project_landmarks(build_head(person, lay_out(person)), person, view)
        twin = person.mirrored()
        back = project_landmarks(build_head(twin, lay_out(twin)), twin, view.mirrored(size))
        np.testing.assert_allclose(mirror_landmarks(back, size, markup.mirror), there, atol=1e-3)


def test_landmarks_are_in_ibug_order() -> None:
    """On a frontal face, seen as an image: the subject's right is on the left."""
    person, view = bare_person(1), view_of(0)
    points = project_landmarks(build_head(person, lay_out(person)), person, view)
    x, y = points.T
    assert (np.diff(x[:17]) > 0).all()
    assert y[8] == y.max()
    assert (np.diff(x[17:27]) > 0).all()
    assert (np.diff(y[27:31]) > 0).all()
    assert (np.diff(x[31:36]) > 0).all()
    assert x[36] < x[37] < x[38] < x[39] < x[42] < x[43] < x[44] < x[45]
    assert (y[[37, 38, 43, 44]] < y[[41, 40, 47, 46]]).all()
    assert (np.diff(x[48:55]) > 0).all()
    assert (np.diff(x[55:60]) < 0).all()
    assert (y[[50, 51, 52]] < y[[61, 62, 63]]).all()
    assert (y[[61, 62, 63]] <= y[[67, 66, 65]]).all()
    assert (y[[67, 66, 65]] < y[[58, 57, 56]]).all()


def test_yaw_pitch_and_roll_turn_as_documented() -> None:
    person = bare_person(1)
    head = build_head(person, lay_out(person))
    tip = landmarks_on_head(head, person)[30 - 17]
    straight = view_of(0).project(tip)
    assert view_of(30).project(tip)[0] > straight[0] + 5  # to the image's right
    assert view_of(0, 20).project(tip)[1] > straight[1] + 5  # bowed
    eyes = project_landmarks(head, person, view_of(0, 0, 20))[[36, 45]]
    assert eyes[1, 1] > eyes[0, 1] + 5  # clockwise


# The rasteriser


def test_rasteriser_covers_every_pixel_of_a_grid_once_and_interpolates() -> None:
    rows, columns = np.meshgrid(np.linspace(-3.7, 41.3, 14), np.linspace(-2.2, 39.1, 11), indexing="ij")
    points = np.stack([columns, rows], axis=-1).reshape(-1, 2)
    index = np.arange(len(points)).reshape(rows.shape)
    a, b, c, d = (
        index[:-1, :-1].ravel(),
        index[:-1, 1:].ravel(),
        index[1:, :-1].ravel(),
        index[1:, 1:].ravel(),
    )
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([b, d, c], -1)])
    one_sided = np.zeros(len(triangles), np.bool_)
    seen = rasterise(points, np.ones(len(points)), triangles, one_sided, 36, 38)
    assert sorted(seen.pixel) == list(range(36 * 38))
    x, y = seen.interpolate(points.T, triangles)
    np.testing.assert_allclose(x, seen.pixel % 36 + 0.5, atol=1e-4)
    np.testing.assert_allclose(y, seen.pixel // 36 + 0.5, atol=1e-4)
    behind = rasterise(points, np.ones(len(points)), triangles[:, ::-1], one_sided, 36, 38)
    assert len(behind.pixel) == 0


def test_rasteriser_shows_the_nearer_triangle() -> None:
    points = np.array([[0, 0], [8, 0], [0, 8], [0, 0], [8, 0], [0, 8]], float)
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    nearness = np.array(
        [0.1, 0.1, 0.1, 0.05, 0.3, 0.05]
    )  # the second is nearer towards its corner on the right
    seen = rasterise(points, nearness, triangles, np.zeros(2, np.bool_), 8, 8)
    shown = np.full((8, 8), -1)
    shown.flat[seen.pixel] = seen.triangle
    assert shown[0, 0] == 0  # 0.05 + 0.25 * (0.5 / 8) = 0.066 < 0.1
    assert shown[0, 5] == 1  # 0.05 + 0.25 * (5.5 / 8) = 0.222 > 0.1
    assert shown[7, 7] == -1


# Whole faces


def test_the_same_numbers_give_the_same_bytes_in_any_order_and_process() -> None:
    first, second = draw_face(3, 5, 96), draw_face(3, 6, 96)
    again = draw_face(3, 5, 96)
    assert digest(again.image) == digest(first.image)
    np.testing.assert_array_equal(again.landmarks, first.landmarks)
    np.testing.assert_array_equal(again.face_box, first.face_box)
    assert digest(second.image) != digest(first.image)
    assert digest(draw_face(4, 5, 96).image) != digest(first.image)
    script = (
        "import hashlib; from fanlight.data.synthetic import draw_face;"
        "print(hashlib.sha256(draw_face(3, 5, 96).image.tobytes()).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert elsewhere.stdout.strip() == digest(first.image)


def test_faces_are_varied_plausible_and_inside_the_image() -> None:
    size = 256
    faces = [sit(0, index, size) for index in range(150)]
    landmarks = np.stack([face.landmarks for face in faces])
    assert landmarks.shape == (150, 68, 2)
    assert np.isfinite(landmarks).all()
    assert ((landmarks > 0) & (landmarks < size)).all(axis=-1).mean() > 0.99
    sides = np.ptp(landmarks, axis=1)
    assert (sides > 0.2 * size).all()
    assert (sides < 0.75 * size).all()
    boxes = np.stack([face.face_box for face in faces])
    inside = (landmarks >= boxes[:, None, :2] - 30) & (landmarks <= boxes[:, None, 2:] + 30)
    assert inside.all()
    assert (boxes[:, 1] < landmarks[:, 17:27, 1].min(axis=1)).mean() > 0.95  # boxes reach up the forehead
    yaw = np.array([face.view.yaw for face in faces])
    assert np.abs(yaw).max() > 60
    assert np.abs(yaw).max() <= 75
    assert np.mean(np.abs(yaw) < 25) > 0.35
    assert len({face.person.looks.style for face in faces}) >= 9


def test_the_image_is_a_picture_of_the_size_asked_for() -> None:
    small, large = draw_face(1, 2, 64), draw_face(1, 2, 160)
    assert small.image.shape == (64, 64, 3)
    assert small.image.dtype == np.uint8
    assert small.image.std() > 5
    np.testing.assert_allclose(small.landmarks * 160 / 64, large.landmarks, atol=1e-6)


# On disk


def test_write_faces_makes_an_index_that_reads_back(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    index_path = write_faces(
        tmp_path / "faces", 10, seed=7, size=64, progress=lambda *call: calls.append(call)
    )
    assert calls == [(done, 10) for done in range(1, 11)]
    index = Index.read(index_path)
    assert index.partitions() == {"synthetic/train": 8, "synthetic/val": 1, "synthetic/test": 1}
    face = draw_face(7, 9, 64)
    sample = index[9]
    assert sample.partition == "synthetic/test"
    assert sample.face_box == pytest.approx(face.face_box, abs=1e-3)
    np.testing.assert_allclose(read_pts(sample.landmarks_path), face.landmarks, atol=1e-3)
    difference = np.abs(read_image(sample.image_path).astype(int) - face.image.astype(int))
    assert np.median(difference) < 8  # JPEG


def test_write_faces_continues_a_series_with_workers_and_keeps_its_faces(tmp_path: Path) -> None:
    write_faces(tmp_path, 2, seed=7, size=48)
    first = (tmp_path / "images" / "00001.jpg").stat().st_mtime_ns
    index = Index.read(write_faces(tmp_path, 11, seed=7, size=48, workers=1))
    assert len(index) == 11
    assert (tmp_path / "images" / "00001.jpg").stat().st_mtime_ns == first
    decoded = cv2.imread(str(tmp_path / "images" / "00010.jpg"))
    alone = write_faces(tmp_path / "images" / "other", 11, seed=7, size=48).parent / "images" / "00010.jpg"
    np.testing.assert_array_equal(cv2.imread(str(alone)), decoded)
    assert [sample.face_box for sample in index] == [
        s.face_box for s in Index.read(alone.parent.parent / "index.tsv")
    ]


def test_write_faces_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(InputError, match="not synthetic faces"):
        write_faces(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    with pytest.raises(InputError, match="is a file"):
        write_faces(tmp_path / "photo.jpg", 1)
    write_faces(tmp_path / "faces", 1, seed=1, size=48)
    with pytest.raises(InputError, match=r"seed 1, size 48.*seed 2, size 48"):
        write_faces(tmp_path / "faces", 1, seed=2, size=48)


def test_write_faces_names_all_faults_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        write_faces(tmp_path / "faces", 0, seed=-1, size=5)
    assert len(error.value.problems) == 3
    assert "count is 0" in str(error.value)
    assert "size is 5: expected 32 to 2048" in str(error.value)
    assert not (tmp_path / "faces").exists()
