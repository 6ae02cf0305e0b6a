"""Mark-ups: the built-in ones against real faces, any user's own, and what is told of faulty ones."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanlight.data.index import Index
from fanlight.data.pts import read_pts
from fanlight.errors import InputError
from fanlight.markup import Markup

BUILT_IN = ("aflw19", "cofw29", "faces21", "ibug100", "ibug51", "ibug68", "lapa106", "wflw98")

OWN = """
name = "eyes3"
source = "made up for this example"
points = ["right_eye", "left_eye", "nose"]
mirror = [["right_eye", "left_eye"]]
middle = ["nose"]
lines = [["right_eye", "nose", "left_eye"]]
closed = [["0..2"]]
eye_corners = { right = 0, left = 1 }
pupils = { right = 0, left = [1] }
[parts]
eyes = ["0..1"]
"""


def load(tmp_path: Path, text: str) -> Markup:
    path = tmp_path / "own.toml"
    path.write_text(text, encoding="utf-8")
    return Markup.load(path)


def problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(InputError) as raised:
        load(tmp_path, text)
    assert str(raised.value).startswith(f"{tmp_path / 'own.toml'}: ")
    return raised.value.problems


def change(old: str, new: str) -> str:
    assert old in OWN
    return OWN.replace(old, new)


class TestBuiltIn:
    def test_names(self) -> None:
        assert Markup.names() == BUILT_IN

    @pytest.mark.parametrize(("name", "count"), [("faces21", 21), ("ibug68", 68)])
    def test_counts_and_mirror(self, name: str, count: int) -> None:
        markup = Markup.load(name)
        assert (markup.name, markup.count, len(markup.mirror)) == (name, count, count)
        assert [markup.mirror[j] for j in markup.mirror] == list(range(count))
        for point, other in zip(markup.points, (markup.points[j] for j in markup.mirror), strict=True):
            swapped = re.sub("right|left", lambda side: {"right": "left", "left": "right"}[side[0]], point)
            assert other == swapped

    @pytest.mark.parametrize("name", BUILT_IN)
    def test_parts_are_their_own_mirror_or_anothers(self, name: str) -> None:
        markup = Markup.load(name)
        parts = {frozenset(members) for members in markup.parts.values()}
        assert {frozenset(markup.mirror[i] for i in members) for members in parts} == parts
        assert set().union(*parts) == set(range(markup.count))
        edges = {frozenset(edge) for edge in markup.edges}
        assert {frozenset(markup.mirror[i] for i in edge) for edge in edges} == edges

    def test_ibug68(self) -> None:
        markup = Markup.load("ibug68")
        pairs = {(i, j) for i, j in enumerate(markup.mirror) if i < j}
        assert pairs == {
            *((i, 16 - i) for i in range(8)),
            *((17 + i, 26 - i) for i in range(5)),
            (31, 35), (32, 34), (36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46),
            (48, 54), (49, 53), (50, 52), (55, 59), (56, 58), (60, 64), (61, 63), (65, 67),
        }  # fmt: skip
        assert markup.eye_corners == (36, 45)
        assert markup.pupils == (tuple(range(36, 42)), tuple(range(42, 48)))
        assert markup.index("nose_tip") == 30
        assert (41, 36) in markup.edges
        assert len(markup.edges) == 16 + 4 + 4 + 3 + 4 + 6 + 6 + 12 + 8
        assert {part: len(members) for part, members in markup.parts.items()} == {
            "jaw": 17, "brows": 10, "right_brow": 5, "left_brow": 5, "nose": 9,
            "eyes": 12, "right_eye": 6, "left_eye": 6, "mouth": 20, "outer_lips": 12, "inner_lips": 8,
        }  # fmt: skip

    def test_faces21(self) -> None:
        markup = Markup.load("faces21")
        assert markup.mirror == (5, 4, 3, 2, 1, 0, 9, 8, 7, 6, 12, 11, 10, 13, 14, 15, 17, 16, 18, 20, 19)
        assert markup.eye_corners == (6, 9)
        assert markup.pupils == ((16,), (17,))

    @pytest.mark.parametrize(
        ("folder", "name", "partition"),
        [("faces68", "ibug68", "lfpw/train"), ("faces21", "faces21", "wild/train")],
    )
    def test_real_faces_agree(self, shared_data: Path, folder: str, name: str, partition: str) -> None:
        """In the mean face, each landmark's nearest neighbour in the mirrored mean face is its mirror partner."""
        markup = Markup.load(name)
        faces = np.stack(
            [
                read_pts(s.landmarks_path)
                for s in Index.read(shared_data / folder / "index.tsv").select([partition])
            ]
        )
        low, high = faces.min(axis=1, keepdims=True), faces.max(axis=1, keepdims=True)
        faces = (faces - (low + high) / 2) / (high - low)  # each in a box of side 1 around (0, 0)
        frontal = np.abs(faces[:, markup.index("nose_tip"), 0]) < 0.05
        mean = faces[frontal].mean(axis=0)
        mirrored = mean * (-1, 1)
        distances = np.linalg.norm(mean[:, None] - mirrored[None], axis=-1)
        assert distances.argmin(axis=1).tolist() == list(markup.mirror)
        assert distances[np.arange(markup.count), markup.mirror].max() < 0.05
        assert markup.eye_corners is not None
        assert markup.pupils is not None
        right, left = (mean[i, 0] for i in markup.eye_corners)
        right_centre, left_centre = (mean[list(group), 0].mean() for group in markup.pupils)
        # The subject's right is the photo's left; the centres of the eyes lie between their outer corners.
        assert right < right_centre < 0 < left_centre < left


