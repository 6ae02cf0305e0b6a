"""Networks exported to ibug.face_alignment: its own code finds what ours does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import fanlight
import fanlight.image
import painted
from fanlight.checkpoint import Checkpoint
from fanlight.errors import InputError
from fanlight.export import (
    export_ibug,
)
from fanlight.geometry import CropRule
from fanlight.heatmap import Decoder
from fanlight.markup import Markup
from fanlight.model import FAN, FANOptions
from foreign_weights import faces
from ibug_predictor import FANPredictor, PublishedFAN

IBUG_OPTIONS = {
    "as 2dfan2": FANOptions(stacks=2, features=16, depth=2, input_size=64),
    "average, narrow stem": FANOptions(
        stacks=1, features=16, depth=1, pooling="average", stem_kernel=5, stem_pool=1, input_size=32
    ),
    "instance": FANOptions(stacks=1, features=16, depth=1, norm="instance", input_size=32),
    "19 points": FANOptions(points=19, stacks=2, features=16, depth=1, input_size=32),
}


def ibug_network(options: FANOptions, **more: Any) -> Checkpoint:
    torch.manual_seed(0)
    model = FAN(options)
    for stack in range(options.stacks):
        torch.nn.init.normal_(model.get_submodule(f"l{stack}").weight, std=0.3)
    weights = {
        name: values.half() if values.dim() == 4 else values for name, values in model.state_dict().items()
    }
    markup = Markup.load("ibug68" if options.points == 68 else "aflw19")
    return Checkpoint(options, weights, markup, **more)


def settings_in(note: str) -> SimpleNamespace:
    """The config that the note tells to give."""
    code = note[note.index("config=") :].split("\n  config =")[0].removeprefix("config=")
    return eval(code.rstrip(")").rstrip() + ")", {"SimpleNamespace": SimpleNamespace})


@pytest.mark.parametrize("name", IBUG_OPTIONS)
def test_the_published_network_computes_the_same_with_our_weights(name: str, tmp_path: Path) -> None:
    options = IBUG_OPTIONS[name]
    checkpoint = ibug_network(options)
    written = export_ibug(checkpoint, tmp_path / "fan.pth", faces(options.input_size))
    weights = torch.load(tmp_path / "fan.pth", weights_only=True)
    assert {values.dtype for values in weights.values()} <= {torch.float32, torch.int64}
    images = torch.rand(2, 3, options.input_size, options.input_size)
    theirs = PublishedFAN(weights, settings_in(written.notes[0]))(images)
    assert any("have 68 heatmaps" in note for note in written.notes) is (options.points != 68)
    with torch.no_grad():
        ours = checkpoint.build()(images)[-1]
    torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-4)


def test_ibug_predictor_follows_the_notes(tmp_path: Path) -> None:
    """Weights, crop and decoder together: its landmarks lie where ours do, apart from what its crop rounds."""
    options = IBUG_OPTIONS["as 2dfan2"]
    decoder = Decoder(radius=0.2, gamma=2.0, border="cut")
    checkpoint = ibug_network(options, decoder=decoder, crop=CropRule(2.0))
    written = export_ibug(checkpoint, tmp_path / "fan.pth", faces(options.input_size))
    assert written.largest_px == 0
    assert "create_config(gamma=2, radius=0.2)" in written.notes[0]
    model = SimpleNamespace(weights=tmp_path / "fan.pth", config=settings_in(written.notes[0]))
    theirs = FANPredictor(model, FANPredictor.create_config(gamma=2.0, radius=0.2))
    assert theirs.config.crop_ratio == 0.5
    assert theirs.config.hg_num_features == 16
    crops = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        heatmaps = checkpoint.build()(crops)[-1]
    found = (heatmaps.amax((2, 3)) > 0).numpy()  # without a positive cell theirs is the corner
    assert found.mean() > 0.5
    expected = decoder(heatmaps)[0].numpy()[found]
    np.testing.assert_allclose(theirs.centroids(heatmaps.double().numpy())[found], expected, atol=1e-4)


def test_ibug_predictor_speaks_of_continuous_pixels(tmp_path: Path) -> None:
    """With labels in our convention its landmarks need no offset: a network that finds dots, in its pipeline."""
    config = SimpleNamespace(crop_ratio=0.55, input_size=painted.OPTIONS.input_size)
    finder, ours = painted.DotFinder(), painted.dot_predictor(tmp_path)
    decoder = FANPredictor.create_config(radius=0.05)
    theirs = FANPredictor(SimpleNamespace(config=config), decoder, lambda x: finder(x)[-1])
    away, apart = [], []
    for sample in painted.make_faces(tmp_path / "dots", 12):
        photo, box = fanlight.read_image(sample.image_path), np.array([sample.face_box])
        found = theirs(photo, box)[0]
        apart.append(found - ours.predict(photo, box)[0].landmarks)
        away.append(found - fanlight_labels(sample.landmarks_path))
    assert np.abs(np.mean(apart, (0, 1))).max() < 0.1  # an offset would be 0.5
    assert np.abs(np.mean(away, (0, 1))).max() < 0.1


def fanlight_labels(path: Path) -> np.ndarray[Any, Any]:
    from fanlight.data.pts import read_pts

    return read_pts(path)


def test_networks_that_the_layout_cannot_hold_are_refused(tmp_path: Path) -> None:
    checkpoint = ibug_network(replace(IBUG_OPTIONS["instance"], stem_features=4))
    with pytest.raises(InputError) as caught:
        export_ibug(checkpoint, tmp_path / "fan.pth", faces(32))
    assert "stem_features = 4, and its first convolution has 64 channels" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_ibug_predictor_cannot_follow_is_noted(tmp_path: Path) -> None:
    options = IBUG_OPTIONS["as 2dfan2"]
    crop, offset = CropRule(2.0, "max", shift_y=0.1), (0.5, 0.5)
    checkpoint = ibug_network(options, crop=crop, offset_image=offset)
    notes = "\n".join(export_ibug(checkpoint, tmp_path / "fan.pth", faces()).notes)
    assert "plus (0.5, 0.5) are continuous" in notes
    assert "its crop cannot follow this network's rule" in notes
    assert "no border correction" in notes
