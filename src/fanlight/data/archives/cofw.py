"""COFW: 1852 faces with 29 points and which of them are hidden.

Layout: ``COFW_train_color.mat`` and ``COFW_test_color.mat`` (also without ``_color``), MATLAB 7.3 and so
HDF5. ``IsTr`` holds the photos (a cell array; grey or colour), ``phisTr`` for each face 29 x, 29 y and 29
times whether the point is hidden, ``bboxesTr`` the boxes (left, top, width, height); ``IsT``, ``phisT``,
``bboxesT`` in the test file. HDF5 shows all arrays transposed.

Convention: MATLAB, so counted from 1 with pixel centres at whole numbers (mmpose's converter subtracts 1 to
count from 0): continuous = p - 0.5. A box begins at the left edge of its first pixel: continuous = left - 1.

The photos are written out as PNG files, and what is hidden into ``occlusion.tsv``. HDF5 files may refer to others,
of any name: such arrays and links are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.data.archives.contents import Contents, Face, Request, nothing_found
from fanlight.data.archives.folder import walk
from fanlight.errors import InputError
from fanlight.image import MAX_PIXELS, MAX_SIDE, write_image

COUNTS = {"train": 1345, "test": 507}
_KEYS = {"train": ("IsTr", "phisTr", "bboxesTr"), "test": ("IsT", "phisT", "bboxesT")}
_MAX_FACES = 1_000_000


def read(request: Request) -> Contents:
    """The faces of both files; their photos are written into the stage."""
    files = {
        split: path
        for folder in walk(request.root)
        for split in COUNTS
        for path in (folder / f"COFW_{split}.mat", folder / f"COFW_{split}_color.mat")  # in colour, if both
        if path.is_file()
    }
    if not files:
        raise nothing_found(request.root, "COFW_train_color.mat and COFW_test_color.mat")
    contents = Contents(markup="cofw29", expected={f"cofw/{split}": count for split, count in COUNTS.items()})
    rows = ["photo\thidden"]
    for split in sorted(files, key=list(COUNTS).index):
        _read_file(request, files[split], split, contents, rows)
    contents.sidecars["occlusion.tsv"] = "\n".join(rows) + "\n"
    return contents


def _read_file(request: Request, path: Path, split: str, contents: Contents, rows: list[str]) -> None:
    try:
        import h5py
    except ImportError:
        raise InputError(f"{path}: reading it needs h5py: pip install 'fanlight[archives]'") from None
    folder = request.stage / "photos" / "cofw" / split
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(path, "r") as file:
            cells, phis, boxes = _variables(path, file, split)
            for i in range(phis.shape[1]):
                photo = folder / f"{i + 1:06d}.png"
                try:
                    write_image(photo, _image(path, _inside(path, file[cells[i]]), i))
                    face, hidden = _face(path, phis[:, i], boxes[:, i], i)
                except InputError as error:
                    contents.problems.append(str(error))
                    continue
                face.split, face.photo = split, photo
                contents.faces.append(face)
                rows.append(f"{photo.relative_to(request.stage).as_posix()}\t{hidden}")
                request.progress(len(contents.faces), sum(COUNTS.values()))
    except InputError:
        raise
    except Exception as error:  # h5py's errors are of every type; on a damaged file each read can raise one
        raise InputError(
            f"{path}: not a readable MATLAB 7.3 (HDF5) file: {error or type(error).__name__}"
        ) from None


def _variables(path: Path, file: Any, split: str) -> tuple[Any, NDArray[Any], NDArray[Any]]:
    """The references to the photos (N,), the points (87, N) and the boxes (4, N)."""
    missing = [key for key in _KEYS[split] if key not in file]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}: not a file of COFW?")
    import h5py

    if not all(isinstance(file.get(key, getlink=True), h5py.HardLink) for key in _KEYS[split]):
        raise InputError(f"{path}: links to what is elsewhere, which COFW does not: not read")
    cells, phis, boxes = (_inside(path, file[key]) for key in _KEYS[split])
    count = min(cells.size, _MAX_FACES)
    if phis.shape != (87, count) or boxes.shape != (4, count) or cells.size != count:
        raise InputError(
            f"{path}: expected N photos, 87 x N numbers and 4 x N of boxes as HDF5 shows them, found "
            f"{cells.shape}, {phis.shape} and {boxes.shape}"
        )
    return np.asarray(cells).ravel(), np.asarray(phis), np.asarray(boxes)


def _inside(path: Path, array: Any) -> Any:
    """The same array, which does not lie in another file."""
    if array.external or array.is_virtual:
        raise InputError(f"{path}: takes arrays from other files, which COFW does not: not read")
    return array


def _image(path: Path, cell: Any, i: int) -> NDArray[np.uint8]:
    """A photo, (H, W, 3) RGB, from (W, H) or (3, W, H)."""
    if max(cell.shape, default=0) > MAX_SIDE or cell.size > 3 * MAX_PIXELS:
        raise InputError(f"{path}: photo {i + 1} is too large: {cell.shape}")
    pixels = np.asarray(cell)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[0] != 3):
        raise InputError(
            f"{path}: photo {i + 1} is an array of {pixels.dtype} of shape {pixels.shape}, not an image"
        )
    image = pixels.T
    return np.ascontiguousarray(np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image)


def _face(path: Path, phi: NDArray[Any], box: NDArray[Any], i: int) -> tuple[Face, str]:
    x, y, hidden = np.asarray(phi, dtype=np.float64).reshape(3, 29)
    left, top, width, height = np.asarray(box, dtype=np.float64).tolist()
    if not (np.isfinite(phi).all() and np.isfinite(box).all()) or width <= 0 or height <= 0:
        raise InputError(f"{path}: face {i + 1} has numbers that are not finite, or a box without a size")
    landmarks = np.column_stack([x, y]) - 0.5
    face_box = (left - 1, top - 1, left - 1 + width, top - 1 + height)
    flags = "".join("1" if flag else "0" for flag in hidden)
    return Face("cofw", "", Path(), landmarks, box=face_box), flags
