"""The web application: the page's files and the JSON API."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from importlib import resources
from typing import Annotated, TypeVar

import anyio
import anyio.to_thread
from fastapi import FastAPI, File, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException

import fanlight
from fanlight.data.pts import format_pts, parse_pts
from fanlight.errors import InputError
from fanlight.web import work
from fanlight.web.refusal import RefusedError
from fanlight.web.schema import Box, Health, Heatmaps, Landmarks, Limits, Models, Prediction

MAX_WAITING = 8
"""Requests that wait for the network; one more is told to come back."""

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
Result = TypeVar("Result")
_BOXES: TypeAdapter[list[Box]] = TypeAdapter(list[Box])
_BOX: TypeAdapter[Box] = TypeAdapter(Box)

Photo = Annotated[UploadFile, File(description="a photo: JPEG, PNG, WebP, BMP or TIFF")]
Model = Annotated[str | None, Form(description="name of the network; the first one if absent")]
Crop = Annotated[str | None, Form(description="name of the detector that the boxes come from, if any")]
Flip = Annotated[bool, Form(description="average with what is found in the mirrored face")]
BoxesText = Annotated[
    str | None,
    Form(
        description='JSON: [[left, top, right, bottom], ...] in px, or "whole"; the detector is asked if absent'
    ),
]


class Desk:
    """One photo at a time, in a thread of its own, so that the server goes on answering; a short queue.

    A photo is taken into memory when its turn has come: those that wait lie on the disk.
    """

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._present = 0  # those that wait, and the one at work

    async def do(
        self, request: Request, photo: UploadFile, job: Callable[[bytes, str], Result]
    ) -> Result | Response:
        """The job's result, from a photo's bytes and its name; nothing is done for a client that has left.

        Raises:
            RefusedError: too many are waiting.
        """
        if self._present > MAX_WAITING:
            raise RefusedError(
                503, f"busy: {MAX_WAITING} requests are waiting already; try again in a moment"
            )
        self._present += 1
        try:
            async with self._turn:
                if await request.is_disconnected():
                    return Response(status_code=499)
                data = await photo.read()
                return await anyio.to_thread.run_sync(job, data, _name(photo))
        except InputError as error:
            raise RefusedError(422, str(error)) from None
        finally:
            self._present -= 1


def make_app(shelf: work.Shelf) -> FastAPI:
    """The application, which still needs its guard.

    Args:
        shelf: the networks that it serves.
    """
    app = FastAPI(
        title="fanlight",
        version=fanlight.__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    _add_page(app)
    _add_api(app, shelf, Desk())
    _add_files(app)
    _add_refusals(app)
    return app


def _add_page(app: FastAPI) -> None:
    """The page's files, read once: no path that a client sends reaches the disk."""
    folder = resources.files("fanlight.web") / "static"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    tags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in files.items()}

    def send(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        headers = {"ETag": tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        return Response(files[name], headers=headers, media_type=TYPES[name.rpartition(".")[2]])

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        return send(request, "index.html")

    @app.api_route("/static/{name}", methods=["GET", "HEAD"], include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return send(request, name)


def _add_api(app: FastAPI, shelf: work.Shelf, desk: Desk) -> None:
    """What is asked of networks."""

    @app.get("/api/health")
    async def health() -> Health:
        """Whether the server is there."""
        return Health(version=fanlight.__version__, models=len(shelf.predictors))

    @app.get("/api/models")
    async def models() -> Models:
        """The networks, the detector and the limits."""
        limits = Limits(bytes=work.MAX_BYTES, pixels=work.MAX_PIXELS, boxes=work.MAX_BOXES)
        return Models(
            models=shelf.describe(), detector=shelf.detector_name, compare=shelf.compare, limits=limits
        )

    @app.post("/api/predict", response_model=Prediction)
    async def predict(
        request: Request,
        photo: Photo,
        model: Model = None,
        boxes: BoxesText = None,
        crop: Crop = None,
        flip: Flip = False,
    ) -> Prediction | Response:
        """The landmarks of each face in a photo."""
        given = _read_boxes(boxes)
        job = functools.partial(work.predict, shelf, model=model, boxes=given, crop=crop, flip=flip)
        return await desk.do(request, photo, job)

    @app.post("/api/heatmaps", response_model=Heatmaps)
    async def heatmaps(
        request: Request,
        photo: Photo,
        box: Annotated[str, Form(description="JSON: [left, top, right, bottom] in px")],
        model: Model = None,
        crop: Crop = None,
    ) -> Heatmaps | Response:
        """What a network saw of a face, and its heatmaps."""
        try:
            given = _BOX.validate_json(box)
        except ValidationError:
            raise RefusedError(422, f"box {box[:80]!r}: send JSON, [left, top, right, bottom]") from None
        job = functools.partial(work.heatmaps, shelf, model=model, box=given, crop=crop)
        return await desk.do(request, photo, job)

    @app.post("/api/preview", response_class=Response)
    async def preview(request: Request, photo: Photo) -> Response:
        """The photo as the networks see it, a PNG."""
        shown = await desk.do(request, photo, work.preview)
        return shown if isinstance(shown, Response) else Response(shown, media_type="image/png")


def _add_files(app: FastAPI) -> None:
    """Landmark files, 1-based as their format has it."""

    @app.post("/api/pts", response_class=Response)
    async def write_pts(face: Landmarks) -> Response:
        """The landmarks as a .pts file."""
        headers = {"Content-Disposition": 'attachment; filename="face.pts"'}
        return Response(format_pts(face.landmarks), headers=headers, media_type="text/plain")

    @app.post("/api/pts/read")
    def read_pts(file: Annotated[UploadFile, File(description="a .pts file")]) -> Landmarks:
        """The landmarks in a .pts file."""
        try:
            return Landmarks(landmarks=parse_pts(file.file.read(), _name(file)).tolist())
        except InputError as error:
            raise RefusedError(422, str(error)) from None
        except ValidationError:
            raise RefusedError(422, f"{_name(file)}: holds more landmarks than a face has") from None


def _add_refusals(app: FastAPI) -> None:
    """Every failure as ``{"error": message}``; what went wrong inside goes to the log alone."""

    @app.exception_handler(RefusedError)
    async def refuse(_: Request, refusal: RefusedError) -> Response:
        return refusal.response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        told = str(error.detail).rstrip(".")
        if error.status_code == 400:  # by the libraries that read forms and JSON
            told = f"the body cannot be read ({told}): see /api/openapi.json"
        return RefusedError(error.status_code, told).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        problems = dict.fromkeys(_sentence(fault["loc"], fault["type"]) for fault in error.errors()[:20])
        return RefusedError(422, "; ".join(problems)).response()

    @app.exception_handler(Exception)
    async def fail(_: Request, error: Exception) -> Response:
        return RefusedError(
            500, "something went wrong inside; the terminal of fanlight serve says what"
        ).response()


_ASKED = {
    "photo": "send a photo in the form's field photo, as a file",
    "file": "send a .pts file in the form's field file, as a file",
    "box": "send JSON, [left, top, right, bottom]",
    "flip": "send true or false",
    "landmarks": "send JSON, [[x, y], ...]: 1 to 10,000 points of two finite numbers",
}


def _sentence(place: tuple[int | str, ...], kind: str) -> str:
    """What is wrong with a field, where it is, and what it should hold."""
    if kind == "json_invalid" or len(place) < 2 or not isinstance(place[1], str):
        return "the body is not as expected: see /api/openapi.json"
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place[1:])[1:]
    return f"{where}: {_ASKED.get(place[1], 'cannot be used: see /api/openapi.json')}"


def _name(file: UploadFile) -> str:
    """What a file is called, fit for a message."""
    name = re.split(r"[/\\]", file.filename or "")[-1]
    return "".join(letter for letter in name if letter.isprintable())[:80] or "the photo"


def _read_boxes(text: str | None) -> work.Boxes:
    if not text:
        return None
    if text in ("whole", '"whole"'):
        return "whole"
    try:
        boxes = _BOXES.validate_json(text)
    except ValidationError:
        raise RefusedError(
            422, f'boxes {text[:80]!r}: send JSON, [[left, top, right, bottom], ...], or "whole"'
        ) from None
    if len(boxes) > work.MAX_BOXES:
        raise RefusedError(422, f"{len(boxes)} boxes: send at most {work.MAX_BOXES} at a time")
    return boxes
