"""What commands that read data sets share: their arguments, the mark-up, and the check before anything else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import err, progress_bar
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.data.faces import Faces, Problem
    from fanlight.markup import Markup

FacesArgument = Annotated[
    str, typer.Argument(metavar="INDEX|PACK", help="The index (TSV) or the pack of a data set.")
]
MarkupOption = Annotated[
    str | None,
    typer.Option(help="Mark-up of the labels: a name or a file; by their number of points when left out."),
]
PartitionsOption = Annotated[
    list[str] | None, typer.Option("--partition", metavar="SUBSET/SPLIT", help="Only these; may be repeated.")
]


def markup_of(faces: Faces, given: str | None) -> Markup:
    """The mark-up asked for, else the pack's, else a built-in one, by the points of the first readable label."""
    from fanlight.markup import Markup

    if given is not None:
        return Markup.load(given)
    if faces.markup is not None:
        return faces.markup
    known = {markup.count: markup for markup in map(Markup.load, Markup.names())}
    for position in range(len(faces)):
        try:
            count = len(faces.landmarks(position))
        except InputError:
            continue
        label = f"the label of {faces.name(position)}"
        if count not in known:
            raise InputError(
                f"{faces.where}: {label} has {count} points, and no built-in mark-up has as many: "
                "name the file of yours by --markup"
            )
        err.print(f"mark-up {known[count].name}, by the {count} points of {label}")
        return known[count]
    raise InputError(f"{faces.where}: not one label can be read; name the mark-up by --markup to see why")


def check_with_bar(faces: Faces, markup: Markup, content: bool = False) -> list[Problem]:
    """Look for faces that cannot be used, under a progress bar; see ``find_problems``."""
    from fanlight.data.opening import find_problems

    with progress_bar("checking faces", len(faces)) as bar:
        return find_problems(faces, markup, bar.reach, content)


def refuse(faces: Faces, problems: list[Problem], skip: bool) -> list[int]:
    """The positions of the faces that cannot be used.

    Raises:
        InputError: there are any, and they are not to be skipped.
    """
    from fanlight.data.check import problems_error

    if problems and not skip:
        raise problems_error(faces, problems)
    return sorted({problem.position for problem in problems})


def tell_skipped(count: int, faces: Faces, listed: Path) -> None:
    """Say how many faces are left out, and where they are listed."""
    if count:
        err.print(f"left out {count} of {len(faces)} faces, listed in {listed}")
