"""Batch norm over the shares of all processes, on CUDA and on CPUs."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from fanlight.model import FAN


def synchronise_norms(model: FAN, device: torch.device) -> FAN:
    """Let every batch norm of a model take its statistics from the batch of all processes together.

    PyTorch's own layer does so on GPUs and refuses CPUs, which get one from here. Weights and buffers stay what
    they are and what they are called, so that checkpoints do not differ.
    """
    if device.type != "cpu":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for name, norm in list(model.named_modules()):
        if isinstance(norm, nn.BatchNorm2d):
            synced = SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
            synced.load_state_dict(norm.state_dict())
            model.set_submodule(name, synced)
    return model


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the processes' shares of a batch, all equally large, on a CPU."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape, normalised over the B of all processes, H and W."""
        if not self.training:
            return super().forward(input)
        mean, variance = self._statistics(input)
        self._follow(mean, variance, dist.get_world_size() * input.numel() // input.shape[1])
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale  # in float32, as is the sum: they may all but cancel
        return (input * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    def _statistics(self, input: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance over all processes, both (C,) in single precision or better."""
        exact = input.to(torch.promote_types(input.dtype, torch.float32))
        variance, mean = torch.var_mean(exact, (0, 2, 3), correction=0)
        own = torch.stack((mean, variance))
        shares = own.new_zeros(dist.get_world_size(), *own.shape)
        shares[dist.get_rank()] = own  # a sum of rows that are zero elsewhere gathers them
        means, variances = _SumOverProcesses.apply(shares).unbind(1)  # type: ignore[no-untyped-call]
        mean = means.mean(0)
        return mean, variances.mean(0) + (means - mean).square().mean(0)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics as ``nn.BatchNorm2d`` does, towards the unbiased variance."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


class _SumOverProcesses(torch.autograd.Function):
    """A sum over processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
