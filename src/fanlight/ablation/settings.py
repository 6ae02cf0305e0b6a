"""What an ablation compares, read from its TOML file.

::

    title = "Do exact Gaussians help?"
    recipe = "small.toml"            # what all variants share, beside this file
    seeds = [0, 1, 2]
    images = 10000                   # what every training may see; or: minutes = 5
    judge = ["lfpw/val"]             # partitions that no variant learns from

    [variant.full]
    title = "as the recipe says"

    [variant.snapped]
    title = "Gaussians at cell centres"
    loss.subpixel = false            # any setting of a recipe

    [variant.argmax]
    title = "decoded by argmax"
    of = "full"                      # the same networks, decoded otherwise
    decoder.kind = "argmax"

    [claim.subpixel]
    title = "exact against snapped Gaussians"
    new = "full"
    old = "snapped"
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fanlight.errors import InputError
from fanlight.faults import check_all
from fanlight.judging.jitter import Steps
from fanlight.metric import Metric
from fanlight.settings import Strict
from fanlight.toml_file import read_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of a variant; its folder's, too
SAME_FOR_ALL = (
    *("data.index", "data.markup", "data.cache", "data.cache_gib"),
    *("train.seed", "train.epochs", "train.max_minutes", "train.device", "schedule.clock"),
)
"""Settings that no variant has of its own: the faces, the budget, and where it is spent."""


class VariantSettings(BaseModel):
    """One row of the ablation's table; what it does not know here are settings of a recipe.

    Attributes:
        title: what to call it.
        of: another variant, whose networks are judged with this one's ``decoder``; nothing is trained.
        checkpoint: a trained network to judge instead of training one: a name or a path.
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    title: str = ""
    of: str = ""
    checkpoint: str = ""

    @property
    def changes(self) -> dict[str, Any]:
        """The settings of a recipe in which it differs."""
        return dict(self.model_extra or {})

    @model_validator(mode="after")
    def _check(self) -> VariantSettings:
        if self.of and self.checkpoint:
            raise ValueError("of and checkpoint both say whose network it is: give one of them")
        strange = sorted(set(self.changes) - {"decoder"})
        if (self.of or self.checkpoint) and strange:
            why = "nothing is trained, so only decoder can differ"
            raise ValueError(f"{', '.join(strange)}: {why}; leave out of and checkpoint to train it so")
        tables = {name: inner for name, inner in self.changes.items() if isinstance(inner, dict)}
        given = {f"{name}.{key}" for name, inner in tables.items() for key in inner}
        common = [key for key in SAME_FOR_ALL if key in given]
        if common:
            why = "the same for all variants; it is set in the recipe, or by seeds and the budget"
            raise ValueError(f"{', '.join(common)}: {why}")
        return self


class Claim(Strict):
    """Two variants to compare face by face.

    Attributes:
        title: what is claimed.
        new: the variant that should be better.
        old: the other one.
    """

    title: str = ""
    new: str
    old: str


class JitterSettings(Strict):
    """Which photos are moved to see how steady landmarks are; see ``fanlight.judging.jitter``.

    Attributes:
        faces: how many of each judged partition, spread evenly over it.
        steps: how each photo is moved.
    """

    faces: int = Field(40, ge=1)
    steps: Steps = Steps()


class AblationSettings(Strict):
    """An ablation's file; see the module."""

    title: str
    recipe: str = ""
    seeds: list[int] = Field(default_factory=lambda: [0, 1, 2], min_length=1)
    images: int = Field(0, ge=0)
    minutes: float = Field(0.0, ge=0)
    judge: list[str] = Field(min_length=1)
    metrics: list[str] = Field(default_factory=lambda: ["auc_box_0.07", "nme_box"], min_length=1)
    flip: bool = True
    speed: bool = True
    jitter: JitterSettings | None = None
    variant: dict[str, VariantSettings] = Field(min_length=1)
    claim: dict[str, Claim] = Field(default_factory=dict)

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: list[str]) -> list[str]:
        return list(dict.fromkeys(Metric.parse(key).key for key in metrics))

    @field_validator("judge")
    @classmethod
    def _once(cls, judge: list[str]) -> list[str]:
        return list(dict.fromkeys(judge))

    def cross_faults(self) -> list[tuple[str, str]]:
        """Settings that are sound alone and do not go together, as (key, what is wrong and what to do)."""
        faults = []
        for name, variant in self.variant.items():
            if not _NAME.fullmatch(name):
                faults.append(
                    (f"variant {name!r}", "a name has letters, digits, - and _; title may be any text")
                )
            if variant.of and (variant.of not in self.variant or self.variant[variant.of].of):
                why = f"{variant.of!r} is no variant with networks of its own: name one without of"
                faults.append((f"variant.{name}.of", why))
        for name, claim in self.claim.items():
            for side in (claim.new, claim.old):
                if side not in self.variant:
                    why = f"{side!r} is no variant; there are {', '.join(self.variant)}"
                    faults.append((f"claim.{name}", why))
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            faults.append(("seeds", f"{self.seeds}: give different whole numbers from 0 on"))
        if self.trains and bool(self.images) == bool(self.minutes):
            faults.append(("", "give the budget of a training: either images or minutes"))
        if self.trains and not self.recipe:
            faults.append(("", "give recipe, the file of what the trained variants share"))
        return faults

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return any(not (variant.of or variant.checkpoint) for variant in self.variant.values())


def read_settings(path: Path) -> AblationSettings:
    """Read an ablation's file.

    Raises:
        InputError: it cannot be read, or settings are wrong; all wrong ones are listed.
    """
    values, _ = read_toml(path, "the ablation")
    settings, faults = check_all(AblationSettings, values)
    if settings is not None and not faults:
        faults = settings.cross_faults()
    if settings is None or faults:
        lines = [f"{key}: {why}" if key else why for key, why in faults]
        raise InputError.collect(lines, f"{path}: cannot be used:")
    return settings
