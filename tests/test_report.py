"""The report is one file that says everything, asks for nothing, and takes no orders from file names."""

from __future__ import annotations

import base64
import dataclasses
import doctest
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import fanlight.report.figures
from fanlight.errors import InputError
from fanlight.judging.compare import ComparedPartition, PairView
from fanlight.judging.faces import FaceView, JudgedFaces, PartitionResult
from fanlight.judging.sweep import BoxChange
from fanlight.markup import Markup
from fanlight.metric import SUMMARY_KEYS, Metric, compare, face_errors, normalise, point_errors, summarise
from fanlight.report import write_comparison, write_report

KITE = Markup(
    name="kite",
    source="four points for these tests",
    points=("right", "top", "left", "bottom"),
    mirror=(2, 1, 0, 3),
    parts={"both_sides": (0, 2), "middle": (1, 3)},
    edges=((0, 1), (1, 2)),
    eye_corners=(0, 2),
)
EVIL = "<img src=x onerror=alert(1)>&\"'.jpg"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects tags with attributes and the text, and checks that every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == [], "tags left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def faces(seed: int = 0) -> JudgedFaces:
    generator = np.random.default_rng(seed)
    true = np.array([[4.0, 16], [16, 8], [28, 16], [16, 28]]) + generator.normal(size=(20, 1, 2))
    noise = generator.gamma(2, 0.5, (20, 1, 1))
    return JudgedFaces(
        predicted=true + noise * generator.normal(size=true.shape),
        true=true,
        scores=np.exp(-noise[..., 0]) + generator.normal(0, 0.05, (20, 4)),
        covariances=np.eye(2) * (noise[..., None] + 1) * np.ones((20, 4, 1, 1)),
        weights=np.ones(20),
        boxes=np.array([[0.0, 0, 30, 30]]) * generator.uniform(1, 8, (20, 1)),
        subsets=["wild"] * 12 + ["tame"] * 8,
        captions=[f"face_{i}.jpg" for i in range(20)],
    )


def judged(name: str = "wild/val", markup: Markup = KITE, seed: int = 0, leaf: int = 0) -> PartitionResult:
    found = faces(seed)
    predicted, true = found.predicted, found.true
    errors = face_errors(point_errors(predicted, true, normalise(true, markup)))
    order = np.argsort(errors)
    image = np.full((32, 32, 3), 120, np.uint8)
    chosen = [
        *(("best", i) for i in order[:2]),
        ("median", order[10]),
        *(("worst", i) for i in order[:-4:-1]),
        *(("leaf", i) for i in order[::-1][:leaf]),
    ]
    views = [
        FaceView(g, f"face_{i}.jpg", image, predicted[i], true[i], errors[i], found.scores[i].mean())
        for g, i in chosen
    ]
    summary = summarise(predicted, true, markup, bootstrap=20)
    return PartitionResult(name, summary, None, errors, found, views)


def test_the_page_needs_nothing_beside_it(tmp_path):
    part, changes = (
        judged(leaf=5),
        [BoxChange(), BoxChange(right=0.1), BoxChange(down=0.1), BoxChange(scale=2)],
    )
    swept = {part.name: [(change, {"n": 20, "nme_box": part.summary["nme_box"]}) for change in changes]}
    path = write_report(tmp_path / "new" / "report.html", "A run", {"Input": "64 px"}, [part], KITE, swept)
    assert path == tmp_path / "new" / "report.html"
    compared = write_comparison(tmp_path / "c.html", ("a", "b"), {}, [pair()], KITE, True)
    for page in (Page(path), Page(compared)):
        check_self_contained(page)


