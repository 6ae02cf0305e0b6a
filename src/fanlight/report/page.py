"""Pages from templates: whatever comes from outside is escaped, whatever a page needs is inside it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from numpy.typing import NDArray

from fanlight.draw import Image
from fanlight.durable import write_whole

QUALITY = 85


def write_page(path: str | Path, template: str, **content: Any) -> Path:
    """Render a template into a file, whose folder is made.

    Returns:
        The path written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fanlight"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template(template).render(**content)
    write_whole(path, page)
    return Path(path)


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
