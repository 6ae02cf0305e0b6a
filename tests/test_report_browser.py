"""The report's viewer in a real browser: opened from a file, leafed through by keys, on phones and desktops."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from chromium import Page, open_page
from fanlight.judging.faces import FaceView
from fanlight.report import write_comparison, write_report
from test_report import KITE, judged, pair

EVIL = "</script><b>bold</b>.jpg"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    part = judged(leaf=15)
    part.faces.append(
        FaceView(
            "leaf",
            EVIL,
            np.full((32, 32, 3), 200, np.uint8),
            part.judged.predicted[0],
            part.judged.true[0],
            0.0,
        )
    )
    write_report(folder / "report.html", "A run", {"Input": "64 px"}, [part], KITE)
    write_comparison(
        folder / "compare.html", ("one", "two"), {"Input": ("64 px", "32 px")}, [pair()], KITE, True
    )
    return folder


def show(page: Page, path: Path) -> None:
    page.problems.clear()
    page.send("Page.navigate", url=path.as_uri())
    page.wait_for(f"location.pathname.endsWith('{path.name}') && document.querySelector('.stage image')")


def place(page: Page) -> str:
    return page.text(".place")


def test_faces_are_leafed_through_by_keys_and_buttons(page: Page, folder: Path) -> None:
    show(page, folder / "report.html")
    assert place(page) == "1 / 16"
    first = page.text(".title b")
    page.value("document.querySelector('.viewer').focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert place(page) == "3 / 16"
    assert page.text(".title b") != first
    page.key("ArrowLeft")
    assert place(page) == "2 / 16"
    page.press(".controls button")
    assert (place(page), page.text(".title b")) == ("1 / 16", first)
    page.key("ArrowLeft")
    assert place(page) == "1 / 16", "there is nothing before the first"
    page.value("document.querySelector('.strip button:nth-child(5)').click()")
    assert place(page) == "5 / 16"
    assert page.problems == []


def test_predictions_and_truth_are_shown_and_hidden(page: Page, folder: Path) -> None:
    show(page, folder / "report.html")

    def seen(name: str) -> bool:
        script = f"getComputedStyle(document.querySelector('.stage g.{name} circle')).visibility"
        return bool(page.value(script) == "visible")

    page.value("document.querySelector('.viewer').focus()")
    assert (seen("predicted"), seen("true")) == (True, True)
    page.key("p")
    assert (seen("predicted"), seen("true")) == (False, True)
    page.key("ArrowRight")
    assert (seen("predicted"), seen("true")) == (False, True), "the next face keeps the choice"
    page.press(".toggle.true")
    assert (seen("predicted"), seen("true")) == (False, False)
    page.key("p")
    assert (seen("predicted"), seen("true")) == (True, False)


def test_the_order_can_be_changed_and_names_stay_text(page: Page, folder: Path) -> None:
    show(page, folder / "report.html")
    page.value(
        "{ const order = document.querySelector('select'); order.value = 'best';"
        "order.dispatchEvent(new Event('change')) }"
    )
    assert page.text(".title b") == EVIL
    assert page.value("document.querySelectorAll('.title b b').length") == 0
    assert "0.00 % error" in page.text(".title span")


def test_a_script_that_slipped_into_a_page_is_not_run(page: Page, folder: Path) -> None:
    """Were a name not escaped, the browser would still refuse: the page's policy names its own script alone."""
    source = (folder / "report.html").read_text(encoding="utf-8")
    evil = (
        "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
        "<iframe srcdoc=\"<script>parent.document.title = 'run'</script>\"></iframe>"
        "<svg onload=\"document.title = 'run'\"></svg><link rel=stylesheet href=evil.css>"
    )
    (folder / "slipped.html").write_text(source.replace("<main>", f"<main>{evil}"), encoding="utf-8")
    show(page, folder / "slipped.html")
    page.press(".controls button:nth-child(2)")
    assert place(page) == "2 / 16", "the page's own script runs"
    page.value("new Promise(done => setTimeout(done, 300))")
    assert page.value("document.title") == "A run"
    refused = [problem for problem in page.problems if "Content Security Policy" in problem]
    assert all(any(name in problem for problem in refused) for name in ("/x'", "evil.css'", "inline")), (
        refused
    )


@pytest.mark.parametrize("name", ["report.html", "compare.html"])
@pytest.mark.parametrize(("width", "phone"), [(390, True), (1280, False)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_and_text_can_be_read(
    name: str, width: int, phone: bool, scheme: str, page: Page, folder: Path
) -> None:
    page.resize(width, 844, phone)
    page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    show(page, folder / name)
    assert page.value("document.documentElement.scrollWidth") <= width
    colours = page.value(
        "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name])"
        ".map(colour => colour.match(/\\d+/g).slice(0, 3).map(Number))"
    )
    ink, paper = (sum(colour) / 3 for colour in colours)
    assert (paper < 60 and ink > 180) if scheme == "dark" else (paper > 200 and ink < 80)
    asked = page.value(
        "performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
    )
    assert asked == 0
    assert page.problems == []


def test_two_models_stand_side_by_side(page: Page, folder: Path) -> None:
    page.resize(1280, 844)
    show(page, folder / "compare.html")
    assert page.value("[...document.querySelectorAll('.stage figcaption')].map(e => e.textContent)") == [
        "A",
        "B",
    ]
    tops = page.value(
        "[...document.querySelectorAll('.stage figure')].map(e => e.getBoundingClientRect().top)"
    )
    assert tops[0] == tops[1]
    assert "is better" in page.text(".title span")
