"""Drawn landmarks lie where they are said to lie, whatever the scale; plots repeat byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from fanlight.draw import PREDICTED, TRUE, contact_sheet, heatmap_overlay, overlay
from fanlight.errors import InputError
from fanlight.markup import Markup

PAIR = Markup(name="pair", source="test", points=("a", "b"), mirror=(1, 0), edges=((0, 1),))


def centroid(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Centre (x, y) of what was drawn, in continuous px."""
    change = np.abs(after.astype(float) - before).sum(axis=-1)
    y, x = np.indices(change.shape) + 0.5
    return np.array([(x * change).sum(), (y * change).sum()]) / change.sum()


@pytest.mark.parametrize("point", [(32.0, 20.0), (32.5, 20.5), (30.2, 41.7)])
def test_a_dot_is_centred_on_its_landmark(point):
    image = np.full((64, 64, 3), 255, np.uint8)
    drawn = overlay(image, [point])
    np.testing.assert_allclose(centroid(image, drawn), point, atol=0.05)
    assert (image == 255).all(), "the given image is left alone"


def test_a_line_runs_through_its_landmarks():
    image = np.full((64, 64, 3), 255, np.uint8)
    drawn = overlay(image, [(10.5, 20.5), (50.5, 20.5)], PAIR, face_px=0)
    between = drawn[:, 20:40].astype(int)
    assert (np.abs(between[20] - PREDICTED) < 40).all()
    assert (between[[17, 23]] == 255).all()


def test_a_tiny_face_is_drawn_enlarged_in_place():
    image = np.full((40, 60, 3), 255, np.uint8)
    drawn = overlay(image, [(10.3, 12.1), (20.9, 25.2)], face_px=40)
    assert drawn.shape == (160, 240, 3)
    np.testing.assert_allclose(centroid(np.full_like(drawn, 255), drawn) / 4, (15.6, 18.65), atol=0.05)


def test_enlargement_stops_at_the_largest_side():
    image = np.zeros((40, 60, 3), np.uint8)
    points = [(10, 10), (20, 20)]
    assert overlay(image, points, face_px=200, max_side=130).shape == (80, 120, 3)
    assert overlay(image, points, face_px=200, max_side=30).shape == image.shape
    assert overlay(image, points, face_px=10).shape == image.shape


def test_true_and_predicted_landmarks_differ_in_colour():
    image = np.zeros((200, 200, 3), np.uint8)
    predicted, true = [(50, 50), (150, 50)], [(50, 150), (150, 150)]
    drawn = overlay(image, predicted, true=true, face_px=0)
    assert tuple(drawn[50, 50]) == PREDICTED
    assert tuple(drawn[150, 150]) == TRUE


def test_several_faces_and_points_outside_the_image():
    image = np.zeros((80, 80, 3), np.uint8)
    faces = np.array([[(20, 20), (40, 40)], [(60, 60), (1e6, -1e6)]], float)
    drawn = overlay(image, faces, PAIR, face_px=0)
    for x, y in ((20, 20), (40, 40), (60, 60)):
        assert tuple(drawn[y, x]) == PREDICTED


@pytest.mark.parametrize("shape", [(4,), (4, 3), (2, 4, 3), (1, 2, 4, 2)])
def test_misshapen_landmarks_are_refused(shape):
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"expected \(L, 2\) or \(F, L, 2\)"):
        overlay(image, np.zeros(shape))
    with pytest.raises(InputError, match="differ in shape"):
        overlay(image, np.zeros((4, 2)), true=np.zeros((5, 2)))


def test_heatmaps_cover_their_own_place():
    image = np.full((64, 64, 3), 40, np.uint8)
    heatmaps = np.zeros((3, 16, 16))
    heatmaps[1, 4, 11] = 1  # the cell's centre is (11.5, 4.5) * 4
    drawn = heatmap_overlay(image, heatmaps)
    assert drawn.shape == image.shape
    np.testing.assert_allclose(centroid(image, drawn), (46, 18), atol=0.2)
    assert (drawn[:8] == 40).all(), "no response leaves the image as it is"
    with pytest.raises(InputError, match=r"\(L, h, w\)"):
        heatmap_overlay(image, heatmaps[0])


def test_contact_sheet_places_every_image_in_reading_order():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 0), (0, 90, 90)]
    images = [np.full((30, 60, 3), colour, np.uint8) for colour in colours]
    sheet = contact_sheet(images, columns=3, cell=40, gap=4)
    assert sheet.shape == (2 * 44 + 4, 3 * 44 + 4, 3)
    for i, colour in enumerate(colours):
        assert tuple(sheet[4 + 44 * (i // 3) + 20, 4 + 44 * (i % 3) + 20]) == colour
    assert tuple(sheet[4 + 44 + 20, 4 + 88 + 20]) == tuple(sheet[0, 0]), "the last place is empty"


def test_contact_sheet_writes_captions_below():
    images = [np.zeros((40, 40, 3), np.uint8)] * 2
    captions = ["größe $x_1$ <b>", "x" * 300]
    sheet, plain = contact_sheet(images, captions, cell=80), contact_sheet(images, cell=80)
    assert sheet.shape[0] == plain.shape[0] + 20
    caption_rows = sheet[88 + 2 : 88 + 18]
    for column in (slice(8, 88), slice(96, 176)):
        assert caption_rows[:, column].min() < 100, "there is ink"
    assert caption_rows[:, 89:95].min() > 200, "a long caption stays in its cell"


@pytest.mark.parametrize(("images", "captions"), [(0, []), (2, ["one"])])
def test_impossible_sheets_are_refused(images, captions):
    with pytest.raises(InputError, match=f"{images} images and {len(captions)} captions"):
        contact_sheet([np.zeros((4, 4, 3), np.uint8)] * images, captions)


def test_a_mark_up_of_few_points_gets_dots_that_can_be_seen() -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    few = np.array([[100.0, 100], [150, 100], [125, 125], [105, 150], [145, 150]])
    many = np.concatenate([few, np.random.default_rng(0).uniform(100, 150, (63, 2))])

    def dot_cells(landmarks: np.ndarray) -> float:
        drawn = overlay(image, landmarks, face_px=1)
        return float((drawn[90:112, 90:112] > 60).any(-1).sum())  # around the first point

    assert dot_cells(few) > 3 * dot_cells(many[:1].repeat(68, 0))
