"""Packs: the same faces as from files, in tar files that others can read, whole or not at all."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fanlight.augment_settings import AugmentSettings, GeometrySettings
from fanlight.cli import app
from fanlight.data import packing
from fanlight.data.augment import Augmentation
from fanlight.data.dataset import EpochSampler, FaceDataset, make_loader
from fanlight.data.faces import Faces
from fanlight.data.index import Index, Sample
from fanlight.data.opening import find_problems, open_faces
from fanlight.data.pack import Pack
from fanlight.data.packing import PackOptions, write_pack
from fanlight.data.pts import write_pts
from fanlight.data.shard_writer import shard_stems
from fanlight.errors import InputError
from fanlight.geometry import CropRule, transform
from fanlight.image import read_image, write_image
from fanlight.markup import Markup
from painted import make_faces, make_index, markup, paint

RAW = PackOptions(format="raw")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return Index.read(make_index(tmp_path_factory.mktemp("faces")))


@pytest.fixture(scope="module")
def five(index: Index) -> Markup:
    return Markup.load(index.path.parent / "five.toml")


@pytest.fixture(scope="module")
def pack(index: Index, five: Markup, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("packs") / "dots"
    write_pack(index, five, folder, RAW)
    return Pack.open(folder)


def dataset(faces: Faces, markup: Markup, size: int = 64, seed: int = 3) -> FaceDataset:
    augmentation = Augmentation(AugmentSettings(), size, markup.mirror)
    return FaceDataset(faces, markup, CropRule(), size, augmentation, seed)


def assert_same_batches(one: FaceDataset, other: FaceDataset, workers: int = 0, epoch: int = 1) -> None:
    for a, b in zip(*(loader(d, workers, epoch) for d in (one, other)), strict=True):
        assert a.keys() == b.keys()
        for name in a:
            assert torch.equal(a[name], b[name]), name


def loader(faces: FaceDataset, workers: int, epoch: int) -> list[dict[str, torch.Tensor]]:
    sampler = EpochSampler(len(faces), 8, seed=5, drop_last=False)
    sampler.set_epoch(epoch)
    return list(make_loader(faces, sampler, workers))


def large_faces(folder: Path, sizes: tuple[tuple[int, int], ...], side: float = 200.0) -> Index:
    """Faces of ``side`` px in JPEG photos of the (width, height) given, each a little off the middle."""
    samples = []
    for number, (width, height) in enumerate(sizes):
        centre = np.array([width, height]) / 2 + [7.3, -4.6]
        box = np.concatenate([centre - side / 2, centre + side / 2])
        landmarks = centre + side * np.array(
            [[-0.2, -0.15], [0.2, -0.12], [0, 0.05], [-0.1, 0.2], [0.12, 0.2]]
        )
        photo, label = folder / f"{number}.jpg", folder / f"{number}.pts"
        write_image(photo, paint(landmarks, height, width, side / 25), quality=98)
        write_pts(label, landmarks)
        samples.append(Sample("big", "train", number - 1, photo, label, tuple(box.tolist())))
    Index.write(folder / "big.tsv", samples)
    return Index.read(folder / "big.tsv")


# ---------------------------------------------------------------------------- the same faces


def test_a_pack_holds_what_the_index_lists(index: Index, pack: Pack, five: Markup) -> None:
    assert pack.partitions() == index.partitions() == {"dots/train": 16, "dots/val": 7}
    assert pack.markup == five
    assert pack.source_sha256 == index.sha256 != pack.sha256
    for name in ("face_boxes", "aug_indices", "line_numbers"):
        assert np.array_equal(getattr(pack, name), getattr(index, name)), name
    assert np.array_equal(pack.all_landmarks(five), index.all_landmarks(five))
    assert [pack.name(i) for i in range(23)] == [index.name(i) for i in range(23)]
    assert pack.drop([0, 1]).select(["dots/val"]).partitions() == {"dots/val": 7}
    taken, listed = pack.take([20, 3, 20]), index.take([20, 3, 20])
    for position in range(3):
        assert np.array_equal(taken.photo(position)[0], listed.photo(position)[0])
        assert np.array_equal(taken.landmarks(position), listed.landmarks(position))
        assert taken.partition_of(position) == listed.partition_of(position)
    with pytest.raises(InputError, match=r"no partition 'dots/trian'; there are: dots/train \(16 faces\)"):
        pack.select(["dots/trian"])


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_raw_photos_are_those_from_files(
    index: Index, pack: Pack, five: Markup, workers: int
) -> None:
    chosen = ["dots/train"]
    assert_same_batches(dataset(index.select(chosen), five), dataset(pack.select(chosen), five), workers)


def test_batches_of_real_faces_are_those_from_files(shared_data: Path, tmp_path: Path) -> None:
    """All these photos are crops already, and so are packed as they are."""
    index = Index.read(shared_data / "faces68" / "index.tsv")
    index = index.take(np.arange(0, len(index), 40))
    ibug68 = Markup.load("ibug68")
    packed = write_pack(index, ibug68, tmp_path / "pack", PackOptions())
    assert (packed.photos.kept, packed.photos.cut) == (len(index), 0)
    pack = Pack.open(tmp_path / "pack")
    assert_same_batches(dataset(index, ibug68, 128), dataset(pack, ibug68, 128))
    assert_same_batches(*(FaceDataset(faces, ibug68, CropRule(), 128) for faces in (index, pack)))


def test_a_pack_can_be_handed_to_another_process(pack: Pack) -> None:
    """Where processes are not forked; the tables are mapped anew, not sent."""
    state = pickle.dumps(pack.take([4, 2]))
    assert len(state) < 8000
    other = pickle.loads(state)
    assert other.name(1) == pack.name(2)
    assert np.array_equal(other.photo(0)[0], pack.photo(4)[0])
    assert np.array_equal(other.landmarks(0), pack.landmarks(4))


# ---------------------------------------------------------------------------- cutting out


def test_large_photos_are_cut_and_shrunk_and_everything_stays_in_place(tmp_path: Path) -> None:
    """Crop by crop, the packed photo shows what the file shows, and the landmarks are where they were."""
    five = markup(tmp_path)
    index = large_faces(tmp_path, ((1700, 1500), (520, 700), (1300, 380), (430, 410)))
    still = AugmentSettings(photometric=[])
    described = write_pack(index, five, tmp_path / "jpeg", PackOptions(size=400, quality=98))
    assert (described.photos.cut, described.photos.kept) == (2, 0)
    pack = Pack.open(tmp_path / "jpeg")
    assert [max(pack.photo(i)[0].shape) for i in range(4)] == [400] * 4
    for position in range(4):
        row = pack._table[position]
        assert transform(row["matrix"], index.landmarks(position)) == pytest.approx(
            pack.landmarks(position), abs=1e-3
        )
    files, packed = (
        FaceDataset(faces, five, CropRule(), 128, Augmentation(still, 128, five.mirror), 0)
        for faces in (index, pack)
    )
    for epoch in range(8):
        for position in range(4):
            a, b = files[(epoch, position)], packed[(epoch, position)]
            assert a["landmarks"].numpy() == pytest.approx(b["landmarks"].numpy(), abs=0.15)
            difference = np.abs(a["image"].numpy().astype(int) - b["image"].numpy())
            assert difference.mean() < 0.6
            assert np.percentile(difference, 99) < 12
            assert difference.max() < 40
    assert np.array_equal(files.weights, packed.weights)


def test_what_is_cut_off_is_out_of_reach_of_the_default_augmentation(tmp_path: Path) -> None:
    """A photo grey to its edges: no crop shows the black that lies beyond what was packed."""
    index = large_faces(tmp_path, ((3000, 3000),))
    write_image(tmp_path / "0.jpg", np.full((3000, 3000, 3), 200, np.uint8))
    write_pack(index, markup(tmp_path), tmp_path / "pack", PackOptions(size=4000))
    pack = Pack.open(tmp_path / "pack")
    assert max(pack.photo(0)[0].shape) < 800
    assert pack.reach == pytest.approx(2 / 0.55)
    settings = AugmentSettings(geometry=GeometrySettings(probability=1.0), photometric=[])
    augmented = FaceDataset(
        pack, markup(tmp_path), CropRule(), 64, Augmentation(settings, 64, (1, 0, 2, 4, 3))
    )
    assert min(int(augmented[(epoch, 0)]["image"].min()) for epoch in range(300)) >= 195


def test_crops_that_reach_further_are_refused(tmp_path: Path, index: Index, five: Markup) -> None:
    """What was cut off would be black; a pack of uncut photos has no such limit."""
    write_pack(large_faces(tmp_path, ((1700, 1500),)), five, tmp_path / "cut", RAW)
    wild = AugmentSettings(geometry=GeometrySettings(shift=0.2))
    pack = Pack.open(tmp_path / "cut")
    with pytest.raises(
        InputError, match=r"cut at 3\.64 times the face box, and these crops reach 4\.5.*--margin 2\.48"
    ):
        FaceDataset(pack, five, CropRule(), 64, Augmentation(wild, 64, five.mirror))
    for rule, margin in (
        (CropRule(scale=4.0), r"2\.20"),
        (CropRule(scale=3.6376), r"2\.01"),  # 2.0007 of the usual side, so 2.00 would not do
        (CropRule(scale=3.0, shift_y=-0.45), r"2\.15"),  # 3 + 2 * 0.45, so 2.145
    ):
        with pytest.raises(InputError, match=f"--margin {margin},"):
            FaceDataset(pack, five, rule, 64)
    FaceDataset(pack, five, CropRule(scale=2 * CropRule().scale), 64)  # as far as photos go


def test_crops_by_the_larger_side_of_a_box_reach_further(tmp_path: Path, five: Markup) -> None:
    """Of a box of 240 x 160 px the larger side is 1.2 times the mean."""
    boxes = np.array([[0.0, 0.0, 200.0, 200.0], [10.0, 20.0, 250.0, 180.0]])
    rule = CropRule(scale=2.0, measure="max")
    assert rule.reach(boxes) == pytest.approx([2.0, 2.4])
    assert CropRule(scale=2.0, shift_x=0.1).reach(boxes, motion=1.5) == pytest.approx([3.2, 3.24])
    [face] = large_faces(tmp_path, ((1700, 1500),))
    left, top, right, bottom = face.face_box
    wide = replace(face, face_box=(left - 20, top + 20, right + 20, bottom - 20))
    Index.write(tmp_path / "wide.tsv", [wide])
    write_pack(Index.read(tmp_path / "wide.tsv"), five, tmp_path / "wide", RAW)
    pack = Pack.open(tmp_path / "wide")
    FaceDataset(pack, five, CropRule(scale=3.2), 64)
    with pytest.raises(InputError, match=r"these crops reach 3\.84 times: pack with --margin 2\.12"):
        FaceDataset(pack, five, CropRule(scale=3.2, measure="max"), 64)


def test_a_turned_photo_keeps_its_bytes_and_its_orientation(tmp_path: Path) -> None:
    """EXIF's 6: the photo is seen turned by a quarter, and so is the packed one."""
    index = large_faces(tmp_path, ((380, 400),))
    landmarks, box = index.landmarks(0), index.face_boxes[0]
    data = (tmp_path / "0.jpg").read_bytes()
    stored = cv2.imencode(".jpg", cv2.rotate(cv2.imdecode(np.frombuffer(data, np.uint8), 1), 2))[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    (tmp_path / "0.jpg").write_bytes(
        stored[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + stored[2:]
    )
    assert read_image(tmp_path / "0.jpg").shape == (400, 380, 3)
    described = write_pack(index, markup(tmp_path), tmp_path / "pack", PackOptions())
    pack = Pack.open(tmp_path / "pack")
    assert described.photos.kept == 1
    assert np.array_equal(pack.photo(0)[0], read_image(tmp_path / "0.jpg"))
    assert np.array_equal(pack.landmarks(0), landmarks)
    assert np.array_equal(pack.face_boxes[0], box)


# ---------------------------------------------------------------------------- the files


def test_any_number_of_cores_gives_the_same_bytes(
    index: Index, five: Markup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = PackOptions(shard_mib=1, format="raw")
    large = large_faces(tmp_path, ((600, 500),) * 3, side=150)
    for name, cores in (("a", {0}), ("b", {0, 1, 2, 3})):
        monkeypatch.setattr(packing.os, "sched_getaffinity", lambda pid, cores=cores: cores)
        write_pack(large, five, tmp_path / name, options)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == [
        "big-train-000000.tar", "big-train-000001.tar", "big-train-000002.tar",
        "faces.npy", "landmarks.npy", "pack.json", "sources.txt",
    ]  # fmt: skip
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert Pack.open(tmp_path / "a").shards.tolist() == [0, 1, 2]


def test_shards_are_plain_tar_files_of_one_partition_each(pack: Pack, index: Index) -> None:
    folder = Path(pack.where)
    with tarfile.open(folder / "dots-val-000000.tar") as shard:
        names = shard.getnames()
        assert names[:4] == ["00000016.npy", "00000016.json", "00000017.npy", "00000017.json"]
        assert len(names) == 14
        assert {member.mtime for member in shard} == {0}
        label = json.load(shard.extractfile("00000018.json"))  # type: ignore[arg-type]
        photo = np.load(io.BytesIO(shard.extractfile("00000018.npy").read()))  # type: ignore[union-attr]
    assert np.array_equal(photo, read_image(index[18].image_path))
    assert label["landmarks"] == pytest.approx(index.landmarks(18), abs=1e-4)
    assert label["face_box"] == pytest.approx(index.face_boxes[18], abs=1e-4)
    assert label["matrix"] == [[1, 0, 0], [0, 1, 0]]
    told = {name: label[name] for name in ("subset", "split", "aug_idx", "source")}
    assert told == {"subset": "dots", "split": "val", "aug_idx": -1, "source": "val 2.png"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its files open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_webdataset_library_reads_the_shards(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    index = large_faces(tmp_path, ((500, 480),) * 3)
    write_pack(index, markup(tmp_path), tmp_path / "pack", PackOptions())
    shards = webdataset.WebDataset(
        str(tmp_path / "pack" / "big-train-{000000..000000}.tar"), shardshuffle=False
    )
    faces = list(shards.decode("rgb8"))
    assert [face["__key__"] for face in faces] == ["00000000", "00000001", "00000002"]
    pack = Pack.open(tmp_path / "pack")
    for position, face in enumerate(faces):
        ours = pack.photo(position)[0].astype(int)
        assert np.abs(face["jpg"] - ours).mean() < 1  # another JPEG decoder
        assert face["json"]["landmarks"] == pytest.approx(pack.landmarks(position), abs=1e-3)


def test_partitions_of_like_names_get_shards_of_their_own(tmp_path: Path) -> None:
    faces = [
        Sample(subset, "x", -1, face.image_path, face.landmarks_path, face.face_box)
        for subset, face in zip(("a b", "a.b", "c/d"), make_faces(tmp_path, 3), strict=True)
    ]
    Index.write(tmp_path / "i.tsv", faces)
    write_pack(Index.read(tmp_path / "i.tsv"), markup(tmp_path), tmp_path / "pack", RAW)
    pack = Pack.open(tmp_path / "pack")
    names = ["a_b-x-0-000000.tar", "a_b-x-1-000000.tar", "c_d-x-000000.tar"]
    assert [shard.name for shard in pack.description.shards] == names
    assert pack.partitions() == {"a b/x": 1, "a.b/x": 1, "c/d/x": 1}
    assert pack.select(["a.b/x"]).name(0) == "val 1.png"
    likes = [("a b", "x"), ("a.b", "x"), ("a_b", "x-1"), ("B", "y"), ("b", "y")]
    assert shard_stems(likes) == ["a_b-x-0", "a_b-x-1", "a_b-x-1-2", "B-y-3", "b-y-4"]


# ---------------------------------------------------------------------------- what is wrong


def test_damage_is_found(index: Index, five: Markup, tmp_path: Path) -> None:
    write_pack(index, five, tmp_path / "pack", RAW)
    pack = Pack.open(tmp_path / "pack")
    assert find_problems(pack, five, content=True) == []
    shard = tmp_path / "pack" / "dots-val-000000.tar"
    data = bytearray(shard.read_bytes())
    data[40_000] ^= 1
    shard.write_bytes(data)
    assert find_problems(pack, five) == []  # before a training, photos are not read
    files = len(list(shard.parent.iterdir())) - 1  # pack.json is not among them
    told = rf"1 of {files} files of the pack are damaged:\n  - {shard}: its content is not what was packed"
    with pytest.raises(InputError, match=told):
        find_problems(pack, five, content=True)
    shard.write_bytes(data[:-1000])
    with pytest.raises(InputError, match=f"the pack is not whole:\n  - {shard}: has .* bytes, expected"):
        Pack.open(tmp_path / "pack")
    shard.write_bytes(data[:600])
    with pytest.raises(InputError, match=f"{shard}: ends before byte"):
        pack.photo(20)
    shard.unlink()
    (tmp_path / "pack" / "sources.txt").unlink()
    with pytest.raises(InputError) as caught:
        Pack.open(tmp_path / "pack")
    assert len(caught.value.problems) == 2


def test_folders_that_are_no_packs_are_refused(tmp_path: Path, index: Index, five: Markup) -> None:
    with pytest.raises(
        InputError, match=r"a folder without pack\.json, so no pack: make one by fanlight data pack"
    ):
        open_faces(tmp_path)
    write_pack(index, five, tmp_path / "pack", RAW)
    text = (tmp_path / "pack" / "pack.json").read_text()
    for old, new, words in (
        ("{", "", "does not describe a pack"),
        ("fanlight-pack-1", "fanlight-pack-2", "of the format fanlight-pack-2, expected fanlight-pack-1"),
        ('"faces.npy"', '"../faces.npy"', "does not describe a pack"),
        ('"faces": 23', '"faces": 24', "not the table of 24 faces"),
        ('"right_eye",', "", "does not describe a pack"),
        (
            '"landmarks.npy"',
            '"other.npy"',
            r"its tables should be faces\.npy, landmarks\.npy and sources\.txt",
        ),
        ("dots-val-000000.tar", "dots-train-000000.tar", r"should be \.tar files of different names"),
        ('"margin": 2.0', '"margin": "nan"', r"photos\.margin: Input should be a finite number"),
    ):
        assert old in text
        (tmp_path / "pack" / "pack.json").write_text(text.replace(old, new, 1))
        with pytest.raises(InputError, match=words):
            open_faces(tmp_path / "pack")


@pytest.mark.parametrize(
    ("column", "value"),
    [("shard", 2), ("bytes", -5), ("offset", 2**63 - 10), ("source", 10**6), ("partition", -1)],
)
def test_a_table_that_names_what_is_not_there_is_refused(
    pack: Pack, tmp_path: Path, column: str, value: int
) -> None:
    folder = shutil.copytree(pack.where, tmp_path / "pack")
    table = np.load(folder / "faces.npy")
    table[column][3] = value
    np.save(folder / "faces.npy", table)
    with pytest.raises(InputError, match="names what the pack does not hold: pack the data anew"):
        Pack.open(folder)


def test_labels_are_compared_before_anything_is_learnt_or_judged(
    pack: Pack, five: Markup, tmp_path: Path
) -> None:
    table = shutil.copytree(pack.where, tmp_path / "pack") / "landmarks.npy"
    landmarks = np.load(table)
    landmarks[3] += 1  # as likely as any other label
    np.save(table, landmarks)
    told = f"1 of 3 files of the pack are damaged:\n  - {table}: its content is not what was packed"
    damaged = Pack.open(tmp_path / "pack").select(["dots/val"])  # opening looks at sizes alone
    with pytest.raises(InputError, match=told):
        find_problems(damaged, five)
    with pytest.raises(InputError, match=told):
        app(["eval", "small", "--index", damaged.where, "--partition", "dots/val"])


def npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    """A NumPy file's header, whatever follows."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"garbage", "magic string"),
        (npy((1,), "|O"), "object of the shape"),
        (npy((5, 5)), r"uint8 of the shape \(5, 5\)"),
        (npy((5, 5, 3), "<f8"), "float64"),
        (npy((10**12, 1000, 3)), "cannot reshape"),  # no memory is taken on its word
    ],
)
def test_raw_photos_are_not_believed(pack: Pack, tmp_path: Path, data: bytes, words: str) -> None:
    folder = shutil.copytree(pack.where, tmp_path / "pack")
    row = np.load(folder / "faces.npy")[3]
    with (folder / "dots-train-000000.tar").open("r+b") as shard:
        shard.seek(row["offset"])
        shard.write(data)
    with pytest.raises(InputError, match=rf"train 3\.png: no photo of raw pixels \(.*{words}"):
        Pack.open(folder).photo(3)


def test_another_mark_up_is_refused(pack: Pack) -> None:
    words = "packed with the 5 points of five, but mark-up ibug68 has 68"
    for use in (find_problems, Pack.all_landmarks):
        with pytest.raises(InputError, match=words):
            use(pack, Markup.load("ibug68"))  # type: ignore[operator]


def test_a_failed_packing_leaves_nothing_behind(tmp_path: Path, five: Markup) -> None:
    index = large_faces(tmp_path, ((400, 400),) * 3)
    (tmp_path / "2.jpg").write_bytes(b"no photo")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=r"2\.jpg"):
        write_pack(index, five, tmp_path / "pack", PackOptions())
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "mine").touch()
    with pytest.raises(InputError, match="is there already"):
        write_pack(index, five, tmp_path / "pack", PackOptions())


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="macOS does not take room beforehand")
def test_a_full_disk_is_told_before_tables_are_filled(
    tmp_path: Path, index: Index, five: Markup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A map that is written to when the disk is full would kill the process without a word."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"cannot write the data set: .*No space left"):
        write_pack(index, five, tmp_path / "pack", RAW)
    assert list(tmp_path.iterdir()) == []


def test_all_impossible_options_are_told() -> None:
    with pytest.raises(InputError) as caught:
        PackOptions(margin=0.5, size=4, quality=0, shard_mib=0)
    assert len(caught.value.problems) == 4
