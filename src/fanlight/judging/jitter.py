"""How much landmarks tremble while a photo moves by known fractions of a px, for each way to decode heatmaps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fanlight.clips.smooth import JITTER_FRAMES, third_difference
from fanlight.data.dataset import check_reach
from fanlight.data.faces import Faces
from fanlight.distance import normalise
from fanlight.errors import InputError
from fanlight.geometry import Floats, Motion, crop_matrix, transform, warp
from fanlight.heatmap import Decoder, encode
from fanlight.network import Network, Usage
from fanlight.resample import Column
from fanlight.resample import Faces as Resampler

STEPS_A_CELL = 4  # at least so many, or the places within a cell would hardly be told apart
Figures = dict[str, dict[str, float]]
FIGURES = ("deviation_px", "deviation_percent", "jitter_px", "jitter_percent")


@dataclass(frozen=True)
class Steps:
    """The straight path, in even steps, on which a photo moves under a crop window that stays where it is.

    From end to end it leads over whole cells of the heatmap, more of them along one axis than along the other. So
    a landmark passes the places within a cell evenly along each axis, and in many combinations. The path's middle
    is the crop as it is usually made, but for a part of a cell that is drawn for each face. At 4 crop px a cell,
    the defaults are steps of 1/2 px to the right and 1/3 px down.

    Attributes:
        count: of frames, at least ``STEPS_A_CELL`` for each cell.
        right_cells: how many cells the photo moves to the right; negative for the left.
        down_cells: how many it moves down; negative for up.
        seed: of where the path begins, >= 0.
    """

    count: int = 24
    right_cells: int = 3
    down_cells: int = 2
    seed: int = 0

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        problems = []
        cells = max(abs(self.right_cells), abs(self.down_cells))
        if not self.right_cells or not self.down_cells or abs(self.right_cells) == abs(self.down_cells):
            problems.append(
                f"right_cells = {self.right_cells}, down_cells = {self.down_cells}: neither may be 0, and one "
                "must be larger, such as 3 and 2"
            )
        elif self.count < STEPS_A_CELL * cells:
            problems.append(f"count = {self.count}: at least {STEPS_A_CELL * cells} for {cells} cells")
        if self.seed < 0:
            problems.append(f"seed = {self.seed}: must not be negative")
        if problems:
            raise InputError.collect(problems, "the steps cannot be used:")

    def shifts(self, face: int) -> Floats:
        """How the photo of a face, the ``face``-th, moves: (count, 2), right and down, in heatmap cells."""
        begin = np.random.default_rng([self.seed, face]).random(2) - 0.5
        along = np.arange(self.count)[:, None] / self.count - 0.5
        return np.asarray(begin + along * (self.right_cells, self.down_cells))

    @property
    def farthest_cells(self) -> float:
        """No frame is further than this from the usual crop, along either axis."""
        return max(abs(self.right_cells), abs(self.down_cells)) / 2 + 0.5


@dataclass(frozen=True)
class Trails:
    """Where the landmarks of one face were found while its photo moved, less that motion.

    Attributes:
        found: by decoder, (count, L, 2) in crop px, from the network's heatmaps. A network and a decoder
            without fault give the same in every frame.
        ideal: the same from Gaussians drawn at the true landmarks: what the decoder alone does to them.
        size_px: of the face, the square root of width times height of its true landmarks' box, in crop px.
    """

    found: dict[str, Floats]
    ideal: dict[str, Floats]
    size_px: float


@dataclass(frozen=True)
class Trembling:
    """How much the landmarks of each face tremble.

    Attributes:
        deviation_px: (F,) rms distance of a landmark from its mean place, over frames and landmarks, in crop px.
        jitter_px: (F,) rms of what three frames do not foretell of the fourth, as ``clips.smooth.Jitter`` has it
            for videos: fast changes only. It depends on the length of the steps.
        sizes_px: (F,) see ``Trails``.
    """

    deviation_px: Floats
    jitter_px: Floats
    sizes_px: Floats

    @property
    def deviation_percent(self) -> Floats:
        """(F,) in % of each face's size."""
        return 100 * self.deviation_px / self.sizes_px

    @property
    def jitter_percent(self) -> Floats:
        """(F,) in % of each face's size."""
        return 100 * self.jitter_px / self.sizes_px

    @classmethod
    def of(cls, trails: list[Floats], sizes_px: Floats) -> Trembling:
        """The figures of some faces' trails, (count, L, 2) each."""
        return cls(
            np.array([rms_deviation(trail) for trail in trails]),
            np.array([rms_jitter(trail) for trail in trails]),
            sizes_px,
        )


@dataclass(frozen=True)
class Measured:
    """What one decoder does: with the network's heatmaps, and with ideal ones of the same faces and steps."""

    found: Trembling
    ideal: Trembling


def measure_jitter(
    network: Network,
    faces: Faces,
    decoders: Mapping[str, Decoder],
    steps: Steps | None = None,
    progress: Callable[[int], None] = lambda faces: None,
) -> dict[str, Measured]:
    """Move the photos of faces by known sub-pixel steps, and see how much the landmarks found tremble.

    The network sees each frame once; all decoders read the same heatmaps.

    Args:
        network: the network.
        faces: a selection, whose labels follow the network's mark-up.
        decoders: by any names.
        steps: by which the photos move.
        progress: called with the number of faces, 1, after each.

    Returns:
        By decoder, in the order given.

    Raises:
        InputError: there are no faces or no decoders, or photos or labels cannot be used.
    """
    if not len(faces) or not decoders:
        raise InputError(
            f"{faces.where}: {len(faces)} faces and {len(decoders)} decoders: at least one of each is needed"
        )
    found: dict[str, list[Floats]] = {name: [] for name in decoders}
    ideal: dict[str, list[Floats]] = {name: [] for name in decoders}
    sizes = []
    for trails in follow(network, faces, decoders, steps or Steps()):
        for name in decoders:
            found[name].append(trails.found[name])
            ideal[name].append(trails.ideal[name])
        sizes.append(trails.size_px)
        progress(1)
    lengths = np.array(sizes)
    return {
        name: Measured(Trembling.of(found[name], lengths), Trembling.of(ideal[name], lengths))
        for name in decoders
    }


