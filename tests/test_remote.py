"""Packs from a server: the same faces, through dropped connections and a small cache, or an error and a remedy."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fanlight.config import Recipe
from fanlight.data import fetch, remote
from fanlight.data.dataset import FaceDataset, make_loader
from fanlight.data.index import Index
from fanlight.data.opening import find_problems, open_faces
from fanlight.data.pack import Pack
from fanlight.data.packing import PackOptions, write_pack
from fanlight.data.remote import Cache
from fanlight.data.shard_order import ShardSampler
from fanlight.device import Team
from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.image import write_image
from fanlight.loaders import training_feed
from fanlight.markup import Markup
from painted import make_faces, make_index, markup
from runs import make_recipe

pytest.importorskip("aiohttp")
SHARDS, FACES = 6, 24


@dataclass
class Site:
    """A server of a folder with the pack ``pack``."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    def fault(self, **faults: list[str]) -> None:
        """What happens to the next requests for ``faces.npy`` (as ``faces``), or for a shard (as ``s0``)."""
        names = {f"s{n}": f"noise-train-{n:06d}.tar" for n in range(SHARDS)} | {
            "faces": "faces.npy", "pack": "pack.json"
        }  # fmt: skip
        (self.folder / "faults.json").write_text(json.dumps({names[k]: v for k, v in faults.items()}))

    def requests(self, name: str) -> int:
        """How often a file was asked for."""
        return (self.folder / "requests.log").read_text().split().count(name)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """A pack of six tar files of a MiB, four faces each."""
    folder = tmp_path_factory.mktemp("site")
    numbers = np.random.default_rng(0)
    samples = make_faces(folder, FACES, partition=("noise", "train"))
    for sample in samples:  # as large as they may be, so that several tar files are needed
        write_image(sample.image_path, numbers.integers(0, 256, (300, 270, 3)).astype(np.uint8))
    Index.write(folder / "i.tsv", samples)
    options = PackOptions(margin=9, format="raw", shard_mib=1)
    write_pack(Index.read(folder / "i.tsv"), markup(folder), folder / "pack", options)
    pack = Pack.open(folder / "pack")
    assert np.bincount(pack.shards).tolist() == [4] * SHARDS
    return pack


@pytest.fixture
def site(local: Pack, tmp_path: Path) -> Iterator[Site]:
    """A server of its own for each test."""
    port_file = tmp_path / "port"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "pack").symlink_to(local.where)
    script = Path(__file__).with_name("file_server.py")
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "www"), str(port_file)])
    try:
        while not port_file.exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield Site(tmp_path / "www", f"http://127.0.0.1:{port_file.read_text()}/pack", process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "DELAYS", (0.01, 0.01, 0.01))


def same_faces(one: Pack, other: Pack) -> bool:
    return all(
        np.array_equal(one.photo(i)[0], other.photo(i)[0])
        and np.array_equal(one.landmarks(i), other.landmarks(i))
        for i in range(len(one))
    )


# ---------------------------------------------------------------------------- fetching


