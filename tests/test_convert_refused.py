"""Weights that cannot be used, or that ask for code: refused and named, with nothing left behind."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fanlight.checkpoint import save_checkpoint
from fanlight.convert import Unseen, convert
from fanlight.errors import InputError
from fanlight.model import FAN
from foreign_weights import (
    JIT,
    UNSEEN,
    State,
    as_before_zip,
    as_saved,
    as_torchscript,
    invoke,
    network,
)


class Malicious:
    """Pickles as a call of os.system."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch {marker}"

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap", [lambda evil, state: evil, lambda evil, state: {"state_dict": state, "x": evil}]
)
def test_code_in_a_pickle_is_not_run_without_trust(
    wrap: Callable[[Malicious, State], Any], zipped: bool, tmp_path: Path
) -> None:
    marker = tmp_path / "was_run"
    content = wrap(Malicious(marker), network().state_dict())
    torch.save(content, tmp_path / "evil.pth", _use_new_zipfile_serialization=zipped)
    message = r"evil\.pth: not read: it asks for posix\.system, .* would run code .* add --trust"
    with pytest.raises(InputError, match=message):
        convert(tmp_path / "evil.pth", UNSEEN)
    assert not marker.exists()
    if isinstance(content, dict):
        assert convert(tmp_path / "evil.pth", UNSEEN, trust=True).options.stacks == 2
        assert marker.exists()


def test_a_plain_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    for protocol in (0, 2, 4, 5):
        (tmp_path / "evil.pth").write_bytes(pickle.dumps(Malicious(marker), protocol))
        with pytest.raises(InputError, match=r"evil\.pth: not read: it asks for (posix|os|nt)\.system"):
            convert(tmp_path / "evil.pth", UNSEEN)
    assert not marker.exists()


@JIT
def test_a_torchscript_archive_with_code_in_its_pickle_is_not_run(tmp_path: Path) -> None:
    as_torchscript(network(), tmp_path / "plain.pt")
    marker = tmp_path / "was_run"
    with zipfile.ZipFile(tmp_path / "plain.pt") as old, zipfile.ZipFile(tmp_path / "evil.pt", "w") as new:
        for entry in old.infolist():
            evil = pickle.dumps(Malicious(marker), 2)
            new.writestr(
                entry.filename, evil if entry.filename.endswith("/data.pkl") else old.read(entry.filename)
            )
    with pytest.raises(InputError, match=r"evil\.pt: not read: it asks for posix\.system"):
        convert(tmp_path / "evil.pt", UNSEEN)
    assert not marker.exists()


def test_a_whole_module_needs_trust(tmp_path: Path) -> None:
    model = network()
    torch.save(model, tmp_path / "module.pth")
    with pytest.raises(InputError, match=r"it asks for fanlight\.model\.FAN, .*--trust"):
        convert(tmp_path / "module.pth", UNSEEN)
    assert convert(tmp_path / "module.pth", UNSEEN, trust=True).options == model.options


def without(state: State, *names: str) -> State:
    return {name: values for name, values in state.items() if name not in names}


def contents() -> dict[str, tuple[Any, list[str]]]:
    """What a file may hold instead of a network, and what the message says of it."""
    state = network().state_dict()
    resnet = {"conv1.weight": torch.zeros(64, 3, 7, 7), "layer1.0.bn1.weight": torch.zeros(64)}
    looped: dict[str, Any] = {}
    looped["model"] = looped
    nan = state["bn1.bias"].clone().fill_(float("nan"))
    return {
        "missing": (
            without(state, "l0.bias", "m1.b2_plus_1.conv1.weight"),
            ["missing: l0.bias, m1.b2_plus_1.conv1.weight"],
        ),
        "first": (without(state, "conv1.weight", "l1.weight"), ["missing: conv1.weight, l1.weight"]),
        "shape": (
            {**state, "al0.bias": torch.zeros(3), "bl0.weight": torch.zeros(2, 16, 1, 1)},
            [
                "al0.bias: has shape (3,), expected (16,)",
                "bl0.weight: has shape (2, 16, 1, 1), expected (16, 16, 1, 1)",
            ],
        ),
        "more": ({**state, "fc.weight": torch.zeros(3)}, ["not part of such a network: fc.weight"]),
        "nan": ({**state, "bn1.bias": nan}, ["bn1.bias: holds values that are not finite"]),
        "integers": (
            {**state, "bn1.bias": nan.long()},
            ["bn1.bias: is of type torch.int64, expected torch.float32"],
        ),
        "resnet": (
            resnet,
            ["holds another network, with 2 tensors such as conv1.weight, layer1.0.bn1.weight"],
        ),
        "nothing": ({}, ["holds no weights"]),
        "list": ([1, 2], ["holds no weights"]),
        "loop": (looped, ["holds no weights"]),
        "text": ("weights", ["holds no weights"]),
    }


@pytest.mark.parametrize("name", contents())
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    content, said = contents()[name]
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(InputError) as caught:
        convert(tmp_path / "bad.pth", UNSEEN)
    assert str(caught.value).startswith(f"{tmp_path / 'bad.pth'}: ")
    for words in said:
        assert words in str(caught.value)


@pytest.mark.parametrize("px", ["nan", "inf"])
def test_an_offset_is_a_number(px: str, tmp_path: Path) -> None:
    result = invoke(tmp_path / "own.pth", "--out", tmp_path / "own.ckpt", "--offset", px)
    assert f"offset {px}: must be a number of px, such as 0.5" in str(result.exception)


def test_sizes_that_do_not_fit_are_named(tmp_path: Path) -> None:
    as_saved(network(), tmp_path / "own.pth")
    with pytest.raises(InputError, match=r"own\.pth: .*\n.*input_size = 100: .*take 96 or 112"):
        convert(tmp_path / "own.pth", Unseen("max", input_size=100))


@JIT
@pytest.mark.parametrize("write", [as_saved, as_before_zip, as_torchscript])
@pytest.mark.parametrize("damage", ["cut", "flipped", "noise", "empty", "folder", "none"])
def test_damaged_files_leave_nothing_behind(
    write: Callable[[FAN, Path], None], damage: str, tmp_path: Path
) -> None:
    path, out = tmp_path / "bad.pth", tmp_path / "out" / "bad.ckpt"
    write(network(stacks=1), path)
    content = bytearray(path.read_bytes())
    if damage in ("folder", "none"):
        path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "none":
        content[len(content) // 2] ^= 255
        noise = np.random.default_rng(0).bytes(3000)
        path.write_bytes(
            {"cut": content[: len(content) // 2], "noise": noise, "empty": b""}.get(damage, content)
        )
    result = invoke(path, "--out", out, "--pooling", "max", "--input-size", "64")
    if write is as_before_zip and damage == "flipped":
        return  # the old format has no sums: a changed value is a value like any other
    assert isinstance(result.exception, InputError), result.output
    assert str(result.exception).startswith(f"{path}: ")
    assert "copy it again" in str(result.exception) or "give a file of weights" in str(result.exception)
    assert not out.parent.exists()


def test_a_checkpoint_of_ours_is_not_converted(tmp_path: Path) -> None:
    as_saved(network(), tmp_path / "own.pth")
    path = save_checkpoint(tmp_path / "ours.ckpt", convert(tmp_path / "own.pth", UNSEEN))
    with pytest.raises(InputError, match=r"ours\.ckpt: is a checkpoint of fanlight already; use it as it is"):
        convert(path, UNSEEN)
    for out in (path, tmp_path / "ours.pth"):
        result = invoke(path, "--out", out)
        assert "should be another file than WEIGHTS, and end in .ckpt" in str(result.exception)
