"""Arrays, boxes and paths by the thousand, as callers hand them to a network."""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fanlight.detect import detect_faces, find_detector, installed_detectors
from fanlight.errors import InputError
from fanlight.geometry import FARTHEST_PX, LEAST_PX
from fanlight.image import write_image
from fanlight.predict import Predictor
from fuzzing import REMEDY, Tally, few_or_many
from painted import PLACES, dot_predictor, paint
from pictures import chunk, png

BOX = (20.0, 22.0, 80.0, 82.0)
TRUTH = 20 + PLACES * 60 + (0, 2)
SIDES = (
    0.0,
    -1.0,
    1.0,
    20.0,
    50.5,
    80.0,
    96.0,
    1e-9,
    1e-200,
    5e-324,
    1e5,
    -1e5,
    999_999.0,
    1e6,
    1e30,
    -1e308,
)
SIDES += (math.nan, math.inf, -math.inf, 1.0000001, 0.02)


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return dot_predictor(tmp_path_factory.mktemp("dots"))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return paint(TRUTH, 96, 100, 2.0)


def landmarks(predictor: Predictor, image: Any, **options: Any) -> np.ndarray:
    (face,) = predictor.predict(image, BOX, **options)
    return face.landmarks


def test_one_photo_in_every_layout_of_memory_has_the_same_landmarks(
    dots: Predictor, photo: np.ndarray
) -> None:
    wanted = landmarks(dots, photo)
    np.testing.assert_allclose(wanted, TRUTH, atol=0.5)
    wide = np.zeros((200, 220, 5), np.uint8)
    wide[4:196:2, 3:203:2, 1:4] = photo
    views = {
        "columns first": np.asfortranarray(photo),
        "part of another": wide[4:196:2, 3:203:2, 1:4],
        "mirrored twice": photo[::-1, ::-1].copy()[::-1, ::-1],
        "turned": np.rot90(np.rot90(photo).copy(), -1),
        "read only": np.frombuffer(photo.tobytes(), np.uint8).reshape(photo.shape),
        "masked": np.ma.masked_array(photo),
        "tensor": torch.from_numpy(photo.copy()),
    }
    for name, view in views.items():
        np.testing.assert_array_equal(landmarks(dots, view), wanted, err_msg=name)
    np.testing.assert_array_equal(landmarks(dots, photo[..., ::-1], channels="BGR"), wanted)


@few_or_many(60, 1000)
def test_arrays_of_any_type_and_shape(dots: Predictor, cases: int) -> None:
    rng, tally = np.random.default_rng([8, cases]), Tally("arrays")
    types = ("u1", "u1", "u1", "i1", "u2", ">u2", "f4", "f8", "?", "c8", "O", "S3", "M8[s]")
    for case in range(cases):
        shape = tuple(rng.choice([0, 1, 2, 3, 4, 7, 40], rng.integers(0, 5)).tolist())
        kind = np.dtype(str(rng.choice(types)))
        array = np.zeros(shape, kind)
        fits = kind == np.uint8 and array.size and (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3))

        def predict(array: Any = array, fits: bool = bool(fits)) -> None:
            faces = dots.predict(array, "whole")
            assert fits
            assert np.isfinite(faces[0].landmarks).all()

        tally.take((case, shape, kind), str(shape), predict)
    print(tally)


@pytest.mark.parametrize(
    "ask",
    [
        lambda model, photo: model.predict([[1, 2], [3]], "whole"),
        lambda model, photo: model.predict(torch.zeros(5, 5, 3, requires_grad=True), "whole"),
        lambda model, photo: model.predict(None),
        lambda model, photo: model.predict_batch(photo),
        lambda model, photo: model.predict_batch("photo.jpg"),
        lambda model, photo: model.predict_batch([photo], [[0, 0, 10**400, 5]]),
        lambda model, photo: model.predict_batch([photo], [{}]),
        lambda model, photo: model.predict_many([1, 2], "whole"),
        lambda model, photo: model.predict_many([photo], "whole"),
    ],
)
def test_what_is_no_photo_is_told(dots: Predictor, photo: np.ndarray, ask: Callable[..., Any]) -> None:
    with pytest.raises(InputError) as caught:
        ask(dots, photo)
    assert REMEDY.search(str(caught.value))


@few_or_many(100, 3000)
def test_boxes_of_any_numbers(dots: Predictor, photo: np.ndarray, cases: int) -> None:
    """A box is right or told: told where it has no size, is no number, or does not touch the photo."""
    rng, tally = np.random.default_rng([9, cases]), Tally("boxes")
    for case in range(cases):
        box = rng.choice(SIDES, 4)
        if case % 3 == 0:
            box = np.sort(box)[[0, 1, 2, 3]]
        left, top, right, bottom = box.tolist()

        def predict(box: np.ndarray = box) -> None:
            (face,) = dots.predict(photo, box)
            assert np.isfinite(face.landmarks).all()
            assert (np.abs(box) < FARTHEST_PX).all()
            assert (box[2:] - box[:2] >= LEAST_PX).all()
            assert (box[:2] < (100, 96)).all()
            assert (box[2:] > 0).all()

        with np.errstate(invalid="ignore"):
            tally.take((case, box.tolist()), f"{left}, {top}, {right}, {bottom}", predict)
    print(tally)
    assert min(tally.right, tally.told) > cases / 20


