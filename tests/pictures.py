"""One drawn face in every kind of image file."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Photo = NDArray[np.uint8]


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    """A file by Pillow."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exact(photo: Photo) -> Mapping[str, bytes]:
    """Files that hold the very pixels of an RGB photo."""
    picture = Image.fromarray(photo)
    clear = picture.copy()
    clear.putalpha(
        Image.fromarray(np.linspace(0, 255, photo[..., 0].size).reshape(photo.shape[:2]).astype("u1"))
    )
    deep = cv2.cvtColor(photo, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    more = {"save_all": True, "append_images": [Image.new("RGB", picture.size, (9, 9, 9))] * 2}
    files = {
        "png": encode(picture, "PNG"),
        "png alpha": encode(clear, "PNG"),
        "png 16 bit": cv2.imencode(".png", deep)[1].tobytes(),
        "png interlaced": interlaced(photo),
        "png animated": encode(picture, "PNG", **more),
        "webp lossless": encode(picture, "WEBP", lossless=True),
        "webp lossless alpha": encode(clear, "WEBP", lossless=True, exact=True),
        "webp animated": encode(picture, "WEBP", lossless=True, **more),
        "bmp": encode(picture, "BMP"),
        "bmp 32 bit": encode(picture.convert("RGBA"), "BMP"),
        "tiff 16 bit": cv2.imencode(".tiff", deep)[1].tobytes(),
        "tiff pages": encode(picture, "TIFF", **more),
        "tiff alpha": encode(picture.convert("RGBA"), "TIFF"),
        "tiff cmyk": encode(picture.convert("CMYK"), "TIFF"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        files[f"tiff {compression}"] = encode(picture, "TIFF", compression=compression)
    return files


def lossy(photo: Photo) -> Mapping[str, bytes]:
    """Files that hold nearly these pixels."""
    picture = Image.fromarray(photo)
    return {
        "jpeg": encode(picture, "JPEG", quality=98),
        "jpeg 4:2:0": encode(picture, "JPEG", quality=95, subsampling=2),
        "jpeg progressive": encode(picture, "JPEG", quality=95, progressive=True),
        "jpeg restarts": encode(picture, "JPEG", quality=95, restart_marker_blocks=3),
        "jpeg rgb": encode(picture, "JPEG", quality=95, keep_rgb=True),
        "jpeg cmyk": encode(picture.convert("CMYK"), "JPEG", quality=98),
        "webp": encode(picture, "WEBP", quality=95),
        "webp alpha": encode(picture.convert("RGBA"), "WEBP", quality=95),
        "tiff jpeg": encode(picture, "TIFF", compression="jpeg", quality=95),
        "tiff ycbcr": encode(picture.convert("YCbCr"), "TIFF"),
    }


def grey(photo: Photo) -> Mapping[str, bytes]:
    """Files without colours."""
    picture = Image.fromarray(photo).convert("L")
    deep = np.asarray(picture).astype(np.uint16) * 257
    return {
        "png grey": encode(picture, "PNG"),
        "png grey alpha": encode(picture.convert("LA"), "PNG"),
        "png grey 16 bit": cv2.imencode(".png", deep)[1].tobytes(),
        "tiff grey": encode(picture, "TIFF"),
        "tiff grey 16 bit": cv2.imencode(".tiff", deep)[1].tobytes(),
        "bmp grey": encode(picture, "BMP"),
        "webp grey": encode(picture.convert("RGB"), "WEBP", lossless=True),
        "jpeg grey": encode(picture, "JPEG", quality=98),
    }


def palette(photo: Photo) -> Mapping[str, bytes]:
    """Files of 256 colours at most, which ``Image.convert("P").convert("RGB")`` has too."""
    picture = Image.fromarray(photo).convert("P")
    return {
        "png palette": encode(picture, "PNG"),
        "png palette transparent": encode(picture, "PNG", transparency=3),
        "bmp palette": encode(picture, "BMP"),
        "tiff palette": encode(picture, "TIFF"),
    }


def strange(photo: Photo) -> Mapping[str, bytes]:
    """Files that cannot be shown as photos without guessing, or at all."""
    picture = Image.fromarray(photo)
    values = photo[..., 1].astype(np.float32)
    other = [
        (kind, encode(picture, kind)) for kind in ("GIF", "AVIF", "JPEG2000", "TGA", "PPM", "ICO", "DDS")
    ]
    return {
        "tiff lab": encode(picture.convert("LAB"), "TIFF"),
        "tiff float": encode(Image.fromarray(values / 255), "TIFF"),
        "tiff float 255": encode(Image.fromarray(values), "TIFF"),
        "tiff 32 bit": encode(Image.fromarray(values.astype(np.int32)), "TIFF"),
        "tiff signed": cv2.imencode(".tiff", photo.astype(np.int16) * 128)[1].tobytes(),
        "tiff signed bytes": cv2.imencode(".tiff", (photo // 2).astype(np.int8))[1].tobytes(),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        "html": b"<!DOCTYPE html><title>404</title>",
        "empty": b"",
        **{kind.lower(): data for kind, data in other},
    }


def png(
    width: int, height: int, rows: bytes = b"", depth: int = 8, colour: int = 2, interlace: int = 0
) -> bytes:
    """A PNG file of any size, with these bytes as its compressed rows."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def interlaced(photo: Photo) -> bytes:
    """A PNG file in the seven passes of Adam7."""
    height, width = photo.shape[:2]
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    parts = [photo[y::dy, x::dx] for y, x, dy, dx in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts if part.size for row in part)
    return png(width, height, zlib.compress(rows), interlace=1)
