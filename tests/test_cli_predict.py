"""``fanlight predict`` as a user types it: photos, folders, a clip; all kinds of boxes; every way to be wrong."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import fanlight as package
from fanlight import models
from fanlight.checkpoint import save_checkpoint
from fanlight.cli import main
from fanlight.data.index import Index
from fanlight.data.pts import read_pts
from fanlight.geometry import CropRule
from fanlight.image import read_image, write_image
from fanlight.predict import Predictor
from painted import PLACES, dot_predictor, find_dots, make_faces, paint, untrained

Result = tuple[int, str, str]
Run = Callable[..., Result]
DOTS = "painted:find_dots"  # the detector


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command in this process, in a folder of its own; gives exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fanlight", "predict", *map(str, words)])
        try:
            main()
            code: str | int | None = 0
        except SystemExit as left:
            code = left.code
        printed = capfd.readouterr()
        return int(code or 0), printed.out, printed.err

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    checkpoint = replace(untrained(tmp_path), crops={"wide": CropRule(3.0)})
    return save_checkpoint(tmp_path / "model.ckpt", checkpoint)


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return package.load(model, "cpu", find_dots)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """``photos`` with two faces, one a folder deeper, and one photo without a face; boxes beside it."""
    folder = tmp_path / "photos"
    samples = make_faces(folder, 2)
    (folder / "deep").mkdir()
    for sample, name in zip(samples, ("anna.png", "deep/bert.png"), strict=True):
        sample.image_path.rename(folder / name)
    write_image(folder / "empty.png", np.zeros((50, 60, 3), np.uint8))
    rows = [
        f"photos/{n},{','.join(map(str, s.face_box))}"
        for n, s in zip(("anna.png", "deep/bert.png"), samples, strict=True)
    ]
    (tmp_path / "boxes.csv").write_text(
        "\n".join(["image,left,top,right,bottom", *rows, "photos/empty.png,,,,"])
    )
    return folder


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


# ------------------------------------------------------------------ photos


def test_a_folder_with_a_detector(
    tmp_path: Path, predict: Run, model: Path, photos: Path, predictor: Predictor
) -> None:
    code, out, err = predict(photos, "--model", model, "--detector", DOTS)
    assert code == 0
    assert "2 faces in 3 photos: pts, overlays in predictions" in out
    assert "no face was found in 1 of 3 photos" in err
    assert files(tmp_path / "predictions") == {
        "anna.pts", "anna_overlay.png", "deep/bert.pts", "deep/bert_overlay.png",
    }  # fmt: skip
    (face,) = predictor.predict(photos / "deep/bert.png")
    np.testing.assert_allclose(read_pts("predictions/deep/bert.pts"), face.landmarks, atol=6e-4)  # 3 decimals
    overlay, photo = read_image("predictions/anna_overlay.png"), read_image(photos / "anna.png")
    assert overlay.shape[0] % photo.shape[0] == 0
    assert np.abs(overlay.astype(int) - cv2.resize(photo, overlay.shape[1::-1])).max() > 100


def test_tables_say_which_photo_has_no_face(
    tmp_path: Path, predict: Run, model: Path, photos: Path, predictor: Predictor
) -> None:
    code, out, _ = predict(
        photos, "--model", model, "--detector", DOTS, "--format", "csv,json", "--no-overlay",
        "--out", "tables", "--flip",
    )  # fmt: skip
    assert code == 0
    assert "2 faces in 3 photos: csv, json in tables" in out
    assert files(tmp_path / "tables") == {"landmarks.csv", "landmarks.json"}
    rows, data = (
        rows_of(tmp_path / "tables/landmarks.csv"),
        json.loads(Path("tables/landmarks.json").read_text()),
    )
    assert [(Path(row["image"]).name, row["face"]) for row in rows] == [
        ("anna.png", "1"), ("empty.png", "0"), ("bert.png", "1"),
    ]  # fmt: skip
    (face,) = predictor.predict(photos / "anna.png", flip=True)
    assert float(rows[0]["x3"]) == pytest.approx(face.landmarks[3, 0], abs=6e-4)
    assert data["annotations"][0]["keypoints"][9] == pytest.approx(face.landmarks[3, 0] - 0.5, abs=6e-4)
    assert len(data["images"]) == 3
    assert len(data["annotations"]) == 2


def test_boxes_from_a_table(
    tmp_path: Path, predict: Run, model: Path, photos: Path, predictor: Predictor
) -> None:
    """Also from the table of an earlier call, where a photo has no face."""
    given = ["--model", model, "--no-overlay", "--format", "pts,csv", "--boxes"]
    code, out, _ = predict(photos, *given, "boxes.csv")
    assert code == 0
    assert "2 faces in 3 photos" in out
    (box,) = [
        [float(v) for v in row.split(",")[1:]]
        for row in Path("boxes.csv").read_text().split()
        if "anna" in row
    ]
    (face,) = predictor.predict(photos / "anna.png", box)
    np.testing.assert_allclose(read_pts("predictions/anna.pts"), face.landmarks, atol=6e-4)
    code, _, _ = predict(photos, *given, "predictions/landmarks.csv", "--out", "again")
    assert code == 0
    assert files(tmp_path / "again") == files(tmp_path / "predictions")
    np.testing.assert_allclose(read_pts("again/anna.pts"), read_pts("predictions/anna.pts"), atol=0.01)


def test_boxes_from_a_spreadsheet(tmp_path: Path, predict: Run, model: Path, photos: Path) -> None:
    """Of a country that writes 1,5 and so separates by semicolons."""
    words = (photos, "--model", model, "--no-overlay", "--boxes")
    assert predict(*words, "boxes.csv")[0] == 0
    text = Path("boxes.csv").read_text().replace(",", ";").replace(".", ",").replace(",png", ".png")
    Path("sheet.csv").write_text("\ufeff" + text, encoding="utf-8")
    assert predict(*words, "sheet.csv", "--out", "again")[0] == 0
    assert Path("again/anna.pts").read_text() == Path("predictions/anna.pts").read_text()


def test_a_photo_whose_name_is_not_utf8(predict: Run, model: Path, photos: Path) -> None:
    """Also in the table that is read again."""
    name = os.fsdecode(b"zo\xeb.png")
    try:
        (photos / "anna.png").rename(photos / name)
    except OSError:
        pytest.skip("this system's names of files are UTF-8")
    words = (photos, "--model", model, "--format", "pts,csv,json")
    assert predict(*words, "--detector", DOTS)[0] == 0
    code, out, _ = predict(*words, "--boxes", "predictions/landmarks.csv", "--out", "again")
    assert code == 0
    assert "2 faces in 3 photos" in out
    assert files(Path("again")) == files(Path("predictions"))


def test_results_are_those_of_the_last_call(tmp_path: Path, predict: Run, model: Path, photos: Path) -> None:
    words = (photos, "--model", model, "--detector", DOTS)
    assert predict(*words)[0] == 0
    write_image(photos / "anna.png", np.zeros((50, 60, 3), np.uint8))
    assert predict(*words)[0] == 0
    assert files(tmp_path / "predictions") == {"deep/bert.pts", "deep/bert_overlay.png"}


def test_boxes_from_an_index_and_of_whole_photos(tmp_path: Path, predict: Run, model: Path) -> None:
    samples = make_faces(tmp_path / "faces", 2)
    Index.write(tmp_path / "index.tsv", samples)
    for boxes in ("index.tsv", "whole"):
        code, _, _ = predict(samples[1].image_path, "--model", model, "--boxes", boxes, "--out", boxes[:5])
        assert code == 0
    predictor, photo = package.load(model, "cpu"), samples[1].image_path
    for folder, some in {"index": samples[1].face_box, "whole": "whole"}.items():
        (face,) = predictor.predict(photo, some)
        np.testing.assert_allclose(read_pts(f"{folder}/{photo.stem}.pts"), face.landmarks, atol=6e-4)


def test_several_faces_of_a_photo(tmp_path: Path, predict: Run, model: Path, photos: Path) -> None:
    """A photo called like another's second face keeps its own file."""
    (photos / "anna_2.png").write_bytes((photos / "anna.png").read_bytes())
    Path("two.csv").write_text(
        "image,left,top,right,bottom\n"
        "photos/anna.png,20,20,80,80\nphotos/anna.png,30,20,90,80\nphotos/anna_2.png,20,20,80,80\n"
    )
    code, out, _ = predict(photos / "anna.png", photos / "anna_2.png", "--model", model, "--boxes", "two.csv")
    assert code == 0
    assert "3 faces in 2 photos" in out
    assert {name for name in files(tmp_path / "predictions") if name.endswith(".pts")} == {
        "anna.pts", "anna_2.pts", "anna_2.png.pts",
    }  # fmt: skip