def test_a_large_box_in_a_very_thin_photo_takes_little_memory(dots: Predictor) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for shape in ((1, 32_766, 3), (32_766, 1, 3)):
        dots.predict(np.zeros(shape, np.uint8), [-9e5, -9e5, 9e5, 9e5])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB; 1.6 GB once


@few_or_many(30, 500)
def test_detectors_look_at_photos_of_any_size(cases: int) -> None:
    """Of noise, of one colour, and of stripes; boxes that they should not give would be an error."""
    rng, tally = np.random.default_rng([10, cases]), Tally("detectors")
    detectors = [find_detector(name) for name in installed_detectors()]
    sides = (1, 2, 3, 11, 12, 13, 16, 31, 64, 200)
    for case in range(cases):
        name, detector = detectors[case % len(detectors)]
        size = [int(rng.choice(sides)) for _ in range(2)]
        if case % 10 == 0:
            size[case % 20 // 10] = 20_000
            size[1 - case % 20 // 10] = min(size[1 - case % 20 // 10], 3)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        image = (image, np.full_like(image, image[0, 0]), np.repeat(image[:, :1], size[1], 1))[case % 3]

        def look(image: np.ndarray = image, detector: Any = detector) -> None:
            assert all(map(math.isfinite, np.ravel(detect_faces(detector, image))))

        tally.take((case, name, size), "never", look)
    print(tally)


NAMES = (b"-n.png", b"--help.png", b"a\nb.png", b"\xff\xfe\x80.png", b"<img src=x onerror=alert(1)>.png")
NAMES += (
    b"[red]a[bold].png",
    b"$(touch pwned).png",
    b"a;b'\"`.png",
    "ä\u202eß.png".encode(),
    b"\x1b[31m.png",
)


def predict_by_command(folder: Path, *arguments: str, limit: int = 100) -> tuple[int, str]:
    """``fanlight predict``, killed when it hangs: its exit code, and all that it said."""
    command = [sys.executable, "-m", "fanlight", "predict", *arguments, "--boxes", "whole", "--out", "out"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, timeout=limit, stdin=subprocess.DEVNULL, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode(errors="backslashreplace")


def test_a_folder_of_photos_with_odd_names(tmp_path: Path, photo: np.ndarray) -> None:
    """And of unreadable ones, which are told by their names; nothing is written beside the results."""
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(tmp_path / "photo.png", photo)
    data = (tmp_path / "photo.png").read_bytes()
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(data)
        Path(os.fsdecode(os.fsencode(folder) + b"/bad " + name)).write_bytes(data[:80])
    os.mkfifo(folder / "pipe.png")
    (folder / "link.png").symlink_to("/dev/zero")
    (folder / "nowhere.png").symlink_to(folder / "none.png")
    code, said = predict_by_command(tmp_path, "photos", "--format", "pts,csv,json")
    assert code == 2, said
    assert "Traceback" not in said
    assert said.count("cut off") == len(NAMES)
    assert said.count("not a file, so not an image") == 2
    assert "no such image" in said
    assert "\x1b" not in said
    assert len(list((tmp_path / "out").glob("*.pts"))) == len(NAMES)
    assert len(list((tmp_path / "out").glob("*_overlay.png"))) == len(NAMES)
    assert sorted(os.listdir(tmp_path)) == ["out", "photo.png", "photos"]


def zeros(count: int) -> bytes:
    """So many zeros, compressed."""
    pack = zlib.compressobj(9)
    return (
        b"".join(pack.compress(bytes(min(1 << 20, count - at))) for at in range(0, count, 1 << 20))
        + pack.flush()
    )


def test_bombs_are_told_in_bounded_memory(tmp_path: Path) -> None:
    """Each of them says gigabytes in kilobytes."""
    text = png(9, 9)[:33] + chunk(b"zTXt", b"k\0\0" + zeros(300 << 20)) + png(9, 9)[33:]
    bombs = {
        "zeros.png": png(60_000, 60_000, zeros(64 << 20)),
        "text.png": text,
        "interlaced.png": png(14_000, 14_000, zeros(1 << 20), interlace=1),
        "deep.png": png(14_000, 14_000, zeros(1 << 20), depth=16, colour=6),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    program = (
        "import resource, sys, fanlight.image, fanlight.errors\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try: fanlight.image.read_image(path)\n"
        "    except fanlight.errors.InputError as error: print(str(error).startswith(path))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *bombs], cwd=tmp_path, capture_output=True, timeout=100, text=True
    )
    *told, mib = done.stdout.split()
    assert told == ["True"] * len(bombs), done.stdout + done.stderr
    assert int(mib) < 700  # what a photo of the largest size takes
