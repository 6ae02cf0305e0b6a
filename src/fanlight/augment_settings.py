"""What a recipe may say about augmentation, with the reference's numbers as defaults."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]


class GeometrySettings(BaseModel):
    """Ranges of the motion that is composed into the crop.

    Shift, scale and rotation are drawn together: all three with ``probability``, or none. The defaults are
    those of the public FAN training code.

    Attributes:
        mirror: probability of mirroring the crop left to right.
        shift: largest shift in x and in y, as a fraction of the crop's side.
        scale: the content is magnified by 1 - scale to 1 + scale.
        rotate: largest rotation to either side, in degrees.
        probability: probability of shift, scale and rotation.
        border: grey value of what lies outside the photo, 0 (black) to 255.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    mirror: Probability = 0.5
    shift: float = Field(default=0.0625, ge=0, le=1)
    scale: float = Field(default=0.2, ge=0, lt=1)
    rotate: float = Field(default=50.0, ge=0, le=180)
    probability: Probability = 0.5
    border: int = Field(default=0, ge=0, le=255)

    @property
    def reach(self) -> float:
        """Side of the smallest upright square that holds every varied crop, over the side of the plain crop."""
        turn = math.radians(min(self.rotate, 45))
        moved = (1 + 2 * self.shift) / (1 - self.scale) * (math.cos(turn) + math.sin(turn))
        return moved if self.probability else 1.0


class PhotometricStep(BaseModel):
    """One albumentations transform: its name, its probability, and any arguments it takes.

    The arguments are checked when the transform is built, by ``fanlight.data.photometric.photometric_problems``.
    """

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    name: str
    p: Probability = 0.5

    @property
    def arguments(self) -> dict[str, Any]:
        """The transform's own arguments, without name and probability."""
        return dict(self.model_extra or {})


def _step(name: str, **arguments: Any) -> PhotometricStep:
    return PhotometricStep(name=name, **arguments)


#: Blur, colour jitter (the hue stays), JPEG artefacts and cut-outs of the public FAN training code.
DEFAULT_PHOTOMETRIC: tuple[PhotometricStep, ...] = (
    _step("Blur", p=0.5, blur_limit=[3, 7]),
    _step(
        "ColorJitter", p=0.5, brightness=[0.7, 1.3], contrast=[0.7, 1.3], saturation=[0.7, 1.3], hue=[0, 0]
    ),
    _step("ImageCompression", p=0.5, quality_range=[30, 100]),
    _step(
        "CoarseDropout",
        p=0.5,
        num_holes_range=[1, 8],
        hole_height_range=[0.03125, 0.125],
        hole_width_range=[0.03125, 0.125],
        fill=0,
    ),
)


class AugmentSettings(BaseModel):
    """How training crops are varied; a recipe's ``[augment]``.

    Attributes:
        geometry: mirror, shift, scale and rotation, composed into the crop's own matrix.
        photometric: albumentations transforms, applied to the crop in this order.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    geometry: GeometrySettings = GeometrySettings()
    photometric: list[PhotometricStep] = Field(default_factory=lambda: list(DEFAULT_PHOTOMETRIC))
