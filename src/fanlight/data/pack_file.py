"""What a pack consists of: one description, three tables with a row for each face, and tar files of photos.

- ``pack.json``: the description, with the size and the SHA-256 of every other file;
- ``faces.npy``: (N,) of ``FACE``, in the order of the index: where each photo lies, and its box;
- ``landmarks.npy``: (N, L, 2) float32, in continuous px of the packed photo;
- ``sources.txt``: a line for each face: the photo it was made from, relative to the index;
- ``SUBSET-SPLIT-000000.tar`` and so on: shards, each with faces of one partition: ``KEY.jpg`` (or ``KEY.npy``) and
  ``KEY.json``, a face's number in the tables being its key.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fanlight.errors import InputError
from fanlight.markup import Markup

FORMAT = "fanlight-pack-1"
MAX_DESCRIPTION_BYTES = 64 << 20  # of a description: some 300,000 shards
DESCRIPTION = "pack.json"
FACES, LANDMARKS, SOURCES = "faces.npy", "landmarks.npy", "sources.txt"
PhotoFormat = Literal["jpeg", "raw"]

FACE = np.dtype(
    [
        ("shard", "<i4"),  # which of the description's shards
        ("bytes", "<i4"),  # of the photo
        ("offset", "<i8"),  # of the photo's first byte in the shard
        ("source", "<i8"),  # of the face's line in sources.txt
        ("partition", "<i4"),  # which of the description's partitions
        ("aug_idx", "<i4"),
        ("line", "<i4"),  # of the index, the header being line 1
        ("face_box", "<f8", (4,)),  # left, top, right, bottom in px of the packed photo
        ("matrix", "<f8", (2, 3)),  # from the source photo to the packed one, continuous
    ]
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Count = Annotated[int, Field(ge=0)]
Length = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class StoredFile(_Strict):
    """A file of a pack.

    Attributes:
        name: in the pack's folder.
        bytes: its size.
        sha256: of its content.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    bytes: Count
    sha256: str

    @classmethod
    def of(cls, path: Path) -> StoredFile:
        """Describe a file that is there."""
        return cls(name=path.name, bytes=path.stat().st_size, sha256=digest(path))


class Photos(_Strict):
    """How photos were packed.

    Attributes:
        format: ``jpeg``, or ``raw`` pixels as NumPy files.
        quality: of JPEG files that were made anew.
        size: the longest side of a packed photo, px.
        margin: side of the square that was kept of a larger photo, over the side of the usual crop.
        reach: the same over the face box's size.
        cut: how many photos lost what lies outside that square.
        kept: how many are the very bytes of their source.
    """

    format: PhotoFormat
    quality: int
    size: int
    margin: Length
    reach: Length
    cut: Count
    kept: Count


class Description(_Strict):
    """``pack.json``.

    Attributes:
        format: of the pack, ``FORMAT``.
        fanlight: the version that packed.
        markup: the mark-up of the landmarks, whole.
        faces: how many.
        partitions: (subset, split), in the order of the index.
        photos: how photos were packed.
        source: file name of the index.
        source_sha256: of the index.
        tables: the three tables.
        shards: the tar files.
    """

    format: str
    fanlight: str
    markup: dict[str, Any]
    faces: Count
    partitions: list[tuple[str, str]]
    photos: Photos
    source: str
    source_sha256: str
    tables: list[StoredFile]
    shards: list[StoredFile]

    @model_validator(mode="after")
    def _each_file_once(self) -> Self:
        if sorted(table.name for table in self.tables) != sorted((FACES, LANDMARKS, SOURCES)):
            raise ValueError(f"its tables should be {FACES}, {LANDMARKS} and {SOURCES}")
        shards = {shard.name for shard in self.shards if shard.name.endswith(".tar")}
        if len(shards) != len(self.shards):
            raise ValueError("its shards should be .tar files of different names")
        return self

    @classmethod
    def parse(cls, data: bytes, where: str) -> Description:
        """Read a description.

        Raises:
            InputError: it is none, or of another format.
        """
        if len(data) > MAX_DESCRIPTION_BYTES:
            raise InputError(
                f"{where}: its {DESCRIPTION} has more than {MAX_DESCRIPTION_BYTES >> 20} MiB, so it does not "
                "describe a pack: pack the data anew, in larger shards"
            )
        try:
            description = cls.model_validate_json(data)
            Markup.from_dict(description.markup)
        except (ValidationError, InputError) as error:
            raise InputError(
                f"{where}: its {DESCRIPTION} does not describe a pack ({_first(error)}): pack the data anew"
            ) from None
        if description.format != FORMAT:
            raise InputError(f"{where}: a pack of the format {description.format}, expected {FORMAT}")
        return description


class PackFiles(Protocol):
    """Where the files of a pack come from.

    Attributes:
        remedy: what to do about a damaged one.
    """

    remedy: str

    def table(self, name: str) -> Path:
        """One of the three tables, as a file that is there."""

    def shard(self, number: int) -> Path:
        """A tar file that is there; it may vanish again unless it is opened soon."""

    def prefetch(self, shards: Sequence[int]) -> None:
        """Get tar files that will be needed."""

    def check_room(self, shards: NDArray[np.int32], at_once: int | None) -> None:
        """Refuse when so many of these tar files cannot be kept together."""


class LocalFiles:
    """The files of a pack in a folder.

    Raises:
        InputError: listing every file that is missing or of another size.
    """

    remedy = "copy it from where the pack was made, or pack anew"

    def __init__(self, folder: Path, description: Description) -> None:
        self.folder = folder
        self._shards = [shard.name for shard in description.shards]
        stored = [*description.tables, *description.shards]
        faults = [fault_of(folder / file.name, file, False) for file in stored]
        problems = [f"{fault}: {self.remedy}" for fault in faults if fault]
        if problems:
            raise InputError.collect(problems, f"{folder}: the pack is not whole:")

    def table(self, name: str) -> Path:
        """The path of a table."""
        return self.folder / name

    def shard(self, number: int) -> Path:
        """The path of a tar file."""
        return self.folder / self._shards[number]

    def prefetch(self, shards: Sequence[int]) -> None:
        """They are there."""

    def check_room(self, shards: NDArray[np.int32], at_once: int | None) -> None:
        """They are there."""


def digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fault_of(path: Path, stored: StoredFile, content: bool) -> str | None:
    """What is wrong with a file of a pack: there, of the right size and, if ``content``, of the right content."""
    try:
        fault = mismatch(path, stored, content)
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    return f"{path}: {fault}" if fault else None


def mismatch(path: Path, stored: StoredFile, content: bool) -> str | None:
    """How a file differs from what was packed, in its size and, if ``content``, in its content.

    Raises:
        OSError: it cannot be read.
    """
    size = os.stat(path).st_size
    if size != stored.bytes:
        return f"has {size} bytes, expected {stored.bytes}"
    if content and digest(path) != stored.sha256:
        return "its content is not what was packed (another SHA-256)"
    return None


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return ": ".join(filter(None, [".".join(map(str, fault["loc"])), fault["msg"]]))
    return str(error)
