"""MATLAB files: what scipy writes is read as scipy reads it, and no damage does more than raise an InputError."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import loadmat, savemat

from fanlight.data.archives import matfile
from fanlight.data.archives.matfile import points_of, read_mat
from fanlight.errors import InputError


def cells(*values: object) -> np.ndarray:
    array = np.empty((1, len(values)), dtype=object)
    for i, value in enumerate(values):
        array[0, i] = value
    return array


class TestValues:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("dtype", ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
    def test_numbers(self, tmp_path: Path, dtype: str, compress: bool) -> None:
        value = np.arange(24).reshape(2, 3, 4).astype(dtype)
        savemat(tmp_path / "a.mat", {"a": value, "other": 3, "pts_2d": value[0]}, do_compression=compress)
        found = read_mat(tmp_path / "a.mat", "pts_2d", "a")
        assert set(found) == {"a", "pts_2d"}
        np.testing.assert_array_equal(found["a"], value)
        np.testing.assert_array_equal(found["pts_2d"], value[0])

    def test_texts_cells_and_structs(self, tmp_path: Path) -> None:
        boxes = cells(
            {"imgName": "image_092 _01.jpg", "bb": [[1.5, 2.0]]}, {"imgName": "é", "bb": np.zeros((0, 4))}
        )
        savemat(tmp_path / "a.mat", {"boxes": boxes, "text": "abc", "mixed": cells("x", 1.0, cells(2.0))})
        found = read_mat(tmp_path / "a.mat", "boxes", "text", "mixed")
        assert found["text"] == "abc"
        assert [[record["imgName"] for record in cell] for cell in found["boxes"]] == [
            ["image_092 _01.jpg"],
            ["é"],
        ]
        np.testing.assert_array_equal(found["boxes"][0][0]["bb"], [[1.5, 2.0]])
        assert found["boxes"][1][0]["bb"].shape == (0, 4)
        assert found["mixed"][0] == "x"
        assert found["mixed"][2][0].item() == 2.0

    def test_big_endian_numbers_kept_in_fewer_bytes(self, tmp_path: Path) -> None:
        """As MATLAB writes whole numbers: an array of class double, its values in bytes, its name in the tag."""
        flags = b"\0\0\0\6\0\0\0\10" + (6).to_bytes(4, "big") + bytes(4)
        sizes = b"\0\0\0\5\0\0\0\10" + b"\0\0\0\2\0\0\0\3"
        name = b"\0\3\0\1" + b"pts\0"
        values = b"\0\0\0\2\0\0\0\6" + bytes([1, 2, 3, 4, 5, 250]) + bytes(2)
        body = flags + sizes + name + values
        matrix = b"\0\0\0\16" + len(body).to_bytes(4, "big") + body
        header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI"
        packed = zlib.compress(matrix)
        for content in (matrix, b"\0\0\0\17" + len(packed).to_bytes(4, "big") + packed):
            (tmp_path / "a.mat").write_bytes(header + content)
            expected = loadmat(str(tmp_path / "a.mat"))["pts"]
            np.testing.assert_array_equal(read_mat(tmp_path / "a.mat", "pts")["pts"], expected)
            assert expected.tolist() == [[1, 3, 5], [2, 4, 250]]


class TestPoints:
    def test_either_way_round_and_with_depth(self) -> None:
        points = np.random.default_rng(0).normal(size=(68, 2))
        deep = np.column_stack([points, np.zeros(68)])
        for array in (points, points.T, deep, deep.T):
            np.testing.assert_array_equal(points_of(Path("a.mat"), array, 68), points)

    @pytest.mark.parametrize(
        "value", [np.zeros((68, 4)), np.zeros(136), "text", np.zeros((67, 2)), [], np.full((68, 2), np.inf)]
    )
    def test_what_is_none(self, value: object) -> None:
        with pytest.raises(InputError, match=r"a\.mat: "):
            points_of(Path("a.mat"), value, 68)


class TestDamage:
    def test_versions_and_limits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.mat"
        for content, says in (
            (b"MATLAB 7.3 MAT-file".ljust(512), "a MATLAB 7.3 file"),
            (b"\x89HDF\r\n\x1a\n", "a MATLAB 7.3 file"),
            (b"", "no MATLAB 5 header"),
            (bytes(200), "no MATLAB 5 header"),
        ):
            path.write_bytes(content)
            with pytest.raises(InputError, match=says):
                read_mat(path, "a")
        savemat(path, {"a": np.zeros((1000, 1000))}, do_compression=True)
        with pytest.raises(InputError, match=r"has no b, c$"):
            read_mat(path, "b", "a", "c")
        monkeypatch.setattr(matfile, "MAX_BYTES", 1 << 20)
        with pytest.raises(InputError, match="cut off or too large"):
            read_mat(path, "a")
        savemat(path, {"a": np.zeros((1000, 1000))})
        with pytest.raises(InputError, match="larger than 1 MiB"):
            read_mat(path, "a")

    def test_cells_in_cells_end(self, tmp_path: Path) -> None:
        value: object = 1.0
        for _ in range(12):
            value = cells(value)
        savemat(tmp_path / "a.mat", {"a": value})
        with pytest.raises(InputError, match="cells more than 8 deep"):
            read_mat(tmp_path / "a.mat", "a")

    @settings(deadline=None, max_examples=150)
    @given(st.data())
    def test_changed_bytes(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        """scipy's reader crashes the process on some of these."""
        stream = io.BytesIO()
        record = {"imgName": "a.jpg", "bb_detector": [[1.0, 2.0, 3.0, 4.0]]}
        savemat(
            stream,
            {"pts_2d": np.ones((4, 2)), "boxes": cells(record)},
            do_compression=data.draw(st.booleans()),
        )
        content = bytearray(stream.getvalue())
        for _ in range(data.draw(st.integers(1, 6))):
            content[data.draw(st.integers(124, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "damaged.mat"
        path.write_bytes(
            content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
        )
        with suppress(InputError):
            read_mat(path, "pts_2d", "boxes")
