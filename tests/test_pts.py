"""The .pts format: what is read, what is refused, and where the pixels' centres are."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fanlight.data.pts import read_pts, write_pts
from fanlight.errors import InputError

TWO = "version: 1\nn_points: 2\n{\n1 1\n2.5 3\n}\n"


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_or_named_error(path: Path) -> np.ndarray | None:
    """The landmarks, or None for an InputError that begins with the file's name."""
    try:
        return read_pts(path)
    except InputError as error:
        if not str(error).startswith(f"{path}:"):
            raise
        return None


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pts") / "scratch.pts"


def test_file_coordinates_are_one_based_pixel_centres(tmp_path: Path) -> None:
    # The file's (1, 1) is the centre of the first pixel, which covers [0, 1): continuous 0.5.
    np.testing.assert_array_equal(read_pts(write(tmp_path / "a.pts", TWO)), [[0.5, 0.5], [2.0, 2.5]])


@pytest.mark.parametrize(
    "content",
    [
        TWO,
        TWO.replace("\n", "\r\n"),
        TWO.replace("\n", "\r"),
        TWO.replace("version: 1\n", ""),
        "version: 1 n_points: 2 {\n1 1\n2.5 3\n}",
        "version:1\nn_points:2\n{\n1 1\n2.5 3\n}",
        "n_points: 2 {\n1 1\n2.5 3}",
        "\ufeff" + TWO,
        "\n\n version : 1.0 \n\n  n_points :  2 \n {\n\n 1\t 1  \n\n\t2.5   3.0\n\n } \n\n",
        "VERSION: 1\nN_POINTS: 2\n{\n1e0 +1\n2.5 3.\n}",
    ],
)
def test_every_spelling_reads_the_same(tmp_path: Path, content: str) -> None:
    landmarks = read_pts(write(tmp_path / "image_092 _01.pts", content))
    np.testing.assert_array_equal(landmarks, [[0.5, 0.5], [2.0, 2.5]])
    assert landmarks.dtype == np.float64


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (TWO.replace("n_points: 2", "n_points: 3"), None, "announces n_points: 3 and holds 2"),
        (TWO.replace("n_points: 2", "n_points: 68"), None, "announces n_points: 68 and holds 2"),
        (TWO.replace("2.5 3", "nan 3"), 5, "'nan 3'"),
        (TWO.replace("2.5 3", "2.5 inf"), 5, "'2.5 inf'"),
        (TWO.replace("2.5 3", "2.5 1e999"), 5, "'2.5 1e999'"),
        (TWO.replace("2.5 3", "2.5"), 5, "'2.5'"),
        (TWO.replace("2.5 3", "2.5 3 4"), 5, "'2.5 3 4'"),
        (TWO.replace("2.5 3", "2,5 3"), 5, "'2,5 3'"),
        (TWO.replace("2.5 3", "1_0 3"), 5, "'1_0 3'"),
        (TWO.replace("1 1\n", "\n\n1 one\n"), 6, "'1 one'"),
        (TWO.replace("\n", "\r\n").replace("1 1", "1 x"), 4, "'1 x'"),
        (TWO.replace("}", ""), None, 'without the closing "}": the file is cut off'),
        (TWO + "9 9\n", 6, "'9 9'"),
        ("n_points: 0\n{\n}\n", None, "announces n_points: 0 and holds 0"),
        ("1 1\n2 2\n", 1, "not a .pts file"),
        ("", 1, "not a .pts file"),
        ("n_points: many\n{\n1 1\n}", 1, "not a .pts file"),
        (b"version: 1\nn_points: 2\n{\n\xff\xfe 1\n}", 4, "not plain text"),
        (TWO.encode("utf-16"), 1, "not plain text"),
    ],
)
def test_faults_are_refused_with_file_and_line(
    tmp_path: Path, content: str | bytes, line: int | None, says: str
) -> None:
    path = write(tmp_path / "face.pts", content)
    where = f"{path}:{line}: " if line else f"{path}: "
    with pytest.raises(InputError, match="^" + re.escape(where)) as raised:
        read_pts(path)
    assert says in str(raised.value)


def test_a_missing_file_a_folder_and_a_huge_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pts", tmp_path, tmp_path / "nul\0.pts"):
        with pytest.raises(InputError, match="no such landmark file"):
            read_pts(path)
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_pts(write(tmp_path / "huge.pts", b" " * (5 << 20)))


@settings(deadline=None, max_examples=60)
@given(
    landmarks=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 120), st.just(2)),
        elements=st.floats(-1e6, 1e6),
    )
)
def test_what_is_written_is_read_back(scratch: Path, landmarks: np.ndarray) -> None:
    write_pts(scratch, landmarks)
    np.testing.assert_allclose(read_pts(scratch), landmarks, rtol=0, atol=0.00051)


@settings(deadline=None, max_examples=60)
@given(st.one_of(st.binary(max_size=300), st.text("{}0123456789. \n\tversion:n_points-e", max_size=300)))
def test_junk_is_refused_and_never_breaks_the_reader(scratch: Path, junk: bytes | str) -> None:
    landmarks = read_or_named_error(write(scratch, junk))
    assert landmarks is None or (landmarks.ndim == 2 and np.isfinite(landmarks).all())


@settings(deadline=None, max_examples=60)
@given(at=st.integers(0, len(TWO) - 1), by=st.sampled_from([*"{}x_:.,- \n\t\r0", ""]))
def test_one_changed_character_gives_two_points_or_an_error(scratch: Path, at: int, by: str) -> None:
    landmarks = read_or_named_error(write(scratch, TWO[:at] + by + TWO[at + 1 :]))
    assert landmarks is None or landmarks.shape == (2, 2)


@pytest.mark.parametrize("landmarks", [[[1.0, np.nan]], [[np.inf, 0.0]], [1.0, 2.0], np.zeros((0, 2))])
def test_only_finite_landmarks_are_written(tmp_path: Path, landmarks: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"should be \(L, 2\) finite numbers"):
        write_pts(tmp_path / "a.pts", landmarks)


def test_writing_where_no_folder_can_be_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "a.pts"
    with pytest.raises(InputError, match=re.escape(f"{path}: cannot be written: {path.parent} is no folder")):
        write_pts(path, [[1.0, 2.0]])


def test_real_files(shared_data: Path) -> None:
    paths = sorted((shared_data / "faces68" / "lfpw" / "val").glob("*.pts"))
    assert {read_pts(path).shape for path in paths} == {(68, 2)}
    assert read_pts(next((shared_data / "faces21").glob("wild/val/*.pts"))).shape == (21, 2)
