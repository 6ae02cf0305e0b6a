"""Who may ask, how much may be sent, and what the browser is told to keep from doing with the answers.

A page on the web can make a browser send requests to this machine's own servers, and by a name that it controls
(DNS rebinding) even read their answers. So a request has to name a host that this server goes by, and one that
changes or computes anything must not come from another site's page.

What is sent is bounded in size and in time. Strangers are another matter: whoever opens many connections can still
keep others out, so a server for the whole web belongs behind a reverse proxy.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fanlight.web.refusal import RefusedError

_CONTENT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "form-action": "'none'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
SECURITY_HEADERS = {
    "Content-Security-Policy": "; ".join(f"{what} {where}" for what, where in _CONTENT.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
IDLE_S = 10.0
"""A body of which nothing comes for so long is given up."""

BODY_S = 120.0
"""A body that takes longer in all is given up."""

DRAIN_S = 2.0
"""How long the rest of a refused body is read: clients that have no time to read the answer would lose it."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s\[\]:@/?#]+)(?::[0-9]*)?")

# Any other of Python's encodings would be taken as well, and some need minutes for half a megabyte.
_UTF8 = re.compile(r"charset=\"?utf-?8\"?\s*(;|$)", re.IGNORECASE)


def host_name(text: str) -> str | None:
    """The name in ``name:port``, in small letters and without brackets; None where there is no name."""
    match = _HOST.fullmatch(text)
    return match[1].strip("[]").lower() if match else None


class Guard:
    """Lets good requests through to an application.

    Args:
        app: the application.
        hosts: names that the server goes by, in small letters, without a port.
        addresses: also take any IP address as its name: no attacker can make one lead elsewhere.
        max_bytes: of a request's body.
        limits: the same for single paths, where it is less.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str],
        addresses: bool,
        max_bytes: int,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        self.app, self.hosts, self.addresses = app, frozenset(hosts), addresses
        self.max_bytes, self.limits = max_bytes, dict(limits or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, self.limits.get(scope["path"], self.max_bytes))
        answer = _Answer(send, body)
        refusal = self._judge(scope, body.limit)
        if refusal is None:
            await self.app(scope, body, answer)
        else:
            await refusal.response()(scope, body, answer)

    def _judge(self, scope: Scope, limit: int) -> RefusedError | None:
        """Why a request is not let through, going by its head."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_own(host):
            return RefusedError(
                403,
                f"this server does not go by the name {host[:80]!r}: see the address that fanlight serve printed",
            )
        origin = headers.get("origin")
        asks = scope["method"] in ("GET", "HEAD", "OPTIONS")
        foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site") and scope["path"] != "/"
        if foreign or (not asks and origin is not None and urlsplit(origin).netloc != host):
            return RefusedError(403, "requests from other sites' pages are not answered")
        kind = headers.get("content-type", "")
        if "charset" in kind.lower() and not _UTF8.search(kind):
            return RefusedError(415, f"content type {kind[:80]!r}: send the text of forms in UTF-8")
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > limit:
            return RefusedError(413, _too_large(limit))
        return None

    def _is_own(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.addresses


class _Body:
    """A request's body as it arrives: counted, since none need say how long it is, and not awaited for ever."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self.receive, self.limit = receive, limit
        self.arrived, self.whole = 0, False
        self.end = anyio.current_time() + BODY_S

    async def __call__(self) -> Message:
        if self.whole:  # what is awaited now is the client's leaving
            return await self.receive()
        left = self.end - anyio.current_time()
        try:
            with anyio.fail_after(min(IDLE_S, max(left, 0))):
                message = await self._next()
        except TimeoutError:
            raise HTTPException(408, "the upload came too slowly: try again") from None
        if self.arrived > self.limit:
            raise HTTPException(413, _too_large(self.limit))
        return message

    async def drain(self) -> None:
        """Read on for a while: most clients look for an answer only when they have sent everything."""
        with anyio.move_on_after(DRAIN_S):
            while not self.whole and self.arrived <= 2 * self.limit:
                await self._next()

    async def _next(self) -> Message:
        message = await self.receive()
        self.arrived += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        return message


class _Answer:
    """An answer on its way: with the security headers, and ahead of the rest of a body that is not wanted."""

    def __init__(self, send: Send, body: _Body) -> None:
        self.send, self.body, self.ends = send, body, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            self.ends = message["status"] in (403, 408, 413)
            if self.ends:
                headers["Connection"] = "close"
        elif self.ends and not message.get("more_body"):
            await self.send({**message, "more_body": True})
            await self.body.drain()
            message = {"type": "http.response.body"}
        await self.send(message)


def _too_large(limit: int) -> str:
    advice = "scale the photo down" if limit > 8 << 20 else "send one face's landmarks"
    return f"the upload is larger than {limit >> 20} MiB: {advice}"
