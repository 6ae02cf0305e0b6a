"""Faces as batches: crops and landmarks, the same for any number of workers.

Workers hand over uint8 crops and landmarks; heatmaps are encoded where the model runs. A key (epoch,
position) says all that a worker needs: there is no state to share, so a crop cannot depend on who makes it.
"""

from __future__ import annotations

import contextlib
import copy
import gc
import math
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from fanlight.data.augment import Augmentation, sample_generator
from fanlight.data.faces import Faces, wrong_count
from fanlight.errors import InputError
from fanlight.geometry import STILL, CropRule, Floats, Motion, crop_matrix, invert, transform, warp
from fanlight.markup import Markup

READ_AT_ONCE = 20_000
"""So many labels are read when a data set is made: one by one they cost a
fourteenth of the loader's time, and together 11 MB."""

Key = tuple[int, int]
Batch = dict[str, torch.Tensor]


class FaceDataset(Dataset[Batch]):
    """Faces as crops, with their landmarks.

    Photos are read when they are asked for, and so are labels where there are many.

    Args:
        faces: from an index or a pack.
        markup: what the landmarks are; every label must have its number of points.
        crop_rule: how a face box becomes a square.
        input_size: side of the crops in px.
        augmentation: how crops are varied; None for the plain crop.
        seed: start of every random draw, >= 0.

    Raises:
        InputError: there are no faces, the first one's label does not fit, or crops would reach over the edge at
            which their photos were cut.
    """

    def __init__(
        self,
        faces: Faces,
        markup: Markup,
        crop_rule: CropRule,
        input_size: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
    ) -> None:
        if not len(faces):
            raise InputError(
                f"{faces.where}: no faces are left: choose at least one partition that holds some"
            )
        check_reach(faces, crop_rule, augmentation.settings.geometry.reach if augmentation else 1.0)
        self.faces = faces
        self.markup = markup
        self.crop_rule = crop_rule
        self.input_size = input_size
        self.augmentation = augmentation
        self.seed = seed
        weights = faces.weights
        self.weights = (weights / weights.mean()).astype(np.float32)
        self._mirror = list(markup.mirror)
        self._check_points()

    def __len__(self) -> int:
        return len(self.faces)

    @cached_property
    def landmarks_image(self) -> NDArray[np.float32]:
        """The landmarks of all faces, (N, L, 2) in image px, read when they are first asked for.

        Raises:
            InputError: listing every label that is missing, unreadable or of another mark-up, every missing photo
                and every degenerate face box.
        """
        return self.faces.all_landmarks(self.markup)

    def check_labels(self) -> None:
        """Read all labels now, so that faulty ones are told before anything else is done; see above."""
        _ = self.landmarks_image

    def at_size(self, input_size: int) -> FaceDataset:
        """The same faces as crops of another side; labels are shared."""
        other = copy.copy(self)
        other.input_size = input_size
        return other

    def __getitem__(self, key: Key) -> Batch:
        """One face in one epoch: the entries of ``__getitems__`` without their first axis."""
        return {name: values[0] for name, values in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """A batch of B faces, for keys (epoch, position among the faces).

        Returns:
            image: (B, S, S, 3) uint8 RGB.
            landmarks: (B, L, 2) float32 in crop px.
            weight: (B,) float32, mean 1 over the data set.
            index: (B,) int64, position among the faces.
            matrix: (B, 2, 3) float32, image -> crop, continuous; geometric albumentations are not part of it.
            motion: (B, 2, 3) float32, what augmentation adds to it, in fractions of the crop's side.

        Raises:
            InputError: a photo or a label cannot be used, or a transform lost a point.
        """
        positions = [position for _, position in keys]
        size = self.input_size
        images = torch.empty((len(keys), size, size, 3), dtype=torch.uint8)
        landmarks = np.empty((len(keys), self.markup.count, 2), np.float32)
        matrices, motions = np.empty((2, len(keys), 2, 3), np.float32)
        pixels = images.numpy()
        for row, (epoch, position) in enumerate(keys):
            pixels[row], landmarks[row], matrices[row], motion = self._crop(epoch, position)
            motions[row] = motion.matrix()
        return {
            "image": images,
            "landmarks": torch.from_numpy(landmarks),
            "weight": torch.from_numpy(self.weights[positions]),
            "index": torch.tensor(positions, dtype=torch.int64),
            "matrix": torch.from_numpy(matrices),
            "motion": torch.from_numpy(motions),
        }

    def _crop(self, epoch: int, position: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], Motion]:
        """Crop (S, S, 3), landmarks in crop px (L, 2), matrix image -> crop (2, 3) and motion of one face."""
        box, landmarks_image = self.faces.face_boxes[position], self._label(position)
        if self.augmentation is None:
            matrix = crop_matrix(box, self.crop_rule, self.input_size)
            photo, _ = self.faces.photo(position)
            return warp(photo, matrix, self.input_size), transform(matrix, landmarks_image), matrix, STILL
        generator = sample_generator(self.seed, epoch, position)
        motion = self.augmentation.motion(generator)
        matrix = crop_matrix(box, self.crop_rule, self.input_size, motion)
        photo, from_photo = self._photo_for(position, matrix)
        crop = warp(photo, from_photo, self.input_size, self.augmentation.border)
        landmarks = transform(matrix, landmarks_image)
        if motion.mirror:
            landmarks = landmarks[self._mirror]
        crop, landmarks = self.augmentation.photometric(crop, landmarks, generator)
        return crop, landmarks, matrix, motion

    def _label(self, position: int) -> NDArray[np.float32]:
        if "landmarks_image" in self.__dict__:  # they have been read
            return self.landmarks_image[position]
        landmarks = self.faces.landmarks(position)
        if len(landmarks) != self.markup.count:
            raise InputError(wrong_count(self.faces.name(position), len(landmarks), self.markup))
        return landmarks

    def _check_points(self) -> None:
        """Read all labels, or of many the first, which tells another mark-up; name all that do not fit."""
        if len(self) <= READ_AT_ONCE:
            self.check_labels()
            return
        try:
            self._label(0)
        except InputError:
            self.check_labels()
            raise

    def _photo_for(self, position: int, matrix: Floats) -> tuple[NDArray[np.uint8], Floats]:
        """Read a photo, smaller if the crop shrinks it a lot anyway: four times faster for large JPEG files.

        Returns:
            The photo as read, and the matrix from it to the crop, for ``matrix`` from the whole photo to the crop.
        """
        shrink = abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]) ** -0.5
        reduce = next((factor for factor in (8, 4, 2) if shrink >= 1.6 * factor), 1)
        photo, to_photo = self.faces.photo(position, reduce)
        back = invert(to_photo)
        return photo, np.column_stack([matrix[:, :2] @ back[:, :2], transform(matrix, back[:, 2])])


