"""What the first bytes of an image file say about it, read without decoding anything.

Decoders take what they are given: a cut-off JPEG becomes a photo with a grey end, a few bytes become gigabytes. So
the size, the end mark and the orientation are looked at first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from fanlight.jpeg_scans import only_scan_end


@dataclass(frozen=True)
class ImageHeader:
    """The frame of an image file.

    Attributes:
        format: JPEG, PNG, WebP, BMP or TIFF.
        width, height: in pixels, as stored: before ``orientation`` is applied.
        orientation: EXIF's number, 1 (upright) to 8.
        scan_end: where the only scan of a JPEG ends; 0 where it has several, and of other formats.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    scan_end: int = 0


class UnknownFormatError(ValueError):
    """The bytes do not begin like any image format that can be read."""


def read_header(data: bytes) -> ImageHeader:
    """Recognise a JPEG, PNG, WebP, BMP or TIFF file.

    Args:
        data: the whole file.

    Raises:
        UnknownFormatError: it is none of these; the message goes on from the file's name.
        ValueError: it has no size, or is cut off; likewise.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            header = _jpeg(data)
        elif data.startswith(b"\x89PNG\r\n\x1a\n"):
            header = _png(data)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            header = _webp(data)
        elif data.startswith(b"BM"):
            header = _bmp(data)
        elif data.startswith((b"II*\0", b"MM\0*")):
            header = _tiff(data)
        else:
            raise UnknownFormatError(
                "not an image in JPEG, PNG, WebP, BMP or TIFF format: convert it to one of these"
            )
    except (struct.error, IndexError):
        raise ValueError("the image is cut off within its header: replace or remove it") from None
    if header.width < 1 or header.height < 1:
        raise ValueError(f"the image is {header.width} x {header.height} pixels: replace or remove it")
    return header


_SAMPLE_FORMAT, _PHOTOMETRIC, _LAB = 339, 262, (8, 9, 10)  # tags of TIFF, and values
_CUT_OFF = "the {} file is cut off: replace or remove it"
# What says nothing of the pixels: some editors write wrong checksums there, which decoders pass over. Any other
# name with a wrong checksum may be that of pixels, damaged.
_BESIDE_THE_PIXELS = frozenset(
    b"IEND bKGD cHRM cICP eXIf gAMA hIST iCCP iTXt pHYs sBIT sPLT sRGB tEXt tIME zTXt".split()
)


def _jpeg(data: bytes) -> ImageHeader:
    width = height = frame = 0
    orientation = 1
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("the JPEG file is damaged: replace or remove it")
        while data[at] == 0xFF:  # any number of these may come before a marker
            at += 1
        marker = data[at]
        at += 1
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            continue
        if marker in (0xDA, 0xD9):  # the picture itself begins
            break
        (length,) = struct.unpack_from(">H", data, at)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame = marker
            height, width = struct.unpack_from(">HH", data, at + 3)
        elif marker == 0xE1 and data[at + 2 : at + 8] == b"Exif\0\0":
            orientation = _exif_orientation(data[at + 8 : at + length])
        at += length
    end = only_scan_end(data, at - 2, progressive=frame == 0xC2)
    return ImageHeader("JPEG", width, height, orientation, end)


def _png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    orientation, at, kind = 1, 8, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise ValueError(_CUT_OFF.format("PNG"))
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise ValueError(_CUT_OFF.format("PNG"))
        content = memoryview(data)[at + 4 : end]
        is_whole = zlib.crc32(content) == struct.unpack_from(">I", data, end)[0]
        if not is_whole and kind not in _BESIDE_THE_PIXELS:
            raise ValueError("the PNG file is damaged (a checksum is wrong): replace or remove it")
        if kind == b"eXIf" and is_whole:
            orientation = _exif_orientation(bytes(content[4:]))
        at = end + 4
    return ImageHeader("PNG", width, height, orientation)


def _webp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 4)
    if len(data) < size + 8:
        raise ValueError(_CUT_OFF.format("WebP"))
    kind = data[12:16]
    if kind == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return ImageHeader("WebP", width, height, _exif_orientation(_webp_chunk(data, b"EXIF")))
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    return ImageHeader("WebP", width, height)


def _webp_chunk(data: bytes, wanted: bytes) -> bytes:
    """The content of the first chunk of a kind; empty where there is none."""
    at = 12
    while at + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == wanted:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return b""


def _bmp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return ImageHeader("BMP", abs(width), abs(height))


def _tiff(data: bytes) -> ImageHeader:
    tags = _tiff_tags(data)
    if tags.get(_SAMPLE_FORMAT, 1) not in (1, 4) or tags.get(_PHOTOMETRIC, 1) in _LAB:
        raise ValueError(
            "a TIFF of signed numbers, fractions or L*a*b* colours: convert it to 8 or 16 bits, RGB"
        )
    return ImageHeader("TIFF", tags.get(256, 0), tags.get(257, 0), _exif_orientation(data))


def _exif_orientation(exif: bytes) -> int:
    """EXIF is a small TIFF file inside the photo; anything odd in it counts as upright, as decoders have it."""
    try:
        orientation = _tiff_tags(exif).get(274, 1)
    except (struct.error, IndexError):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _tiff_tags(data: bytes) -> dict[int, int]:
    """The first directory's tags of whole numbers; of several numbers, the first."""
    order = "<" if data.startswith(b"II") else ">"
    (at,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, at)
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
        if kind not in (3, 4) or not count:
            continue
        layout, place = f"{order}{'HI'[kind - 3]}", entry + 8
        if count * struct.calcsize(layout) > 4:  # the numbers are elsewhere
            (place,) = struct.unpack_from(f"{order}I", data, place)
        (tags[tag],) = struct.unpack_from(layout, data, place)
    return tags
