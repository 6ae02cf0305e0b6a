"""Running the page: a socket, the guard around the application, and uvicorn."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fanlight.errors import InputError
from fanlight.web.app import make_app
from fanlight.web.guard import Guard, host_name
from fanlight.web.work import MAX_BYTES, Shelf

LOOPBACK = ("localhost", "127.0.0.1", "::1")
HEAD_S = 10.0
"""A connection on which no whole request head comes for so long is closed."""

_OVERHEAD = 1 << 16  # of a form around the photo in it
_LIMITS = {"/api/pts": 1 << 20, "/api/pts/read": 5 << 20}  # parsed at once, while everybody waits


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
        return socket.create_server(address, family=family)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        port_is_it = getattr(error, "errno", None) in (errno.EADDRINUSE, errno.EACCES)
        advice = (
            "another --port may be free (0 takes any)"
            if port_is_it
            else "give --host a name or an address of this machine"
        )
        raise InputError(f"cannot listen on {host}, port {port}: {reason}; {advice}") from None


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
    own = {*LOOPBACK, *(host_name(name) or name.lower() for name in names)}
    local = is_loopback(listener)
    if not local:
        own.add(socket.gethostname().lower())
    return Guard(make_app(shelf), own, not local, MAX_BYTES + _OVERHEAD, _LIMITS)


class _Hasty(H11Protocol):
    """A connection that is closed where it keeps still, or dribbles, between its requests: it takes a place."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.patience: asyncio.TimerHandle | None = None
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._calm()

    def _watch(self) -> None:
        """Start the clock where a request's head has yet to come, or a body that nobody reads comes in."""
        if self.conn.their_state is not h11.IDLE and self.conn.our_state is not h11.DONE:
            self._calm()
        elif self.patience is None:
            self.patience = self.loop.call_later(HEAD_S, self.transport.close)

    def _calm(self) -> None:
        if self.patience is not None:
            self.patience.cancel()
            self.patience = None


def run(app: Guard, listener: socket.socket) -> None:
    """Answer requests until the process is told to end."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        http=_Hasty,
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
