"""Result files hold what was found, in the coordinates that they promise, whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fanlight
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.image import read_image, write_image
from fanlight.markup import Markup
from fanlight.predict import Face
from fanlight.results import CsvFile, JsonFile, result_names, write_csv, write_json, write_pts
from painted import markup

Found = list[tuple[Path, list[Face]]]


@pytest.fixture
def five(tmp_path: Path) -> Markup:
    return markup(tmp_path)


@pytest.fixture
def found(tmp_path: Path) -> Found:
    """Photos of 40 x 30 px with two faces, none, and one; numbers with a thousandth of a pixel."""
    numbers = np.random.default_rng(0)

    def face() -> Face:
        left, top = numbers.uniform(-5, 10, 2)
        box = np.array([left, top, left + 12.25, top + 16.5]).round(3)
        return Face(
            numbers.uniform(-3, 40, (5, 2)).round(3),
            numbers.uniform(0, 1, 5).round(3),
            np.zeros((5, 2, 2)),
            box,
            0.01,
        )

    photos = [tmp_path / name for name in ("anna.png", "leer.png", 'zoë, "2".png')]
    for photo in photos:
        write_image(photo, np.zeros((30, 40, 3), np.uint8))
    return [(photos[0], [face(), face()]), (photos[1], []), (photos[2], [face()])]


def faces_of(found: Found) -> list[tuple[Path, int, Face]]:
    return [(path, number, face) for path, faces in found for number, face in enumerate(faces, 1)]


def test_pts_count_from_one_at_pixel_centres(tmp_path: Path, found: Found) -> None:
    """The file's numbers are the continuous ones + 0.5; reading takes the half off again."""
    fanlight.write_pts(tmp_path / "out", found)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "anna.pts", "anna_2.pts", "zoë, \"2\".pts",
    }  # fmt: skip
    for path, number, face in faces_of(found):
        file = tmp_path / "out" / f"{path.stem}{'_2' if number == 2 else ''}.pts"
        np.testing.assert_allclose(read_pts(file), face.landmarks, atol=1e-9)
        first = file.read_text().splitlines()[3]
        assert [float(v) for v in first.split()] == pytest.approx(face.landmarks[0] + 0.5, abs=1e-9)


