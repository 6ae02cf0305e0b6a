"""``fanlight data prepare``: published archives become data sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanlight.cli.console import out, progress_bar

if TYPE_CHECKING:
    from fanlight.data.archives.boxes import FindBox
    from fanlight.data.archives.prepare import Prepared

LISTED = 10  # discrepancies that are printed; report.txt has all


class Archive(StrEnum):
    """What can be prepared; ``fanlight.data.archives.prepare.KINDS`` says how."""

    w300 = "300w"
    w300lp = "300w-lp"
    aflw2000 = "aflw2000"
    wflw = "wflw"
    cofw = "cofw"
    w300vw = "300vw"
    helen_lfpw_afw = "helen-lfpw-afw"
    dlib_xml = "dlib-xml"
    coco_json = "coco-json"
    csv = "csv"
    folder = "folder"


class BoxSource(StrEnum):
    archive = "archive"
    detector = "detector"
    landmarks = "landmarks"


class Missed(StrEnum):
    leave_out = "leave-out"
    landmarks = "landmarks"


def prepare(
    archive: Annotated[Archive, typer.Argument(help="What it is.")],
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="The archive: its folder, zip or tar file, or list.")
    ],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for the index.")],
    boxes: Annotated[
        BoxSource | None,
        typer.Option(help="Where face boxes come from; the archive, else the detector, when left out."),
    ] = None,
    missed: Annotated[
        Missed, typer.Option(help="What becomes of a face that the detector misses.")
    ] = Missed.leave_out,
    detector: Annotated[str | None, typer.Option(help="A face detector by its name.")] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy photos and labels into the new folder.")] = False,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave out faces whose files cannot be used, and name them.")
    ] = False,
    flips: Annotated[bool, typer.Option("--flips", help="300w-lp: the mirrored copies too.")] = False,
    like: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="300w-lp: a folder of 300W that tells HELEN's test photos."),
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="300vw: take each n-th frame.")] = 1,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Lists: where their photos are, if not beside them.")
    ] = None,
    subset: Annotated[str | None, typer.Option(help="Lists and folders: what to call the faces.")] = None,
    split: Annotated[
        str, typer.Option(help="Lists and folders that do not say it: train, val or test.")
    ] = "train",
    offset: Annotated[
        float | None, typer.Option(help="Lists: what to add to coordinates to make them continuous.")
    ] = None,
    markup: Annotated[
        str | None, typer.Option(help="Lists and folders: the mark-up that each label has to fit.")
    ] = None,
) -> None:
    """Turn a published archive into a data set: an index, labels, and a report of what is missing.

    Photos stay where they are. The report compares expected and found numbers and names every discrepancy.
    """
    from fanlight.data.archives.boxes import Way
    from fanlight.data.archives.contents import Request
    from fanlight.data.archives.prepare import prepare as build
    from fanlight.markup import Markup

    with progress_bar("reading", 1) as reading, progress_bar("face boxes", 1) as boxing:
        request = Request(
            root, Path(), flips, every, like, photos, subset, split, offset,
            markup=Markup.load(markup) if markup else None,
            progress=reading.reach,
        )  # fmt: skip
        way = Way(
            boxes=boxes.value if boxes else None,
            missed=missed.value,
            detector=lambda: _detector(detector),
            copy=copy,
            skip_faulty=skip_faulty,
        )
        prepared = build(archive.value, request, folder, way, boxing.reach)
    _print(prepared, folder)


def _detector(name: str | None) -> tuple[str, FindBox]:
    """A detector's name, and what finds the box of a labelled face by it.

    Raises:
        InputError: no detector is installed.
    """
    from fanlight.data.archives.boxes import choose_box
    from fanlight.detect import detect_faces, find_detector
    from fanlight.errors import InputError
    from fanlight.image import read_image

    try:
        chosen, detect = find_detector(name)
    except InputError as error:
        raise InputError(f"{error}; or take boxes from the landmarks: --boxes landmarks") from None

    def find(photo: Path, landmarks: Any) -> Any:
        return choose_box(detect_faces(detect, read_image(photo)), landmarks)

    return chosen, find


def _print(prepared: Prepared, folder: Path) -> None:
    out.print(f"{'partition':32} {'expected':>9} {'found':>9}")
    for row in prepared.tallies:
        out.print(f"{row.what:32} {row.expected:>9} {row.found:>9}")
    origins = ", ".join(f"{count} from the {origin}" for origin, count in prepared.boxes.items())
    out.print(f"face boxes: {origins}; mark-up: {prepared.markup or 'by the number of points'}")
    for note in prepared.notes[:LISTED]:
        out.print(f"- {note}")
    if len(prepared.notes) > LISTED:
        out.print(
            f"... and {len(prepared.notes) - LISTED} more discrepancies, all in {folder / 'report.txt'}"
        )
    out.print(str(prepared.index))
