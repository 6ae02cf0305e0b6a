"""The tar files of a pack, written so that the same faces give the same bytes."""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from fanlight.data.pack_file import StoredFile

_BLOCK = 512  # of a tar file


def shard_stems(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """What the names of each partition's tar files begin with; letters, digits, - and _ only.

    No two are the same, even where capital letters do not count, as on macOS and Windows.
    """
    plain = [re.sub(r"[^A-Za-z0-9_-]+", "_", "-".join(pair)).lstrip("-") or "faces" for pair in pairs]
    wanted, taken = Counter(stem.lower() for stem in plain), set[str]()
    stems = []
    for code, stem in enumerate(plain):
        while wanted[stem.lower()] > 1 or stem.lower() in taken:
            stem = f"{stem}-{code}"
        taken.add(stem.lower())
        stems.append(stem)
    return stems


class ShardWriter:
    """Tar files of one partition, one after the other.

    Attributes:
        done: those that are finished.
    """

    def __init__(self, folder: Path, stem: str, limit: int) -> None:
        self.folder, self.stem, self.limit = folder, stem, limit
        self.done: list[StoredFile] = []
        self._open()

    def add(self, key: str, photo: bytes, ending: str, label: dict[str, Any]) -> tuple[int, int]:
        """Add a face; gives the tar file's number among these, and where in it the photo begins."""
        text = json.dumps(label, separators=(",", ":")).encode()
        needed = sum(_BLOCK + len(data) + -len(data) % _BLOCK for data in (photo, text))
        if self.size and self.size + needed + 2 * _BLOCK > self.limit:
            self._finish()
            self._open()
        offset = self._member(key + ending, photo)
        self._member(f"{key}.json", text)
        return len(self.done), offset

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._finish()
        self.file.close()

    def _open(self) -> None:
        self.path = self.folder / f"{self.stem}-{len(self.done):06d}.tar"
        self.file = self.path.open("wb")
        self.hash, self.size = hashlib.sha256(), 0

    def _member(self, name: str, data: bytes) -> int:
        """Write a header and the data in whole blocks; gives where the data begins."""
        member = tarfile.TarInfo(name)
        member.size = len(data)
        self._write(member.tobuf(tarfile.USTAR_FORMAT))
        offset = self.size
        self._write(data + bytes(-len(data) % _BLOCK))
        return offset

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.hash.update(data)
        self.size += len(data)

    def _finish(self) -> None:
        self._write(bytes(2 * _BLOCK))
        self.file.close()
        self.done.append(StoredFile(name=self.path.name, bytes=self.size, sha256=self.hash.hexdigest()))