class TestOwn:
    def test_a_small_file_is_a_mark_up(self, tmp_path: Path) -> None:
        assert load(tmp_path, OWN) == Markup(
            name="eyes3",
            source="made up for this example",
            points=("right_eye", "left_eye", "nose"),
            mirror=(1, 0, 2),
            parts={"eyes": (0, 1)},
            edges=((0, 2), (2, 1), (0, 1), (1, 2), (2, 0)),
            eye_corners=(0, 1),
            pupils=((0,), (1,)),
        )

    def test_points_by_number_and_backward_ranges(self, tmp_path: Path) -> None:
        text = 'name="n"\nsource="s"\npoints=["a","b","c","d","e"]\nmirror=[["0..1", "4..d"]]\nmiddle=["2"]'
        markup = load(tmp_path, text)
        assert markup.mirror == (4, 3, 2, 1, 0)
        assert (markup.parts, markup.edges, markup.eye_corners, markup.pupils) == ({}, (), None, None)

    def test_a_byte_order_mark_is_fine(self, tmp_path: Path) -> None:
        assert load(tmp_path, "\ufeff" + OWN).count == 3

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (change('middle = ["nose"]', ""), "mirror: nose (2): neither in a pair of mirror nor in middle"),
            (change('middle = ["nose"]', 'middle = ["nose", 0]'), "mirror: right_eye is given 2 times"),
            (change('[["right_eye", "left_eye"]]', "[[0, 1], [1, 0]]"), "mirror: right_eye is given 2 times"),
            (change('[["right_eye", "left_eye"]]', "[[0, 0]]"), "mirror: right_eye is given 2 times"),
            (change('[["right_eye", "left_eye"]]', "[0, 1]"), "mirror: 0 should be a pair such as [0, 16]"),
            (
                change('[["right_eye", "left_eye"]]', '[["0..1", 2]]'),
                "mirror: ['0..1', 2] pairs 2 points with 1",
            ),
            (change('["right_eye", "nose", "left_eye"]', "[0, 3]"), "lines: 3 is not a point: give a name, "),
            (
                change('["right_eye", "nose", "left_eye"]', "[-1, 0]"),
                "lines: -1 is not a point: give a name, ",
            ),
            (
                change('["right_eye", "nose", "left_eye"]', "[1.0, 0]"),
                "lines: 1.0 is not a point: give a name, ",
            ),
            (change('["right_eye", "nose", "left_eye"]', "[0]"), "lines: [0] has too few points"),
            (change('["right_eye", "nose", "left_eye"]', "[0, 0]"), "edges: right_eye given more than once"),
            (change('[["0..2"]]', "[[0, 1]]"), "closed: [0, 1] has too few points"),
            (change('["0..1"]', '["0..5"]'), "parts.eyes: '5' is not a point: give a name, "),
            (change('["0..1"]', "[true]"), "parts.eyes: True is not a point: give a name, "),
            (change('["0..1"]', "[0, 0]"), "parts.eyes: right_eye given more than once"),
            (change('["0..1"]', "[]"), "parts.eyes: has no points"),
            (change("eyes = [", '"my eyes" = ['), "parts: 'my eyes' should be letters, digits, _ and -"),
            (
                change("{ right = 0, left = 1 }", "{ right = 0 }"),
                "eye_corners: should be { right = ..., left",
            ),
            (
                change("{ right = 0, left = 1 }", "{ right = 0, left = 2 }"),
                "eye_corners: right_eye and nose are not",
            ),
            (
                change("{ right = 0, left = 1 }", '{ right = 0, left = "1..2" }'),
                "eye_corners: each side is one",
            ),
            (
                change("left = [1] }", "left = [1, 2] }"),
                "pupils: the right and the left eye's points are not",
            ),
            (change("left = [1] }", "left = [] }"), "pupils: each eye needs at least one point"),
            (change('"nose"]\nmirror', '"left_eye"]\nmirror'), "points: 'left_eye' names 2 points"),
            (
                change('"nose"]\nmirror', '"0..1"]\nmirror'),
                "points: '0..1' should be letters, digits, _ and -",
            ),
            (change('"nose"]\nmirror', "7]\nmirror"), "points: should be names in quotes, is "),
            (change('name = "eyes3"', 'name = "../x"'), "name: '../x' should be letters, digits, _ and -"),
            (change('name = "eyes3"', "name = 3"), "name: should be a text in quotes, is 3"),
            (change('name = "eyes3"', ""), "name: missing"),
            (change('source = "made up for this example"', 'source = " "'), "source: say in a few words"),
            (
                change("middle =", "centre ="),
                "centre: unknown key; known are name, source, points, mirror, middle",
            ),
            (change("lines =", "edges ="), "edges: unknown key; known are"),
        ],
    )
    def test_one_fault(self, tmp_path: Path, text: str, expected: str) -> None:
        found = problems(tmp_path, text)
        assert any(problem.startswith(expected) for problem in found), found

    def test_all_faults_are_told_at_once(self, tmp_path: Path) -> None:
        text = (
            OWN.replace('"eyes3"', '"9"')
            .replace("closed", "close")
            .replace('middle = ["nose"]', "middle = [7]")
            .replace("{ right = 0, left = 1 }", "{ right = 0 }")
            .replace('["0..1"]', "[]")
        )
        assert [problem.partition(":")[0] for problem in problems(tmp_path, text)] == [
            "close",
            "eye_corners",
            "middle",
            "name",
            "parts.eyes",
        ]

    def test_what_is_no_mark_up_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"own.toml: cannot read the mark-up: not TOML: .* \(at line 2"):
            load(tmp_path, "\nname = x\n")
        with pytest.raises(InputError, match="too deep inside each other"):
            load(tmp_path, "a = " + "[" * 5000)
        (tmp_path / "binary.toml").write_bytes(b"name = 1\n\xff\xfe\0")
        with pytest.raises(InputError, match=r"binary\.toml: cannot read the mark-up: line 2 is not UTF-8"):
            Markup.load(tmp_path / "binary.toml")
        for path in (tmp_path, tmp_path / "none.toml", "ibug86", "nul\0"):
            with pytest.raises(
                InputError, match=r"built-in names: aflw19, cofw29, faces21, ibug100, .*, wflw98$"
            ) as raised:
                Markup.load(path)
            assert repr(str(path)) in str(raised.value)

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_one_changed_character_is_a_mark_up_or_an_error(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        at = data.draw(st.integers(0, len(OWN) - 1))
        new = data.draw(st.sampled_from([*"[]{}=\"',.0129 \n-x", ""]))
        try:
            markup = load(tmp_path_factory.getbasetemp(), OWN[:at] + new + OWN[at + 1 :])
        except InputError:
            return
        assert [markup.mirror[j] for j in markup.mirror] == [0, 1, 2]


class TestValue:
    @pytest.mark.parametrize("name", BUILT_IN)
    def test_through_json_and_pickle(self, name: str) -> None:
        markup = Markup.load(name)
        again = Markup.from_dict(json.loads(json.dumps(markup.to_dict())))
        assert again == markup == pickle.loads(pickle.dumps(markup))
        assert hash(again) == hash(markup)

    def test_without_eyes(self) -> None:
        markup = Markup(name="two", source="made up", points=("a", "b"), mirror=(1, 0))
        assert Markup.from_dict(json.loads(json.dumps(markup.to_dict()))) == markup

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"mirror": (1, 2, 0)}, "mirror: right_eye becomes left_eye, which becomes nose"),
            ({"mirror": (1, 0)}, "mirror: covers 2 of the 3 points"),
            ({"mirror": (1, 0, 3)}, "mirror: 3 is not a point; points are numbered 0 to 2"),
            ({"mirror": (1, 0, True)}, "mirror: True is not a point"),
            ({"edges": ((0, -1),)}, "edges: -1 is not a point"),
            ({"points": (), "mirror": ()}, "points: there are none"),
        ],
    )
    def test_a_faulty_one_cannot_be_made(self, tmp_path: Path, changes: dict[str, object], says: str) -> None:
        with pytest.raises(InputError, match=re.escape(says)):
            replace(load(tmp_path, OWN), **changes)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "changes",
        [
            {"mirror": None},
            {"mirror": 3},
            {"points": [1, 2, 3]},
            {"points": [["a"], "b", "c"]},
            {"parts": []},
            {"edges": [[1, 2, 3]]},
            {"eye_corners": [0]},
            {"pupils": [[0]]},
            {"name": None},
            {"source": 3},
            {"more": 1},
        ],
    )
    def test_a_damaged_stored_one_is_refused(self, tmp_path: Path, changes: dict[str, object]) -> None:
        with pytest.raises(InputError):
            Markup.from_dict(load(tmp_path, OWN).to_dict() | changes)

    def test_an_unknown_point_is_told(self) -> None:
        with pytest.raises(InputError, match=r"faces21 has no point 'nose'; it has: right_brow_outer, "):
            Markup.load("faces21").index("nose")
