"""The page's API, over HTTP from a real server: what it answers, and what it refuses."""

from __future__ import annotations

import base64
import json
import signal
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import cv2
import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from chromium import wait_until
from dot_server import SHIFT_PX, TIGHT
from fanlight.checkpoint import save_checkpoint
from fanlight.cli import app, main
from fanlight.data.index import Sample
from fanlight.data.pts import read_pts, write_pts
from fanlight.geometry import CropRule
from fanlight.image import write_image
from fanlight.web.app import MAX_WAITING
from fanlight.web.guard import SECURITY_HEADERS
from fanlight.web.server import address, is_loopback, listen
from fanlight.web.work import MAX_BOXES, MAX_BYTES, MAX_PIXELS, shelf_names
from painted import PLACES, make_faces, paint, untrained
from serving import running


@pytest.fixture(scope="module")
def folder(dot_site: tuple[str, Path]) -> Path:
    return dot_site[1]


@pytest.fixture(scope="module")
def site(dot_site: tuple[str, Path]) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=dot_site[0], timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def face(folder: Path) -> Sample:
    return make_faces(folder / "faces", 1)[0]


def send(
    site: httpx2.Client, photo: bytes | Path, path: str = "/api/predict", **fields: str
) -> httpx2.Response:
    data = photo.read_bytes() if isinstance(photo, Path) else photo
    return site.post(path, files={"photo": ("photo.png", data)}, data=fields)


def landmarks(answer: httpx2.Response, number: int = 0) -> NDArray[np.float64]:
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["faces"][number]["landmarks"])


