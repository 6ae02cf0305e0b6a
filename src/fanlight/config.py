"""A run's recipe: typed, strict, read from TOML and ``key=value`` overrides.

Each table of a recipe is checked by the class that uses it, so an option has one home and one default. All
faults of a recipe are reported together, with their key and line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from fanlight.adversarial import AdversaryOptions
from fanlight.augment_settings import AugmentSettings
from fanlight.data.photometric import photometric_problems
from fanlight.distance import possible_normalisers
from fanlight.errors import InputError
from fanlight.faults import check_all
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.loss import LossOptions
from fanlight.markup import Markup
from fanlight.metric import Metric
from fanlight.model import PRESETS, FANOptions
from fanlight.published import Published
from fanlight.recipe_file import Places, recipe_values
from fanlight.settings import DataSettings, OptimiserSettings, ScheduleSettings, Strict, TrainSettings


class Recipe(Strict):
    """Everything a run depends on; see the classes of its tables for each option."""

    data: DataSettings
    crop: CropRule = CropRule()
    augment: AugmentSettings = AugmentSettings()
    model: FANOptions = FANOptions()
    decoder: Decoder = Decoder()
    loss: LossOptions = LossOptions()
    adversary: AdversaryOptions = AdversaryOptions()
    optimiser: OptimiserSettings = OptimiserSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    train: TrainSettings = TrainSettings()
    published: Published = Published()

    def cross_faults(self) -> list[tuple[str, str]]:
        """Settings that are sound alone and do not go together, as (key, what is wrong and what to do)."""
        sizes = self.crop_sizes()
        faults = photometric_problems(self.augment.photometric, min(size for _, size in sizes))
        if self.schedule.clock == "time" and not self.train.max_minutes:
            faults.append(("schedule.clock", '"time" needs train.max_minutes'))
        faults += self._crop_size_faults()
        if self.decoder.kind != "centroid" and self.loss.distance > 0:
            why = f"the landmarks of decoder.kind = {self.decoder.kind!r} have no gradient: set it to 0"
            faults.append(("loss.distance", f"{self.loss.distance:g}, but {why}"))
        if self.adversary.weight and self.train.compile:
            why = "adversarial examples need the network as it is: set it to false, or adversary.weight to 0"
            faults.append(("train.compile", why))
        normaliser = Metric.parse(self.train.rank_by).normaliser
        possible = possible_normalisers(Markup.load(self.data.markup))
        if normaliser not in possible:
            why = f"the mark-up {self.data.markup} does not tell {normaliser}: take one of {', '.join(possible)}"
            faults.append(("train.rank_by", f"{self.train.rank_by!r}: {why}"))
        side = min(size for _, size in sizes) // self.model.stride
        if self.decoder.radius * side < 1:
            why = f"of heatmaps of {side} px is less than one cell: take at least {1 / side:g}"
            faults.append(("decoder.radius", f"{self.decoder.radius:g} {why}"))
        return faults

    def from_anywhere(self) -> Recipe:
        """The same with absolute paths, which hold whatever the working directory is."""
        return self.model_copy(
            update={"data": self.data.from_anywhere(), "train": self.train.from_anywhere()}
        )

    def crop_sizes(self) -> list[tuple[float, int]]:
        """Shares of the run and the side of the crops in px from each on; the first share is 0."""
        return self.schedule.crop_sizes or [(0.0, self.model.input_size)]

    def _crop_size_faults(self) -> list[tuple[str, str]]:
        sizes, faults = [size for _, size in self.crop_sizes()], []
        if sizes[-1] != self.model.input_size:
            why = f"ends with {sizes[-1]} px, but model.input_size is {self.model.input_size}: make them the same"
            faults.append(("schedule.crop_sizes", why))
        for size in sizes[:-1]:
            try:
                replace(self.model, input_size=size)
            except InputError as error:
                faults.append(("schedule.crop_sizes", str(error)))
        return faults

    def to_dict(self) -> dict[str, Any]:
        """Plain values: TOML and JSON can hold them, and ``Recipe.from_dict`` reads them back."""
        values = self.model_dump(mode="json")
        for name, value in self:
            if is_dataclass(value) and not isinstance(value, type):
                values[name] = asdict(value)
        if self.published == Published():
            del values["published"]  # most recipes have nothing to be compared with
        return values

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], source: str = "recipe", places: Places | None = None
    ) -> Recipe:
        """Check plain values.

        Raises:
            InputError: listing every fault with its key, and its place where ``places`` knows it.
        """
        filled, faults = _fill_model(values)
        recipe, found = check_all(cls, filled)
        faults += found
        if recipe is not None:
            faults += recipe.cross_faults()
            if not faults:
                return recipe
        lines = [
            f"{places.find(key) if places else ''}{key + ': ' if key else ''}{why}" for key, why in faults
        ]
        raise InputError.collect(lines, f"{source}: cannot be used:")


def load_recipe(path: str | PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply overrides.

    Args:
        path: a TOML file.
        overrides: ``key=value`` such as ``train.epochs=3``; the value is TOML, or a plain word.

    Raises:
        InputError: the file or a base of it is missing or not TOML, an override has no ``=``, or any setting is
            wrong; all wrong settings are listed.
    """
    path = Path(path)
    values, places = recipe_values(path, overrides)
    return Recipe.from_dict(values, str(path), places).from_anywhere()


def _fill_model(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Put the preset's options under those given, and the mark-up's number of points among them.

    What is at fault is replaced by something that is not, so that the rest can still be checked.
    """
    values = dict(values)
    data, given = values.get("data"), values.get("model", {})
    if not isinstance(data, Mapping) or not isinstance(given, Mapping):
        return values, []  # wrong types: the check that follows says so
    model = dict(given)
    problems = []
    points = model.pop("points", None)
    try:
        count = Markup.load(str(data.get("markup", "ibug68"))).count
        if points not in (None, count):
            problems.append(("model.points", f"{points}, but the mark-up has {count}: leave it out"))
    except InputError as error:
        count, values["data"] = 68, {**data, "markup": "ibug68"}
        problems.append(("data.markup", str(error)))
    preset = model.pop("preset", "fan2")
    if preset not in tuple(PRESETS):
        problems.append(("model.preset", f"{preset!r} is not one of {', '.join(PRESETS)}"))
        preset, model = "fan2", {}
    values["model"] = {**asdict(PRESETS[preset](count)), **model}
    return values, problems
