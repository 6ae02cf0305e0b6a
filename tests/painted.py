"""Faces for tests: photos with a soft dot at each of five landmarks, and a network that finds dots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fanlight.checkpoint import Checkpoint
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.image import write_image
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor

MARKUP_TOML = """
name = "five"
source = "tests"
points = ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"]
mirror = [["right_eye", "left_eye"], ["right_mouth", "left_mouth"]]
middle = ["nose"]
eye_corners = { right = 0, left = 1 }
[parts]
eyes = ["0..1"]
mouth = ["3..4"]
"""
# The subject's right is on the image's left. Eyes are red, the nose green, the mouth's corners blue.
PLACES = np.array([[0.32, 0.38], [0.68, 0.38], [0.5, 0.55], [0.38, 0.72], [0.62, 0.72]])
CHANNELS = (0, 0, 1, 2, 2)
OPTIONS = FANOptions(points=5, stacks=2, features=8, depth=2, stem_features=4, input_size=64)


def paint(landmarks: NDArray[np.float64], height: int, width: int, sigma: float) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 RGB: a dot of 255 at each landmark, in continuous px, on black."""
    y, x = np.mgrid[:height, :width] + 0.5
    photo = np.zeros((height, width, 3))
    for (px, py), channel in zip(landmarks, CHANNELS, strict=True):
        photo[..., channel] += 255 * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
    return photo.clip(0, 255).round().astype(np.uint8)


def make_faces(
    folder: Path, count: int, seed: int = 0, partition: tuple[str, str] = ("dots", "val")
) -> list[Sample]:
    """Write photos and labels of faces of about 60 px, each a little different."""
    numbers = np.random.default_rng([seed, count])
    folder.mkdir(parents=True, exist_ok=True)
    samples = []
    for i in range(count):
        width, height = (int(v) for v in numbers.integers(96, 112, 2))
        box = np.array([20.0, 22.0, 80.0, 82.0]) + numbers.uniform(-4, 4, 4)
        landmarks = box[:2] + (PLACES + numbers.uniform(-0.04, 0.04, PLACES.shape)) * (box[2:] - box[:2])
        photo, label = folder / f"{partition[1]} {i}.png", folder / f"{partition[1]} {i}.pts"
        write_image(photo, paint(landmarks, height, width, 2.0))
        write_pts(label, landmarks)
        samples.append(Sample(*partition, -1, photo, label, tuple(box.tolist())))
    return samples


def make_index(folder: Path, train: int = 16, val: int = 7) -> Path:
    """An index with the partitions dots/train and dots/val, and the mark-up beside it."""
    samples = make_faces(folder, train, 1, ("dots", "train")) + make_faces(folder, val, 2)
    Index.write(folder / "faces.tsv", samples)
    (folder / "five.toml").write_text(MARKUP_TOML)
    return folder / "faces.tsv"


def markup(folder: Path) -> Markup:
    """The mark-up of the five dots."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "five.toml").write_text(MARKUP_TOML)
    return Markup.load(folder / "five.toml")


class DotFinder(nn.Module):
    """The dots as heatmaps, as large as the images; sides are told by where a dot is in what it sees."""

    def forward(self, images: Tensor) -> list[Tensor]:
        left = (torch.arange(images.shape[-1]) < images.shape[-1] / 2).float()
        maps = [images[:, channel] for channel in CHANNELS]
        maps = [m if i == 2 else m * (left if i in (0, 3) else 1 - left) for i, m in enumerate(maps)]
        return [torch.stack(maps, 1)]


def untrained(
    folder: Path, crop: CropRule | None = None, offset: tuple[float, float] = (0.0, 0.0)
) -> Checkpoint:
    """A checkpoint with random weights, and a decoder that suits dots."""
    torch.manual_seed(0)
    decoder = Decoder(radius=0.05, border="cut")
    return Checkpoint(
        OPTIONS,
        FAN(OPTIONS).state_dict(),
        markup(folder),
        decoder,
        crop or CropRule(),
        offset_image=offset,
    )


def dot_predictor(
    folder: Path, crop: CropRule | None = None, offset: tuple[float, float] = (0.0, 0.0), batch: int = 32
) -> Predictor:
    """A predictor whose network finds the dots of these photos."""
    network = TorchNetwork(untrained(folder, crop, offset))
    network.model = DotFinder()  # type: ignore[assignment]
    return Predictor(network, batch_size=batch)


def find_dots(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A detector: (1, 4), the box of the face that a photo's dots belong to, or (0, 4) where there are none."""
    y, x = np.nonzero(photo.max(2) > 230)
    if not len(x):
        return np.empty((0, 4))
    low, high = PLACES.min(0), PLACES.max(0)
    first, last = np.array([x.min(), y.min()]) + 0.5, np.array([x.max(), y.max()]) + 0.5
    size = (last - first) / (high - low)
    return np.concatenate([first - low * size, first + (1 - low) * size])[None]
