"""The page in a real browser: what a person does with it, from a dropped photo to a saved file."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from chromium import Page, find_chromium, open_page, wait_until
from dot_server import SHIFT_PX
from fanlight.data.pts import read_pts, write_pts
from fanlight.image import read_image, write_image
from painted import PLACES, paint

MIDDLE = [200.0, 400.0]
CTRL, SHIFT = 2, 8
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
WORK, FACE = "fanlight.work", "fanlight.work.photo.face"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def browser(folder: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Page, str]]:
    find_chromium()  # a skip comes before a server
    address, _ = request.getfixturevalue("dot_site")
    with open_page(folder / "browser", CAMERA) as page:
        yield page, address


@pytest.fixture
def page(browser: tuple[Page, str]) -> Iterator[Page]:
    page, address = browser
    page.resize(1280, 800)
    page.problems.clear()
    page.open(address)
    page.value("localStorage.clear()")
    yield page
    assert page.problems == []


def photo(folder: Path, name: str, blind: bool = False) -> tuple[Path, NDArray[np.float64]]:
    """A photo of dots, and where they are; ``blind``: the detector will not find them."""
    places = PLACES * 120 + [40, 30]
    image = paint(places, 180, 200, 4.0)
    if blind:
        image[:2, :2] = 255
    write_image(folder / name, image)
    return folder / name, places


def drop(page: Page, *files: Path) -> None:
    page.drop(list(files), MIDDLE)


def opened(page: Page, count: int = 1) -> None:
    """Wait until the photo on the screen has so many faces, and nothing is under way."""
    page.wait_for(f"{WORK}.photos.every(p => ['ready', 'bad'].includes(p.state) && !p.asking)")
    page.wait_for(f"{WORK}.photo.bitmap && {WORK}.photo.faces.length === {count}")


def landmarks(page: Page) -> NDArray[np.float64]:
    return np.array(page.value(f"{FACE}.landmarks"))


def on_screen(page: Page, point: NDArray[np.float64] | list[float]) -> list[float]:
    """Where a point of the photo is in the window."""
    script = f"""(() => {{
        const {{ left, top }} = document.getElementById("stage").getBoundingClientRect();
        const [x, y] = fanlight.stage.view.toScreen({json.dumps(np.asarray(point).tolist())});
        return [left + x, top + y];
    }})()"""
    return list(page.value(script))


def saved(browser: tuple[Page, str], folder: Path, name: str) -> NDArray[np.float64]:
    path = folder / "browser" / "downloads" / name
    wait_until(path.exists, name)
    return read_pts(path)


def test_from_a_photo_to_a_corrected_file(page: Page, browser: tuple[Page, str], folder: Path) -> None:
    file, true = photo(folder, "face.png")
    assert "Drop photos here" in page.text("#empty")
    drop(page, file)
    opened(page)
    found = landmarks(page)
    assert np.abs(found - true).max() < 0.5
    assert page.text("#status") == "face.png: 1 face"

    target = found[2] + [20, -10]
    page.drag(on_screen(page, found[2]), on_screen(page, target))
    moved = landmarks(page)
    assert np.abs(moved[2] - target).max() < 0.05
    assert np.array_equal(np.delete(moved, 2, 0), np.delete(found, 2, 0))
    assert page.text("#point-name").startswith("2 nose")
    assert "1 of 5, not saved" in page.text("#facts")

    page.key("z", CTRL)
    assert np.array_equal(landmarks(page), found)
    page.key("z", CTRL | SHIFT)
    assert np.array_equal(landmarks(page), moved)

    page.key("n")  # on to the mouth's corner
    for key, modifiers in (("ArrowRight", 0), ("ArrowRight", 0), ("ArrowUp", 0), ("ArrowDown", SHIFT)):
        page.key(key, modifiers)
    nudged = landmarks(page)
    assert nudged[3] - moved[3] == pytest.approx([2.0, -0.9])
    page.key("s", CTRL)
    assert np.abs(saved(browser, folder, "face.pts") - nudged).max() <= 0.0005
    assert page.text("#status") == "Saved face.pts"
    assert "2 of 5, saved" in page.text("#facts")


def test_unsaved_corrections_outlive_a_reload(page: Page, browser: tuple[Page, str], folder: Path) -> None:
    file, _ = photo(folder, "kept.png")
    drop(page, file)
    opened(page)
    page.key("n")
    page.key("ArrowLeft")
    corrected = landmarks(page)
    page.dialogs.clear()
    page.open(browser[1])
    assert page.dialogs == ["beforeunload"]  # it asks before it leaves
    drop(page, file)
    opened(page)
    assert "are back" in page.text("#status")
    assert np.array_equal(landmarks(page), corrected)
    page.press("#undo")
    assert landmarks(page)[0] - corrected[0] == pytest.approx([1, 0])


def test_a_corrected_point_has_no_score_of_the_network(page: Page, folder: Path) -> None:
    drop(page, photo(folder, "scored.png")[0])
    opened(page)
    page.key("n")
    assert ", score 0." in page.text("#point-name") or ", score 1." in page.text("#point-name")
    page.key("ArrowLeft")
    assert page.text("#point-name").startswith("0 right_eye")
    assert "score" not in page.text("#point-name")


def test_photos_that_are_left_at_once_do_not_stay_in_memory(page: Page, folder: Path) -> None:
    drop(page, *(photo(folder, f"quick {i}.png")[0] for i in range(3)))
    page.wait_for(f"{WORK}.photos.length === 3 && {WORK}.photos.every(p => p.state === 'ready')")
    page.value(f"Promise.all([2, 1, 2, 1, 0].map(i => {WORK}.show({WORK}.photos[i])))")
    assert page.value(f"{WORK}.photos.map(p => Boolean(p.bitmap))") == [True, False, False]


def test_a_box_where_the_detector_sees_nothing(page: Page, folder: Path) -> None:
    file, true = photo(folder, "blind.png", blind=True)
    drop(page, file)
    opened(page, 0)
    assert "draw a box" in page.text("#status")
    page.press("#box")
    page.drag(on_screen(page, [40, 30]), on_screen(page, [160, 150]))
    opened(page)
    assert np.abs(landmarks(page) - true).max() < 0.5
    assert page.value(f"{FACE}.box") == pytest.approx([40, 30, 160, 150], abs=0.05)
    page.drag(on_screen(page, [160, 150]), on_screen(page, [170, 156]))  # the box's corner
    page.wait_for(f"{FACE}.box[2] > 165 && !{WORK}.photo.asking")
    assert page.value(f"{FACE}.box") == pytest.approx([40, 30, 170, 156], abs=0.05)
    assert page.value(f"{WORK}.photo.dirty")  # a box is work, too: it outlives a reload
    assert np.abs(landmarks(page) - true).max() < 0.5
    page.press("#whole")
    opened(page, 2)
    assert page.value(f"{FACE}.box") == [0, 0, 200, 180]
    page.press("#drop")
    opened(page, 1)


def test_a_photo_that_the_camera_held_upright(page: Page, folder: Path) -> None:
    """The browser and the server both turn it as its EXIF orientation says."""
    places = PLACES * 120 + [40, 30]
    lying = np.rot90(paint(places, 180, 220, 4.0))
    data = bytes(cv2.imencode(".jpg", lying[..., ::-1])[1])
    exif = b"Exif\0\0MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    marker = b"\xff\xe1" + struct.pack(">H", len(exif) + 2)
    (folder / "upright.jpg").write_bytes(data[:2] + marker + exif + data[2:])
    drop(page, folder / "upright.jpg")
    opened(page)
    assert page.value(f"[{WORK}.photo.width, {WORK}.photo.height]") == [220, 180]
    assert np.abs(landmarks(page) - places).max() < 0.5
    assert min(brightness(page)) > 200


def turned(photo: Path, orientation: int) -> bytes:
    """A PNG or WebP file with an EXIF note."""
    tiff = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)
    data = photo.read_bytes()
    if photo.suffix == ".png":
        check = struct.pack(">I", zlib.crc32(b"eXIf" + tiff))
        return data[:33] + struct.pack(">I", len(tiff)) + b"eXIf" + tiff + check + data[33:]
    height, width = read_image(photo).shape[:2]
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    extended = b"VP8X" + struct.pack("<I", 10) + bytes([8, 0, 0, 0]) + sides
    body = b"WEBP" + extended + data[12:] + b"EXIF" + struct.pack("<I", len(tiff)) + tiff
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize("kind", ["webp", "png", "tiff"])
def test_photos_that_browsers_turn_another_way(page: Page, folder: Path, kind: str) -> None:
    """Their EXIF note says upside down: width and height do not tell."""
    places = PLACES * 120 + [40, 30]
    file = folder / f"upside down.{kind}"
    write_image(file, np.ascontiguousarray(np.rot90(paint(places, 180, 200, 4.0), 2)), quality=100)
    if kind == "tiff":
        tiff = Image.Exif()
        tiff[274] = 3
        Image.fromarray(read_image(file)).save(file, exif=tiff)
    else:
        file.write_bytes(turned(file, 3))
    assert np.abs(read_image(file).max(2)[tuple(np.rint(places - 0.5).astype(int).T[::-1])].min()) > 200
    drop(page, file)
    opened(page)
    assert np.abs(landmarks(page) - places).max() < 0.5
    assert min(brightness(page)) > 200


def brightness(page: Page) -> list[int]:
    """What the page's own picture of a photo has under each landmark, 255 on a dot."""
    return list(
        page.value(f"""(() => {{
            const {{ bitmap }} = {WORK}.photo;
            const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
            context.drawImage(bitmap, 0, 0);
            const at = ([x, y]) => Math.max(...context.getImageData(x, y, 1, 1).data.slice(0, 3));
            return {FACE}.landmarks.map(at);
        }})()""")
    )


