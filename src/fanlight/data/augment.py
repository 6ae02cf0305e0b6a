"""Random variation of training crops: a motion for the crop's matrix, then albumentations for its pixels.

Crop, mirror, shift, scale and rotation are one matrix (``fanlight.geometry``), so that the photo is sampled
once; albumentations works on the finished crop. Every draw comes from a generator that depends only on (seed,
epoch, sample), so a crop is the same whichever worker makes it, and when.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fanlight.augment_settings import AugmentSettings, GeometrySettings
from fanlight.data.photometric import Photometric
from fanlight.geometry import Floats, Motion


def sample_generator(seed: int, epoch: int, sample: int) -> np.random.Generator:
    """The random numbers of one sample in one epoch; all three are >= 0."""
    return np.random.default_rng([seed, epoch, sample])


def draw_motion(settings: GeometrySettings, generator: np.random.Generator) -> Motion:
    """Draw how a crop is mirrored, shifted, scaled and rotated.

    As many numbers are drawn whatever the outcome, so that later draws do not depend on it.

    Source: the default ranges are the numbers of the public FAN training code; there, too, shift, scale and
    rotation share one probability, but its shift is a share of a picture twice as wide as the crop.
    """
    mirror, moves = generator.random(2)
    shift_x, shift_y, scale, rotate = generator.uniform(-1, 1, 4)
    if moves >= settings.probability:
        return Motion(mirror=bool(mirror < settings.mirror))
    return Motion(
        mirror=bool(mirror < settings.mirror),
        shift_x=settings.shift * shift_x,
        shift_y=settings.shift * shift_y,
        scale=1 + settings.scale * scale,
        rotate_deg=settings.rotate * rotate,
    )


class Augmentation:
    """Everything that varies training crops.

    Args:
        settings: ranges and transforms.
        input_size: side of the crops in px.
        mirror: the mark-up's mirror order.

    Raises:
        InputError: listing all photometric transforms that cannot be used.
    """

    def __init__(self, settings: AugmentSettings, input_size: int, mirror: Sequence[int]) -> None:
        self.settings = settings
        self.border = settings.geometry.border
        self._photometric = Photometric(settings.photometric, input_size, mirror)

    def motion(self, generator: np.random.Generator) -> Motion:
        """Draw the motion of one crop; call it before ``photometric``, with the same generator."""
        return draw_motion(self.settings.geometry, generator)

    def photometric(
        self, crop: NDArray[np.uint8], landmarks_crop: Floats, generator: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Floats]:
        """Vary the pixels of one crop (S, S, 3) uint8 RGB; its landmarks (L, 2) follow where they move."""
        return self._photometric(crop, landmarks_crop, generator)
