"""What a run begins with: faces that count several times, and the weights of another network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fanlight.checkpoint import Checkpoint, begin_with, save_checkpoint
from fanlight.config import Recipe
from fanlight.data.index import Index
from fanlight.device import Team
from fanlight.errors import InputError
from fanlight.learner import Learner
from fanlight.loaders import training_feed
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions
from painted import OPTIONS, make_index, markup, untrained

ALONE = Team(0, 1, torch.device("cpu"))


def recipe(index: Index, **tables: dict[str, Any]) -> Recipe:
    data = {
        "index": str(index.path),
        "markup": str(index.path.parent / "five.toml"),
        "train": ["dots/train"],
        "val": ["dots/val"],
        **tables.pop("data", {}),
    }
    model = {
        name: getattr(OPTIONS, name)
        for name in ("stacks", "features", "depth", "stem_features", "stem_pool", "input_size", "pooling")
    }
    train = {"batch_size": 4, "workers": 0, "device": "cpu", **tables.pop("train", {})}
    return Recipe.from_dict({"data": data, "model": model, "decoder": {"radius": 0.3}, "train": train})


def test_a_repeated_partition_is_seen_as_often_in_every_epoch(tmp_path: Path) -> None:
    index = Index.read(make_index(tmp_path))
    settings = recipe(index, data={"repeat": {"dots/train": 3}})
    feed = training_feed(settings, index, Markup.load(settings.data.markup), ALONE)
    assert feed.dataset.faces.partitions() == {"dots/train": 3 * 16}
    seen = torch.cat([batch["index"] for batch in feed.loader]).tolist()
    assert len(seen) == len(set(seen)) == 3 * 16


def test_only_what_is_learnt_can_be_repeated(tmp_path: Path) -> None:
    index = Index.read(make_index(tmp_path))
    with pytest.raises(InputError, match="repeat names dots/val, which is not in train"):
        recipe(index, data={"repeat": {"dots/val": 2}})
    with pytest.raises(InputError, match=r"data\.repeat"):
        recipe(index, data={"repeat": {"dots/train": 0}})


def test_training_begins_with_the_weights_it_was_given(tmp_path: Path) -> None:
    index = Index.read(make_index(tmp_path))
    known = save_checkpoint(tmp_path / "known.ckpt", untrained(tmp_path))
    learner = Learner(recipe(index, train={"start_from": str(known), "seed": 5}), ALONE)
    for name, values in untrained(tmp_path).weights.items():
        assert torch.equal(learner.model.state_dict()[name], values), name
        assert torch.equal(learner.average.weights()[name], values), name


def test_other_points_keep_their_own_heads(tmp_path: Path) -> None:
    other = replace(markup(tmp_path), points=("a", "b", "c", "d", "e"))
    model = FAN(replace(OPTIONS, stacks=2))
    before = {name: values.clone() for name, values in model.state_dict().items()}
    torch.manual_seed(9)
    known = FAN(replace(OPTIONS, stacks=2))
    checkpoint = Checkpoint(known.options, known.state_dict(), markup(tmp_path))
    begin_with(model, checkpoint, other)
    kept = {name for name, values in model.state_dict().items() if torch.equal(values, before[name])}
    changed = {name for name in before if not torch.equal(before[name], known.state_dict()[name])}
    assert kept & changed == {"l0.weight", "l1.weight", "al0.weight", "al0.bias"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "average"}, "pooling is max there and average here"),
        ({"features": 16}, "features is 8 there and 16 here"),
        ({"stacks": 1}, "stacks is 2 there and 1 here"),
    ],
)
def test_another_network_is_refused(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    shape: FANOptions = replace(OPTIONS, **options)
    with pytest.raises(InputError, match=words):
        begin_with(FAN(shape), untrained(tmp_path), markup(tmp_path))
