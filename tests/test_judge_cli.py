"""``fanlight eval`` and ``fanlight compare`` as typed: metrics asked for, predictions kept, two compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archives import Run
from fanlight.checkpoint import save_checkpoint
from fanlight.data.index import Index
from fanlight.judging.predictions import load_predictions
from fanlight.metric import SUMMARY_KEYS, measure
from painted import make_index, untrained


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of painted faces, and two networks with random weights, each slightly off the other."""
    folder = tmp_path_factory.mktemp("work")
    make_index(folder, train=4, val=6)
    first = untrained(folder)
    noise = torch.Generator().manual_seed(1)
    weights = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=noise)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.weights.items()
    }
    save_checkpoint(folder / "a.ckpt", first)
    other = untrained(folder)
    object.__setattr__(other, "weights", {k: v.abs() if "var" in k else v for k, v in weights.items()})
    save_checkpoint(folder / "b.ckpt", other)
    return folder


def on(work: Path, *partitions: str) -> list[str | Path]:
    words: list[str | Path] = ["--index", work / "faces.tsv", "--workers", "0", "--device", "cpu"]
    for partition in partitions or ("dots/val",):
        words += ["--partition", partition]
    return words


def without_file(text: str) -> dict[str, Any]:
    """What was printed, but for the file of predictions that was judged and the command."""
    found: dict[str, Any] = json.loads(text)
    found.pop("provenance")
    for about in (found, found["all"], *found["partitions"].values()):
        about.pop("predictions", None)
    return found


