"""From one mark-up to another: which points of a face are the same, and which lie between others.

Points of the same name are the same point. The few that a pair of mark-ups names differently stand in
``markups/projections/SOURCE-TARGET.toml``, as weighted means::

    [points]
    right_eye_top_outer = { right_eye_top_outer_quarter = 2, right_eye_top = 1 }   # weights of the source's points
    left_brow_outer = "left_brow_end"                                              # or one of them alone

So the landmarks of a network trained on one data set can be judged with the labels of another. Faults of the
labels stay: two groups of annotators never mean quite the same point.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fanlight.errors import InputError
from fanlight.markup import Markup
from fanlight.toml_file import parse_toml, read_toml

Weights = tuple[tuple[int, float], ...]
"""Landmarks of the source and their shares, which add up to 1."""


@dataclass(frozen=True)
class Projection:
    """How the landmarks of ``target`` follow from those of ``source``.

    Attributes:
        source: the mark-up that is given.
        target: the mark-up that is wanted.
        weights: for each landmark of the target, those of the source and their shares.
    """

    source: Markup
    target: Markup
    weights: tuple[Weights, ...]

    @staticmethod
    def names() -> tuple[tuple[str, str], ...]:
        """The (source, target) pairs that have a file; others project where the names of their points allow it."""
        folder = resources.files("fanlight") / "markups" / "projections"
        stems = sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))
        return tuple((source, target) for source, _, target in (stem.partition("-") for stem in stems))

    @classmethod
    def load(
        cls, source: str | Markup, target: str | Markup, path: str | PathLike[str] | None = None
    ) -> Projection:
        """The projection between two mark-ups: names alike, and what a file says about the others.

        Args:
            source: a mark-up, its name, or its file.
            target: likewise.
            path: a file of the format above; when left out, the built-in one of these two, if there is one.

        Raises:
            InputError: a point of the target has no counterpart, or the file is faulty; all points are listed.
        """
        source = source if isinstance(source, Markup) else Markup.load(source)
        target = target if isinstance(target, Markup) else Markup.load(target)
        name, given = _read(source, target, path)
        problems = [f"{point}: not a point of {target.name}" for point in given if point not in target.points]
        weights: list[Weights] = []
        for point in target.points:
            value = given.get(point, point if point in source.points else None)
            if value is None:
                problems.append(f"{point}: {source.name} has no such point; say which ones it lies between")
                continue
            weights.append(_weights(value, source, point, problems))
        if problems:
            raise InputError.collect(problems, f"{name}: {source.name} cannot be projected to {target.name}:")
        return cls(source, target, tuple(weights))

    def nearest(self) -> Projection:
        """The same, with each mean replaced by its weightiest landmark (the first of equal ones)."""
        return replace(
            self, weights=tuple(((max(w, key=lambda pair: pair[1])[0], 1.0),) for w in self.weights)
        )

    def apply(self, landmarks: ArrayLike) -> NDArray[np.float64]:
        """The target's landmarks.

        Args:
            landmarks: (..., S, 2) in any frame, those of the source.

        Returns:
            (..., T, 2) in the same frame.

        Raises:
            InputError: another number of landmarks than the source has.
        """
        given = np.asarray(landmarks, dtype=np.float64)
        if given.ndim < 2 or given.shape[-2:] != (self.source.count, 2):
            raise InputError(
                f"landmarks of shape {given.shape} cannot be projected from {self.source.name}: "
                f"expected (..., {self.source.count}, 2)"
            )
        matrix = np.zeros((self.target.count, self.source.count))
        for row, members in enumerate(self.weights):
            for column, share in members:
                matrix[row, column] = share
        return np.einsum("ts,...sk->...tk", matrix, given)


def _read(source: Markup, target: Markup, path: str | PathLike[str] | None) -> tuple[str, dict[str, Any]]:
    """The name of the file, and its table of points; empty where there is no built-in file."""
    name = f"{source.name}-{target.name}.toml" if path is None else str(path)
    if path is not None:
        data, _ = read_toml(Path(path), "the projection")
    elif (source.name, target.name) in Projection.names():
        built_in = resources.files("fanlight") / "markups" / "projections" / name
        data = parse_toml(built_in.read_text(encoding="utf-8"))
    else:
        return f"{source.name} to {target.name}", {}
    if set(data) != {"points"} or not isinstance(data["points"], dict):
        raise InputError(f"{name}: a projection is one table, [points]; found {', '.join(data) or 'nothing'}")
    return name, data["points"]


def _weights(value: object, source: Markup, point: str, problems: list[str]) -> Weights:
    """The shares that a file gives one point of the target."""
    table = {value: 1} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not table:
        problems.append(f"{point}: should be a point's name, or a table of names and weights, is {value!r}")
        return ()
    unknown = [name for name in table if name not in source.points]
    problems += [f"{point}: {name!r} is not a point of {source.name}" for name in unknown]
    wrong = [
        w for w in table.values() if isinstance(w, bool) or not isinstance(w, int | float) or not 0 < w < 1e9
    ]
    problems += [f"{point}: the weight {w!r} should be a positive number" for w in wrong]
    if unknown or wrong:
        return ()
    total = sum(table.values())
    return tuple((source.points.index(name), weight / total) for name, weight in table.items())
