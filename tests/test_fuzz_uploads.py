"""Requests by the thousand: what is sent to the page is answered rightly, or by a sentence and 4xx."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from fanlight.image import encode_image
from fuzzing import REMEDY, damaged, few_or_many
from painted import PLACES, dot_predictor, paint

pytest.importorskip("fastapi", reason="the extra web is not installed")
testclient = pytest.importorskip("starlette.testclient", reason="starlette's test client needs httpx2")

from fanlight.web.app import make_app  # noqa: E402
from fanlight.web.guard import Guard  # noqa: E402
from fanlight.web.work import MAX_BYTES, Shelf  # noqa: E402

TRUTH = 20 + PLACES * 60 + (0, 2)
ROUTES = (
    "/api/predict",
    "/api/heatmaps",
    "/api/preview",
    "/api/pts",
    "/api/pts/read",
    "/api/models",
    "/api/health",
)
ROUTES += (
    "/",
    "/static/page.js",
    "/static/../app.py",
    "/static/%2e%2e%2fapp.py",
    "/api/",
    "/nowhere",
    "/api/predict/",
)
METHODS = ("GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW")
TYPES = (
    "multipart/form-data; boundary=x",
    "application/json",
    "text/plain",
    "multipart/form-data",
    "image/png",
    "",
)
TYPES += (
    "multipart/form-data; boundary=x; charset=raw_unicode_escape",
    "application/x-www-form-urlencoded",
    "\xff/é",
)
TYPES += ("multipart/form-data; boundary=x; charset=punycode", "multipart/form-data; boundary=" + 300 * "y")
FILE_NAMES = (
    "a.png",
    "",
    "../../etc/passwd",
    "<img src=x onerror=alert(1)>.png",
    "a\\b.png",
    "\u202egnp.exe",
    400 * "n",
)
FILE_NAMES += ("CON", "a;b.png", "%00.png", "Ä\u0085.png", "\ud83d")
JSONS = (
    "null",
    "[]",
    "{}",
    "NaN",
    "[NaN]",
    '"whole"',
    "1e999",
    "[[0,0,1e999,5]]",
    "[[0,0,9,9]]",
    "[0,0,9,9]",
    "true",
)
JSONS += (
    "[[20,22,80,82]]",
    "[20,22,80,82]",
    "9" * 5000,
    '{"landmarks": [[NaN, 1]]}',
    '{"landmarks": [[1, 2]]}',
    "[[",
)
JSONS += (
    '{"landmarks": []}',
    '{"landmarks": [[1e308, -1e308]]}',
    '{"landmarks": "\\ud800"}',
    '"\\ud800"',
    "\\ud800",
)
JSONS += (
    "[" * 5000,
    "[" * 50_000 + "]" * 50_000,
    '{"a":' * 3000,
    "[[5,5,5,5]]",
    "[[9,9,1,1]]",
    "[[900,900,999,999]]",
)


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encode_image("face.png", paint(TRUTH, 96, 100, 2.0))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The application behind its guard, in this process."""
    shelf = Shelf({"dots": dot_predictor(tmp_path_factory.mktemp("dots"))}, detector="haar")
    guard = Guard(
        make_app(shelf), {"localhost"}, False, MAX_BYTES, {"/api/pts": 1 << 20, "/api/pts/read": 5 << 20}
    )
    with testclient.TestClient(guard, base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


def form(fields: dict[str, bytes], file: tuple[str, bytes, bytes] | None) -> bytes:
    """A body of parts between ``--x``."""
    parts = [
        b'Content-Disposition: form-data; name="%s"\r\n\r\n%s' % (key.encode(), value)
        for key, value in fields.items()
    ]
    if file:
        field, name, data = file
        head = b'Content-Disposition: form-data; name="%s"; filename="%s"\r\nContent-Type: image/png' % (
            field.encode(),
            name,
        )
        parts.append(head + b"\r\n\r\n" + data)
    return b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"


def request(rng: np.random.Generator, photo: bytes) -> dict[str, Any]:
    """Something to send: a good request with one or several things wrong, or nonsense."""
    route = str(rng.choice(ROUTES[:5] if rng.random() < 0.7 else ROUTES))
    method, kind = "POST", TYPES[0]
    text = str(rng.choice(JSONS)).encode()
    name = str(rng.choice(FILE_NAMES)).encode(errors="surrogatepass")
    field = "file" if route.endswith("read") else "photo"
    fields = {
        "boxes": text,
        "box": text,
        "flip": text[:9],
        "model": str(rng.choice(["dots", "", "x\\ud800"])).encode(),
    }
    chosen = {key: value for key, value in fields.items() if rng.random() < 0.25}
    body = form(chosen, (field, name, photo) if rng.random() < 0.8 else None)
    if route == "/api/pts":
        body, kind = text, "application/json"
    match int(rng.integers(10)):
        case 0:
            body = damaged(body, rng)
        case 1:
            body = form(chosen, (field, name, damaged(photo, rng)))
        case 2:
            kind = str(rng.choice(TYPES))
        case 3:
            method = str(rng.choice(METHODS))
        case 4:
            body = rng.bytes(int(rng.integers(0, 3000)))
    headers = {"content-type": kind.encode("latin-1")} if kind else {}
    return {"method": method, "url": route, "content": body, "headers": headers}


# A form that breaks off leaves its temporary file to be closed when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@few_or_many(120, 3000)
def test_nothing_that_is_sent_makes_the_page_fail(site: Any, photo: bytes, cases: int) -> None:
    rng = np.random.default_rng([15, cases])
    counts: Counter[int] = Counter()
    for case in range(cases):
        asked = request(rng, photo)
        answer = site.request(**asked)
        what = f"case {case}: {asked['method']} {asked['url']} {asked['headers']}: {answer.status_code} "
        what += answer.text[:300]
        counts[answer.status_code] += 1
        assert answer.status_code < 500, what
        if answer.status_code >= 400 and asked["method"] != "HEAD":
            message = answer.json()["error"]
            assert message, what
            assert answer.status_code in (404, 405) or REMEDY.search(message), what
            assert "Traceback" not in message, what
        elif answer.status_code == 200 and asked["url"] == "/api/predict":
            faces = answer.json()["faces"]
            assert all(np.isfinite(face["landmarks"]).all() for face in faces), what
        assert site.get("/api/health").status_code == 200 if case % 100 == 0 else True
    print(f"requests: {cases} cases,", dict(sorted(counts.items())))
    assert counts[200] > cases / 30


def test_the_landmarks_of_an_upload_do_not_depend_on_how_it_is_sent(site: Any, photo: bytes) -> None:
    """Not on the file's name, its type, the order of the fields, or what stands around the form."""
    boxes = json.dumps([[20, 22, 80, 82]]).encode()
    wanted = None
    for name in FILE_NAMES:
        body = form({"boxes": boxes}, ("photo", name.encode(errors="surrogatepass"), photo))
        for content in (body, b"before\r\n" + body, body + b"after"):
            answer = site.post("/api/predict", content=content, headers={"content-type": TYPES[0]})
            if not name or answer.status_code == 400:
                continue
            landmarks = answer.json()["faces"][0]["landmarks"]
            wanted = wanted or landmarks
            assert landmarks == wanted, name
    assert wanted is not None
    np.testing.assert_allclose(wanted, TRUTH, atol=0.5)


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "raw_unicode_escape", "unicode_escape", "utf-7", "zip", "none"]
)
def test_the_encoding_that_a_client_claims_neither_stops_nor_breaks_the_page(
    site: Any, photo: bytes, charset: str
) -> None:
    """Some of Python's take minutes for half a megabyte, or give what is no text."""
    for value in (b"\\ud800" * 9, b"a" * 400_000 + b"-" + b"b" * 400_000, b"\xff\xfe" * 99):
        body = form({"model": value}, ("photo", b"a.png", photo))
        kind = f"multipart/form-data; boundary=x; charset={charset}"
        answer = site.post("/api/predict", content=body, headers={"content-type": kind})
        assert answer.status_code == 415, answer.text[:300]
        assert "UTF-8" in answer.json()["error"]