def png_header(width: int, height: int) -> bytes:
    """A whole PNG file that claims to hold so many pixels."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_it_says_what_it_can_do(site: httpx2.Client) -> None:
    assert site.get("/api/health").json()["models"] == 5
    told = site.get("/api/models").json()
    assert [model["name"] for model in told["models"]] == ["dots", "shifted", "slow", "broken", "ruled"]
    assert told["models"][0]["markup"]["points"][2] == "nose"
    assert told["models"][0]["markup"]["parts"] == {"eyes": [0, 1], "mouth": [3, 4]}
    assert told["detector"] == "dot_server:find_dots"
    assert told["limits"] == {"bytes": MAX_BYTES, "pixels": MAX_PIXELS, "boxes": MAX_BOXES}
    assert "/api/predict" in site.get("/api/openapi.json").json()["paths"]


def test_landmarks_of_a_photo(site: httpx2.Client, face: Sample) -> None:
    true = read_pts(face.landmarks_path)
    answer = send(site, face.image_path, boxes=json.dumps([face.face_box]))
    assert np.abs(landmarks(answer) - true).max() < 0.5
    found = answer.json()["faces"][0]
    assert found["box"] == pytest.approx(face.face_box, abs=1e-3)
    left, top, right, bottom = face.face_box
    side = ((right - left) + (bottom - top)) / 2 / 0.55
    assert found["square"] == pytest.approx([(left + right) / 2, (top + bottom) / 2, side])
    assert len(found["scores"]) == 5
    assert min(np.linalg.eigvalsh(found["covariances"]).min(1)) > 0


def test_the_detector_is_asked_where_no_boxes_are_sent(site: httpx2.Client, face: Sample) -> None:
    assert np.abs(landmarks(send(site, face.image_path)) - read_pts(face.landmarks_path)).max() < 0.5


def test_several_faces_the_whole_photo_another_model_and_the_mirror(
    site: httpx2.Client, tmp_path: Path
) -> None:
    low, high = PLACES * 60 + [10, 10], PLACES * 60 + [90, 10]
    both = np.maximum(paint(low, 80, 160, 2.0), paint(high, 80, 160, 2.0))
    write_image(tmp_path / "two.png", both)
    boxes = json.dumps([[90, 10, 150, 70], [10, 10, 70, 70]])
    answer = send(site, tmp_path / "two.png", boxes=boxes, flip="true")
    assert np.abs(landmarks(answer, 0) - high).max() < 0.5
    assert np.abs(landmarks(answer, 1) - low).max() < 0.5
    shifted = send(site, tmp_path / "two.png", boxes=boxes, model="shifted")
    plain = send(site, tmp_path / "two.png", boxes=boxes)
    assert landmarks(shifted) - landmarks(plain) == pytest.approx(np.tile([SHIFT_PX, 0], (5, 1)), abs=1e-3)
    assert send(site, tmp_path / "two.png", boxes="whole").json()["faces"][0]["box"] == [0, 0, 160, 80]
    assert send(site, tmp_path / "two.png", boxes="[]").json()["faces"] == []


def test_the_mirror_takes_away_what_a_network_is_off_to_one_side(site: httpx2.Client, face: Sample) -> None:
    asked = {"boxes": json.dumps([face.face_box])}
    true = landmarks(send(site, face.image_path, **asked, flip="true"))
    plain = landmarks(send(site, face.image_path, **asked, model="shifted"))
    mirrored = landmarks(send(site, face.image_path, **asked, model="shifted", flip="true"))
    assert np.abs(plain - true).max() > SHIFT_PX - 0.5
    assert mirrored == pytest.approx(true, abs=1e-3)


@pytest.mark.parametrize("path", ["/api/predict", "/api/heatmaps"])
def test_boxes_of_a_detector_are_cropped_by_its_rule(site: httpx2.Client, face: Sample, path: str) -> None:
    box = json.dumps(face.face_box)
    given = {"boxes": f"[{box}]"} if path == "/api/predict" else {"box": box}

    def square(**fields: str) -> tuple[object, list[float]]:
        told = send(site, face.image_path, path, model="ruled", **given, **fields).json()
        return told.get("crop"), (told["faces"][0] if "faces" in told else told)["square"]

    named = "tight" if path == "/api/predict" else None
    assert square(crop="tight") == (named, pytest.approx(TIGHT.square(face.face_box)))
    assert square() == (None, pytest.approx(CropRule().square(face.face_box)))
    assert square(crop="") == square()
    unknown = send(site, face.image_path, path, model="ruled", crop="wide", **given)
    assert unknown.status_code == 422
    assert "crop 'wide': the network has rules for the boxes of: tight" in unknown.json()["error"]


def test_the_crop_and_the_heatmaps(site: httpx2.Client, face: Sample) -> None:
    told = send(site, face.image_path, "/api/heatmaps", box=json.dumps(face.face_box)).json()
    crop = cv2.imdecode(np.frombuffer(base64.b64decode(told["crop_png"]), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert crop.shape == (64, 64, 3)
    maps = np.frombuffer(base64.b64decode(told["heatmaps"]), np.uint8).reshape(5, told["size"], told["size"])
    assert maps.max() == 255
    x, y, side = told["square"]
    for response, point in zip(maps, read_pts(face.landmarks_path), strict=True):
        row, column = np.unravel_index(response.argmax(), response.shape)
        place = np.array([column + 0.5, row + 0.5]) * side / told["size"] + [x - side / 2, y - side / 2]
        assert np.abs(place - point).max() < 2 * side / told["size"]


def test_a_photo_that_browsers_cannot_show(site: httpx2.Client, face: Sample, tmp_path: Path) -> None:
    image = paint(PLACES * 60, 60, 70, 2.0)
    write_image(tmp_path / "photo.tiff", image)
    answer = send(site, tmp_path / "photo.tiff", "/api/preview")
    assert answer.headers["content-type"] == "image/png"
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert np.array_equal(shown, image)


def jpeg(face: Sample) -> bytes:
    photo = cv2.imread(str(face.image_path))
    return bytes(cv2.imencode(".jpg", photo)[1])


REFUSALS: dict[str, tuple[int, str, Callable[[Sample], bytes], dict[str, str]]] = {
    "no image": (415, "photo.png: not an image in JPEG", lambda _: b"<svg onload=alert(1)>", {}),
    "empty": (422, "photo.png: the image file is empty", lambda _: b"", {}),
    "cut off": (422, "cut off", lambda face: jpeg(face)[:-40], {}),
    "damaged": (422, "damaged", lambda _: png_header(40, 30), {}),
    "a bomb": (413, "30000 x 30000 pixels, at most 64 million", lambda _: png_header(30000, 30000), {}),
    "no such model": (
        422,
        "'../etc' is not served here: ask for one of dots, shifted",
        jpeg,
        {"model": "../etc"},
    ),
    "boxes of words": (422, "boxes 'left': send JSON", jpeg, {"boxes": "left"}),
    "boxes of three": (422, "boxes '[[1,2,3]]': send JSON", jpeg, {"boxes": "[[1,2,3]]"}),
    "an infinite box": (422, "send JSON", jpeg, {"boxes": "[[0,0,Infinity,9]]"}),
    "a box inside out": (422, "face box [50.0, 9.0, 10.0, 20.0]", jpeg, {"boxes": "[[50,9,10,20]]"}),
    "many boxes": (422, "101 boxes: send at most 100", jpeg, {"boxes": json.dumps([[0, 0, 9, 9]] * 101)}),
    "not a yes or no": (422, "flip: send true or false", jpeg, {"flip": "perhaps"}),
    "no such rule": (
        422,
        "crop 'tight': the network has rules for the boxes of: none",
        jpeg,
        {"crop": "tight", "boxes": "whole"},
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_bad_uploads_are_refused(site: httpx2.Client, face: Sample, case: str) -> None:
    status, message, photo, fields = REFUSALS[case]
    answer = send(site, photo(face), **fields)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


def test_a_form_without_a_photo_is_refused(site: httpx2.Client) -> None:
    answer = site.post("/api/predict", data={"model": "dots"})
    says = {"error": "photo: send a photo in the form's field photo, as a file"}
    assert (answer.status_code, answer.json()) == (422, says)
    assert site.post("/api/predict", data={"photo": "abc"}).json() == says
    assert site.post("/api/predict", content=b"{}").status_code == 422
    torn = site.post("/api/pts", content=b"{", headers={"Content-Type": "application/json"})
    assert (torn.status_code, "/api/openapi.json" in torn.json()["error"]) == (422, True)


def test_more_bytes_than_a_photo_has_are_refused(site: httpx2.Client) -> None:
    """With their number said beforehand, with none said, and a photo just above the limit."""
    body = bytes(MAX_BYTES + (2 << 20))
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert site.post("/api/predict", content=body, headers=form).status_code == 413

    def stream() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n'
        for _ in range(MAX_BYTES // (1 << 20) + 4):
            yield bytes(1 << 20)

    unsaid = site.post("/api/predict", content=stream(), headers=form)
    assert unsaid.status_code == 413
    assert "larger than 32 MiB" in unsaid.json()["error"]
    slightly = send(site, jpeg_of(MAX_BYTES + 1))
    assert slightly.status_code == 413
    assert "32.0 MiB, at most 32" in slightly.json()["error"]
    assert site.get("/api/health").status_code == 200


def jpeg_of(size: int) -> bytes:
    """A photo with much behind its end."""
    data = bytes(cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1])
    return data + bytes(size - len(data))


def test_what_goes_wrong_inside_stays_inside(site: httpx2.Client, folder: Path, face: Sample) -> None:
    answer = send(site, face.image_path, model="broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"]
    wait_until(lambda: "a secret of this machine" in (folder / "log").read_text(), "the log")
    assert landmarks(send(site, face.image_path)).shape == (5, 2)


def test_one_waits_for_another_and_too_many_are_sent_away(
    site: httpx2.Client, folder: Path, face: Sample
) -> None:
    (folder / "go").unlink(missing_ok=True)
    with ThreadPoolExecutor(MAX_WAITING + 2) as pool:
        tasks = [pool.submit(send, site, face.image_path, model="slow") for _ in range(MAX_WAITING + 2)]
        try:
            refused = next(as_completed(tasks)).result()
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert site.get("/api/health").status_code == 200  # though a network is at work
        finally:
            (folder / "go").touch()
        assert sorted(task.result().status_code for task in tasks) == [200] * (MAX_WAITING + 1) + [503]
    assert send(site, face.image_path).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example:80",
        "127.0.0.1.evil.example",
        "192.0.2.1",
        "",
        "[",
        "evil@localhost",
    ],
)
def test_other_names_of_the_host_are_refused(site: httpx2.Client, host: str) -> None:
    answer = site.get("/api/health", headers={"Host": host})
    assert answer.status_code in (400, 403)
    assert "status" not in answer.text


def test_other_sites_pages_are_refused(site: httpx2.Client, face: Sample) -> None:
    own = str(site.base_url).rstrip("/")
    asked = {"files": {"photo": ("photo.png", face.image_path.read_bytes())}}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        assert site.post("/api/predict", headers=headers, **asked).status_code == 403, headers
    assert (
        site.post(
            "/api/predict", headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}, **asked
        ).status_code
        == 200
    )
    assert site.get("/api/models", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert site.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link may lead here
    assert site.get("/", headers={"Host": own.replace("http://127.0.0.1", "LocalHost")}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/models", "/static/none.js", "/docs"])
def test_the_browser_is_told_to_be_careful(site: httpx2.Client, path: str) -> None:
    headers = site.get(path).headers
    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


def test_nothing_of_the_page_comes_from_elsewhere(site: httpx2.Client) -> None:
    page = site.get("/").text
    assert 'src="/static/app.js"' in page
    assert "http:" not in page.replace("http://www.w3.org/2000/svg", "")
    assert "https:" not in page
    for path in ("/docs", "/redoc", "/static/", "/static/none.js", "/api/none"):
        assert site.get(path).status_code == 404
    only_head = site.head("/")
    assert (only_head.status_code, only_head.content) == (200, b"")
    assert only_head.headers["content-length"] == str(len(page.encode()))
    again = site.get("/static/app.js", headers={"If-None-Match": site.get("/static/app.js").headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/static/../app.py",
            "/static/..%2fapp.py",
            "/static/%2e%2e/app.py",
            "//etc/passwd",
            "/static//etc/passwd",
        ),
        *(
            "/static/..%252fapp.py",
            "/static/%2fetc%2fpasswd",
            "/static/app.js%00.html",
            "/static/..%5capp.py",
        ),
        *("/static/....//app.py", "/%2e%2e/%2e%2e/etc/passwd", "/static/app.js/", "file:///etc/passwd"),
    ],
)
def test_no_path_leads_to_the_disk(site: httpx2.Client, path: str) -> None:
    with socket.create_connection((site.base_url.host, site.base_url.port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "GETX"])
def test_other_methods_do_nothing(site: httpx2.Client, method: str) -> None:
    for path in ("/", "/static/app.js", "/api/models", "/api/predict"):
        with socket.create_connection((site.base_url.host, site.base_url.port)) as line:
            line.sendall(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 405")


def test_names_of_files_come_back_as_data_and_not_in_headers(site: httpx2.Client) -> None:
    for name in ("a\r\nSet-Cookie: a=b", "<script>alert(1)</script>.png", "\x1b[2J.png", "../../etc/passwd"):
        answer = site.post("/api/predict", files={"photo": (name, b"no photo")})
        assert answer.status_code == 415
        assert answer.headers["content-type"] == "application/json"
        assert "set-cookie" not in answer.headers
        assert "\x1b" not in answer.json()["error"]
        assert "etc" not in answer.json()["error"]


def test_landmark_files(site: httpx2.Client, tmp_path: Path) -> None:
    points = [[0.5, 1.5], [10.25, 20.125], [-3.0, 7.0]]
    written = site.post("/api/pts", json={"landmarks": points})
    write_pts(tmp_path / "face.pts", points)
    assert written.content == (tmp_path / "face.pts").read_bytes()
    assert b"\n1.000 2.000\n" in written.content  # 1-based: half a pixel more
    assert written.headers["content-disposition"].startswith("attachment")
    read = site.post("/api/pts/read", files={"file": ("face.pts", written.content)})
    assert read.json() == {"landmarks": points}


def test_landmarks_that_cannot_be_written_or_read(site: httpx2.Client) -> None:
    assert site.post("/api/pts", json={"landmarks": []}).status_code == 422
    assert site.post("/api/pts", json={"landmarks": [[1, 2, 3]]}).status_code == 422
    as_json = {"Content-Type": "application/json"}
    infinite = site.post("/api/pts", content=b'{"landmarks": [[1, NaN]]}', headers=as_json)
    assert (infinite.status_code, infinite.json()["error"][:15]) == (422, "landmarks[0][1]")
    assert "finite numbers" in infinite.json()["error"]
    assert site.post("/api/pts", content=b'{"landmarks": [[1, 2]]}', headers=as_json).status_code == 200
    bad = site.post(
        "/api/pts/read", files={"file": ("../x/face.pts", b"version: 1\nn_points: 1\n{\n1 two\n}\n")}
    )
    assert bad.status_code == 422
    assert bad.json()["error"].startswith("face.pts:4: expected two finite numbers \"x y\", found '1 two'")
    assert site.post("/api/pts/read", files={"file": ("face.pts", b"\xff\xd8\xff")}).status_code == 422


def test_the_command_serves_checkpoints_until_it_is_told_to_end(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_checkpoint(tmp_path / name / "checkpoints" / "best.ckpt", untrained(tmp_path))
    models = [
        word for name in ("one", "two") for word in ("--model", f"{tmp_path}/{name}/checkpoints/best.ckpt")
    ]
    open_to_all = ("--host", "0.0.0.0", "--allow-host", "Faces.example:8000")
    command = [
        "-m",
        "fanlight",
        "serve",
        *models,
        *open_to_all,
        "--port",
        "0",
        "--detector",
        "none",
        "--no-open",
    ]
    with (
        running(command, tmp_path / "log") as (process, address),
        httpx2.Client(base_url=address, timeout=60, trust_env=False) as site,
    ):
        said = " ".join((tmp_path / "log").read_text().split())
        assert "0.0.0.0 is not this machine alone" in said
        assert "reverse proxy" in said
        hosts = ("192.0.2.1", "faces.example:80", "evil.example")
        assert [site.get("/api/health", headers={"Host": host}).status_code for host in hosts] == [
            200,
            200,
            403,
        ]
        told = site.get("/api/models").json()
        assert [model["name"] for model in told["models"]][:2] == ["one/best", "two/best"]
        assert (told["detector"], told["compare"]) == (None, "two/best")
        photo = jpeg_of(2000)
        assert landmarks(send(site, photo, boxes="whole")).shape == (5, 2)
        blind = send(site, photo)
        assert blind.status_code == 422
        assert "without a face detector: send boxes" in blind.json()["error"]
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def test_where_it_listens() -> None:
    with listen("localhost", 0) as here, listen("0.0.0.0", 0) as anywhere:
        assert (is_loopback(here), is_loopback(anywhere)) == (True, False)
        assert address(anywhere) == f"http://127.0.0.1:{anywhere.getsockname()[1]}/"


def test_what_the_command_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: str) -> str:
        monkeypatch.setattr("sys.argv", ["fanlight", "serve", "--no-open", *words])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        return capsys.readouterr().err

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        says = refused("--port", port)
        assert f"cannot listen on 127.0.0.1, port {port}" in says
        assert "another --port may be free" in says
    elsewhere = refused("--port", "0", "--host", "192.0.2.1")
    assert "give --host a name or an address of this machine" in elsewhere
    assert "--port may be free" not in elsewhere
    assert "none.ckpt: no such checkpoint" in refused("--port", "0", "--model", str(tmp_path / "none.ckpt"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'fanlight[web]'" in refused("--port", "0")
    assert "--allow-host" in CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output


def test_names_of_models() -> None:
    assert shelf_names(
        ["small", "a.ckpt", "runs/x/checkpoints/best.ckpt", "/x/best.ckpt", "other/x/best.ckpt"]
    ) == [*("small", "a", "x/best", "x/best (2)", "x/best (3)")]
