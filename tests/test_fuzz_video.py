"""Clips by the hundred: damaged at random places, cut off, of odd names and contents."""

from __future__ import annotations

import csv
import os
import resource
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from clips import HEIGHT, WIDTH, dots, picture, write_clip
from fanlight.cli.clip import ClipOptions, predict_clip
from fanlight.clips.video import Clip
from fanlight.errors import InputError
from fanlight.predict import Predictor
from fuzzing import REMEDY, Tally, damaged, few_or_many

COUNT = 16
SUFFIXES = (".webm", ".avi", ".mp4")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A face that moves to the right, as a file of each kind."""
    pytest.importorskip("av", reason="PyAV, of the extra video, is not installed")
    folder = tmp_path_factory.mktemp("clips")
    images = [picture((60 + 4 * number, 100)) for number in range(COUNT)]
    return {suffix: write_clip(folder / f"clip{suffix}", images).read_bytes() for suffix in SUFFIXES}


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dots(tmp_path_factory.mktemp("network"))


def spoilt(data: bytes, rng: np.random.Generator) -> bytes:
    """Damage once, or a few times over."""
    for _ in range(int(rng.integers(1, 4))):
        data = damaged(data, rng)
    return data


@few_or_many(30, 900)
def test_damaged_clips(
    whole: dict[str, bytes],
    predictor: Predictor,
    tmp_path: Path,
    cases: int,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """What can be read comes in order, of one size; faces are where they were painted, or not found."""
    rng, tally = np.random.default_rng([13, cases]), Tally("clips")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    short = 0
    for case in range(cases):
        suffix = SUFFIXES[case % 3]
        path = tmp_path / f"clip{suffix}"
        path.write_bytes(spoilt(whole[suffix], rng))

        def read(path: Path = path) -> None:
            nonlocal short
            with Clip(path) as clip:
                frames = []
                for frame in clip:
                    frames.append(frame.time_s)
                    assert len(frames) < 20 * COUNT
                    assert frame.image.shape == (*clip.size[::-1], 3)
                    assert frame.image.dtype == np.uint8
                assert frames
                assert (np.diff(frames) > 0).all()
                assert np.isfinite(frames).all()
                short += clip.fault is not None
                assert clip.fault is None or (str(path) in clip.fault and "cut off" in clip.fault)

        def follow(path: Path = path) -> None:
            summary = predict_clip(predictor, path, tmp_path / "out", ClipOptions(overlay=False))
            with summary.table.open(newline="") as table:
                rows = list(csv.DictReader(table))
            assert all(np.isfinite(float(cell)) for row in rows for cell in row.values() if cell)
            assert summary.frames

        tally.take((case, suffix), str(path), follow if case % 4 == 0 else read)
    said = capfd.readouterr()
    print(tally, f"({short} read in part, with a message)")
    assert "Traceback" not in said.err
    assert min(tally.right, tally.told) > cases / 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB


def test_the_sizes_of_frames_are_brought_to_that_of_the_first(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    data, start, number = bytearray(whole[".avi"]), 0, 0
    while (start := data.find(b"00dc", start)) >= 0:
        (length,) = struct.unpack_from("<I", data, start + 4)
        if data[start + 8 : start + 10] == b"\xff\xd8":
            if number >= COUNT // 2:
                half = cv2.resize(picture((60 + 4 * number, 100)), (WIDTH // 2, HEIGHT // 2))[..., ::-1]
                frame = cv2.imencode(".jpg", half, [cv2.IMWRITE_JPEG_QUALITY, 30])[1].tobytes()
                assert len(frame) <= length
                data[start + 8 : start + 8 + length] = frame.ljust(length, b"\0")
            number += 1
        start += 8
    path = tmp_path / "half.avi"
    path.write_bytes(data)
    with Clip(path) as clip:
        frames = list(clip)
    assert len(frames) == COUNT
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        green = frame.image[..., 1].astype(float) - 40
        x = (np.arange(WIDTH) + 0.5) @ green.clip(0).sum(0) / green.clip(0).sum()
        assert abs(x - (60 + 4 * frame.number)) < 3, frame.number


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.avi\n",
        "\ufeff\n FFCONCAT version 1.0\nfile secret.avi\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.avi\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
        "<?xml version='1.0'?><MPD><Period/></MPD>",
    ],
)
def test_a_list_of_clips_opens_no_other_file(whole: dict[str, bytes], tmp_path: Path, text: str) -> None:
    (tmp_path / "secret.avi").write_bytes(whole[".avi"])
    path = tmp_path / "clip.mp4"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="a list of clips, not a clip") as caught:
        Clip(path)
    assert str(path) in str(caught.value)
    assert REMEDY.search(str(caught.value))


def test_odd_clips_by_the_command_which_is_killed_when_it_hangs(
    whole: dict[str, bytes], tmp_path: Path
) -> None:
    """A header of 65,535 x 65,535 px, one of 0 frames per second, pipes, devices, odd names: all are told."""
    rng = np.random.default_rng(14)
    avi = bytearray(whole[".avi"])
    at = avi.index(b"strf") + 8  # a BITMAPINFOHEADER
    avi[at + 4 : at + 12] = struct.pack("<ii", 65_535, 65_535)
    main = avi.index(b"avih") + 8
    avi[main + 32 : main + 40] = struct.pack("<ii", 65_535, 65_535)
    names = {
        "huge.avi": bytes(avi),
        "-dash\n<b>.avi": whole[".avi"][:300],
        "noise.mp4": rng.bytes(5000),
        "none.mp4": b"",
    }
    still = bytearray(whole[".avi"])
    rate = still.index(b"strh") + 8 + 20
    still[rate : rate + 8] = bytes(8)
    names["still.avi"] = bytes(still)
    for name, data in names.items():
        (tmp_path / name).write_bytes(data)
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / b"\xff\xfe.mp4".decode(errors="surrogateescape")).write_bytes(whole[".mp4"])
    inputs = [f"./{name}" for name in sorted(os.listdir(tmp_path))]
    command = [sys.executable, "-m", "fanlight", "predict", *inputs]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, timeout=100, stdin=subprocess.DEVNULL, check=False
    )
    said = (done.stdout + done.stderr).decode(errors="backslashreplace")
    assert done.returncode == 2, said
    assert "Traceback" not in said
    for name in ("noise.mp4", "none.mp4", "pipe.mp4", "zero.mp4"):
        assert f"{name}: " in said
    assert f"in {COUNT} frames" in said  # of the one that is whole


def test_the_rate_of_frames_is_that_of_the_times(whole: dict[str, bytes], tmp_path: Path) -> None:
    """A rate of nothing, or of a thousand, is that of no clip."""
    rate = whole[".avi"].index(b"strh") + 8 + 20
    for scale, number in ((0, 0), (1, 0), (0, 1), (1, 2**31), (2**31, 1), (2**32 - 1, 2**32 - 1)):
        path = tmp_path / "rate.avi"
        path.write_bytes(whole[".avi"][:rate] + struct.pack("<II", scale, number) + whole[".avi"][rate + 8 :])
        with Clip(path) as clip:
            assert 0 < clip.fps <= 240
            times = [frame.time_s for frame in clip]
        assert len(times) == COUNT
        assert (np.diff(times) > 0).all()
        assert times[0] == 0
