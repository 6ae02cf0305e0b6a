"""What an exported network's file says about itself, as JSON: enough to feed it and to read its answers."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from fanlight.errors import InputError
from fanlight.geometry import CropRule
from fanlight.markup import Markup
from fanlight.network import Usage

FORMAT = "fanlight-network-1"
KEY = "fanlight"  # of the text in the file
CONVENTION = (
    "Crops are (B, S, S, 3) uint8, RGB, 0 to 255. Landmarks are (x, y) in crop px, continuous: pixel i covers "
    "[i, i + 1) and its centre is i + 0.5; covariances are in crop px squared; heatmap cells have centres at "
    "j + 0.5, input_size / heatmap_size crop px each. crop says how a face box becomes the square that is resized "
    "to S px: its side is scale times the box's size (the mean or the max of width and height), its centre is the "
    "box's, moved by shift_x widths and shift_y heights. Going back, with the square's left, top and side: "
    "image = (left, top) + crop * side / S + offset_image, in the same continuous convention. Left and right are "
    "the subject's."
)


def to_json(usage: Usage, **more: Any) -> str:
    """Write down how a network is used.

    Args:
        usage: how.
        more: anything else to say, as plain values; it is not read back.
    """
    facts = {
        "format": FORMAT,
        "convention": CONVENTION,
        "input_size": usage.input_size,
        "crop": asdict(usage.crop),
        "crops": {name: asdict(rule) for name, rule in usage.crops.items()},
        "offset_image": list(usage.offset_image),
        "markup": usage.markup.to_dict(),
    }
    return json.dumps({**more, **facts}, ensure_ascii=False)


def from_json(text: str, name: str) -> Usage:
    """Read what ``to_json`` wrote.

    Args:
        text: the JSON.
        name: what to call the network, and the file in a message.

    Raises:
        InputError: it is not JSON, of another format, or damaged.
    """
    try:
        facts = json.loads(text)
        if facts.get("format") != FORMAT:
            raise InputError(
                f"{name}: holds a network of the format {facts.get('format')!r}, expected {FORMAT!r}: install the "
                "fanlight that exported it, or export it again"
            )
        offset_x, offset_y = facts["offset_image"]
        return Usage(
            name=name,
            input_size=int(facts["input_size"]),
            markup=Markup.from_dict(facts["markup"]),
            crop=CropRule(**facts["crop"]),
            crops={str(detector): CropRule(**rule) for detector, rule in facts["crops"].items()},
            offset_image=(float(offset_x), float(offset_y)),
        )
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise InputError(
            f"{name}: what it says of itself is damaged ({error}): copy or export it again"
        ) from None
