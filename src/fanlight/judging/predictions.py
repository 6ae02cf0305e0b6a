"""Predictions for the faces of an index, kept in a file so that they are made once and judged many ways.

The file is a NumPy archive (.npz) of plain arrays; reading one runs no code. Its entries:

- ``about``: JSON text: format, model, mark-up, crop rule, input size, the index's SHA-256, facts for reports,
  the network with its recipe, and how the file was made;
- ``lines``: (N,) int64, the line of each face in the index file, the header being line 1;
- ``plain``: (N, L, 2) float64, landmarks in continuous image px, and ``mirrored``, the same from the mirrored
  crops, missing where those were not run;
- ``scores``: (N, L) float32 and ``covariances``: (N, L, 2, 2) float32, image px squared, of the plain crops.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.durable import writing_whole
from fanlight.errors import InputError
from fanlight.geometry import CropRule, Floats
from fanlight.markup import Markup
from fanlight.provenance import made_by
from fanlight.stored import options_of

FORMAT = "fanlight-predictions-1"
SUFFIX = ".npz"

_MOST_PACKED = 100  # how much larger than their file predictions may be; coordinates are not packed as well


@dataclass(frozen=True)
class Found:
    """What a network found in some faces.

    Attributes:
        positions: (N,) int64, which face each is: its position in an index, or in a file its line there.
        plain: (N, L, 2), in image px, from the crops as they are.
        mirrored: (N, L, 2), in image px, from the mirrored crops; None where those were not run.
        scores: (N, L), heights of the heatmaps' peaks, plain crops.
        covariances: (N, L, 2, 2), image px squared, how far the heatmaps spread, plain crops.
    """

    positions: NDArray[np.int64]
    plain: Floats
    mirrored: Floats | None
    scores: Floats
    covariances: Floats

    def landmarks(self, flip: bool) -> Floats:
        """(N, L, 2) in image px, averaged with those of the mirrored crops if ``flip``."""
        return (self.plain + self.mirrored) / 2 if flip and self.mirrored is not None else self.plain

    def take(self, rows: NDArray[np.int64]) -> Found:
        """Some of the faces, in this order."""
        mirrored = None if self.mirrored is None else self.mirrored[rows]
        return Found(
            self.positions[rows], self.plain[rows], mirrored, self.scores[rows], self.covariances[rows]
        )


@dataclass(frozen=True)
class Origin:
    """Who predicted, and how its crops are made.

    Attributes:
        model: what to call it, such as the checkpoint's path.
        markup: of the landmarks.
        crop: rule from face boxes to crops.
        input_size: side of the crops in px.
        facts: for reports, such as the number of parameters.
        learnt_from: partitions of this very index that it was trained on.
        chosen_on: partitions of this very index that it was picked by.
        network: which it is, with its recipe and provenance, as ``models.identity`` gives it; empty if not known.
    """

    model: str
    markup: Markup
    crop: CropRule = field(default_factory=CropRule)
    input_size: int = 256
    facts: Mapping[str, str] = field(default_factory=dict)
    learnt_from: tuple[str, ...] = ()
    chosen_on: tuple[str, ...] = ()
    network: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Predictions:
    """Predictions for the faces of an index, and where they come from.

    Attributes:
        origin: who predicted.
        index_sha256: of the index file.
        found: landmarks and scores; its positions are the faces' lines in the index file.
    """

    origin: Origin
    index_sha256: str
    found: Found

    def of(self, faces: Faces, flip: bool) -> Found:
        """The predictions of some faces, in their order; positions count those faces.

        Args:
            faces: a selection of the index that was predicted.
            flip: whether mirrored crops are needed.

        Raises:
            InputError: another index, faces that were not predicted, or no mirrored crops.
        """
        name = self.origin.model
        if faces.sha256 != self.index_sha256:
            raise InputError(
                f"{name}: predicted for an index of the SHA-256 {self.index_sha256[:12]}..., and {faces.where} "
                f"has {faces.sha256[:12]}...: it is another index, or has changed since; predict its faces anew"
            )
        order = np.argsort(self.found.positions)
        at = np.searchsorted(self.found.positions, faces.line_numbers, sorter=order)
        rows = order[np.minimum(at, len(order) - 1)]
        missing = self.found.positions[rows] != faces.line_numbers
        if missing.any():
            there = {faces.partition_of(int(i)): 0 for i in np.flatnonzero(missing)}
            raise InputError(
                f"{name}: holds no predictions for {int(missing.sum())} of the {len(faces)} faces asked for "
                f"(of {', '.join(there)}); its {len(order)} faces are others: predict these as well"
            )
        if flip and self.found.mirrored is None:
            raise InputError(
                f"{name}: was predicted without mirrored faces: add --no-flip, or predict with --flip"
            )
        return replace(self.found.take(rows), positions=np.arange(len(faces)))


def check_name(path: Path) -> None:
    """Refuse a name that would not be known again as predictions.

    Raises:
        InputError: it does not end in .npz.
    """
    if path.suffix != SUFFIX:
        raise InputError(f"{path}: predictions are kept in NumPy archives: give a name that ends in {SUFFIX}")


def save_predictions(path: str | PathLike[str], predictions: Predictions) -> Path:
    """Write predictions as one file, whole or not at all.

    Raises:
        InputError: the name does not end in .npz, or the file cannot be written.
    """
    path = Path(path)
    check_name(path)
    origin = predictions.origin
    about = {
        **vars(origin),
        "format": FORMAT,
        "markup": origin.markup.to_dict(),
        "crop": asdict(origin.crop),
        "facts": dict(origin.facts),
        "network": dict(origin.network),
        "provenance": made_by(),
        "index_sha256": predictions.index_sha256,
    }
    found = predictions.found
    arrays: dict[str, NDArray[Any]] = {
        "about": np.array(json.dumps(about)),
        "lines": found.positions,
        "plain": found.plain,
        "scores": found.scores.astype(np.float32),
        "covariances": found.covariances.astype(np.float32),
    }
    if found.mirrored is not None:
        arrays["mirrored"] = found.mirrored
    with writing_whole(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return path


def load_predictions(path: str | PathLike[str]) -> Predictions:
    """Read predictions, without executing code.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings(), np.load(file, allow_pickle=False) as archive:
            warnings.simplefilter("ignore")  # what is wrong with a file is told below
            unpacked = sum(entry.file_size for entry in archive.zip.infolist())
            if unpacked > _MOST_PACKED * os.path.getsize(path) + (64 << 20):
                raise InputError(f"{path}: would take {unpacked / 2**30:.3g} GiB: give another")
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")))
        if about.pop("format") != FORMAT:
            raise InputError(
                f"{path}: predictions of another format, not {FORMAT}: predict anew, or give another"
            )
        sha256 = str(about.pop("index_sha256"))
        about.pop("provenance", None)  # for fanlight info
        about["markup"], about["crop"] = (
            Markup.from_dict(about["markup"]),
            options_of(CropRule, about["crop"]),
        )
        about |= {name: tuple(about[name]) for name in ("learnt_from", "chosen_on")}
        _check_about(about)
        found = _checked(arrays, about["markup"].count)
        return Predictions(Origin(**about), sha256, found)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of predictions") from None
    except InputError as error:
        raise InputError(f"{path}: {error}: predict anew") if str(path) not in str(error) else error from None
    except Exception as error:  # of any type: the bytes are anyone's
        raise InputError(
            f"{path}: not predictions that can be read ({str(error)[:500]}): give a file that "
            "fanlight eval --save-predictions wrote"
        ) from None


