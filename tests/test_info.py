"""``fanlight info``: what every file of fanlight says of itself, and of those that say nothing or are damaged."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from archives import Run
from fanlight.checkpoint import load_checkpoint, save_checkpoint
from fanlight.config import load_recipe
from fanlight.data.index import Index
from fanlight.errors import InputError
from fanlight.export import ExampleFaces, export_ibug, export_slim, export_torchscript
from fanlight.inspection import inspect
from fanlight.inspection.found import LARGEST_TEXT
from fanlight.metadata import KEY, to_json
from fanlight.model import FAN
from fanlight.network import TorchNetwork
from fanlight.provenance import file_digest, made_by
from fanlight.provenance_text import groups
from painted import OPTIONS, make_index, untrained
from runs import make_recipe, run

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index, and a finished run on it in ``run``."""
    folder = tmp_path_factory.mktemp("work")
    data = Index.read(make_index(folder, train=8, val=6))
    run(make_recipe(data, train={"epochs": 1, "seed": 3}), data, folder / "run")
    return folder


@pytest.fixture(scope="module")
def best(work: Path) -> Path:
    return work / "run" / "checkpoints" / "best.ckpt"


def on(work: Path) -> list[str | Path]:
    return ["--index", work / "faces.tsv", "--partition", "dots/val", "--workers", "0", "--device", "cpu"]


def told(fanlight: Run, path: Path) -> dict[str, Any]:
    """What ``--json`` prints, once the text was printed, too."""
    code, out, err = fanlight("info", path)
    assert code == 0, err
    assert file_digest(path if path.is_file() else next(path.glob("*.json"))) in out
    code, out, err = fanlight("info", path, "--json")
    assert code == 0, err
    return json.loads(out)


# ---------------------------------------------------------------------------- networks


