"""Who may ask, how much may be sent, and what the browser is told to keep from doing with the answers.

A page on the web can make a browser send requests to this machine's own servers, and by a name that it controls
(DNS rebinding) even read their answers. So a request has to name a host that this server goes by, and one that
changes or computes anything must not come from another site's page.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

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


class Guard:
    """Lets good requests through to an application.

    Args:
        app: the application.
        hosts: names that the server goes by, in small letters, without a port.
        addresses: also take any IP address as its name: no attacker can make one lead elsewhere.
        max_bytes: of a request's body.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], addresses: bool, max_bytes: int) -> None:
        self.app, self.hosts, self.addresses, self.max_bytes = app, frozenset(hosts), addresses, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._judge(scope)
        if refusal is None:
            await self.app(scope, self._measured(receive), send_guarded)
            return
        if refusal.status == 413 and "expect" not in Headers(scope=scope):
            await self._discard(receive)
        response = refusal.response()
        response.headers["Connection"] = "close"
        await response(scope, receive, send_guarded)

    def _judge(self, scope: Scope) -> RefusedError | None:
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
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > self.max_bytes:
            return self._too_large()
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.addresses

    def _too_large(self) -> RefusedError:
        return RefusedError(
            413, f"the upload is larger than {self.max_bytes >> 20} MiB: scale the photo down"
        )

    def _measured(self, receive: Receive) -> Receive:
        """Count what arrives: a request need not say how long it is."""
        arrived = 0

        async def measured() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self.max_bytes:
                raise HTTPException(413, self._too_large().message)
            return message

        return measured

    async def _discard(self, receive: Receive) -> None:
        """Read on for a while: most clients look for an answer only when they have sent everything."""
        left = 8 * self.max_bytes
        while left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body"):
                return
