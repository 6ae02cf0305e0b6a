"""Zip and tar files: whole ones come out as they went in, hostile and damaged ones are refused."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archives import builders as make
from fanlight.data.archives import unpack as module
from fanlight.data.archives.unpack import archives_of, name_of, unpack
from fanlight.errors import InputError


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "a" / "deep er").mkdir(parents=True)
    (folder / "a" / "deep er" / "image_092 _01.jpg").write_bytes(os.urandom(70_000))
    (folder / "a" / "empty.pts").write_bytes(b"")
    (folder / "b.txt").write_bytes(b"b" * 1000)
    return folder


class TestWhole:
    @pytest.mark.parametrize("parts", [1, 2, 4, 7])
    def test_zip_in_parts(self, tmp_path: Path, tree: Path, parts: int) -> None:
        make.zip_folder(tree, tmp_path / "x.zip")
        files = make.cut(tmp_path / "x.zip", parts)
        (found,) = archives_of(files[-1])
        assert found == files
        assert name_of(found) == "x"
        steps: list[tuple[int, int]] = []
        unpack(found, tmp_path / "out", lambda done, total: steps.append((done, total)))
        assert contents(tmp_path / "out") == contents(tree)
        assert steps[-1] == (71_000, 71_000)

    @pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
    def test_tar(self, tmp_path: Path, tree: Path, mode: str) -> None:
        path = tmp_path / f"WFLW.tar{mode[1:].replace(':', '.')}"
        with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
            tar.add(tree, ".")
        assert name_of([path]) == "WFLW"
        unpack([path], tmp_path / "out")
        assert contents(tmp_path / "out") == contents(tree)

    def test_a_folder_of_archives_and_one_with_folders(self, tmp_path: Path, tree: Path) -> None:
        root = tmp_path / "root"
        root.mkdir()
        for name in ("a.zip", "b.ZIP", "300w.zip"):
            make.zip_folder(tree, root / name)
        make.cut(root / "300w.zip", 3)
        (root / "readme.txt").write_text("no archive")
        assert [name_of(parts) for parts in archives_of(root)] == ["300w", "a", "b"]
        (root / "afw").mkdir()
        assert archives_of(root) == []
        assert archives_of(root / "readme.txt") == []


def zip_of(path: Path, *names: str | zipfile.ZipInfo, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in names:
            zipped.writestr(name, data)
    return path


def refused(path: Path, out: Path, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        unpack([path], out)
    assert str(raised.value).startswith(str(path))
    assert not contents(out)


class TestHostile:
    @pytest.mark.parametrize(
        "name",
        [
            "../evil.txt",
            "a/../../evil.txt",
            "/evil.txt",
            "..",
            "C:/evil.txt",
            "a\\..\\evil.txt",
            "a\nb",
            "a/..",
        ],
    )
    def test_names_that_lead_elsewhere(self, tmp_path: Path, name: str) -> None:
        refused(zip_of(tmp_path / "x.zip", "good.txt", name), tmp_path / "out", "leads out of the folder")
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w") as tar:
            for member in ("good.txt", name):
                info = tarfile.TarInfo(member)
                info.size = 1
                tar.addfile(info, io.BytesIO(b"x"))
        refused(path, tmp_path / "out2", "leads out of the folder")
        assert not list(tmp_path.glob("**/evil*"))

    def test_links_and_devices(self, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("link.jpg")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        refused(
            zip_of(tmp_path / "x.zip", link, data=b"/etc/passwd"), tmp_path / "out", "'link.jpg' is a link"
        )
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo("a.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            with tarfile.open(tmp_path / "x.tar", "w") as tar:
                tar.addfile(info)
            refused(tmp_path / "x.tar", tmp_path / "out", "is a link or a device")

    def test_bombs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = zip_of(tmp_path / "x.zip", "zeros", data=bytes(80 << 20))
        assert path.stat().st_size < 100_000
        refused(path, tmp_path / "out", "unpack to 80 MiB or more: beyond 200 times")
        with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as tar:
            info = tarfile.TarInfo("zeros")
            info.size = 80 << 20
            tar.addfile(info, io.BytesIO(bytes(80 << 20)))
        refused(tmp_path / "x.tar.gz", tmp_path / "out", "beyond 200 times")
        monkeypatch.setattr(module, "MAX_FILES", 3)
        refused(zip_of(tmp_path / "y.zip", *"abcd"), tmp_path / "out", "more than 3 files")
        monkeypatch.setattr(module, "MAX_BYTES", 2)
        refused(zip_of(tmp_path / "z.zip", *"abc"), tmp_path / "out", "unpack to 0 MiB or more")

    def test_twice_the_same_name_and_a_file_that_is_a_folder_too(self, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            zip_of(tmp_path / "x.zip", "a", "a")
        refused(tmp_path / "x.zip", tmp_path / "out", "holds 'a' twice")
        zip_of(tmp_path / "y.zip", "a", "a/b")
        with pytest.raises(InputError, match=r"y.zip: cannot unpack"):
            unpack([tmp_path / "y.zip"], tmp_path / "out2")

    def test_encrypted(self, tmp_path: Path) -> None:
        path = zip_of(tmp_path / "x.zip", "a.jpg")
        data = bytearray(path.read_bytes())
        for mark, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
            data[data.index(mark) + at] |= 1
        path.write_bytes(data)
        refused(path, tmp_path / "out", "'a.jpg' is encrypted")

    def test_a_full_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 3 << 20}))
        path = zip_of(tmp_path / "x.zip", "a", data=np.random.default_rng(0).bytes(4 << 20))
        refused(path, tmp_path / "out", "unpacks to 4 MiB, and the disk has 3 MiB left")


class TestDamaged:
    def test_a_part_is_missing(self, tmp_path: Path, tree: Path) -> None:
        make.zip_folder(tree, tmp_path / "300w.zip")
        parts = make.cut(tmp_path / "300w.zip", 4)
        parts[1].unlink()
        with pytest.raises(
            InputError, match=r"300w.zip.002 missing: put all parts of 300w.zip into one folder"
        ):
            archives_of(parts[0])
        make.zip_folder(tree, tmp_path / "other.zip")
        parts = make.cut(tmp_path / "other.zip", 4)
        parts[3].unlink()
        (found,) = archives_of(parts[0])
        with pytest.raises(
            InputError, match=r"other.zip.001: cannot unpack the archive: .*are all parts here\?"
        ):
            unpack(found, tmp_path / "out")

    def test_a_changed_byte_in_a_tar_file_is_seen_by_its_checksum(self, tmp_path: Path, tree: Path) -> None:
        path = tmp_path / "x.tar.gz"
        (tree / "a.pts").write_bytes(b"here is a number: 12.5")
        with tarfile.open(path, "w:gz", compresslevel=0) as tar:
            tar.add(tree / "a.pts", "a.pts")
        unpack([path], tmp_path / "whole")
        path.write_bytes(path.read_bytes().replace(b"12.5", b"19.5"))
        with pytest.raises(InputError, match=r"x.tar.gz: cannot unpack the archive: CRC check failed"):
            unpack([path], tmp_path / "out")

    def test_a_tar_file_that_goes_on_behind_its_end(
        self, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fanlight.data.archives.unpack._SMALL", 1 << 20)
        path = tmp_path / "x.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(tree, "tree")
        with open(path, "ab") as file:
            file.write(bytes(2 << 20))
        with pytest.raises(InputError, match=r"x.tar: goes on for 1 MiB and more behind its last file"):
            unpack([path], tmp_path / "out")

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    @pytest.mark.parametrize("kind", ["zip", "tar.gz"])
    def test_any_damage_is_an_input_error_or_harmless(
        self, tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
    ) -> None:
        folder = tmp_path_factory.mktemp("damaged")
        path = folder / f"x.{kind}"
        if kind == "zip":
            zip_of(path, "a/b.jpg", "c.pts", data=b"some text, twice: some text")
        else:
            with tarfile.open(path, "w:gz") as tar:
                info = tarfile.TarInfo("a/b.jpg")
                info.size = 600
                tar.addfile(info, io.BytesIO(bytes(range(200)) * 3))
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(
            content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        )
        with suppress(InputError):
            unpack([path], folder / "out")
        assert {p.name for p in folder.iterdir()} <= {path.name, "out"}
