"""From an archive to a data set: labels, an index and a report, whole or not at all.

The new folder holds ``index.tsv``, ``labels/SUBSET/SPLIT/NAME.pts`` where the archive has labels of another
form, ``photos/`` where they were taken out of something or copied, and ``report.txt``. Photos and ``.pts``
files that lie in the archive stay there, and the index names them by relative paths. Everything is written
into a folder beside the new one that takes its name in the end.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fanlight.data.archives.boxes import Way, give_boxes
from fanlight.data.archives.contents import Contents, Face, Progress, Request, Tally
from fanlight.data.archives.kinds import KINDS, OPTIONS
from fanlight.data.archives.unpack import archives_of, is_archive, name_of, unpack
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.data.stage import staged_folder
from fanlight.durable import write_whole
from fanlight.errors import InputError
from fanlight.geometry import FARTHEST_PX, check_box
from fanlight.image import image_size
from fanlight.markup import Markup


@dataclass(frozen=True)
class Prepared:
    """What came of it.

    Attributes:
        index: the new index.
        tallies: expected and found numbers, partition by partition.
        notes: every discrepancy, one line each.
        boxes: how many boxes came from where.
        markup: what the labels follow, where it is known.
    """

    index: Path
    tallies: tuple[Tally, ...]
    notes: tuple[str, ...]
    boxes: dict[str, int]
    markup: str | None


def prepare(
    kind: str, request: Request, out: Path, way: Way, boxing: Progress = lambda done, total: None
) -> Prepared:
    """Build a data set from an archive.

    Args:
        kind: one of ``KINDS``.
        request: what to read; its ``stage`` is not looked at.
        out: the new folder; it may exist when it is empty.
        way: where boxes come from, and so on.
        boxing: called with the number of faces that have their box.

    Raises:
        InputError: no such archive, faulty faces (all are listed), no boxes, or ``out`` exists; then nothing is
            left behind.
    """
    _check_request(kind, request)
    with staged_folder(out) as stage:
        try:
            prepared = _prepare(kind, replace(request, stage=stage), out, way, boxing)
        except InputError as error:
            raise _renamed(error, {stage / "unpacked": request.root, stage: out}) from None
    return prepared


def _prepare(kind: str, request: Request, out: Path, way: Way, boxing: Progress) -> Prepared:
    stage = request.stage
    contents = KINDS[kind].read(replace(request, root=_unpacked(request)))
    _check_faces(contents, request.markup, way.copy)
    _check_problems(contents, request.root, way)
    origins = give_boxes(
        contents, way, Markup.load(contents.markup) if contents.markup else request.markup, boxing
    )
    _check_problems(contents, request.root, way)
    contents.notes = [note.replace(str(stage), str(out)) for note in contents.notes]
    if not contents.faces:
        raise InputError.collect(contents.notes[:20], f"{request.root}: not one face is left:")
    samples = _write_files(contents.faces, stage, way.copy)
    Index.write(stage / "index.tsv", samples)
    for name, positions in contents.groups.items():
        if not positions:
            continue  # an index of no faces is none
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        Index.write(stage / name, [samples[i] for i in positions])
    for name, text in contents.sidecars.items():
        write_whole(stage / name, text)
    markup = contents.markup or (request.markup.name if request.markup else None)
    tallies = _tally(contents, request.root)
    prepared = Prepared(out / "index.tsv", tallies, tuple(contents.notes), origins, markup)
    write_whole(stage / "report.txt", report(kind, prepared))
    return prepared


def _check_request(kind: str, request: Request) -> None:
    """Refuse what cannot be, and options that this kind would not heed."""
    if kind not in KINDS:
        raise InputError(f"no archive {kind!r}: known are {', '.join(KINDS)}")
    plain = Request(request.root, request.stage)
    given = {name for name in OPTIONS if getattr(request, name) != getattr(plain, name)}
    heeding = {name: ", ".join(other for other in KINDS if name in KINDS[other].options) for name in given}
    unheeded = sorted(given - KINDS[kind].options)
    problems = [f"--{name}: not for {kind}; it is for {heeding[name]}" for name in unheeded]
    if request.split not in ("train", "val", "test"):
        problems.append(f"--split {request.split}: expected train, val or test")
    if request.offset is not None and not abs(request.offset) < FARTHEST_PX:
        problems.append(f"--offset {request.offset}: expected a number of pixels")
    for name in ("root", "like", "photos"):
        path = getattr(request, name)
        if path is not None and not path.exists():
            problems.append(f"--{name} {path}: no such file or folder")
    if problems:
        raise InputError.collect(problems, f"{kind} cannot be prepared like that:")


def _renamed(error: InputError, names: Mapping[Path, Path]) -> InputError:
    """The same error, with the passing folders, which are gone, called by names that mean something."""
    lines = [str(error), *error.problems]
    for passing, lasting in names.items():
        lines = [line.replace(str(passing), str(lasting)) for line in lines]
    return InputError(lines[0], lines[1:])


def _unpacked(request: Request) -> Path:
    """The folder to read: the archive's own, or what came out of its zip and tar files."""
    archives = archives_of(request.root)
    places = [request.stage / "unpacked" / name_of(parts) for parts in archives]
    for parts, place in zip(archives, places, strict=True):
        unpack(parts, place, request.progress)
    if len(places) == 1:
        return places[0]
    return request.stage / "unpacked" if places else request.root


