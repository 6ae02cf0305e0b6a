"""Faces: indexes, packs, and predictions for them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from fanlight.data.faces import Faces
from fanlight.data.index import Index
from fanlight.data.pack import Pack
from fanlight.data.pack_file import DESCRIPTION
from fanlight.inspection.found import Inspected, parse_json
from fanlight.judging.predictions import load_predictions


def index(path: Path) -> Inspected:
    """An index."""
    faces = Index.read(path)
    return Inspected("index", path, _partitions(faces), provenance={"index_sha256": faces.sha256})


def pack(folder: Path) -> Inspected:
    """A pack, by its folder."""
    faces = Pack.open(folder)
    described = faces.description
    facts = {
        **_partitions(faces),
        "Mark-up": str(described.markup.get("name")),
        "Photos": f"{described.photos.format}, sides of at most {described.photos.size} px",
    }
    known = {
        "fanlight": described.fanlight,
        "packed_from": described.source,
        "index_sha256": faces.sha256,
        "source_sha256": described.source_sha256,
    }
    return Inspected("pack", folder / DESCRIPTION, facts, provenance=known)


def _partitions(faces: Faces) -> dict[str, str]:
    counts = faces.partitions()
    return {"Faces": str(len(faces)), **{name: f"{count} faces" for name, count in counts.items()}}


def predictions(path: Path) -> Inspected:
    """Predictions that ``fanlight eval`` kept."""
    loaded = load_predictions(path)
    origin, found = loaded.origin, loaded.found
    with zipfile.ZipFile(path) as content, content.open("about.npy") as file:
        about = parse_json(str(np.load(file, allow_pickle=False)), path)
    facts = {
        **origin.facts,
        "Predicted by": origin.model,
        "Faces": str(len(found.positions)),
        "Mirrored faces": "yes" if found.mirrored is not None else "no",
    }
    known = {
        **about.get("provenance", {}),
        "index_sha256": loaded.index_sha256,
        **({"networks": [dict(origin.network)]} if origin.network else {}),
    }
    return Inspected("predictions", path, facts, provenance=known)
