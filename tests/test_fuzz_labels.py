"""Labels and face boxes by the thousand, in files and packs: what cannot be a face is told before it is learnt."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fanlight.augment_settings import AugmentSettings
from fanlight.data.augment import Augmentation
from fanlight.data.check import check, problems_error
from fanlight.data.dataset import FaceDataset
from fanlight.data.fit import MIN_SIDE_PX
from fanlight.data.index import Index
from fanlight.data.opening import find_problems
from fanlight.data.pack import Pack
from fanlight.data.pack_file import FACES, LANDMARKS, MAX_DESCRIPTION_BYTES
from fanlight.data.packing import PackOptions, write_pack
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.judging.evaluate import evaluate
from fuzzing import REMEDY, Tally, few_or_many
from painted import dot_predictor, make_index, markup

NUMBERS = (
    "nan",
    "inf",
    "-inf",
    "1e30",
    "1e39",
    "-1e308",
    "1e400",
    "1e6",
    "-5000",
    "0",
    "-0",
    "40",
    "1e-300",
    "0x10",
)
ODD = (math.nan, math.inf, -math.inf, 1e30, 3e38, 1e6, -5000.0, 0.0, 1e-30)


class Faces:
    """Three faces in files, of which the second is changed, and how to change it."""

    def __init__(self, folder: Path) -> None:
        self.index = make_index(folder, 1, 3)
        self.markup = markup(folder)
        self.label = folder / "val 1.pts"
        self.points = [line.split() for line in self.label.read_text().splitlines()[3:-1]]
        self.lines = self.index.read_text().splitlines()

    def write(self, points: list[list[str]], box: list[str] | None = None) -> None:
        """Give the second face this label, and this box."""
        rows = "\n".join(" ".join(point) for point in points)
        self.label.write_text(f"version: 1\nn_points: {len(points)}\n{{\n{rows}\n}}\n")
        lines = list(self.lines)
        if box is not None:
            lines[-2] = "\t".join([*lines[-2].split("\t")[:5], *box])
        self.index.write_text("\n".join(lines) + "\n")

    def odd(self, rng: np.random.Generator) -> tuple[list[list[str]], list[str] | None]:
        """A label and a box, one of which is odd."""
        points = [list(point) for point in self.points]
        box = self.lines[-2].split("\t")[5:]
        match int(rng.integers(7)):
            case 0:
                points[int(rng.integers(5))][int(rng.integers(2))] = str(rng.choice(NUMBERS))
            case 1:
                points = [points[0]] * 5
            case 2:  # moved, or scaled
                move, scale = rng.choice([0, 30, -200, 5000, 1e9]), rng.choice([1, 0.01, 1e-9, 20, 1e7])
                points = [[repr(float(float(side) * scale + move)) for side in point] for point in points]
            case 3:
                box[int(rng.integers(4))] = str(rng.choice(NUMBERS))
            case 4:
                box = [box[2], box[3], box[0], box[1]]
            case 5:  # no size, or far too large
                side = rng.choice([0, 1e-9, 0.5, 1.9, 1e4, 9e5])
                box = ["50", "50", repr(float(50 + side)), repr(float(50 + side))]
            case _:
                move = rng.choice([0, 1, 60, -90, 1e5])
                box = [repr(float(float(side) + move)) for side in box]
        return points, box


@pytest.fixture
def faces(tmp_path: Path) -> Faces:
    return Faces(tmp_path)


def usable(faces: Faces) -> bool:
    """By plain arithmetic: whether the second face's label and box are those of a face, generously."""
    index = Index.read(faces.index)
    points, box = index.landmarks(2).astype(float), index.face_boxes[2]
    inside = ((points >= box[:2]) & (points <= box[2:])).all(1).mean()
    size = np.ptp(points, axis=0)
    return bool(
        (box[2:] - box[:2] >= MIN_SIDE_PX).all()
        and (size >= MIN_SIDE_PX).all()
        and inside > 0.2
        and size.max() < 1e4
    )


