"""The index of a data set: reading, selecting, writing, and the check of all that it names."""

from __future__ import annotations

import hashlib
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.data import tsv
from fanlight.data.check import Problem, check, problems_error, write_problems
from fanlight.data.index import Index, Sample
from fanlight.data.pts import read_pts, write_pts
from fanlight.errors import InputError
from fanlight.image import write_image
from fanlight.markup import Markup

HEADER = (
    "subset\tsplit\taug_idx\tim_path\tpts_path\tface_box_left\tface_box_top\tface_box_right\tface_box_bottom"
)
ROWS = (
    "lfpw\ttrain\t-1\tlfpw/image_092 _01.jpg\tlfpw/image_092 _01.pts\t10.5\t20\t110.25\t140.125",
    "lfpw\tval\t0\tlfpw/b.jpg\tlfpw/b.pts\t-3.000\t1e1\t+60.\t70",
    "300W/01_Indoor\ttest\t12\tdonnée/c.png\tdonnée/c.pts\t0\t0\t10\t10",
    "lfpw\ttrain\t3\t/elsewhere/d.jpg\t../d.pts\t1\t2\t30\t40",
)


def write(path: Path, text: str, newline: str = "\n") -> Path:
    path.write_bytes(text.replace("\n", newline).encode())
    return path


def table(*rows: str) -> str:
    return "\n".join((HEADER, *rows)) + "\n"


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index.read(write(tmp_path / "index.tsv", table(*ROWS)))