def test_a_checkpoint_says_everything(work: Path, best: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("info", best)
    assert code == 0
    digest = file_digest(work / "faces.tsv")
    for text in (
        file_digest(best),
        "five, 5 points",
        "NME box",
        "Seed",
        made_by()["code_sha256"],
        digest,
        "[data]",
    ):
        assert text in out
    found = json.loads(fanlight("info", best, "--json")[1])
    assert found["kind"] == "checkpoint"
    assert found["provenance"] == load_checkpoint(best).provenance
    assert found["recipe"] == load_checkpoint(best).recipe
    assert found["metrics"].keys() == load_checkpoint(best).metrics.keys()


def test_a_recipe_is_printed_for_another_training(best: Path, tmp_path: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("info", best, "--recipe")
    assert code == 0
    (tmp_path / "recipe.toml").write_text(out, encoding="utf-8")
    assert load_recipe(tmp_path / "recipe.toml").to_dict() == load_checkpoint(best).recipe
    save_checkpoint(tmp_path / "bare.ckpt", replace(load_checkpoint(best), recipe={}))
    code, out, err = fanlight("info", tmp_path / "bare.ckpt", "--recipe")
    assert (code, out) == (2, "")
    assert "holds no recipe" in err


def test_a_run_is_told_by_its_folder(work: Path, fanlight: Run) -> None:
    code, out, _ = fanlight("info", work / "run")
    assert (code, "run in" in out, "best.ckpt" in out) == (0, True, True)


def test_the_network_that_comes_with_it_says_what_it_has(fanlight: Run) -> None:
    code, out, _ = fanlight("info", "small")
    assert code == 0
    assert "fanlight train recipes/small_192.toml" in out
    assert "1.57 M parameters" in out


def test_a_checkpoint_that_knows_nothing_is_shown(best: Path, tmp_path: Path, fanlight: Run) -> None:
    path = tmp_path / "old.ckpt"
    save_checkpoint(path, replace(load_checkpoint(best), provenance={}, recipe={}, metrics={}))
    code, out, _ = fanlight("info", path)
    assert (code, "it does not say" in out, "Recipe" in out) == (0, True, False)


def test_every_session_is_told(best: Path, tmp_path: Path, fanlight: Run) -> None:
    known = load_checkpoint(best).provenance
    earlier = [{"command": "fanlight train a.toml", "from_step": 0}, {"command": "fanlight train --resume b"}]
    path = save_checkpoint(
        tmp_path / "x.ckpt", replace(load_checkpoint(best), provenance={**known, "earlier": earlier})
    )
    out = fanlight("info", path)[1]
    assert "Session 1 of its training" in out
    assert "Session 2 of its training" in out
    assert "fanlight train --resume b" in out


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_exported_networks_say_where_they_come_from(best: Path, tmp_path: Path, fanlight: Run) -> None:
    checkpoint = load_checkpoint(best)
    crops = torch.zeros(1, 32, 32, 3, dtype=torch.uint8).numpy()
    faces = ExampleFaces(crops, "nothing")
    export_torchscript(checkpoint, tmp_path / "a.pt", faces)
    export_slim(checkpoint, tmp_path / "a.ckpt", faces)
    for name, kind in (("a.pt", "exported network, TorchScript"), ("a.ckpt", "checkpoint")):
        found = told(fanlight, tmp_path / name)
        assert found["kind"] == kind
        assert found["provenance"]["index_sha256"] == checkpoint.provenance["index_sha256"]
        assert found["recipe"]["train"]["seed"] == 3
        assert found["recipe"]["data"]["index"] == "faces.tsv"  # without its folder
        assert found["metrics"].keys() == checkpoint.metrics.keys()
        assert fanlight("info", tmp_path / name, "--recipe")[0] == 0


def test_weights_for_ibug_say_where_they_come_from(tmp_path: Path, fanlight: Run) -> None:
    options = replace(OPTIONS, stem_features=64)
    network = replace(
        untrained(tmp_path), options=options, weights=FAN(options).state_dict(), provenance={"seed": 7}
    )
    faces = ExampleFaces(torch.zeros(1, 64, 64, 3, dtype=torch.uint8).numpy(), "nothing")
    export_ibug(network, tmp_path / "a.pth", faces)
    found = told(fanlight, tmp_path / "a.pth")
    assert found["kind"] == "exported network, weights for ibug.face_alignment"
    assert found["provenance"] == {"seed": 7}


def test_an_onnx_file_says_where_it_comes_from(best: Path, tmp_path: Path, fanlight: Run) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    kinds = onnx.TensorProto
    names = ("landmarks", "scores", "covariances")
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Cast", ["crops"], [name], to=kinds.FLOAT) for name in names],
        "cast",
        [onnx.helper.make_tensor_value_info("crops", kinds.UINT8, ["n", 32, 32, 3])],
        [onnx.helper.make_tensor_value_info(name, kinds.FLOAT, ["n", 32, 32, 3]) for name in names],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)
    usage = TorchNetwork(load_checkpoint(best)).usage
    text = to_json(usage, provenance={"seed": 3}, recipe={"train": {"seed": 3}})
    onnx.helper.set_model_props(model, {KEY: text})
    onnx.save(model, str(tmp_path / "a.onnx"))
    found = told(fanlight, tmp_path / "a.onnx")
    assert (found["kind"], found["provenance"]) == ("exported network, ONNX", {"seed": 3})
    assert fanlight("info", tmp_path / "a.onnx", "--recipe")[1] == "[train]\nseed = 3\n"


# ---------------------------------------------------------------------------- what was made with them


def about_the_network(provenance: dict[str, Any], best: Path, work: Path) -> None:
    """All that a report has to carry."""
    assert provenance["command"].startswith("fanlight ")
    assert provenance["packages"] == made_by()["packages"]
    assert provenance["index_sha256"] == file_digest(work / "faces.tsv")
    network = provenance["networks"][0]
    assert network["sha256"] == file_digest(best)
    assert network["recipe"] == load_checkpoint(best).recipe
    assert network["provenance"] == load_checkpoint(best).provenance


def test_reports_of_evaluations_say_how_they_were_made(
    work: Path, best: Path, tmp_path: Path, fanlight: Run
) -> None:
    folder = tmp_path / f"re & port {EVIL.replace('/', '')}"
    assert (
        fanlight("eval", best, *on(work), "--report", folder, "--save-predictions", tmp_path / "p.npz")[0]
        == 0
    )
    content = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    about_the_network(content["provenance"], best, work)
    assert content["provenance"]["bootstrap"] == {"resamples": 1000, "seed": 0}
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<summary>How this was made</summary>" in page
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert "[optimiser]" in page
    for path, kind in ((folder, "evaluation"), (folder / "report.html", "report")):
        found = told(fanlight, path)
        assert found["kind"] == kind
        assert found["provenance"] == content["provenance"]
    kept = told(fanlight, tmp_path / "p.npz")
    about_the_network(kept["provenance"], best, work)
    assert kept["facts"]["Faces"] == "6"
    assert fanlight("eval", tmp_path / "p.npz", *on(work), "--report", tmp_path / "again")[0] == 0
    again = told(fanlight, tmp_path / "again" / "evaluation.json")["provenance"]
    about_the_network(again, best, work)
    assert again["predictions_sha256"] == {str(tmp_path / "p.npz"): file_digest(tmp_path / "p.npz")}


def test_reports_of_comparisons_say_how_they_were_made(
    work: Path, best: Path, tmp_path: Path, fanlight: Run
) -> None:
    other = best.with_name("last.ckpt")
    assert fanlight("compare", best, other, *on(work), "--report", tmp_path)[0] == 0
    for name, kind in (("comparison.json", "comparison"), ("compare.html", "report")):
        found = told(fanlight, tmp_path / name)
        assert found["kind"] == kind
        about_the_network(found["provenance"], best, work)
        assert found["provenance"]["networks"][1]["sha256"] == file_digest(other)


def test_findings_say_how_they_were_made(work: Path, best: Path, tmp_path: Path, fanlight: Run) -> None:
    words = ("--markup", work / "five.toml", "--report", tmp_path, "--model", best, "--device", "cpu")
    code, _, err = fanlight("data", "check", work / "faces.tsv", *words)
    assert code == 0, err
    for name, kind in (("findings.json", "check of a data set"), ("report.html", "report")):
        found = told(fanlight, tmp_path / name)
        assert found["kind"] == kind
        about_the_network(found["provenance"], best, work)


def test_predicted_landmarks_say_how_they_were_found(
    work: Path, best: Path, tmp_path: Path, fanlight: Run
) -> None:
    photo = next(work.rglob("val*.png"))
    words = ("--model", best, "--boxes", "whole", "--format", "json", "--no-overlay", "--out", tmp_path)
    assert fanlight("predict", photo, *words)[0] == 0
    found = told(fanlight, tmp_path / "landmarks.json")
    assert found["kind"] == "predictions of landmarks"
    assert found["provenance"]["networks"] == [{"name": str(best), "sha256": file_digest(best)}]
    assert found["provenance"]["command"].startswith("fanlight predict ")


def test_indexes_and_packs_are_told_by_their_hash(work: Path, tmp_path: Path, fanlight: Run) -> None:
    index = work / "faces.tsv"
    found = told(fanlight, index)
    assert (found["kind"], found["facts"]["dots/val"]) == ("index", "6 faces")
    pack = tmp_path / "pack"
    assert fanlight("data", "pack", index, "--markup", work / "five.toml", "--out", pack)[0] == 0
    for path in (pack, pack / "pack.json"):
        found = told(fanlight, path)
        assert found["kind"] == "pack"
        assert found["provenance"]["source_sha256"] == file_digest(index)
        assert found["provenance"]["index_sha256"] == file_digest(pack / "pack.json")


def test_other_results_in_json_are_told(tmp_path: Path, fanlight: Run) -> None:
    figures = tmp_path / "figures.json"
    figures.write_text(json.dumps({"environment": {"python": "3.11", "load": None}, "results": {"step": {}}}))
    found = told(fanlight, figures)
    assert (found["kind"], found["provenance"]["python"]) == ("benchmarks", "3.11")
    ablation = tmp_path / "ablation.json"
    ablation.write_text(
        json.dumps({"title": "t", "variants": {}, "partitions": {}, "provenance": {"python": "3"}})
    )
    assert told(fanlight, tmp_path / "ablation.json")["kind"] == "ablation"


# ---------------------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize(
    "suffix", ["", ".ckpt", ".pt", ".pth", ".onnx", ".npz", ".tsv", ".json", ".html", ".jpg"]
)
def test_what_is_not_of_fanlight_is_named(suffix: str, tmp_path: Path, fanlight: Run) -> None:
    path = tmp_path / f"odd{suffix}"
    assert fanlight("info", path)[0] == 2
    draw = random.Random(suffix)
    for content in (
        b"",
        b"{}",
        b"[]",
        b"null",
        draw.randbytes(300),
        b"PK\x03\x04" + draw.randbytes(300),
        b"{" * 99999,
    ):
        path.write_bytes(content)
        code, out, err = fanlight("info", path)
        assert (code, out) == (2, "")
        assert str(path) in err
    assert fanlight("info", tmp_path)[0] == 2


