"""Taking zip and tar files apart, within limits.

Only plain files come out, each below the folder they are unpacked into, and none that can be run: absolute names,
names that lead upwards, links and devices are refused. So is an archive that unpacks to more than ``MAX_GROWTH``
times its size, to more than ``MAX_BYTES``, to more than ``MAX_FILES`` files, or to more than the disk holds. 300W
comes as a zip file cut into parts (``300w.zip.001`` to ``.004``), which is read as if it were one.
"""

from __future__ import annotations

import io
import lzma
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fanlight.data.archives.contents import Progress
from fanlight.errors import InputError

MAX_BYTES = 256 << 30
"""No archive unpacks to more: 256 GiB."""

MAX_FILES = 2_000_000
"""No archive holds more files."""

MAX_GROWTH = 200
"""No archive unpacks to more than so many times its size, small ones (64 MiB unpacked) apart."""

_SMALL = 64 << 20
_MOST_TEXT = 1 << 20  # of what a tar file says of a member besides its head: long names and the like
_TEXTS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_PART = re.compile(r"(?P<stem>.+\.zip)\.(?P<number>\d{3})", re.IGNORECASE)
_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_LITTER = ("__MACOSX", ".DS_Store", ".directory", "Thumbs.db", "desktop.ini")
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, ValueError, LookupError, RuntimeError,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive or of a part of one."""
    name = path.name.lower()
    return path.is_file() and (name.endswith((".zip", *_TAR)) or _PART.fullmatch(name) is not None)


def archives_of(root: Path) -> list[list[Path]]:
    """The archives that ``root`` stands for, each a list of its parts; none where it is a plain folder or a list.

    A folder stands for its archives when it has no folders: what is unpacked already is not unpacked again.

    Raises:
        InputError: a part is missing.
    """
    if root.is_file():
        files = [root] if is_archive(root) else []
    else:
        inside = sorted(root.iterdir())
        files = [] if any(path.is_dir() for path in inside) else [path for path in inside if is_archive(path)]
    found: dict[Path, list[Path]] = {}
    for file in files:
        part = _PART.fullmatch(file.name)
        if part is None:
            found[file] = [file]
        elif (whole := file.with_name(part["stem"])) not in found:
            found[whole] = _parts(whole)
    return list(found.values())


def name_of(parts: Sequence[Path]) -> str:
    """What to call the folder that an archive is unpacked into: its name without the ending."""
    name = part["stem"] if (part := _PART.fullmatch(parts[0].name)) else parts[0].name
    ending = next(ending for ending in (".zip", *_TAR) if name.lower().endswith(ending))
    return name[: -len(ending)]


def _parts(whole: Path) -> list[Path]:
    """All parts of a zip file, of which at least one is there."""
    matches = ((path, _PART.fullmatch(path.name)) for path in whole.parent.iterdir() if path.is_file())
    numbers = {int(m["number"]): path for path, m in matches if m and m["stem"] == whole.name}
    missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
    if missing:
        names = ", ".join(f"{whole.name}.{number:03d}" for number in missing)
        raise InputError(f"{whole.parent}: {names} missing: put all parts of {whole.name} into one folder")
    return [numbers[number] for number in sorted(numbers)]


def unpack(parts: Sequence[Path], folder: Path, progress: Progress = lambda done, total: None) -> None:
    """Unpack one archive into a folder of its own.

    Args:
        parts: the archive's file, or all its parts in order.
        folder: made when missing.
        progress: called with the bytes unpacked so far and those of all.

    Raises:
        InputError: damaged, incomplete, encrypted, beyond the limits, or with names that lead elsewhere; or the
            disk is full.
    """
    name = str(parts[0])
    folder.mkdir(parents=True, exist_ok=True)
    size = sum(part.stat().st_size for part in parts)
    try:
        if parts[0].name.lower().endswith(_TAR):
            with tarfile.open(parts[0], tarinfo=_TarEntry) as tar:
                _unpack_all(name, size, folder, _tar_members(name, tar), progress)
                tail = (
                    tar.fileobj.read(_SMALL) if tar.fileobj else b""
                )  # to the end, where gzip has its checksum
            if len(tail) == _SMALL:
                raise InputError(
                    f"{name}: goes on for {_SMALL >> 20} MiB and more behind its last file: damaged?"
                )
        else:
            with _Joined(parts) as file, zipfile.ZipFile(file) as zipped:  # type: ignore[arg-type, unused-ignore]
                _unpack_all(name, size, folder, _zip_members(name, zipped), progress)
    except InputError:
        raise
    except _DAMAGE as error:
        hint = "; are all parts here?" if len(parts) > 1 or _PART.fullmatch(parts[0].name) else ""
        raise InputError(f"{name}: cannot unpack the archive: {error}{hint}") from None


class _TarEntry(tarfile.TarInfo):
    """What a tar file says of a member. Long names are read whole, so that they have to have an end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _TarEntry:
        """See ``TarInfo``.

        Raises:
            ValueError: it is longer than any name, or a file with holes, whose list of holes has no bounds.
        """
        entry = super().frombuf(buf, encoding, errors)
        if entry.type == tarfile.GNUTYPE_SPARSE or (entry.type in _TEXTS and entry.size > _MOST_TEXT):
            raise ValueError(f"{entry.name!r}: a member with holes, or whose name takes {entry.size} bytes")
        return entry


