"""A real server for tests, whose networks find painted dots: python dot_server.py FOLDER prints its address.

``dots`` is right, ``shifted`` 3 px to the right of it, ``slow`` answers once FOLDER/go exists (and adds a line to
FOLDER/calls when it is asked), ``broken`` fails, ``ruled`` knows the boxes of the detector "tight".
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fanlight.geometry import CropRule
from fanlight.network import Located
from fanlight.predict import Predictor
from fanlight.web.server import address, guarded, listen, run
from fanlight.web.work import Shelf
from painted import PLACES, dot_predictor

SHIFT_PX = 3.0
TIGHT = CropRule(scale=2.5, shift_y=0.1)


def find_dots(photo: NDArray[np.uint8]) -> ArrayLike:
    """The box of a face of dots; none in a photo whose first pixel is white."""
    y, x = np.nonzero(photo.max(2) > 128)
    if photo[0, 0].min() > 200 or not len(x):
        return np.empty((0, 4))
    low, high = np.array([x.min(), y.min()]) + 0.5, np.array([x.max(), y.max()]) + 0.5
    size = (high - low) / np.ptp(PLACES, axis=0)
    corner = low - PLACES.min(0) * size
    return np.concatenate([corner, corner + size])[None]


class Slow:
    """A network that waits for a file."""

    def __init__(self, predictor: Predictor, go: Path) -> None:
        self.network, self.usage, self.go = predictor.network, predictor.usage, go

    def __call__(self, crops: Any) -> Located:
        """Locate the landmarks, later."""
        with (self.go.parent / "calls").open("a") as calls:
            calls.write("called\n")
        while not self.go.exists():
            time.sleep(0.01)
        return self.network(crops)


class Broken:
    """A network that fails."""

    def __init__(self, predictor: Predictor) -> None:
        self.usage = predictor.usage

    def __call__(self, crops: NDArray[np.uint8] | Tensor) -> Located:
        """Fail."""
        raise RuntimeError("a secret of this machine")


def main(folder: Path) -> None:
    """Serve until the process ends."""
    right, ruled = dot_predictor(folder), dot_predictor(folder).network
    ruled.usage = replace(ruled.usage, crops={"tight": TIGHT})  # type: ignore[misc]
    shelf = Shelf(
        {
            "dots": right,
            "shifted": dot_predictor(folder, offset=(SHIFT_PX, 0)),
            "slow": Predictor(Slow(right, folder / "go")),  # type: ignore[arg-type]
            "broken": Predictor(Broken(right)),  # type: ignore[arg-type]
            "ruled": Predictor(ruled),
        },
        detector="dot_server:find_dots",
    )
    with listen("127.0.0.1", 0) as listener:
        print(address(listener), flush=True)
        run(guarded(shelf, listener), listener)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