@pytest.mark.parametrize("suffix", ["", ".ckpt", ".onnx", ".npz", ".tsv", ".json", ".html"])
def test_what_has_no_end_is_not_read(suffix: str, tmp_path: Path, fanlight: Run) -> None:
    pipe, device = tmp_path / f"pipe{suffix}", tmp_path / f"device{suffix}"
    os.mkfifo(pipe)
    device.symlink_to("/dev/zero")
    for path in (pipe, device):
        code, out, err = fanlight("info", path)
        assert (code, out) == (2, "")
        assert f"{path}: not a file" in err


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_texts_beyond_any_report_are_not_read(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"large{suffix}"
    with path.open("wb") as file:
        file.truncate(LARGEST_TEXT + 1)  # of holes
    with pytest.raises(InputError, match=f"{path}: more than 512 MiB"):
        inspect(path)


def test_archives_of_others_and_code_in_them_are_refused(tmp_path: Path, fanlight: Run) -> None:
    class Code:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"x": Code()}, tmp_path / "code.ckpt")
    (tmp_path / "code.pt").write_bytes(pickle.dumps(Code()))
    with zipfile.ZipFile(tmp_path / "docs.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    for name in ("code.ckpt", "code.pt", "docs.zip"):
        code, _, err = fanlight("info", tmp_path / name)
        assert (code, name in err) == (2, True)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_file_is_told_or_named(work: Path, best: Path, tmp_path: Path, fanlight: Run) -> None:
    """Thirty changed bytes in each: what is printed comes from a sound file, or the fault is named."""
    data, draw = best.read_bytes(), random.Random(0)
    for number in range(30):
        damaged = bytearray(data)
        damaged[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path = tmp_path / f"{number}.ckpt"
        path.write_bytes(damaged)
        code, _, err = fanlight("info", path)
        assert code in (0, 2)
        assert code == 0 or str(path) in err


def test_whatever_provenance_holds_is_told() -> None:
    strange = {
        "earlier": "x",
        "networks": [1, {"provenance": 3, "recipe": {"a": 1}}],
        "start_from": [True, 0.5],
        "q": None,
    }
    found = groups(strange, {"train": 3})
    assert [group.recipe for group in found] == ["", ""]
    assert ("Began from", "yes, 0.5") in found[0].rows


def test_values_print_no_lines_of_their_own(best: Path, tmp_path: Path, fanlight: Run) -> None:
    forged = {"command": "a\n\nfaked: line", "odd\nfaked": "x", "networks": [{"name": "n\nfaked"}]}
    path = save_checkpoint(tmp_path / "forged.ckpt", replace(load_checkpoint(best), provenance=forged))
    code, out, _ = fanlight("info", path)
    assert code == 0
    assert r"a\n\nfaked: line" in out
    assert not [line for line in out.splitlines() if line.startswith("faked")]


def test_a_page_reads_as_it_was_written(tmp_path: Path) -> None:
    from fanlight.report.page import write_page

    known = {
        "command": EVIL,
        "networks": [{"name": EVIL, "recipe": {"data": {"index": EVIL}}, "provenance": {EVIL: "x"}}],
    }
    path = write_page(
        tmp_path / "x.html", "findings.html.jinja", known,
        where=EVIL, facts={}, counts=[], sections=[], left_out=[], compared=False,
    )  # fmt: skip
    source = path.read_text(encoding="utf-8")
    assert "<script>alert" not in source
    assert "<img src=x" not in source
    assert inspect(path).provenance == known
    assert inspect(path).facts["Title"] == f"Check of {EVIL}"
