"""Damaged archives: a message with the file and the reason, exit code 2, and nothing left behind."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from archives import builders as make
from fanlight.cli import main
from fanlight.cli.prepare import Archive
from fanlight.data.archives.kinds import KINDS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``fanlight data prepare``; gives exit code, standard output and standard error."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fanlight", "data", "prepare", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    return run


Spoil = Callable[[Path], None]


def written(name: str, content: str | bytes) -> Spoil:
    """Replace a file of the archive."""

    def spoil(root: Path) -> None:
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def replaced(name: str, old: str, new: str) -> Spoil:
    """Change the first occurrence of some text."""

    def spoil(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return spoil


def cut_off(name: str) -> Spoil:
    def spoil(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])

    return spoil


def mat(name: str, **variables: object) -> Spoil:
    return lambda root: savemat(root / name, variables)


def hdf(name: str, change: Callable[[h5py.File], None]) -> Spoil:
    def spoil(root: Path) -> None:
        with h5py.File(root / name, "r+") as file:
            change(file)

    return spoil


def with_data(key: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[key]
        file[key] = value

    return change


def photo_of_floats(file: h5py.File) -> None:
    photos = file["IsTr"][:]
    photos[0, 0] = file.create_dataset("floats", data=np.ones((3, 9, 9))).ref
    file["IsTr"][:] = photos


LP_LABEL = "landmarks/HELEN/HELEN_100032540_1_3_pts.mat"
WFLW_TRAIN = "WFLW_annotations/list_98pt_rect_attr_train_test/list_98pt_rect_attr_train.txt"
COFW = "COFW_train_color.mat"
CSV_HEADER = "image,left,top,right,bottom,x0,y0,x1,y1\n"
NOT_A_NUMBER = np.full((68, 2), np.nan)


def make_csv(root: Path) -> None:
    make.write_photo(root / "a.jpg", "aflw19", 0)
    (root / "faces.csv").write_text(CSV_HEADER + "a.jpg,1,2,100,110,20,30,40,50\n")


BUILD: dict[str, Callable[[Path], object]] = {
    "300w": make.make_300w,
    "300w-lp": make.make_300w_lp,
    "aflw2000": make.make_aflw2000,
    "wflw": make.make_wflw,
    "cofw": make.make_cofw,
    "300vw": lambda root: make.make_300vw(root, [1], 2),
    "helen-lfpw-afw": make.make_300w,
    "dlib-xml": make.make_dlib,
    "coco-json": lambda root: make.make_coco(root),
    "csv": make_csv,
    "folder": lambda root: make.write_pair(root / "a.jpg", 1),
}

CASES: list[tuple[str, Spoil, str, str]] = [
    # the kind, what is spoiled, the file that the message names, and what it says of it
    (
        "300w",
        written("afw/134212_1.pts", "n_points: 68\n{\n1 2\n"),
        "afw/134212_1.pts",
        "the file is cut off",
    ),
    (
        "300w",
        written("ibug/image_092 _01.pts", make.pts_text(np.ones((5, 2)))),
        "image_092 _01.pts",
        "has 5 points, expected 68",
    ),
    (
        "300w",
        written("bounding_boxes_afw.mat", b"MATLAB"),
        "bounding_boxes_afw.mat",
        "not a readable .mat file",
    ),
    (
        "300w",
        mat("bounding_boxes_afw.mat", bounding_boxes=np.ones(3)),
        "bounding_boxes_afw.mat",
        "not the boxes of 300W",
    ),
    (
        "helen-lfpw-afw",
        written("lfpw/trainset/image_0001.pts", b"\xff\xfe"),
        "image_0001.pts",
        "not plain text",
    ),
    ("300w-lp", cut_off(LP_LABEL), LP_LABEL, "not a readable .mat file"),
    ("300w-lp", written(LP_LABEL, b""), LP_LABEL, "not a readable .mat file"),
    ("300w-lp", mat(LP_LABEL, pt2d=np.ones((2, 68))), LP_LABEL, "has no pts_2d"),
    (
        "300w-lp",
        mat(LP_LABEL, pts_2d=np.ones((21, 2))),
        LP_LABEL,
        "expected 68 points, found an array of float64 of shape (21, 2)",
    ),
    ("300w-lp", mat(LP_LABEL, pts_2d=NOT_A_NUMBER), LP_LABEL, "not a finite number"),
    ("300w-lp", mat(LP_LABEL, pts_2d="text"), LP_LABEL, "expected 68 points"),
    ("300w-lp", lambda root: (root / LP_LABEL).unlink(), LP_LABEL, "no such file"),
    (
        "300w-lp",
        lambda root: (root / "AFW/AFW_134212_1_0.jpg").rename(root / "AFW/AFW.jpg"),
        "AFW/AFW.jpg",
        "the augmentation index",
    ),
    ("aflw2000", cut_off("image00003.mat"), "image00003.mat", "not a readable .mat file"),
    ("aflw2000", mat("image00003.mat", pt2d=np.ones((2, 21))), "image00003.mat", "has no pt3d_68"),
    ("wflw", replaced(WFLW_TRAIN, " 118 ", " "), f"{WFLW_TRAIN}:1", "expected 207 fields"),
    ("wflw", replaced(WFLW_TRAIN, ".000000", ".0OOO"), f"{WFLW_TRAIN}:1", "a coordinate is no number"),
    ("wflw", replaced(WFLW_TRAIN, " 20 21 ", " nan 21 "), f"{WFLW_TRAIN}:1", "not a finite number"),
    (
        "wflw",
        replaced(WFLW_TRAIN, " 20 21 119 ", " 20 21 19 "),
        f"{WFLW_TRAIN}:1",
        "the rectangle 20 21 19 118 should be",
    ),
    (
        "wflw",
        replaced(WFLW_TRAIN, " 0 0 0 0 0 0 ", " 0 0 2 0 0 0 "),
        f"{WFLW_TRAIN}:1",
        "the six attributes should be 0 or 1",
    ),
    (
        "wflw",
        replaced(WFLW_TRAIN, "0--Parade/", "../../"),
        f"{WFLW_TRAIN}:1",
        "the photo '../../0_Parade_a_1.jpg' should lie below WFLW_images",
    ),
    ("wflw", written(WFLW_TRAIN, b"\xff\xfe\xfa"), WFLW_TRAIN, "cannot read the list"),
    ("cofw", written(COFW, b"MATLAB 5.0 MAT-file"), COFW, "not a readable MATLAB 7.3 (HDF5) file"),
    ("cofw", cut_off(COFW), COFW, "not a readable MATLAB 7.3 (HDF5) file"),
    ("cofw", hdf(COFW, lambda file: file.pop("phisTr")), COFW, "has no phisTr"),
    ("cofw", hdf(COFW, with_data("phisTr", np.ones((58, 2)))), COFW, "expected N photos, 87 x N numbers"),
    ("cofw", hdf(COFW, with_data("IsTr", np.ones((1, 2)))), COFW, "not a readable MATLAB 7.3 (HDF5) file"),
    (
        "cofw",
        hdf(COFW, photo_of_floats),
        COFW,
        "photo 1 is an array of float64 of shape (3, 9, 9), not an image",
    ),
    (
        "cofw",
        hdf(COFW, with_data("bboxesTr", np.zeros((4, 2)))),
        COFW,
        "face 1 has numbers that are not finite, or a box without a size",
    ),
    (
        "cofw",
        hdf(
            COFW,
            lambda file: [file.pop("phisTr"), file.create_dataset("phisTr", (87, 10**10), "f8", chunks=True)],
        ),
        COFW,
        "and 4 x N of boxes as HDF5 shows them, found (1, 2), (87, 10000000000) and (4, 2)",
    ),
    ("300vw", written("001/vid.avi", b"RIFF nonsense"), "001/vid.avi", "OpenCV cannot read this video"),
    ("300vw", written("001/annot/000002.pts", ""), "001/annot/000002.pts", "not a .pts file"),
    ("dlib-xml", cut_off("labels_train.xml"), "labels_train.xml", "not an XML file"),
    (
        "dlib-xml",
        written("labels_train.xml", "<!DOCTYPE a [<!ENTITY b 'c'>]><dataset/>"),
        "labels_train.xml",
        "declares a document type",
    ),
    (
        "dlib-xml",
        replaced("labels_train.xml", "left='15'", "left='x'"),
        "labels_train.xml: photos/face 0.jpg: box 1",
        "could not convert",
    ),
    ("dlib-xml", replaced("labels_train.xml", "left='15'", ""), "box 1", "<box> has no left"),
    ("dlib-xml", replaced("labels_train.xml", "width='100'", "width='-1'"), "box 1", "its size is -1 x 90"),
    ("dlib-xml", replaced("labels_train.xml", "y='", "y='inf' z='"), "box 1", "y is inf"),
    ("dlib-xml", replaced("labels_train.xml", "name='66'", "name='67'"), "box 1", "has the part '67' twice"),
    (
        "dlib-xml",
        written("labels_train.xml", "<?xml version='1.0' encoding='nonsense'?><a/>"),
        "labels_train.xml",
        "not an XML file",
    ),
    ("coco-json", written("annotations/faces_train.json", "{"), "faces_train.json", "not a COCO list"),
    (
        "coco-json",
        written("annotations/faces_train.json", "[" * 100_000),
        "faces_train.json",
        "not a COCO list",
    ),
    (
        "coco-json",
        written("annotations/faces_train.json", '{"images": []}'),
        "faces_train.json",
        "KeyError 'annotations'",
    ),
    (
        "coco-json",
        replaced("annotations/faces_train.json", '"keypoints": [', '"keypoints": [1, '),
        "faces_train.json",
        "ValueError",
    ),
    (
        "coco-json",
        replaced("annotations/faces_train.json", '"keypoints": [', '"keypoints": [NaN, NaN, 2, '),
        "faces_train.json",
        "not finite",
    ),
    (
        "coco-json",
        replaced("annotations/faces_train.json", "[15.0, 20.0, 100.0,", "[15.0, 20.0, 0,"),
        "faces_train.json",
        "its box is 0 x 90.5",
    ),
    (
        "coco-json",
        replaced(
            "annotations/faces_train.json", '"keypoints": [', '"keypoints": [1' + "0" * 400 + ", 1, 2, "
        ),
        "faces_train.json",
        "OverflowError",
    ),
    (
        "coco-json",
        replaced("annotations/faces_train.json", '"image_id": 100', '"image_id": 9'),
        "faces_train.json",
        "KeyError 9",
    ),
    ("csv", written("faces.csv", CSV_HEADER + "a.jpg,1,2,3\n"), "faces.csv:2", "expected 9 columns, found 4"),
    (
        "csv",
        written("faces.csv", CSV_HEADER + "a.jpg,1,2,100,110,20,30,forty,50\n"),
        "faces.csv:2",
        "'forty' is not a number",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER + "a.jpg,1,2,100,110,20,30,nan,50\n"),
        "faces.csv:2",
        "'nan' is not a finite number",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER.replace("image", "size")),
        "faces.csv:1",
        "one column should name the photo",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER.replace("y1", "y2")),
        "faces.csv:1",
        "columns x0, y0, x1, y1 and so on, without a gap",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER.replace("top", "age")),
        "faces.csv:1",
        "the four columns left, top, right, bottom",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER.replace("y1", "y0")),
        "faces.csv:1",
        "the column 'y0' is there twice",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER.strip() + ",subset\na.jpg,1,2,100,110,20,30,40,50,../x\n"),
        "faces.csv:2",
        "the name '../x'",
    ),
    ("csv", written("faces.csv", b"\xff\xfe"), "faces.csv", "cannot read the table"),
    (
        "csv",
        written("faces.csv", CSV_HEADER + "a.jpg,1,2,100,110,20,30,4e6,50\n"),
        "a.jpg",
        "a landmark a million pixels away",
    ),
    (
        "csv",
        written("faces.csv", CSV_HEADER + "a.jpg,1,2,0,9,20,30,40,50\n"),
        "a.jpg",
        "[1.0, 2.0, 0.0, 9.0] is not",
    ),
    ("folder", written("a.pts", "version: 1\nn_points: 1\n{\n1 nan\n}"), "a.pts:4", "two finite numbers"),
]


@pytest.mark.parametrize(("kind", "spoil", "file", "says"), CASES)
def test_damage_is_told(tmp_path: Path, prepare: Run, kind: str, spoil: Spoil, file: str, says: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    BUILD[kind](root)
    spoil(root)
    source = root / "annotations" if kind == "coco-json" else root
    code, out, err = prepare(
        kind, "--root", source, "--out", tmp_path / "new" / "out", "--boxes", "landmarks"
    )
    assert (code, out) == (2, ""), err
    assert file in err
    assert says in err
    assert not list((tmp_path / "new").iterdir())


@pytest.mark.parametrize("kind", BUILD)
class TestEveryKind:
    def test_a_whole_one_passes(self, tmp_path: Path, prepare: Run, kind: str) -> None:
        BUILD[kind](tmp_path)
        source = tmp_path / "annotations" if kind == "coco-json" else tmp_path
        code, out, err = prepare(kind, "--root", source, "--out", tmp_path / "out", "--boxes", "landmarks")
        assert code == 0, err
        assert out.splitlines()[0].split() == ["partition", "expected", "found"]
        assert out.splitlines()[-1] == str(tmp_path / "out" / "index.tsv")

    def test_an_empty_folder_and_none(self, tmp_path: Path, prepare: Run, kind: str) -> None:
        (tmp_path / "empty").mkdir()
        code, _, err = prepare(kind, "--root", tmp_path / "empty", "--out", tmp_path / "out")
        assert code == 2
        assert f"{tmp_path}/empty: no such archive here: expected " in err
        code, _, err = prepare(kind, "--root", tmp_path / "none", "--out", tmp_path / "out")
        assert code == 2
        assert f"--root {tmp_path}/none: no such file or folder" in err
        assert [path.name for path in tmp_path.iterdir()] == ["empty"]

    def test_a_text_file(self, tmp_path: Path, prepare: Run, kind: str) -> None:
        (tmp_path / "notes.txt").write_text("nothing")
        code, _, err = prepare(kind, "--root", tmp_path / "notes.txt", "--out", tmp_path / "out")
        assert code == 2
        assert "notes.txt" in err


def test_the_command_knows_every_kind() -> None:
    assert [archive.value for archive in Archive] == list(KINDS) == list(BUILD)


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
