"""Faces from a pack: photos out of tar files, labels out of a table that is mapped into memory."""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.data.pack_file import (
    DESCRIPTION,
    FACE,
    FACES,
    LANDMARKS,
    MAX_DESCRIPTION_BYTES,
    SOURCES,
    Description,
    LocalFiles,
    PackFiles,
    StoredFile,
    fault_of,
)
from fanlight.errors import InputError
from fanlight.geometry import FARTHEST_PX, LEAST_PX, Floats
from fanlight.image import decode_image_reduced
from fanlight.markup import Markup

_ATTEMPTS = 5


class Pack(Faces):
    """The faces of a pack.

    Tables are mapped, not read: a million faces open at once, and all processes of a machine share the memory.

    Args:
        where: the folder or the URL.
        sha256: of ``pack.json``.
        description: what that says.
        files: the others.

    Attributes:
        description: what the pack says of itself.

    Raises:
        InputError: the tables do not fit the description.
    """

    def __init__(self, where: str, sha256: str, description: Description, files: PackFiles) -> None:
        self.description = description
        self.files = files
        self._map()
        self._check_tables(where)
        table = self._table
        super().__init__(
            where,
            sha256,
            np.array(table["partition"]),
            description.partitions,
            np.array(table["face_box"]),
            np.array(table["aug_idx"]),
            np.array(table["line"]),
        )
        self.source_sha256 = description.source_sha256
        self.markup = Markup.from_dict(description.markup)
        self.reach = description.photos.reach if description.photos.cut else np.inf
        self._rows: NDArray[np.intp] = np.arange(len(table))

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Pack:
        """Open the pack in a folder; the sizes of its files are looked at, not their content.

        Raises:
            InputError: it holds no pack, or one that is not whole.
        """
        folder = Path(os.path.abspath(path))
        try:
            if not (folder / DESCRIPTION).is_file():  # such as a pipe, which would never end
                raise FileNotFoundError
            with (folder / DESCRIPTION).open("rb") as file:
                data = file.read(MAX_DESCRIPTION_BYTES + 1)
        except OSError:
            raise InputError(
                f"{folder}: a folder without {DESCRIPTION}, so no pack: make one by fanlight data pack, or give "
                "the path of an index (TSV)"
            ) from None
        description = Description.parse(data, str(folder))
        return cls(
            str(folder), hashlib.sha256(data).hexdigest(), description, LocalFiles(folder, description)
        )

    def name(self, position: int) -> str:
        """The file name of the photo that was packed."""
        return self._source(position).rpartition("/")[2]

    def photo(self, position: int, reduce: int = 1) -> tuple[NDArray[np.uint8], Floats]:
        """Read the photo of a face, at a fraction of its size where that is faster."""
        row = self._table[self._rows[position]]
        data = self._read(int(row["shard"]), int(row["offset"]), int(row["bytes"]))
        name = f"{self.where}: {self._source(position)}"
        if self.description.photos.format == "raw":
            return _raw_photo(data, name), np.eye(2, 3)
        return decode_image_reduced(data, name, reduce)

    def landmarks(self, position: int) -> NDArray[np.float32]:
        """The landmarks of a face, in px of its packed photo."""
        landmarks = np.array(self._landmarks[self._rows[position]])
        self._check_finite(landmarks)
        return landmarks

    def all_landmarks(self, markup: Markup) -> NDArray[np.float32]:
        """The landmarks of all faces; that they fit was seen to when they were packed."""
        self.check_points(markup)
        landmarks = np.array(self._landmarks[self._rows])
        self._check_finite(landmarks)
        return landmarks

    def check_points(self, markup: Markup) -> None:
        """Refuse a mark-up of another number of points than the labels have.

        Raises:
            InputError: it has.
        """
        count = self._landmarks.shape[1]
        if count != markup.count:
            packed = self.description.markup["name"]
            raise InputError(
                f"{self.where}: packed with the {count} points of {packed}, but mark-up {markup.name} has "
                f"{markup.count}: choose the mark-up (data.markup in a recipe, --markup elsewhere) or pack"
            )

    def _check_finite(self, landmarks: NDArray[np.float32]) -> None:
        if not (np.abs(landmarks) < FARTHEST_PX).all():
            raise InputError(
                f"{self.where}: {LANDMARKS} holds points that are no numbers, or further out than any photo "
                "reaches: copy it from where the pack was made, or pack anew"
            )

    def check_content(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Read all files of the pack and compare them with what was written.

        Args:
            progress: called with the number of files read and that of all files.

        Raises:
            InputError: listing every file that is damaged.
        """
        tables, shards = self.description.tables, self.description.shards
        ways = [(file, partial(self.files.table, file.name)) for file in tables]
        ways += [(file, partial(self.files.shard, number)) for number, file in enumerate(shards)]
        self._compare(ways, progress)

    def check_tables(self) -> None:
        """Read the tables and compare them with what was written: for a million faces, half a second."""
        tables = self.description.tables
        self._compare([(file, partial(self.files.table, file.name)) for file in tables])

    def _compare(
        self,
        files: Sequence[tuple[StoredFile, Callable[[], Path]]],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        problems = []
        for number, (file, get) in enumerate(files):
            if fault := fault_of(get(), file, content=True):
                problems.append(f"{fault}: {self.files.remedy}")
            if progress:
                progress(number + 1, len(files))
        if problems:
            raise InputError.collect(
                problems, f"{self.where}: {len(problems)} of {len(files)} files of the pack are damaged:"
            )

    @property
    def shards(self) -> NDArray[np.int32]:
        """(N,) the number of the tar file that each face lies in."""
        return np.array(self._table["shard"][self._rows])

    def prefetch(self, shards: Sequence[int]) -> None:
        """Get tar files that will be needed."""
        self.files.prefetch(shards)

    def check_room(self, at_once: int | None) -> None:
        """Refuse when so many of the tar files cannot be kept together."""
        self.files.check_room(np.unique(self.shards), at_once)

    def _taken(self, rows: NDArray[np.intp]) -> Self:
        taken = super()._taken(rows)
        taken._rows = self._rows[rows]
        return taken

    def _source(self, position: int) -> str:
        start = int(self._table["source"][self._rows[position]])
        return self._sources[start : self._sources.find(b"\n", start)].decode(errors="replace")

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        for attempt in range(_ATTEMPTS):
            path = self.files.shard(shard)
            try:
                handle = os.open(path, os.O_RDONLY)
                try:
                    data = os.pread(handle, size, offset)
                finally:
                    os.close(handle)
                break
            except OSError as error:
                gone = isinstance(error, FileNotFoundError)  # from a cache, which needed the room
                if gone and attempt + 1 < _ATTEMPTS:
                    continue
                raise InputError(f"{path}: cannot read the photos of the pack: {error.strerror}") from None
        if len(data) != size:
            raise InputError(
                f"{path}: ends before byte {offset + size}: look at the pack by fanlight data check"
            )
        return data

    def _map(self) -> None:
        """Map the tables; arrays of maps would be copied, whole, to processes that are not forked."""
        try:
            self._table = _mapped(self.files.table(FACES))
            self._landmarks = _mapped(self.files.table(LANDMARKS))
            with self.files.table(SOURCES).open("rb") as file:
                self._sources = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except Exception as error:  # of any type: the bytes are anyone's
            raise InputError(
                f"{self.files.table(FACES).parent}: its tables cannot be read ({str(error)[:500]}): copy "
                "it from where it was made, or pack anew"
            ) from None

    def _check_tables(self, where: str) -> None:
        about, table = self.description, self._table
        points = Markup.from_dict(about.markup).count
        if table.dtype != FACE or table.shape != (about.faces,) or not about.faces:
            raise InputError(f"{where}: {FACES} is not the table of {about.faces} faces: pack the data anew")
        if self._landmarks.shape != (about.faces, points, 2) or self._landmarks.dtype != np.float32:
            raise InputError(
                f"{where}: {LANDMARKS} does not hold {points} points for each face: pack the data anew"
            )
        sizes = np.array([shard.bytes for shard in about.shards])
        numbers = {"shard": len(sizes), "partition": len(about.partitions), "source": len(self._sources)}
        fits = all(0 <= table[name].min() <= table[name].max() < end for name, end in numbers.items())
        fits = fits and min(table["offset"].min(), table["bytes"].min()) >= 0
        fits = fits and (table["offset"] <= sizes[table["shard"]] - table["bytes"]).all()
        box = np.array(table["face_box"])
        with np.errstate(invalid="ignore"):
            sized = (np.abs(box) < FARTHEST_PX).all() and (box[:, 2:] - box[:, :2] >= LEAST_PX).all()
        if not sized:
            raise InputError(
                f"{where}: {FACES} holds face boxes without size, or that are no numbers: copy it from where the "
                "pack was made, or pack the data anew"
            )
        if not fits:
            raise InputError(f"{where}: {FACES} names what the pack does not hold: pack the data anew")

    def __getstate__(self) -> dict[str, Any]:
        maps = ("_table", "_landmarks", "_sources")
        return {name: value for name, value in vars(self).items() if name not in maps}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._map()


def _raw_photo(data: bytes, name: str) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a NumPy file, which is not believed: it may come from anywhere.

    Raises:
        InputError: it holds something else.
    """
    file = io.BytesIO(data)
    try:
        np.lib.format.read_magic(file)
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        if by_columns or dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(f"{dtype} of the shape {shape}")
        return np.frombuffer(data, np.uint8, offset=file.tell()).reshape(shape).copy()
    except Exception as error:  # of any type: the bytes are anyone's
        raise InputError(
            f"{name}: no photo of raw pixels ({error}): look at the pack by fanlight data check"
        ) from None


def _mapped(path: Path) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a header that NumPy would no longer write
        return np.asarray(
            np.load(path, mmap_mode="r", allow_pickle=False)
        )  # no memmap, which is slow to index
