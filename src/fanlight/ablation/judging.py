"""What the networks of an ablation predict for the judged faces, kept so that it is made once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from fanlight.ablation.plan import Ablation, Variant
from fanlight.ablation.training import network_file
from fanlight.checkpoint import load_checkpoint
from fanlight.data.faces import Faces
from fanlight.device import resolve_device
from fanlight.errors import InputError
from fanlight.judging.evaluate import origin_of, predict_partitions
from fanlight.judging.predictions import Predictions, load_predictions, save_predictions
from fanlight.network import TorchNetwork
from fanlight.predict import Predictor


def predictions_file(folder: Path, variant: Variant, seed: int) -> Path:
    """Where the predictions of a variant's network are kept."""
    return folder / "predictions" / f"{variant.name}-seed{seed}.npz"


def predict_one(
    ablation: Ablation,
    variant: Variant,
    seed: int,
    faces: Faces,
    folder: Path,
    device: str = "auto",
    progress: Callable[[int], None] = lambda faces: None,
) -> Predictions:
    """What a network finds in the judged faces: as kept by an earlier call, or found now and kept.

    Args:
        ablation: what is compared.
        variant: whose network.
        seed: of the network's training.
        faces: the index.
        folder: the ablation's.
        device: where the network runs.
        progress: called with the number of faces after each batch.

    Raises:
        InputError: the checkpoint or the faces cannot be used.
    """
    path, checkpoint = predictions_file(folder, variant, seed), network_file(folder, variant, seed)
    made_by = {
        "network": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "decoder": json.dumps(asdict(variant.decoder)),
        "flip": str(ablation.settings.flip),
        "judged": json.dumps(ablation.settings.judge),
    }
    if path.exists():
        with contextlib.suppress(InputError):  # a damaged file is made anew
            kept = load_predictions(path)
            if dict(kept.origin.facts) == made_by and kept.index_sha256 == faces.sha256:
                return kept
    predictor = Predictor(network_of(variant, checkpoint, device))
    found = predict_partitions(
        predictor,
        faces,
        ablation.settings.judge,
        ablation.settings.flip,
        progress=progress,
        origin=replace(origin_of(predictor), model=f"{variant.name}, seed {seed}", facts=made_by),
    )
    save_predictions(path, found)
    return found


def network_of(variant: Variant, checkpoint: Path, device: str = "auto") -> TorchNetwork:
    """A network that decodes as its variant does."""
    loaded = replace(load_checkpoint(checkpoint), decoder=variant.decoder)
    return TorchNetwork(loaded, resolve_device(device), str(checkpoint))
