"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from fanlight.durable import side_file, torch_saving, write_whole, writing_whole
from fanlight.errors import InputError


@pytest.mark.parametrize("lasting", [True, False])
def test_a_file_is_replaced_when_the_block_ends(tmp_path: Path, lasting: bool) -> None:
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        before = path.read_text() if path.exists() else None
        with side_file(path, lasting) as side:
            assert side.parent == path.parent
            side.write_text(text)
            assert (path.read_text() if path.exists() else None) == before
        assert path.read_text() == text
    assert os.listdir(path.parent) == ["a.txt"]


def write_half(path: Path, error: BaseException) -> None:
    with writing_whole(path) as file:
        file.write(b"half")
        raise error


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt("as it is"), ValueError("as it is"), InputError("as it is")]
)
def test_after_an_error_the_old_file_is_there(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(type(error), match=r"^as it is$"):
        write_half(path, error)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_another_file_lacks_is_not_blamed_on_this_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="photo"), side_file(tmp_path / "a.txt"):
        (tmp_path / "photo.jpg").read_bytes()
    with pytest.raises(InputError, match=r"a\.txt: cannot be written: No space left"):
        write_half(tmp_path / "a.txt", OSError(28, "No space left on device"))
    assert not os.listdir(tmp_path)


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for path, why in (
        (tmp_path / "file" / "b.txt", f"{tmp_path / 'file'} is no folder"),
        (tmp_path / "file" / "a" / "b.txt", "Not a directory"),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(InputError, match=f"{path}: cannot be written: {why};.* choose another place"):
            write_whole(path, "text")
    with pytest.raises(InputError, match=r"a\.txt: cannot be written: .*surrogates not allowed"):
        write_whole(tmp_path / "a.txt", "zo\udceb.jpg")
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_as_others_tell_it() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError, match=r"."), torch_saving():
        torch.save({"weights": torch.zeros(1000)}, full)