def follow(network: Network, faces: Faces, decoders: Mapping[str, Decoder], steps: Steps) -> Iterator[Trails]:
    """The trails of each face, in their order; see ``measure_jitter``.

    Each frame is sampled from the photo once, by the matrix of its crop. That moves the photo by any fraction of a
    px, but OpenCV rounds to 1/32 of a photo px where it samples: dots are found within 0.01 px (rms).
    """
    usage = network.usage
    side = network.heatmaps(np.zeros((1, usage.input_size, usage.input_size, 3), np.uint8)).shape[-1]
    stride = usage.input_size / side
    check_reach(faces, usage.crop, 1 + 2 * steps.farthest_cells / side)
    landmarks_image = faces.all_landmarks(usage.markup).astype(np.float64)
    for face, box in enumerate(faces.face_boxes):
        shifts = steps.shifts(face)
        photo, _ = faces.photo(face)
        heatmaps = torch.from_numpy(network.heatmaps(_frames(photo, box, usage, shifts / side)))
        true = transform(crop_matrix(box, usage.crop, usage.input_size), landmarks_image[face]) / stride
        moved = torch.from_numpy(true + shifts[:, None])
        found, ideal = {}, {}
        for name, decoder in decoders.items():
            found[name] = _trail(decoder, heatmaps, shifts) * stride
            drawn = encode(moved, side, decoder.sigma_heatmap_px)
            ideal[name] = _trail(decoder, drawn, shifts) * stride
        size = float(normalise(true[None], usage.markup, "box")[0]) * stride
        yield Trails(found, ideal, size)


def _frames(photo: NDArray[np.uint8], box: Floats, usage: Usage, shifts: Floats) -> NDArray[np.uint8]:
    """The crops (count, S, S, 3) of a photo that moves by ``shifts`` (count, 2), fractions of the crop's side."""
    motions = [Motion(shift_x=right, shift_y=down) for right, down in shifts.tolist()]
    matrices = [crop_matrix(box, usage.crop, usage.input_size, motion) for motion in motions]
    return np.stack([warp(photo, matrix, usage.input_size) for matrix in matrices])


def _trail(decoder: Decoder, heatmaps: Tensor, shifts: Floats) -> Floats:
    """What a decoder finds in a face's heatmaps, less the motion: (count, L, 2) in heatmap cells."""
    return np.asarray(decoder(heatmaps)[0].double().numpy() - shifts[:, None])


def rms_deviation(trail: Floats) -> float:
    """The rms distance of the landmarks in a trail (count, L, 2) from each one's mean place."""
    return math.sqrt(2 * trail.var(axis=0).mean())  # x and y, so twice the mean over both


def rms_jitter(trail: Floats) -> float:
    """The rms of ``clips.smooth.third_difference`` over all frames and landmarks of a trail (count, L, 2)."""
    times = np.arange(JITTER_FRAMES)
    starts = range(len(trail) - JITTER_FRAMES + 1)
    moved = [third_difference(times, trail[start : start + JITTER_FRAMES]) for start in starts]
    return math.sqrt(2 * np.square(moved).mean())


def summarise_jitter(
    measured: Mapping[str, Measured], bootstrap: int = 1000, seed: int = 0
) -> dict[str, dict[str, Figures]]:
    """The mean over faces of each figure, with its 95 % bootstrap interval over the faces.

    Args:
        measured: by ``measure_jitter``, at least one decoder.
        bootstrap: number of resamples, >= 1; each draws the same faces for all decoders.
        seed: of the resamples.

    Returns:
        By decoder, ``{"found": figures, "ideal": figures, "difference": figures}``, where the figures are
        ``{name: {"value", "low", "high"}}`` for each of ``FIGURES``. The difference is that of ``found`` from the
        first decoder's, in pairs.

    Raises:
        InputError: ``bootstrap`` is below 1.
    """
    kinds = [trembling for one in measured.values() for trembling in (one.found, one.ideal)]
    faces = Resampler([Column(getattr(kind, figure)) for kind in kinds for figure in FIGURES])
    shape = (-1, len(measured), 2, len(FIGURES))
    value, drawn = faces.values().reshape(shape), faces.resampled(bootstrap, seed).reshape(shape)
    value, drawn = (_with_differences(table) for table in (value, drawn))
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    table = np.stack([value[0], low, high], -1).tolist()
    names = ("found", "ideal", "difference")
    return {
        decoder: {
            name: {
                figure: dict(zip(("value", "low", "high"), row, strict=True))
                for figure, row in zip(FIGURES, rows, strict=True)
            }
            for name, rows in zip(names, block, strict=True)
        }
        for decoder, block in zip(measured, table, strict=True)
    }


def _with_differences(table: Floats) -> Floats:
    """(R, D, 2, M) of D decoders -> (R, D, 3, M): found, ideal, and found less that of the first decoder."""
    return np.concatenate([table, table[:, :, :1] - table[:, :1, :1]], axis=2)