def _check_faces(contents: Contents, markup: Markup | None, copy: bool) -> None:
    """Move faces that cannot be used to the problems, and note those that are there twice."""
    good = []
    seen: set[tuple[Path, int]] = set()
    for position, face in enumerate(contents.faces):
        where, count = face.label or face.photo, len(face.landmarks)
        if markup is not None and count != markup.count:
            contents.problems.append(
                f"{where}: has {count} points, the mark-up {markup.name} has {markup.count}"
            )
        elif np.abs(face.landmarks).max() >= FARTHEST_PX:
            contents.problems.append(f"{where}: has a landmark a million pixels away")
        elif fault := _fault(face, copy):
            contents.problems.append(fault)
        else:
            good.append(position)
            key = face.photo, hash(face.landmarks.tobytes())
            if key in seen:
                contents.notes.append(
                    f"{where}: the same face is there twice ({face.name or face.photo.stem})"
                )
            seen.add(key)
    contents.keep(good)


def _fault(face: Face, copy: bool) -> str:
    """What is wrong with the box that the archive gives, or with a photo that is to be copied, if anything."""
    try:
        face.box = None if face.box is None else check_box(face.box)
    except InputError as error:
        return f"{face.label or face.photo}: {error}"
    try:
        if copy:
            image_size(face.photo)  # a list may name any file, and only photos are copied
    except InputError as error:
        return str(error)
    return ""


def _check_problems(contents: Contents, root: Path, way: Way, listed: int = 30) -> None:
    """Give up over faulty faces, or turn them into notes where that was asked for."""
    problems, contents.problems = contents.problems, []
    if not way.skip_faulty and problems:
        shown = problems[:listed]
        if len(problems) > listed:
            shown.append(f"... and {len(problems) - listed} more")
        heading = (
            f"{root}: {len(problems)} faces cannot be used; mend them, or leave them out by --skip-faulty:"
        )
        error = InputError.collect(shown, heading)
        error.problems = tuple(problems)
        raise error
    contents.notes += [f"left out: {problem}" for problem in problems]


def _write_files(faces: Sequence[Face], stage: Path, copy: bool) -> list[Sample]:
    """Write the labels, copy what is to be copied, and name everything as the index will."""
    taken: set[Path] = set()
    samples = []
    for face in faces:
        photo, label, name = face.photo, face.label, face.name or face.photo.stem
        if label is None or (copy and not label.is_relative_to(stage)):
            label = _free(stage / "labels" / face.subset / face.split, name, ".pts", taken)
            if face.label is None:
                write_pts(label, face.landmarks)
            else:
                shutil.copyfile(face.label, label)
        if copy and not photo.is_relative_to(stage):
            target = _free(stage / "photos" / face.subset / face.split, name, photo.suffix, taken)
            shutil.copyfile(photo, target)
            photo = target
        if face.box is not None:
            samples.append(Sample(face.subset, face.split, face.aug_idx, photo, label, face.box))
    return samples


def _free(folder: Path, stem: str, suffix: str, taken: set[Path]) -> Path:
    """A name that no other file has; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path, number = folder / f"{stem}{suffix}", 2
    while path in taken:
        path, number = folder / f"{stem}_{number}{suffix}", number + 1
    taken.add(path)
    return path


def _tally(contents: Contents, root: Path) -> tuple[Tally, ...]:
    """Expected and found numbers of each partition or subset, then the reader's own; differences become notes."""
    partitions = Counter(face.partition for face in contents.faces)
    subsets = Counter(face.subset for face in contents.faces)
    rows = [
        Tally(name, n, partitions[name] if "/" in name else subsets[name])
        for name, n in contents.expected.items()
    ]
    rows += contents.tallies
    contents.notes[:0] = [
        f"{row.what}: {row.found} of {row.expected} expected" for row in rows if row.expected != row.found
    ]
    if any(row.found < row.expected for row in rows) and root.is_dir() and not archives_of(root):
        packed = sorted(path for path in root.iterdir() if is_archive(path))
        contents.notes += [f"{path}: not unpacked, since there are folders beside it" for path in packed]
    return tuple(rows)


def report(kind: str, prepared: Prepared) -> str:
    """The whole story as text: numbers, boxes, every discrepancy."""
    lines = [f"fanlight data prepare {kind}", "", f"{'partition':32} {'expected':>9} {'found':>9}"]
    for row in prepared.tallies:
        lines.append(f"{row.what:32} {row.expected:>9} {row.found:>9}")
    boxes = ", ".join(f"{count} from the {origin}" for origin, count in prepared.boxes.items())
    lines += ["", f"mark-up: {prepared.markup or 'not said'}", f"face boxes: {boxes}", ""]
    lines.append(f"{len(prepared.notes)} discrepancies" + (":" if prepared.notes else ""))
    lines += [f"- {note}" for note in prepared.notes]
    return "\n".join(lines) + "\n"
