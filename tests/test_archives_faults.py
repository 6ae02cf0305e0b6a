"""Damaged archives: a message with the file and the reason, exit code 2, and nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from archives import Run
from archives import builders as make
from fanlight.cli.prepare import Archive
from fanlight.data.archives.kinds import KINDS

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