def check_self_contained(page: Page) -> None:
    links = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href", "xlink:href")
        if name in attributes
    ]
    assert all(link and link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert all("src" not in script for script in page.all("script"))
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(", page.source)
    assert not page.all("link")
    (policy,) = (tag["content"] for tag in page.all("meta") if tag.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "@import" not in page.source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    addresses = set(re.findall(r"https?://[^\s\"'<]*", page.source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, (
        "names of XML, never fetched"
    )


def pair(name: str = "wild/val", caption: str = "face.jpg") -> ComparedPartition:
    a, b = faces(0), faces(1)
    lengths = normalise(a.true, KITE)
    better = a.true + (b.predicted - b.true) * 0.5
    errors = [face_errors(point_errors(p, a.true, lengths)) for p in (a.predicted, better)]
    found = compare(a.predicted, better, a.true, KITE, bootstrap=50)
    view = PairView(
        caption,
        np.full((32, 32, 3), 120, np.uint8),
        a.predicted[0],
        better[0],
        a.true[0],
        errors[0][0],
        errors[1][0],
    )
    groups = [("size", "px", [("small", found), ("large", found)])]
    return ComparedPartition(name, found, errors[0], errors[1], groups, [view])


def test_every_number_is_printed_with_its_interval_and_definition(tmp_path):
    part = judged()
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    text = " ".join(page.text.split())
    for key in SUMMARY_KEYS:
        digits = 2 if key.startswith("nme") else 1
        value, low, high = (
            f"{100 * part.summary[key][name]:.{digits}f}" for name in ("value", "low", "high")
        )
        assert f"{value} {low} – {high}" in text
        assert Metric.parse(key).definition in text
        assert key in text
    middle = part.summary["parts"]["middle"]["nme_box"]["value"]
    assert f"{100 * middle:.2f}" in text
    assert "both sides" in text
    assert "20 faces" in text


def test_mirroring_is_said_and_both_ways_are_shown(tmp_path):
    def ways(part: PartitionResult) -> list[str]:
        source = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE)).source
        return re.findall(r'data-label="Mirroring">(\w+)<', source)

    part = judged()
    other = judged(seed=1).summary
    assert ways(part) == ["on"] * 2, "one row in the box table, one in the interocular table"
    assert ways(dataclasses.replace(part, flip=False)) == ["off"] * 2
    assert ways(dataclasses.replace(part, summary_other_flip=other)) == ["on", "off"] * 2
    assert f"<b>{100 * other['nme_box']['value']:.2f}</b>" in (tmp_path / "r.html").read_text(
        encoding="utf-8"
    )


def test_names_from_outside_stay_text(tmp_path):
    part = judged(EVIL)
    part = dataclasses.replace(part, faces=[dataclasses.replace(part.faces[0], caption=EVIL)])
    page = Page(write_report(tmp_path / "r.html", EVIL, {EVIL: EVIL}, [part], KITE))
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert len(page.all("img")) == 1
    assert page.text.count(EVIL) >= 6, "title, heading, fact and its name, partition, curve, caption"


def test_names_from_outside_stay_text_in_the_viewer_and_the_comparison(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>.jpg"
    part = judged(leaf=1)
    part = dataclasses.replace(part, faces=[dataclasses.replace(part.faces[-1], caption=evil)])
    for path in (
        write_report(tmp_path / "r.html", "A run", {}, [part], KITE),
        write_comparison(
            tmp_path / "c.html", (evil, evil), {evil: (evil, evil)}, [pair(evil, evil)], KITE, True
        ),
    ):
        page = Page(path)
        assert all("onerror" not in attributes for _, attributes in page.tags)
        assert [viewer["faces"][0]["title"] for viewer in viewers(page)] == [evil]


def viewers(page: Page) -> list[dict[str, Any]]:
    return [
        json.loads(found)
        for found in re.findall(r'<script type="application/json">(.*?)</script>', page.source)
    ]


def test_faces_are_shown_in_their_groups(tmp_path):
    part = judged()
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    images = page.all("img")
    assert len(images) == 6
    assert re.findall(r"<h3>(.*?)</h3>", page.source)[-3:] == ["Best", "Around the median", "Worst"]
    captions = re.findall(r"<figcaption><b>([\d.]+)&#8239;%</b> <span>(.*?)</span>", page.source)
    assert captions == [(f"{100 * face.error:.2f}", face.caption) for face in part.faces]
    for attributes in images:
        data = base64.b64decode((attributes["src"] or "").partition(",")[2])
        assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[2] == 3
        assert attributes["alt"]


def test_a_markup_without_eyes_or_parts(tmp_path):
    bare = dataclasses.replace(KITE, eye_corners=None, parts={}, edges=())
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [judged(markup=bare)], bare))
    assert "interocular" not in page.text
    assert "Parts of the face" not in page.text


def test_several_partitions_share_the_tables_and_the_plot(tmp_path):
    parts = [judged("a/val"), judged("b/val", seed=2)]
    page = Page(write_report(tmp_path / "r.html", "A run", {}, parts, KITE))
    assert [h for h in re.findall(r"<h2>(.*?)</h2>", page.source) if "/" in h] == ["a/val", "b/val"] * 2
    assert page.text.count("a/val, 20 faces") == 1
    rows = re.findall(r'scope="row">(\w/val)<', page.source)
    assert rows == ["a/val", "b/val"] * 2


def test_nothing_judged_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one judged partition"):
        write_report(tmp_path / "r.html", "A run", {}, [], KITE)


def test_groups_scores_and_landmarks_are_shown(tmp_path):
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [judged()], KITE))
    captions = re.findall(r"<caption><b>(.*?)</b>", page.source)
    assert captions == ["Size of the face", "Subset"]
    assert "No figures by pose: 0 points of the mark-up kite bear a name" in page.text
    assert re.search(r"Score \(height of the heatmap's peak\)\s+tells good faces from bad ones", page.text)
    names = re.findall(r"<title>(\d \w+): [\d.]+ %</title>", page.source)
    assert sorted(names) == ["0 right", "1 top", "2 left", "3 bottom"]