def test_csv_is_continuous_and_has_a_line_for_each_face(tmp_path: Path, found: Found, five: Markup) -> None:
    fanlight.write_csv(tmp_path / "faces.csv", found, five)
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["image"] for row in rows] == [str(found[i][0]) for i in (0, 0, 1, 2)]
    assert [row["face"] for row in rows] == ["1", "2", "0", "1"]
    assert set(list(rows[2].values())[2:]) == {""}
    for row, (_, _, face) in zip([rows[0], rows[1], rows[3]], faces_of(found), strict=True):
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        landmarks = [[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(5)]
        assert box == face.box.tolist()
        assert landmarks == face.landmarks.tolist()
        assert [float(row[f"score{i}"]) for i in range(5)] == face.scores.tolist()
        assert float(row["score"]) == pytest.approx(face.scores.mean(), abs=5e-4)
    assert list(rows[0])[:8] == ["image", "face", "left", "top", "right", "bottom", "score", "x0"]


@pytest.mark.parametrize("name", ["=1+1.png", "+a.png", "-a.png", "@sum.png"])
def test_no_name_is_a_formula_to_a_spreadsheet(
    tmp_path: Path, five: Markup, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_image(name, np.zeros((30, 40, 3), np.uint8))
    fanlight.write_csv("faces.csv", [(Path(name), [])], five)
    with open("faces.csv", newline="", encoding="utf-8") as lines:
        (row,) = csv.DictReader(lines)
    assert row["image"] == f"./{name}"
    assert read_image(row["image"]).shape == (30, 40, 3), "the same file"


def test_json_is_like_coco_in_index_coordinates(tmp_path: Path, found: Found, five: Markup) -> None:
    """Index coordinates are the continuous ones - 0.5, boxes are left, top, width, height, edges count from 1."""
    fanlight.write_json(tmp_path / "faces.json", found, five)
    data = json.loads((tmp_path / "faces.json").read_text(encoding="utf-8"))
    assert data["info"]["coordinates"].startswith("index: the centre of an image's first pixel is (0, 0)")
    assert [image["file_name"] for image in data["images"]] == [str(path) for path, _ in found]
    assert {(image["width"], image["height"]) for image in data["images"]} == {(40, 30)}
    (category,) = data["categories"]
    assert category["keypoints"] == list(five.points)
    files = {image["id"]: Path(image["file_name"]) for image in data["images"]}
    assert len({annotation["id"] for annotation in data["annotations"]}) == 3
    for annotation, (path, _, face) in zip(data["annotations"], faces_of(found), strict=True):
        assert files[annotation["image_id"]] == path
        assert annotation["category_id"] == category["id"]
        points = np.array(annotation["keypoints"]).reshape(5, 3)
        np.testing.assert_allclose(points[:, :2] + 0.5, face.landmarks, atol=1e-9)
        np.testing.assert_allclose(points[:, 2], face.scores, atol=1e-9)
        left, top, width, height = annotation["bbox"]
        np.testing.assert_allclose(
            [left + 0.5, top + 0.5, left + 0.5 + width, top + 0.5 + height], face.box, atol=2e-3
        )
        assert annotation["num_keypoints"] == 5
        assert annotation["score"] == pytest.approx(face.scores.mean(), abs=1e-4)


def test_the_skeleton_is_that_of_the_markup(tmp_path: Path) -> None:
    ibug68 = Markup.load("ibug68")
    write_json(tmp_path / "a.json", [], ibug68)
    data = json.loads((tmp_path / "a.json").read_text())
    (category,) = data["categories"]
    assert [[a - 1, b - 1] for a, b in category["skeleton"]] == [list(edge) for edge in ibug68.edges]
    assert category["keypoints"][30] == "nose_tip"
    assert data["images"] == data["annotations"] == []


# ------------------------------------------------------------------ whole or not at all


def breaking(found: Found) -> Iterator[tuple[Path, list[Face]]]:
    yield found[0]
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [write_csv, write_json])
def test_a_broken_off_file_is_not_there(tmp_path: Path, found: Found, five: Markup, write: object) -> None:
    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "faces", breaking(found), five)  # type: ignore[operator]
    assert set(tmp_path.iterdir()) == before
    (tmp_path / "faces").write_text("older")
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "faces", breaking(found), five)  # type: ignore[operator]
    assert (tmp_path / "faces").read_text() == "older"
    write(tmp_path / "faces", found, five)  # type: ignore[operator]
    assert "anna.png" in (tmp_path / "faces").read_text(encoding="utf-8")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "faces"}


