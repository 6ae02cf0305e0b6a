"""``fanlight data prepare``: its options, detectors, what it prints and reports, and what docs/data.md says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from archives import Run
from archives import builders as make
from fanlight.data.archives.kinds import KINDS


def test_all_faults_are_told_at_once_and_can_be_skipped(tmp_path: Path, prepare: Run) -> None:
    make.make_300w(tmp_path / "all")
    spoiled = [tmp_path / "all" / "afw" / "134212_1.pts", tmp_path / "all" / "ibug" / "image_003_1.pts"]
    for path in spoiled:
        path.write_text("nothing")
    words = ("300w", "--root", tmp_path / "all", "--out", tmp_path / "out", "--boxes", "landmarks")
    code, _, err = prepare(*words)
    assert code == 2
    assert f"{tmp_path}/all: 2 faces cannot be used; mend them, or leave them out by --skip-faulty:" in err
    assert all(str(path) in err for path in spoiled)
    code, out, err = prepare(*words, "--skip-faulty")
    assert code == 0
    report = (tmp_path / "out" / "report.txt").read_text()
    assert all(f"left out: {path}:1: not a .pts file" in report for path in spoiled)
    assert "afw/train: 1 of 337 expected" in out


def test_the_first_discrepancies_are_printed_and_all_are_written(tmp_path: Path, prepare: Run) -> None:
    make.make_wflw(tmp_path / "WFLW")
    for photo in (tmp_path / "WFLW" / "WFLW_images").rglob("b*.jpg"):
        photo.unlink()
    code, out, _ = prepare("wflw", "--root", tmp_path / "WFLW", "--out", tmp_path / "out")
    assert code == 0
    report = (tmp_path / "out" / "report.txt").read_text()
    notes = [line for line in report.splitlines() if line.startswith("- ")]
    assert report.count("its photo is missing") == 2
    assert len(notes) == 11
    assert "11 discrepancies:" in report
    assert [line for line in out.splitlines() if line.startswith("- ")] == notes[:10]
    assert "... and 1 more discrepancies, all in " in out


class TestOptions:
    def test_those_of_another_kind_are_refused(self, tmp_path: Path, prepare: Run) -> None:
        make.make_300w(tmp_path / "all")
        code, _, err = prepare(
            "300w", "--root", tmp_path / "all", "--out", tmp_path / "out",
            "--flips", "--every", "3", "--offset", "1", "--subset", "mine", "--split", "all",
            "--photos", tmp_path / "none",
        )  # fmt: skip
        assert code == 2
        assert "--flips: not for 300w; it is for 300w-lp" in err
        assert "--every: not for 300w; it is for 300vw" in err
        assert "--offset: not for 300w; it is for wflw, dlib-xml, coco-json, csv" in err
        assert "--subset: not for 300w; it is for dlib-xml, coco-json, csv, folder" in err
        assert "--split all: expected train, val or test" in err
        assert f"--photos {tmp_path}/none: no such file or folder" in err

    def test_another_mark_up(self, tmp_path: Path, prepare: Run) -> None:
        make.make_dlib(tmp_path / "faces")
        code, _, err = prepare(
            "dlib-xml", "--root", tmp_path / "faces", "--out", tmp_path / "out", "--markup", "wflw98"
        )
        assert code == 2
        assert "has 68 points, the mark-up wflw98 has 98" in err

    def test_like_without_helen(self, tmp_path: Path, prepare: Run) -> None:
        make.make_300w_lp(tmp_path / "lp")
        (tmp_path / "none").mkdir()
        code, _, err = prepare(
            "300w-lp", "--root", tmp_path / "lp", "--out", tmp_path / "out", "--like", tmp_path / "none"
        )
        assert code == 2
        assert f"{tmp_path}/none: no folder helen/testset in it" in err

    def test_a_missing_extra(self, tmp_path: Path, prepare: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        make.make_cofw(tmp_path / "cofw")
        monkeypatch.setitem(sys.modules, "h5py", None)
        code, _, err = prepare("cofw", "--root", tmp_path / "cofw", "--out", tmp_path / "out")
        assert code == 2
        assert "reading it needs h5py: pip install 'fanlight[archives]'" in err

    def test_a_name_that_an_index_cannot_hold(self, tmp_path: Path, prepare: Run) -> None:
        make.write_pair(tmp_path / "mine" / "a\tb.jpg", 1)
        code, _, err = prepare(
            "folder", "--root", tmp_path / "mine", "--out", tmp_path / "out", "--boxes", "landmarks"
        )
        assert code == 2
        assert "holds a tab or line end" in err
        assert not (tmp_path / "out").exists()


class TestDetector:
    """A detector that is a function of this module, found by its name."""

    def test_boxes_are_matched_to_faces(self, tmp_path: Path, prepare: Run) -> None:
        make.make_300w(tmp_path / "all", ["afw/1.jpg", "ibug/1.jpg"])
        words = ("300w", "--root", tmp_path / "all", "--detector", f"{__name__}:find_dots")
        code, out, err = prepare(*words, "--out", tmp_path / "out")
        assert code == 0, err
        assert "face boxes: 2 from the detector" in out
        rows = [line.split("\t") for line in (tmp_path / "out/index.tsv").read_text().splitlines()[1:]]
        for row, seed in zip(rows, (0, 1), strict=True):
            pixels = make.pixels_of("ibug68", seed)
            expected = [*(pixels.min(axis=0) - 5), *(pixels.max(axis=0) + 5)]
            assert [float(value) for value in row[5:]] == expected

    def test_a_face_that_it_misses(self, tmp_path: Path, prepare: Run) -> None:
        make.make_300w(tmp_path / "all", ["afw/1.jpg", "ibug/1.jpg"])
        words = ("300w", "--root", tmp_path / "all", "--detector", f"{__name__}:find_in_the_corner")
        code, _, err = prepare(*words, "--out", tmp_path / "out")
        assert code == 2
        assert "not one face is left" in err
        assert (
            f"{tmp_path}/all/afw/1.jpg: left out, the detector misses it (--missed landmarks keeps it)" in err
        )
        code, out, _ = prepare(*words, "--out", tmp_path / "out", "--missed", "landmarks")
        assert code == 0
        assert "face boxes: 2 from the landmarks" in out

    def test_a_photo_that_cannot_be_read(self, tmp_path: Path, prepare: Run) -> None:
        make.make_300w(tmp_path / "all", ["afw/1.jpg", "ibug/1.jpg"])
        (tmp_path / "all/afw/1.jpg").write_bytes(b"no photo")
        words = (
            "300w",
            "--root",
            tmp_path / "all",
            "--detector",
            f"{__name__}:find_dots",
            "--out",
            tmp_path / "out",
        )
        code, _, err = prepare(*words)
        assert code == 2
        assert f"{tmp_path}/all/afw/1.jpg: " in err
        code, out, _ = prepare(*words, "--skip-faulty")
        assert code == 0
        assert "face boxes: 1 from the detector" in out

    def test_real_faces_by_a_packaged_one(self, tmp_path: Path, prepare: Run, shared_data: Path) -> None:
        from fanlight.detect import installed_detectors

        chosen = next((name for name in installed_detectors() if name != "haar"), None)
        if chosen is None:
            pytest.skip("no face detector is installed: pip install 'fanlight[detect]'")
        photos = sorted((shared_data / "faces68" / "lfpw" / "val").glob("*.jpg"))[:12]
        (tmp_path / "faces").mkdir()
        for photo in photos:
            for path in (photo, photo.with_suffix(".pts")):
                (tmp_path / "faces" / path.name).write_bytes(path.read_bytes())
        code, out, err = prepare(
            "folder", "--root", tmp_path / "faces", "--out", tmp_path / "out", "--detector", chosen
        )
        assert code == 0, err
        found = int(out.partition("face boxes: ")[2].split()[0])
        assert found >= 10
        assert f"from the detector {chosen}" in out


def find_dots(image: np.ndarray) -> list[list[float]]:
    """A box around the white dots, and another in a corner."""
    y, x = np.nonzero(image[..., 1] > 150)
    return [[0, 0, 9, 9], [x.min() - 5, y.min() - 5, x.max() + 5, y.max() + 5]]


def find_in_the_corner(image: np.ndarray) -> list[list[float]]:
    return [[0, 0, 9, 9]]


def test_the_report_is_text_that_says_where_boxes_come_from(tmp_path: Path, prepare: Run) -> None:
    make.make_cofw(tmp_path / "cofw")
    assert prepare("cofw", "--root", tmp_path / "cofw", "--out", tmp_path / "out")[0] == 0
    report = (tmp_path / "out" / "report.txt").read_text()
    assert report.splitlines()[0] == "fanlight data prepare cofw"
    assert "face boxes: 4 from the archive" in report
    assert json.dumps(report)  # plain text


class TestPage:
    """What docs/data.md says."""

    PAGE = (Path(__file__).parent.parent / "docs" / "data.md").read_text(encoding="utf-8")

    def test_its_commands_are_understood(self, tmp_path: Path, prepare: Run) -> None:
        commands = [line for line in self.PAGE.splitlines() if line.startswith("fanlight data prepare")]
        assert len(commands) == 6
        for command in commands:
            words = command.split()[3:]
            words[words.index("--root") + 1] = str(tmp_path / "none")
            code, _, err = prepare(*words)
            assert code == 2
            problems = [line for line in err.splitlines() if line.startswith("  - ")]
            assert all("no such file or folder" in line for line in problems), err

    def test_its_csv(self, tmp_path: Path, prepare: Run) -> None:
        text = next(block for block in self.PAGE.split("```") if block.lstrip().startswith("image,"))
        (tmp_path / "faces.csv").write_text(text.lstrip())
        make.write_photo(tmp_path / "a.jpg", "aflw19", 0)
        code, out, _ = prepare("csv", "--root", tmp_path / "faces.csv", "--out", tmp_path / "out")
        assert code == 0
        assert "face boxes: 1 from the archive" in out

    def test_its_numbers_are_the_code_s(self) -> None:
        from fanlight.data.archives import cofw, w300, w300lp, w300vw, wflw

        rows = {}
        for line in self.PAGE.splitlines():
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if len(cells) == 6 and cells[0] in KINDS:
                rows[cells[0]] = cells[1]
        assert set(rows) == set(KINDS)
        counts = {part.subset + "/" + part.split: part.count for part in w300.TRAIN_AND_VAL}
        train = sum(count for name, count in counts.items() if name.endswith("train"))
        common = sum(count for name, count in counts.items() if name.endswith("val"))
        test = sum(part.count for part in w300.TEST)
        assert rows["300w"] == f"{train} train, {common + w300.IBUG.count} val, {test} test"
        assert rows["helen-lfpw-afw"] == f"{train} train, {common} val"
        assert rows["300w-lp"] == f"{sum(w300lp.COUNTS.values()):,}, as many mirrored"
        for kind, numbers in (("wflw", wflw.COUNTS), ("cofw", cofw.COUNTS)):
            assert rows[kind] == f"{numbers['train']} train, {numbers['test']} test"
        assert rows["300vw"] == f"{sum(w300vw.VIDEOS.values())} videos"
