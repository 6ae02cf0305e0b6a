"""What the data doctor finds: each mistake planted among sound faces is found, and nothing else."""

from __future__ import annotations

import doctest
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.doctor import Subject, of_seeds
from benchmarks.planted import Planter
from fanlight.cli import main
from fanlight.data.check import check
from fanlight.data.index import Index, Sample
from fanlight.data.pts import read_pts, write_pts
from fanlight.data.synthetic import draw_face
from fanlight.doctor import KINDS, alike, copies, examine
from fanlight.doctor.alike import LOOK_PX, Groups, look_of, neighbours, series_of, stem_of
from fanlight.doctor.compare import compare, median_and_error
from fanlight.doctor.copies import find_copies
from fanlight.doctor.examination import judge
from fanlight.doctor.points import box_fit, coinciding, extents, outside
from fanlight.doctor.reading import Measured, measure
from fanlight.doctor.robust import how_unusual
from fanlight.doctor.shape import ShapeStatistics, align, misfit, swapped
from fanlight.errors import InputError
from fanlight.geometry import Floats
from fanlight.image import read_image, write_image
from fanlight.markup import Markup
from fanlight.report import write_findings
from painted import dot_predictor, make_faces

IBUG = Markup.load("ibug68")
COUNT = 400


@pytest.fixture(scope="module")
def shapes() -> Floats:
    """Labels of 400 faces (N, 68, 2) of about 100 px: a few heads, mixed, moved, and with some noise."""
    numbers = np.random.default_rng(0)
    heads = np.stack([draw_face(0, number, 128).landmarks for number in range(6)])
    heads = align(heads, heads[0])
    shares = numbers.dirichlet(np.ones(len(heads)), COUNT)
    mixed = np.einsum("nh,hlk->nlk", shares, heads) + numbers.normal(0, 0.3, (COUNT, 68, 2))
    angles = numbers.uniform(-0.3, 0.3, COUNT)
    turns = np.moveaxis(np.array([[np.cos(angles), np.sin(angles)], [-np.sin(angles), np.cos(angles)]]), 2, 0)
    centred = (mixed - mixed.mean(axis=1, keepdims=True)) @ turns
    return centred * numbers.uniform(0.8, 1.2, (COUNT, 1, 1)) + 150


@pytest.fixture
def sound(shapes: Floats) -> Measured:
    """Faces of which nothing is wrong, with what a network finds in them."""
    numbers = np.random.default_rng(1)
    low, high = shapes.min(axis=1), shapes.max(axis=1)
    looks = numbers.normal(size=(COUNT, 143)).astype(np.float32)
    return Measured(
        shapes.copy(),
        np.column_stack([low - (5, 30), high + 5]) + numbers.normal(0, 2, (COUNT, 4)),
        np.full((COUNT, 2), 300, np.int32),
        np.arange(COUNT).astype(np.uint64),
        looks / np.linalg.norm(looks, axis=1, keepdims=True),
        shapes + numbers.normal(0, 1, shapes.shape) + numbers.normal(0, 0.3, (COUNT, 1, 2)),
    )


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """An index of as many faces, whose files are not there: every fifth is for validation."""
    folder = tmp_path_factory.mktemp("faces")
    samples = [
        Sample(
            "made", "val" if at % 5 == 0 else "train", -1, folder / name, folder / "label.pts", (0, 0, 9, 9)
        )
        for at, name in enumerate(f"x{at}q.jpg" for at in range(COUNT))
    ]
    Index.write(folder / "index.tsv", samples)
    return Index.read(folder / "index.tsv")


def kinds_found(index: Index, measured: Measured) -> dict[str, set[int]]:
    """The faces that each kind of finding names."""
    findings, looked_for = judge(index, measured, IBUG)
    assert looked_for == [kind for kind in KINDS if kind != "unusable"]
    kinds = {finding.kind for finding in findings}
    return {kind: {at for f in findings if f.kind == kind for at in f.positions} for kind in kinds}


def test_nothing_is_found_in_sound_faces(index: Index, sound: Measured) -> None:
    found = kinds_found(index, sound)
    assert set(found) <= {"shape"}
    assert len(found.get("shape", ())) <= 4, "one in a hundred is unusual in any set"


def swap(measured: Measured) -> None:
    measured.landmarks[7] = measured.landmarks[7][list(IBUG.mirror)]


