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
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe, recipe_values
from fanlight.errors import InputError
from fanlight.faults import check_all
from fanlight.heatmap import Decoder
from fanlight.judging.jitter import Steps
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.models import find
from fanlight.recipe_file import merge

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of a variant; its folder's, too


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


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
        return self


class Claim(_Strict):
    """Two variants to compare face by face.

    Attributes:
        title: what is claimed.
        new: the variant that should be better.
        old: the other one.
    """

    title: str = ""
    new: str
    old: str


class JitterSettings(_Strict):
    """Which photos are moved to see how steady landmarks are; see ``fanlight.judging.jitter``.

    Attributes:
        faces: how many of each judged partition, spread evenly over it.
        steps: how each photo is moved.
    """

    faces: int = Field(40, ge=1)
    steps: Steps = Steps()


class AblationSettings(_Strict):
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
        return [Metric.parse(key).key for key in metrics]

    def cross_faults(self) -> list[tuple[str, str]]:
        """Settings that are sound alone and do not go together, as (key, what is wrong and what to do)."""
        faults = []
        for name, variant in self.variant.items():
            if not _NAME.fullmatch(name):
                faults.append(
                    (f"variant {name!r}", "a name has letters, digits, - and _; title may be any text")
                )
            if variant.of and (variant.of not in self.variant or self.variant[variant.of].of):
                why = f"{variant.of!r} is no variant with networks of its own"
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


@dataclass(frozen=True)
class Variant:
    """One row of the table, ready to be carried out.

    Attributes:
        name: its key in the file.
        title: what to call it.
        source: the variant whose networks it judges, itself unless it says ``of``.
        recipe: of its training but for the seed and the budget; None where nothing is trained.
        checkpoint: the trained network that it judges instead; None where it is trained.
        markup: of its landmarks.
        decoder: how its networks' heatmaps are decoded.
    """

    name: str
    title: str
    source: str
    recipe: Recipe | None
    checkpoint: Path | None
    markup: Markup
    decoder: Decoder

    @property
    def is_trained(self) -> bool:
        """Whether it has trainings of its own."""
        return self.recipe is not None and self.source == self.name


@dataclass(frozen=True)
class Ablation:
    """What is compared.

    Attributes:
        settings: as the file has them.
        variants: the rows, in the file's order.
        index: of the faces that are judged, and learnt from where anything is trained.
    """

    settings: AblationSettings
    variants: tuple[Variant, ...]
    index: str

    def variant(self, name: str) -> Variant:
        """A variant by its name."""
        return next(variant for variant in self.variants if variant.name == name)

    @property
    def markup(self) -> Markup:
        """Of the landmarks of all variants."""
        return self.variants[0].markup

    @property
    def device(self) -> str:
        """Where networks are trained."""
        return next((variant.recipe.train.device for variant in self.variants if variant.recipe), "auto")

    @property
    def trained(self) -> tuple[Variant, ...]:
        """Those that have trainings of their own."""
        return tuple(variant for variant in self.variants if variant.is_trained)


def load_ablation(path: Path, overrides: Sequence[str] = (), index: str = "") -> Ablation:
    """Read an ablation and check every recipe of it.

    Args:
        path: a TOML file.
        overrides: ``key=value`` for the recipe that the variants share.
        index: of the faces, in the place of the recipe's.

    Raises:
        InputError: the file, its recipe or a checkpoint cannot be read, or any setting is wrong.
    """
    settings = _read(path)
    shared = _shared(path, settings, overrides, index)
    variants: dict[str, Variant] = {}
    problems = []
    for name, given in sorted(settings.variant.items(), key=lambda item: bool(item[1].of)):
        try:
            variants[name] = _variant(name, given, shared, variants)
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError.collect(problems, f"{path}: cannot be used:")
    ordered = tuple(variants[name] for name in settings.variant)
    where = index or next((v.recipe.data.index for v in ordered if v.recipe), "")
    if not where:
        raise InputError(f"{path}: nothing is trained, so no recipe names the faces to judge: give --index")
    others = [v.name for v in ordered if v.markup != ordered[0].markup]
    if others:
        raise InputError(f"{path}: variant {', '.join(others)} has another mark-up than {ordered[0].name}")
    learnt = {name for v in ordered if v.recipe for name in v.recipe.data.train}
    if learnt & set(settings.judge):
        both = ", ".join(sorted(learnt & set(settings.judge)))
        raise InputError(f"{path}: {both} is judged and learnt from: judge faces that no variant has seen")
    return Ablation(settings, ordered, where)


def _read(path: Path) -> AblationSettings:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot read the ablation: {error}") from None
    settings, faults = check_all(AblationSettings, values)
    if settings is not None and not faults:
        faults = settings.cross_faults()
    if settings is None or faults:
        lines = [f"{key}: {why}" if key else why for key, why in faults]
        raise InputError.collect(lines, f"{path}: cannot be used:")
    return settings


def _shared(
    path: Path, settings: AblationSettings, overrides: Sequence[str], index: str
) -> Mapping[str, Any]:
    """The settings of the recipe that the variants share."""
    if not settings.recipe:
        if overrides:
            raise InputError(f"{path}: has no recipe whose settings --set could change")
        return {}
    values, _ = recipe_values(path.parent / settings.recipe, overrides)
    return merge(values, {"data": {"index": index}}) if index else values


def _variant(
    name: str, given: VariantSettings, shared: Mapping[str, Any], others: Mapping[str, Variant]
) -> Variant:
    title = given.title or name
    if given.of:
        if given.of not in others:
            raise InputError(f"variant {name}: {given.of}, whose networks it judges, cannot be used")
        other = others[given.of]
        decoder = _decoder(name, other.decoder, given.changes)
        return replace(other, name=name, title=title, decoder=decoder)
    if given.checkpoint:
        path = find(given.checkpoint)
        loaded = load_checkpoint(path)
        decoder = _decoder(name, loaded.decoder, given.changes)
        return Variant(name, title, name, None, path, loaded.markup, decoder)
    recipe = Recipe.from_dict(merge(shared, given.changes), f"variant {name}").from_anywhere()
    return Variant(name, title, name, recipe, None, Markup.load(recipe.data.markup), recipe.decoder)


def _decoder(name: str, decoder: Decoder, changes: Mapping[str, Any]) -> Decoder:
    try:
        return replace(decoder, **changes.get("decoder", {}))
    except TypeError:
        known = ", ".join(asdict(decoder))
        raise InputError(f"variant {name}: decoder: unknown setting; known are {known}") from None
    except InputError as error:
        raise InputError(f"variant {name}: decoder: {error}") from None
