"""An ablation ready to be carried out: its variants' recipes, networks and decoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from fanlight.ablation.settings import AblationSettings, VariantSettings, read_settings
from fanlight.checkpoint import load_checkpoint
from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.data.opening import open_faces
from fanlight.distance import possible_normalisers
from fanlight.errors import InputError
from fanlight.faults import check_all
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.models import find
from fanlight.recipe_file import merge, recipe_values
from fanlight.settings import Strict


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

    def open(self) -> Faces:
        """Open the data set; its partitions are not looked at."""
        recipe = next((variant.recipe for variant in self.variants if variant.recipe), None)
        return recipe.data.open() if recipe else open_faces(self.index)

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
    settings = read_settings(path)
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
    possible = possible_normalisers(ordered[0].markup)
    lacking = [key for key in settings.metrics if Metric.parse(key).normaliser not in possible]
    if lacking:
        raise InputError(
            f"{path}: metrics {', '.join(lacking)}: not possible with the mark-up {ordered[0].markup.name}; its "
            f"normalisers are {', '.join(possible)}"
        )
    learnt = {name for v in ordered if v.recipe for name in v.recipe.data.train}
    if learnt & set(settings.judge):
        both = ", ".join(sorted(learnt & set(settings.judge)))
        raise InputError(f"{path}: {both} is judged and learnt from: judge faces that no variant has seen")
    return Ablation(settings, ordered, where)


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
    given = changes.get("decoder", {})
    values = {**asdict(decoder), **given} if isinstance(given, Mapping) else given
    checked, faults = check_all(_Decoding, {"decoder": values})
    if checked is None or faults:
        raise InputError.collect([f"{key}: {why}" for key, why in faults], f"variant {name}:")
    return checked.decoder


class _Decoding(Strict):
    """A decoder's settings, checked as those of a recipe are."""

    decoder: Decoder = Decoder()
