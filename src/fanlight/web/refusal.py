"""What a request is told when it cannot be answered."""

from __future__ import annotations

from starlette.responses import JSONResponse


class RefusedError(Exception):
    """A request that is not carried out, for a reason that the client may know.

    Args:
        status: of HTTP: 403 not from here, 413 too large, 415 not an image, 422 cannot be used, 503 busy.
        message: what was given, what was expected, what to do next.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message

    def response(self) -> JSONResponse:
        """``{"error": message}``, with when to come back where waiting helps."""
        headers = {"Retry-After": "1"} if self.status == 503 else None
        return JSONResponse({"error": self.message}, self.status, headers)
