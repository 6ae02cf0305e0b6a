"""How much the landmarks of an ablation's networks tremble, for each way to decode their heatmaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.ablation.judging import network_of
from fanlight.ablation.plan import Ablation
from fanlight.ablation.training import network_file, networks
from fanlight.data.faces import Faces
from fanlight.judging.jitter import Measured, Trembling, measure_jitter, summarise_jitter


def jitter_of(
    ablation: Ablation,
    index: Faces,
    folder: Path,
    device: str = "auto",
    progress: Callable[[int], None] = lambda faces: None,
) -> dict[str, Any]:
    """Move photos of each judged partition by known steps, as the ablation's ``[jitter]`` says.

    A face's figure is the mean over the seeds; differences are from the first variant, in pairs.

    Args:
        ablation: what is compared.
        index: holds the judged partitions.
        folder: the ablation's, with the trained networks.
        device: where the networks run.
        progress: called with the number of faces, 1, after each.

    Returns:
        ``{partition: {"faces": N, "variants": what summarise_jitter gives}}``; nothing where it is not asked for.
    """
    asked = ablation.settings.jitter
    if asked is None:
        return {}
    results = {}
    for name in ablation.settings.judge:
        faces = index.select([name])
        count = min(asked.faces, len(faces))
        faces = faces.take(np.linspace(0, len(faces) - 1, count).round().astype(np.int64))
        by_seed: dict[str, list[Measured]] = {variant.name: [] for variant in ablation.variants}
        for source, seed in networks(ablation):
            judged = [variant for variant in ablation.variants if variant.source == source.name]
            network = network_of(source, network_file(folder, source, seed), device)
            decoders = {variant.name: variant.decoder for variant in judged}
            for variant, measured in measure_jitter(network, faces, decoders, asked.steps, progress).items():
                by_seed[variant].append(measured)
        means = {variant: _mean(measured) for variant, measured in by_seed.items()}
        results[name] = {"faces": count, "variants": summarise_jitter(means)}
    return results


def _mean(by_seed: Sequence[Measured]) -> Measured:
    """Each face's mean over the seeds."""
    return Measured(
        *(_mean_trembling([getattr(one, kind) for one in by_seed]) for kind in ("found", "ideal"))
    )


def _mean_trembling(by_seed: Sequence[Trembling]) -> Trembling:
    return Trembling(
        deviation_px=np.mean([one.deviation_px for one in by_seed], axis=0),
        jitter_px=np.mean([one.jitter_px for one in by_seed], axis=0),
        sizes_px=by_seed[0].sizes_px,
    )
