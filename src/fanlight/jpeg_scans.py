"""Whether the picture in a JPEG file is all there, as far as the order of its parts tells.

The format has no checksum, and decoders make up what is missing: grey, or blocks of one colour. So the parts, the
scans, are gone through by their markers; nothing is decoded.
"""

from __future__ import annotations

import re
import struct

_MAX_SCANS = 50
_MAX_SEGMENTS = 1000
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_SOS, _EOI = 0xDA, 0xD9
_COEFFICIENTS = 64  # of a block


class CutOffError(ValueError):
    """The picture ends early."""


def only_scan_end(data: bytes, at: int, progressive: bool) -> int:
    """Go through the scans of a JPEG file.

    Args:
        data: the file.
        at: where the first scan's marker begins.
        progressive: whether the picture comes roughly first, and is refined by later scans.

    Returns:
        Where the scan ends, if it is the only one, so that a decoder can be kept from making up what is missing;
        else 0.

    Raises:
        CutOffError: there is no end, or refinements are missing.
        ValueError: there are very many scans, each of which is a pass over all pixels and may take few bytes
            (encoders write some ten), or very many other segments.
    """
    scans: list[bytes] = []
    segments = end = 0
    while match := _MARKER.search(data, at):
        marker, at = match[1][0], match.end()
        if marker == _EOI:
            end = match.start()
            break
        segments += 1
        (length,) = (
            struct.unpack_from(">H", data, at) if marker >= 0xC0 else (0,)
        )  # what is lower has no length
        if marker == _SOS:
            scans.append(data[at + 2 : at + length])
        if len(scans) > _MAX_SCANS or segments > _MAX_SEGMENTS:
            raise ValueError("the JPEG file is made of too many scans to be a photo: store it anew")
        at += length
    if not end or (progressive and not _refined(scans)):
        raise CutOffError("the JPEG file is cut off: replace or remove it")
    return end if len(scans) == 1 else 0


def _refined(scans: list[bytes]) -> bool:
    """Whether the first component has all of its coefficients, and all that were begun came to their last bit.

    Source: ITU-T T.81, B.2.3 and G.1.
    """
    left: dict[tuple[int, int], int] = {}  # component, coefficient: bits that are still to come
    for scan in scans:
        count = scan[0]
        first, last, bits = scan[1 + 2 * count : 4 + 2 * count]
        for component in scan[1 : 1 + 2 * count : 2]:
            for coefficient in range(first, min(last + 1, _COEFFICIENTS)):
                left[component, coefficient] = bits & 15
    luma = scans[0][1]
    return not any(left.values()) and all((luma, number) in left for number in range(_COEFFICIENTS))