def test_a_landmark_file_to_correct(page: Page, folder: Path) -> None:
    file, true = photo(folder, "labelled.png")
    write_pts(folder / "labelled.pts", true + 4)
    drop(page, file, folder / "labelled.pts")
    page.wait_for("document.getElementById('status').innerText === 'labelled.pts: 5 points'")
    assert landmarks(page) == pytest.approx(true + 4)
    (folder / "labelled.pts").write_text("version: 1\nn_points: 2\n{\n1 2\n}\n")
    drop(page, folder / "labelled.pts")
    page.wait_for("document.querySelector('#status.bad')")
    assert "announces n_points: 2 and holds 1" in page.text("#status")
    forgive(page, 1)
    assert landmarks(page) == pytest.approx(true + 4)


def test_two_models_side_by_side(page: Page, folder: Path) -> None:
    drop(page, photo(folder, "two.png")[0])
    opened(page)
    page.value(
        "(s => { s.value = 'shifted'; s.dispatchEvent(new Event('change')) })(document.getElementById('other'))"
    )
    page.wait_for("document.querySelector('#compare-table tbody tr')")
    rows = page.value(
        "[...document.querySelectorAll('#compare-table tbody tr')].map(r => r.innerText.split(/\\s+/))"
    )
    assert [row[1] for row in rows] == ["right_eye", "left_eye", "nose", "right_mouth", "left_mouth"]
    assert [[float(word) for word in row[2:]] for row in rows] == [[SHIFT_PX, SHIFT_PX, 0.0]] * 5
    assert f"{SHIFT_PX:.2f} px" in page.text("#compare-facts")
    page.press("#split")
    assert blue(page, folder, "#stage-other") > 50
    assert blue(page, folder, "#stage") == 0


