"""What the page's server bears: slow and silent clients, too much at a time, and clients that leave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx2
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import Request

from chromium import wait_until
from fanlight.image import write_image
from fanlight.web import guard
from fanlight.web.app import MAX_WAITING, Desk
from fanlight.web.refusal import RefusedError
from painted import PLACES, paint

PATIENCE_S = 60


@pytest.fixture
def place(dot_site: tuple[str, Path]) -> tuple[str, int]:
    host, port = dot_site[0].removeprefix("http://").split(":")
    return host, int(port)


def ask(place: tuple[str, int], words: bytes) -> socket.socket:
    """A connection on which so much of a request was sent."""
    line = socket.create_connection(place, timeout=PATIENCE_S)
    line.sendall(words)
    return line


def head(path: str, length: int, kind: str = "multipart/form-data; boundary=x") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def rest(line: socket.socket) -> bytes:
    """All that comes until the server closes the connection."""
    with line:
        return b"".join(iter(lambda: line.recv(65536), b""))


def test_silent_and_dribbling_connections_do_not_keep_others_out(
    dot_site: tuple[str, Path], place: tuple[str, int]
) -> None:
    stalled = ask(place, head("/api/pts", 1000, "application/json") + b'{"landmarks": [')
    unread = ask(place, head("/api/none", 1000))  # answered at once, though the body has not come
    health = f"{dot_site[0]}/api/health"
    assert httpx2.get(health, trust_env=False).status_code == 200  # so both have their places
    beginnings = [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"]
    silent = [ask(place, beginnings[i % 3]) for i in range(70)]
    assert {rest(line) for line in silent} == {b""}
    told = rest(stalled)
    assert told.startswith(b"HTTP/1.1 408")
    assert b"the upload came too slowly" in told
    assert rest(unread).startswith(b"HTTP/1.1 404")
    assert httpx2.get(health, trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("path", "length", "says"),
    [
        ("/api/predict", 10**12, b"larger than 32 MiB: scale the photo down"),
        ("/api/pts", 2 << 20, b"larger than 1 MiB: send one face's landmarks"),
        ("/api/pts/read", 6 << 20, b"larger than 5 MiB"),
    ],
)
def test_too_much_is_refused_before_it_is_sent(
    place: tuple[str, int], path: str, length: int, says: bytes
) -> None:
    line = ask(place, head(path, length))
    answer = b""
    while says not in answer and (part := line.recv(65536)):
        answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert says in answer
    assert rest(line) == b""  # and the connection ends, though nothing more was sent


def test_too_many_landmarks_are_refused_while_they_arrive(dot_site: tuple[str, Path]) -> None:
    def stream() -> Iterator[bytes]:
        yield b'{"landmarks":['
        for _ in range(200):
            yield b"[0,0]," * 2000

    told = httpx2.post(
        f"{dot_site[0]}/api/pts",
        content=stream(),
        headers={"Content-Type": "application/json"},
        trust_env=False,
    )
    assert (told.status_code, "larger than 1 MiB" in told.json()["error"]) == (413, True)


def test_a_body_has_so_much_time_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it comes."""
    monkeypatch.setattr(guard, "BODY_S", 0.2)
    read, answers = 0, []

    async def receive() -> dict[str, object]:
        nonlocal read
        read += 1
        await anyio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": read < 1000}

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        while (await receive())["more_body"]:
            pass

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    with pytest.raises(guard.HTTPException, match="too slowly"):
        anyio.run(guard.Guard(app, ["localhost"], False, 10**6), scope, receive, send)
    assert 1 < read < 1000


class Sheet(UploadFile):
    """A photo that counts how often it is read."""

    read_so_far = 0

    def __init__(self) -> None:
        pass

    filename = "photo.png"

    async def read(self, size: int = -1) -> bytes:
        Sheet.read_so_far += 1
        return b"photo"


def test_photos_that_wait_are_not_in_memory() -> None:
    go, begun = threading.Event(), threading.Event()
    Sheet.read_so_far = 0
    done: list[object] = []

    def job(data: bytes, name: str) -> str:
        begun.set()
        assert go.wait(PATIENCE_S)
        return f"{name}: {data.decode()}"

    async def here() -> dict[str, str]:
        await anyio.sleep_forever()
        return {}

    async def main() -> None:
        desk = Desk()

        async def one() -> None:
            done.append(await desk.do(Request({"type": "http"}, here), Sheet(), job))  # type: ignore[arg-type]

        async with anyio.create_task_group() as group:
            for _ in range(MAX_WAITING + 1):
                group.start_soon(one)
            await anyio.to_thread.run_sync(begun.wait)
            with pytest.raises(RefusedError, match="8 requests are waiting"):
                await one()
            assert Sheet.read_so_far == 1
            go.set()

    anyio.run(main)
    assert done == ["photo.png: photo"] * (MAX_WAITING + 1)


def test_nothing_is_done_for_a_client_that_has_left(
    dot_site: tuple[str, Path], place: tuple[str, int], tmp_path: Path
) -> None:
    address, folder = dot_site
    (folder / "go").unlink(missing_ok=True)
    (folder / "calls").write_text("")
    write_image(tmp_path / "face.png", paint(PLACES * 60, 60, 70, 2.0))
    photo = (tmp_path / "face.png").read_bytes()
    fields = {"model": b"slow", "boxes": b"whole", 'photo"; filename="face.png': photo}
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in fields.items()
    ]
    body = b"".join(parts) + b"--x--\r\n"
    staying = ask(place, head("/api/predict", len(body)) + body)
    calls = folder / "calls"
    wait_until(lambda: calls.read_text() == "called\n", "the network is asked")
    for _ in range(3):
        ask(place, head("/api/predict", len(body)) + body).close()
    with httpx2.Client(base_url=address, trust_env=False) as site:
        assert site.get("/api/health").status_code == 200  # so the server has seen them come and go
        (folder / "go").touch()
        answer = staying.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        last = site.post(
            "/api/predict",
            files={"photo": photo},
            data={"model": "dots", "boxes": "whole"},
        )
        assert last.status_code == 200  # after all that had waited
    staying.close()
    assert calls.read_text() == "called\n"
