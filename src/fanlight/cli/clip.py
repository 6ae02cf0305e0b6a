"""What ``fanlight predict`` does with clips and cameras."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fanlight.cli.console import err, out, progress_bar, warn
from fanlight.clips.smooth import Jitter, Lag, OneEuro
from fanlight.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fanlight.clips.track import Tracked
    from fanlight.clips.video import Clip, Frame
    from fanlight.predict import Predictor


@dataclass(frozen=True)
class ClipOptions:
    """What to do with a clip.

    Attributes:
        smooth: smooth the landmarks over time.
        detect_every: the detector looks at one in so many frames, and whenever a face is lost.
        max_faces: follow no more faces than this; any number when None.
        flip: average with the prediction for the mirrored faces.
        overlay: write a video with the landmarks drawn in.
        suffix: kind of that video; ``.mp4`` where it can be written, else ``.webm``, when None.
    """

    smooth: bool = False
    detect_every: int = 10
    max_faces: int | None = None
    flip: bool = False
    overlay: bool = True
    suffix: Literal[".mp4", ".webm"] | None = None


@dataclass
class ClipSummary:
    """What came of a clip.

    Attributes:
        table: the CSV that was written, see ``fanlight.clips.results.TrackFile``.
        video: the video that was written, if any.
        frames: how many were read.
        seconds: time of the last one since the first.
        ids: of the faces that were seen.
        fault: why the clip ended early, if it did.
        jitter: of the landmarks as measured.
        jitter_smoothed: of the smoothed landmarks.
        lag: of the smoothed landmarks.
    """

    table: Path
    video: Path | None = None
    frames: int = 0
    seconds: float = 0.0
    ids: set[int] = field(default_factory=set)
    fault: str | None = None
    jitter: Jitter = field(default_factory=Jitter)
    jitter_smoothed: Jitter = field(default_factory=Jitter)
    lag: Lag = field(default_factory=Lag)

    def add(self, frame: Frame, faces: list[Tracked], smooth: bool) -> None:
        """Count in a frame."""
        self.frames, self.seconds = frame.number + 1, frame.time_s
        for tracked in faces:
            self.ids.add(tracked.id)
            at = (tracked.id, frame.number, frame.time_s)
            self.jitter.add(*at, tracked.measured)
            if smooth:
                self.jitter_smoothed.add(*at, tracked.face.landmarks)
                self.lag.add(*at, tracked.measured, tracked.face.landmarks)


def predict_clips(
    predictor: Predictor, clips: Mapping[str, Path | int], folder: Path, options: ClipOptions
) -> list[str]:
    """Do as ``predict_clip`` for each clip; one that cannot be read does not stop the others.

    Args:
        predictor: network and detector.
        clips: files and cameras' numbers by the names of their results.
        folder: where the results go; made if need be.
        options: what to do.

    Returns:
        What is wrong with the clips that could not be read.

    Raises:
        InputError: the detector cannot be used, or a result cannot be written. KeyboardInterrupt: see there.
    """
    from fanlight.clips.video import Clip

    unread = []
    for name, source in clips.items():
        try:
            clip = Clip(source)
        except InputError as error:
            unread.append(str(error))
            continue
        with clip:
            _predict_opened(predictor, clip, folder, options, name)
    return unread


def predict_clip(
    predictor: Predictor,
    source: Path | int,
    folder: Path,
    options: ClipOptions | None = None,
    name: str | None = None,
) -> ClipSummary:
    """Follow the faces of a clip and write NAME.csv and, with the landmarks drawn in, NAME_overlay.mp4 (or
    .webm).

    Ctrl-C ends a camera's clip; that of a file it breaks off, and what was done until then is kept.

    Args:
        predictor: network and detector.
        source: the file, or a camera's number.
        folder: where the results go; made if need be.
        options: what to do.
        name: NAME; the file's stem, or ``camera0`` and so on, when None.

    Raises:
        InputError: nothing can be read from the source, the detector cannot be used, or a result cannot be
        written. KeyboardInterrupt: as pressed while a file was read, once the results are whole.
    """
    from fanlight.clips.video import Clip

    name = name or (f"camera{source}" if isinstance(source, int) else source.stem)
    with Clip(source) as clip:
        return _predict_opened(predictor, clip, folder, options or ClipOptions(), name)


def _predict_opened(
    predictor: Predictor, clip: Clip, folder: Path, options: ClipOptions, name: str
) -> ClipSummary:
    """What ``predict_clip`` does once the clip is open."""
    from fanlight.clips.results import TrackFile, draw_tracked
    from fanlight.clips.track import TrackOptions, track_clip
    from fanlight.clips.writer import ClipWriter, has_h264

    tracking = TrackOptions(
        detect_every=options.detect_every,
        max_faces=options.max_faces,
        flip=options.flip,
        smooth=OneEuro() if options.smooth else None,
    )
    summary = ClipSummary(folder / f"{name}.csv")
    with ExitStack() as files:
        results = track_clip(predictor, clip, tracking)
        first = next(results)  # what cannot be used shows before anything is written
        _make(summary.table.parent)
        table = files.enter_context(TrackFile(summary.table, predictor.markup, options.smooth))
        writer = None
        if options.overlay:
            summary.video = folder / f"{name}_overlay{options.suffix or ('.mp4' if has_h264() else '.webm')}"
            writer = files.enter_context(ClipWriter(summary.video, clip.size, clip.fps))
        interrupted = False
        try:
            for frame, faces in _shown(chain([first], results), clip):
                table.add(frame, faces)
                if writer:
                    writer.write(draw_tracked(frame.image, faces, predictor.markup), frame.time_s)
                summary.add(frame, faces, options.smooth)
        except KeyboardInterrupt:
            interrupted = True
        summary.fault = clip.fault
    _report(summary, clip)
    if interrupted and not clip.is_camera:
        raise KeyboardInterrupt
    return summary


def _shown(
    results: Iterator[tuple[Frame, list[Tracked]]], clip: Clip
) -> Iterator[tuple[Frame, list[Tracked]]]:
    """The same, with a progress bar."""
    if clip.is_camera:
        err.print(f"{clip.name}: Ctrl-C ends it; fanlight serve shows a camera live")
    with progress_bar(f"predicting {clip.name}", clip.count) as bar:
        for result in results:
            yield result
            bar.advance()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be used for the results: {error.strerror}; choose another folder"
        ) from None


def _report(summary: ClipSummary, clip: Clip) -> None:
    if summary.fault:
        warn(summary.fault)
    files = " and ".join(str(path) for path in (summary.table, summary.video) if path)
    faces = f"{len(summary.ids)} face{'s' * (len(summary.ids) != 1)}"
    out.print(f"{clip.name}: {faces} in {summary.frames} frames ({summary.seconds:.2f} s): {files}")
    if not summary.ids:
        warn("no face was found: is one upright, and at least 40 pixels wide?")
    before, after = summary.jitter.percent, summary.jitter_smoothed.percent
    if before is not None:
        text = f"jitter: {before:.2f} % of the face's size"
        if after is not None:
            lag = summary.lag.frames
            behind = "" if lag is None else f", {lag:.1f} frames behind"
            text += f" as measured, {after:.2f} % smoothed{behind}"
        out.print(text)
