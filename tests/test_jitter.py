"""Photos moved by known steps: what is found moves with them, and known faults leave what they must."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from fanlight.clips.smooth import Jitter
from fanlight.data.index import Index, Sample
from fanlight.data.pack import Pack
from fanlight.data.packing import PackOptions, write_pack
from fanlight.data.pts import write_pts
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats
from fanlight.heatmap import Decoder, encode
from fanlight.image import write_image
from fanlight.judging.jitter import (
    FIGURES,
    Steps,
    Trembling,
    follow,
    measure_jitter,
    rms_deviation,
    rms_jitter,
    summarise_jitter,
)
from fanlight.network import Located, Usage
from painted import CHANNELS, PLACES, markup, paint

SIZE, STRIDE, BOX = 128, 4, 80.0
DECODERS = {
    "centroid": Decoder(),
    "argmax": Decoder(kind="argmax"),
    "quarter": Decoder(kind="quarter"),
}
# n places spread evenly over a cell have the variance (1 - 1/n^2) / 12; 24 steps over 3 and 2 cells are 8 and 12.
CELL = (1 - 1 / 8**2) / 12 + (1 - 1 / 12**2) / 12
# Two cells are left where a quarter is added or taken away, of half the size: 4 and 6 places in each.
HALF_CELL = ((1 - 1 / 4**2) / 12 + (1 - 1 / 6**2) / 12) / 4


class Finder:
    """Finds painted dots by their centre of mass, and draws perfect Gaussians there."""

    def __init__(self, folder: Path, crop: CropRule | None = None) -> None:
        self.usage = Usage("finder", SIZE, markup(folder), crop or CropRule())
        self.calls: list[int] = []

    def __call__(self, crops: object) -> Located:
        raise NotImplementedError

    def heatmaps(self, crops: object) -> NDArray[np.float32]:
        images = np.asarray(crops, np.float64)
        self.calls.append(len(images))
        nose = self.centre(images[..., 1])[0]
        side = np.arange(SIZE) + 0.5 < nose[:, None, None]
        found = np.empty((len(images), 5, 2))
        for point, channel in enumerate(CHANNELS):
            half = np.ones_like(side) if point == 2 else side if point in (0, 3) else ~side
            found[:, point] = np.stack(self.centre(images[..., channel] * half), -1)
        return encode(torch.from_numpy(found / STRIDE), SIZE // STRIDE).float().numpy()

    @staticmethod
    def centre(images: Floats) -> tuple[Floats, Floats]:
        mass, places = images.sum((1, 2)).clip(1e-9), np.arange(SIZE) + 0.5
        return (images.sum(1) @ places) / mass, (images.sum(2) @ places) / mass


class Mirrored(Finder):
    """The same by way of the mirrored crops."""

    def heatmaps(self, crops: object) -> NDArray[np.float32]:
        heatmaps = super().heatmaps(np.asarray(crops)[:, :, ::-1])
        return heatmaps[:, list(self.usage.markup.mirror), :, ::-1].copy()


class Blind(Finder):
    """Sees every landmark at the crop's middle."""

    def heatmaps(self, crops: object) -> NDArray[np.float32]:
        middle = torch.full((len(np.asarray(crops)), 5, 2), 16.3)
        return encode(middle, SIZE // STRIDE).numpy()


def make_index(folder: Path, corners: list[tuple[float, float]]) -> Index:
    """Photos of 140 px with a face each, whose box has its upper left corner there."""
    samples = []
    for i, corner in enumerate(corners):
        landmarks = corner + PLACES * BOX
        write_image(folder / f"{i}.png", paint(landmarks, 140, 140, 2.5))
        write_pts(folder / f"{i}.pts", landmarks)
        box = (*corner, corner[0] + BOX, corner[1] + BOX)
        samples.append(Sample("dots", "val", -1, folder / f"{i}.png", folder / f"{i}.pts", box))
    Index.write(folder / "faces.tsv", samples)
    return Index.read(folder / "faces.tsv")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """In the middle of the photo, off by parts of a px, and at two of its corners."""
    corners = [(30.0, 30.0), (31.37, 28.81), (-20.0, -20.0), (79.0, 71.5)]
    return make_index(tmp_path_factory.mktemp("dots"), corners)


# ------------------------------------------------------------------ the steps


def test_steps_pass_every_part_of_a_cell_evenly_and_are_those_of_the_seed() -> None:
    steps = Steps()
    shifts = steps.shifts(5)
    assert shifts.shape == (24, 2)
    np.testing.assert_allclose(np.diff(shifts, axis=0), np.full((23, 2), (3 / 24, 2 / 24)))
    assert np.abs(shifts).max() <= steps.farthest_cells == 2
    for axis, places in ((0, 8), (1, 12)):
        parts = np.sort(np.unique((shifts[:, axis] % 1).round(9)))
        np.testing.assert_allclose(np.diff(parts), 1 / places)
        assert len(parts) == places
    np.testing.assert_array_equal(shifts, Steps().shifts(5))
    assert not np.allclose(shifts, Steps().shifts(6))
    assert not np.allclose(shifts, Steps(seed=1).shifts(5))


def test_unusable_steps_are_refused_all_faults_at_once() -> None:
    with pytest.raises(InputError) as error:
        Steps(count=11, seed=-1)
    assert "count = 11: at least 12 for 3 cells" in str(error.value)
    assert "seed = -1" in str(error.value)
    for right, down in ((0, 2), (3, 0), (2, -2)):
        with pytest.raises(InputError, match=f"right_cells = {right}, down_cells = {down}"):
            Steps(right_cells=right, down_cells=down)


def test_steps_can_be_read_from_a_file_of_settings() -> None:
    read = TypeAdapter(Steps)
    assert read.validate_json('{"count": 36, "right_cells": -4}') == Steps(36, -4)
    for wrong in ('{"counts": 36}', '{"count": "36"}'):
        with pytest.raises(ValidationError):
            read.validate_json(wrong)


# ------------------------------------------------------------------ the figures


@given(st.integers(0, 2**32 - 1))
def test_figures_of_noise(seed: int) -> None:
    """The deviation against its formula; the jitter against that of videos, for faces of a size that stays."""
    noise = np.random.default_rng(seed).normal(0, 0.3, (9, 4, 2))
    still = np.tile([[0.0, 0], [100, 100]], (9, 1, 1))
    trail = np.concatenate([noise + 50, still], 1)
    away = trail - trail.mean(0)
    assert rms_deviation(trail) == pytest.approx(math.sqrt((away**2).sum(-1).mean()))
    video = Jitter()
    for number, landmarks in enumerate(trail):
        video.add(1, number, number / 30, landmarks)
    assert rms_jitter(trail) == pytest.approx(video.percent)  # % of 100 px


@settings(max_examples=50)
@given(st.integers(0, 10_000), st.floats(14, 18), st.floats(14, 18))
def test_the_highest_cell_is_off_by_a_uniform_part_of_a_cell(face: int, x: float, y: float) -> None:
    shifts = Steps().shifts(face)
    heatmaps = encode(torch.from_numpy(np.array([[x, y]]) + shifts[:, None]), 32)
    left = {name: decoder(heatmaps)[0].numpy() - shifts[:, None] for name, decoder in DECODERS.items()}
    assert rms_deviation(left["centroid"]) < 0.005
    # one place may fall on the line between two cells, where rounding decides
    assert rms_deviation(left["argmax"]) == pytest.approx(math.sqrt(CELL), abs=0.03)
    assert rms_deviation(left["quarter"]) == pytest.approx(math.sqrt(HALF_CELL), abs=0.03)


# ------------------------------------------------------------------ photos that move


@pytest.mark.parametrize("kind", [Finder, Mirrored])
@pytest.mark.parametrize("path", [(3, 2), (-3, 2), (2, -3)])
def test_what_moves_with_the_photo_does_not_tremble(
    index: Index, tmp_path: Path, kind: type[Finder], path: tuple[int, int]
) -> None:
    network, seen = kind(tmp_path), list[int]()
    measured = measure_jitter(
        network, index, DECODERS, Steps(right_cells=path[0], down_cells=path[1]), seen.append
    )
    assert list(measured) == list(DECODERS)
    assert seen == [1] * 4
    assert network.calls == [1] + [24] * 4  # once to see how large heatmaps are, and once a frame
    centroid, argmax, quarter = (measured[name] for name in DECODERS)
    assert centroid.found.deviation_px.shape == (4,)
    assert centroid.found.deviation_px.max() < 0.03  # OpenCV's 1/32 px, and whole grey values
    assert centroid.found.jitter_px.max() < 0.03
    assert centroid.ideal.deviation_px.max() < 0.01
    for one in (argmax.found, argmax.ideal):
        np.testing.assert_allclose(one.deviation_px, STRIDE * math.sqrt(CELL), atol=0.12)
    for one in (quarter.found, quarter.ideal):
        np.testing.assert_allclose(one.deviation_px, STRIDE * math.sqrt(HALF_CELL), atol=0.12)
    size = BOX * np.sqrt(0.36 * 0.34) * SIZE / (BOX / 0.55)
    np.testing.assert_allclose(argmax.found.sizes_px, size, rtol=1e-4)
    np.testing.assert_allclose(argmax.found.deviation_percent, 100 * argmax.found.deviation_px / size)


def test_a_network_that_ignores_the_photo_is_off_by_the_motion(index: Index, tmp_path: Path) -> None:
    found = measure_jitter(Blind(tmp_path), index, DECODERS)["centroid"].found
    # 24 even steps have the variance length^2 (1 - 1/24^2) / 12.
    expected = STRIDE * math.sqrt((3**2 + 2**2) * (1 - 1 / 24**2) / 12)
    np.testing.assert_allclose(found.deviation_px, expected, rtol=1e-6)
    np.testing.assert_allclose(found.jitter_px, 0, atol=1e-5)  # even motion is no jitter


def test_trails_say_where_and_when(index: Index, tmp_path: Path) -> None:
    """The saw-tooth of the highest cell, by hand: the centre of the cell less the place in it."""
    face, steps = 1, Steps()
    trails = list(follow(Finder(tmp_path), index, DECODERS, steps))[face]
    x = (0.5 + (PLACES[2, 0] - 0.5) * 0.55) * SIZE / STRIDE  # of the nose, at the crop rule's place
    moved = x + steps.shifts(face)[:, 0]
    expected = STRIDE * (np.floor(moved) + 0.5 - (moved - x))
    sure = np.abs(moved - np.rint(moved)) > 0.02
    assert sure.sum() >= 20
    np.testing.assert_allclose(trails.ideal["argmax"][sure, 2, 0], expected[sure], atol=1e-4)
    np.testing.assert_allclose(trails.found["argmax"][sure, 2, 0], expected[sure], atol=1e-4)
    np.testing.assert_allclose(trails.found["centroid"][:, 2, 0], STRIDE * x, atol=0.1)


def test_near_the_border_of_the_crop_the_corrected_centroid_stays_calm(index: Index, tmp_path: Path) -> None:
    decoders = {"corrected": Decoder(), "cut": Decoder(border="cut")}
    network = Finder(tmp_path, CropRule(scale=0.52))  # the mouth comes within 0.5 cells of it
    measured = measure_jitter(network, index, decoders)
    assert measured["corrected"].ideal.deviation_px.max() < 0.02
    assert measured["cut"].ideal.deviation_px.min() > 0.05


def test_what_a_pack_has_cut_off_cannot_be_moved_in(index: Index, tmp_path: Path) -> None:
    network = Finder(tmp_path)
    for name, margin in (("narrow", 1.0), ("wide", 1.2)):
        write_pack(index, network.usage.markup, tmp_path / name, PackOptions(margin, format="raw"))
    with pytest.raises(InputError, match=r"--margin 1\.13"):
        measure_jitter(network, Pack.open(tmp_path / "narrow"), DECODERS)
    measured = measure_jitter(network, Pack.open(tmp_path / "wide"), DECODERS)
    assert measured["centroid"].found.deviation_px.max() < 0.03


def test_without_faces_or_decoders_there_is_nothing_to_measure(index: Index, tmp_path: Path) -> None:
    network = Finder(tmp_path)
    for faces, decoders in ((index.take([]), DECODERS), (index, {})):
        with pytest.raises(InputError, match="at least one of each"):
            measure_jitter(network, faces, decoders)


# ------------------------------------------------------------------ summary


def test_the_summary_has_intervals_and_differences_in_pairs(index: Index, tmp_path: Path) -> None:
    measured = measure_jitter(Finder(tmp_path), index, DECODERS)
    summary = summarise_jitter(measured, bootstrap=200)
    assert list(summary) == list(DECODERS)
    for name, blocks in summary.items():
        assert set(blocks) == {"found", "ideal", "difference"}
        for kind in ("found", "ideal"):
            assert tuple(blocks[kind]) == FIGURES
            trembling: Trembling = getattr(measured[name], kind)
            for figure, interval in blocks[kind].items():
                values = getattr(trembling, figure)
                assert interval["value"] == pytest.approx(values.mean())
                assert values.min() <= interval["low"] <= interval["high"] <= values.max() + 1e-12
    first, second = summary["centroid"], summary["argmax"]
    assert first["difference"]["jitter_px"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    difference = second["difference"]["deviation_px"]
    values = measured["argmax"].found.deviation_px - measured["centroid"].found.deviation_px
    assert difference["value"] == pytest.approx(values.mean())
    assert values.min() <= difference["low"] <= difference["high"] <= values.max() + 1e-12
