"""The settings of a run's own tables: its data, its optimiser, its schedule, and how long it trains.

The other tables of a recipe are checked by the classes that use them: ``CropRule``, ``FANOptions``, ``Decoder``,
``LossOptions`` and so on.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from fanlight.data.check import problems_error
from fanlight.data.faces import Faces
from fanlight.data.opening import find_problems, open_faces
from fanlight.data.remote import Cache, default_folder, is_url
from fanlight.markup import Markup
from fanlight.metric import Metric

Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Strict(BaseModel):
    """Settings that take nothing unknown, bend no type, and do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Strict):
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


class OptimiserSettings(Strict):
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


class ScheduleSettings(Strict):
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


class TrainSettings(Strict):
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
