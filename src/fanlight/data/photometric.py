"""Albumentations transforms named in a recipe, built strictly and applied to finished crops.

Most change pixels only. Geometric ones move the landmarks too: they go through albumentations' own keypoints,
whose frame is pixel indices (continuous - 0.5), but continuous in the transforms that scale. The keypoints of
its distortions are off by pixels, so they are read from the distortion's map here instead. Where a transform
mirrors the face, the points are renamed. What lands where is tested for every geometric transform: within a
quarter of a pixel, but for GridDistortion, whose maps have kinks (0.7 px beside them).
"""

from __future__ import annotations

import difflib
import inspect
import os
import random
import re
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
_REFUSED = {
    "PiecewiseAffine": "folds the picture, so that a landmark may appear twice; take ElasticTransform"
}
_CONTINUOUS = (A.RandomResizedCrop, A.RandomSizedCrop, A.CropAndPad)  # they multiply keypoints by a factor
_PROBES = 16  # a transform that mirrors or crops in half of its draws goes unnoticed once in 65,536 recipes


Problem = tuple[str, str]  # (the recipe's key, what is wrong)


@dataclass(frozen=True)
class Step:
    """One built transform.

    Attributes:
        name: albumentations' name of it.
        transform: what changes the pixels.
        follow: what also carries keypoints along, where it is geometric; else None.
    """

    name: str
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
        problems = [f"{key}: {why}" for _, found in built for key, why in found]
        if problems:
            raise InputError.collect(problems, "the recipe's photometric transforms cannot be used:")
        self._steps = [step for step, _ in built if step is not None]
        self._mirror = tuple(mirror)

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
        for step in self._steps:
            crop, landmarks_crop = _apply(step, crop, landmarks_crop, self._mirror, generator, draws)
        return crop, landmarks_crop


def photometric_problems(settings: Sequence[PhotometricStep], input_size: int = 256) -> list[tuple[str, str]]:
    """Everything that is wrong with a recipe's photometric list, as (the recipe's key, what is wrong)."""
    return [problem for index, step in enumerate(settings) for problem in _build(index, step, input_size)[1]]


def _build(index: int, step: PhotometricStep, input_size: int) -> tuple[Step | None, list[Problem]]:
    """Build one transform, or say what is wrong with it."""
    key = f"augment.photometric[{index}]"
    offered = _offered()
    if step.name not in offered:
        hint = _nearest(step.name, offered)
        return None, [(f"{key}.name", f"albumentations has no transform {step.name!r}{hint}")]
    if step.name in _REFUSED:
        return None, [(f"{key}.name", f"{step.name} {_REFUSED[step.name]}")]
    takes = [name for name in inspect.signature(offered[step.name]).parameters if name != "p"]
    problems = [
        (
            f"{key}.{name}",
            f"{step.name} takes no such argument{_nearest(name, takes)}; it takes {', '.join(takes)}",
        )
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
        built = Step(step.name, transform, _follower(transform))
        problem = _probe(built, input_size)
    faults = [problem] if problem else []
    faults += [f"{step.name}: {warning.message}" for warning in warned if _is_fault(warning)]
    return (None, [(key, fault) for fault in dict.fromkeys(faults)]) if faults else (built, [])


def _is_fault(warning: warnings.WarningMessage) -> bool:
    """Whether albumentations' warning is more than the advice to use another transform."""
    advice = re.search(r"is a special|is an alias|is very slow", str(warning.message))
    return issubclass(warning.category, UserWarning) and not advice


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


def _value_problems(key: str, step: PhotometricStep, error: Exception) -> list[Problem]:
    """A transform's refusal of its arguments, one line for each argument."""
    cause = error.__cause__
    if not isinstance(cause, ValidationError):
        return [(key, f"{step.name}: {error}")]
    problems = []
    for fault in cause.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        given = f" - got {step.arguments[name]!r}" if name in step.arguments else ""
        problems.append((f"{key}.{name}" if name else key, f"{step.name}: {fault['msg']}{given}"))
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
    probability, step.transform.p = step.transform.p, 1.0
    try:
        for draw in range(_PROBES if step.follow else 1):
            _apply(step, crop.copy(), landmarks, range(5), np.random.default_rng(draw), random.Random(draw))
    except InputError as error:
        return str(error)
    except Exception as error:  # whatever a transform raises, it cannot be used
        return f"{step.name}: fails on a {size} x {size} crop: {type(error).__name__}: {error}"
    finally:
        step.transform.p = probability
    return None


def _apply(
    step: Step,
    crop: NDArray[np.uint8],
    landmarks: Floats,
    mirror: Sequence[int],
    generator: np.random.Generator,
    draws: random.Random,
) -> tuple[NDArray[np.uint8], Floats]:
    """Apply one transform to a crop and its landmarks."""
    shape = crop.shape
    if step.follow is None:
        step.transform.set_random_state(generator, draws)
        crop = step.transform(image=crop)["image"]
    else:
        step.follow.set_random_state(generator, draws)
        crop, landmarks = _move(step, crop, landmarks, mirror)
    if crop.shape != shape or crop.dtype != np.uint8:
        raise InputError(
            f"{step.name}: makes {crop.dtype} of shape {tuple(crop.shape)} from uint8 of {shape}; "
            "only transforms that keep the crop's size and type can be used: take it out of the recipe"
        )
    return crop, landmarks


def _move(
    step: Step, crop: NDArray[np.uint8], landmarks: Floats, mirror: Sequence[int]
) -> tuple[NDArray[np.uint8], Floats]:
    """Apply a geometric transform, renaming the points where it mirrors.

    Three more points, a small triangle, tell whether it mirrored: their sense of rotation turns.
    """
    near = 0.4 * crop.shape[0]
    triangle = [(near, near), (near + 1, near), (near, near + 1)]
    frame = 0.0 if isinstance(step.transform, _CONTINUOUS) else 0.5
    result = step.follow(image=crop, keypoints=np.concatenate([landmarks - frame, triangle]))
    moved = np.asarray(result["keypoints"], dtype=np.float64)
    if moved.shape != (len(landmarks) + 3, 2) or not np.isfinite(moved).all():
        raise InputError(
            f"{step.name}: not every landmark comes out of it ({len(landmarks) + 3} went in, {len(moved)} came); "
            "a transform that loses points cannot be used for landmarks: take it out of the recipe"
        )
    origin, right, below = moved[-3:]
    mirrored = np.linalg.det([right - origin, below - origin]) < 0
    landmarks = moved[:-3] + frame
    return result["image"], landmarks[list(mirror)] if mirrored else landmarks


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
