"""A run's settings: typed, strict, read from a recipe (TOML) and ``key=value`` overrides.

Each table of a recipe is checked by the class that uses it, so an option has one home and one default. All
faults of a recipe are reported together, with their key and line.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fanlight.adversarial import AdversaryOptions
from fanlight.augment_settings import AugmentSettings
from fanlight.data.check import problems_error
from fanlight.data.faces import Faces
from fanlight.data.opening import find_problems, open_faces
from fanlight.data.photometric import photometric_problems
from fanlight.data.remote import Cache, default_folder, is_url
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
from fanlight.recipe_file import Places, read_recipe
from fanlight.toml_file import parse_toml

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(_Strict):
    """What is learnt from. Paths are relative to the working directory.

    Attributes:
        index: the TSV that lists images, landmark files and face boxes; or a pack, by its folder or URL.
        markup: a built-in mark-up's name, or the path of a mark-up file.
        train: partitions ``subset/split`` to learn from.
        val: partitions to select the best checkpoint on; never the ones judged in the end.
        shuffle: ``all`` faces together, or those of a few ``shards`` of a pack at a time.
        window: how many shards that is.
        cache: folder for what is fetched from a URL; the system's folder for caches when empty.
        cache_gib: how much of it the cache holds.
        repeat: how often a pass goes over the faces of a train partition, for those that should count for more;
            once where it is not named.
    """

    index: str
    markup: str = "ibug68"
    train: list[str] = Field(min_length=1)
    val: list[str] = Field(min_length=1)
    shuffle: Literal["all", "shards"] = "all"
    window: int = Field(8, ge=1)
    cache: str = ""
    cache_gib: Positive = 20.0
    repeat: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)

    def from_anywhere(self) -> DataSettings:
        """The same with absolute paths, which hold whatever the working directory is."""
        own = self.markup not in Markup.names()
        markup = str(Path(self.markup).absolute()) if own else self.markup
        index = self.index if is_url(self.index) else str(Path(self.index).absolute())
        cache = str(Path(self.cache).absolute()) if self.cache else ""
        return self.model_copy(update={"index": index, "markup": markup, "cache": cache})

    def open(self) -> Faces:
        """Open the data set; its partitions are not looked at."""
        folder = Path(self.cache) if self.cache else default_folder()
        return open_faces(self.index, Cache(folder, self.cache_gib))

    def faces(self) -> Faces:
        """The faces to learn from and to choose the best checkpoint on, all of them checked.

        Raises:
            InputError: listing every face that cannot be used; or there is no such data set or partition.
        """
        faces = self.open().select([*self.train, *self.val])
        problems = find_problems(faces, Markup.load(self.markup))
        if problems:
            raise problems_error(faces, problems)
        return faces

    @model_validator(mode="after")
    def _apart(self) -> DataSettings:
        both = sorted(set(self.train) & set(self.val))
        if both:
            raise ValueError(
                f"{', '.join(both)} is in both train and val: what is learnt cannot be selected on: take it out "
                "of one"
            )
        strange = sorted(set(self.repeat) - set(self.train))
        if strange:
            raise ValueError(
                f"repeat names {', '.join(strange)}, which is not in train: add it there, or take it out"
            )
        return self


class OptimiserSettings(_Strict):
    """How weights follow gradients.

    Attributes:
        name: ``rmsprop``, ``adamw`` or ``sgd``.
        lr: the largest learning rate.
        momentum: of RMSprop and SGD.
        betas: of AdamW.
        weight_decay: decoupled for AdamW; convolution weights only, norms and biases are left alone.
        clip_norm: gradients longer than this are shortened; 0 leaves them.
    """

    name: Literal["rmsprop", "adamw", "sgd"] = "rmsprop"
    lr: Positive = 5e-4
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0)
    clip_norm: float = Field(0.0, ge=0)


class ScheduleSettings(_Strict):
    """How the learning rate changes over the run.

    Attributes:
        name: ``step``, ``cosine`` or ``constant``.
        warmup: share of the run in which the rate rises linearly from 0.
        step_epochs: ``step`` multiplies by ``factor`` after every so many epochs.
        factor: of ``step``.
        final: ``cosine`` ends at this share of ``lr``.
        clock: what "the run" is: ``epochs``, or ``time`` for ``train.max_minutes`` (the schedule then ends when
            the time does, on any machine).
        crop_sizes: pairs of a share of the run and the side of the crops in px from then on, the last being
            ``model.input_size``, which is the side all along where there are none. A FAN is convolutional: what
            it learns on small crops, many times faster, holds on larger ones.
    """

    name: Literal["step", "cosine", "constant"] = "step"
    warmup: Fraction = 0.0
    step_epochs: Positive = 8
    factor: float = Field(0.7, gt=0, le=1)
    final: float = Field(0.0, ge=0, le=1)
    clock: Literal["epochs", "time"] = "epochs"
    crop_sizes: list[tuple[Fraction, int]] = Field(default_factory=list)

    @field_validator("crop_sizes")
    @classmethod
    def _in_order(cls, crop_sizes: list[tuple[float, int]]) -> list[tuple[float, int]]:
        starts = [start for start, _ in crop_sizes]
        if starts and (starts[0] != 0 or any(a >= b for a, b in itertools.pairwise(starts))):
            raise ValueError(f"the shares {starts} must begin with 0 and rise")
        return crop_sizes


class TrainSettings(_Strict):
    """How long and on what.

    Attributes:
        epochs: passes over the training partitions; may be a fraction.
        max_minutes: stop after this time, whatever the epoch; 0 for no limit.
        batch_size: samples per optimiser step, over all devices and accumulated parts together.
        accumulate: parts into which a device's share of the batch is cut to save memory.
        seed: of weights, order and augmentation.
        workers: loader processes per device; 0 loads in the training process.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto`` takes bfloat16 where the hardware computes in it, else float16 on CUDA, else float32.
        ema: decay of the moving average of the weights, which is what is judged and saved; 0 for none.
        validations_per_epoch: how often the val partitions are judged; may be a fraction.
        keep_best: how many of the best checkpoints stay.
        rank_by: the metric that says which are best.
        flip: judge the mean of the image and its mirror.
        sync_batch_norm: batch norm over the batch of all processes, instead of each process's own share.
        recompute: keep less of each stack for the gradient and compute it again: less memory, more time.
        compile: compile the network with ``torch.compile``.
        start_from: a checkpoint whose weights training begins with, to refine a network or to teach it other
            points; random weights when empty.
    """

    epochs: Positive = 60.0
    max_minutes: float = Field(0.0, ge=0)
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1)
    seed: int = Field(0, ge=0)
    workers: int = Field(1, ge=0, le=1024)
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    ema: Fraction = 0.0
    validations_per_epoch: Positive = 2
    keep_best: int = Field(10, ge=1)
    rank_by: str = "macc_box_0.07"
    flip: bool = False
    sync_batch_norm: bool = False
    recompute: bool = False
    compile: bool = False
    start_from: str = ""

    def from_anywhere(self) -> TrainSettings:
        """The same with absolute paths, which hold whatever the working directory is."""
        return (
            self.model_copy(update={"start_from": str(Path(self.start_from).absolute())})
            if self.start_from
            else self
        )

    @field_validator("rank_by")
    @classmethod
    def _metric(cls, rank_by: str) -> str:
        return Metric.parse(rank_by).key

    @model_validator(mode="after")
    def _check(self) -> TrainSettings:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size = {self.batch_size} cannot be cut into accumulate = {self.accumulate} parts: "
                "choose one that divides it"
            )
        if self.compile and self.recompute:
            raise ValueError(
                "compile and recompute do not go together: a compiled network chooses by itself what to compute "
                "again; take one of the two"
            )
        return self


class Recipe(_Strict):
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


def recipe_values(path: Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Places]:
    """A recipe's settings as they are written, unchecked, with overrides applied; and where each stands.

    Raises:
        InputError: the file or a base of it is missing or not TOML, or an override has no ``=``.
    """
    values, places = read_recipe(path)
    return values, places.with_overridden(override(values, overrides, str(path)))


def override(values: dict[str, Any], overrides: Sequence[str], source: str) -> list[str]:
    """Put overrides into the values of a recipe, and return their keys.

    Raises:
        InputError: listing every one that cannot be put in.
    """
    keys, problems = [], []
    for given in overrides:
        try:
            keys.append(_override(values, given))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError.collect(problems, f"{source}: these changes cannot be made:")
    return keys


def _override(values: dict[str, Any], override: str) -> str:
    """Put one override into the values and return its key."""
    key, equals, given = override.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(f"--set {override}: write KEY=VALUE, as in train.epochs=3")
    try:
        read = parse_toml(f"value = {given}")
    except ValueError:
        read = {"value": given.strip()}
    if set(read) != {"value"}:
        raise InputError(f"--set {override}: gives more than one value: repeat --set for each")
    table = values
    for part in parts[:-1]:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: {part} is not a table of settings")
        table = inner
    table[parts[-1]] = read["value"]
    return ".".join(parts)


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
