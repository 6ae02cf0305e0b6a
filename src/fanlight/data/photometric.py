"""Albumentations transforms named in a recipe, built strictly and applied to finished crops.

Most change pixels only. Geometric ones move the landmarks too: they go through albumentations' own keypoints,
in pixel indices (continuous - 0.5), except for the distortions, whose keypoints are off by pixels there and
are read from the distortion's map here instead. Where a transform mirrors the face, the points are renamed.
"""

from __future__ import annotations

import difflib
import inspect
import os
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from fanlight.augment_settings import PhotometricStep
from fanlight.errors import InputError
from fanlight.geometry import Floats

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for updates
import albumentations as A
from albumentations.augmentations.dropout.transforms import BaseDropout
from albumentations.augmentations.geometric.distortion import BaseDistortion

_ABSTRACT = {"BasicTransform", "DualTransform", "ImageOnlyTransform"}
_PROBES = 16  # a transform that mirrors or crops in half of its draws goes unnoticed once in 65,536 recipes


@dataclass(frozen=True)
class Step:
    """One built transform: ``follow`` carries landmarks along where it is geometric, else it is None."""

    key: str
    transform: Any
    follow: Any = None


class Photometric:
    """A recipe's transforms, applied in order.

    Args:
        settings: the transforms by name, with arguments.
        input_size: side of the crops they will see, in px.
        mirror: the mark-up's mirror order, for transforms that mirror.

    Raises:
        InputError: listing every unknown transform, unknown argument and unusable value.
    """

    def __init__(self, settings: Sequence[PhotometricStep], input_size: int, mirror: Sequence[int]) -> None:
        built = [_build(index, step, input_size) for index, step in enumerate(settings)]
        problems = [problem for _, found in built for problem in found]
        if problems:
            raise InputError.collect(problems, "the recipe's photometric transforms cannot be used:")
        self._steps = [step for step, _ in built if step is not None]
        self._mirror = list(mirror)

    def __call__(
        self, crop: NDArray[np.uint8], landmarks_crop: Floats, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Floats]:
        """Vary one crop; every draw comes from ``generator``.

        Args:
            crop: (S, S, 3) uint8 RGB; may be changed in place.
            landmarks_crop: (L, 2) in crop px.
            generator: the sample's own.

        Returns:
            The crop, same shape and type, and its landmarks (L, 2).

        Raises:
            InputError: a transform changed the crop's shape or type, or lost a point.
        """
        if not self._steps:
            return crop, landmarks_crop
        draws = random.Random(int(generator.integers(2**63)))
        shape = crop.shape
        for step in self._steps:
            if step.follow is None:
                step.transform.set_random_state(generator, draws)
                crop = step.transform(image=crop)["image"]
            else:
                step.follow.set_random_state(generator, draws)
                crop, landmarks_crop = _move(step, crop, landmarks_crop, self._mirror)
            if crop.shape != shape or crop.dtype != np.uint8:
                raise InputError(_shape_problem(step, crop, shape[0]))
        return crop, landmarks_crop


def photometric_problems(settings: Sequence[PhotometricStep], input_size: int = 256) -> list[str]:
    """Everything that is wrong with a recipe's photometric list, one line each with the recipe's key."""
    return [problem for index, step in enumerate(settings) for problem in _build(index, step, input_size)[1]]


def _build(index: int, step: PhotometricStep, input_size: int) -> tuple[Step | None, list[str]]:
    """Build one transform, or say what is wrong with it."""
    key = f"augment.photometric.{index}"
    offered = _offered()
    if step.name not in offered:
        hint = _nearest(step.name, offered)
        return None, [f"{key}.name: albumentations has no transform {step.name!r}{hint}"]
    takes = [name for name in inspect.signature(offered[step.name]).parameters if name != "p"]
    problems = [
        f"{key}.{name}: {step.name} takes no such argument{_nearest(name, takes)}; "
        f"it takes {', '.join(takes)}"
        for name in step.arguments
        if name not in takes
    ]
    if problems:
        return None, problems
    with warnings.catch_warnings(record=True) as warned:  # an argument that is changed or ignored only warns
        warnings.simplefilter("always")
        try:
            transform = offered[step.name](p=step.p, **step.arguments)
        except (ValueError, TypeError) as error:
            return None, _value_problems(key, step, error)
        built = Step(f"{key} ({step.name})", transform, _follower(transform))
        problem = _probe(built, input_size)
    problems = [f"{built.key}: {warning.message}" for warning in warned if _is_fault(warning)]
    problems = list(dict.fromkeys([problem, *problems] if problem else problems))
    return (None, problems) if problems else (built, [])


def _is_fault(warning: warnings.WarningMessage) -> bool:
    """Whether albumentations' warning is more than the advice to use another transform."""
    return issubclass(warning.category, UserWarning) and "is a special case of" not in str(warning.message)


def _offered() -> dict[str, Any]:
    """The transforms of images that albumentations has, by name."""
    return {
        name: kind
        for name, kind in vars(A).items()
        if inspect.isclass(kind)
        and issubclass(kind, A.BasicTransform)
        and not issubclass(kind, A.Transform3D)
        and name not in _ABSTRACT
    }


