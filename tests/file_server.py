"""Serves the files of a folder over HTTP, some of them badly: ``python file_server.py FOLDER PORT_FILE``.

``FOLDER/faults.json`` says what happens to the next requests for a file, as in ``{"a.tar": ["drop", "cut"]}``:
the connection is dropped at once (``drop``) or halfway (``cut``), nothing comes after half of the body
(``hang``), the body is another (``wrong``), or there is an error (``500``). What was asked for is noted in
``FOLDER/requests.log``.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

FOLDER = Path(sys.argv[1])
LOCK = Lock()


def next_fault(name: str) -> str:
    """What is to happen to this request; noted, and taken from the list."""
    with LOCK:
        with (FOLDER / "requests.log").open("a") as log:
            log.write(f"{name}\n")
        path = FOLDER / "faults.json"
        faults = json.loads(path.read_text()) if path.exists() else {}
        waiting = faults.get(name, [])
        fault = waiting.pop(0) if waiting else ""
        path.write_text(json.dumps(faults))
        return fault


class Handler(BaseHTTPRequestHandler):
    """Answers GET and HEAD."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        """Send a file, or what is to happen instead."""
        path = FOLDER / self.path.lstrip("/")
        fault = next_fault(path.name) if body else ""
        if fault == "drop":
            self.close_connection = True
            self.connection.close()
            return
        if not path.is_file():
            self.send_error(404)
            return
        if fault == "500":
            self.send_error(500)
            return
        data = path.read_bytes()
        if fault == "wrong":
            data = bytes(reversed(data))
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if fault in ("cut", "hang") else data)
        if fault == "hang":
            self.rfile.read()  # until the other side leaves
        if fault == "cut":
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port_file = Path(sys.argv[2])
    port_file.with_suffix(".new").write_text(str(server.server_port))
    port_file.with_suffix(".new").rename(port_file)
    server.serve_forever()
