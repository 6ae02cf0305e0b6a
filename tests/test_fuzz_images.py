"""Image files by the thousand: every kind, whole and damaged, gives its photo or a message."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

import fanlight
from fanlight.data.synthetic.face import SyntheticFace, draw_face
from fanlight.errors import InputError
from fanlight.image import read_image, read_image_reduced, verify_image
from fanlight.predict import Predictor
from fuzzing import REMEDY, Tally, damaged, few_or_many
from pictures import Photo, encode, exact, grey, lossy, palette, strange

NEAR = 3.0  # mean difference in grey values of what a lossy file gives back


@pytest.fixture(scope="module")
def face() -> SyntheticFace:
    return draw_face(3, 1, 192)


@pytest.fixture(scope="module")
def small() -> Predictor:
    return fanlight.load("small", device="cpu")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "-face\n<b>é.jpg"


def difference(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).mean())


def kinds(photo: Photo) -> list[tuple[str, bytes, Photo, float]]:
    """Name, file, the photo in it, and how near to that it has to be."""
    plain = np.repeat(np.asarray(Image.fromarray(photo).convert("L"))[..., None], 3, 2)
    few = np.asarray(Image.fromarray(photo).convert("P").convert("RGB"))
    listed = [(*each, photo, 0.0) for each in exact(photo).items()]
    listed += [(*each, photo, NEAR) for each in lossy(photo).items()]
    listed += [(*each, plain, NEAR * each[0].startswith("jpeg")) for each in grey(photo).items()]
    return listed + [(*each, few, 0.0) for each in palette(photo).items()]


def test_the_same_photo_in_every_kind_of_file_is_the_same_photo_with_the_same_landmarks(
    path: Path, face: SyntheticFace, small: Predictor
) -> None:
    """The landmarks of grey and palette files are those of their own pixels."""
    wanted: dict[bytes, NDArray[np.float64]] = {}
    for name, data, photo, near in kinds(face.image):
        path.write_bytes(data)
        image = read_image(path)
        assert image.shape == photo.shape, name
        assert image.flags.c_contiguous, name
        assert difference(image, photo) <= near, name
        reduced, _ = read_image_reduced(path, 2)
        half = cv2.resize(image, reduced.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert difference(reduced, half) <= near, name
        assert verify_image(path) == (photo.shape[1], photo.shape[0]), name
        (found,) = small.predict(path, [face.face_box])
        first = wanted.setdefault(photo.tobytes(), found.landmarks)
        assert difference(found.landmarks, first) <= near / 5, name


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_photo_is_turned_alike_wherever_it_is_read(
    path: Path, face: SyntheticFace, kind: str
) -> None:
    picture = Image.fromarray(face.image[:, :150])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x112] = orientation
        options = {"lossless": True} if kind == "WEBP" else {"quality": 98} if kind == "JPEG" else {}
        path.write_bytes(encode(picture, kind, exif=exif, **options))
        upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
        image = read_image(path)
        assert difference(image, upright) <= NEAR * (kind == "JPEG"), orientation
        assert image.flags.c_contiguous
        assert verify_image(path) == (image.shape[1], image.shape[0])
        reduced, matrix = read_image_reduced(path, 2)
        assert reduced.shape[:2] == tuple(round(side * matrix[0, 0]) for side in image.shape[:2])


@few_or_many(200, 6000)
def test_damaged_files_give_a_photo_or_a_message(path: Path, face: SyntheticFace, cases: int) -> None:
    """What is read in several ways is read alike; PNG, which has checksums, never gives another photo."""
    photo = face.image[48:144, 60:130]
    files = kinds(photo)
    rng, tally = np.random.default_rng([6, cases]), Tally("damaged images")
    changed: list[str] = []
    for case in range(cases):
        name, data, whole, near = files[case % len(files)]
        path.write_bytes(damaged(data, rng))

        def read(name: str = name, whole: Photo = whole, near: float = near) -> None:
            image = read_image(path)
            assert image.shape[::-1] == (3, *verify_image(path))
            reduced, matrix = read_image_reduced(path, 4)
            assert reduced.shape[0] == np.ceil(image.shape[0] * matrix[0, 0])
            if image.shape != whole.shape or difference(image, whole) > near:
                changed.append(name.split()[0])

        tally.take((case, name), str(path), read)
    print(tally, "of which changed:", {name: changed.count(name) for name in sorted(set(changed))})
    assert tally.told > cases / 4
    assert "png" not in changed


@few_or_many(60, 1000)
def test_a_file_that_is_cut_off_is_told_wherever_it_is_cut(
    path: Path, face: SyntheticFace, cases: int
) -> None:
    """Also when an end mark stands where it was cut, as programs for recovery and some servers leave it."""
    photo = face.image[48:144, 60:130]
    files = [each for each in kinds(photo) if "progressive" not in each[0]]
    rng, tally = np.random.default_rng([7, cases]), Tally("images cut off")
    for case in range(cases):
        name, data, whole, near = files[case % len(files)]
        end = data[-2:] if name.startswith("jpeg") and case // len(files) % 2 else b""
        path.write_bytes(data[: int(rng.integers(len(data)))] + end)

        def read(whole: Photo = whole, near: float = near) -> None:
            assert difference(read_image(path), whole) <= near + 0.5

        tally.take((case, name), str(path), read)
    print(tally)
    assert tally.right <= cases / 20  # by a few bytes that nothing depends on


def test_what_is_no_photo_is_told(path: Path, face: SyntheticFace) -> None:
    for name, data in strange(face.image).items():
        path.write_bytes(data)
        for read in (read_image, verify_image):
            with pytest.raises(InputError) as caught:
                read(path)
            assert str(path) in str(caught.value), name
            assert REMEDY.search(str(caught.value)), name
