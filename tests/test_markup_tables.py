"""The built-in mark-ups and projections, against a drawn face and against what public code agrees on."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from archives.shapes import SHAPES
from fanlight.errors import InputError
from fanlight.geometry import mirror_landmarks
from fanlight.markup import Markup
from fanlight.projection import Projection

COUNTS = {"aflw19": 19, "cofw29": 29, "ibug51": 51, "ibug100": 100, "lapa106": 106, "wflw98": 98}
PAIRS = [("wflw98", "ibug68"), ("lapa106", "ibug68"), ("ibug68", "ibug51"), ("ibug100", "ibug68")]


@pytest.mark.parametrize("name", SHAPES)
class TestShape:
    """Every mark-up on a face whose points were placed by their numbers, without a look at the tables."""

    def test_mirroring_a_symmetric_face_changes_nothing(self, name: str) -> None:
        face, markup = SHAPES[name](), Markup.load(name)
        assert len(face) == markup.count == COUNTS.get(name, 68)
        assert len(np.unique(face.round(6), axis=0)) == markup.count  # so no other table could pass
        np.testing.assert_allclose(mirror_landmarks(face, 1.0, markup.mirror), face, atol=1e-9)

    def test_names_and_normalisers_know_the_sides(self, name: str) -> None:
        face, markup = SHAPES[name](), Markup.load(name)
        for point, place, partner in zip(markup.points, face, markup.mirror, strict=True):
            side = {"right": "left", "left": "right"}.get(word := point.partition("_")[0], word)
            assert markup.points[partner] == point.replace(word, side, 1)
            assert np.sign(round(place[0] - 0.5, 9)) == {"right": -1, "left": 1}.get(word, 0), point
        assert markup.eye_corners is not None
        assert markup.pupils is not None
        right, left = face[list(markup.eye_corners)]
        np.testing.assert_allclose([right, left], [(0.2, 0.39), (0.8, 0.39)])
        for group, x in zip(markup.pupils, (0.29, 0.71), strict=True):
            np.testing.assert_allclose(face[list(group)].mean(axis=0), (x, 0.39), atol=0.01)

    def test_edges_are_short_and_parts_hold_together(self, name: str) -> None:
        face, markup = SHAPES[name](), Markup.load(name)
        lengths = [np.linalg.norm(face[a] - face[b]) for a, b in markup.edges]
        assert max(lengths) < 0.3, "a line jumps across the face"
        assert {i for members in markup.parts.values() for i in members} == set(range(markup.count))
        for part, members in markup.parts.items():
            mirrored = {markup.mirror[i] for i in members}
            other = part.replace("right", "left") if "right" in part else part.replace("left", "right")
            assert mirrored == set(markup.parts[other])


# What HRNet and mmpose have for data of these mark-ups; WFLW and LaPa from 0, the others from 1.
PUBLIC = {
    "wflw98": (
        [(i, 32 - i) for i in range(16)]
        + [(33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)]
        + [(60, 72), (61, 71), (62, 70), (63, 69), (64, 68), (65, 75), (66, 74), (67, 73), (55, 59), (56, 58)]
        + [(76, 82), (77, 81), (78, 80), (87, 83), (86, 84), (88, 92), (89, 91), (95, 93), (96, 97)],
        0,
    ),
    "lapa106": (
        [(i, 32 - i) for i in range(16)]
        + [(33, 46), (34, 45), (35, 44), (36, 43), (37, 42), (38, 50), (39, 49), (40, 48), (41, 47)]
        + [(55, 65), (56, 64), (57, 63), (58, 62), (59, 61), (66, 79), (67, 78), (68, 77), (69, 76), (70, 75)]
        + [(71, 82), (72, 81), (73, 80), (74, 83), (84, 90), (85, 89), (86, 88), (91, 95), (92, 94)]
        + [(96, 100), (97, 99), (101, 103), (104, 105)],
        0,
    ),
    "cofw29": (
        [(1, 2), (5, 7), (3, 4), (6, 8), (9, 10), (11, 12), (13, 15), (17, 18), (14, 16), (19, 20), (23, 24)],
        1,
    ),
    "aflw19": ([(1, 6), (2, 5), (3, 4), (7, 12), (8, 11), (9, 10), (13, 15), (16, 18)], 1),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_mirror_tables_are_the_public_ones(name: str) -> None:
    pairs, first = PUBLIC[name]
    expected = list(range(COUNTS[name]))
    for a, b in pairs:
        expected[a - first], expected[b - first] = b - first, a - first
    assert list(Markup.load(name).mirror) == expected


class TestIbug100:
    def test_the_first_points_are_ibug68(self) -> None:
        assert Markup.load("ibug100").points[:68] == Markup.load("ibug68").points

    def test_its_lines_are_those_of_the_public_overlay(self) -> None:
        """All that ibug.face_alignment says of the 32 further points: what its overlay joins."""
        lines = [
            [17, 68, 69, 70, 71, 21], [22, 72, 73, 74, 75, 26], [84, 85], [86, 87],
            [36, 76, 37, 77, 38, 78, 39, 40, 79, 41, 36], [42, 80, 43, 81, 44, 82, 45, 46, 83, 47, 42],
            [48, 49, 88, 50, 51, 52, 89, 53, 54, 55, 90, 56, 57, 58, 91, 59, 48],
            [60, 92, 93, 61, 62, 63, 94, 95, 64, 96, 97, 65, 66, 67, 98, 99, 60],
        ]  # fmt: skip
        joined = {frozenset(pair) for line in lines for pair in pairwise(line)}
        markup = Markup.load("ibug100")
        ours = {frozenset(edge) for edge in markup.edges}
        assert joined <= ours
        assert {
            frozenset(markup.mirror[i] for i in edge) for edge in ours
        } == ours  # mirrored lines are lines


class TestProjection:
    @pytest.mark.parametrize(("source", "target"), PAIRS)
    def test_a_face_in_one_mark_up_is_the_face_in_the_other(self, source: str, target: str) -> None:
        found = Projection.load(source, target).apply(SHAPES[source]())
        # Between two points of a curve lies a chord: at a third of these lids 0.056 of their height, so 0.002.
        np.testing.assert_allclose(found, SHAPES[target](), atol=2.1e-3)

    @pytest.mark.parametrize(("source", "target"), PAIRS)
    def test_projecting_and_mirroring_in_either_order(self, source: str, target: str) -> None:
        """With an arbitrary face, every wrong pair of either table or of the projection shows."""
        projection = Projection.load(source, target)
        face = np.random.default_rng(1).normal(size=(3, projection.source.count, 2))
        one = projection.apply(mirror_landmarks(face, 10.0, projection.source.mirror))
        other = mirror_landmarks(projection.apply(face), 10.0, projection.target.mirror)
        assert one.shape == (3, projection.target.count, 2)
        np.testing.assert_allclose(one, other, atol=1e-12)

    def test_the_nearest_points_are_the_public_table(self) -> None:
        """From WFLW's 98 to dlib's 68, as the demo of Adaptive Wing Loss and many others have it."""
        table = [*range(0, 34, 2), *range(33, 38), *range(42, 47), *range(51, 60)]
        table += [60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75, *range(76, 96)]
        nearest = Projection.load("wflw98", "ibug68").nearest()
        face = np.random.default_rng(2).normal(size=(98, 2))
        np.testing.assert_array_equal(nearest.apply(face), face[table])

    def test_lapa_over_wflw_is_lapa(self) -> None:
        """LaPa's 106 points hold WFLW's 98; where each stands is mmpose's table for training on both."""
        wflw = [*range(55), *range(58, 63), *range(66, 74), *range(75, 83), *range(84, 106)]
        to_wflw, to_ibug = Projection.load("lapa106", "wflw98"), Projection.load("wflw98", "ibug68")
        face = np.random.default_rng(3).normal(size=(106, 2))
        np.testing.assert_array_equal(to_wflw.apply(face), face[wflw])
        direct = Projection.load("lapa106", "ibug68").apply(face)
        np.testing.assert_allclose(to_ibug.apply(to_wflw.apply(face)), direct, atol=1e-12)

    def test_the_inner_points_are_the_last_51(self) -> None:
        face = np.random.default_rng(4).normal(size=(68, 2))
        np.testing.assert_array_equal(Projection.load("ibug68", "ibug51").apply(face), face[17:])

    def test_every_file_loads(self) -> None:
        assert set(Projection.names()) == {("wflw98", "ibug68"), ("lapa106", "ibug68")}
        for source, target in Projection.names():
            totals = [
                sum(share for _, share in members) for members in Projection.load(source, target).weights
            ]
            np.testing.assert_allclose(totals, 1)

    def test_real_lids_are_in_thirds(self, shared_data: Path) -> None:
        """The weights rest on where iBUG's annotators put the two inner points of each lid."""
        from fanlight.data.index import Index
        from fanlight.data.pts import read_pts

        index = Index.read(shared_data / "faces68" / "index.tsv").select(["lfpw/train"])
        faces = np.stack([read_pts(sample.landmarks_path) for sample in index])
        for lid in ([36, 37, 38, 39], [39, 40, 41, 36], [42, 43, 44, 45], [45, 46, 47, 42]):
            along = np.linalg.norm(np.diff(faces[:, lid], axis=1), axis=-1).cumsum(axis=1)
            np.testing.assert_allclose(
                np.median(along[:, :2] / along[:, 2:], axis=0), (1 / 3, 2 / 3), atol=0.05
            )

    def test_what_is_no_file_and_no_shape(self, tmp_path: Path) -> None:
        path = tmp_path / "own.toml"
        path.write_text(
            '[points]\nright_brow_outer = "left_eye"\nmouth = {}\nnose_base = { nose_tip = -1 }\n'
            "lip_top = 3\nchin = { chin = 1 }\n"
        )
        with pytest.raises(InputError, match="aflw19 cannot be projected to faces21") as raised:
            Projection.load("aflw19", "faces21", path)
        assert raised.value.problems == (
            "mouth: not a point of faces21",
            "chin: not a point of faces21",
            "right_brow_outer: 'left_eye' is not a point of aflw19",
            "nose_base: the weight -1 should be a positive number",
            "lip_top: should be a point's name, or a table of names and weights, is 3",
            "lip_bottom: aflw19 has no such point; say which ones it lies between",
        )
        for text in ("points = 3", "[point]", "", "x"):
            path.write_text(text)
            with pytest.raises(InputError, match=re.escape(str(path))):
                Projection.load("aflw19", "faces21", path)
        with pytest.raises(InputError, match=r"shape \(68, 2\) cannot be projected from wflw98: .*98, 2"):
            Projection.load("wflw98", "ibug68").apply(np.zeros((68, 2)))

    def test_an_own_file(self, tmp_path: Path) -> None:
        path = tmp_path / "own.toml"
        path.write_text("[points]\nmouth_centre = { mouth_inner_top = 1, mouth_inner_bottom = 3 }\n")
        mouth = Markup("mouth", "made up", ("chin", "mouth_centre"), (0, 1))
        face = SHAPES["cofw29"]()
        expected = [face[28], (face[25] + 3 * face[26]) / 4]
        np.testing.assert_allclose(Projection.load("cofw29", mouth, path).apply(face), expected)

    def test_the_page(self) -> None:
        page = (Path(__file__).parent.parent / "docs" / "markup.md").read_text(encoding="utf-8")
        code = next(block for block in page.split("```") if block.startswith("python\n"))
        names: dict[str, object] = {"landmarks98": SHAPES["wflw98"]()}
        exec(code.removeprefix("python\n"), names)
        assert np.shape(names["landmarks68"]) == (68, 2)
        listed = re.findall(r"^\| (\w+\d+) \|", page, re.MULTILINE)
        assert sorted(listed) == list(Markup.names())
