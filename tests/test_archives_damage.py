"""Archives damaged at random, from fixed seeds: each gives a data set or a message, and leaves nothing behind."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from archives import builders as make
from fanlight.data.archives.boxes import Way
from fanlight.data.archives.contents import Request
from fanlight.data.archives.prepare import prepare
from fanlight.data.index import Index
from fanlight.errors import InputError

SEEDS = range(12)

TOKENS = (
    b"../../../etc/hostname", b"/etc/hostname", b"nan", b"inf", b"1e999", b"-1", b"9" * 400, b"a" * 5000, b"\x00",
    b"\xff\xfe", b"{", b"}", b"[", b"]", b'"', b"'", b",", b";", b"\t", b"\r\n", b"\n", b" ", b"<", b">", b"&a;",
    b"true", b"null", b"{}", b"[]", b"1_0", b"\xc2\xa0", b"<box/>", b"<part name='1'/>",
)  # fmt: skip
NUMBERS = (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80", b"\x00\x00\x01\x00")
TEXTS = (".pts", ".txt", ".xml", ".json", ".csv")


def zip_parts(root: Path) -> None:
    make.make_300w(root / "all", make.W300_PHOTOS[-2:])
    make.zip_folder(root / "all", root / "300w.zip")
    make.cut(root / "300w.zip", 4)
    shutil.rmtree(root / "all")


def boxes(root: Path) -> None:
    make.make_300w(root, make.W300_PHOTOS[:2])
    make.add_300w_boxes(root, "afw", {"134212_1.jpg": (20.0, 21.0, 110.0, 111.0)})


def table(root: Path) -> None:
    pixels = make.write_photo(root / "0.jpg", "aflw19", 0)
    names = ",".join(f"x{i},y{i}" for i in range(19))
    line = ",".join(map(str, pixels.ravel()))
    (root / "faces.csv").write_text(f"image,left,top,right,bottom,{names}\n0.jpg,1,2,100,110,{line}\n")


def coco(root: Path) -> None:
    make.make_coco(root)
    (root / "annotations" / "faces_train.json").rename(root / "faces_train.json")


# the kind, what makes it, and how the names of the files end that are damaged
ARCHIVES: list[tuple[str, Callable[[Path], object], str]] = [
    ("300w", make.make_300w, ".pts"),
    ("300w", boxes, ".mat"),
    ("300w", zip_parts, ("1", "2", "3", "4")),
    ("300w-lp", make.make_300w_lp, "_pts.mat"),
    ("aflw2000", make.make_aflw2000, ".mat"),
    ("wflw", make.make_wflw, ".txt"),
    ("cofw", make.make_cofw, ".mat"),
    ("300vw", lambda root: make.make_300vw(root, [1], 2), (".pts", ".avi")),
    ("dlib-xml", make.make_dlib, ".xml"),
    ("coco-json", coco, ".json"),
    ("csv", table, ".csv"),
    ("folder", lambda root: make.write_pair(root / "a.jpg", 1), ".pts"),
]  # fmt: skip


def damaged(numbers: random.Random, data: bytes, text: bool) -> bytes:
    """The bytes of a file, cut off, spliced, overwritten or replaced."""
    start, end = sorted(numbers.randrange(len(data) + 1) for _ in range(2))
    flipped = bytearray(data)
    for at in numbers.choices(range(len(data)), k=numbers.choice([1, 2, 64])):
        flipped[at] ^= 1 << numbers.randrange(8)
    token, few = numbers.choice(TOKENS if text else NUMBERS), numbers.choice([0, 1, 4])
    return numbers.choice(
        [
            b"",
            data[:start],
            data[:start] + data[end:],
            data[:end] + data[start:],
            numbers.randbytes(1000),
            bytes(flipped),
            bytes(flipped),
            data[:start] + bytes(end - start) + data[end:],
            data[:start] + token + data[start + few :],
            data[:start] + token + data[start + few :],
        ]
    )


def run(kind: str, root: Path, way: Way) -> str:
    """Prepare an archive; the message, if it is refused."""
    out = root.parent / "out"
    try:
        prepared = prepare(kind, Request(root, Path()), out, way)
    except InputError as error:
        assert [path.name for path in root.parent.iterdir()] == ["root"]
        return str(error)
    assert len(Index.read(prepared.index))
    shutil.rmtree(out)
    return ""


@pytest.mark.parametrize(("kind", "build", "endings"), ARCHIVES)
def test_damaged_files(
    tmp_path: Path, kind: str, build: Callable[[Path], object], endings: str | tuple[str, ...]
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    build(root)
    files = sorted(path for path in root.rglob("*") if path.name.endswith(endings) and path.is_file())
    for seed in SEEDS:
        numbers = random.Random(f"{kind} {seed}")
        file = numbers.choice(files)
        whole = file.read_bytes()
        file.write_bytes(damaged(numbers, whole, file.suffix in TEXTS))
        way = Way("landmarks", copy=numbers.random() < 0.3, skip_faulty=numbers.random() < 0.3)
        message = run(kind, root, way)
        assert not message or str(root) in message, (seed, file.name)
        assert "cannot write" not in message, (seed, file.name)
        file.write_bytes(whole)


@pytest.mark.parametrize("put", ["folder", "pipe", "link to itself", "link to nothing"])
@pytest.mark.parametrize(("kind", "build", "endings"), ARCHIVES)
def test_what_is_no_file(
    tmp_path: Path, kind: str, build: Callable[[Path], object], endings: str | tuple[str, ...], put: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    build(root)
    file = min(path for path in root.rglob("*") if path.name.endswith(endings) and path.is_file())
    file.unlink()
    if put == "folder":
        file.mkdir()
    elif put == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(file if put == "link to itself" else root / "nothing")
    message = run(kind, root, Way("landmarks"))
    assert not message or str(root) in message
    assert "cannot write" not in message