def test_the_sweep_is_a_table_and_two_plots(tmp_path):
    part = judged()
    error = part.summary["nme_box"]
    worse = {name: 2 * value for name, value in error.items()}
    rows = [
        (BoxChange(), {"n": 20, "nme_box": error}),
        (BoxChange(right=-0.2), {"n": 20, "nme_box": worse}),
        (BoxChange(scale=1.25), {"n": 20, "nme_box": error}),
    ]
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE, {part.name: rows}))
    text = " ".join(page.text.split())
    assert f"20 % left {100 * worse['value']:.2f}" in text
    assert f"+{100 * error['value']:.2f}" in text, "the change"
    assert "25 % larger" in text
    assert len(page.all("svg")) == 5, "curves, shape, two of the sweep, score"
    without = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    assert len(without.all("svg")) == 3


def test_the_viewer_holds_each_face_small(tmp_path):
    part = judged(leaf=7)
    large = [dataclasses.replace(face, image=np.full((640, 640, 3), 90, np.uint8)) for face in part.faces]
    part = dataclasses.replace(part, faces=large)
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    assert "The worst 7 of 20 faces" in page.text
    (viewer,) = viewers(page)
    errors = [face["error"] for face in viewer["faces"]]
    assert errors == sorted(part.errors_box)[:-8:-1]
    face, shown = viewer["faces"][0], next(view for view in part.faces if view.group == "leaf")
    data = base64.b64decode(face["image"].partition(",")[2])
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (192, 192, 3)
    assert face["side"] == 192
    np.testing.assert_allclose(face["sets"][1], shown.predicted.ravel() * 192 / 640, atol=0.051)
    assert page.source.count('"use strict"') == 1
    assert '"use strict"' not in Page(write_report(tmp_path / "r.html", "A run", {}, [judged()], KITE)).source


def test_a_comparison_says_who_is_better_and_what_the_sign_means(tmp_path):
    part = pair()
    page = Page(
        write_comparison(
            tmp_path / "c.html", ("one", "two"), {"Input": ("64 px", "128 px")}, [part], KITE, False
        )
    )
    text = " ".join(page.text.split())
    found = part.comparison["metrics"]["nme_box"]
    assert found["difference"]["high"] < 0, "B is better by construction"
    low, high = (f"−{abs(100 * found['difference'][name]):.2f}" for name in ("low", "high"))
    assert f"{low} to {high}" in text
    assert "B is better: AUC@0.07 box is" in text
    assert "A difference is B minus A" in text
    assert "without mirrored predictions" in text
    assert {"64 px", "128 px"} <= set(re.findall(r"\d+ px", text))
    (viewer,) = viewers(page)
    assert viewer["panes"] == [["A", [0, 1]], ["B", [0, 2]]]
    with pytest.raises(InputError, match="at least one compared partition"):
        write_comparison(tmp_path / "c.html", ("one", "two"), {}, [], KITE, False)


def test_a_difference_that_may_be_chance_is_called_so(tmp_path):
    part = pair()
    same = compare(*[faces().predicted] * 2, faces().true, KITE, bootstrap=20)
    part = dataclasses.replace(part, comparison=same)
    page = Page(write_comparison(tmp_path / "c.html", ("one", "two"), {}, [part], KITE, True))
    assert "No clear difference: AUC@0.07 box is" in " ".join(page.text.split())
    assert page.text.count("no clear difference") == len(SUMMARY_KEYS)


def test_docstring_examples():
    result = doctest.testmod(fanlight.report.figures)
    assert result.attempted
    assert result.failed == 0


def test_groups_of_few_faces_go_without_intervals_and_verdicts(tmp_path):
    part = judged()
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    rows = re.findall(
        r'(\w+)<i class="bar".*?data-label="Faces">(\d+)</td>(.*?)</tr>', page.source, re.DOTALL
    )
    shown = {name: (int(n), "few faces" in rest) for name, n, rest in rows if name in ("wild", "tame")}
    assert shown == {"wild": (12, False), "tame": (8, True)}
    compared = pair()
    small = {**compared.comparison, "n": 9}
    groups = [("size", "px", [("small", small), ("large", compared.comparison)])]
    compared = dataclasses.replace(compared, groups=groups)
    page = Page(write_comparison(tmp_path / "c.html", ("one", "two"), {}, [compared], KITE, True))
    rows = dict(re.findall(r'scope="row">(small|large)</th>(.*?)</tr>', page.source, re.DOTALL))
    assert ("few faces" in rows["small"], "is better" in rows["small"]) == (True, False)
    assert ("few faces" in rows["large"], "is better" in rows["large"]) == (False, True)