def shift(measured: Measured) -> None:
    measured.landmarks[7] += (4.0, -3.0)


def push_out(measured: Measured) -> None:
    measured.landmarks[7, 30] = (310.0, 150.0)


def flatten(measured: Measured) -> None:
    measured.landmarks[7, :, 1] = measured.landmarks[7, 0, 1] + 0.05 * measured.landmarks[7, :, 1]


def shrink(measured: Measured) -> None:
    measured.landmarks[7] = 150 + 0.15 * (measured.landmarks[7] - 150)


def put_together(measured: Measured) -> None:
    measured.landmarks[7, :40] = measured.landmarks[7, 40]


def move_box(measured: Measured) -> None:
    measured.boxes[7] += (70.0, 0.0, 70.0, 0.0)


def move_mouth(measured: Measured) -> None:
    measured.landmarks[7, 48:68] += (0.0, 9.0)


def take_another(measured: Measured) -> None:
    measured.landmarks[7] = measured.landmarks[7] + np.random.default_rng(3).normal(0, 12, (68, 2))


@pytest.mark.parametrize(
    ("mistake", "kind"),
    [
        (swap, "swapped"),
        (shift, "shifted"),
        (push_out, "outside"),
        (flatten, "degenerate"),
        (shrink, "degenerate"),
        (put_together, "degenerate"),
        (move_box, "box"),
        (move_mouth, "shape"),
        (take_another, "disagrees"),
    ],
)
def test_a_planted_mistake_is_found(
    index: Index, sound: Measured, mistake: Callable[[Measured], None], kind: str
) -> None:
    mistake(sound)
    assert 7 in kinds_found(index, sound)[kind]


def test_a_swapped_label_is_not_also_called_an_unusual_shape(index: Index, sound: Measured) -> None:
    swap(sound)
    found = kinds_found(index, sound)
    assert 7 not in found.get("shape", set()) | found.get("disagrees", set())


def test_a_partition_that_is_shifted_is_told_by_its_pixels(index: Index, sound: Measured) -> None:
    sound.landmarks[index.members("made/val")] += (1.0, 0.0)
    findings, _ = judge(index, sound, IBUG)
    told = [finding.message for finding in findings if finding.kind == "shifted set"]
    assert len(told) == 1
    assert told[0].startswith("made/val: the labels of 80 faces lie 1.0 px right")


def test_copies_are_grouped_and_those_across_splits_come_first(index: Index, sound: Measured) -> None:
    numbers = np.random.default_rng(4)
    for one, other in ((1, 2), (3, 5)):  # 5 is for validation
        sound.looks[other] = sound.looks[one] + numbers.normal(0, 0.01, 143)
    sound.digests[11] = sound.digests[13]
    sound.boxes[11] = sound.boxes[13]
    sound.digests[16] = sound.digests[17]  # two people in a photo
    sound.boxes[16] = sound.boxes[17] + 120
    findings, _ = judge(index, sound, IBUG)
    found = sorted((f for f in findings if f.kind == "near-duplicate"), key=lambda f: -f.score)
    assert [f.positions for f in found] == [(3, 5), (1, 2)]
    assert "x5q.jpg (made/val, line 7)" in found[0].message
    assert [f.positions for f in findings if f.kind == "duplicate"] == [(11, 13)]


def test_frames_of_a_clip_are_one_line_within_a_partition_and_a_leak_across(
    index: Index, sound: Measured
) -> None:
    numbers = np.random.default_rng(5)
    for group in ((1, 2, 3), (6, 8), (11, 13), (12, 14, 15)):  # 15 is for validation
        for at in group[1:]:
            sound.looks[at] = sound.looks[group[0]] + numbers.normal(0, 0.01, 143)
    names = {1: "anna", 2: "anna", 3: "anna", 6: "bert", 8: "bert", 11: "bert", 13: "carl"}
    series = [names.get(at, "dora" if at in (12, 14, 15) else "") for at in range(COUNT)]
    found = sorted(find_copies(index, sound, series), key=lambda f: (f.kind, -f.score))
    assert [(f.kind, f.positions) for f in found] == [
        ("frames", (1, 2, 3, 6, 8)),
        ("near-duplicate", (12, 14, 15)),
        ("near-duplicate", (11, 13)),
    ]
    total = len(index.members("made/train"))
    assert found[0].message.startswith(f"made/train: 5 of {total} photos look like others of their series")
    assert found[0].message.endswith("3 of them could be left out")
    assert "by their names of one series" in found[1].message


