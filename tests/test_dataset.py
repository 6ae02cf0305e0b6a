"""Batches depend on seed, epoch and sample alone, landmarks lie on what they name, and bad data is reported."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fanlight.augment_settings import AugmentSettings, GeometrySettings, PhotometricStep
from fanlight.data.augment import Augmentation
from fanlight.data.dataset import Batch, EpochSampler, FaceDataset, make_loader
from fanlight.data.faces import sample_weight
from fanlight.data.index import Index, Sample
from fanlight.data.pts import write_pts
from fanlight.errors import InputError
from fanlight.geometry import CropRule, crop_matrix, transform, warp
from fanlight.image import read_image, write_image
from fanlight.markup import Markup

SIZE = 64
MARKUP = Markup(
    name="three",
    source="tests",
    points=("right_eye", "left_eye", "chin"),
    mirror=(1, 0, 2),
    eye_corners=(0, 1),
)
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]])  # of the points, so that each can be told apart


def paint(landmarks: NDArray[np.float64], height: int, width: int, sigma: float = 3.0) -> NDArray[np.uint8]:
    """A dark photo with a soft dot of its own colour at each landmark."""
    y, x = np.mgrid[:height, :width] + 0.5
    photo = np.zeros((height, width, 3))
    for (px, py), colour in zip(landmarks, COLOURS, strict=True):
        photo += np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))[..., None] * colour
    return photo.clip(0, 255).round().astype(np.uint8)


def find(crop: NDArray[Any]) -> NDArray[np.float64]:
    """The centroids of the three colours."""
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]] + 0.5
    weights = np.where(crop > 40, crop, 0).astype(float)
    totals = weights.sum((0, 1))
    return np.stack(
        [(weights * x[..., None]).sum((0, 1)) / totals, (weights * y[..., None]).sum((0, 1)) / totals], 1
    )


def make_faces(folder: Path, count: int = 12, suffix: str = ".png", aug_idx: int = -1) -> Index:
    numbers = np.random.default_rng(0)
    samples = []
    for i in range(count):
        width, height = (int(v) for v in numbers.integers(90, 140, 2))
        centre = np.array([width, height]) / 2
        landmarks = centre + np.array([(-13, -8), (13, -6), (2, 15)]) + numbers.uniform(-2, 2, (3, 2))
        write_image(folder / f"{i}{suffix}", paint(landmarks, height, width))
        write_pts(folder / f"{i}.pts", landmarks)
        box = (centre[0] - 20, centre[1] - 22, centre[0] + 20, centre[1] + 22)
        partition = "test" if i % 3 == 0 else "train"
        samples.append(Sample("dots", partition, aug_idx, folder / f"{i}{suffix}", folder / f"{i}.pts", box))
    Index.write(folder / "index.tsv", samples)
    return Index.read(folder / "index.tsv")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_faces(tmp_path_factory.mktemp("faces"))


def augmented(index: Index, settings: AugmentSettings | None = None, seed: int = 0) -> FaceDataset:
    augmentation = Augmentation(settings or AugmentSettings(), SIZE, MARKUP.mirror)
    return FaceDataset(index, MARKUP, CropRule(), SIZE, augmentation, seed)


def equal(first: Batch, second: Batch) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def run(dataset: FaceDataset, epoch: int, workers: int = 0, start: int = 0, **options: Any) -> list[Batch]:
    sampler = EpochSampler(len(dataset), options.pop("batch_size", 5), **options)
    sampler.set_epoch(epoch, start)
    return list(make_loader(dataset, sampler, workers))


# ---------------------------------------------------------------------------- what a batch holds


def test_a_batch_has_the_documented_shapes_and_types(faces: Index) -> None:
    batch = augmented(faces).__getitems__([(0, 4), (0, 7)])
    assert {name: (tuple(values.shape), values.dtype) for name, values in batch.items()} == {
        "image": ((2, SIZE, SIZE, 3), torch.uint8),
        "landmarks": ((2, 3, 2), torch.float32),
        "weight": ((2,), torch.float32),
        "index": ((2,), torch.int64),
        "matrix": ((2, 2, 3), torch.float32),
        "motion": ((2, 2, 3), torch.float32),
    }
    assert batch["index"].tolist() == [4, 7]


def test_an_item_is_a_batch_without_its_first_axis(faces: Index) -> None:
    dataset = augmented(faces)
    batch = dataset.__getitems__([(3, 1), (3, 2)])
    assert equal(dataset[(3, 2)], {name: values[1] for name, values in batch.items()})


def test_without_augmentation_the_crop_is_the_plain_rule(faces: Index) -> None:
    rule = CropRule(scale=2.0, measure="max", shift_y=-0.05)
    dataset = FaceDataset(faces, MARKUP, rule, SIZE)
    item = dataset[(0, 5)]
    sample = faces[5]
    matrix = crop_matrix(sample.face_box, rule, SIZE)
    assert np.array_equal(item["image"].numpy(), warp(read_image(sample.image_path), matrix, SIZE))
    assert item["matrix"].numpy() == pytest.approx(matrix, rel=1e-6)
    assert item["landmarks"].numpy() == pytest.approx(transform(matrix, dataset.landmarks_image[5]), abs=1e-4)
    assert equal(item, dataset[(9, 5)])  # no epoch differs


def test_weights_follow_the_augmentation_index(tmp_path: Path) -> None:
    # ceil(5 * 0.8^k): 5, 4, 3.2, 2.56, 2.05, 1.64, 1.31, 1.05, 0.84
    assert [sample_weight(k) for k in range(-1, 9)] == [1, 5, 4, 4, 3, 3, 2, 2, 2, 1]
    plain = FaceDataset(make_faces(tmp_path, 3, aug_idx=0), MARKUP, CropRule(), SIZE)
    assert plain.weights.tolist() == [1.0, 1.0, 1.0]  # the mean is 1 whatever the indices


# ---------------------------------------------------------------------------- pixels and landmarks together

GEOMETRIES = {
    "plain": GeometrySettings(mirror=0.0, probability=0.0),
    "mirror": GeometrySettings(mirror=1.0, probability=0.0),
    "shift": GeometrySettings(mirror=0.0, probability=1.0, scale=0.0, rotate=0.0),
    "scale": GeometrySettings(mirror=0.0, probability=1.0, shift=0.0, rotate=0.0),
    "rotate": GeometrySettings(mirror=0.0, probability=1.0, shift=0.0, scale=0.0, rotate=180.0),
    "all": GeometrySettings(mirror=0.5, probability=1.0),
}


@pytest.mark.parametrize("name", GEOMETRIES)
def test_painted_dots_and_their_landmarks_land_together(faces: Index, name: str) -> None:
    dataset = augmented(faces, AugmentSettings(geometry=GEOMETRIES[name], photometric=[]))
    offsets = []
    for position in range(len(dataset)):
        item = dataset[(1, position)]
        crop, landmarks = item["image"].numpy(), item["landmarks"].numpy()
        if "mirror" in name or (name == "all" and np.linalg.det(item["matrix"].numpy()[:, :2]) < 0):
            crop = crop[..., [1, 0, 2]]  # after mirroring, the dot that was the right eye's is the left eye's
        offsets.append(find(crop) - landmarks)
    assert np.abs(offsets).max() < 0.08
    assert np.abs(np.mean(offsets, (0, 1))).max() < 0.02


def test_the_matrix_leads_back_to_the_photo(faces: Index) -> None:
    dataset = augmented(faces, AugmentSettings(photometric=[]))
    item = dataset[(2, 3)]
    matrix = item["matrix"].numpy().astype(float)
    mirrored = np.linalg.det(matrix[:, :2]) < 0
    image = dataset.landmarks_image[3][list(MARKUP.mirror)] if mirrored else dataset.landmarks_image[3]
    assert transform(matrix, image) == pytest.approx(item["landmarks"].numpy(), abs=1e-3)


def test_the_motion_leads_from_the_plain_crop_to_the_varied_one(faces: Index) -> None:
    plain = FaceDataset(faces, MARKUP, CropRule(), SIZE)[(0, 3)]["matrix"].numpy().astype(float)
    item = augmented(faces, AugmentSettings(geometry=GEOMETRIES["all"], photometric=[]))[(2, 3)]
    corners = np.array([(0.0, 0.0), (50.0, 80.0), (90.0, 10.0)])
    moved = transform(item["motion"].numpy(), transform(plain, corners) / SIZE) * SIZE
    assert moved == pytest.approx(transform(item["matrix"].numpy(), corners), abs=1e-2)
    assert not np.allclose(moved, transform(plain, corners), atol=1)


def test_the_border_has_the_chosen_grey(faces: Index) -> None:
    settings = AugmentSettings(geometry=GeometrySettings(border=200), photometric=[])
    dataset = augmented(faces, settings)
    dataset.crop_rule = CropRule(scale=8.0)
    assert (dataset[(0, 0)]["image"][0, 0] == 200).all()


def test_large_jpegs_are_read_reduced_and_stay_in_place(tmp_path: Path) -> None:
    landmarks = np.array([[300.0, 331.0], [507.5, 340.0], [410.0, 560.0]])
    write_image(tmp_path / "big.jpg", paint(landmarks, 811, 803, sigma=24.0), quality=98)
    write_pts(tmp_path / "big.pts", landmarks)
    box = (200.0, 210.0, 640.0, 650.0)
    Index.write(tmp_path / "i.tsv", [Sample("a", "b", -1, tmp_path / "big.jpg", tmp_path / "big.pts", box)])
    index = Index.read(tmp_path / "i.tsv")
    for position, epoch in ((0, e) for e in range(6)):
        item = augmented(index, AugmentSettings(photometric=[]))[(epoch, position)]
        mirrored = np.linalg.det(item["matrix"].numpy()[:, :2]) < 0
        found = find(item["image"].numpy()[..., [1, 0, 2]] if mirrored else item["image"].numpy())
        assert np.abs(found - item["landmarks"].numpy()).max() < 0.1


# ---------------------------------------------------------------------------- determinism


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_batches_are_the_same_for_any_number_of_workers(faces: Index) -> None:
    dataset = augmented(faces)
    expected = run(dataset, epoch=2, drop_last=False)
    assert [len(batch["image"]) for batch in expected] == [5, 5, 2]
    for workers in (1, 4):
        batches = run(dataset, epoch=2, workers=workers, drop_last=False)
        assert len(batches) == 3
        assert all(map(equal, expected, batches))


def test_persistent_workers_follow_the_epoch(faces: Index) -> None:
    dataset = augmented(faces)
    sampler = EpochSampler(len(dataset), 4)
    loader = make_loader(dataset, sampler, workers=1)
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        assert all(map(equal, list(loader), run(dataset, epoch, batch_size=4)))


def test_epochs_samples_and_seeds_differ(faces: Index) -> None:
    dataset = augmented(faces)
    again = augmented(faces)
    assert equal(dataset[(0, 1)], again[(0, 1)])
    assert not equal(dataset[(0, 1)], dataset[(1, 1)])
    assert not equal(dataset[(0, 1)], augmented(faces, seed=1)[(0, 1)])
    motions = [tuple(dataset[(0, i)]["matrix"][:, :2].flatten().tolist()) for i in range(12)]
    assert len(set(motions)) > 6


def test_a_restart_in_the_middle_of_an_epoch_changes_nothing(faces: Index) -> None:
    dataset = augmented(faces)
    whole = run(dataset, epoch=3, batch_size=4)
    rest = run(dataset, epoch=3, batch_size=4, start=2)
    assert len(whole) == 3
    assert len(rest) == 1
    assert equal(whole[2], rest[0])


@pytest.mark.parametrize("workers", [0, 1])
def test_torch_s_random_state_is_not_touched(faces: Index, workers: int) -> None:
    before = torch.get_rng_state()
    run(augmented(faces), epoch=0, workers=workers)
    assert torch.equal(before, torch.get_rng_state())


# ---------------------------------------------------------------------------- the sampler


def batches_of(sampler: EpochSampler, epoch: int = 0, start: int = 0) -> list[list[int]]:
    sampler.set_epoch(epoch, start)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert {e for batch in batches for e, _ in batch} <= {epoch}
    return [[position for _, position in batch] for batch in batches]


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def test_an_epoch_visits_each_face_once_in_an_order_of_its_own() -> None:
    sampler = EpochSampler(20, 5, seed=1)
    first, second = (flat(batches_of(sampler, epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second
    assert first == flat(batches_of(EpochSampler(20, 10, seed=1)))
    assert first != flat(batches_of(EpochSampler(20, 5, seed=2)))


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_the_same_batches(world_size: int) -> None:
    whole = batches_of(EpochSampler(22, 8, seed=3), epoch=1)
    shares = [
        batches_of(EpochSampler(22, 8, seed=3, rank=rank, world_size=world_size), epoch=1)
        for rank in range(world_size)
    ]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert {len(part) for part in parts} == {8 // world_size}
        assert sorted(flat(parts)) == sorted(batch)


@pytest.mark.parametrize("count", [1, 7, 16, 17, 19])
def test_without_dropping_each_face_comes_once_over_the_ranks(count: int) -> None:
    options = {"shuffle": False, "drop_last": False, "world_size": 4}
    shares = [batches_of(EpochSampler(count, 8, rank=rank, **options)) for rank in range(4)]
    assert sorted(flat(map(flat, shares))) == list(range(count))
    assert all(batch for share in shares for batch in share)


def test_an_incomplete_batch_is_dropped() -> None:
    assert [len(batch) for batch in batches_of(EpochSampler(11, 4))] == [4, 4]
    assert [len(batch) for batch in batches_of(EpochSampler(11, 4, drop_last=False))] == [4, 4, 3]


def test_a_start_beyond_the_end_leaves_nothing() -> None:
    assert batches_of(EpochSampler(8, 4), start=5) == []


def test_unsuitable_batch_sizes_are_refused() -> None:
    with pytest.raises(InputError, match="batch of 6 faces cannot be shared equally by 4 processes"):
        EpochSampler(100, 6, world_size=4)
    with pytest.raises(
        InputError, match="5 faces do not fill one batch of 8: give a batch size of at most 5"
    ):
        EpochSampler(5, 8)
    with pytest.raises(InputError, match="batch of 0"):
        EpochSampler(5, 0)


# ---------------------------------------------------------------------------- bad data


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    make_faces(tmp_path, 6)
    (tmp_path / "1.pts").unlink()
    (tmp_path / "2.png").unlink()
    write_pts(tmp_path / "3.pts", np.zeros((5, 2)))
    (tmp_path / "4.pts").write_text("version: 1\n")
    with pytest.raises(InputError) as caught:
        FaceDataset(Index.read(tmp_path / "index.tsv"), MARKUP, CropRule(), SIZE).check_labels()
    problems = caught.value.problems
    assert len(problems) == 4
    assert [name for name in ("1.pts", "2.png", "3.pts", "4.pts") if sum(name in p for p in problems) == 1] == [
        "1.pts", "2.png", "3.pts", "4.pts",
    ]  # fmt: skip
    assert "5 points, but mark-up three has 3" in problems[2]
    assert str(caught.value).startswith("4 of 6 faces cannot be used")
    (tmp_path / "0.pts").unlink()
    with pytest.raises(InputError, match="5 of 6 faces cannot be used"):  # the first one is looked at anyway
        FaceDataset(Index.read(tmp_path / "index.tsv"), MARKUP, CropRule(), SIZE)


def test_a_label_that_changed_since_it_was_checked_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanlight.data.dataset.READ_AT_ONCE", 0)
    dataset = FaceDataset(make_faces(tmp_path, 3), MARKUP, CropRule(), SIZE)
    write_pts(tmp_path / "2.pts", np.zeros((5, 2)))
    with pytest.raises(InputError, match=r"2\.png: 5 points, but mark-up three has 3"):
        run(dataset, 0, batch_size=3, shuffle=False)


def test_a_photo_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    index = make_faces(tmp_path, 3)
    (tmp_path / "2.png").write_bytes(b"no image")
    dataset = FaceDataset(index, MARKUP, CropRule(), SIZE)
    messages = []
    for workers in (0, 1):
        with pytest.raises(InputError, match=r"^[^\n]*2\.png[^\n]*$") as caught:
            run(dataset, 0, workers, batch_size=3, shuffle=False)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


# ---------------------------------------------------------------------------- real faces


def test_real_faces_load_with_full_augmentation(shared_data: Path) -> None:
    index = Index.read(shared_data / "faces68" / "index.tsv").select(["lfpw/val"]).take(range(16))
    markup = Markup.load("ibug68")
    settings = AugmentSettings(photometric=[*AugmentSettings().photometric, PhotometricStep(name="ISONoise")])
    dataset = FaceDataset(index, markup, CropRule(), 128, Augmentation(settings, 128, markup.mirror))
    [batch] = run(dataset, epoch=0, batch_size=16)
    inside = ((batch["landmarks"] > 0) & (batch["landmarks"] < 128)).float().mean()
    assert inside > 0.95
    assert batch["image"].float().std() > 30
    right, left = batch["landmarks"][:, 36], batch["landmarks"][:, 45]
    rolls = torch.rad2deg(torch.atan2(*(left - right).flip(-1).unbind(-1)))
    assert rolls.abs().max() < 80  # mirrored faces keep the subject's right eye on the left of the crop


def test_opencv_is_single_threaded_in_workers(faces: Index) -> None:
    class Threads(FaceDataset):
        def __getitems__(self, keys: Any) -> Batch:
            return {"threads": torch.tensor([cv2.getNumThreads(), torch.get_num_threads()])}

    dataset = Threads(faces, MARKUP, CropRule(), SIZE)
    assert run(dataset, 0, workers=1)[0]["threads"].tolist() == [1, 1]


def test_a_dataset_can_be_sent_to_a_spawned_worker(faces: Index) -> None:
    dataset = augmented(faces)
    assert equal(pickle.loads(pickle.dumps(dataset))[(1, 3)], dataset[(1, 3)])
