"""What a checkpoint says of its training: the run, and each session that it took, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import torch

from fanlight.config import Recipe
from fanlight.data.faces import Faces
from fanlight.device import Team
from fanlight.provenance import file_digest, made_by

# What is said of the whole run; all else is said of a session.
RUN = (
    "index",
    "index_sha256",
    "source_sha256",
    "faces",
    "faces_sha256",
    "seed",
    "start_from",
    "step",
    "epoch",
    "minutes",
    "earlier",
)


def begin_session(recipe: Recipe, faces: Faces, team: Team, precision: torch.dtype) -> dict[str, Any]:
    """The provenance of a run that begins now.

    Args:
        recipe: of the run.
        faces: it learns from and is chosen on.
        team: the processes that train together.
        precision: what convolutions compute in.

    Returns:
        Of the run: ``index`` and ``index_sha256``; ``source_sha256`` of the index that a pack was made of;
        ``faces``, how many of it take part, and ``faces_sha256``, which; ``seed``; ``start_from``, the file and
        its ``sha256``. Of the session: what ``made_by`` and ``computing`` give; ``began`` in UTC; ``from_step``.
    """
    start = recipe.train.start_from
    return {
        **made_by(),
        **computing(team.device, precision, team.size),
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "from_step": 0,
        "index": faces.where,
        "index_sha256": faces.sha256,
        "source_sha256": faces.source_sha256,
        "faces": len(faces),
        "faces_sha256": faces.digest_of([*recipe.data.train, *recipe.data.val]),
        "seed": recipe.train.seed,
        **({"start_from": {"file": start, "sha256": file_digest(start)}} if start else {}),
    }


def computing(device: torch.device, precision: torch.dtype, processes: int) -> dict[str, Any]:
    """What else may change the last bits of a result: ``device``, ``precision``, ``threads`` and ``processes``."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return {
        "device": f"{device.type}{gpu}",
        "precision": str(precision).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "processes": processes,
    }


def continue_session(
    provenance: Mapping[str, Any], before: Mapping[str, Any], step: int, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """The provenance of a run that goes on: its own beginning, and under ``earlier`` the sessions up to here.

    Args:
        provenance: of the session that goes on, as ``begin_session`` gives it.
        before: of the checkpoint that it goes on from; it may be an older version's, and lack anything.
        step: of that checkpoint.
        changes: settings of that checkpoint's recipe that have another value now, by their keys.
    """
    last = {name: value for name, value in before.items() if name not in RUN}
    if changes:
        last["settings"] = dict(changes)
    kept = {"start_from": before["start_from"]} if "start_from" in before else {}
    return {
        **provenance,
        **kept,
        "from_step": step,
        "earlier": [*before.get("earlier", ()), last],
    }


def sessions_of(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is known of each session that led to a checkpoint, the first one first."""
    last = {name: value for name, value in provenance.items() if name not in RUN}
    return [*map(dict, provenance.get("earlier", ())), last]


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of one recipe that have another value in a second one, by their keys."""
    new = dict(_settings(now))
    return {key: value for key, value in _settings(before) if new.get(key) != value}


def _settings(values: Mapping[str, Any], table: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _settings(value, f"{table}{name}.")
        else:
            yield f"{table}{name}", value