def blue(page: Page, folder: Path, selector: str) -> int:
    """How many pixels of an element have the second model's colour."""
    rectangle = f"""(() => {{
        const r = document.querySelector('{selector}').getBoundingClientRect();
        return [r.left, r.top, r.right, r.bottom];
    }})()"""
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    left, top, right, bottom = (round(value) for value in page.value(rectangle))
    page.shoot(folder / "shot.png")
    shown = read_image(folder / "shot.png")[top : bottom - 40, left:right].astype(int)
    return int((np.abs(shown - (86, 156, 255)).max(2) < 12).sum())


def test_heatmaps_and_what_is_shown(page: Page, folder: Path) -> None:
    drop(page, photo(folder, "heat.png")[0])
    opened(page)
    page.wait_for("document.getElementById('heat-note').innerText.includes('64 x 64 cells out')")
    place = page.value(
        "(r => [r.left + r.width / 2, r.top])(document.getElementById('crop').getBoundingClientRect())"
    )
    size = page.value("document.getElementById('crop').clientWidth")
    scale = size / page.value(f"{FACE}.square[2]")
    x, y = (np.array(landmarks(page)[1]) - page.value(f"{FACE}.square.slice(0, 2)")) * scale
    page.drag([place[0] + x, place[1] + size / 2 + y], [place[0] + x, place[1] + size / 2 + y])
    page.wait_for("document.getElementById('heat-note').innerText.includes('Shown: left_eye')")
    assert page.text("#point-name").startswith("1 left_eye")

    visible = "[...fanlight.scene().visible].sort()"
    assert page.value(visible) == [0, 1, 2, 3, 4]
    page.value("document.querySelector('#parts button').click()")
    assert page.text("#parts button") == "eyes"
    assert page.value("document.querySelector('#parts button').ariaPressed") == "false"
    assert page.value(visible) == [2, 3, 4]
    page.value("fanlight.work.info.models.find(({ name }) => name === 'shifted').markup.name = 'another'")
    page.value(
        "(s => { s.value = 'shifted'; s.dispatchEvent(new Event('change')) })(document.getElementById('model'))"
    )
    page.wait_for(f"{FACE}.model === 'shifted'")
    assert page.value(visible) == [0, 1, 2, 3, 4]  # what was hidden were points of the other mark-up
    page.key("#")
    assert page.value("document.querySelector('[data-show=numbers]').ariaPressed") == "true"


