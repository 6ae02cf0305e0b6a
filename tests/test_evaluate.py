"""Judging a network: every face once, the right numbers, mirroring on and off, and faces to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader
from fanlight.data.index import Index
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.image import read_image
from fanlight.judging.evaluate import evaluate, predict_loader
from fanlight.metric import nme, summarise
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from painted import dot_predictor, make_index, markup, untrained


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces"), train=4, val=7))


def test_each_face_is_predicted_once_in_image_px(index: Index, tmp_path: Path) -> None:
    predictor = dot_predictor(tmp_path, batch=3)
    faces = FaceDataset(index.select(["dots/val"]), predictor.markup, predictor.usage.crop, 64)
    seen: list[int] = []
    loader = make_loader(faces, EpochSampler(7, 3, shuffle=False, drop_last=False))
    found = predict_loader(predictor, loader, True, seen.append)
    assert seen == [3, 3, 1]
    assert found.positions.tolist() == list(range(7))
    truth = np.stack([read_pts(sample.landmarks_path) for sample in index.select(["dots/val"])])
    assert found.mirrored is not None
    np.testing.assert_allclose(found.plain, truth, atol=0.15)
    np.testing.assert_allclose(found.mirrored, truth, atol=0.15)
    np.testing.assert_allclose(found.landmarks(True), (found.plain + found.mirrored) / 2)
    assert found.landmarks(False) is found.plain


def test_no_faces_for_a_process_are_no_predictions(index: Index, tmp_path: Path) -> None:
    predictor = dot_predictor(tmp_path)
    faces = FaceDataset(index.select(["dots/val"]), predictor.markup, predictor.usage.crop, 64)
    sampler = EpochSampler(1, 2, shuffle=False, drop_last=False, rank=1, world_size=2)
    found = predict_loader(predictor, make_loader(faces, sampler), True)
    assert found.landmarks(True).shape == (0, 5, 2)
    assert found.positions.shape == (0,)


@pytest.mark.parametrize("flip", [True, False])
def test_the_summary_is_that_of_the_metrics(index: Index, tmp_path: Path, flip: bool) -> None:
    """Against predictions made photo by photo, and truth read from the label files."""
    predictor = Predictor(TorchNetwork(untrained(tmp_path)), batch_size=3)
    result = evaluate(predictor, index, ["dots/val"], flip=flip)[0]
    samples = list(index.select(["dots/val"]))
    truth = np.stack([read_pts(sample.landmarks_path) for sample in samples])

    def predict(flip: bool) -> np.ndarray:
        photos = [(read_image(sample.image_path), sample.face_box) for sample in samples]
        return np.stack([predictor.predict(*photo, flip=flip)[0].landmarks for photo in photos])

    expected = summarise(predict(flip), truth, predictor.markup)
    assert (result.name, result.flip, result.summary["n"]) == ("dots/val", flip, 7)
    assert result.summary.keys() == expected.keys()
    for key, interval in expected.items():
        if key not in ("n", "parts"):
            assert result.summary[key] == pytest.approx(interval, abs=1e-4), key
    assert set(result.summary["parts"]) == {"eyes", "mouth"}
    assert nme(result.errors_box) == pytest.approx(result.summary["nme_box"]["value"])
    if flip:
        assert result.summary_other_flip is not None
        other = summarise(predict(False), truth, predictor.markup)["nme_box"]["value"]
        assert result.summary_other_flip["nme_box"]["value"] == pytest.approx(other, abs=1e-4)
        assert other != pytest.approx(expected["nme_box"]["value"], abs=1e-4)
    else:
        assert result.summary_other_flip is None


def test_a_network_that_finds_everything_scores_almost_perfectly(index: Index, tmp_path: Path) -> None:
    summary = evaluate(dot_predictor(tmp_path), index, ["dots/train"])[0].summary
    assert summary["n"] == 4
    assert summary["nme_box"]["value"] < 0.005
    assert summary["fr_box_0.07"]["value"] == 0
    assert summary["macc_box_0.07"]["value"] > 0.95


def test_several_partitions_are_also_judged_together(index: Index, tmp_path: Path) -> None:
    predictor = Predictor(TorchNetwork(untrained(tmp_path)))
    results = evaluate(predictor, index, ["dots/val", "dots/train"])
    assert [result.name for result in results] == ["dots/train", "dots/val", "all"]
    train, val, both = results
    assert both.summary["n"] == train.summary["n"] + val.summary["n"]
    np.testing.assert_array_equal(np.sort(both.errors_box), np.sort([*train.errors_box, *val.errors_box]))
    alone = evaluate(predictor, index, ["dots/val"])
    assert [result.name for result in alone] == ["dots/val"]
    np.testing.assert_allclose(alone[0].errors_box, val.errors_box, atol=1e-5)


def test_results_do_not_depend_on_workers_or_batches(index: Index, tmp_path: Path) -> None:
    results = [
        evaluate(
            Predictor(TorchNetwork(untrained(tmp_path)), batch_size=batch),
            index,
            ["dots/val"],
            workers=workers,
        )[0]
        for batch, workers in ((2, 0), (5, 2))
    ]
    np.testing.assert_allclose(results[0].errors_box, results[1].errors_box, atol=1e-5)


def test_views_are_the_best_the_median_and_the_worst(index: Index, tmp_path: Path) -> None:
    predictor = Predictor(TorchNetwork(untrained(tmp_path)))
    result = evaluate(predictor, index, ["dots/val"], views=4)[0]
    errors = np.sort(result.errors_box)
    groups = {g: [v.error for v in result.faces if v.group == g] for g in ("best", "median", "worst")}
    assert groups["best"] == errors[:2].tolist()
    assert groups["worst"] == errors[::-1][:4].tolist()
    assert sorted(groups["median"]) == errors[2:4].tolist()  # (7 - 2) // 2 = 2
    for view in result.faces:
        assert view.image.shape == (64, 64, 3)
        assert view.caption.startswith("val ")
        size = np.sqrt(np.prod(np.ptp(view.true, axis=0)))
        error = np.linalg.norm(view.predicted - view.true, axis=1).mean() / size
        assert error == pytest.approx(view.error, rel=1e-3)  # the same in crop px


@pytest.mark.parametrize(("views", "counts"), [(0, (0, 0, 0)), (1, (0, 0, 1)), (40, (7, 7, 7))])
def test_more_views_than_faces_or_none(
    index: Index, tmp_path: Path, views: int, counts: tuple[int, int, int]
) -> None:
    faces = evaluate(dot_predictor(tmp_path), index, ["dots/val"], flip=False, views=views)[0].faces
    assert tuple(sum(v.group == g for v in faces) for g in ("best", "median", "worst")) == counts


def test_views_lie_on_the_face(index: Index, tmp_path: Path) -> None:
    """The dots of the shown crop are where the truth is drawn."""
    view = evaluate(dot_predictor(tmp_path), index, ["dots/val"], views=1)[0].faces[0]
    column, row = view.true[2].astype(int)
    assert view.image[row, column, 1] > 200  # the nose is green


def test_unknown_partitions_and_other_markups_are_refused(index: Index, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'dots/test'.*dots/train \(4 faces\), dots/val \(7 faces\)"):
        evaluate(dot_predictor(tmp_path), index, ["dots/test"])
    text = (tmp_path / "five.toml").read_text()
    (tmp_path / "six.toml").write_text(text.replace('"nose"', '"nose", "chin"'))
    predictor = dot_predictor(tmp_path)
    predictor.markup = type(markup(tmp_path)).load(tmp_path / "six.toml")
    with pytest.raises(InputError, match="5 points, but mark-up five has 6"):
        evaluate(predictor, index, ["dots/val"])