class TestReading:
    def test_a_row_is_a_sample(self, index: Index, tmp_path: Path) -> None:
        assert len(index) == 4
        assert index[0] == Sample(
            subset="lfpw",
            split="train",
            aug_idx=-1,
            image_path=tmp_path / "lfpw/image_092 _01.jpg",
            landmarks_path=tmp_path / "lfpw/image_092 _01.pts",
            face_box=(10.5, 20.0, 110.25, 140.125),
        )
        assert index[1].face_box == (-3.0, 10.0, 60.0, 70.0)
        assert index[2].image_path == tmp_path / "donnée/c.png"
        assert index[2].partition == index.partition_of(2) == "300W/01_Indoor/test"
        assert index[-1].image_path == Path("/elsewhere/d.jpg")
        assert index[3].landmarks_path == tmp_path / "../d.pts"
        assert [sample.aug_idx for sample in index] == [-1, 0, 12, 3]
        with pytest.raises(IndexError):
            index[4]

    @pytest.mark.parametrize("newline", ["\n", "\r\n"])
    @pytest.mark.parametrize("mark", ["", "\ufeff"])
    def test_line_ends_blank_lines_and_byte_order_marks(
        self, tmp_path: Path, index: Index, newline: str, mark: str
    ) -> None:
        text = mark + "\n".join((HEADER, "", ROWS[0], "", "", *ROWS[1:], ""))
        other = Index.read(write(tmp_path / "other.tsv", text, newline))
        assert list(other) == list(index)
        assert other.line_numbers.tolist() == [3, 6, 7, 8]

    def test_the_last_line_may_lack_its_end(self, tmp_path: Path, index: Index) -> None:
        assert list(Index.read(write(tmp_path / "other.tsv", table(*ROWS)[:-1]))) == list(index)

    @pytest.mark.parametrize("block", [200, 255, 256, 300, 1000])
    def test_blocks_do_not_show(
        self, tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch, block: int
    ) -> None:
        monkeypatch.setattr(tsv, "_BLOCK_BYTES", block)
        path = write(tmp_path / "index.tsv", table(*ROWS, "", *ROWS[:2]), "\r\n")
        again = Index.read(path)
        assert list(again) == [*index, index[0], index[1]]
        assert again.line_numbers.tolist() == [2, 3, 4, 5, 7, 8]
        assert again.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_faulty_lines_are_told_all_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        faulty = (
            ROWS[0].replace("110.25", "nan"),
            ROWS[0] + "\t5",
            ROWS[1].replace("\tlfpw/b.pts", "\t"),
            ROWS[2].replace("\t12\t", "\t1.5\t").replace("\t10\t10", "\t1_0\t1e999"),
            ROWS[3].replace("/elsewhere", ""),
            "lfpw train 0 a.jpg a.pts 1 2 3 4",
            ROWS[3].replace("\t30\t", "\t 30\t"),
        )
        path = write(tmp_path / "index.tsv", table(ROWS[0], *faulty))
        for block in (8 << 20, 300):
            monkeypatch.setattr(tsv, "_BLOCK_BYTES", block)
            with pytest.raises(InputError) as raised:
                Index.read(path)
            assert raised.value.problems == (
                f"{path}:3: face_box_right should be a finite number, is 'nan'",
                f"{path}:4: expected 9 columns separated by tabs, found 10",
                f"{path}:5: pts_path is empty: give it a value",
                f"{path}:6: aug_idx should be a whole number, is '1.5'; "
                "face_box_right should be a finite number, is '1_0'; "
                "face_box_bottom should be a finite number, is '1e999'",
                f"{path}:8: expected 9 columns separated by tabs, found 1",
                f"{path}:9: face_box_right should be a finite number, is ' 30'",
            )
            assert str(raised.value).startswith(f"{path}: 6 faulty lines:\n  - {path}:3: face_box")

    def test_a_long_list_of_faults_is_shortened_in_print_only(self, tmp_path: Path) -> None:
        path = write(tmp_path / "index.tsv", table(*["a\tb"] * 70))
        with pytest.raises(
            InputError, match=r"70 faulty lines(.|\n)*index.tsv:51(.|\n)*and 20 more$"
        ) as raised:
            Index.read(path)
        assert len(raised.value.problems) == 70
        assert ":52:" not in str(raised.value)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", "not an index: the first line should be subset split"),
            (b"image,points\n", "found 'image,points'"),
            (table(*ROWS).encode("utf-16"), "not an index"),
            (table().encode(), "lists no faces"),
            (table("\n\n").encode(), "lists no faces"),
            (table(ROWS[0]).encode().replace(b"lfpw\t", b"lf\xffpw\t"), ":2: not UTF-8 text"),
            (table(ROWS[0]).encode().replace(b"image", b"im\xffage"), ":2: not UTF-8 text"),
            (table(ROWS[1]).replace("\t0\t", "\t99999999999\t").encode(), ":2: aug_idx should be"),
            (b"x" * (9 << 20), "a line of 8 MiB"),
        ],
    )
    def test_what_is_no_index(self, tmp_path: Path, content: bytes, says: str) -> None:
        path = tmp_path / "index.tsv"
        path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(says)) as raised:
            Index.read(path)
        assert str(raised.value).startswith(str(path))

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "none.tsv"):
            with pytest.raises(InputError, match=re.escape(f"{path}: no such index file")):
                Index.read(path)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.text("0123456789.-+e_ naif", max_size=20) | st.floats().map(str), min_size=1))
    def test_numbers_are_read_as_python_reads_them(self, fields: list[str]) -> None:
        numbers = tsv._numbers("".join(f"{field}\t" for field in fields).encode())
        pattern = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
        if all(pattern.fullmatch(field) for field in fields):
            assert numbers is not None
            assert numbers.tolist() == [float(field) for field in fields]
        else:
            assert numbers is None

    @pytest.mark.parametrize("old", [b"110.25", b"lfpw/b.jpg"])
    @pytest.mark.parametrize("new", [b"\0", b"\x01", b"\x0b", b"\r"])
    def test_a_control_character_is_told_with_its_line(self, tmp_path: Path, old: bytes, new: bytes) -> None:
        content = table(*ROWS[:2]).encode()
        assert old in content
        path = tmp_path / "nul.tsv"
        path.write_bytes(content.replace(old, old[:2] + new + old[3:]))
        with pytest.raises(InputError, match=r"nul\.tsv:[23]: holds a control character"):
            Index.read(path)

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_one_changed_byte_is_read_or_told(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        content = bytearray(table(*ROWS[:2]).encode())
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path = tmp_path_factory.getbasetemp() / "fuzz.tsv"
        path.write_bytes(content)
        try:
            samples = list(Index.read(path))
        except InputError as error:
            if not str(error).startswith(str(path)):
                raise
        else:
            assert 1 <= len(samples) <= 3
            assert np.isfinite([sample.face_box for sample in samples]).all()


class TestSelecting:
    def test_partitions_in_the_order_of_the_file(self, index: Index) -> None:
        assert index.partitions() == {"lfpw/train": 2, "lfpw/val": 1, "300W/01_Indoor/test": 1}

    def test_select_keeps_the_order_of_the_file(self, index: Index) -> None:
        chosen = index.select(["300W/01_Indoor/test", "lfpw/train"])
        assert list(chosen) == [index[0], index[2], index[3]]
        assert chosen.partitions() == {"lfpw/train": 2, "300W/01_Indoor/test": 1}
        assert chosen.line_numbers.tolist() == [2, 4, 5]
        assert list(chosen.select(["lfpw/train"])) == [index[0], index[3]]
        assert (chosen.sha256, chosen.path) == (index.sha256, index.path)

    def test_an_unknown_partition_is_told_with_those_that_exist(self, index: Index) -> None:
        with pytest.raises(
            InputError, match=r"no partition 'lfpw/tset'; there are: lfpw/train \(2 faces\), lfpw"
        ):
            index.select(["lfpw/train", "lfpw/tset"])
        with pytest.raises(InputError, match="no partition 'lfpw/val'"):
            index.select(["lfpw/train"]).select(["lfpw/val"])
        with pytest.raises(InputError, match="no partition was asked for"):
            index.select([])

    def test_take_and_drop(self, index: Index) -> None:
        assert list(index.take([3, 0, 0])) == [index[3], index[0], index[0]]
        assert list(index.take(np.array([False, True, True, False]))) == [index[1], index[2]]
        assert list(index.drop([1, 3])) == [index[0], index[2]]
        assert list(index.drop([])) == list(index)
        assert len(index.take([])) == 0
        np.testing.assert_array_equal(index.drop([0]).face_boxes, [sample.face_box for sample in index][1:])

    def test_workers_get_a_copy(self, index: Index) -> None:
        assert list(pickle.loads(pickle.dumps(index))) == list(index)

    def test_a_face_takes_less_than_200_bytes(self, tmp_path: Path) -> None:
        rows = [ROWS[0].replace("092 _01", f"{number:07d}") for number in range(2000)]
        size = len(pickle.dumps(Index.read(write(tmp_path / "index.tsv", table(*rows))))) / 2000
        assert size < 200


class TestWriting:
    def test_what_is_written_is_read_back(self, index: Index, tmp_path: Path) -> None:
        other = tmp_path / "sub" / "other.tsv"
        other.parent.mkdir()
        samples = [replace(sample, image_path=tmp_path / f"{i}.jpg") for i, sample in enumerate(index)]
        Index.write(other, samples)
        again = Index.read(other)
        assert [(s.subset, s.split, s.aug_idx, s.face_box) for s in again] == [
            (s.subset, s.split, s.aug_idx, s.face_box) for s in samples
        ]
        assert [os.path.normpath(s.image_path) for s in again] == [str(s.image_path) for s in samples]
        assert "\t../0.jpg\t../lfpw/image_092 _01.pts\t10.500\t" in other.read_text(encoding="utf-8")
        assert [path.name for path in other.parent.iterdir()] == ["other.tsv"]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"subset": "a\tb"}, "tab or line end"),
            ({"split": ""}, "empty"),
            ({"image_path": Path("/x/a\nb.jpg")}, "tab or line end"),
            ({"face_box": (0.0, 0.0, float("nan"), 1.0)}, "finite"),
        ],
    )
    def test_what_an_index_cannot_hold_leaves_the_old_one(
        self, index: Index, tmp_path: Path, change: dict[str, object], says: str
    ) -> None:
        before = index.path.read_bytes()
        with pytest.raises(InputError, match=says):
            Index.write(index.path, [index[0], replace(index[1], **change)])  # type: ignore[arg-type]
        assert index.path.read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["index.tsv"]

    def test_a_file_in_the_place_of_a_folder_is_told(self, index: Index, tmp_path: Path) -> None:
        path = index.path / "index.tsv"
        with pytest.raises(
            InputError, match=re.escape(f"{path}: cannot be written: {index.path} is no folder")
        ):
            Index.write(path, index)


