"""Preparing an archive as Python does it, and holding what comes out against the painted dots."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.data.archives.boxes import Way
from fanlight.data.archives.contents import Request
from fanlight.data.archives.prepare import Prepared, prepare
from fanlight.data.check import check
from fanlight.data.index import Index, Sample
from fanlight.data.pts import read_pts
from fanlight.image import read_image
from fanlight.markup import Markup

FROM_LANDMARKS = Way(boxes="landmarks")


def run(
    kind: str, root: Path, out: Path, way: Way = FROM_LANDMARKS, **options: Any
) -> tuple[Prepared, list[Sample]]:
    prepared = prepare(kind, Request(root, Path(), **options), out, way)
    assert prepared.index == out / "index.tsv"
    assert not [path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}.")]
    return prepared, list(Index.read(prepared.index))


def on_dots(samples: Iterable[Sample], placed: dict[str, np.ndarray], key: Callable[[Sample], str]) -> None:
    """Landmarks are the centres of the painted pixels, and the photo is bright there: so both belong together."""
    for sample in samples:
        landmarks = read_pts(sample.landmarks_path)
        np.testing.assert_allclose(landmarks, placed[key(sample)] + 0.5, atol=6e-4)
        photo = read_image(sample.image_path)
        x, y = np.floor(landmarks).astype(int).T
        assert photo[y, x].mean() > 2 * photo.mean(), sample.image_path


def name(sample: Sample) -> str:
    return sample.image_path.name


def stem(sample: Sample) -> str:
    return sample.image_path.stem


def usable(prepared: Prepared, markup: str) -> None:
    assert check(Index.read(prepared.index), Markup.load(markup), workers=1) == []
