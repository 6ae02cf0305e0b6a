"""Packs on a server or in object storage, fetched piece by piece into a cache that a machine's processes share."""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.data.fetch import BrokenError, download, no_cache, read_remote, with_patience
from fanlight.data.pack import Pack
from fanlight.data.pack_file import DESCRIPTION, MAX_DESCRIPTION_BYTES, Description, StoredFile, mismatch
from fanlight.errors import InputError

_AT_ONCE = 2  # files that are fetched ahead at the same time


def default_folder() -> Path:
    """``fanlight`` in the folder that the system has for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fanlight"


@dataclass(frozen=True)
class Cache:
    """Where fetched files are kept, and how much of them.

    Attributes:
        folder: on a disk of this machine; made when needed.
        gib: tar files of all packs together take at most this much; the tables of a pack come on top.
    """

    folder: Path = field(default_factory=default_folder)
    gib: float = 20.0


def open_remote(url: str, cache: Cache | None = None) -> Pack:
    """Open the pack at a URL; its tables are fetched if they are not there yet.

    Args:
        url: of the pack's folder: ``https://``, ``s3://``, ``gs://`` or whatever else fsspec knows, but not
            fsspec's chains (``a::b``), which read further addresses, and templates, out of what a server sends.
        cache: where to keep what is fetched.

    Raises:
        InputError: it cannot be fetched, or is no pack.
    """
    url, cache = url.rstrip("/"), cache or Cache()
    if "::" in url:
        raise InputError(f"{url}: a chain of addresses (::): give the address of the pack's folder alone")
    try:
        cache.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_cache(cache.folder, error) from None
    source = f"{url}/{DESCRIPTION}"
    data = with_patience(
        source, cache.folder, lambda: read_remote(source, cache.folder, MAX_DESCRIPTION_BYTES)
    )
    description = Description.parse(data, url)
    sha256 = hashlib.sha256(data).hexdigest()
    return Pack(url, sha256, description, RemoteFiles(url, cache, sha256, description))


class RemoteFiles:
    """The files of a pack at a URL, as local copies.

    A file is fetched by the first process that needs it, while others wait for it; it is compared with its
    checksum and appears whole or not at all. When the cache is full, the tar files that were used longest ago
    leave it.
    """

    remedy = "remove it, and it is fetched anew"

    def __init__(self, url: str, cache: Cache, sha256: str, description: Description) -> None:
        self.url = url
        self.cache = cache
        self.folder = cache.folder / sha256[:16]
        self._tables = {table.name: table for table in description.tables}
        self._shards = description.shards
        self._wanted: deque[int] = deque()
        self._threads: list[Thread] = []
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise no_cache(cache.folder, error) from None

    def table(self, name: str) -> Path:
        """The local copy of a table."""
        return self._local(self._tables[name])

    def shard(self, number: int) -> Path:
        """The local copy of a tar file."""
        return self._local(self._shards[number])

    def prefetch(self, shards: Sequence[int]) -> None:
        """Begin to fetch tar files in the background; whoever reads one meanwhile waits for it.

        A failure is left to the reader, who tries again and says why. A program that ends does not wait for it.
        """
        self._wanted.extend(shards)
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        for _ in range(_AT_ONCE - len(self._threads)):
            self._threads.append(Thread(target=self._fetch_wanted, daemon=True))
            self._threads[-1].start()

    def _fetch_wanted(self) -> None:
        while self._wanted:
            with suppress(Exception):
                self.shard(self._wanted.popleft())

    def check_room(self, shards: NDArray[np.int32], at_once: int | None) -> None:
        """Refuse a cache that cannot hold what is read together; every file would be fetched again and again.

        Args:
            shards: those that are read at all.
            at_once: how many of them are in use together; None: any of them, at any time.

        Raises:
            InputError: the cache is too small.
        """
        sizes = sorted((self._shards[number].bytes for number in shards.tolist()), reverse=True)
        needed = sum(sizes[:at_once]) / 2**30
        if needed <= self.cache.gib:
            return
        remedy = (
            'set data.shuffle = "shards", or'
            if at_once is None
            else "set data.window to less, pack smaller shards, or"
        )
        raise InputError(
            f"{self.url}: {needed:.3g} GiB of it are in use together, and data.cache_gib = {self.cache.gib:.3g}: "
            f"{remedy} set data.cache_gib to at least {needed * 1.01:.3g}"
        )

    def _local(self, stored: StoredFile) -> Path:
        path = self.folder / stored.name
        if not _is_there(path, stored):
            with _locked(self.folder / f".{stored.name}.lock"):
                if not _is_there(path, stored):
                    self._fetch(stored, path)
        return path

    def _fetch(self, stored: StoredFile, path: Path) -> None:
        part, source = self.folder / f".{stored.name}.part", f"{self.url}/{stored.name}"

        def fetch() -> None:
            download(source, part, stored.bytes)
            if fault := mismatch(part, stored, content=True):
                raise BrokenError(f"what arrives {fault}")
            part.replace(path)

        if stored in self._shards:
            _make_room(self.cache, stored.bytes)
        _parts.add(part)
        try:
            with_patience(source, self.cache.folder, fetch)
        finally:
            part.unlink(missing_ok=True)
            _parts.remove(part)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_wanted": deque(), "_threads": []}


_parts: set[Path] = set()  # that this process is fetching


@atexit.register
def _leave_no_parts() -> None:
    for part in _parts.copy():
        part.unlink(missing_ok=True)


def is_url(where: object) -> bool:
    """Whether this is the address of something that is not on this machine's disks."""
    return "://" in str(where)


def _is_there(path: Path, stored: StoredFile) -> bool:
    """Whether a copy is there; notes that it is in use."""
    try:
        os.utime(path)
        return path.stat().st_size == stored.bytes
    except FileNotFoundError:
        return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone among all processes and threads of the machine."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:  # closing alone would leave it to loader processes that were forked meanwhile
            fcntl.flock(file, fcntl.LOCK_UN)


def _make_room(cache: Cache, needed: int) -> None:
    """Remove the tar files that were used longest ago until there is room for another.

    Only those that were fetched, which have a lock beside them: the folder may hold somebody's own.
    """
    copies = []
    for lock in cache.folder.glob("*/.*.tar.lock"):
        with suppress(FileNotFoundError):
            path = lock.with_name(lock.name[1:].removesuffix(".lock"))
            status = path.stat()
            copies.append((status.st_mtime, status.st_size, path))
    total = sum(size for _, size, _ in copies) + needed
    for _, size, path in sorted(copies):
        if total <= cache.gib * 2**30:
            return
        path.unlink(missing_ok=True)
        total -= size
