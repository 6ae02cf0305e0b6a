"""Crop rules fitted to detectors: the maths, the command, and the rules that are kept in the package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.cli import main
from fanlight.crop_fit import crop_errors, fit_crop_rule, squares_of
from fanlight.data.index import Index
from fanlight.detect import PACKAGED, find_detector, installed_detectors
from fanlight.detector_fit import LANDMARKS, pair_faces, spread, together
from fanlight.detectors import RETINAFACE_CROPS
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.image import read_image
from fanlight.predict import load
from painted import find_dots, make_index, untrained

Run = Callable[..., tuple[int, str, str]]


def random_boxes(count: int, seed: int = 0) -> NDArray[np.float64]:
    numbers = np.random.default_rng(seed)
    corner, size = numbers.uniform(0, 500, (count, 2)), numbers.uniform(40, 200, (count, 2))
    return np.hstack([corner, corner + size])


def find_wide(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A detector whose boxes are twice as wide and half as high as those of the index, and lie higher."""
    boxes = find_dots(photo)
    size = boxes[:, 2:] - boxes[:, :2]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 - size * [0, 0.1]
    return np.hstack([middle - size * [0.6, 0.45], middle + size * [0.6, 0.45]])


def check_wide(rule: CropRule, index: Path, trained: CropRule) -> None:
    """The wide boxes' rule gives the same squares as that of the plain boxes from which they are made."""
    faces = Index.read(index)
    plain = pair_faces(faces, find_dots, trained).fit()
    for face in faces.take([0, 1, 2]):
        photo = read_image(face.image_path)
        expected, made = plain.square(find_dots(photo)), rule.square(find_wide(photo))
        np.testing.assert_allclose(made, expected, atol=0.04 * expected[2])


def find_nothing(photo: NDArray[np.uint8]) -> list[list[float]]:
    return []


# ------------------------------------------------------------------ the maths


@pytest.mark.parametrize(
    "rule", [CropRule(), CropRule(1.25, "max", 0.05, -0.12), CropRule(2.5, "mean", -0.2, 0.3)], ids=str
)
def test_the_rule_that_made_the_squares_is_found(rule: CropRule) -> None:
    boxes = random_boxes(101)
    squares = squares_of(boxes, rule)
    wrong = np.arange(101) % 5 == 0
    squares[wrong] += [300, -200, 500]  # a fifth of the faces are mistaken for others
    found = fit_crop_rule(boxes, squares)
    assert found.measure == rule.measure
    np.testing.assert_allclose(
        [found.scale, found.shift_x, found.shift_y],
        [rule.scale, rule.shift_x, rule.shift_y],
        rtol=0.05,
        atol=0.02,
    )
    exact = fit_crop_rule(boxes[~wrong], squares[~wrong])
    np.testing.assert_allclose(
        [exact.scale, exact.shift_x, exact.shift_y], [rule.scale, rule.shift_x, rule.shift_y], atol=6e-5
    )


def test_errors_are_fractions_of_the_wanted_side() -> None:
    boxes = np.array([[0, 0, 100, 100]] * 11)
    # Wanted: sides of 200 about (50, 50), but ten of them moved by (6, 8) and the last by (60, 80) and twice as
    # large. By CropRule(2.1): sides of 210, so 5 % off and 47.5 % of 400; centres 10 / 200 and 100 / 400.
    squares = np.array([[56, 58, 200]] * 10 + [[110, 130, 400]])
    errors = crop_errors(boxes, squares, CropRule(2.1))
    assert errors.centre == pytest.approx(0.05)
    assert errors.side == pytest.approx(0.05)
    assert errors.centre_90 == pytest.approx(0.05)
    worst = crop_errors(boxes[-1:], squares[-1:], CropRule(2.1))
    assert (worst.centre, worst.side) == pytest.approx((0.25, 0.475))
    assert str(errors) == (
        "centre off by 5.0 % of the side (90 % of the faces: below 5.0), side by 5.0 % (below 5.0)"
    )


def test_too_few_faces_are_refused() -> None:
    boxes = random_boxes(9)
    with pytest.raises(InputError, match=r"9 boxes for 9 squares: .* at least 10 faces"):
        fit_crop_rule(boxes, squares_of(boxes, CropRule()))
    with pytest.raises(InputError, match="12 boxes for 9 squares"):
        fit_crop_rule(random_boxes(12), squares_of(boxes, CropRule()))