def _check_about(about: Mapping[str, Any]) -> None:
    """Refuse facts of another type than those that are written."""
    kinds = {"model": str, "input_size": int, "facts": dict, "learnt_from": tuple, "chosen_on": tuple}
    wrong = [name for name, kind in kinds.items() if type(about[name]) is not kind]
    texts = [*about["learnt_from"], *about["chosen_on"], *dict(about["facts"]).values()]
    if wrong or not all(isinstance(text, str) for text in texts):
        raise InputError(f"{', '.join(wrong) or 'a fact'} is of the wrong type: predict anew")


def _checked(arrays: Mapping[str, NDArray[Any]], points: int) -> Found:
    """The arrays of a file, if they fit each other and the mark-up."""
    faces = len(arrays["lines"])
    shapes = {
        "lines": (faces,),
        "plain": (faces, points, 2),
        "mirrored": (faces, points, 2),
        "scores": (faces, points),
        "covariances": (faces, points, 2, 2),
    }
    for name, shape in shapes.items():
        array = arrays.get(name)
        if array is None and name == "mirrored":
            continue
        if array is None or array.shape != shape or array.dtype.kind not in "if":
            given = "missing" if array is None else f"of shape {array.shape} and type {array.dtype}"
            raise InputError(f"{name} is {given}: expected {shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{name} holds values that are not finite")
    if not faces:
        raise InputError("holds no faces")
    mirrored = arrays.get("mirrored")
    return Found(
        arrays["lines"].astype(np.int64),
        arrays["plain"].astype(np.float64),
        None if mirrored is None else mirrored.astype(np.float64),
        arrays["scores"].astype(np.float64),
        arrays["covariances"].astype(np.float64),
    )
