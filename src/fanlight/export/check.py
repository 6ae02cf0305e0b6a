"""Comparing an exported network with the one it was made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fanlight.checkpoint import Checkpoint
from fanlight.errors import InputError
from fanlight.geometry import Floats
from fanlight.network import Crops, TorchNetwork

TOLERANCE_PX = 1e-3
BATCH = 8


@dataclass(frozen=True)
class ExampleFaces:
    """Faces to compare networks on.

    Attributes:
        crops: (N, S, S, 3) uint8 RGB, of the network's input size.
        source: what they are, in a few words.
    """

    crops: Crops
    source: str


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: the file.
        mean_px: mean distance between its landmarks and PyTorch's on the test faces, in crop px.
        largest_px: the largest such distance.
        notes: what its user should know.
    """

    path: Path
    mean_px: float
    largest_px: float
    notes: tuple[str, ...] = ()


def distances(checkpoint: Checkpoint, other: Callable[[Crops], Floats], faces: ExampleFaces) -> Floats:
    """How far another network's landmarks are from those of PyTorch, (N, L) in crop px.

    Args:
        checkpoint: the network.
        other: gives landmarks (B, L, 2) in crop px for crops; it gets batches of different sizes.
        faces: what to compare on.

    Raises:
        InputError: there are no faces, or they are not of the network's input size.
    """
    size = checkpoint.options.input_size
    if faces.crops.shape[1:] != (size, size, 3) or not len(faces.crops):
        raise InputError(
            f"crops of shape {faces.crops.shape} to compare on: give (N, {size}, {size}, 3), at least one"
        )
    ours = TorchNetwork(checkpoint)
    parts = [faces.crops[:1], *(faces.crops[at : at + BATCH] for at in range(1, len(faces.crops), BATCH))]
    apart = [np.linalg.norm(other(part) - ours(part).landmarks, axis=-1) for part in parts]
    return np.concatenate(apart)


def check(path: Path, apart: Floats, faces: ExampleFaces, tolerance: float = TOLERANCE_PX) -> None:
    """Refuse a network whose landmarks are not those of PyTorch.

    Raises:
        InputError: one is farther than the tolerance.
    """
    face, point = np.unravel_index(np.argmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
    if not apart[face, point] <= tolerance:
        raise InputError(
            f"{path}: was not written: on {faces.source}, landmark {point} of face {face} is "
            f"{apart[face, point]:.4g} px from where PyTorch finds it, expected {tolerance:g} at most; use the "
            "checkpoint itself, and please report this"
        )
