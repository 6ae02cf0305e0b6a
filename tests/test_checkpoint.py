"""Checkpoints: round trip, atomic writing, and files that are not what they seem."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fanlight.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from fanlight.config import Recipe
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions

OPTIONS = FANOptions(points=68, stacks=1, features=8, depth=1, stem_features=4, input_size=32)


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    recipe = Recipe.from_dict({"data": {"index": "ü.tsv", "train": ["a/b"], "val": ["a/c"]}})
    return Checkpoint(
        options=OPTIONS,
        weights=FAN(OPTIONS).state_dict(),
        markup=Markup.load("ibug68"),
        decoder=Decoder(radius=0.2, gamma=2.0, border="cut", sigma_heatmap_px=1.5),
        crop=CropRule(1.6, "max", 0.01, -0.12),
        offset_image=(0.5, 0.25),
        recipe=recipe.to_dict(),
        metrics={"nme_box": 0.0123},
        provenance={"torch": "x"},
        training={"step": 3, "optimiser": {"state": {0: torch.ones(2)}}, "ranked": [("a.ckpt", 0.5)]},
    )


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    return save_checkpoint(tmp_path / "deep" / "folder" / "a.ckpt", checkpoint)


def test_everything_comes_back(checkpoint: Checkpoint, saved: Path) -> None:
    loaded = load_checkpoint(str(saved))
    for name in ("options", "markup", "decoder", "crop", "offset_image", "recipe", "metrics", "provenance"):
        assert getattr(loaded, name) == getattr(checkpoint, name), name
    assert loaded.weights.keys() == checkpoint.weights.keys()
    assert all(torch.equal(loaded.weights[name], values) for name, values in checkpoint.weights.items())
    assert loaded.training["step"] == 3
    assert loaded.training["ranked"] == [("a.ckpt", 0.5)]
    assert torch.equal(loaded.training["optimiser"]["state"][0], torch.ones(2))
    assert Recipe.from_dict(loaded.recipe).to_dict() == checkpoint.recipe


def test_the_network_is_built_ready_for_use(checkpoint: Checkpoint, saved: Path) -> None:
    model = load_checkpoint(saved).build()
    original = FAN(OPTIONS).eval()
    original.load_state_dict(dict(checkpoint.weights))
    assert not model.training
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(model(images)[0], original(images)[0])


def test_building_draws_no_random_numbers(saved: Path) -> None:
    before = torch.get_rng_state()
    load_checkpoint(saved).build()
    assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------ writing


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("iostream error")])
def test_a_failed_write_leaves_the_old_file(
    checkpoint: Checkpoint, saved: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    before = saved.read_bytes()

    def fail_half_way(content: object, file: io.BufferedWriter) -> None:
        file.write(before[: len(before) // 2])
        raise error

    monkeypatch.setattr(torch, "save", fail_half_way)
    with pytest.raises(InputError) as caught:
        save_checkpoint(saved, replace(checkpoint, metrics={}))
    assert str(saved) in str(caught.value)
    assert str(error) in str(caught.value)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_an_interrupted_write_leaves_the_old_file_alone(
    checkpoint: Checkpoint, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def interrupt(content: object, file: io.BufferedWriter) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, checkpoint)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_folder_that_cannot_be_made_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file/a\.ckpt: cannot be written"):
        save_checkpoint(tmp_path / "file" / "a.ckpt", checkpoint)


def test_saving_again_replaces_the_file(checkpoint: Checkpoint, saved: Path) -> None:
    save_checkpoint(saved, replace(checkpoint, metrics={"nme_box": 0.5}))
    assert load_checkpoint(saved).metrics == {"nme_box": 0.5}
    assert saved.stat().st_mode & 0o777 == 0o644


# ------------------------------------------------------------------ files that are not checkpoints


class Trap:
    """Pickled, it makes a folder when loaded carelessly."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def archived(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("wrapped", ["pickle", "torch", "inside"])
def test_code_in_a_file_is_not_run(tmp_path: Path, saved: Path, wrapped: str) -> None:
    trap = Trap(tmp_path / "sprung")
    content = {
        "pickle": lambda: pickle.dumps(trap),
        "torch": lambda: archived(trap),
        "inside": lambda: archived({**torch.load(saved, weights_only=True), "recipe": {"x": trap}}),
    }
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(content[wrapped]())
    with pytest.raises(InputError, match=r"bad\.ckpt: not a checkpoint that can be loaded safely") as refused:
        load_checkpoint(bad)
    assert "weights_only" not in str(refused.value)  # PyTorch's advice is to run it
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello\n",
        b"\x89PNG\r\n\x1a\n" + bytes(50),
        pickle.dumps({"format": FORMAT}),
        b"PK\x03\x04",
        b"\x80\x02R.",
    ],
    ids=["empty", "text", "image", "pickle", "half a zip", "odd pickle"],
)
def test_foreign_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"bad\.ckpt: not a checkpoint"):
        load_checkpoint(bad)


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ckpt: no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_checkpoint(tmp_path)


