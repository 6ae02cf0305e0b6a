"""The report is one file that says everything, asks for nothing, and takes no orders from file names."""

from __future__ import annotations

import base64
import dataclasses
import doctest
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

import fanlight.report
from fanlight.errors import InputError
from fanlight.evaluate import FaceView, PartitionResult
from fanlight.markup import Markup
from fanlight.metric import SUMMARY_KEYS, Metric, face_errors, normalise, point_errors, summarise
from fanlight.report import write_report

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
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def judged(name: str = "wild/val", markup: Markup = KITE, seed: int = 0) -> PartitionResult:
    generator = np.random.default_rng(seed)
    true = np.array([[4.0, 16], [16, 8], [28, 16], [16, 28]]) + generator.normal(size=(20, 1, 2))
    predicted = true + generator.normal(size=true.shape)
    errors = face_errors(point_errors(predicted, true, normalise(true, markup)))
    order = np.argsort(errors)
    image = np.full((32, 32, 3), 120, np.uint8)
    chosen = [
        *(("best", i) for i in order[:2]),
        ("median", order[10]),
        *(("worst", i) for i in order[:-4:-1]),
    ]
    faces = [FaceView(g, f"face_{i}.jpg", image, predicted[i], true[i], errors[i]) for g, i in chosen]
    return PartitionResult(name, summarise(predicted, true, markup, bootstrap=20), None, errors, faces)


def test_the_page_needs_nothing_beside_it(tmp_path):
    path = write_report(tmp_path / "new" / "report.html", "A run", {"Input": "64 px"}, [judged()], KITE)
    assert path == tmp_path / "new" / "report.html"
    page = Page(path)
    links = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("src", "href", "xlink:href")
        if name in attributes
    ]
    assert links
    assert all(link and link.startswith(("data:image/jpeg;base64,", "#")) for link in links)
    assert not page.all("script")
    assert not page.all("link")
    assert "@import" not in page.source
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    addresses = set(re.findall(r"https?://[^\s\"'<]*", page.source))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, (
        "names of XML, never fetched"
    )


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


def test_faces_are_shown_in_their_groups(tmp_path):
    part = judged()
    page = Page(write_report(tmp_path / "r.html", "A run", {}, [part], KITE))
    images = page.all("img")
    assert len(images) == 6
    assert re.findall(r"<h3>(.*?)</h3>", page.source) == ["Best", "Around the median", "Worst"]
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
    assert len(page.all("table")) == 1


def test_several_partitions_share_the_tables_and_the_plot(tmp_path):
    parts = [judged("a/val"), judged("b/val", seed=2)]
    page = Page(write_report(tmp_path / "r.html", "A run", {}, parts, KITE))
    assert len(page.all("svg")) == 1
    assert [h for h in re.findall(r"<h2>(.*?)</h2>", page.source) if "/" in h] == ["a/val", "b/val"] * 2
    rows = re.findall(r'scope="row">(\w/val)<', page.source)
    assert rows == ["a/val", "b/val"] * 2


def test_nothing_judged_is_refused(tmp_path):
    with pytest.raises(InputError, match="at least one judged partition"):
        write_report(tmp_path / "r.html", "A run", {}, [], KITE)


def test_docstring_examples():
    assert doctest.testmod(fanlight.report).failed == 0