def test_metrics_asked_for_come_beside_the_usual_ones(work: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("eval", work / "a.ckpt", *on(work), "--json")
    assert code == 0
    usual = json.loads(out)["partitions"]["dots/val"]
    assert [key for key in usual if key in SUMMARY_KEYS] == list(SUMMARY_KEYS)
    code, out, _ = fanlight(
        "eval", work / "a.ckpt", *on(work), "--json", "--normaliser", "diagonal", "--normaliser", "height",
        "--threshold", "0.1", "--threshold", "0.5", "--auc-rule", "lua", "--auc-rule", "simpson",
    )  # fmt: skip
    assert code == 0
    more = json.loads(out)["partitions"]["dots/val"]
    assert {key: more[key] for key in usual if key != "parts"} == {
        key: usual[key] for key in usual if key != "parts"
    }
    new = [key for key in more if key not in usual]
    assert new == [
        f"{kind}"
        for length in ("box_diagonal", "box_height")
        for kind in (
            f"nme_{length}",
            *(
                name
                for limit in ("0.1", "0.5")
                for name in (
                    f"auc_{length}_{limit}_lua", f"auc_{length}_{limit}_simpson", f"fr_{length}_{limit}",
                    f"macc_{length}_{limit}",
                )
            ),
        )
    ]  # fmt: skip
    code, out, _ = fanlight("eval", work / "a.ckpt", *on(work), "--auc-rule", "step")
    assert code == 0
    assert "AUC@0.07 box, step" in out


def test_weights_of_the_index_weigh_fresh_and_saved_predictions(
    work: Path, fanlight: Run, tmp_path: Path
) -> None:
    """Steps 0, 2, 4, 6 and 8 away from the original pose and an original weigh 5, 4, 3, 2, 1 and 1."""
    path, kept = work / "turned.tsv", tmp_path / "kept.npz"
    faces = [sample for sample in Index.read(work / "faces.tsv") if sample.split == "val"]
    steps = (0, 2, 4, 6, 8, -1)
    Index.write(path, [replace(face, aug_idx=k) for face, k in zip(faces, steps, strict=True)])
    where = ["--index", path, "--partition", "dots/val", "--workers", "0", "--device", "cpu"]
    wanted = ["--weighted", "--json", "--auc-rule", "step"]
    code, fresh, _ = fanlight("eval", work / "a.ckpt", *where, *wanted, "--save-predictions", kept)
    assert code == 0
    code, again, _ = fanlight("eval", kept, *where, *wanted, "--report", tmp_path / "report")
    assert code == 0
    found, saved = (json.loads(text)["partitions"]["dots/val"] for text in (fresh, again))
    saved.pop("predictions")
    assert found == saved
    keys = [key for key in found if key not in ("checkpoint", "flip", "n", "parts")]
    plain = [key for key in keys if not key.endswith("_weighted")]
    assert keys == [*plain, *(f"{key}_weighted" for key in plain)]
    judged = load_predictions(kept)
    index = Index.read(path)
    predicted, true = judged.of(index, True).landmarks(True), index.all_landmarks(judged.origin.markup)
    expected = measure(keys, predicted, true, judged.origin.markup, [5, 4, 3, 2, 1, 1])
    for key in keys:
        assert found[key]["value"] == pytest.approx(expected[key]), key
        assert found[key]["low"] <= found[key]["value"] <= found[key]["high"]
    assert found["nme_box_weighted"]["value"] != pytest.approx(found["nme_box"]["value"], rel=1e-3)
    page = (tmp_path / "report" / "report.html").read_text()
    assert "NME box, weighted" in page
    assert "each face counts by its weight" in page
    code, out, _ = fanlight("compare", kept, work / "b.ckpt", *where, *wanted)
    assert code == 0
    values = json.loads(out)["partitions"]["dots/val"]["metrics"]["nme_box_weighted"]
    assert values["a"] == found["nme_box_weighted"]
    assert values["difference"]["value"] == pytest.approx(values["b"]["value"] - values["a"]["value"])


def test_metrics_that_are_not_possible_are_told_together(work: Path, fanlight: Run) -> None:
    code, _, err = fanlight(
        "eval", work / "a.ckpt", *on(work), "--normaliser", "nose", "--auc-rule", "left", "--threshold", "7"
    )
    assert code == 2
    for told in ("--normaliser nose", "interpupil", "--auc-rule left", "simpson", "--threshold 7"):
        assert told in err
    code, _, err = fanlight("eval", work / "a.ckpt", *on(work), "--normaliser", "interpupil")
    assert code == 2
    assert "not possible with the mark-up five" in err


def test_predictions_saved_once_are_judged_again(work: Path, fanlight: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    both = on(work, "dots/val", "dots/train")
    code, fresh, err = fanlight("eval", work / "a.ckpt", *both, "--json", "--save-predictions", kept)
    assert code == 0
    assert f"predictions: {kept}" in err
    code, again, _ = fanlight("eval", kept, *both, "--json", "--report", tmp_path / "report")
    assert code == 0
    assert json.loads(again)["predictions"] == str(kept)
    assert without_file(again) == without_file(fresh)
    assert f"{work / 'a.ckpt'}" in (tmp_path / "report/report.html").read_text()
    code, out, _ = fanlight("eval", kept, *on(work), "--no-flip", "--json")
    assert json.loads(out)["flip"] is False
    code, _, err = fanlight("eval", kept, *on(work), "--sweep")
    assert code == 2
    assert "give the model for --sweep" in err


def test_foreign_and_stale_predictions_are_refused(work: Path, fanlight: Run, tmp_path: Path) -> None:
    kept = tmp_path / "kept.npz"
    fanlight("eval", work / "a.ckpt", *on(work), "--no-flip", "--save-predictions", kept)
    code, _, err = fanlight("eval", kept, *on(work, "dots/train"), "--no-flip")
    assert code == 2
    assert "no predictions for 4 of the 4 faces" in err
    code, _, err = fanlight("eval", kept, *on(work))
    assert code == 2
    assert "--no-flip" in err
    Index.write(work / "other.tsv", list(Index.read(work / "faces.tsv"))[1:])
    code, _, err = fanlight(
        "eval", kept, "--index", work / "other.tsv", "--partition", "dots/val", "--no-flip"
    )
    assert code == 2
    assert "another index" in err
    code, _, err = fanlight("eval", work / "a.ckpt", *on(work), "--save-predictions", tmp_path / "p.json")
    assert code == 2
    assert not (tmp_path / "p.json").exists()


def test_a_sweep_is_printed_and_reported(work: Path, fanlight: Run, tmp_path: Path) -> None:
    code, out, _ = fanlight(
        "eval", work / "a.ckpt", *on(work), "--sweep", "--report", tmp_path, "--faces", "2"
    )
    assert code == 0
    assert "20 % left" in out
    assert "25 % larger" in out
    page = (tmp_path / "report.html").read_text()
    assert "Boxes that are off" in page
    assert "The worst 2 of 6 faces" in page
    code, out, _ = fanlight("eval", work / "a.ckpt", *on(work), "--sweep", "--json")
    rows = json.loads(out)["sweep"]["dots/val"]
    assert [(row["right"], row["down"], row["scale"]) for row in rows][:2] == [(0, 0, 1), (-0.2, 0, 1)]
    assert len(rows) == 13
    assert all(row["n"] == 6 and row["nme_box"]["value"] > 0 for row in rows)


def test_two_models_are_compared(work: Path, fanlight: Run, tmp_path: Path) -> None:
    kept = tmp_path / "b.npz"
    fanlight("eval", work / "b.ckpt", *on(work, "dots/val", "dots/train"), "--save-predictions", kept)
    both = on(work, "dots/val", "dots/train")
    code, out, err = fanlight("compare", work / "a.ckpt", kept, *both, "--json", "--report", tmp_path / "r")
    assert code == 0
    found = json.loads(out)
    assert found["a"].endswith("a.ckpt")
    assert found["b"].endswith("b.npz")
    assert "B minus A" in found["difference"]
    assert list(found["partitions"]) == ["dots/train", "dots/val"]
    for part in (*found["partitions"].values(), found["all"]):
        for values in part["metrics"].values():
            difference = values["b"]["value"] - values["a"]["value"]
            assert values["difference"]["value"] == pytest.approx(difference)
            assert (
                values["difference"]["low"] <= values["difference"]["value"] <= values["difference"]["high"]
            )
        assert part["a_better"]["value"] + part["b_better"]["value"] == 1
    code, alone, _ = fanlight("eval", work / "a.ckpt", *both, "--json")
    own = json.loads(alone)["partitions"]["dots/val"]["nme_box"]
    assert found["partitions"]["dots/val"]["metrics"]["nme_box"]["a"] == own
    assert f"report: {tmp_path / 'r' / 'compare.html'}" in err
    assert "Where they differ most" in (tmp_path / "r/compare.html").read_text()
    code, out, _ = fanlight("compare", work / "a.ckpt", work / "b.ckpt", *on(work))
    assert code == 0
    assert "below 0, B is better by nme and fr" in out
    assert "better on this share of faces" in out


@pytest.mark.parametrize("name", ["none.npz", "none.ckpt", "none.onnx"])
def test_what_is_not_there_is_named(name: str, work: Path, fanlight: Run) -> None:
    code, _, err = fanlight("compare", work / "a.ckpt", work / name, *on(work))
    assert code == 2
    assert name in err
    assert "Traceback" not in err


def test_faces_that_cannot_be_used_are_left_out_when_asked_and_counted(
    work: Path, tmp_path: Path, fanlight: Run
) -> None:
    make_index(tmp_path, train=4, val=6)
    index = Index.read(tmp_path / "faces.tsv")
    bad = index[int(index.members("dots/val")[1])].landmarks_path
    bad.write_text("nonsense")
    words = ["eval", work / "a.ckpt", *on(tmp_path)]
    code, _, err = fanlight(*words)
    assert code == 2
    assert "--skip-invalid" in err
    saved = tmp_path / "kept.npz"
    report = tmp_path / "report"
    code, out, err = fanlight(
        *words, "--skip-invalid", "--json", "--report", report, "--faces", "2", "--save-predictions", saved
    )
    assert code == 0, err
    assert "left out 1 of 6 faces" in err
    found = json.loads(out)
    assert found == json.loads((report / "evaluation.json").read_text())
    assert found["left_out"] == 1
    assert found["partitions"]["dots/val"]["n"] == 5
    assert "faces that cannot be used: 1" in (report / "report.html").read_text()
    code, out, err = fanlight("eval", saved, *on(tmp_path), "--skip-invalid", "--json")
    assert code == 0, err
    assert json.loads(out)["partitions"]["dots/val"]["n"] == 5