def test_other_archives_are_refused_by_name(tmp_path: Path) -> None:
    weights, archive = tmp_path / "weights.pth", tmp_path / "photos.zip"
    torch.save(FAN(OPTIONS).state_dict(), weights)
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.txt", "hello")
    for path, reason in ((weights, "not a checkpoint of fanlight"), (archive, "not a checkpoint that")):
        with pytest.raises(InputError, match=f"{path.name}: {reason}"):
            load_checkpoint(path)


def test_every_cut_or_changed_file_is_refused(saved: Path) -> None:
    """Whatever is cut off, and any changed byte that matters, also among the weights."""
    whole, generator = saved.read_bytes(), random.Random(0)
    bad, good = saved.with_name("bad.ckpt"), load_checkpoint(saved).weights
    for _ in range(60):
        bad.write_bytes(whole[: generator.randrange(len(whole))])
        with pytest.raises(InputError, match=r"bad\.ckpt"):
            load_checkpoint(bad)
        changed = bytearray(whole)
        changed[generator.randrange(len(whole))] ^= 0xFF
        bad.write_bytes(changed)
        with contextlib.suppress(InputError):  # or nothing that matters has changed, such as a date
            same = load_checkpoint(bad).weights
            assert all(torch.equal(values, same[name]) for name, values in good.items())


def test_a_changed_weight_is_noticed(saved: Path) -> None:
    whole = saved.read_bytes()
    values = load_checkpoint(saved).weights["conv1.weight"].numpy().tobytes()
    assert whole.count(values) == 1
    changed = bytearray(whole)
    changed[whole.index(values) + 3] ^= 0x80
    saved.write_bytes(changed)
    with pytest.raises(InputError, match=r"a\.ckpt: damaged"):
        load_checkpoint(saved)


def _content(path: Path) -> dict[str, Any]:
    """What a checkpoint of an older version would hold: no SHA-256."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    del content["sha256"]
    return content


def test_whatever_was_put_together_anew_is_noticed(saved: Path) -> None:
    """Archives whose sums are right, and whose values are not those saved; without a SHA-256, one loads."""
    content = torch.load(saved, weights_only=True)
    weights = content["weights"]
    turned = weights["conv1.weight"].transpose(2, 3)
    changes: dict[str, dict[str, Any]] = {
        "a value": {"metrics": {"nme_box": 0.0124}},
        "a type": {"offset_image": [0.5, 0.25]},
        "an order": {"weights": dict(reversed(weights.items()))},
        "a name": {"weights": {("x" if name == "bn1.bias" else name): v for name, v in weights.items()}},
        "a view": {"weights": {**weights, "conv1.weight": turned}},
        "a bit": {"weights": {**weights, "bn1.weight": weights["bn1.weight"].nextafter(torch.tensor(2.0))}},
    }
    for change in changes.values():
        saved.write_bytes(archived({**content, **change}))
        with pytest.raises(InputError, match=r"a\.ckpt: damaged \(its SHA-256"):
            load_checkpoint(saved)
    del content["sha256"]
    saved.write_bytes(archived(content))
    assert load_checkpoint(saved).metrics == {"nme_box": 0.0123}


NAMES = (
    "options",
    "weights",
    "markup",
    "decoder",
    "crop",
    "offset_image",
    "recipe",
    "metrics",
    "provenance",
    "training",
)


@pytest.mark.parametrize("name", NAMES)
def test_missing_or_odd_entries_are_refused(saved: Path, name: str) -> None:
    content = _content(saved)
    variants = [{key: value for key, value in content.items() if key != name}]
    variants += [{**content, name: odd} for odd in (None, 3, "text", [1, 2, 3])]
    for variant in variants:
        saved.write_bytes(archived(variant))
        with pytest.raises(InputError, match=r"a\.ckpt: a damaged checkpoint"):
            load_checkpoint(saved)


def test_another_format_is_refused(saved: Path) -> None:
    saved.write_bytes(archived({**_content(saved), "format": "fanlight-checkpoint-9"}))
    with pytest.raises(InputError, match=f"not a checkpoint of fanlight .format {FORMAT}."):
        load_checkpoint(saved)


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "not a tensor"])
def test_weights_that_do_not_fit_the_options(checkpoint: Checkpoint, change: str) -> None:
    weights: dict[str, Any] = dict(checkpoint.weights)
    if change == "missing":
        del weights["l0.bias"]
    elif change == "extra":
        weights["l1.bias"] = torch.zeros(68)
    else:
        weights["l0.bias"] = torch.zeros(69) if change == "shape" else 3
    with pytest.raises(InputError, match="do not fit its options"):
        replace(checkpoint, weights=weights).build()
