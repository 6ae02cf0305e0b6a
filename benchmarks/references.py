"""Times of the public FAN training code, to compare with.

Measured apart, on one core of a machine of this kind (AMD EPYC) with other programs running; they are not
measured again here.
"""

from benchmarks.result import Other

PUBLIC_CODE = "the public code"

LOADER = Other(PUBLIC_CODE, 1000 / 43)
"""A face from its photo of about 400 px to a batch, full augmentation, crops of 256 px: 43 a second."""

PREPROCESSING = Other("its preprocessing", 1000 / 3)
"""A face from its photo to a stored crop, by its older preprocessing: 3 a second."""

ENCODE = Other(PUBLIC_CODE, 16.5)
"""68 heatmaps of 64 x 64 cells from landmarks."""

DECODE = Other(PUBLIC_CODE, 18.0)
"""Landmarks from 68 heatmaps of 64 x 64 cells."""

FAN2_STEP = Other(PUBLIC_CODE, 1700.0)
"""One image's share of a training step of FAN-2 at 256 px."""

FAN2_INFERENCE = Other(PUBLIC_CODE, 450.0)
"""FAN-2 on one crop of 256 px: 0.4 to 0.5 s."""

FAN1_HALF_STEP = Other(PUBLIC_CODE, 125.0)
"""One image's share of a training step of FAN-1 with 128 features at 128 px: 0.11 to 0.14 s."""

FAN1_HALF_INFERENCE = Other(PUBLIC_CODE, 35.0)
"""FAN-1 with 128 features on one crop of 128 px: 0.03 to 0.04 s."""
