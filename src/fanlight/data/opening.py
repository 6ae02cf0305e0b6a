"""Data sets by their path, whatever they are."""

from __future__ import annotations

import os
from collections.abc import Callable
from os import PathLike

from fanlight.data.check import check
from fanlight.data.faces import Faces, Problem
from fanlight.data.index import Index
from fanlight.data.pack import Pack
from fanlight.data.remote import Cache, is_url, open_remote
from fanlight.markup import Markup


def open_faces(where: str | PathLike[str], cache: Cache | None = None) -> Faces:
    """Open an index (a TSV file) or a pack (a folder, or the URL of one).

    Args:
        where: its path or URL.
        cache: where to keep what has to be fetched.

    Raises:
        InputError: there is neither, or it cannot be used.
    """
    if is_url(where):
        return open_remote(str(where), cache)
    return Pack.open(where) if os.path.isdir(where) else Index.read(where)


def find_problems(
    faces: Faces, markup: Markup, progress: Callable[[int, int], None] | None = None, content: bool = False
) -> list[Problem]:
    """Look for faces that cannot be used.

    Every photo and label of an index is read. Those of a pack were read when it was made, so that its files are
    only compared with what was written: its tables, and the photos if ``content`` is asked for.

    Args:
        faces: all of them are checked.
        markup: what their labels should follow.
        progress: called now and then with how much is done, and how much there is.
        content: read all the files of a pack.

    Raises:
        InputError: a pack has another number of points, or files that are damaged.
    """
    if isinstance(faces, Index):
        return check(faces, markup, progress=progress)
    if isinstance(faces, Pack):
        faces.check_points(markup)
        if content:
            faces.check_content(progress)
        else:
            faces.check_tables()
        return []
    raise TypeError(f"neither an index nor a pack: {faces!r}")
