"""``fanlight data check``: what cannot be used, and on request what is probably wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanlight.cli.console import err, out, progress_bar
from fanlight.cli.faces import (
    FacesArgument,
    MarkupOption,
    PartitionsOption,
    check_with_bar,
    markup_of,
    refuse,
)
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.data.faces import Faces, Problem
    from fanlight.doctor import Examined
    from fanlight.markup import Markup


def check(
    index: FacesArgument,
    markup: MarkupOption = None,
    partition: PartitionsOption = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Also look for what is probably wrong, and write report.html with pictures, findings.tsv and "
            "findings.json there.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME|PATH", help="With --report: compare labels with what this network finds."),
    ] = None,
    pictures: Annotated[
        int, typer.Option(metavar="N", min=1, help="With --report: findings of a kind that the page shows.")
    ] = 60,
    strict: Annotated[
        bool, typer.Option("--strict", help="With --report: any finding ends with exit code 2.")
    ] = False,
    device: Annotated[str, typer.Option(help="With --model: auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Read every photo and label of an index, or every file of a pack, and list all that cannot be used.

    The exit code is 2 if there are any. With --report DIR, what is probably wrong is looked for, such as photos
    that are there twice, left and right swapped, and boxes that miss the face; that does not change the exit code,
    unless --strict is given.
    """
    from fanlight.data.opening import open_faces

    if report is None and (model is not None or strict):
        raise InputError("--model and --strict are for --report: say where that goes by --report DIR")
    faces = open_faces(index)
    faces = faces.select(partition) if partition else faces
    chosen = markup_of(faces, markup)
    problems = check_with_bar(faces, chosen, content=True)
    examined = (
        None if report is None else _examine(faces, chosen, problems, (model, device), report, pictures)
    )
    refuse(faces, problems, skip=False)
    if strict and examined is not None and examined.findings:
        raise InputError(f"{faces.where}: {len(examined.findings)} findings: look at {report}/report.html")
    for name, count in faces.partitions().items():
        out.print(f"{name:24} {count:8} faces")
    out.print(f"all {len(faces)} faces can be used ({chosen.name}, {chosen.count} points)")


def _examine(
    faces: Faces,
    markup: Markup,
    problems: Sequence[Problem],
    network: tuple[str | None, str],
    folder: Path,
    pictures: int,
) -> Examined:
    """Look for what is probably wrong, write the report, and print how much there is of each kind."""
    from fanlight.doctor import KINDS, examine
    from fanlight.predict import load
    from fanlight.report import write_findings

    model, device = network
    predictor = None
    if model is not None:
        predictor = load(model, None if device == "auto" else device, precision="auto")
    with progress_bar("looking at faces", len(faces)) as bar:
        examined = examine(faces, markup, predictor, problems, bar.reach)
    facts = {
        "Faces": str(len(faces)),
        "Partitions": ", ".join(f"{name} ({count})" for name, count in faces.partitions().items()),
        "Mark-up": f"{markup.name}, {markup.count} points",
        "Network": "none" if model is None else model,
        "SHA-256 of the index": faces.sha256,
    }
    known = _provenance(faces, model)
    page = write_findings(folder, faces, markup, examined, facts, pictures, known)
    for kind, count in examined.counts().items():
        if count:
            err.print(f"{count:8} {KINDS[kind].title}")
    out.print(str(page))
    return examined


def _provenance(faces: Faces, model: str | None) -> dict[str, Any]:
    """Where the findings come from: how they were made, from which faces, and by which network."""
    from fanlight.inspection import inspect
    from fanlight.models import find
    from fanlight.provenance import made_by

    networks = [] if model is None else [{**inspect(find(model)).identity(), "name": model}]
    return {**made_by(), "index": faces.where, "index_sha256": faces.sha256, "networks": networks}
