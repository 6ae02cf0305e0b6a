"""Clips out: H.264 where PyAV is installed, VP8 by OpenCV alone; browsers play both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError

_LONGEST_STILL_S = 5.0  # VP8: a longer gap between two frames is written no longer than this


class ClipWriter:
    """Writes a clip: H.264 (``.mp4``) by PyAV, or VP8 (``.webm``) by OpenCV. Both play in browsers.

    The clip has no sound. It is written under a name of its own beside ``path``, which it gets when it is
    closed, so that ``path`` is always a whole clip. Closing after an error keeps what was written so far.

    Args:
        path: the file to write, ``.mp4`` or ``.webm``; an existing one is replaced. size: (width, height) in
        px; an odd side grows by one pixel, as both codecs want. fps: frames per second. H.264 keeps each
        frame's own time; VP8 has a constant rate, so frames are repeated
            or left out to stay in time.

    Raises:
        InputError: another ending, PyAV is missing, or the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], size: tuple[int, int], fps: float) -> None:
        self.path = Path(path)
        self._part = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self.size = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        kinds: dict[str, type[_H264] | type[_VP8]] = {".mp4": _H264, ".webm": _VP8}
        if self.path.suffix.lower() not in kinds:
            raise InputError(f"{self.path}: the name of a clip to write should end in .mp4 or .webm")
        try:
            self._part.touch()
        except OSError as error:
            raise InputError(f"{self.path}: cannot write the clip: {error.strerror}") from None
        try:
            self._file = kinds[self.path.suffix.lower()](str(self._part.absolute()), self.size, fps)
        except InputError as error:
            self._part.unlink()
            raise InputError(f"{self.path}: {error}") from None

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Add a frame, (H, W, 3) uint8 RGB; one of another size than the clip's is scaled to it."""
        width, height = self.size
        if width - 1 <= image.shape[1] <= width and height - 1 <= image.shape[0] <= height:
            short = (0, height - image.shape[0], 0, width - image.shape[1])
            image = cv2.copyMakeBorder(image, *short, cv2.BORDER_REPLICATE) if any(short) else image
        else:
            image = cv2.resize(image, self.size, interpolation=cv2.INTER_AREA)
        self._file.write(image, time_s)

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._part.exists():
            self._file.close()
            self._part.replace(self.path)

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def has_h264() -> bool:
    """Whether ``.mp4`` can be written here."""
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


class _H264:
    """An H.264 file by PyAV, each frame at its own time."""

    TICKS = 90_000  # a second, as MPEG counts

    def __init__(self, path: str, size: tuple[int, int], fps: float) -> None:
        from fractions import Fraction

        try:
            import av
        except ImportError:
            raise InputError("needs PyAV: pip install 'fanlight[video]', or choose .webm") from None
        self._av, self._base = av, Fraction(1, self.TICKS)
        self._container = av.open(path, "w")
        rate = Fraction(fps).limit_denominator(1001)
        options = {"preset": "veryfast", "crf": "20"}
        self._stream = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self._base
        self._last = -1

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        frame = self._av.VideoFrame.from_ndarray(image, format="rgb24")
        self._last = max(round(time_s * self.TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, self._base
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


class _VP8:
    """A VP8 file by OpenCV, at a constant rate."""

    def __init__(self, path: str, size: tuple[int, int], fps: float) -> None:
        self._fps, self._written, self._skipped_s, self._last = fps, 0, 0.0, 0.0
        with _silent_stderr():  # OpenCV says there that it does not know its own tag in a .webm
            self._writer = cv2.VideoWriter(path, cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"VP80"), fps, size)
        if not self._writer.isOpened():
            raise InputError("OpenCV cannot write VP8 here: pip install 'fanlight[video]', and choose .mp4")

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        self._skipped_s += max(0.0, time_s - self._last - _LONGEST_STILL_S)
        self._last = time_s
        pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        while self._written <= round((time_s - self._skipped_s) * self._fps):
            self._writer.write(pixels)
            self._written += 1

    def close(self) -> None:
        self._writer.release()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what C code writes to standard error to nowhere while the block runs."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
