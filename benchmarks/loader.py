"""The loader: training crops from photos, stage by stage, beside OpenCV alone."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.faces import some_faces
from benchmarks.plan import Plan
from benchmarks.references import LOADER, PREPROCESSING
from benchmarks.result import Figure, Other, Result
from benchmarks.timing import Call, Times
from fanlight.augment_settings import AugmentSettings
from fanlight.data.augment import Augmentation, sample_generator
from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader
from fanlight.data.index import Index
from fanlight.geometry import CropRule, crop_matrix, warp
from fanlight.image import read_image
from fanlight.markup import Markup

MARKUP, RULE, SIZE, BATCH = "ibug68", CropRule(), 256, 32


def measure(plan: Plan) -> Result:
    """Photos of about 400 px to crops of 256 px, with the default augmentation.

    Photometric stages are given as they are in training, where each runs on half of the faces. The whole loader
    reads files, crops them by a drawn motion, varies their pixels and makes batches of 32.
    """
    with some_faces(plan, plan.size(320, 4)) as index:
        stages = Stages(index)
        alone = {"imdecode alone": stages.imdecode, "warpAffine alone": stages.warp_affine}
        calls = {**alone, **stages.calls(), **whole(index)}
        times = plan.time(calls, len(index))
        megapixels = float(np.median([photo.shape[0] * photo.shape[1] for photo in stages.photos]) / 1e6)
        facts = {"faces": len(index), "input_size": SIZE, "photo_megapixels": round(megapixels, 3)}
        return Result("loader", "a face", figures(times), facts)


def figures(times: dict[str, Times]) -> list[Figure]:
    """The stages, with what the public code and OpenCV alone take."""
    decode, warped = (times[f"{name} alone"] for name in ("imdecode", "warpAffine"))
    limits = {
        "decode": Other("imdecode", decode.cpu_ms.median),
        "warp": Other("warpAffine", warped.cpu_ms.median),
    }
    both = Other("imdecode + warpAffine", decode.cpu_ms.median + warped.cpu_ms.median)
    limits |= {name: both for name in times if name.startswith("loader")}
    references = {
        "loader, as judged": PREPROCESSING,
        "loader, no photometrics": LOADER,
        "loader, full": LOADER,
    }
    return [
        Figure(name, took, references.get(name), limits.get(name), rate_unit="faces")
        for name, took in times.items()
    ]


class Stages:
    """The stages of a loader, each with its input ready.

    Args:
        index: the faces to go through.
    """

    def __init__(self, index: Index) -> None:
        self.count = len(index)
        self.paths = [sample.image_path for sample in index]
        self.files = [np.frombuffer(path.read_bytes(), np.uint8) for path in self.paths]
        self.photos = [read_image(path) for path in self.paths]
        augmentation = self._augmentation(AugmentSettings())
        motions = [augmentation.motion(sample_generator(0, 1, number)) for number in range(self.count)]
        self.matrices = [
            crop_matrix(box, RULE, SIZE, motion)
            for box, motion in zip(index.face_boxes, motions, strict=True)
        ]
        self.crops = [
            warp(photo, matrix, SIZE) for photo, matrix in zip(self.photos, self.matrices, strict=True)
        ]
        self.batch = torch.empty((BATCH, SIZE, SIZE, 3), dtype=torch.uint8)

    def calls(self) -> dict[str, Call]:
        """Every stage of fanlight, over all faces."""
        settings = AugmentSettings()
        calls: dict[str, Call] = {"decode": self.decode, "warp": self.warp}
        for step in settings.photometric:
            calls[f"{step.name} alone"] = self.photometric(AugmentSettings(photometric=[step]))
        calls["photometrics together"] = self.photometric(settings)
        calls["batch"] = self.collate
        return calls

    def imdecode(self) -> None:
        """JPEG decoding by OpenCV (libjpeg-turbo), from memory."""
        for data in self.files:
            cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)

    def warp_affine(self) -> None:
        """One bilinear warp by OpenCV, without a filter."""
        for photo, matrix in zip(self.photos, self.matrices, strict=True):
            cv2.warpAffine(photo, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)

    def decode(self) -> None:
        """Read and check files, and decode them."""
        for path in self.paths:
            read_image(path)

    def warp(self) -> None:
        """Filter where the crop is smaller, and sample once."""
        for photo, matrix in zip(self.photos, self.matrices, strict=True):
            warp(photo, matrix, SIZE)

    def photometric(self, settings: AugmentSettings) -> Callable[[], None]:
        """Vary the pixels of crops, each with its own random numbers."""
        augmentation, nowhere = self._augmentation(settings), np.zeros((68, 2))

        def run() -> None:
            for number, crop in enumerate(self.crops):
                augmentation.photometric(crop.copy(), nowhere, sample_generator(0, 1, number))

        return run

    def collate(self) -> None:
        """Put finished crops into batches."""
        rows: NDArray[np.uint8] = self.batch.numpy()
        for number, crop in enumerate(self.crops):
            rows[number % BATCH] = crop

    def _augmentation(self, settings: AugmentSettings) -> Augmentation:
        return Augmentation(settings, SIZE, Markup.load(MARKUP).mirror)


def whole(index: Index) -> dict[str, Call]:
    """The loader from files to batches, in this process: an epoch each call."""
    markup = Markup.load(MARKUP)
    plain, full = AugmentSettings(photometric=[]), AugmentSettings()
    augmentations = {
        "as judged": None,
        "no photometrics": Augmentation(plain, SIZE, markup.mirror),
        "full": Augmentation(full, SIZE, markup.mirror),
    }
    return {
        f"loader, {name}": epochs(FaceDataset(index, markup, RULE, SIZE, augmentation))
        for name, augmentation in augmentations.items()
    }


def epochs(dataset: FaceDataset) -> Call:
    """A pass through a data set, a new epoch each call."""
    sampler = EpochSampler(len(dataset), min(BATCH, len(dataset)), drop_last=False)
    loader = make_loader(dataset, sampler)

    def run() -> int:
        sampler.set_epoch(sampler.epoch + 1)
        return sum(len(batch["image"]) for batch in loader)

    return run
