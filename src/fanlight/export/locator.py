"""Network and decoder as one module, as an exported file holds them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fanlight.checkpoint import Checkpoint
from fanlight.export.check import ExampleFaces
from fanlight.export.slim import slim
from fanlight.metadata import to_json
from fanlight.network import TorchNetwork, locate, to_input

OUTPUTS = ("landmarks", "scores", "covariances")


class Locator(nn.Module):
    """Finds landmarks in crops, all in tensors.

    (B, S, S, 3) uint8 RGB -> landmarks (B, L, 2), scores (B, L) and covariances (B, L, 2, 2), as in ``Located``
    but float32; then heatmaps (B, L, H, H) if asked for.

    Args:
        checkpoint: the network and its decoder.
        heatmaps: return them too.
    """

    def __init__(self, checkpoint: Checkpoint, heatmaps: bool = False) -> None:
        super().__init__()
        self.model, self.decoder = checkpoint.build(), checkpoint.decoder
        self.input_size, self.heatmaps = checkpoint.options.input_size, heatmaps
        self.eval().requires_grad_(False)

    @property
    def outputs(self) -> list[str]:
        """The names of what it returns."""
        return [*OUTPUTS, *(["heatmaps"] if self.heatmaps else [])]

    def forward(self, crops: Tensor) -> tuple[Tensor, ...]:
        heatmaps = self.model(to_input(crops))[-1]
        found = locate(heatmaps, self.decoder, self.input_size)
        return (*found, heatmaps) if self.heatmaps else found


def examples(size: int) -> Tensor:
    """Two crops of noise, to follow a network's computation with."""
    return torch.randint(
        0, 256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def metadata(checkpoint: Checkpoint, faces: ExampleFaces, outputs: list[str], **more: Any) -> str:
    """What the exported file says of itself; paths of this machine are not part of it."""
    options, points, light = checkpoint.options, checkpoint.markup.count, slim(checkpoint)
    shapes = {
        "landmarks": f"(B, {points}, 2) float32, x and y in crop px",
        "scores": f"(B, {points}) float32, height of each heatmap's peak: about 1 for a sure landmark",
        "covariances": f"(B, {points}, 2, 2) float32, crop px squared, how far each heatmap spreads",
        "heatmaps": f"(B, {points}, {options.heatmap_size}, {options.heatmap_size}) float32",
    }
    return to_json(
        TorchNetwork(checkpoint).usage,
        heatmap_size=options.heatmap_size,
        inputs={"crops": f"(B, {options.input_size}, {options.input_size}, 3) uint8, RGB"},
        outputs={name: shapes[name] for name in outputs},
        decoder=vars(checkpoint.decoder),
        metrics=dict(checkpoint.metrics),
        checked_on=faces.source,
        provenance=dict(light.provenance),
        recipe=dict(light.recipe),
        **more,
    )
