"""Packs, predictions and boxes whose files are damaged: what is read is what was written, or a message tells."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fanlight.cli.boxes import boxes_of
from fanlight.data.index import Index
from fanlight.data.pack import Pack
from fanlight.data.packing import PackOptions, write_pack
from fanlight.judging.predictions import Found, Origin, Predictions, load_predictions, save_predictions
from fanlight.markup import Markup
from fuzzing import Tally, few_or_many, flipped, spoilt
from painted import make_index


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    index = Index.read(make_index(tmp_path_factory.mktemp("faces")))
    folder = tmp_path_factory.mktemp("packs") / "dots"
    write_pack(index, Markup.load(index.path.parent / "five.toml"), folder, PackOptions(format="raw"))
    return folder


def all_of(pack: Pack) -> list[Any]:
    """Everything that training takes from a pack."""
    faces = [(pack.photo(i)[0].tobytes(), pack.landmarks(i).tolist(), pack.name(i)) for i in range(len(pack))]
    return [faces, pack.face_boxes.tolist(), pack.partitions(), pack.aug_indices.tolist()]


@few_or_many(60, 2000)
def test_packs(cases: int, packed: Path, tmp_path: Path) -> None:
    """Half of the cases say the right sums of what is damaged, as one who does harm would."""
    folder, tally = tmp_path / "pack", Tally("packs")
    shutil.copytree(packed, folder)
    before, files = all_of(Pack.open(folder)), sorted(path.name for path in folder.iterdir())
    for seed in range(cases):
        numbers = random.Random(f"pack {seed}")
        path = folder / numbers.choice(files)
        whole, about = path.read_bytes(), (folder / "pack.json").read_bytes()
        path.write_bytes(spoilt(whole, numbers) if numbers.random() < 0.5 else flipped(whole, numbers))
        resealed = path.name != "pack.json" and numbers.random() < 0.5
        if resealed:
            said = json.loads(about)
            for file in (*said["tables"], *said["shards"]):
                if file["name"] == path.name:
                    file |= {
                        "bytes": path.stat().st_size,
                        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                    }
            (folder / "pack.json").write_text(json.dumps(said))

        def read(free: bool = resealed or path.name == "pack.json") -> None:
            pack = Pack.open(folder)
            pack.check_content()
            found = all_of(pack)
            assert np.isfinite(pack.face_boxes).all()
            assert free or found == before  # no sum is kept of pack.json

        tally.take(seed, str(folder), read)
        path.write_bytes(whole)
        (folder / "pack.json").write_bytes(about)
    print(tally)


@few_or_many(60, 2000)
def test_predictions(cases: int, tmp_path: Path) -> None:
    rng, markup = np.random.default_rng(0), Markup.load("ibug68")
    spread = np.tile(np.eye(2), (3, 68, 1, 1))
    plain = rng.uniform(0, 99, (3, 68, 2))
    found = Found(np.arange(2, 5), plain, plain + 1, np.ones((3, 68)), spread)
    saved = Predictions(Origin("small", markup), "0" * 64, found)
    path, tally = save_predictions(tmp_path / "p.npz", saved), Tally("saved predictions")
    whole = path.read_bytes()
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    about = json.loads(str(arrays["about"]))
    odd: tuple[Any, ...] = (
        None,
        3,
        -1,
        "x",
        [],
        {},
        [1],
        True,
        1e308,
        "9" * 5000,
        {"a": "b"},
        [["a"]],
        "../..",
    )
    for seed in range(cases):
        numbers = random.Random(f"predictions {seed}")
        bytewise = numbers.random() < 0.5
        if bytewise:
            path.write_bytes(spoilt(whole, numbers))
        elif numbers.random() < 0.5:
            values = {**about, numbers.choice([*about, "x"]): numbers.choice(odd)}
            np.savez(path, **{**arrays, "about": np.array(json.dumps(values))})
        else:
            name = numbers.choice([*arrays, "x"])
            other = numbers.choice(
                [
                    np.zeros(3),
                    np.array("x"),
                    np.array([]),
                    np.full((3, 68, 2), np.nan),
                    np.ones((3, 68), bool),
                ]
            )
            np.savez(path, **{**arrays, name: other})

        def read(bytewise: bool = bytewise) -> None:
            again = load_predictions(path)
            origin = again.origin
            assert isinstance(origin.model, str)
            assert type(origin.input_size) is int
            assert all(isinstance(value, str) for value in (*origin.facts.values(), *origin.learnt_from))
            if bytewise:
                assert origin == saved.origin
                assert again.index_sha256 == saved.index_sha256
                np.testing.assert_array_equal(again.found.plain, found.plain)
                np.testing.assert_array_equal(again.found.positions, found.positions)

        tally.take(seed, str(path), read)
    print(tally)


@few_or_many(60, 2000)
def test_boxes(cases: int, tmp_path: Path) -> None:
    photo, file = tmp_path / "a.jpg", tmp_path / "boxes.csv"
    photo.touch()
    tally = Tally("tables of boxes")
    for seed in range(cases):
        numbers = random.Random(f"boxes {seed}")
        rows = [
            [f"{numbers.uniform(0, 50):.2f}", "1", f"{numbers.uniform(60, 99):.2f}", "88"] for _ in range(3)
        ]
        if numbers.random() < 0.5:
            odd = ("nan", "inf", "1e308", "1_0", "0x1", "\u0663", "", "1,5", "-1", "x", '"', "9" * 400)
            rows[1][numbers.randrange(4)] = numbers.choice(odd)
        sep = numbers.choice([",", ",", ";"])
        text = "\n".join(
            sep.join(row)
            for row in [["image", "left", "top", "right", "bottom"], *(["a.jpg", *r] for r in rows)]
        )
        data = text.encode()
        file.write_bytes(spoilt(data, numbers) if numbers.random() < 0.5 else data)

        def read() -> None:
            for left, top, right, bottom in boxes_of([photo], file)[photo]:
                assert -1e6 < left < right < 1e6
                assert -1e6 < top < bottom < 1e6

        tally.take(seed, str(file), read)
    print(tally)
