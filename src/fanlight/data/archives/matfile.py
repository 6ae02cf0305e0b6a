"""Numbers out of MATLAB files, whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fanlight.errors import InputError
from fanlight.geometry import Floats

_MAX_BYTES = 512 << 20


def read_mat(path: Path, *names: str) -> dict[str, Any]:
    """Some variables of a ``.mat`` file up to version 7.2.

    Raises:
        InputError: missing, damaged, of version 7.3, or without one of the variables; or scipy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError:
        raise InputError(f"{path}: reading it needs scipy: pip install 'fanlight[archives]'") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, so not the label of a face")
    try:
        data = loadmat(str(path), variable_names=list(names))
    except NotImplementedError:
        raise InputError(f"{path}: a MATLAB 7.3 file (HDF5), expected an older one") from None
    except Exception as error:  # scipy's parser fails in every way on damaged files, MemoryError included
        raise InputError(f"{path}: not a readable .mat file: {error or type(error).__name__}") from None
    missing = [name for name in names if name not in data]
    if missing:
        raise InputError(f"{path}: has no {', '.join(missing)}")
    return {name: data[name] for name in names}


def points_of(path: Path, value: Any, count: int) -> Floats:
    """(count, 2) numbers from an array of (count, 2 or more) or its transpose.

    Raises:
        InputError: another shape, or numbers that are not finite.
    """
    array = np.asarray(value)
    if array.ndim == 2 and array.shape[0] in (2, 3) and array.shape[1] == count:
        array = array.T
    if (
        array.ndim != 2
        or array.shape[0] != count
        or array.shape[1] not in (2, 3)
        or array.dtype.kind not in "iuf"
    ):
        raise InputError(
            f"{path}: expected {count} points, found an array of {array.dtype} of shape {array.shape}"
        )
    points = array[:, :2].astype(np.float64)
    if not np.isfinite(points).all():
        raise InputError(f"{path}: holds a coordinate that is not a finite number")
    return points