def test_boxes_of_a_known_detector_are_cropped_as_its(
    tmp_path: Path, predict: Run, model: Path, photos: Path, predictor: Predictor
) -> None:
    code, _, _ = predict(
        photos, "--model", model, "--boxes", "boxes.csv", "--detector", "wide", "--no-overlay"
    )
    assert code == 0
    box = [float(v) for v in Path("boxes.csv").read_text().splitlines()[1].split(",")[1:]]
    (wide,), (usual,) = (predictor.predict(photos / "anna.png", box, crop=crop) for crop in ("wide", None))
    np.testing.assert_allclose(read_pts("predictions/anna.pts"), wide.landmarks, atol=6e-4)
    assert np.abs(wide.landmarks - usual.landmarks).max() > 1
    code, _, err = predict(photos, "--model", model, "--boxes", "boxes.csv", "--detector", "narrow")
    assert code == 2
    assert "--detector narrow: the network has crop rules for: wide; leave --detector out" in err


@pytest.mark.parametrize("results", ["photos/found", "photos", "photos/deep", "."])
def test_overlays_are_not_taken_for_photos(
    results: str, tmp_path: Path, predict: Run, model: Path, photos: Path
) -> None:
    """Wherever results go; photos beside them are never lost."""
    words = ("--model", model, "--detector", DOTS, "--out", results)
    for _ in range(2):
        code, out, _ = predict(photos, *words)
        assert code == 0
        assert "2 faces in 3 photos" in out
    assert len([name for name in files(tmp_path) if name.endswith("_overlay.png")]) == 2


