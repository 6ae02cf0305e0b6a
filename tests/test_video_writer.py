"""Writing clips, read back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from clips import FPS, HEIGHT, WIDTH, picture
from fanlight.clips.video import Clip
from fanlight.clips.writer import ClipWriter, has_h264
from fanlight.errors import InputError

KINDS = [".webm", pytest.param(".mp4", marks=pytest.mark.skipif(not has_h264(), reason="no PyAV"))]


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with Clip(path) as clip:
        frames = list(clip)
    assert clip.fault is None
    return np.stack([frame.image for frame in frames]), np.array([frame.time_s for frame in frames])


@pytest.mark.parametrize("suffix", KINDS)
def test_a_clip_comes_back_as_it_was(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    images = np.stack([picture((100 + 3 * number, 100)) for number in range(12)])
    with ClipWriter(tmp_path / f"clip{suffix}", (WIDTH, HEIGHT), FPS) as writer:
        for number, image in enumerate(images):
            writer.write(image, number / FPS)
    back, times = read(tmp_path / f"clip{suffix}")
    np.testing.assert_allclose(times, np.arange(12) / FPS, atol=2e-3)
    assert np.abs(back.astype(float) - images).mean() < 3
    assert [path.name for path in tmp_path.iterdir()] == [f"clip{suffix}"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", KINDS)
def test_an_odd_size_grows_by_a_pixel(tmp_path: Path, suffix: str) -> None:
    image = picture((100, 100))[:201, :301]
    with ClipWriter(tmp_path / f"clip{suffix}", (301, 201), FPS) as writer:
        for number in range(3):
            writer.write(image, number / FPS)
        writer.write(image[:100, :150], 3 / FPS)  # a stream may change its size
    back, _ = read(tmp_path / f"clip{suffix}")
    assert back.shape == (4, 202, 302, 3)
    assert np.abs(back[0, :201, :301].astype(float) - image).mean() < 3


def test_vp8_keeps_time_at_a_constant_rate(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.2, 0.21, 0.22, 0.4, 100.0, 100.04]  # a gap, a burst, and a long stop
    with ClipWriter(tmp_path / "clip.webm", (WIDTH, HEIGHT), 25.0) as writer:
        for number, moment in enumerate(times):
            writer.write(picture((60 + 20 * number, 100)), moment)
    back, _ = read(tmp_path / "clip.webm")
    shown = [round((np.argmax(image[103, :, 1]) - 60) / 20) for image in back]
    assert shown[:2] == [0, 1]
    assert shown[5] == 2  # at 0.2 s
    assert shown[10] == 5  # at 0.4 s
    assert shown[-1] == 7
    assert len(shown) == round((0.4 + 5.0 + 0.04) * 25) + 1  # the stop is written as five seconds


@pytest.mark.parametrize("suffix", KINDS)
def test_an_error_leaves_what_was_written(tmp_path: Path, suffix: str) -> None:
    def interrupted() -> None:
        with ClipWriter(tmp_path / f"a{suffix}", (WIDTH, HEIGHT), FPS) as writer:
            for number in range(5):
                writer.write(picture((100, 100)), number / FPS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(read(tmp_path / f"a{suffix}")[0]) == 5


def test_what_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"a\.avi: the name of a clip to write should end in \.mp4 or \.webm"
    ):
        ClipWriter(tmp_path / "a.avi", (WIDTH, HEIGHT), FPS)
    with pytest.raises(InputError, match=r"none/a\.webm: cannot write the clip: No such file"):
        ClipWriter(tmp_path / "none" / "a.webm", (WIDTH, HEIGHT), FPS)
    monkeypatch.setitem(sys.modules, "av", None)
    assert not has_h264()
    with pytest.raises(
        InputError, match=r"/a\.mp4: needs PyAV: pip install 'fanlight\[video\]', or choose \.webm"
    ):
        ClipWriter(tmp_path / "a.mp4", (WIDTH, HEIGHT), FPS)
    assert not list(tmp_path.iterdir())