# ------------------------------------------------------------------ the command


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fanlight", "data", "fit-crop", *map(str, words)])
        try:
            main()
            code: str | int | None = 0
        except SystemExit as left:
            code = left.code
        printed = capfd.readouterr()
        return int(code or 0), printed.out, printed.err

    return run


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return make_index(tmp_path / "faces", 24, 8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    about = untrained(tmp_path, CropRule(1.5))
    return save_checkpoint(
        tmp_path / "model.ckpt", replace(about, crops={"other": CropRule(3.0)}, metrics={"nme_box": 0.5})
    )


def test_a_rule_is_fitted_and_printed(fit: Run, index: Path) -> None:
    code, out, _ = fit(
        index, "--detector", "test_detect_fit:find_wide", "--partition", "dots/train", "--val", "dots/val"
    )
    assert code == 0
    lines = out.splitlines()
    values = dict(pair.split(" = ") for pair in lines[0].split(", "))
    rule = CropRule(
        float(values["scale"]),
        values["measure"].strip('"'),
        float(values["shift_x"]),
        float(values["shift_y"]),
    )  # type: ignore[arg-type]
    check_wide(rule, index, CropRule())
    assert lines[1] == "dots/train: 24 faces found, 0 missed"
    assert lines[4] == "dots/val: 8 faces found, 0 missed"
    before, after = (float(line.split("centre off by ")[1].split()[0]) for line in lines[5:])
    assert after < before


def test_a_reader_of_the_checkpoint_sees_the_new_rule(fit: Run, index: Path, model: Path) -> None:
    name = "test_detect_fit:find_wide"
    before = load_checkpoint(model)
    code, out, err = fit(index, "--detector", name, "--checkpoint", model)
    assert code == 0
    assert f"stored in {model}" in err
    after = load_checkpoint(model)
    rule = after.crops[name]
    assert f"scale = {rule.scale}, " in out
    check_wide(rule, index, CropRule(1.5))
    assert after.crops == {"other": CropRule(3.0), name: rule}
    assert replace(after, crops=before.crops, weights={}) == replace(before, weights={})
    assert after.weights.keys() == before.weights.keys()
    assert all(torch.equal(after.weights[key], before.weights[key]) for key in before.weights)

    photo = Index.read(index)[0].image_path
    by_name = load(model, "cpu", name).predict(photo)
    by_function = load(model, "cpu", find_wide).predict(photo)
    by_hand = load(model, "cpu").predict(photo, find_wide(read_image(photo)), crop=rule)
    np.testing.assert_array_equal(by_name[0].landmarks, by_hand[0].landmarks)
    np.testing.assert_array_equal(by_function[0].landmarks, by_hand[0].landmarks)


def test_the_original_stays_where_a_copy_is_asked_for(
    fit: Run, index: Path, model: Path, tmp_path: Path
) -> None:
    original = model.read_bytes()
    copy = tmp_path / "new" / "copy.ckpt"
    code, _, err = fit(index, "--detector", LANDMARKS, "--checkpoint", model, "--out", copy)
    assert code == 0
    assert f"stored in {copy}" in err
    assert model.read_bytes() == original
    assert set(load_checkpoint(copy).crops) == {"other", LANDMARKS}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "nobody"], "detector = 'nobody'"),
        (["--detector", "test_detect_fit:find_nothing"], "found none of the 24 faces"),
        (["--detector", LANDMARKS, "--partition", "dots/test"], "no partition 'dots/test'"),
        (["--detector", LANDMARKS, "--checkpoint", "none.ckpt"], "none.ckpt: no such checkpoint"),
        (["--detector", LANDMARKS, "--out", "copy.ckpt"], "name that by --checkpoint"),
        (["--detector", LANDMARKS, "--partition", "dots/few"], "8 boxes for 8 squares"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_the_checkpoint_alone(
    fit: Run, index: Path, model: Path, words: list[str], message: str
) -> None:
    index.write_text(index.read_text().replace("\tval\t", "\tfew\t"))
    original = model.read_bytes()
    given = [] if {"--checkpoint", "--out"} & set(words) else ["--checkpoint", str(model)]
    code, _, err = fit(index, *words, *given)
    assert code == 2
    assert message in err
    assert model.read_bytes() == original


def test_faces_are_spread_over_a_partition(index: Path) -> None:
    faces = spread(Index.read(index), "dots/train", 5)
    assert [face.image_path.name for face in faces] == [f"train {i}.png" for i in (0, 5, 11, 17, 23)]
    assert len(spread(Index.read(index), "dots/val", 50)) == 8


def test_missed_faces_are_counted(index: Path) -> None:
    faces = Index.read(index).select(["dots/train"])
    calls = iter(range(100))

    def every_second(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
        return find_dots(photo) if next(calls) % 2 else np.array([[0.0, 0.0, 5.0, 5.0]])

    pairs = pair_faces(faces, every_second, CropRule())
    assert (len(pairs.boxes), pairs.missed) == (12, 12)
    both = together([pairs, pairs])
    assert (len(both.boxes), len(both.squares), both.missed) == (24, 24, 24)


# ------------------------------------------------------------------ the rules in the package


def test_there_is_a_rule_for_each_packaged_detector() -> None:
    assert set(RETINAFACE_CROPS) == {*PACKAGED, LANDMARKS}


@pytest.mark.parametrize("name", list(RETINAFACE_CROPS))
def test_the_rules_in_the_package_fit_real_faces(shared_data: Path, name: str) -> None:
    if name not in (*installed_detectors(), LANDMARKS):
        pytest.skip(f"{name} is not installed: pip install 'fanlight[detect]'")
    faces = spread(Index.read(shared_data / "faces68" / "index.tsv"), "lfpw/val", 24)
    pairs = pair_faces(faces, name, CropRule())
    errors, untouched = pairs.errors(RETINAFACE_CROPS[name]), pairs.errors(CropRule())
    assert pairs.missed <= (3 if name == "haar" else 0)
    assert errors.centre < (0.06 if name == "haar" else 0.03)
    assert errors.side < (0.09 if name == "haar" else 0.05)
    if name == LANDMARKS:
        assert errors.centre < untouched.centre / 3
        assert errors.side < untouched.side / 2


def test_a_refitted_rule_is_close_to_the_one_in_the_package(shared_data: Path) -> None:
    name = installed_detectors()[0]
    faces = spread(Index.read(shared_data / "faces68" / "index.tsv"), "lfpw/train", 30)
    rule = pair_faces(faces, find_detector(name)[1], CropRule()).fit()
    kept = RETINAFACE_CROPS[name]
    assert rule.scale == pytest.approx(kept.scale, rel=0.03)
    assert (rule.shift_x, rule.shift_y) == pytest.approx((kept.shift_x, kept.shift_y), abs=0.03)
