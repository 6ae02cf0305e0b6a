"""Where a run computes: the device, the precision, the team of processes, and the allocator."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from fanlight.environment import whole_number
from fanlight.errors import InputError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Team:
    """The processes that train together; one process is a team of one.

    Attributes:
        rank: number of this process.
        size: number of processes.
        device: where this process computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True for the one process that writes files."""
        return self.rank == 0

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in the order of their ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def follow_leader(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite tensors with those of the leading process."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def any_is(self, true: bool) -> bool:
        """Whether it is true in any process."""
        return bool(self.mean(torch.tensor(float(true), device=self.device)) > 0) if self.size > 1 else true

    def from_leader(self, value: float) -> float:
        """The leading process's number."""
        if self.size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)


def resolve_device(device: str) -> str:
    """``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is CUDA where there is any.

    Raises:
        InputError: there is no such device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    count = {"cpu": 1, "cuda": torch.cuda.device_count()}.get(kind, 0)
    known = re.fullmatch(r"(cpu|cuda)(:\d{1,4})?", device, re.ASCII)
    if not known or int(number or 0) >= count:
        raise InputError(f'device "{device}": PyTorch finds none here; take "auto" or "cpu"')
    return device


@contextlib.contextmanager
def join_team(device: str) -> Iterator[Team]:
    """Join the processes that ``torchrun`` started, or work alone.

    Within the block of another call the team is that one's: the processes meet once only.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; under torchrun ``cuda`` is the process's own GPU.

    Raises:
        InputError: CUDA was asked for and there is none, or fewer devices than processes.
    """
    device = resolve_device(device)
    size = whole_number("WORLD_SIZE", 1, 1)
    if size == 1:
        yield Team(0, 1, torch.device(device))
        return
    if device.startswith("cuda"):
        if device != "cuda":
            raise InputError(
                f'train.device = "{device}" for several processes: take "cuda", and each has its own'
            )
        device = resolve_device(f"cuda:{whole_number('LOCAL_RANK', 0)}")
        torch.cuda.set_device(device)
    joined = dist.is_initialized()
    if not joined:
        backend = "nccl" if device.startswith("cuda") else "gloo"
        try:
            dist.init_process_group(
                backend, timeout=datetime.timedelta(hours=2)
            )  # the leader may check data for long
        except (ValueError, dist.DistError) as error:
            raise InputError(
                f"the environment says WORLD_SIZE={size} and they cannot meet ({error}): start by torchrun, "
                "which sets RANK, MASTER_ADDR and MASTER_PORT as well, or unset WORLD_SIZE"
            ) from None
    try:
        yield Team(dist.get_rank(), dist.get_world_size(), torch.device(device))
    finally:
        if not joined:
            dist.destroy_process_group()


def lost_another(error: RuntimeError) -> bool:
    """True if an exchange failed because another process, or the network to it, is gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that convolutions compute in.

    ``auto`` is bfloat16 where the hardware multiplies it (recent NVIDIA GPUs, CPUs with AVX512-BF16 or AMX;
    on others it is many times slower), else float16 on CUDA, else float32.

    Raises:
        InputError: float16 on a CPU.
    """
    cuda = device.type == "cuda"
    if precision == "float16" and not cuda:
        raise InputError('precision = "float16" needs a CUDA device: take "auto", "bfloat16" or "float32"')
    if precision != "auto":
        if precision not in DTYPES:
            raise InputError(f'precision = {precision!r}: give "auto", {", ".join(map(repr, DTYPES))}')
        return DTYPES[precision]
    if cuda:
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if native is not None and native() else torch.float32


def leave_cores_to_loaders(team: Team, workers: int) -> None:
    """Where the CPU trains, compute on the cores that the loader processes leave.

    The threads of one operation wait for each other: one that has to share its core slows down all of them, by
    more than a core is worth. Nothing is changed where OMP_NUM_THREADS says what to do, as torchrun does.
    """
    if team.device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() - workers))


def keep_freed_memory() -> None:
    """Tell glibc to keep what a training step frees: handing it back and forth costs a tenth of the step.

    Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_threshold, 2**30)
