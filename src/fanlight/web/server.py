"""Running the page: a socket, the guard around the application, and uvicorn."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

import uvicorn

from fanlight.errors import InputError
from fanlight.web.app import make_app
from fanlight.web.guard import Guard
from fanlight.web.work import MAX_BYTES, Shelf

LOOPBACK = ("localhost", "127.0.0.1", "::1")
_OVERHEAD = 1 << 20  # of a form around the photo in it


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: a name or an address of this machine.
        port: 0 takes any free one.

    Raises:
        InputError: the address is not this machine's, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot listen on {host}, port {port}: {reason}; another --port may be free (0 takes any)"
        ) from None


def is_loopback(listener: socket.socket) -> bool:
    """True where only this machine can reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def address(listener: socket.socket) -> str:
    """The page's address, as it can be opened on this machine."""
    host, port = listener.getsockname()[:2]
    name = ipaddress.ip_address(host)
    if name.is_unspecified:
        host = "127.0.0.1" if name.version == 4 else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def guarded(shelf: Shelf, listener: socket.socket, names: Sequence[str] = ()) -> Guard:
    """The application behind its guard.

    Args:
        shelf: the networks.
        listener: where it will be reached.
        names: of hosts that it goes by, besides those that are plain.
    """
    own = {*LOOPBACK, *(name.lower() for name in names)}
    local = is_loopback(listener)
    if not local:
        own.add(socket.gethostname().lower())
    return Guard(make_app(shelf), own, addresses=not local, max_bytes=MAX_BYTES + _OVERHEAD)


def run(app: Guard, listener: socket.socket) -> None:
    """Answer requests until the process is told to end."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        http="h11",
        ws="none",
        lifespan="off",
        limit_concurrency=64,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    uvicorn.Server(config).run(sockets=[listener])


def open_browser(url: str) -> None:
    """Show the page in the browser, where there is a screen for one."""
    if sys.platform.startswith("linux") and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
