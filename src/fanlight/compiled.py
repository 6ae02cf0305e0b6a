"""A network run by ``torch.compile``, which has to do what the network does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fanlight.errors import InputError
from fanlight.model import FAN, still_statistics

# How far heatmaps may be apart, as a share of their length: compiled kernels round elsewhere.
TOLERANCE = {torch.float32: 1e-2, torch.bfloat16: 0.2, torch.float16: 0.2}


class CompiledNetwork:
    """Compiles a network, and compares its first heatmaps of each size with those of the network itself.

    Args:
        network: what is compiled: the model, or the model wrapped to run in several processes.
        model: the model itself.
        precision: what its convolutions compute in.
    """

    def __init__(self, network: nn.Module, model: FAN, precision: torch.dtype) -> None:
        self._compiled, self._model, self._tolerance = torch.compile(network), model, TOLERANCE[precision]
        self._checked = set[int]()  # sides of crops; each is compiled anew

    def __call__(self, images: Tensor) -> list[Tensor]:
        """See ``FAN``.

        Raises:
            InputError: the first time, or at another size: it cannot be compiled, or computes something else.
        """
        if images.shape[-1] in self._checked:
            return self._compiled(images)
        from torch._dynamo.exc import TorchDynamoException  # a second to import, needed by those who compile

        try:
            heatmaps = self._compiled(images)
        except TorchDynamoException as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"train.compile = true: torch.compile fails here ({reason}): it needs a C++ compiler such as g++ "
                "on CPUs, and Triton on GPUs; install it, or set train.compile = false"
            ) from error
        self._check(images, heatmaps)
        self._checked.add(images.shape[-1])
        return heatmaps

    @torch.no_grad()
    def _check(self, images: Tensor, heatmaps: list[Tensor]) -> None:
        with still_statistics(self._model):
            expected = torch.stack(self._model(images)).float()
        apart = float((torch.stack(heatmaps).float() - expected).norm() / expected.norm())
        if not apart <= self._tolerance:
            raise InputError(
                f"train.compile = true: the compiled network's heatmaps are {100 * apart:.3g} % away from those "
                f"of the network itself, and rounding explains {100 * self._tolerance:.0f} % at most: set "
                "train.compile = false"
            )