def test_several_files_from_one_pass(tmp_path: Path, found: Found, five: Markup) -> None:
    once = iter(found)
    with CsvFile(tmp_path / "a.csv", five) as table, JsonFile(tmp_path / "deep/a.json", five) as file:
        for path, faces in once:
            table.add(path, faces)
            file.add(path, faces)
        assert not (tmp_path / "a.csv").exists()
    assert len((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()) == 5
    assert len(json.loads((tmp_path / "deep/a.json").read_text())["annotations"]) == 3
    assert not list(tmp_path.rglob(".fanlight*"))


def test_files_that_cannot_be_written(tmp_path: Path, found: Found, five: Markup) -> None:
    (tmp_path / "file").write_text("")
    for write in (
        lambda: write_csv(tmp_path / "file" / "a.csv", found, five),
        lambda: write_json(tmp_path / "file" / "a.json", found, five),
        lambda: write_pts(tmp_path / "file", found),
        lambda: write_csv(tmp_path, found, five),
    ):
        with pytest.raises(InputError, match="cannot be written"):
            write()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told(
    tmp_path: Path, found: Found, five: Markup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is written in the other's place is made to be one on a full disk."""
    import builtins

    real = builtins.open

    def on_full_disk(file: object, *words: object, **more: object) -> object:
        return real("/dev/full" if ".fanlight-" in str(file) else file, *words, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(builtins, "open", on_full_disk)
    with pytest.raises(InputError, match=r"a\.csv: cannot be written: No space left"):
        write_csv(tmp_path / "a.csv", found, five)
    assert not (tmp_path / "a.csv").exists()


def test_pts_of_two_photos_never_overwrite_each_other(tmp_path: Path, found: Found) -> None:
    (path, faces), *_ = found
    with pytest.raises(InputError, match=r"anna\.pts holds a face of another photo"):
        write_pts(tmp_path / "out", [(path, faces), (tmp_path / "b" / "anna.png", faces)])
    photos = [path, tmp_path / "b" / "anna.png"]
    write_pts(tmp_path / "named", [(photo, faces) for photo in photos], result_names(photos))
    assert len(list((tmp_path / "named").rglob("*.pts"))) == 4


def test_faces_of_an_earlier_call_do_not_stay(tmp_path: Path, found: Found) -> None:
    """But a file may be of another photo that is there."""
    (path, (first, second)), *_ = found
    out = tmp_path / "out"
    write_pts(out, [(path, [first, second, first])])
    write_pts(out, [(path, [second])])
    assert [file.name for file in out.iterdir()] == ["anna.pts"]
    np.testing.assert_allclose(read_pts(out / "anna.pts"), second.landmarks, atol=1e-9)
    write_pts(out, [(path, [first, second, first])])
    write_pts(out, [(path, [])])
    assert not list(out.iterdir())
    write_image(tmp_path / "anna_2.jpg", np.zeros((30, 40, 3), np.uint8))
    write_pts(out, [(tmp_path / "anna_2.jpg", [first])])
    write_pts(out, [(path, [second])])
    assert {file.name for file in out.iterdir()} == {"anna.pts", "anna_2.pts"}


def test_names_that_are_not_utf8(tmp_path: Path, found: Found, five: Markup) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/zo\xeb.png"))
    try:
        write_image(path, np.zeros((30, 40, 3), np.uint8))
    except InputError:
        pytest.skip("this system's names of files are UTF-8")
    results = [(path, found[0][1])]
    write_csv(tmp_path / "a.csv", results, five)
    write_json(tmp_path / "a.json", results, five)
    write_pts(tmp_path / "out", results)
    with open(tmp_path / "a.csv", encoding="utf-8", errors="surrogateescape", newline="") as lines:
        assert [Path(row["image"]) for row in csv.DictReader(lines)] == [path, path]
    (image,) = json.loads((tmp_path / "a.json").read_text())["images"]
    assert Path(image["file_name"]) == path
    assert len(list((tmp_path / "out").iterdir())) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a umask")
def test_results_may_be_read_by_whom_the_user_lets(tmp_path: Path, five: Markup) -> None:
    before = os.umask(0o027)
    try:
        write_csv(tmp_path / "a.csv", [], five)
    finally:
        os.umask(before)
    assert (tmp_path / "a.csv").stat().st_mode & 0o777 == 0o640


def test_the_size_of_a_turned_photo(tmp_path: Path, five: Markup) -> None:
    """As it is seen, like the coordinates."""
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png", exif=exif)
    write_json(tmp_path / "a.json", [(tmp_path / "a.png", [])], five)
    (image,) = json.loads((tmp_path / "a.json").read_text())["images"]
    assert (image["height"], image["width"]) == read_image(tmp_path / "a.png").shape[:2] == (40, 30)


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("photos", "folders", "names"),
    [
        (["p/a.jpg", "b.png"], [], ["a", "b"]),
        (["p/a.jpg", "p/a.png"], [], ["a.jpg", "a.png"]),
        (["p/a.jpg", "p/A.png"], [], ["a.jpg", "A.png"]),
        (["p/a.jpg", "q/a.jpg"], [], ["p/a", "q/a"]),
        (["p/a.jpg", "p/a_2.jpg", "p/a_1.jpg"], [], ["a", "a_2.jpg", "a_1"]),
        (["p/a.jpg", "p/a_12.jpg"], [], ["a", "a_12.jpg"]),
        (["p/a_2.jpg"], [], ["a_2"]),
        (["p/q/a.jpg", "p/a.jpg", "p/q/r/a.jpg"], ["p"], ["q/a", "a", "q/r/a"]),
        (["p/a.jpg", "q/a.jpg", "q/b.jpg"], ["p", "q"], ["p/a", "q/a", "b"]),
        (["p/a.jpg.png", "p/a.jpg", "p/a.png"], [], ["a.jpg.png", "p/a", "a.png"]),
    ],
)
def test_names_of_results(photos: list[str], folders: list[str], names: list[str]) -> None:
    paths = [Path(photo) for photo in photos]
    assert result_names(paths, [Path(folder) for folder in folders]) == dict(zip(paths, names, strict=True))


def test_photos_that_cannot_be_told_apart() -> None:
    with pytest.raises(InputError, match=r"q/a\.jpg: its results would share the name q/a"):
        result_names([Path("q/a.jpg"), Path("p/q/a.jpg")])
