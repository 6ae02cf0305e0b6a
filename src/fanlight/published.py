"""What others report for a recipe, so that a run can stand beside it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from fanlight.metric import Metric


class Published(BaseModel):
    """Published results, and what must be judged to stand beside them.

    Attributes:
        metric: the key of what was measured.
        flip: mirrored faces were averaged in.
        results: the metric's value, a fraction, by the test set's name.
        partitions: those that together are such a test set, where it can be had.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    metric: str = "auc_box_0.07"
    flip: bool = True
    results: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    partitions: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str) -> str:
        return Metric.parse(metric).key
