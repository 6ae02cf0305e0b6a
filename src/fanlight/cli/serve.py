"""``fanlight serve``."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import out, warn
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.web.work import Shelf


def serve(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME|PATH",
            help="A network: one that comes with fanlight, or a checkpoint. Give several to compare them.",
            show_default="those that come with fanlight",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets others in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free port.")] = 8000,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help='What finds faces; "none" goes without.', show_default="the best installed"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    allowed: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="A name by which browsers may reach the page."),
    ] = None,
) -> None:
    """Open a page that finds landmarks in photos or with the camera, compares networks, corrects .pts files."""
    needed = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
    missing = [name for module, name in needed.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise InputError(f"the page needs {', '.join(missing)}: pip install 'fanlight[web]'")
    if "cv2" not in sys.modules:  # a second fence behind the look at each photo's header
        os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 27))
    from fanlight.web.server import address, guarded, is_loopback, listen, open_browser, run

    with listen(host, port) as listener:
        shelf = _fill(models or [], device, detector)
        app = guarded(shelf, listener, [host, *(allowed or [])])
        url = address(listener)
        for name in shelf.predictors:
            out.print(f"model     {name}")
        out.print(f"detector  {shelf.detector_name or 'none: draw a box around each face'}")
        out.print(f"page      {url}   (Ctrl-C ends it)")
        if not is_loopback(listener):
            warn(
                f"{host} is not this machine alone: everyone who can reach it may use the page, and what "
                "they send travels unencrypted; browsers give the camera to https pages and to this machine's "
                "own only. Put a reverse proxy in front of it before strangers may reach it"
            )
        sys.stdout.flush()
        if show:
            open_browser(url)
        try:
            run(app, listener)
        except KeyboardInterrupt:
            out.print("ended")


def _fill(models: list[str], device: str, detector: str | None) -> Shelf:
    """Load the networks: those asked for, then those that come with fanlight."""
    from fanlight.models import DEFAULT, names
    from fanlight.predict import load
    from fanlight.web.work import Shelf, shelf_names

    wanted = list(dict.fromkeys([*models, *names()])) or [DEFAULT]
    predictors = [load(model, None if device == "auto" else device) for model in wanted]
    called = shelf_names(wanted)
    compare = called[1] if len(set(models)) > 1 else None
    return Shelf(dict(zip(called, predictors, strict=True)), detector, compare)