def test_equal_photos_are_paired_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    digests = np.array([7, 1, 7, 2, 7, 7, 3, 2], np.uint64)
    wanted = {(0, 2), (0, 4), (0, 5), (2, 4), (2, 5), (4, 5), (3, 7)}
    for rows, most in ((64, 1 << 20), (2, 1), (1, 2)):
        monkeypatch.setattr(copies, "_ROWS", rows)
        monkeypatch.setattr(copies, "_PAIRS", most)
        parts = [part.tolist() for part in copies._same_pixels(digests)]
        assert len(parts) > 1 or most > 2
        assert sorted(tuple(pair) for part in parts for pair in part) == sorted(wanted)


def test_versions_of_a_photo_made_on_purpose_are_no_copies(index: Index, sound: Measured) -> None:
    sound.looks[2] = sound.looks[1]
    versions = index.take(np.arange(COUNT))
    versions.aug_indices = np.where(np.arange(COUNT) == 2, 0, -1).astype(np.int32)
    assert "near-duplicate" in kinds_found(index, sound)
    assert "near-duplicate" not in kinds_found(versions, sound)


# ---------------------------------------------------------------------------- the parts


def test_names_tell_where_they_are_not_a_word() -> None:
    names = [f"image_{n:04}.jpg" for n in range(20)] + ["anna_01.jpg", "anna-02.png", "0001.jpg"]
    told = series_of(names, ["train"] * 21 + ["val"] * 2)
    assert told == [""] * 20 + ["anna", "anna", ""]
    assert stem_of("a_b_12.jpg") == ""
    assert doctest.testmod(alike).failed == 0


def test_neighbours_are_the_same_in_any_blocks() -> None:
    numbers = np.random.default_rng(0)
    looks = numbers.normal(size=(50, 143)).astype(np.float32)
    looks[[30, 41]] = looks[3] + numbers.normal(0, 0.05, (2, 143))
    for chunk in (7, 16, 100):
        blocks = list(neighbours(looks, 0.9, chunk))
        pairs = np.concatenate([pairs for pairs, _ in blocks])
        assert sorted(map(tuple, pairs.tolist())) == [(3, 30), (3, 41), (30, 41)]
        groups = Groups(50)
        for some, _ in blocks:
            groups.join(some)
        assert groups.found() == [[3, 30, 41]]


def test_groups_joined_bit_by_bit_are_those_joined_at_once() -> None:
    numbers = np.random.default_rng(0)
    pairs = numbers.integers(0, 60, (40, 2))
    at_once, bit_by_bit = Groups(60), Groups(60)
    at_once.join(pairs)
    for pair in pairs:
        bit_by_bit.join(pair[None])
    assert at_once.found() == bit_by_bit.found()


def test_a_photo_looks_like_itself_darker_and_smaller() -> None:
    photo = draw_face(0, 1, 128).image
    small = np.ascontiguousarray(photo[: 4 * LOOK_PX : 4, : 4 * LOOK_PX : 4])
    assert look_of(small) @ look_of((small * 0.6 + 20).astype(np.uint8)) > 0.99
    assert not look_of(np.full((LOOK_PX, LOOK_PX, 3), 9, np.uint8)).any()


def test_points_against_photo_and_box_by_hand() -> None:
    square = np.array([[[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]]])
    counts, farthest = outside(square, np.array([[25, 40]]))
    assert (counts[0], farthest[0]) == (2, 5.0)
    along, across = extents(square)
    assert along == pytest.approx(10.0)
    assert across == pytest.approx(10.0)
    assert coinciding(np.repeat(square, 2, axis=1))[0] == pytest.approx(4 / 7)  # of 7 neighbours in order
    # The face box (0, 0, 40, 20): centres 10 px apart in y, its size sqrt(800); 20 x 10 of 400 + 800 - 200 shared.
    fits, overlaps = box_fit(square, np.array([[0.0, 0.0, 40.0, 20.0]]))
    assert fits[0] == pytest.approx([0, 10 / np.sqrt(800), np.log(0.5), 0])
    assert overlaps[0] == pytest.approx(0.2)


