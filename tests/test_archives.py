"""Every archive in its own layout: what comes out lies on the dots that were painted, in the right partition."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import numpy as np
import pytest

from archives import builders as make
from archives.checks import name, on_dots, run, stem, usable
from fanlight.data.archives.boxes import Way
from fanlight.data.archives.contents import Tally
from fanlight.data.index import Index, Sample
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.image import read_image
from fanlight.markup import Markup


class Test300W:
    OFFICIAL = (
        Tally("afw/train", 337, 2), Tally("helen/train", 2000, 1), Tally("lfpw/train", 811, 1),
        Tally("helen/val", 330, 1), Tally("lfpw/val", 224, 1), Tally("ibug/val", 135, 2),
        Tally("300w_indoor/test", 300, 1), Tally("300w_outdoor/test", 300, 1),
    )  # fmt: skip

    def test_folders(self, tmp_path: Path) -> None:
        placed = make.make_300w(tmp_path / "all")
        prepared, samples = run("300w", tmp_path / "all", tmp_path / "out")
        assert prepared.tallies == self.OFFICIAL
        assert (prepared.markup, prepared.boxes) == ("ibug68", {"landmarks": 10})
        assert prepared.notes[0] == "afw/train: 2 of 337 expected"
        assert len(prepared.notes) == 8
        on_dots(samples, placed, name)
        assert "image_092 _01.jpg" in {name(s) for s in samples}
        assert {s.aug_idx for s in samples} == {-1}
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["index.tsv", "report.txt"]
        assert samples[0].landmarks_path.samefile(tmp_path / "all/afw/134212_1.pts")  # nothing is copied
        assert "../all/afw/134212_1.jpg\t../all/afw/134212_1.pts" in prepared.index.read_text()
        usable(prepared, "ibug68")

    def test_zip_files_one_of_them_in_four_parts(self, tmp_path: Path) -> None:
        placed = make.make_300w(tmp_path / "all")
        root = tmp_path / "zips"
        root.mkdir()
        for part in ("afw", "helen", "lfpw", "ibug"):  # two with a folder of their own inside, two without
            make.zip_folder(tmp_path / "all" / part, root / f"{part}.zip", litter=part == "afw")
        inner = tmp_path / "inner"
        inner.mkdir()
        (tmp_path / "all" / "300W").rename(inner / "300W")
        make.zip_folder(inner, root / "300w.zip")
        make.cut(root / "300w.zip", 4)
        prepared, samples = run("300w", root, tmp_path / "out")
        assert prepared.tallies == self.OFFICIAL
        on_dots(samples, placed, name)
        assert all(s.image_path.resolve().is_relative_to(tmp_path / "out") for s in samples)
        assert str(tmp_path / "out") not in prepared.index.read_text()  # so the folder can be moved
        usable(prepared, "ibug68")

    def test_a_fault_in_a_zip_file_is_told_by_the_name_of_the_zip_file(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all", make.W300_PHOTOS[:1])
        (tmp_path / "all/afw/134212_1.pts").write_text("nothing")
        make.zip_folder(tmp_path / "all", tmp_path / "afw.zip")
        with pytest.raises(InputError) as raised:
            run("300w", tmp_path / "afw.zip", tmp_path / "out")
        assert str(raised.value).count(f"{tmp_path}/afw.zip/afw/afw/134212_1.pts:1: not a .pts file") == 1

    def test_one_part_of_the_zip_stands_for_all(self, tmp_path: Path) -> None:
        (tmp_path / "all").mkdir()
        placed = make.make_300w(tmp_path / "all", make.W300_PHOTOS[-2:])
        make.zip_folder(tmp_path / "all", tmp_path / "300w.zip")
        parts = make.cut(tmp_path / "300w.zip", 4)
        prepared, samples = run("300w", parts[0], tmp_path / "out")
        assert [s.partition for s in samples] == ["300w_indoor/test", "300w_outdoor/test"]
        on_dots(samples, placed, name)
        assert "helen/train: 0 of 2000 expected" in prepared.notes

    def test_the_organisers_boxes(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all", make.W300_PHOTOS[:4])
        make.add_300w_boxes(
            tmp_path / "all" / "Bounding Boxes", "afw",
            {"134212_2.jpg": (20.0, 21.0, 110.0, 111.0), "134212_1.jpg": (1.0, 2.0, 120.5, 121.25)},
        )  # fmt: skip
        prepared, samples = run("300w", tmp_path / "all", tmp_path / "out", Way(boxes="archive"))
        assert [s.face_box for s in samples] == [(0.5, 1.5, 120.0, 120.75), (19.5, 20.5, 109.5, 110.5)]
        assert prepared.boxes == {"archive": 2}
        left_out = [note for note in prepared.notes if "the archive has no box for it" in note]
        assert len(left_out) == 2

    def test_helen_lfpw_afw_leaves_the_challenge_out(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        prepared, samples = run("helen-lfpw-afw", tmp_path / "all", tmp_path / "out")
        assert prepared.tallies == self.OFFICIAL[:5]
        assert len(samples) == 6

    def test_frgc_and_xm2vts_where_they_are(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all", ["frgc/a.jpg", "xm2vts/b.jpg"])
        prepared, _ = run("300w", tmp_path / "all", tmp_path / "out")
        assert prepared.tallies[-2:] == (Tally("frgc/train", 4950, 1), Tally("xm2vts/train", 2360, 1))

    def test_halves_are_named(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        (tmp_path / "all/afw/134212_1.jpg").unlink()
        (tmp_path / "all/ibug/image_003_1.pts").unlink()
        prepared, samples = run("300w", tmp_path / "all", tmp_path / "out")
        assert len(samples) == 8
        assert f"{tmp_path}/all/afw/134212_1.pts: a label without a photo" in prepared.notes
        assert f"{tmp_path}/all/ibug/image_003_1.jpg: a photo without a label" in prepared.notes
        report = (tmp_path / "out/report.txt").read_text()
        assert all(note in report for note in prepared.notes)

    def test_what_lies_behind_links_is_found(self, tmp_path: Path) -> None:
        placed = make.make_300w(tmp_path / "disk")
        (tmp_path / "all").mkdir()
        for part in ("afw", "helen", "lfpw", "ibug", "300W"):
            (tmp_path / "all" / part).symlink_to(tmp_path / "disk" / part)
        (tmp_path / "all" / "300W" / "round").symlink_to(tmp_path / "all")
        prepared, samples = run("300w", tmp_path / "all", tmp_path / "out")
        assert prepared.tallies == self.OFFICIAL
        on_dots(samples, placed, name)

    def test_archives_beside_folders_are_named(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        make.zip_folder(tmp_path / "all" / "300W", tmp_path / "all" / "300w.zip")
        make.cut(tmp_path / "all" / "300w.zip", 4)
        prepared, _ = run("300w", tmp_path / "all", tmp_path / "out")
        assert (
            f"{tmp_path}/all/300w.zip.001: not unpacked, since there are folders beside it" in prepared.notes
        )

    def test_endings_in_capitals_and_names_that_are_there_twice(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        afw = tmp_path / "all" / "afw"
        (afw / "134212_1.jpg").rename(afw / "134212_1.JPG")
        (afw / "134212_2.pts").rename(afw / "134212_2.PTS")
        make.write_photo(afw / "134212_1.png", "ibug68", 5)
        (afw / "134212_2.pts").write_bytes((afw / "134212_2.PTS").read_bytes())
        prepared, samples = run("300w", tmp_path / "all", tmp_path / "out")
        assert [name(s) for s in samples if s.subset == "afw"] == ["134212_1.JPG", "134212_2.jpg"]
        assert f"{afw}/134212_1.png: left out, 134212_1.JPG has the same name" in prepared.notes
        assert f"{afw}/134212_2.pts: left out, 134212_2.PTS has the same name" in prepared.notes

    def test_a_part_that_is_there_twice(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        make.make_300w(tmp_path / "all" / "copy", ["afw/134212_1.jpg"])
        with pytest.raises(
            InputError, match=r"more than once.*\n.*afw/train: .*/all/afw and .*/all/copy/afw"
        ):
            run("300w", tmp_path / "all", tmp_path / "out")
        assert not (tmp_path / "out").exists()


class Test300WLP:
    def test_labels_indices_and_splits(self, tmp_path: Path) -> None:
        placed = make.make_300w_lp(tmp_path / "300W_LP", flips=True)
        prepared, samples = run("300w-lp", tmp_path / "300W_LP", tmp_path / "out")
        on_dots(samples, placed, stem)
        assert [(s.partition, s.aug_idx) for s in samples] == [
            ("afw/train", 0), ("afw/train", 5), ("helen/train", 3), ("helen/train", 12),
            ("ibug/val", 1), ("lfpw/val", 4), ("lfpw/train", 2),
        ]  # fmt: skip
        assert prepared.tallies == (
            Tally("afw", 5207, 2), Tally("helen", 37676, 2), Tally("ibug", 1786, 1), Tally("lfpw", 16556, 2)
        )  # fmt: skip
        assert any("--like" in note for note in prepared.notes)
        usable(prepared, "ibug68")

    def test_mirrored_copies(self, tmp_path: Path) -> None:
        placed = make.make_300w_lp(tmp_path / "300W_LP", flips=True)
        prepared, samples = run("300w-lp", tmp_path / "300W_LP", tmp_path / "out", flips=True)
        flips = [s for s in samples if s.subset.endswith("_flip")]
        assert len(flips) == 7
        assert Tally("helen_flip", 37676, 2) in prepared.tallies
        table = list(Markup.load("ibug68").mirror)
        mirrored = {
            key: np.column_stack([make.WIDTH - 1 - p[table, 0], p[table, 1]]) for key, p in placed.items()
        }
        on_dots(flips, mirrored, stem)

    def test_helen_by_300w(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "300W")
        make.make_300w_lp(tmp_path / "lp")
        prepared, samples = run("300w-lp", tmp_path / "lp", tmp_path / "out", like=tmp_path / "300W")
        helen = {stem(s): s.split for s in samples if s.subset == "helen"}
        assert helen == {"HELEN_100032540_1_3": "train", "HELEN_296814969_1_12": "val"}
        assert not any("--like" in note for note in prepared.notes)

    def test_missing_halves(self, tmp_path: Path) -> None:
        make.make_300w_lp(tmp_path / "lp")
        (tmp_path / "lp/AFW/AFW_134212_1_0.jpg").unlink()
        prepared, _ = run("300w-lp", tmp_path / "lp", tmp_path / "out")
        assert (
            f"{tmp_path}/lp/landmarks/AFW/AFW_134212_1_0_pts.mat: a label without a photo in AFW"
            in prepared.notes
        )

    def test_missing_mirrored_copies(self, tmp_path: Path) -> None:
        make.make_300w_lp(tmp_path / "lp", flips=True)
        (tmp_path / "lp/IBUG_Flip/IBUG_image_003_1_1.jpg").unlink()
        prepared, _ = run("300w-lp", tmp_path / "lp", tmp_path / "out", flips=True)
        label = tmp_path / "lp/landmarks/IBUG/IBUG_image_003_1_1_pts.mat"
        assert f"{label}: a label without a photo in IBUG_Flip" in prepared.notes
        assert "ibug_flip: 0 of 1786 expected" in prepared.notes


def test_aflw2000(tmp_path: Path) -> None:
    placed = make.make_aflw2000(tmp_path / "AFLW2000-3D")
    prepared, samples = run("aflw2000", tmp_path / "AFLW2000-3D", tmp_path / "out")
    on_dots(samples, placed, stem)
    assert prepared.tallies == (Tally("aflw2000/test", 2000, 3),)
    usable(prepared, "ibug68")


class TestWFLW:
    def test_lists(self, tmp_path: Path) -> None:
        placed = make.make_wflw(tmp_path / "WFLW")
        prepared, samples = run("wflw", tmp_path / "WFLW", tmp_path / "out", Way())
        assert [s.partition for s in samples] == ["wflw/train"] * 2 + ["wflw/test"] * 3
        keys = iter(["train-1", "train-2", "test-1", "test-2", "test-3"])
        on_dots(samples, placed, lambda _: next(keys))
        assert {s.face_box for s in samples} == {(20.0, 21.0, 119.0, 118.0)}
        assert len({s.landmarks_path for s in samples}) == 5  # two faces of one photo have two labels
        assert prepared.tallies[:2] == (Tally("wflw/train", 7500, 2), Tally("wflw/test", 2500, 3))
        assert Tally("wflw/test, pose", 326, 1) in prepared.tallies
        assert Tally("wflw/test, blur", 773, 2) in prepared.tallies
        usable(prepared, "wflw98")

    def test_an_index_for_each_attribute(self, tmp_path: Path) -> None:
        make.make_wflw(tmp_path / "WFLW")
        _, samples = run("wflw", tmp_path / "WFLW", tmp_path / "out", Way())
        blurred = list(Index.read(tmp_path / "out/attributes/blur.tsv"))
        assert [s.landmarks_path.resolve() for s in blurred] == [
            s.landmarks_path.resolve() for s in samples[2:4]
        ]
        posed = Index.read(tmp_path / "out/attributes/pose.tsv")
        assert posed.partitions() == {"wflw/train": 1, "wflw/test": 1}
        assert [name(s) for s in posed.select(["wflw/test"])] == ["1_Handshaking_b_2.jpg"]
        assert all(s.image_path.is_file() for s in blurred)
        assert sorted(path.stem for path in (tmp_path / "out/attributes").iterdir()) == ["blur", "pose"]

    def test_lines_that_are_there_twice_and_photos_without_one(self, tmp_path: Path) -> None:
        make.make_wflw(tmp_path / "WFLW")
        folder = tmp_path / "WFLW/WFLW_annotations/list_98pt_rect_attr_train_test"
        lines = (folder / "list_98pt_rect_attr_test.txt").read_text().splitlines()
        (folder / "list_98pt_rect_attr_test.txt").write_text("\n".join([*lines[:2], lines[0]]))
        prepared, samples = run("wflw", tmp_path / "WFLW", tmp_path / "out", Way())
        photo = tmp_path / "WFLW/WFLW_images/1--Handshaking"
        assert (
            f"{photo}/1_Handshaking_b_2.jpg: the same face is there twice (1_Handshaking_b_2_3)"
            in prepared.notes
        )
        assert f"{photo}/b 4.jpg: a photo without a label" in prepared.notes
        assert len(samples) == 5

    def test_as_tar_files_and_with_another_convention(self, tmp_path: Path) -> None:
        placed = make.make_wflw(tmp_path / "WFLW")
        root = tmp_path / "tars"
        root.mkdir()
        for part in ("WFLW_images", "WFLW_annotations"):
            with tarfile.open(root / f"{part}.tar.gz", "w:gz") as tar:
                tar.add(tmp_path / "WFLW" / part, part)
        _, samples = run("wflw", root, tmp_path / "out", Way(), offset=-0.5)
        np.testing.assert_allclose(read_pts(samples[0].landmarks_path), placed["train-1"] - 0.5, atol=6e-4)
        assert len(samples) == 5


class TestCOFW:
    def test_faces_and_what_is_hidden(self, tmp_path: Path) -> None:
        placed = make.make_cofw(tmp_path / "COFW")
        prepared, samples = run("cofw", tmp_path / "COFW", tmp_path / "out", Way())

        def key(sample: Sample) -> str:
            return f"{sample.split}/{sample.image_path.name}"

        on_dots(samples, {k: pixels for k, (pixels, _) in placed.items()}, key)
        assert prepared.tallies == (Tally("cofw/train", 1345, 2), Tally("cofw/test", 507, 2))
        assert {s.face_box for s in samples} == {(20.0, 21.0, 100.0, 111.0)}
        with open(tmp_path / "out/occlusion.tsv", newline="") as file:
            rows = {row["photo"]: row["hidden"] for row in csv.DictReader(file, delimiter="	")}
        assert rows == {f"photos/cofw/{k}": hidden for k, (_, hidden) in placed.items()}
        usable(prepared, "cofw29")

    def test_colours_are_kept(self, tmp_path: Path) -> None:
        make.make_cofw(tmp_path / "COFW")
        _, samples = run("cofw", tmp_path / "COFW", tmp_path / "out", Way())
        colour, grey = (read_image(sample.image_path) for sample in samples[:2])
        assert colour.shape == grey.shape == (make.HEIGHT, make.WIDTH, 3)
        assert colour[0, 0].tolist() == [90, 40, 40]
        assert grey[0, 0].tolist() == [40, 40, 40]

    def test_the_file_in_colour_is_taken_where_a_grey_one_is_there_too(self, tmp_path: Path) -> None:
        make.make_cofw(tmp_path / "COFW")
        (tmp_path / "COFW" / "COFW_test.mat").write_text("the grey one")
        prepared, samples = run("cofw", tmp_path / "COFW", tmp_path / "out", Way())
        assert Tally("cofw/test", 507, 2) in prepared.tallies
        assert len(samples) == 4


class Test300VW:
    def test_every_second_frame(self, tmp_path: Path) -> None:
        placed = make.make_300vw(tmp_path / "300VW")
        prepared, samples = run("300vw", tmp_path / "300VW", tmp_path / "out", every=2)
        assert len(samples) == 4 * 3
        on_dots(samples, placed, lambda s: f"{s.image_path.parent.name}/{s.image_path.stem}")
        partitions = ["300vw/train", "300vw_category1/test", "300vw_category2/test", "300vw_category3/test"]
        assert list(Index.read(prepared.index).partitions()) == partitions
        assert Tally("300vw, videos", 50, 1) in prepared.tallies
        assert Tally("300vw_category3, videos", 14, 1) in prepared.tallies
        assert samples[0].landmarks_path.samefile(tmp_path / "300VW/001/annot/000001.pts")
        usable(prepared, "ibug68")

    def test_frames_and_labels_that_do_not_match(self, tmp_path: Path) -> None:
        make.make_300vw(tmp_path / "300VW", videos=[1, 2], frames=4)
        label = tmp_path / "300VW/001/annot/000004.pts"
        label.rename(label.with_name("000009.pts"))
        (tmp_path / "300VW/002/vid.avi").unlink()
        prepared, samples = run("300vw", tmp_path / "300VW", tmp_path / "out")
        assert "300vw/train: 3 of 4 expected" in prepared.notes
        assert [s.image_path.stem for s in samples] == ["000001", "000002", "000003"]
        assert f"{tmp_path}/300VW/001/vid.avi: has 4 frames, the labels end at 9" in prepared.notes
        assert f"{tmp_path}/300VW/001/annot/000009.pts: a label without a frame" in prepared.notes
        assert any("002/vid.avi: the video is missing" in note for note in prepared.notes)


class TestOut:
    def test_only_photos_are_copied(self, tmp_path: Path) -> None:
        root = tmp_path / "table"
        root.mkdir()
        (tmp_path / "secret").write_text("a key")
        (root / "faces.csv").write_text("image,left,top,right,bottom,x0,y0\n../secret,1,2,30,40,5,6\n")
        with pytest.raises(InputError, match=r"table/\.\./secret: .*not"):
            run("csv", root, tmp_path / "out", Way(copy=True))
        assert not (tmp_path / "out").exists()

    def test_copies(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all", ["afw/1.jpg", "ibug/1.jpg"])
        placed = {"afw": make.pixels_of("ibug68", 0), "ibug": make.pixels_of("ibug68", 1)}
        prepared, _ = run("300w", tmp_path / "all", tmp_path / "out", Way(boxes="landmarks", copy=True))
        (tmp_path / "all").rename(tmp_path / "gone")
        (tmp_path / "out").rename(tmp_path / "moved")
        samples = list(Index.read(tmp_path / "moved" / "index.tsv"))
        on_dots(samples, placed, lambda s: s.subset)
        assert samples[0].image_path == tmp_path / "moved/photos/afw/train/1.jpg"
        assert prepared.boxes == {"landmarks": 2}

    def test_equal_names_do_not_meet(self, tmp_path: Path) -> None:
        for folder in ("a", "b"):
            make.write_pair(tmp_path / "mine" / folder / "face.jpg", 1)
        _, samples = run("folder", tmp_path / "mine", tmp_path / "out", Way(boxes="landmarks", copy=True))
        assert [s.image_path.name for s in samples] == ["face.jpg", "face_2.jpg"]

    def test_an_empty_folder_is_used_and_a_full_one_is_not(self, tmp_path: Path) -> None:
        make.make_300w(tmp_path / "all")
        (tmp_path / "out").mkdir()
        run("300w", tmp_path / "all", tmp_path / "out")
        before = (tmp_path / "out/index.tsv").read_bytes()
        with pytest.raises(InputError, match=r"out: is there already: give --out a new folder"):
            run("300w", tmp_path / "all", tmp_path / "out")
        assert (tmp_path / "out/index.tsv").read_bytes() == before

    def test_twice_the_same(self, tmp_path: Path) -> None:
        make.make_wflw(tmp_path / "WFLW")
        for out in ("one", "two"):
            run("wflw", tmp_path / "WFLW", tmp_path / out, Way())
        assert (tmp_path / "one/index.tsv").read_bytes() == (tmp_path / "two/index.tsv").read_bytes()
