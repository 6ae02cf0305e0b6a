"""``fanlight predict``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from fanlight.cli.boxes import COLUMNS, boxes_of
from fanlight.cli.console import out, warn
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.markup import Markup
    from fanlight.predict import Face, Predictor
    from fanlight.results import Writer

FORMATS = ("pts", "csv", "json")
OVERLAY = "_overlay.png"
NETWORKS = (".ckpt", ".onnx", ".pt", ".pth")


@dataclass(frozen=True)
class PhotoOptions:
    """What to do with photos.

    Attributes:
        folder: where results go.
        boxes: ``whole``, a file with boxes, or None for the detector.
        crop: the detector whose boxes the file holds, if known.
        formats: of the results.
        overlay: write each photo with its landmarks drawn in.
        flip: average with the prediction for the mirrored faces.
    """

    folder: Path
    boxes: str | None
    crop: str | None
    formats: list[str]
    overlay: bool
    flip: bool


def predict(
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="[INPUT]...", help="Photos, folders of photos, videos.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|PATH", help="A network that fanlight models lists, .ckpt or .onnx.")
    ] = "small",
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")] = Path(
        "predictions"
    ),
    boxes: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|whole",
            help=f"Face boxes instead of a detector's: a CSV with the columns {','.join(COLUMNS)}, one face a "
            "line, or an index (TSV); whole takes each photo as one face.",
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The face detector; with --boxes, the one that these boxes are from."
        ),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="pts,csv,json",
            show_default="pts",
            help="What to write for photos: one or several.",
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay/--no-overlay", help="Write photos and videos with landmarks drawn in.")
    ] = True,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Average each prediction with that of the mirrored face.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    camera: Annotated[int | None, typer.Option(metavar="N", help="Follow faces in a camera, from 0.")] = None,
    smooth: Annotated[
        bool, typer.Option("--smooth/--no-smooth", help="Smooth the landmarks of videos over time.")
    ] = False,
    detect_every: Annotated[
        int, typer.Option(metavar="N", min=1, help="Detect faces in one of N frames; tracked in between.")
    ] = 10,
) -> None:
    """Find landmarks in photos and videos.

    Of a photo: NAME.pts (NAME_2.pts ... for more faces), NAME_overlay.png.

    Of all photos, with --format: landmarks.csv, landmarks.json.

    Of a video: NAME.csv, NAME_overlay.mp4 or .webm.
    """
    from fanlight.cli.clip import ClipOptions, predict_clips
    from fanlight.predict import load

    photos, clips = _sort_inputs(inputs or [], camera)
    kinds = ["pts"] if formats is None else _parse_formats(formats)
    options = PhotoOptions(folder, boxes, detector if boxes else None, kinds, overlay, flip)
    if clips and boxes:
        raise InputError(f"--boxes {boxes}: goes for photos only; a video's faces are found by the detector")
    if clips and formats is not None and set(kinds) != {"csv"}:
        warn("videos are written as CSV; --format is for photos")
    predictor = load(model, None if device == "auto" else device, None if boxes else detector)
    unread = _predict_photos(predictor, photos, options) if photos else []
    clip_options = ClipOptions(smooth=smooth, detect_every=detect_every, flip=flip, overlay=overlay)
    unread += predict_clips(predictor, _clip_names(clips), folder, clip_options)
    if unread:
        raise InputError.collect(unread, "these could not be read, all others are done:")


def _sort_inputs(inputs: list[Path], camera: int | None) -> tuple[list[Path], list[Path | int]]:
    """Tell videos from photos and folders.

    Raises:
        InputError: there are none, some do not exist, or a network is among them.
    """
    from fanlight.clips.video import SUFFIXES

    if not inputs and camera is None:
        raise InputError("give photos, folders of photos or videos, or a camera: --camera 0")
    problems = [f"{path}: no such file or folder" for path in inputs if not os.path.exists(path)]
    problems += [
        f"{path}: a network, not a photo; to predict with it: fanlight predict PHOTO... --model {path}"
        for path in inputs
        if path.suffix.lower() in NETWORKS
    ]
    if problems:
        raise InputError.collect(problems, "nothing has been predicted:")
    clips: list[Path | int] = [p for p in inputs if p.suffix.lower() in SUFFIXES and not os.path.isdir(p)]
    photos = [path for path in inputs if path not in clips]
    return photos, clips if camera is None else [*clips, camera]


def _parse_formats(text: str) -> list[str]:
    formats = [word.strip().lower() for word in text.split(",") if word.strip()]
    unknown = [word for word in formats if word not in FORMATS]
    if unknown or not formats:
        raise InputError(f"--format {text}: give one or several of {', '.join(FORMATS)}, with commas between")
    return formats


def _clip_names(clips: list[Path | int]) -> dict[str, Path | int]:
    """A name for the results of each clip."""
    from fanlight.results import result_names

    files = result_names(clip for clip in clips if isinstance(clip, Path))
    cameras = {f"camera{clip}": clip for clip in clips if isinstance(clip, int)}
    return {name: clip for clip, name in files.items()} | cameras


def _predict_photos(predictor: Predictor, inputs: list[Path], options: PhotoOptions) -> list[str]:
    """Write what is found in photos, and print a summary.

    Returns:
        What is wrong with the photos that could not be read.
    """
    from fanlight.photos import find_photos
    from fanlight.results import result_names

    known = predictor.usage.crops
    if options.crop is not None and options.crop not in known:
        rules = ", ".join(known) or "none"
        raise InputError(
            f"--detector {options.crop}: the network has crop rules for: {rules}; leave --detector out"
        )
    folders = [path for path in inputs if os.path.isdir(path)]
    photos = _without_overlays(find_photos(inputs), folders, options.folder)
    names = result_names(photos, folders)
    given = boxes_of(photos, Path(options.boxes)) if options.boxes not in (None, "whole") else options.boxes
    unread: list[str] = []
    found = predictor.predict_many(
        photos,
        given,  # type: ignore[arg-type]
        flip=options.flip,
        crop=options.crop,
        on_error=lambda _, error: unread.append(str(error)),
        progress=True,
    )
    counts = []
    with ExitStack() as files:
        writers = _writers(predictor, options, names, files)
        for path, faces in found:
            for writer in writers:
                writer.add(path, faces)
            counts.append(len(faces))
    if counts:
        _report(counts, options)
    return unread


def _without_overlays(photos: list[Path], folders: list[Path], results: Path) -> list[Path]:
    """Leave out what an earlier call wrote: overlays of these photos, and those in a folder within a searched one.

    Raises:
        InputError: nothing else is there.
    """
    from fanlight.results import result_names

    inside = results.resolve()
    searched = [folder.resolve() for folder in folders]
    nested = inside not in searched and any(inside.is_relative_to(folder) for folder in searched)
    written = {inside / f"{name}{OVERLAY}" for name in result_names(photos, folders).values()}

    def is_overlay(photo: Path) -> bool:
        place = photo.resolve()
        return place in written or (nested and place.name.endswith(OVERLAY) and place.is_relative_to(inside))

    left = [photo for photo in photos if not is_overlay(photo)]
    if photos and not left:
        raise InputError(f"{photos[0]}: an overlay that was written to {results}: give the photos themselves")
    return left


def _writers(
    predictor: Predictor, options: PhotoOptions, names: Mapping[Path, str], files: ExitStack
) -> list[Writer]:
    """What writes the results; files that hold those of all photos are opened."""
    from fanlight.results import CsvFile, JsonFile, PtsFolder

    folder, markup = options.folder, predictor.markup
    writers: list[Writer] = []
    if "pts" in options.formats:
        writers.append(PtsFolder(folder, names))
    if "csv" in options.formats:
        writers.append(files.enter_context(CsvFile(folder / "landmarks.csv", markup)))
    if "json" in options.formats:
        writers.append(files.enter_context(JsonFile(folder / "landmarks.json", markup, _network(predictor))))
    if options.overlay:
        writers.append(_Overlays(folder, names, markup))
    return writers


def _network(predictor: Predictor) -> list[dict[str, str]]:
    """Which network finds the landmarks, for a file that has room for it."""
    from fanlight.models import find
    from fanlight.provenance import file_digest

    try:
        return [{"name": predictor.usage.name, "sha256": file_digest(find(predictor.usage.name))}]
    except InputError:  # one that is in no file
        return [{"name": predictor.usage.name}]


class _Overlays:
    """Photos with their landmarks drawn in, as NAME_overlay.png."""

    def __init__(self, folder: Path, names: Mapping[Path, str], markup: Markup) -> None:
        self._folder, self._names, self._markup = folder, names, markup

    def add(self, photo: Path, faces: Sequence[Face]) -> None:
        """Draw the faces of a photo, if there are any."""
        from fanlight.draw import overlay
        from fanlight.image import read_image, write_image

        path = self._folder / f"{self._names[photo]}{OVERLAY}"
        if faces:
            landmarks = np.stack([face.landmarks for face in faces])
            write_image(path, overlay(read_image(photo), landmarks, self._markup))
        else:
            path.unlink(missing_ok=True)  # that of an earlier call


def _report(counts: list[int], options: PhotoOptions) -> None:
    """Say what was done: how many faces in how many photos, and where the results are."""
    kinds = [name for name in FORMATS if name in options.formats] + ["overlays"] * options.overlay
    where = f": {', '.join(kinds)} in {options.folder}" if sum(counts) or len(kinds) > 1 else ""
    out.print(f"{_many(sum(counts), 'face')} in {_many(len(counts), 'photo')}{where}")
    if none := counts.count(0):
        warn(
            f"no face was found in {none} of {_many(len(counts), 'photo')}; where there is one, give "
            "its box (--boxes FILE) or take the photo as one face (--boxes whole)"
        )


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"