def test_a_shape_fits_itself_in_any_pose_but_not_mirrored(shapes: Floats) -> None:
    mean = shapes[0]
    turned = shapes[:1] @ np.array([[0.0, 2.0], [-2.0, 0.0]]) + 7
    np.testing.assert_allclose(align(turned, mean)[0], mean, atol=1e-9)
    assert misfit(turned, mean)[0] == pytest.approx(0, abs=1e-12)
    as_it_is, exchanged = swapped(shapes[:1][:, list(IBUG.mirror)], mean, IBUG)
    assert as_it_is[0] > 0.5 > 0.01 > exchanged[0]


def test_a_displaced_part_is_told_with_its_length(shapes: Floats) -> None:
    statistics = ShapeStatistics.of(shapes)
    moved = shapes[:1].copy()
    moved[0, 48:68] += (0.0, 8.0)
    size = np.sqrt(np.prod(np.ptp(moved[0], axis=0)))
    mouth, length = statistics.displaced(moved, range(48, 68))
    usual, _ = statistics.displaced(shapes, range(48, 68))
    assert mouth[0] > 3 * np.median(usual)
    assert 0.2 * 8 / size < length[0] < 1.2 * 8 / size


def test_a_shift_is_the_median_of_the_points(shapes: Floats) -> None:
    labels = shapes[:3] + np.array([3.0, -4.0])
    labels[:, :10] += 50  # a few points that are elsewhere
    found = compare(labels, shapes[:3])
    np.testing.assert_allclose(found.shifts * found.sizes[:, None], np.tile((3.0, -4.0), (3, 1)))
    np.testing.assert_allclose(found.before * found.sizes, 5.0)
    np.testing.assert_allclose(found.after, 0, atol=1e-12)
    middle, error = median_and_error(np.array([[1.0], [2.0], [6.0]]))
    assert middle == 2.0
    assert error == pytest.approx(1.2533 * 1.4826 / np.sqrt(3))


def test_a_few_wrong_values_do_not_hide_themselves() -> None:
    values = np.array([9.0, 10.0, 11.0, 10.0, 9.0, 11.0, 1000.0])
    assert how_unusual(values)[-1] > 500


# ---------------------------------------------------------------------------- from files to the page


@pytest.fixture
def dots(tmp_path: Path) -> list[Sample]:
    """40 painted faces, of which 36 hold a mistake in the label, and 40 is a copy of 2."""
    samples = make_faces(tmp_path / "faces", 40)
    label = samples[36].landmarks_path
    write_pts(label, read_pts(label) + np.array([4.0, 3.0]))
    copied = tmp_path / "faces" / "<b>copy & co.png"
    write_image(copied, read_image(samples[2].image_path))
    return [*samples, replace(samples[2], image_path=copied, split="train")]


def test_photos_are_read_and_compared_with_a_network(dots: list[Sample], tmp_path: Path) -> None:
    Index.write(tmp_path / "index.tsv", dots)
    faces = Index.read(tmp_path / "index.tsv")
    predictor = dot_predictor(tmp_path)
    seen: list[tuple[int, int]] = []
    found = examine(
        faces, predictor.markup, predictor, progress=lambda done, total: seen.append((done, total))
    )
    named = {(finding.kind, finding.positions) for finding in found.findings}
    assert ("duplicate", (2, 40)) in named
    assert ("shifted", (36,)) in named
    assert seen[-1] == (41, 41)
    page = write_findings(
        tmp_path / "report", faces, predictor.markup, found, {"Network": "dots"}
    ).read_text()
    assert "<b>copy" not in page
    assert "&lt;b&gt;copy &amp; co.png" in page
    assert page.count("data:image/jpeg") >= 3
    assert "http:" not in page.replace("http://www.w3.org", "")
    stored = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert stored["counts"]["duplicate"] == 1
    first = next(row for row in stored["findings"] if row["kind"] == "duplicate")
    assert first["lines"] == [4, 42]
    assert first["partitions"] == ["dots/val", "dots/train"]
    table = (tmp_path / "report" / "findings.tsv").read_text().splitlines()
    assert len(table) == 1 + len(stored["findings"])
    assert {line.count("\t") for line in table} == {5}


