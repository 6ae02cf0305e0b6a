"""Reading clips: real files, whole and broken ones."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

import fanlight.clips.video
from clips import FPS, HEIGHT, WIDTH, find_dots, picture, rotate, write_clip
from fanlight.clips.video import SUFFIXES, Clip
from fanlight.errors import InputError


def moving(count: int = 30) -> list[np.ndarray]:
    return [picture((60 + 4 * number, 100)) for number in range(count)]


def message(source: Path | int) -> str:
    with pytest.raises(InputError) as caught:
        Clip(source)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".webm", ".avi", ".mp4"])
def test_frames_come_in_order_with_their_times_and_colours(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a clip{suffix}", moving())
    with Clip(path) as clip:
        assert (clip.size, clip.count, clip.is_camera) == ((WIDTH, HEIGHT), 30, False)
        assert clip.fps == pytest.approx(FPS)
        frames = list(clip)
    assert [frame.number for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(30) / FPS, atol=2e-3)
    assert clip.fault is None
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert frame.image.dtype == np.uint8
        (box,) = find_dots(frame.image)  # green stays green; red and blue, exchanged, would move landmarks
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, (60 + 4 * frame.number, 100), atol=0.6)
        x, y = 60 + 4 * frame.number - 0.18 * 60, 100 - 0.12 * 60  # an eye is red
        red, _, blue = frame.image[int(y), int(x)].tolist()
        assert red > 120 > blue


def test_a_variable_frame_rate_keeps_its_times(tmp_path: Path) -> None:
    times = np.cumsum([0.0, *np.random.default_rng(0).uniform(0.01, 0.2, 19)])
    path = write_clip(tmp_path / "phone.mp4", moving(20), times.tolist())
    with Clip(path) as clip:
        np.testing.assert_allclose([frame.time_s for frame in clip], times, atol=1e-3)
    assert clip.fault is None


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_clip_that_is_to_be_shown_turned_comes_upright(tmp_path: Path, degrees: int) -> None:
    stored = [np.ascontiguousarray(np.rot90(image, degrees // 90)) for image in moving(5)]
    path = rotate(write_clip(tmp_path / "stored.mp4", stored), degrees)
    with Clip(path) as clip:
        assert clip.size == (WIDTH, HEIGHT)
        for frame in clip:
            (box,) = find_dots(frame.image)
            np.testing.assert_allclose((box[:2] + box[2:]) / 2, (60 + 4 * frame.number, 100), atol=0.6)


@pytest.mark.parametrize("suffix", [".webm", ".avi"])
def test_a_clip_that_is_cut_off_gives_what_there_is_and_says_where_it_ends(
    tmp_path: Path, suffix: str
) -> None:
    whole = write_clip(tmp_path / f"whole{suffix}", moving()).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with Clip(path) as clip:
        frames = list(clip)
    assert 5 <= len(frames) <= 20
    assert clip.fault is not None
    assert f"after frame {len(frames) - 1} ({frames[-1].time_s:.2f} s) of about 30 frames" in clip.fault
    assert str(path) in clip.fault


def test_a_clip_that_is_damaged_in_the_middle_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", moving(60))
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 600] = np.random.default_rng(0).bytes(600)
    path.write_bytes(data)
    with Clip(path) as clip:
        times = [frame.time_s for frame in clip]
    assert 5 <= len(times) <= 60
    assert (np.diff(times) > 0).all()


def test_what_is_no_clip_is_named_with_what_to_do(tmp_path: Path) -> None:
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert message(empty) == f"{empty}: the file is empty: replace or remove it"
    garbage = tmp_path / "garbage.mp4"
    garbage.write_bytes(np.random.default_rng(0).bytes(5000))
    for part in (str(garbage), "no video in it", "damaged, cut off, or holds sound only", "ffmpeg -i"):
        assert part in message(garbage)
    cut = tmp_path / "cut.mp4"  # its index, which stands at the end, is gone
    cut.write_bytes(write_clip(tmp_path / "whole.mp4", moving()).read_bytes()[:2000])
    assert "cut off" in message(cut)
    assert message(tmp_path / "none.mp4") == f"{tmp_path / 'none.mp4'}: no such clip"
    assert "not a file" in message(tmp_path)
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)
    assert "not a file" in message(pipe)


def test_a_clip_of_sound_alone_is_refused(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="PyAV, of the extra video, is not installed")
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.rate = 44100
        for packet in [*stream.encode(frame), *stream.encode()]:
            container.mux(packet)
    assert "holds sound only" in message(path)


def test_a_clip_without_a_single_frame_is_refused(tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "whole.avi", moving(3)).read_bytes()
    path = tmp_path / "headers.avi"
    path.write_bytes(whole[: whole.index(b"movi") + 4])
    assert "not one whole frame" in message(path) or "no video in it" in message(path)


def test_frames_that_would_fill_the_memory_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.avi", moving(3))
    monkeypatch.setattr(fanlight.clips.video, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    assert (
        f"{path}: frames of {WIDTH} x {HEIGHT} pixels are too large (at most {WIDTH * HEIGHT - 1:,}"
        in message(path)
    )


def test_a_camera_that_is_not_there_is_named() -> None:
    assert "camera 97 cannot be opened: is it plugged in" in message(97)
    assert "camera -1 cannot be opened" in message(-1)


class Camera:
    """Stands in for OpenCV's capture of a camera that is unplugged after three pictures."""

    def __init__(self, *_: object) -> None:
        self.left, self.released = 3, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        time.sleep(0.002)
        return (True, picture((100, 100))[..., ::-1]) if self.left >= 0 else (False, None)

    def get(self, _: int) -> float:
        return -1.0

    def release(self) -> None:
        self.released = True


def test_a_camera_tells_the_time_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with Clip(0) as clip:
        assert (clip.name, clip.is_camera, clip.count, clip.fps) == ("camera 0", True, None, 25.0)
        times = [frame.time_s for frame in clip]
    assert len(times) == 3
    assert times[0] == 0
    assert (np.diff(times) > 0.0015).all()
    assert clip.fault is not None
    assert "camera 0: gave no more pictures after frame 2" in clip.fault
    assert clip._capture.released


def test_names_with_signs_that_mean_something_to_the_reader(tmp_path: Path) -> None:
    for name in ("a:b.avi", "take %03d.avi", "Ä ö.avi"):
        assert Clip(write_clip(tmp_path / name, moving(3))).size == (WIDTH, HEIGHT)


def test_endings_are_in_lower_case_and_of_clips() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)
    assert {".mp4", ".mov", ".webm", ".avi"} <= set(SUFFIXES)
    assert not {".jpg", ".png", ".bmp", ".tiff", ".webp"} & set(SUFFIXES)
