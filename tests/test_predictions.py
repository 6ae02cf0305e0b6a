"""Predictions in a file: judged as if they were fresh, and never with faces that are not theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.judging.compare import better, compare_predictions
from fanlight.judging.evaluate import evaluate, judge, predict_partitions
from fanlight.judging.faces import Wanted
from fanlight.judging.predictions import Predictions, load_predictions, save_predictions
from fanlight.judging.sweep import BoxChange, sweep_boxes
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from painted import dot_predictor, make_index, untrained


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces"), train=4, val=7))


@pytest.fixture(scope="module")
def lost(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Of a network with random weights."""
    predictor = Predictor(TorchNetwork(untrained(tmp_path_factory.mktemp("net"), CropRule(scale=1.7))))
    return predict_partitions(predictor, index, ["dots/train", "dots/val"])


@pytest.fixture(scope="module")
def found(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Predictions:
    """Of a network that finds the dots."""
    return predict_partitions(
        dot_predictor(tmp_path_factory.mktemp("dots")), index, ["dots/train", "dots/val"]
    )


def test_what_is_saved_is_judged_as_if_it_were_fresh(index: Index, lost: Predictions, tmp_path: Path) -> None:
    predictor = Predictor(TorchNetwork(untrained(tmp_path, CropRule(scale=1.7))))
    again = load_predictions(save_predictions(tmp_path / "new" / "p.npz", lost))
    assert again.origin == lost.origin
    for flip in (True, False):
        fresh = evaluate(predictor, index, ["dots/train", "dots/val"], flip=flip, views=2)
        saved = judge(again, index, ["dots/train", "dots/val"], Wanted(flip=flip, views=2, leaf=3))
        assert [result.summary for result in saved] == [result.summary for result in fresh]
        assert [result.summary_other_flip for result in saved] == [r.summary_other_flip for r in fresh]
        np.testing.assert_array_equal(saved[1].faces[0].image, fresh[1].faces[0].image)
    (alone,) = judge(again, index, ["dots/val"])
    assert alone.summary == fresh_of(lost, index, "dots/val")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["p.npz"]


def fresh_of(predictions: Predictions, index: Index, name: str) -> dict[str, Any]:
    return next(r.summary for r in judge(predictions, index, ["dots/train", "dots/val"]) if r.name == name)


def test_faces_are_told_by_their_lines_not_by_their_order(index: Index, lost: Predictions) -> None:
    order = np.random.default_rng(0).permutation(11)
    shuffled = replace(lost, found=lost.found.take(order))
    assert fresh_of(shuffled, index, "dots/val") == fresh_of(lost, index, "dots/val")


def test_other_faces_another_index_and_missing_mirrors_are_refused(
    index: Index, lost: Predictions, tmp_path: Path
) -> None:
    few = replace(lost, found=lost.found.take(np.arange(5)))
    with pytest.raises(InputError, match=r"no predictions for 6 of the 11 faces asked for \(of dots/val\)"):
        judge(few, index, ["dots/train", "dots/val"])
    samples = list(index)
    changed = tmp_path / "changed.tsv"
    Index.write(changed, [replace(samples[0], face_box=(1.0, 2.0, 90.0, 91.0)), *samples[1:]])
    with pytest.raises(InputError, match=f"{index.sha256[:12]}.*it is another index, or has changed"):
        judge(lost, Index.read(changed), ["dots/val"])
    plain = replace(lost, found=replace(lost.found, mirrored=None))
    with pytest.raises(InputError, match="add --no-flip"):
        judge(plain, index, ["dots/val"])
    assert judge(plain, index, ["dots/val"], Wanted(flip=False))[0].summary["n"] == 7


def rewritten(path: Path, folder: Path, **changes: Any) -> Path:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays |= {name: value for name, value in changes.items() if value is not None}
    arrays = {name: value for name, value in arrays.items() if changes.get(name, 0) is not None}
    np.savez(folder / "changed.npz", **arrays)
    return folder / "changed.npz"


def test_what_is_no_file_of_predictions_is_refused(lost: Predictions, tmp_path: Path) -> None:
    whole = save_predictions(tmp_path / "p.npz", lost)
    broken = tmp_path / "cut.npz"
    broken.write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "empty.npz").touch()
    (tmp_path / "text.npz").write_text("hello")
    for name in ("cut", "empty", "text"):
        with pytest.raises(InputError, match=f"{name}.npz: not predictions that can be read"):
            load_predictions(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match=r"none\.npz: no such file"):
        load_predictions(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"p\.json: .* ends in \.npz"):
        save_predictions(tmp_path / "p.json", lost)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"plain": np.zeros((11, 4, 2))}, r"plain is of shape \(11, 4, 2\).*expected \(11, 5, 2\)"),
        ({"scores": None}, "scores is missing"),
        ({"scores": np.full((11, 5), np.nan)}, "scores holds values that are not finite"),
        ({"plain": np.full((11, 5, 2), "1")}, "plain is of shape .* and type <U1"),
        ({"about": np.array("{}")}, "not predictions that can be read"),
        ({"about": np.array(json.dumps({"format": "other"}))}, "another format"),
        ({"about": None}, "not predictions that can be read"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(
    changes: dict[str, Any], told: str, lost: Predictions, tmp_path: Path
) -> None:
    path = rewritten(save_predictions(tmp_path / "p.npz", lost), tmp_path, **changes)
    with pytest.raises(InputError, match=rf"changed\.npz: .*{told}|changed\.npz: {told}"):
        load_predictions(path)


class Trap:
    """Unpickling it would raise."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code was run')",))


def test_reading_runs_no_code(lost: Predictions, tmp_path: Path) -> None:
    trap = np.array([Trap()], dtype=object)
    path = rewritten(save_predictions(tmp_path / "p.npz", lost), tmp_path, scores=trap)
    with pytest.raises(InputError, match="not predictions that can be read"):
        load_predictions(path)


def test_two_networks_face_by_face(index: Index, lost: Predictions, found: Predictions) -> None:
    results = compare_predictions(lost, found, index, ["dots/train", "dots/val"], Wanted(leaf=3))
    assert [result.name for result in results] == ["dots/train", "dots/val", "all"]
    for result, name in zip(results, ("dots/train", "dots/val", "all"), strict=True):
        for side, predictions in (("a", lost), ("b", found)):
            own = fresh_of(predictions, index, name)
            assert result.comparison["metrics"]["nme_box"][side] == own["nme_box"]
        assert better("nme_box", result.comparison["metrics"]["nme_box"]["difference"]) == "B"
        assert better("macc_box_0.07", result.comparison["metrics"]["macc_box_0.07"]["difference"]) == "B"
        assert result.comparison["b_better"]["value"] == 1
    train, _, both = results
    assert both.faces == []
    gaps = np.abs(train.errors_a - train.errors_b)
    assert [abs(view.error_a - view.error_b) for view in train.faces] == sorted(gaps)[::-1][:3]
    view = train.faces[0]
    assert np.abs(view.b - view.true).max() < 0.3, "the crop is A's, and B's landmarks lie in it"
    column, row = view.true[2].astype(int)
    assert view.image[row, column, 1] > 200  # the nose is green


def test_a_network_against_itself_shows_no_difference(index: Index, found: Predictions) -> None:
    (result,) = compare_predictions(found, found, index, ["dots/val"])
    assert result.comparison["metrics"]["nme_box"]["difference"] == {"value": 0, "low": 0, "high": 0}
    assert better("nme_box", result.comparison["metrics"]["nme_box"]["difference"]) is None
    assert result.comparison["a_better"]["value"] == result.comparison["b_better"]["value"] == 0


def test_other_points_are_not_compared(index: Index, found: Predictions) -> None:
    names = ("a", "b", "c", "d", "e")
    other = replace(found, origin=replace(found.origin, markup=replace(found.origin.markup, points=names)))
    with pytest.raises(InputError, match="only the same points can be compared"):
        compare_predictions(found, other, index, ["dots/val"])


def test_boxes_move_and_grow_as_said() -> None:
    box = np.array([[10.0, 20, 30, 60]])
    np.testing.assert_allclose(BoxChange(right=0.1).apply(box), [[12, 20, 32, 60]])
    np.testing.assert_allclose(BoxChange(down=-0.2).apply(box), [[10, 12, 30, 52]])
    np.testing.assert_allclose(BoxChange(scale=1.25).apply(box), [[7.5, 15, 32.5, 65]])
    assert BoxChange(right=-0.1, scale=0.8).title == "10 % left, 20 % smaller"


def test_a_sweep_judges_every_change_of_the_boxes(index: Index, tmp_path: Path) -> None:
    """The dots are found in any crop that holds them; a crop shifted far away holds none."""
    predictor, seen = dot_predictor(tmp_path, batch=4), []
    changes = [BoxChange(), BoxChange(right=0.1), BoxChange(right=3.0)]
    before = index.face_boxes.copy()
    swept = sweep_boxes(predictor, index, ["dots/train", "dots/val"], 0, seen.append, changes)
    assert list(swept) == ["dots/train", "dots/val", "all"]
    assert sum(seen) == 3 * 11
    np.testing.assert_array_equal(index.face_boxes, before)
    plain = evaluate(predictor, index, ["dots/val"], flip=False)[0].summary
    assert [change for change, _ in swept["dots/val"]] == changes
    given, near, far = (summary for _, summary in swept["dots/val"])
    assert given["nme_box"] == plain["nme_box"]
    assert "parts" not in given
    assert near["nme_box"]["value"] != given["nme_box"]["value"]
    assert near["nme_box"]["value"] < 0.05
    assert far["fr_box_0.07"]["value"] == 1