def test_a_network_of_other_points_is_refused(dots: list[Sample], tmp_path: Path) -> None:
    Index.write(tmp_path / "index.tsv", dots)
    with pytest.raises(InputError, match=r"68 points of ibug68, and the network finds the 5 of five"):
        examine(Index.read(tmp_path / "index.tsv"), IBUG, dot_predictor(tmp_path))


def test_faces_that_cannot_be_used_are_left_out_and_told(dots: list[Sample], tmp_path: Path) -> None:
    dots[0].image_path.unlink()
    Index.write(tmp_path / "index.tsv", dots)
    faces, markup = Index.read(tmp_path / "index.tsv"), dot_predictor(tmp_path).markup
    found = examine(faces, markup, problems=check(faces, markup, 1))
    named = {(finding.kind, finding.positions) for finding in found.findings}
    assert {("unusable", (0,)), ("duplicate", (2, 40))} <= named
    assert 2 in found.landmarks
    assert 0 not in found.landmarks
    assert "shifted" not in found.looked_for


def test_the_command_writes_a_report_and_suspicions_do_not_fail(
    dots: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fanlight(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fanlight", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capfd.readouterr()
        return int(left.value.code or 0), printed.out, printed.err

    Index.write(tmp_path / "index.tsv", dots)
    dot_predictor(tmp_path)  # writes the mark-up
    words = ("data", "check", tmp_path / "index.tsv", "--markup", tmp_path / "five.toml")
    code, out, err = fanlight(*words, "--report", tmp_path / "found")
    assert code == 0
    assert "report.html" in out
    assert "1 Photos that are there twice" in err
    code, _, err = fanlight(*words, "--report", tmp_path / "found", "--strict")
    assert code == 2
    assert "findings: look at" in err
    code, _, err = fanlight(*words, "--strict")
    assert code == 2
    assert "--report DIR" in err
    code, _, err = fanlight(*words, "--report", tmp_path / "found", "--model", "small")
    assert code == 2
    assert "the network finds the 68 of ibug68" in err
    dots[0].image_path.unlink()
    code, _, err = fanlight(*words, "--report", tmp_path / "unusable")
    assert code == 2
    assert "1 of 41 faces cannot be used" in err
    assert "Cannot be used: 1" in (tmp_path / "unusable" / "report.html").read_text()


# ---------------------------------------------------------------------------- the benchmark


def test_planted_mistakes_are_counted_by_what_finds_them(tmp_path: Path) -> None:
    predictor = dot_predictor(tmp_path)
    Index.write(tmp_path / "index.tsv", make_faces(tmp_path / "faces", 60))
    index = Index.read(tmp_path / "index.tsv")
    measured = measure(index, predictor.markup, predictor)
    figures = of_seeds(Subject(index, predictor.markup, predictor, measured), [1, 2], 2)
    assert {kind: counts["planted"] for kind, counts in figures["recall"].items()} == {
        **dict.fromkeys(("duplicate", "near-duplicate", "swapped", "shifted", "outside"), 4),
        **dict.fromkeys(("degenerate", "shape", "other face", "box"), 4),
    }
    assert figures["recall"]["duplicate"]["own"] == 4
    assert figures["recall"]["outside"]["own"] == 4
    assert figures["findings"]["duplicate"] == {"all": 4, "own": 4}
    assert all(counts["own"] <= counts["any"] <= counts["planted"] for counts in figures["recall"].values())


def test_a_planted_index_names_its_mistakes_by_their_lines(tmp_path: Path) -> None:
    markup = dot_predictor(tmp_path).markup
    Index.write(tmp_path / "index.tsv", make_faces(tmp_path / "faces", 20))
    index = Index.read(tmp_path / "index.tsv")
    planter = Planter(index, markup, tmp_path / "planted", 0)
    planted = planter.plant(1)
    assert len(planted) == 22
    by_line = dict(zip(planted.line_numbers.tolist(), planted, strict=True))
    mistakes = {mistake.kind: [by_line[line] for line in mistake.lines] for mistake in planter.planted}
    one, copied = mistakes["duplicate"]
    assert one.image_path.read_bytes() == copied.image_path.read_bytes()
    (swapped_face,) = mistakes["swapped"]
    true = read_pts(index[list(planted).index(swapped_face)].landmarks_path)
    np.testing.assert_allclose(read_pts(swapped_face.landmarks_path), true[list(markup.mirror)], atol=1e-3)
