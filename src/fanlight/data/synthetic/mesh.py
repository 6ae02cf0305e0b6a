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
    first = np.where(falling_diagonal(columns)[:, None], np.stack([a, b, d], -1), np.stack([a, b, c], -1))
    second = np.where(falling_diagonal(columns)[:, None], np.stack([a, d, c], -1), np.stack([b, d, c], -1))
    triangles = np.concatenate([first.reshape(-1, 3), second.reshape(-1, 3)])
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


def falling_diagonal(columns: int) -> NDArray[np.bool_]:
    """Which columns of cells (columns - 1,) are cut from top left to bottom right: those of the right half.

    The others are cut from top right to bottom left, so that a symmetric grid makes a symmetric surface.
    """
    return np.arange(columns - 1) >= (columns - 1) / 2


def sample_grid(grid: Array, row: Array, column: Array) -> Array:
    """Points of a grid (R, C, K) at fractional rows and columns, on the triangles of `grid_mesh`."""
    i = np.clip(row.astype(np.int64), 0, grid.shape[0] - 2)
    j = np.clip(column.astype(np.int64), 0, grid.shape[1] - 2)
    r, c = (row - i)[..., None], (column - j)[..., None]
    a, b, below_a, below_b = grid[i, j], grid[i, j + 1], grid[i + 1, j], grid[i + 1, j + 1]
    right, under = b - a, below_a - a
    far_right, far_under = below_b - below_a, below_b - b
    rising = np.where(
        r + c <= 1, a + c * right + r * under, below_b - (1 - c) * far_right - (1 - r) * far_under
    )
    falling = np.where(c >= r, a + c * right + r * far_under, a + c * far_right + r * under)
    return np.where(falling_diagonal(grid.shape[1])[j][..., None], falling, rising)


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
