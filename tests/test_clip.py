"""What ``fanlight predict`` makes of clips: tables and videos, from real files."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from clips import FPS, HEIGHT, WIDTH, Way, dots, picture, pictures, rotate, truth, write_clip
from fanlight.cli.clip import ClipOptions, predict_clip
from fanlight.clips.track import track_clip
from fanlight.clips.video import Clip
from fanlight.draw import PREDICTED
from fanlight.errors import InputError
from fanlight.predict import Predictor

ONE: list[Way] = [lambda number: (60 + 3 * number, 100 + 0.5 * number)]
PLAIN = ClipOptions(suffix=".webm")


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots(tmp_path_factory.mktemp("dots"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "a walk.avi", pictures(ONE, 30))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points(row: dict[str, str]) -> np.ndarray:
    return np.array([[float(row[f"x{i}"]), float(row[f"y{i}"])] for i in range(5)])


def test_a_clip_becomes_a_table_and_a_video(
    predictor: Predictor, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = predict_clip(predictor, clip, tmp_path / "out", PLAIN)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a walk.csv", "a walk_overlay.webm"]
    rows = rows_of(tmp_path / "out" / "a walk.csv")
    assert [(int(row["frame"]), row["id"], row["smoothed"]) for row in rows] == [
        (i, "1", "0") for i in range(30)
    ]
    for number, row in enumerate(rows):
        assert float(row["time_s"]) == pytest.approx(number / FPS, abs=1e-3)
        assert np.abs(points(row) - truth((60 + 3 * number, 100 + 0.5 * number))).max() < 0.6
        box = [float(row[side]) for side in ("left", "top", "right", "bottom")]
        np.testing.assert_allclose(box, [*points(row).min(0), *points(row).max(0)], atol=1e-3)
        assert float(row["score"]) == pytest.approx(
            np.mean([float(row[f"score{i}"]) for i in range(5)]), abs=2e-3
        )
        assert float(row["score"]) > 0.6
    with Clip(tmp_path / "out" / "a walk_overlay.webm") as drawn:
        frames = list(drawn)
    assert len(frames) == 30
    for frame in frames[::7]:
        nose = truth((60 + 3 * frame.number, 100 + 0.5 * frame.number))[2].astype(int)
        gold = frame.image[nose[1] - 1 : nose[1] + 2, nose[0] - 1 : nose[0] + 2].mean((0, 1))
        assert np.abs(gold - PREDICTED).max() < 60
    assert (summary.frames, summary.ids, summary.fault) == (30, {1}, None)
    said = capsys.readouterr()
    assert f"{clip}: 1 face in 30 frames (1.16 s)" in said.out
    assert f"jitter: {summary.jitter.percent:.2f} % of the face's size\n" in said.out
    assert said.err == ""


def test_smoothing_is_said_in_the_table_and_in_figures(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shaky = np.random.default_rng(0).normal(0, 1.5, (40, 2))
    path = write_clip(tmp_path / "shaky.avi", [picture((100 + dx, 100 + dy)) for dx, dy in shaky])
    summary = predict_clip(predictor, path, tmp_path, ClipOptions(smooth=True, overlay=False))
    before, after = summary.jitter.percent, summary.jitter_smoothed.percent
    assert before is not None
    assert after is not None
    size = float(np.sqrt(np.ptp(truth((0, 0)), axis=0).prod()))
    assert before == pytest.approx(100 * 1.5 * np.sqrt(2) / size, rel=0.25)  # that of the shaking
    assert after < 0.7 * before
    assert {row["smoothed"] for row in rows_of(tmp_path / "shaky.csv")} == {"1"}
    assert (
        f"jitter: {before:.2f} % of the face's size as measured, {after:.2f} % smoothed"
        in capsys.readouterr().out
    )
    assert not (tmp_path / "shaky_overlay.webm").exists()


def test_frames_without_a_face_have_a_line_of_their_own(
    predictor: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_clip(tmp_path / "nobody.avi", [picture()] * 5)
    summary = predict_clip(predictor, path, tmp_path, PLAIN, name="empty street")
    rows = rows_of(tmp_path / "empty street.csv")
    assert [(row["frame"], row["id"], row["x0"]) for row in rows] == [(str(i), "0", "") for i in range(5)]
    assert summary.jitter.percent is None
    assert "no face was found" in capsys.readouterr().err


def test_landmarks_of_a_turned_clip_are_those_of_the_upright_picture(
    predictor: Predictor, tmp_path: Path
) -> None:
    stored = [np.ascontiguousarray(np.rot90(image)) for image in pictures(ONE, 8)]
    path = rotate(write_clip(tmp_path / "stored.mp4", stored), 90)
    summary = predict_clip(predictor, path, tmp_path / "out")
    for number, row in enumerate(rows_of(summary.table)):
        assert np.abs(points(row) - truth((60 + 3 * number, 100 + 0.5 * number))).max() < 0.8
    assert summary.video is not None
    with Clip(summary.video) as drawn:
        assert drawn.size == (WIDTH, HEIGHT)


def test_a_clip_that_breaks_off_keeps_what_was_read(
    predictor: Predictor, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.avi"
    path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    summary = predict_clip(predictor, path, tmp_path, PLAIN)
    rows = rows_of(tmp_path / "cut.csv")
    assert 5 < len(rows) == summary.frames < 25
    assert f"{path}: reading ended after frame {rows[-1]['frame']}" in capsys.readouterr().err


def test_nothing_is_written_of_what_cannot_be_used(predictor: Predictor, clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no clip at all" * 100)
    with pytest.raises(InputError, match=r"broken\.mp4: no video in it"):
        predict_clip(predictor, broken, tmp_path / "out", PLAIN)
    with pytest.raises(InputError, match="camera 97 cannot be opened"):
        predict_clip(predictor, 97, tmp_path / "out", PLAIN)
    careless = dots(tmp_path / "model")
    careless.detector = lambda image: [[1, 2, 3]]  # type: ignore[list-item,return-value]
    with pytest.raises(InputError, match="returned"):
        predict_clip(careless, clip, tmp_path / "out", PLAIN)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be used for the results"):
        predict_clip(predictor, clip, tmp_path / "file", PLAIN)


def test_a_long_clip_takes_no_more_memory_than_a_short_one(predictor: Predictor, tmp_path: Path) -> None:
    peaks = []
    for count in (40, 160):
        path = write_clip(
            tmp_path / f"{count}.avi", [picture((100 + i % 20, 100)) for i in range(40)] * (count // 40)
        )
        tracemalloc.start()
        assert sum(1 for _ in track_clip(predictor, path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 3 * WIDTH * HEIGHT * 3


PROGRAM = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from clips import dots, find_dots
from fanlight.cli.clip import ClipOptions, predict_clip
folder = Path(sys.argv[3])
predictor, calls = dots(folder / "model"), []
def waits(image):
    calls.append(1)
    if len(calls) == 8:
        (folder / "waits").touch()
        time.sleep(3600)
    return find_dots(image)
predictor.detector = waits
predict_clip(predictor, Path(sys.argv[2]), folder, ClipOptions(detect_every=1, suffix=".webm"))
"""


def test_ctrl_c_leaves_whole_files(clip: Path, tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", PROGRAM, str(Path(__file__).parent), str(clip), str(tmp_path)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "waits").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert "KeyboardInterrupt" in err
    rows = rows_of(tmp_path / "a walk.csv")
    assert [row["frame"] for row in rows] == [str(number) for number in range(7)]
    assert points(rows[-1]).shape == (5, 2)
    assert "1 face in 7 frames" in out
    with Clip(tmp_path / "a walk_overlay.webm") as drawn:
        assert len(list(drawn)) == 7