def _nearest(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """A hint with the names most like ``word``, or nothing."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=3)
    return f"; did you mean {' or '.join(by_lower[name] for name in close)}" if close else ""


def _value_problems(key: str, step: PhotometricStep, error: Exception) -> list[str]:
    """A transform's refusal of its arguments, one line for each argument."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return [f"{key} ({step.name}): {error}"]
    problems = []
    for fault in cause.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        given = f" - got {step.arguments[name]!r}" if name in step.arguments else ""
        problems.append(f"{key}{'.' + name if name else f' ({step.name})'}: {fault['msg']}{given}")
    return list(dict.fromkeys(problems))


def _follower(transform: Any) -> Any:
    """What carries keypoints through a geometric transform; None for one that only changes pixels."""
    if not isinstance(transform, A.DualTransform) or isinstance(transform, BaseDropout):
        return None
    if isinstance(transform, BaseDistortion):
        transform._key2func["keypoints"] = _through_map
    parameters = A.KeypointParams(format="xy", remove_invisible=False)
    return A.Compose([transform], keypoint_params=parameters)


def _probe(step: Step, size: int) -> str | None:
    """Try a transform on noise; say what makes it unusable, if anything does."""
    numbers = np.random.default_rng(0)
    crop = numbers.integers(0, 256, (size, size, 3), dtype=np.uint8)
    landmarks = numbers.uniform(0.3 * size, 0.7 * size, (5, 2))
    applied = step.follow or step.transform
    for draw in range(_PROBES if step.follow else 1):
        applied.set_random_state(np.random.default_rng(draw), random.Random(draw))
        try:
            if step.follow is None:
                moved = step.transform(image=crop.copy(), force_apply=True)["image"]
            else:
                moved, _ = _move(step, crop.copy(), landmarks, list(range(5)))
        except InputError as error:
            return str(error)
        except Exception as error:  # whatever a transform raises, it cannot be used
            return f"{step.key}: fails on a {size} x {size} crop: {type(error).__name__}: {error}"
        if moved.shape != crop.shape or moved.dtype != np.uint8:
            return _shape_problem(step, moved, size)
    return None


def _shape_problem(step: Step, crop: Any, size: int) -> str:
    return (
        f"{step.key}: makes {crop.dtype} of shape {tuple(crop.shape)} from uint8 of {(size, size, 3)}; "
        "only transforms that keep the crop's size and type can be used: take it out of the recipe"
    )


def _move(
    step: Step, crop: NDArray[np.uint8], landmarks: Floats, mirror: list[int]
) -> tuple[NDArray[np.uint8], Floats]:
    """Apply a geometric transform to a crop and its landmarks, renaming the points where it mirrors.

    Three more points, a small triangle, tell whether it mirrored: their sense of rotation turns.
    """
    near = 0.4 * crop.shape[0]
    triangle = [(near, near), (near + 1, near), (near, near + 1)]
    result = step.follow(image=crop, keypoints=np.concatenate([landmarks - 0.5, triangle]))
    moved = np.asarray(result["keypoints"], dtype=np.float64)
    if moved.shape != (len(landmarks) + 3, 2):
        raise InputError(
            f"{step.key}: {len(landmarks) + 3} points went in and {len(moved)} came out; "
            "a transform that loses points cannot be used for landmarks: take it out of the recipe"
        )
    origin, right, below = moved[-3:]
    turned = np.linalg.det([right - origin, below - origin]) < 0
    moved = moved[:-3] + 0.5
    return result["image"], moved[mirror] if turned else moved


def _through_map(
    keypoints: NDArray[Any],
    map_x: NDArray[Any] | None = None,
    map_y: NDArray[Any] | None = None,
    **_rest: Any,
) -> NDArray[Any]:
    """Move keypoints through a distortion that gives, for each pixel of its result, its source.

    Looks for the place whose source is the keypoint: first among every fourth pixel, then by Newton's method
    in the map between the pixels, continued beyond its borders.

    Args:
        keypoints: (N, 2+) x, y in pixel indices, then columns that stay.
        map_x: (H, W) source x of each pixel; None where the transform does nothing.
        map_y: (H, W) source y, likewise.

    Returns:
        (N, 2+), like ``keypoints``.
    """
    if map_x is None or map_y is None or not len(keypoints):
        return keypoints
    sources = np.stack([map_x, map_y], axis=-1).astype(np.float64)
    wanted = keypoints[:, :2].astype(np.float64)
    coarse = sources[::4, ::4]
    nearest = ((coarse - wanted[:, None, None]) ** 2).sum(-1).reshape(len(wanted), -1).argmin(1)
    place = 4.0 * np.stack([nearest % coarse.shape[1], nearest // coarse.shape[1]], axis=-1)
    for _ in range(20):
        found, jacobian = _between(sources, place)
        step = np.linalg.solve(jacobian, (wanted - found)[..., None])[..., 0]
        place += np.clip(step, -4, 4)
        if np.abs(step).max() < 1e-3:
            break
    result = keypoints.copy()
    result[:, :2] = place
    return result


def _between(sources: Floats, place: Floats) -> tuple[Floats, Floats]:
    """A map (H, W, 2) read bilinearly at places (N, 2), and its derivative there, (N, 2, 2)."""
    limit = np.array([sources.shape[1] - 2, sources.shape[0] - 2])
    cell = np.clip(np.floor(place), 0, limit).astype(int)
    x, y = cell.T
    u, v = (place - cell).T[..., None]
    corner = sources[y, x]
    right, below = sources[y, x + 1] - corner, sources[y + 1, x] - corner
    twist = sources[y + 1, x + 1] - corner - right - below
    jacobian = np.stack([right + v * twist, below + u * twist], axis=-1)
    flat = np.abs(np.linalg.det(jacobian)) < 1e-3
    jacobian[flat] = np.eye(2)
    return corner + u * right + v * below + u * v * twist, jacobian