EYES = Markup(name="eyes3", source="made up", points=("a", "b", "c"), mirror=(1, 0, 2))


class TestCheck:
    @pytest.fixture
    def faces(self, tmp_path: Path) -> list[Sample]:
        """Ten sound faces of three points."""
        image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        samples = []
        for number in range(10):
            sample = Sample(
                subset="made",
                split="train",
                aug_idx=-1,
                image_path=tmp_path / f"{number} é.jpg",
                landmarks_path=tmp_path / f"{number}.pts",
                face_box=(20.0, 10.0, 60.0, 50.0),
            )
            write_image(sample.image_path, image)
            write_pts(sample.landmarks_path, [[30, 25], [50, 25], [40, 40]])
            samples.append(sample)
        return samples

    def problems(self, faces: list[Sample], tmp_path: Path, workers: int = 0) -> list[Problem]:
        Index.write(tmp_path / "index.tsv", faces)
        return check(Index.read(tmp_path / "index.tsv"), EYES, workers)

    def test_sound_faces_pass(self, faces: list[Sample], tmp_path: Path) -> None:
        assert self.problems(faces, tmp_path) == []

    def test_faces_over_the_edge_pass(self, faces: list[Sample], tmp_path: Path) -> None:
        write_pts(faces[0].landmarks_path, [[-15, 25], [10, 25], [-5, 40]])  # one of three within the photo
        faces[0] = replace(faces[0], face_box=(-30.0, 0.0, 20.0, 50.0))
        assert self.problems(faces, tmp_path) == []

    @pytest.mark.parametrize("workers", [0, 1, 3])
    def test_every_kind_of_fault_is_told_in_order(
        self, faces: list[Sample], tmp_path: Path, workers: int
    ) -> None:
        faces[0].image_path.unlink()
        jpeg = faces[1].image_path.read_bytes()
        faces[1].image_path.write_bytes(jpeg[: len(jpeg) // 2])
        faces[2].landmarks_path.unlink()
        write_pts(faces[3].landmarks_path, np.arange(42).reshape(21, 2))
        write_pts(faces[4].landmarks_path, [[130, 25], [150, 25], [140, 40]])
        write_pts(faces[5].landmarks_path, [[40, 25], [40, 25], [40.5, 25]])
        faces[6] = replace(faces[6], face_box=(60.0, 10.0, 20.0, 50.0))
        faces[7] = replace(faces[7], face_box=(0.0, 41.0, 40.0, 60.0))
        write_pts(faces[8].landmarks_path, [[30, 25], [50, 25], [40, 400]])
        faces[9] = replace(faces[9], face_box=(-400.0, -400.0, 400.0, 400.0))
        problems = self.problems(faces, tmp_path, workers)
        assert [(p.position, p.line) for p in problems] == [(i, i + 2) for i in range(10)]
        index = tmp_path / "index.tsv"
        expected = (
            (faces[0].image_path, "no such image"),
            (faces[1].image_path, "the JPEG file is cut off"),
            (faces[2].landmarks_path, "no such landmark file"),
            (
                faces[3].landmarks_path,
                "has 21 points, the mark-up eyes3 has 3: choose the mark-up (data.markup in a recipe,",
            ),
            (faces[4].landmarks_path, "0 of the 3 landmarks lie within the 80 x 60 photo"),
            (faces[5].landmarks_path, "the landmarks span 0.5 x 0 px"),
            (index, "the face box of 6 é.jpg is -40 x 40 px"),
            (faces[7].landmarks_path, "0 of the 3 landmarks lie within the face box (0, 41, 40, 60)"),
            (faces[8].landmarks_path, "landmark 2 lies at (40, 400), far outside the 80 x 60 photo"),
            (faces[9].landmarks_path, "the landmarks span 17.3 px, a small part of the face box (-400, -400"),
        )
        for problem, (path, message) in zip(problems, expected, strict=True):
            assert problem.path == path
            assert problem.message.startswith(str(path))
            assert message in problem.message

    def test_one_face_may_have_several(self, faces: list[Sample], tmp_path: Path) -> None:
        faces[3].image_path.write_bytes(b"")
        faces[3].landmarks_path.write_text("nothing")
        faces[3] = replace(faces[3], face_box=(1.0, 1.0, 1.0, 1.0))
        problems = self.problems(faces, tmp_path)
        assert [problem.position for problem in problems] == [3, 3, 3]
        error = problems_error(Index.read(tmp_path / "index.tsv"), problems)
        assert error.problems == tuple(problem.message for problem in problems)
        assert "index.tsv: 1 of 10 faces cannot be used" in str(error)
        assert "--skip-invalid" in str(error)

    def test_progress_counts_up_to_all(self, faces: list[Sample], tmp_path: Path) -> None:
        Index.write(tmp_path / "index.tsv", faces * 5)
        seen: list[tuple[int, int]] = []
        check(Index.read(tmp_path / "index.tsv"), EYES, 2, lambda done, total: seen.append((done, total)))
        assert seen == [(32, 50), (50, 50)]

    def test_the_list_of_problems_is_a_table(self, faces: list[Sample], tmp_path: Path) -> None:
        faces[2].landmarks_path.unlink()
        write_problems(tmp_path / "skipped.tsv", self.problems(faces, tmp_path))
        path = faces[2].landmarks_path
        assert (tmp_path / "skipped.tsv").read_text(encoding="utf-8").splitlines() == [
            "line\tposition\tpath\tmessage",
            f"4\t2\t{path}\t{path}: no such landmark file",
        ]


@pytest.mark.parametrize(("folder", "markup"), [("faces68", "ibug68"), ("faces21", "faces21")])
def test_real_faces_are_sound(shared_data: Path, folder: str, markup: str) -> None:
    index = Index.read(shared_data / folder / "index.tsv")
    every_seventh = index.take(np.arange(0, len(index), 7))
    assert check(every_seventh, Markup.load(markup)) == []


def test_the_other_mark_up_is_refused_for_every_real_face(shared_data: Path) -> None:
    index = Index.read(shared_data / "faces21" / "index.tsv").take([0, 1, 2])
    messages = [problem.message for problem in check(index, Markup.load("ibug68"))]
    assert len(messages) == 3
    assert all("has 21 points, the mark-up ibug68 has 68" in message for message in messages)


def test_planted_errors_in_real_faces_are_all_found(shared_data: Path, tmp_path: Path) -> None:
    index = Index.read(shared_data / "faces68" / "index.tsv").select(["lfpw/val"])
    samples = list(index)[:40]
    for i, sample in enumerate(samples[:20]):  # labels moved by more than the photo, and boxes of elsewhere
        landmarks = read_pts(sample.landmarks_path)
        moved = tmp_path / f"{i}.pts"
        write_pts(moved, landmarks + (600 if i % 2 else 0))
        left, top, right, bottom = sample.face_box
        away = 0 if i % 2 else 1.5 * (right - left)
        samples[i] = replace(sample, landmarks_path=moved, face_box=(left + away, top, right + away, bottom))
    Index.write(tmp_path / "index.tsv", samples)
    problems = check(Index.read(tmp_path / "index.tsv"), Markup.load("ibug68"))
    assert [problem.position for problem in problems] == list(range(20))