class _Member:
    """A file in an archive: its name, its size, and how to read it."""

    def __init__(self, name: str, size: int, archive: Any, entry: Any) -> None:
        self.name, self.size, self._archive, self._entry = name, size, archive, entry

    def open(self) -> IO[bytes]:
        if isinstance(self._archive, zipfile.ZipFile):
            return self._archive.open(self._entry)
        stream = self._archive.extractfile(self._entry)
        return stream if stream is not None else io.BytesIO()


def _zip_members(name: str, zipped: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in zipped.infolist():
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind and not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
            raise InputError(f"{name}: {entry.filename!r} is a link or a device: not unpacked")
        if entry.flag_bits & 1:
            raise InputError(f"{name}: {entry.filename!r} is encrypted: unpack it with its password first")
        if not entry.is_dir():
            yield _Member(entry.filename, entry.file_size, zipped, entry)


def _tar_members(name: str, tar: tarfile.TarFile) -> Iterator[_Member]:
    for entry in tar:
        if not (entry.isfile() or entry.isdir()):
            raise InputError(f"{name}: {entry.name!r} is a link or a device: not unpacked")
        if entry.isfile():
            yield _Member(entry.name, entry.size, tar, entry)


def _unpack_all(
    name: str, archive_bytes: int, folder: Path, members: Iterable[_Member], progress: Progress
) -> None:
    wanted: dict[Path, _Member] = {}
    total = 0
    for member in members:
        place = _place(name, member.name, folder)
        if place.name in _LITTER or any(part in _LITTER for part in PurePosixPath(member.name).parts):
            continue
        if place in wanted:
            raise InputError(f"{name}: holds {member.name!r} twice")
        wanted[place] = member
        total += member.size
        _check_limits(name, archive_bytes, total, len(wanted))
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InputError(f"{name}: unpacks to {total >> 20} MiB, and the disk has {free >> 20} MiB left")
    done = 0
    for place, member in wanted.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, open(place, "xb") as target:
            left = member.size
            while left and (block := source.read(min(left, 1 << 20))):
                target.write(block)
                left -= len(block)
            if left or source.read(1):
                raise InputError(f"{name}: {member.name!r} is not as long as the archive says: damaged?")
        done += member.size
        progress(done, total)


def _place(name: str, member: str, folder: Path) -> Path:
    """Where a member goes, always below the folder."""
    path = PurePosixPath(member)
    unfit = (
        path.is_absolute() or ".." in path.parts or not path.parts or "\\" in member or ":" in path.parts[0]
    )
    if unfit or any(ord(symbol) < 32 for symbol in member):
        raise InputError(f"{name}: the name {member!r} leads out of the folder: not unpacked")
    return folder.joinpath(*path.parts)


def _check_limits(name: str, archive_bytes: int, total: int, count: int) -> None:
    if count > MAX_FILES:
        raise InputError(f"{name}: holds more than {MAX_FILES} files")
    if total > MAX_BYTES or total > max(_SMALL, MAX_GROWTH * archive_bytes):
        raise InputError(
            f"{name}: {archive_bytes >> 10} KiB unpack to {total >> 20} MiB or more: beyond {MAX_GROWTH} times "
            f"its size or {MAX_BYTES >> 30} GiB, so not a data set; unpack it yourself if you trust it"
        )


class _Joined(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, parts: Sequence[Path]) -> None:
        self._files = [open(part, "rb") for part in parts]  # noqa: SIM115 (closed with this one)
        sizes = [part.stat().st_size for part in parts]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes) + 1)]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._starts[-1]}[whence]
        if base + offset < 0:
            raise ValueError("before the beginning of the file")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = self._starts[-1] - self._at if size is None or size < 0 else size
        pieces = []
        while left > 0 and self._at < self._starts[-1]:
            part = max(i for i, start in enumerate(self._starts[:-1]) if start <= self._at)
            self._files[part].seek(self._at - self._starts[part])
            piece = self._files[part].read(min(left, self._starts[part + 1] - self._at))
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