@few_or_many(60, 2000)
def test_odd_labels_and_boxes_are_told_by_whatever_reads_them(faces: Faces, cases: int) -> None:
    """The check, the data set with and without augmentation, and the judge agree; no crop or loss sees a NaN."""
    rng, tally = np.random.default_rng([11, cases]), Tally("labels and boxes")
    augmentation = Augmentation(AugmentSettings(), 64, faces.markup.mirror)
    predictor = dot_predictor(faces.index.parent)
    for case in range(cases):
        faces.write(*faces.odd(rng))
        names = faces.index.parent.name

        def use(case: int = case) -> None:
            index = Index.read(faces.index)
            problems = check(index, faces.markup, workers=1)
            assert all(problem.position == 2 for problem in problems)
            data = FaceDataset(index, faces.markup, CropRule(), 64, augmentation if case % 2 else None)
            batch = data.__getitems__([(case, position) for position in range(4)])
            assert np.isfinite(batch["landmarks"].numpy()).all()
            (judged,) = evaluate(predictor, index, ["dots/val"])
            assert np.isfinite(judged.summary["nme_box"]["value"])
            assert usable(faces)
            if problems:  # what only the photo's size tells
                assert all("photo" in problem.message for problem in problems), problems
                raise problems_error(index, problems)

        tally.take(case, names, use)
    print(tally)
    assert min(tally.right, tally.told) > cases / 20


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    index = Index.read(make_index(folder, 2, 3))
    write_pack(index, markup(folder), folder / "pack", PackOptions())
    return folder / "pack"


@few_or_many(30, 600)
def test_odd_numbers_in_the_tables_of_a_pack(packed: Path, tmp_path: Path, cases: int) -> None:
    """Their sizes are right, so that only the whole check would compare their content."""
    rng, tally = np.random.default_rng([12, cases]), Tally("tables of packs")
    known = markup(tmp_path)
    whole = Pack.open(packed)
    for case in range(cases):
        pack = tmp_path / f"pack{case}"
        shutil.copytree(packed, pack)
        name = (LANDMARKS, FACES)[case % 2]
        table = np.lib.format.open_memmap(pack / name, "r+")
        row, value = int(rng.integers(len(table))), float(rng.choice(ODD))
        if name == LANDMARKS:
            table[row, int(rng.integers(5)), int(rng.integers(2))] = value
        else:
            table["face_box"][row, int(rng.integers(4))] = value
        table.flush()
        del table

        def use(pack: Path = pack, value: float = value) -> None:
            opened = Pack.open(pack)
            data = FaceDataset(opened, known, CropRule(), 64)
            batch = data.__getitems__([(0, position) for position in range(len(opened))])
            assert np.isfinite(batch["landmarks"].numpy()).all()
            assert np.isfinite(batch["matrix"].numpy()).all()
            assert math.isfinite(value)
            assert len(opened) == len(whole)

        tally.take((case, name, value), str(pack), use)
        if math.isnan(value):
            with pytest.raises(InputError):
                find_problems(Pack.open(pack), known, content=True)
        shutil.rmtree(pack)
    print(tally)


@pytest.mark.parametrize(
    "spoil", [lambda path: path.write_bytes(b" " * (MAX_DESCRIPTION_BYTES + 1)), os.mkfifo, Path.mkdir]
)
def test_a_pack_whose_description_has_no_end(
    packed: Path, tmp_path: Path, spoil: Callable[[Path], object]
) -> None:
    pack = tmp_path / "pack"
    shutil.copytree(packed, pack)
    (pack / "pack.json").unlink()
    spoil(pack / "pack.json")
    with pytest.raises(InputError) as caught:
        Pack.open(pack)
    assert str(pack) in str(caught.value)
    assert REMEDY.search(str(caught.value)) or "make one by fanlight data pack" in str(caught.value)