def check_reach(faces: Faces, rule: CropRule, motion: float) -> None:
    """Refuse crops of which a part was cut off when the photos were packed.

    Args:
        faces: from an index, which has whole photos, or a pack.
        rule: makes the crops.
        motion: side of the square that holds a crop wherever it is moved, over the crop's side.

    Raises:
        InputError: a crop reaches further than its photo.
    """
    if not math.isfinite(faces.reach):
        return
    reach = rule.reach(faces.face_boxes, motion).max()
    if reach > faces.reach * (1 + 1e-9):  # a margin that fits exactly is enough
        margin = math.ceil(100 * reach / CropRule().scale - 1e-6) / 100
        raise InputError(
            f"{faces.where}: photos were cut at {faces.reach:.3g} times the face box, and these crops reach "
            f"{reach:.3g} times: pack with --margin {margin:.2f}, or vary crops less"
        )


class EpochSampler(Sampler[list[Key]]):
    """Batches of keys (epoch, position) in an order that depends only on seed and epoch.

    A batch is that of all ranks together; each rank gets every ``world_size``-th face of it, so the same
    faces meet in a step whatever the number of processes.

    Args:
        count: number of faces.
        batch_size: faces in a batch, over all ranks; a multiple of ``world_size``.
        seed: with the epoch, determines the order.
        shuffle: draw a new order in each epoch; else the index's order.
        drop_last: leave out the incomplete last batch. Without it, each face comes exactly once over the
            ranks, and a rank may get an incomplete batch, or none, at the end.
        rank: this process, 0 to ``world_size`` - 1.
        world_size: number of processes.

    Raises:
        InputError: the batch size does not suit the ranks or exceeds the faces.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise InputError(
                f"a batch of {batch_size} faces cannot be shared equally by {world_size} processes: "
                "give a batch size that is a positive multiple of them"
            )
        if drop_last and count < batch_size:
            raise InputError(
                f"{count} faces do not fill one batch of {batch_size}: give a batch size of at most {count}"
            )
        self.count, self.batch_size = count, batch_size
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.rank, self.world_size = rank, world_size
        self.epoch, self.start_batch = 0, 0

    def set_epoch(self, epoch: int, start_batch: int = 0) -> None:
        """Choose the epoch that the next iteration runs through, from batch ``start_batch`` on."""
        self.epoch, self.start_batch = epoch, start_batch

    def __len__(self) -> int:
        """Batches still to come in this epoch, for this rank."""
        whole, rest = divmod(self.count, self.batch_size)
        incomplete = not self.drop_last and rest > self.rank
        return max(whole + incomplete - self.start_batch, 0)

    def __iter__(self) -> Iterator[list[Key]]:
        order = np.arange(self.count)
        if self.shuffle:  # four numbers, so that no sample draws from the same stream
            order = np.random.default_rng([self.seed, self.epoch, 0, 1]).permutation(self.count)
        epoch = self.epoch
        for batch in range(self.start_batch, self.start_batch + len(self)):
            faces = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(epoch, int(face)) for face in faces[self.rank :: self.world_size]]


class FaceLoader(DataLoader[Batch]):
    """Torch's loader, but what happens to a worker is told in the user's words, and between two batches.

    An InputError from a worker says what it says without the worker's traceback; a worker that was killed is one.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            with _children_unheeded():
                batches = super().__iter__()
            yield from batches
        except InputError as error:
            raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None
        except (RuntimeError, OSError, EOFError) as error:
            if not self.num_workers or not _tells_of_killed(error):
                raise
            raise InputError(
                f"a loader process was killed ({error}), as the system does where memory or shared memory runs "
                "out: take fewer workers (train.workers in a recipe)"
            ) from None