def test_faces_from_a_server_are_those_of_the_pack(site: Site, local: Pack, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    pack = open_faces(site.url + "/", cache)
    assert isinstance(pack, Pack)
    assert (pack.where, pack.sha256) == (site.url, local.sha256)
    assert same_faces(pack, local)
    assert find_problems(pack, pack.markup, content=True) == []  # type: ignore[arg-type]
    assert [site.requests(f"noise-train-{n:06d}.tar") for n in range(SHARDS)] == [1] * SHARDS
    again = open_faces(site.url, cache)
    assert same_faces(again, local)  # type: ignore[arg-type]
    assert site.requests("faces.npy") == site.requests("noise-train-000000.tar") == 1
    assert site.requests("pack.json") == 2  # by which another pack at the same address is known


@pytest.mark.parametrize("fault", ["drop", "cut", "wrong", "500"])
def test_what_goes_wrong_is_tried_again(site: Site, local: Pack, tmp_path: Path, fault: str) -> None:
    site.fault(pack=[fault] if fault != "wrong" else [], faces=[fault, fault], s2=[fault] * 3)
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    assert same_faces(pack, local)  # type: ignore[arg-type]
    assert not list((tmp_path / "cache").rglob("*.part"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("drop", "disconnected"),
        ("cut", "not enough data|payload|has .* bytes, expected"),
        ("wrong", "its content is not what was packed"),
        ("500", "500"),
    ],
)
def test_what_stays_wrong_is_told(site: Site, tmp_path: Path, fault: str, words: str) -> None:
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    site.fault(s1=[fault] * 9)
    with pytest.raises(InputError, match="after 4 attempts") as caught:
        pack.photo(4)
    text = str(caught.value)
    assert text.startswith(f"{site.url}/noise-train-000001.tar: cannot be fetched")
    assert pytest.importorskip("re").search(words, text, 2), text
    assert "--resume" in text
    assert [path.name for path in (tmp_path / "cache").rglob("noise*")] == []
    pack.photo(0)  # the others are there


def test_a_server_that_is_gone_and_a_file_that_is_not_there_are_told(site: Site, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere/pack\.json: there is no such file: check the address"):
        open_faces(f"{site.url}/nowhere", Cache(tmp_path / "cache"))
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    site.process.kill()
    site.process.wait()
    with pytest.raises(InputError, match=r"000003\.tar: cannot be fetched, after 4 attempts"):
        pack.photo(12)
    with pytest.raises(InputError, match=r"pack\.json: cannot be fetched"):
        open_faces(site.url, Cache(tmp_path / "cache"))


def test_a_protocol_without_its_package_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lakefs://.*needs another package"):
        open_faces("lakefs://somewhere/pack", Cache(tmp_path))


def test_a_cache_that_cannot_be_written_is_told(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot keep what is fetched .* or set data\.cache"):
        open_faces(site.url, Cache(tmp_path / "file"))
    pack = open_faces(site.url, Cache(tmp_path / "cache"))

    def full(url: str, target: Path, most: int) -> None:
        target.write_bytes(b"some")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote, "download", full)
    with pytest.raises(
        InputError, match=r"cannot keep what is fetched \(No space left on device\): make room"
    ):
        pack.photo(0)
    assert not list((tmp_path / "cache").rglob("*.part"))


# ---------------------------------------------------------------------------- the cache


def test_the_cache_stays_as_small_as_it_should(site: Site, local: Pack, tmp_path: Path) -> None:
    """Two of the six tar files fit; all faces come all the same, in any order."""
    cache = Cache(tmp_path / "cache", gib=2.2 / 1024)
    pack = open_faces(site.url, cache)
    assert isinstance(pack, Pack)
    for position in [*range(FACES), *range(FACES - 1, -1, -5)]:
        assert np.array_equal(pack.photo(position)[0], local.photo(position)[0])
        assert len(list(tmp_path.rglob("cache/*/*.tar"))) <= 2
    assert site.requests("noise-train-000000.tar") == 2
    with pytest.raises(InputError, match=r'data\.cache_gib = 0\.00215: set data\.shuffle = "shards", or set'):
        pack.check_room(None)
    with pytest.raises(InputError, match=r"set data\.window to less"):
        pack.check_room(3)
    pack.check_room(2)
    local.check_room(None)


def test_room_is_needed_for_what_is_learnt_from_and_for_what_is_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index.read(make_index(tmp_path, 8, 5))
    asked: list[tuple[dict[str, int], int | None]] = []
    monkeypatch.setattr(Index, "check_room", lambda self, most: asked.append((self.partitions(), most)))
    recipe = make_recipe(index)
    training_feed(recipe, index, Markup.load(recipe.data.markup), Team(0, 1, torch.device("cpu")))
    assert asked == [({"dots/train": 8, "dots/val": 5}, None)]


def test_processes_fetch_each_file_once_between_them(site: Site, local: Pack, tmp_path: Path) -> None:
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_read_all, args=(pack, local)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [site.requests(f"noise-train-{n:06d}.tar") for n in range(SHARDS)] == [1] * SHARDS


def _read_all(pack: Pack, local: Pack) -> None:
    if not same_faces(pack, local):
        os._exit(1)


def test_a_process_that_is_forked_while_a_file_is_fetched_does_not_keep_it_locked(tmp_path: Path) -> None:
    """Loader processes are, and live for the whole run."""
    context = multiprocessing.get_context("fork")
    ended = context.Event()
    child = context.Process(target=ended.wait)
    with remote._locked(tmp_path / "lock"):
        child.start()
    try:
        with (tmp_path / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where the lock is held
    finally:
        ended.set()
        child.join()


def test_a_fetch_that_was_killed_does_no_harm(site: Site, local: Pack, tmp_path: Path) -> None:
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    assert isinstance(pack, Pack)
    folder = next((tmp_path / "cache").iterdir())
    (folder / ".noise-train-000000.tar.part").write_bytes(b"half of it")
    (folder / ".noise-train-000000.tar.lock").touch()
    assert np.array_equal(pack.photo(0)[0], local.photo(0)[0])
    assert not list(folder.glob("*.part"))


ENDS = """
import sys, time
from pathlib import Path
from fanlight.data.remote import Cache, open_remote
pack = open_remote(sys.argv[1], Cache(Path(sys.argv[2])))
pack.prefetch(range(6))
while len(list(Path(sys.argv[2]).rglob("*.part"))) < 2:
    time.sleep(0.01)
raise KeyboardInterrupt
"""


def test_a_program_that_ends_waits_for_no_fetch_ahead(site: Site, tmp_path: Path) -> None:
    """The server falls silent within the first two files, which are not tried again, nor the others fetched."""
    site.fault(s0=["hang"], s1=["hang"])
    result = subprocess.run([sys.executable, "-c", ENDS, site.url, str(tmp_path / "cache")])
    assert result.returncode == -signal.SIGINT
    assert [site.requests(f"noise-train-{n:06d}.tar") for n in range(SHARDS)] == [1, 1, 0, 0, 0, 0]
    assert list((tmp_path / "cache").rglob("*.part")) == list((tmp_path / "cache").rglob("*.tar")) == []


# ---------------------------------------------------------------------------- the order


@pytest.mark.parametrize("workers", [0, 2])
def test_shards_are_fetched_ahead_and_batches_are_those_of_the_local_pack(
    site: Site, local: Pack, tmp_path: Path, workers: int
) -> None:
    five = markup(tmp_path)
    pack = open_faces(site.url, Cache(tmp_path / "cache"))
    batches = []
    for faces in (local, pack):
        dataset = FaceDataset(faces, five, CropRule(), 32)
        sampler = ShardSampler(faces.shards, 4, window=2, upcoming=faces.prefetch)
        sampler.set_epoch(1, 1)
        batches.append([batch["image"] for batch in make_loader(dataset, sampler, workers)])
    assert len(batches[0]) == FACES // 4 - 1
    assert all((a == b).all() for a, b in zip(*batches, strict=True))


def brief(shards: np.ndarray[Any, Any], **options: Any) -> Callable[[int, int], list[list[int]]]:
    """The faces of each batch, for (epoch, start)."""

    def batches(epoch: int, start: int = 0) -> list[list[int]]:
        sampler = ShardSampler(shards, **options)
        sampler.set_epoch(epoch, start)
        found = list(sampler)
        assert len(found) == len(sampler)
        assert {key[0] for batch in found for key in batch} <= {epoch}
        return [[face for _, face in batch] for batch in found]

    return batches


SIZES = np.array([20, 3, 17, 11, 20, 20, 9, 1])  # of shards; 101 faces
MANY = np.repeat(np.arange(len(SIZES)), SIZES)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_each_face_comes_once_over_the_ranks(ranks: int) -> None:
    parts = [brief(MANY, batch_size=8, window=2, rank=r, world_size=ranks)(5) for r in range(ranks)]
    assert {len(part) for part in parts} == {101 // 8}
    assert {len(batch) for part in parts for batch in part} == {8 // ranks}
    faces = [face for part in parts for batch in part for face in batch]
    assert len(set(faces)) == len(faces) == 96
    reads = [set(MANY[[face for batch in part for face in batch]].tolist()) for part in parts]
    assert sum(map(len, reads)) <= len(SIZES) + ranks - 1  # neighbours share a shard at most


def test_the_order_can_be_taken_up_at_any_batch() -> None:
    order = brief(MANY, batch_size=8, window=3, seed=7, rank=1, world_size=2)
    whole = order(2)
    for start in range(len(whole) + 1):
        assert order(2, start) == whole[start:]
    assert order(2) == whole != order(3)
    assert brief(MANY, batch_size=8, window=3, seed=8, rank=1, world_size=2)(2) != whole


def test_faces_are_shuffled_within_the_window_only() -> None:
    windows: list[list[int]] = []
    sampler = ShardSampler(MANY, 1, window=3, upcoming=lambda shards: windows.append(list(shards)))
    faces = [face for [(_, face)] in sampler]
    assert [len(shards) for shards in windows] == [6, 5, 2]  # a window, and the one after it
    assert windows[0][3:] == windows[1][:3]
    for number, first in enumerate(np.cumsum([0, *(SIZES[shards[:3]].sum() for shards in windows)])[:-1]):
        inside = windows[number][:3]
        part = MANY[faces[first : first + SIZES[inside].sum()]]
        assert set(part.tolist()) == set(inside)
        assert (np.diff(part) != 0).sum() > len(inside)  # one shard after the other would be fewer


def test_what_cannot_be_shared_out_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be shared equally by 3 processes"):
        ShardSampler(MANY, 8, window=2, world_size=3)
    with pytest.raises(InputError, match="101 faces do not fill one batch of 200"):
        ShardSampler(MANY, 200, window=2)


def test_a_recipe_keeps_urls_and_makes_folders_absolute() -> None:
    data = {"index": "https://host/pack", "train": ["a/b"], "val": ["c/d"], "cache": "kept", "cache_gib": 5}
    settings = Recipe.from_dict({"data": data}).data.from_anywhere()
    assert settings.index == "https://host/pack"
    assert settings.cache == str(Path("kept").absolute())
    assert Markup.load(settings.markup).count == 68