def test_overlays_alone_are_refused(predict: Run, model: Path, photos: Path) -> None:
    """Those of other calls too; a photo of that name elsewhere is a photo."""
    words = ("--model", model, "--detector", DOTS, "--out", "photos/found")
    assert predict(photos / "deep", *words)[0] == 0
    for name in ("anna.png", "empty.png", "deep/bert.png"):
        (photos / name).rename(photos / "found" / f"{Path(name).stem}_overlay.png")
    code, out, err = predict(photos, *words)
    assert (code, out) == (2, "")
    assert "an overlay that was written to photos/found: give the photos themselves" in err
    assert "2 faces in 3 photos" in predict(photos / "found", *words)[1]


def test_the_default_network_is_small(
    tmp_path: Path, predict: Run, model: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path / "weights")
    code, _, err = predict(photos)
    assert code == 2
    assert "small" in err
    (tmp_path / "weights").mkdir()
    model.rename(tmp_path / "weights" / "small.ckpt")
    assert predict(photos, "--detector", DOTS)[0] == 0


def test_an_unreadable_photo_does_not_stop_the_others(
    tmp_path: Path, predict: Run, model: Path, photos: Path
) -> None:
    (photos / "cut.png").write_bytes((photos / "anna.png").read_bytes()[:300])
    code, out, err = predict(photos, "--model", model, "--detector", DOTS, "--format", "pts,json")
    assert code == 2
    assert "2 faces in 3 photos" in out
    assert "could not be read, all others are done" in err
    assert "cut.png" in err
    assert (tmp_path / "predictions/deep/bert.pts").exists()
    assert len(json.loads(Path("predictions/landmarks.json").read_text())["images"]) == 3


def test_nothing_is_counted_when_no_photo_was_read(tmp_path: Path, predict: Run, model: Path) -> None:
    Path("text.jpg").write_text("no photo at all")
    code, out, err = predict("text.jpg", "--model", model, "--detector", DOTS, "--out", "new")
    assert (code, out) == (2, "")
    assert "text.jpg: not an image" in err
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------ clips


def film_dots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write ``clip.avi``, and let the command have a network that finds what is in it."""
    box = np.array([30.0, 15.0, 90.0, 75.0])
    film = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for frame in range(6):
        film.write(paint(box[:2] + PLACES * 60 + frame, 96, 128, 2.5)[..., ::-1])
    film.release()
    dots = dot_predictor(folder)
    dots.detector = lambda image: [box]
    monkeypatch.setattr("fanlight.predict.load", lambda *words: dots)


def test_a_clip_beside_photos(
    tmp_path: Path, predict: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that does find what is in the clip."""
    film_dots(tmp_path, monkeypatch)
    code, out, _ = predict(photos / "anna.png", "clip.avi", "--no-overlay", "--smooth", "--detect-every", "2")
    assert code == 0
    assert "1 face in 1 photo" in out
    assert files(tmp_path / "predictions") == {"anna.pts", "clip.csv"}
    rows = rows_of(tmp_path / "predictions/clip.csv")
    assert [row["frame"] for row in rows] == list("012345")
    assert {row["smoothed"] for row in rows} == {"1"}
    assert float(rows[0]["x2"]) == pytest.approx(60, abs=0.5)