def _tells_of_killed(error: Exception) -> bool:
    """Whether an error is how a worker's death shows: torch noticed it, or it broke off handing over a batch."""
    if isinstance(error, ConnectionError | FileNotFoundError | EOFError):
        return not str(error).startswith("Caught ")  # so begins what happened within a worker
    return str(error).startswith("DataLoader worker (")


@contextlib.contextmanager
def _children_unheeded() -> Iterator[None]:
    """Undo what torch does about SIGCHLD when it starts workers.

    It would tell of a dead worker by an exception wherever this process is: amid a step, or a file that is being
    written. Without, it notices within seconds that a batch does not come.
    """
    if not hasattr(signal, "SIGCHLD"):
        yield
        return
    before = signal.getsignal(signal.SIGCHLD)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def make_loader(
    dataset: FaceDataset, sampler: Sampler[list[Key]], workers: int = 0, pin_memory: bool = False
) -> FaceLoader:
    """Load batches in ``workers`` processes, which stay from epoch to epoch; 0 loads in this one.

    Call ``sampler.set_epoch`` before each iteration. The batches do not depend on ``workers``, and torch's
    global random state is not touched. Pinned memory makes copies to a CUDA device faster.
    """
    return FaceLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_start_worker,
        persistent_workers=workers > 0,
        generator=torch.Generator(),
        pin_memory=pin_memory,
    )


def _as_it_is(batch: Any) -> Any:
    """The data set's batches need no collating."""
    return batch


def _start_worker(worker: int) -> None:
    """One thread a worker: there are as many workers as there are cores to use.

    What the worker was forked with is left to its parent: the collector of garbage would write to all of it, and
    so give each worker a copy of its own.
    """
    gc.freeze()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    _heed_parent_alone()


def _heed_parent_alone() -> None:
    """Let only the parent end this process: Ctrl-C, terminals, torchrun and SLURM signal all processes of a job.

    The parent may need its loaders until it has saved where it is. macOS cannot tell who sent a signal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if not hasattr(signal, "sigwaitinfo"):
        return
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
