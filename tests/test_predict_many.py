"""Many photos at once: the faces are those that each photo has alone, whatever shares a batch with them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from fanlight.checkpoint import save_checkpoint
from fanlight.data.index import Sample
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.image import write_image
from fanlight.network import Located, Network, TorchNetwork, Usage
from fanlight.predict import Predictor
from painted import dot_predictor, find_dots, make_faces, untrained


@pytest.fixture
def photos(tmp_path: Path) -> list[Sample]:
    return make_faces(tmp_path / "photos", 7)


@dataclass
class Counted:
    """A network that notes how many faces it is given at a time."""

    network: Network
    sizes: list[int] = field(default_factory=list)

    @property
    def usage(self) -> Usage:
        return self.network.usage

    def __call__(self, crops: torch.Tensor) -> Located:
        self.sizes.append(len(crops))
        return self.network(crops)

    def heatmaps(self, crops: torch.Tensor) -> np.ndarray:
        return self.network.heatmaps(crops)


def test_faces_are_those_of_each_photo_alone(tmp_path: Path, photos: list[Sample]) -> None:
    """Random weights, so that a face with another's crop, matrix or place would show; 0 to 3 faces a photo."""
    counted = Counted(TorchNetwork(untrained(tmp_path)))
    predictor = Predictor(counted, batch_size=4)
    shifts = np.random.default_rng(0).uniform(-5, 5, (3, 4))
    boxes = {s.image_path: (np.array(s.face_box) + shifts)[: i % 4] for i, s in enumerate(photos)}
    found = list(predictor.predict_many(tmp_path / "photos", boxes, flip=True))
    assert [path for path, _ in found] == sorted(boxes)
    assert [len(faces) for _, faces in found] == [0, 1, 2, 3, 0, 1, 2]
    assert max(counted.sizes) <= 4
    for path, faces in found:
        alone = predictor.predict(path, boxes[path], flip=True)
        for face, other in zip(faces, alone, strict=True):
            assert face.box.tolist() == other.box.tolist()
            np.testing.assert_allclose(face.landmarks, other.landmarks, atol=1e-3)
            np.testing.assert_allclose(face.scores, other.scores, atol=1e-5)
            assert face.seconds > 0


def test_photos_share_batches(tmp_path: Path, photos: list[Sample]) -> None:
    counted = Counted(dot_predictor(tmp_path).network)
    boxes = {str(s.image_path): s.face_box for s in photos}
    found = list(Predictor(counted, batch_size=3).predict_many(list(boxes), boxes))
    assert counted.sizes == [3, 3, 1]
    for sample, (path, (face,)) in zip(photos, found, strict=True):
        assert path == sample.image_path
        np.testing.assert_allclose(face.landmarks, read_pts(sample.landmarks_path), atol=0.2)


def test_results_come_before_all_photos_are_read(tmp_path: Path, photos: list[Sample]) -> None:
    predictor = dot_predictor(tmp_path, batch=2)
    photos[6].image_path.write_bytes(b"damaged")
    read: list[Path] = []
    stream = predictor.predict_many(tmp_path / "photos", "whole", on_error=lambda path, _: read.append(path))
    assert [next(stream)[0] for _ in range(2)] == [s.image_path for s in photos[:2]]
    assert not read
    assert len(list(stream)) == 4
    assert read == [photos[6].image_path]


def test_the_detector_is_asked_where_no_boxes_are_given(tmp_path: Path, photos: list[Sample]) -> None:
    black = tmp_path / "photos" / "black.png"
    write_image(black, np.zeros((40, 50, 3), np.uint8))
    predictor = dot_predictor(tmp_path)
    predictor.detector = find_dots
    found = dict(predictor.predict_many(tmp_path / "photos"))
    assert found.pop(black) == []
    for sample in photos:
        (face,) = found[sample.image_path]
        np.testing.assert_allclose(face.landmarks, read_pts(sample.landmarks_path), atol=0.2)
    whole = dict(predictor.predict_many(tmp_path / "photos", "whole"))
    assert {len(faces) for faces in whole.values()} == {1}
    assert whole[black][0].box.tolist() == [0, 0, 50, 40]


def test_what_cannot_be_used_is_told_before_anything_is_read(tmp_path: Path, photos: list[Sample]) -> None:
    predictor, folder = dot_predictor(tmp_path), tmp_path / "photos"
    boxes = {s.image_path: s.face_box for s in photos}
    some = dict(list(boxes.items())[2:])
    for words, arguments in {
        r"no boxes are given[^$]*val 0\.png\n[^$]*val 1\.png$": {"boxes": some},
        "crop = 'nobody'": {"boxes": boxes, "crop": "nobody"},
        "'later'": {"boxes": boxes, "on_error": "later"},
        "'hole': give a mapping": {"boxes": "hole"},
        'give a mapping .*, or "whole"': {"boxes": list(boxes.values())},
    }.items():
        with pytest.raises(InputError, match=words):
            predictor.predict_many(folder, **arguments)  # type: ignore[arg-type]
    predictor.detector = "nobody"
    with pytest.raises(InputError, match="nobody"):
        predictor.predict_many(folder)


def test_a_box_that_cannot_be_used_is_named_with_its_photo(tmp_path: Path, photos: list[Sample]) -> None:
    boxes = {s.image_path: s.face_box for s in photos}
    boxes[photos[3].image_path] = (9, 9, 3, 20)
    with pytest.raises(InputError, match=r"val 3\.png: face box \[9\.0, 9\.0, 3\.0, 20\.0\]"):
        list(dot_predictor(tmp_path).predict_many(list(boxes), boxes))


def test_unreadable_photos_are_left_out_with_a_warning(tmp_path: Path, photos: list[Sample]) -> None:
    photos[2].image_path.write_bytes(b"damaged")
    predictor = dot_predictor(tmp_path)
    with pytest.warns(UserWarning, match=r"left out: .*val 2\.png"):
        assert len(list(predictor.predict_many(tmp_path / "photos", "whole"))) == 6
    with pytest.raises(InputError, match=r"val 2\.png"):
        list(predictor.predict_many(tmp_path / "photos", "whole", on_error="raise"))


SCRIPT = """
import fanlight, sys
for path, faces in fanlight.load(sys.argv[1], "cpu").predict_many(sys.argv[2], "whole", progress=True):
    print(path, len(faces))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_the_progress_bar_is_for_terminals(tmp_path: Path, photos: list[Sample]) -> None:
    import pty

    model = save_checkpoint(tmp_path / "a.ckpt", untrained(tmp_path))
    command = [sys.executable, "-c", SCRIPT, str(model), str(tmp_path / "photos")]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert plain.stderr == ""
    assert len(plain.stdout.splitlines()) == 7
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=there, text=True, env=environment
    ) as process:
        os.close(there)
        shown = b""
        try:
            while part := os.read(here, 4096):
                shown += part
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(here)
        assert process.stdout
        assert process.stdout.read() == plain.stdout
    assert process.returncode == 0
    assert b"predicting" in shown
    assert b"100%" in shown
