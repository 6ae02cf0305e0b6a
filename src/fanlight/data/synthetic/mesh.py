"""Triangle meshes made of grids, with what the shader needs at each vertex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: What a triangle is made of: decides its colour and gloss in `shade`.
SKIN, EAR, HAIR, CLOTH, FRAME, LENS = range(6)


@dataclass(frozen=True)
class Mesh:
    """Triangles with per-vertex attributes.

    Attributes:
        vertices: (V, 3) cm.
        normals: (V, 3) unit, outward.
        attributes: (V, 3): two texture coordinates (cm of the front plane for skin, strand and length
            for hair) and how open the place is to ambient light, 0..1.
        triangles: (T, 3) vertex indices.
        material: (T,) one of SKIN, HAIR, ...
    """

    vertices: Array
    normals: Array
    attributes: Array
    triangles: NDArray[np.int64]
    material: NDArray[np.int64]

    @classmethod
    def join(cls, meshes: Sequence[Mesh]) -> Mesh:
        """Put several meshes into one."""
        starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
        return cls(
            np.concatenate([mesh.vertices for mesh in meshes]),
            np.concatenate([mesh.normals for mesh in meshes]),
            np.concatenate([mesh.attributes for mesh in meshes]),
            np.concatenate([mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]),
            np.concatenate([mesh.material for mesh in meshes]),
        )


def grid_mesh(points: Array, texture: Array, material: int, openness: Array | float = 1.0) -> Mesh:
    """Turn a grid of points into triangles.

    Args:
        points: (R, C, 3); walking along a row and then down a column, the outside is on the
            right-hand side as seen in the image (x right, y down, z towards us).
        texture: (R, C, 2) texture coordinates.
        material: of all its triangles.
        openness: (R, C) ambient openness, or one number.
    """
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    attributes = np.empty((rows, columns, 3))
    attributes[..., :2] = texture
    attributes[..., 2] = openness
    return Mesh(
        points.reshape(-1, 3),
        grid_normals(points).reshape(-1, 3),
        attributes.reshape(-1, 3),
        triangles,
        np.full(len(triangles), material),
    )


def grid_normals(points: Array) -> Array:
    """Unit normals (R, C, 3) of a grid from its central differences."""
    along, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    normals = np.stack(
        [
            along[..., 1] * down[..., 2] - along[..., 2] * down[..., 1],
            along[..., 2] * down[..., 0] - along[..., 0] * down[..., 2],
            along[..., 0] * down[..., 1] - along[..., 1] * down[..., 0],
        ],
        axis=-1,
    )
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    return np.asarray(normals / np.maximum(length, 1e-9))
