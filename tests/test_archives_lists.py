"""Lists of faces and folders of photos: what comes out lies on the dots that were painted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from archives import builders as make
from archives.checks import FROM_LANDMARKS, name, on_dots, run, stem
from fanlight.data.archives.boxes import Way
from fanlight.data.archives.contents import Tally
from fanlight.data.index import Index
from fanlight.markup import Markup


class TestDlib:
    def test_a_list(self, tmp_path: Path) -> None:
        placed = make.make_dlib(tmp_path / "faces")
        prepared, samples = run("dlib-xml", tmp_path / "faces" / "labels_train.xml", tmp_path / "out", Way())
        on_dots(samples, placed, stem)
        assert [s.partition for s in samples] == ["faces/train"] * 2
        assert {s.face_box for s in samples} == {(15.0, 20.0, 115.0, 110.0)}
        assert sum("marked to be ignored" in note for note in prepared.notes) == 2

    def test_parts_go_by_their_numbers_and_lists_by_their_names(self, tmp_path: Path) -> None:
        root = tmp_path / "faces"
        placed = make.make_dlib(root, "labels_train.xml", "wflw98")
        text = (root / "labels_train.xml").read_text()
        for digit in range(10):
            text = text.replace(f"name='0{digit}'", f"name='{digit}'")  # 9 before 10, without zeros
        (root / "labels_test.xml").write_text(text)
        _, samples = run(
            "dlib-xml", root, tmp_path / "out", Way(), subset="mine", markup=Markup.load("wflw98")
        )
        on_dots(samples, placed, stem)
        assert [s.partition for s in samples] == ["mine/test"] * 2 + ["mine/train"] * 2

    def test_faces_with_missing_parts_are_left_out(self, tmp_path: Path) -> None:
        make.make_dlib(tmp_path / "faces")
        path = tmp_path / "faces" / "labels_train.xml"
        text = path.read_text()
        third = text[text.index("<image ") : text.index("</image>") + 8]
        third = third.replace("<part name='67'", "<gone name='67'", 1)
        path.write_text(text.replace("</images>", third + "</images>"))
        prepared, samples = run("dlib-xml", path, tmp_path / "out", Way())
        assert len(samples) == 2
        assert any("left out, it has 67 parts, the others 68" in note for note in prepared.notes)


@pytest.mark.parametrize("whole_body", [False, True])
def test_coco(tmp_path: Path, whole_body: bool) -> None:
    placed = make.make_coco(tmp_path / "coco", whole_body=whole_body)
    folder = tmp_path / "coco" / "annotations"
    prepared, samples = run("coco-json", folder, tmp_path / "out", Way(), subset="coco", split="val")
    on_dots(samples, placed, stem)
    assert [s.partition for s in samples] == ["coco/val"] * 2
    assert {s.face_box for s in samples} == {(15.0, 20.0, 115.0, 110.5)}
    assert prepared.notes == (
        f"{folder}/faces_train.json: annotation 7: left out, a crowd or without a face",
    )


def test_coco_without_boxes(tmp_path: Path) -> None:
    make.make_coco(tmp_path / "coco")
    path = tmp_path / "coco/annotations/faces_train.json"
    path.write_text(path.read_text().replace('"bbox"', '"area"'))
    prepared, samples = run("coco-json", path, tmp_path / "out", FROM_LANDMARKS)
    assert prepared.boxes == {"landmarks": 2}
    assert len(samples) == 2


def test_coco_leaves_incomplete_faces_out(tmp_path: Path) -> None:
    make.make_coco(tmp_path / "coco")
    path = tmp_path / "coco/annotations/faces_train.json"
    path.write_text(path.read_text().replace(", 2, ", ", 0, ", 3))
    prepared, samples = run("coco-json", path, tmp_path / "out", Way())
    assert len(samples) == 1
    assert any(
        "annotation 0: left out, 3 of its 68 points are not labelled" in note for note in prepared.notes
    )


class TestCSV:
    def table(self, root: Path, header: str, rows: Iterable[str]) -> Path:
        root.mkdir(exist_ok=True)
        (root / "faces.csv").write_text("\n".join([header, *rows]) + "\n")
        return root / "faces.csv"

    def test_continuous_with_boxes_and_partitions(self, tmp_path: Path) -> None:
        root = tmp_path / "table"
        header = (
            "image,left,top,right,bottom," + ",".join(f"x{i},y{i}" for i in range(29)) + ",subset,split,age"
        )
        placed, rows = {}, []
        for seed in range(2):
            placed[f"{seed}.jpg"] = pixels = make.write_photo(root / f"{seed}.jpg", "cofw29", seed)
            numbers = ",".join(f"{v + 0.5}" for v in pixels.ravel())
            rows.append(f"{seed}.jpg,10,11,120,121.5,{numbers},web,{('training', 'test')[seed]},30")
        (root / "1.jpg").rename(root / "2.jpg")
        rows.append(rows[0].replace("0.jpg", "../../0.jpg"))
        prepared, samples = run("csv", self.table(root, header, rows), tmp_path / "out", Way())
        assert prepared.tallies == (Tally("web/train", 2, 1), Tally("web/test", 1, 0))
        assert prepared.notes[2:] == (
            f"{root}/faces.csv:3: its photo is missing: '1.jpg'",
            f"{root}/faces.csv:4: its photo is missing: '../../0.jpg'",
        )
        (root / "2.jpg").rename(root / "1.jpg")
        _, samples = run("csv", self.table(root, header, rows[:2]), tmp_path / "whole", Way())
        on_dots(samples, placed, name)
        assert [s.partition for s in samples] == ["web/train", "web/test"]
        assert samples[0].face_box == (10.0, 11.0, 120.0, 121.5)

    def test_the_style_of_hrnet_with_semicolons(self, tmp_path: Path) -> None:
        root = tmp_path / "table"
        pixels = make.write_photo(tmp_path / "elsewhere" / "a b.jpg", "aflw19", 3)
        columns = ";".join(f"original_{i}_x;original_{i}_y" for i in range(19))
        row = "a b.jpg;1.25;" + ";".join(str(v + 2) for v in pixels.ravel())
        table = self.table(root, f"image_name;scale;{columns}", [row, ""])
        markup = Markup.load("aflw19")
        prepared, samples = run(
            "csv", table, tmp_path / "out", offset=-1.5, photos=tmp_path / "elsewhere", markup=markup
        )
        on_dots(samples, {"a b.jpg": pixels}, name)
        assert prepared.markup == "aflw19"
        assert prepared.tallies == (Tally("table/train", 1, 1),)


class TestFolder:
    def test_splits_by_folders(self, tmp_path: Path) -> None:
        root = tmp_path / "mine"
        placed = {}
        for photo in ("val/deep/a.png", "val/deep/b.png", "Test/c.png", "Test/d.png", "x/e.png", "f.png"):
            placed[Path(photo).name] = make.write_pair(root / photo, len(placed))
        prepared, samples = run("folder", root, tmp_path / "out")
        on_dots(samples, placed, name)
        assert Index.read(prepared.index).partitions() == {"mine/test": 2, "mine/val": 2, "mine/train": 2}

    def test_real_faces(self, tmp_path: Path, shared_data: Path) -> None:
        """The labels of the folder are those of its own index; boxes from landmarks are near the detector's."""
        folder = shared_data / "faces68"
        theirs = {s.image_path.resolve(): s for s in Index.read(folder / "index.tsv").select(["lfpw/val"])}
        prepared, samples = run("folder", folder / "lfpw", tmp_path / "out", markup=Markup.load("ibug68"))
        assert Index.read(prepared.index).partitions() == {"lfpw/train": 700, "lfpw/val": 105}
        both = [(s, theirs[s.image_path.resolve()]) for s in samples if s.split == "val"]
        assert all(ours.landmarks_path.samefile(other.landmarks_path) for ours, other in both)
        difference = np.array([np.subtract(ours.face_box, other.face_box) for ours, other in both])
        sizes = np.array([other.face_box[2] - other.face_box[0] for _, other in both])
        assert np.median(np.abs(difference) / sizes[:, None]) < 0.06
