"""Photos on their way to the network: found in folders, read ahead, brought into one form."""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fanlight.errors import InputError
from fanlight.image import read_image

Image = NDArray[np.uint8]
Channels = Literal["RGB", "BGR"]
OnError = Literal["warn", "raise"] | Callable[[Path, InputError], object]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""What the names of photos end in; a folder's other files are left alone."""

READERS = min(4, os.cpu_count() or 1)


def find_photos(
    sources: str | PathLike[str] | Iterable[str | PathLike[str]],
    suffixes: Iterable[str] = SUFFIXES,
    recursive: bool = True,
) -> list[Path]:
    """List the photos that paths name, each once.

    Args:
        sources: a folder or a file, or several. A folder stands for all photos in it and below it, in the order
            of their names, the folder's own before those of its folders; hidden ones are left out. A file is
            taken whatever it is called, and whether it exists or not.
        suffixes: what a folder's photos end in, in lower case.
        recursive: whether a folder stands for those below it too.

    Raises:
        InputError: a folder cannot be listed or holds no photo, or a single source does not exist.
    """
    single = isinstance(sources, str | PathLike)
    sources = [sources] if single else list(sources)  # type: ignore[list-item, arg-type]
    if not all(isinstance(source, str | PathLike) for source in sources):
        raise InputError(
            f"photos = {str(sources)[:80]}: give paths of photos or folders; of arrays, predict_batch"
        )
    found: dict[Path, None] = {}
    problems: list[str] = []
    suffixes = tuple(suffixes)
    for source in map(Path, sources):
        if os.path.isdir(source):
            inside = list(_walk(source, suffixes, problems, recursive))
            if not inside:
                problems.append(f"{source}: holds no photos ({', '.join(suffixes)})")
            found.update(dict.fromkeys(inside))
        elif single and not os.path.exists(source):
            problems.append(f"{source}: no such photo or folder")
        else:
            found[source] = None
    if problems:
        raise InputError.collect(problems, "no photos can be taken from here:")
    return list(found)


def read_ahead(
    paths: Sequence[Path], on_error: OnError = "warn", progress: bool = False, readers: int = READERS
) -> Generator[tuple[Path, Image], None, None]:
    """Read photos in threads while others are worked on, two for each thread at most.

    Args:
        paths: the photos.
        on_error: what becomes of a photo that cannot be read. It is left out with a warning (``"warn"``), ends
            everything (``"raise"``), or is handed to this function with the error and left out.
        progress: show a progress bar on standard error, if that is a terminal.
        readers: how many threads.

    Returns:
        An iterator over the paths and photos, in order.

    Raises:
        InputError: ``on_error`` is none of these; on the way, with ``"raise"``, a photo cannot be read.
    """
    if on_error not in ("warn", "raise") and not callable(on_error):
        raise InputError(
            f'on_error = {on_error!r}: give "warn", "raise" or a function of a path and an error'
        )
    return _read_ahead(paths, on_error, progress, readers)


def _read_ahead(
    paths: Sequence[Path], on_error: OnError, progress: bool, readers: int
) -> Generator[tuple[Path, Image], None, None]:
    waiting: deque[tuple[Path, Future[Image]]] = deque()
    left = iter(paths)
    pool = ThreadPoolExecutor(readers, thread_name_prefix="fanlight-photos")
    try:
        for path in _with_bar(paths) if progress else paths:
            waiting += (
                (each, pool.submit(read_image, each)) for each in islice(left, 2 * readers - len(waiting))
            )
            try:
                image = waiting.popleft()[1].result()
            except InputError as error:
                if on_error == "raise":
                    raise
                if callable(on_error):
                    on_error(path, error)
                else:
                    warnings.warn(f"left out: {error}", stacklevel=3)
                continue
            yield path, image
    finally:  # also when whoever asked for these stops early
        pool.shutdown(cancel_futures=True)


def _with_bar(paths: Sequence[Path]) -> Iterable[Path]:
    """The same, with a progress bar where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal
    return track(paths, "predicting", console=console, transient=True, disable=hidden)


def check_channels(channels: str) -> None:
    """Refuse an order of channels that is neither ``RGB`` nor ``BGR``.

    Raises:
        InputError: it is another.
    """
    if channels not in ("RGB", "BGR"):
        raise InputError(f'channels = {channels!r}: give "RGB" or "BGR"')


def to_rgb(image: Any, channels: str = "RGB") -> Image:
    """Bring an array into the one form that everything takes.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        channels: the order of its channels, ``RGB`` or ``BGR``.

    Returns:
        (H, W, 3) uint8, RGB, C-contiguous.

    Raises:
        InputError: it is not such an array.
    """
    check_channels(channels)
    try:
        image = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:  # what is no array; tensors that need a gradient
        raise InputError(f"no image ({error}): give an array (H, W, 3) or (H, W) of type uint8") from None
    if image.dtype != np.uint8 or image.size == 0 or (image.ndim != 2 and image.shape[2:] != (3,)):
        raise InputError(
            f"an image of shape {image.shape} and type {image.dtype}: give (H, W, 3) or (H, W) of type uint8"
        )
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., ::-1] if channels == "BGR" else image)


def _walk(folder: Path, suffixes: tuple[str, ...], problems: list[str], recursive: bool) -> Iterator[Path]:
    """The photos in and below a folder; through links too, but no folder twice."""
    seen: set[str] = set()

    def report(error: OSError) -> None:
        problems.append(f"{error.filename}: cannot be listed: {error.strerror}")

    for place, folders, files in os.walk(folder, onerror=report, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(suffixes) and not name.startswith("."):
                yield Path(place, name)
