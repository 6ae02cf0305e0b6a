"""Pages from templates: whatever comes from outside is escaped, whatever a page needs is inside it.

Should something slip through all the same, the browser is told to run no script but the viewer's and to fetch
nothing.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import jinja2
import markupsafe
import numpy as np
from numpy.typing import NDArray

from fanlight.draw import Image
from fanlight.durable import write_whole
from fanlight.provenance_text import groups

QUALITY = 85


def write_page(
    path: str | Path, template: str, provenance: Mapping[str, Any] | None = None, **content: Any
) -> Path:
    """Render a template into a file, whose folder is made; it appears whole or not at all.

    Args:
        path: the file.
        template: its name.
        provenance: where the page comes from, which is told at its end; ``fanlight info`` reads it there.
        content: what else the template shows.

    Returns:
        The path written.

    Raises:
        InputError: it cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanlight"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known = provenance or {}
    made = groups(known) if known else []
    script = environment.get_template("viewer.js").render()
    page = environment.get_template(template).render(
        **content, made=made, provenance=known, script=markupsafe.Markup(script), policy=_policy(script)
    )
    write_whole(path, page)
    return Path(path)


def _policy(script: str) -> str:
    """What a page may do: run this script, show the pictures in it, and use its own styles."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def data_uri(image: Image, quality: int = QUALITY) -> str:
    """An image as a JPEG inside a link, so that the page needs no file beside it."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def thumbnail(image: Image, side: int) -> tuple[str, float]:
    """A picture of at most ``side`` px as a link, and the factor by which it was scaled."""
    factor = min(1.0, side / max(image.shape[:2]))
    if factor < 1:
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        small: NDArray[np.uint8] = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        return data_uri(small, 80), factor
    return data_uri(image, 80), factor