def test_an_unreadable_clip_does_not_stop_the_others(
    tmp_path: Path, predict: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does an unreadable photo beside it; both are told at the end."""
    film_dots(tmp_path, monkeypatch)
    Path("junk.mp4").write_bytes(b"no clip at all" * 100)
    Path("text.jpg").write_text("no photo at all")
    code, out, err = predict("text.jpg", "junk.mp4", "clip.avi", "--no-overlay")
    assert code == 2
    assert "clip.avi: 1 face in 6 frames" in out
    assert files(tmp_path / "predictions") == {"clip.csv"}
    told = err[err.index("these could not be read, all others are done:") :].splitlines()
    assert [line.split(": ")[0] for line in told[1:]] == ["  - text.jpg", "  - junk.mp4"]


@pytest.mark.parametrize(
    ("words", "noted"),
    [
        (["clip.avi", "--format", "json"], True),
        (["clip.avi", "photos/anna.png", "--format", "csv,pts"], True),
        (["clip.avi", "--format", "csv"], False),
        (["clip.avi"], False),
        (["photos/anna.png", "--format", "json"], False),
    ],
)
def test_a_format_that_clips_do_not_have_is_noted(
    words: list[str], noted: bool, tmp_path: Path, predict: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film_dots(tmp_path, monkeypatch)
    code, _, err = predict(*words, "--no-overlay")
    assert code == 0
    assert ("videos are written as CSV; --format is for photos\n" in err) is noted


# ------------------------------------------------------------------ wrong calls


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--camera 0"),
        (["none.jpg", "gone.jpg"], "gone.jpg: no such file or folder"),
        (["model.ckpt", "photos"], "fanlight predict PHOTO... --model model.ckpt"),
        (["photos", "--format", "xml"], "pts, csv, json"),
        (["photos", "--format", ","], "pts, csv, json"),
        (["photos", "--model", "none.ckpt"], "none.ckpt"),
        (["photos", "--model", "boxes.csv"], "boxes.csv"),
        (["photos", "--device", "cuda:99"], "cuda:99"),
        (["photos", "--detector", "nobody"], "nobody"),
        (["photos", "--boxes", "none.csv"], "--boxes none.csv: no such file; give"),
        (["photos", "--boxes", "none.tsv"], "--boxes none.tsv: no such file; give"),
        (["photos", "--boxes", "photos"], "photos: cannot read the boxes: Is a directory\n"),
        (["photos", "--boxes", "hole"], "or whole to take each photo as one face"),
        (["photos", "--boxes", "bad.csv"], "line 3: right is 'x': expected a number"),
        (["photos", "--boxes", "bad.csv"], "line 4: face box"),
        (["photos", "--boxes", "bad.csv"], "line 5: image is empty"),
        (["photos", "--boxes", "bad.csv"], "line 6: bottom is missing"),
        (["photos", "--boxes", "few.csv"], "photos/deep/bert.png"),
        (["photos", "--boxes", "other.csv"], "it has "),
        (["photos", "--boxes", "columns.csv"], "image,left,top,right,bottom, found photo,left"),
        (["clip.mp4", "--boxes", "whole"], "for photos only"),
        (["photos", "--out", "boxes.csv/x"], "cannot be written"),
        (["void"], "void: holds no photos"),
        (["photos", "--detect-every", "0"], "detect-every"),
    ],
)  # fmt: skip
def test_wrong_use_is_a_message_and_exit_code_2(
    words: list[str], told: str, tmp_path: Path, predict: Run, model: Path, photos: Path
) -> None:
    (tmp_path / "void").mkdir()
    Path("clip.mp4").touch()
    head = "image,left,top,right,bottom\n"
    Path("bad.csv").write_text(
        head + "photos/anna.png,1,2,3,4\nphotos/anna.png,1,2,x,4\nphotos/anna.png,9,2,3,4\n"
        ",1,2,3,4\nphotos/anna.png,1,2,3\n"
    )
    Path("few.csv").write_text(head + "photos/anna.png,1,2,3,4\n")
    Path("other.csv").write_text(head + "elsewhere/bert.png,1,2,3,4\n")
    Path("columns.csv").write_text("photo,left\na,b\n")
    before = files(tmp_path)
    choice = [] if "--detector" in words or "--boxes" in words else ["--detector", DOTS]
    code, _, err = predict(*words, *([] if "--model" in words else ["--model", model]), *choice)
    assert code == 2
    assert told in err
    assert "Traceback" not in err
    assert files(tmp_path) == before