def forgive(page: Page, count: int) -> None:
    """Take the browser's notes of so many refusals from its list of problems."""
    notes = [problem for problem in page.problems if "status of 4" in problem]
    assert len(notes) == count
    page.problems[:] = [problem for problem in page.problems if problem not in notes]


def test_uploads_that_are_refused(page: Page, folder: Path) -> None:
    file, _ = photo(folder, "good.png")
    (folder / "notes.jpg").write_text("these are notes")
    (folder / "half.png").write_bytes(file.read_bytes()[:200])
    drop(page, folder / "notes.jpg", folder / "half.png", file)
    page.wait_for("document.querySelectorAll('#film li').length === 3")
    page.wait_for(f"{WORK}.photos[2].state === 'ready'")
    assert "notes.jpg: not an image in JPEG" in page.text("#status.bad")
    page.press("#film li:nth-child(2) button")
    page.wait_for("document.getElementById('status').innerText.includes('half.png: the PNG file is cut off')")
    page.press("#film li:nth-child(3) button")
    opened(page)
    assert page.text("#status") == ""
    forgive(page, 2)


def test_the_camera(page: Page) -> None:
    page.press("#camera-on-2")
    page.wait_for("/frames.s/.test(document.getElementById('rate').innerText)")
    page.press("#capture")
    page.wait_for(f"{WORK}.photo?.state === 'ready'")
    assert page.value(f"{WORK}.photo.name").startswith("camera ")
    assert page.value("document.getElementById('live').hidden")
    assert page.value(f"{WORK}.photo.width") == 640


def watch_camera(page: Page) -> None:
    """Keep all streams that the page opens, to see what becomes of them."""
    page.value("""(() => {
        globalThis.streams = [];
        const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
        navigator.mediaDevices.getUserMedia = async (wish) => {
            const stream = await open(wish);
            streams.push(stream);
            return stream;
        };
    })()""")


LIVE = "streams.flatMap(stream => stream.getTracks()).filter(track => track.readyState === 'live').length"


def test_a_camera_that_is_asked_for_twice_stops_at_once(page: Page) -> None:
    watch_camera(page)
    page.value("(b => { b.click(); b.click() })(document.getElementById('camera-on'))")
    page.wait_for("/frames.s/.test(document.getElementById('rate').innerText)")
    assert page.value("streams.length") == 1
    assert page.text("#status") == ""
    page.press("#camera-off")
    assert page.value(LIVE) == 0


def test_a_camera_that_cannot_be_played_is_given_back(page: Page) -> None:
    watch_camera(page)
    page.value("""(() => {
        const play = HTMLVideoElement.prototype.play;
        HTMLVideoElement.prototype.play = function () {
            HTMLVideoElement.prototype.play = play;
            return Promise.reject(new DOMException("interrupted", "AbortError"));
        };
    })()""")
    page.press("#camera-on-2")
    page.wait_for("document.querySelector('#status.bad')")
    assert "picture cannot be played" in page.text("#status")
    assert page.value(f"[streams.length, {LIVE}]") == [1, 0]
    page.press("#camera-on-2")  # and it can be tried again
    page.wait_for("/frames.s/.test(document.getElementById('rate').innerText)")
    page.press("#camera-off")
    assert page.value(LIVE) == 0


def test_heatmaps_come_once_the_server_is_no_longer_busy(page: Page, folder: Path) -> None:
    page.value("""(() => {
        const send = fetch;
        globalThis.asked = 0;
        globalThis.fetch = (url, what) => {
            if (!String(url).includes("heatmaps") || asked++) return send(url, what);
            const headers = { "Retry-After": "1" };
            return Promise.resolve(new Response('{"error": "busy: come back"}', { status: 503, headers }));
        };
    })()""")
    drop(page, photo(folder, "busy.png")[0])
    opened(page)
    page.wait_for("document.getElementById('heat-note').innerText === 'busy: come back'")
    page.wait_for("document.getElementById('heat-note').innerText.includes('64 x 64 cells out')")
    assert page.value("asked") == 2


def test_phone_width_and_names_for_everything(page: Page, folder: Path) -> None:
    page.resize(390, 844, phone=True, ratio=2)
    assert page.value("document.documentElement.scrollWidth") == 390
    drop(page, photo(folder, "phone.png")[0])
    opened(page)
    assert page.value("document.documentElement.scrollWidth") == 390
    tree = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "combobox", "checkbox", "spinbutton", "application", "image")
    parts = [node for node in tree if node.get("role", {}).get("value") in roles and not node.get("ignored")]
    assert len(parts) > 20
    assert [node for node in parts if not node.get("name", {}).get("value")] == []
