"""What a metric is: its kind, normaliser, threshold, rule and weighting, and the key that names them all."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

import numpy as np

from fanlight.distance import NORMALISERS, Floats, Normaliser
from fanlight.errors import InputError
from fanlight.metric.area import RULES, Rule, area_column
from fanlight.resample import Column

Kind = Literal["nme", "auc", "fr", "macc"]

_KEY = re.compile(
    rf"({'|'.join(get_args(Kind))})_({'|'.join(sorted(get_args(Normaliser), reverse=True))})"
    rf"(?:_(\d*\.?\d+))?(?:_({'|'.join(get_args(Rule))}))?(_weighted)?"
)


@dataclass(frozen=True)
class Metric:
    """One metric with everything its number depends on.

    Attributes:
        kind: ``nme``, ``auc``, ``fr`` (failure rate) or ``macc`` (mean accuracy of the landmarks).
        normaliser: the length that errors are divided by.
        threshold: where a curve ends or a failure begins, a fraction; None for ``nme``.
        rule: how ``auc`` integrates.
        weighted: each face counts by its weight; else all count alike.

    Raises:
        InputError: a threshold that is missing, superfluous or not above 0; a rule for anything but ``auc``.
    """

    kind: Kind
    normaliser: Normaliser = "box"
    threshold: float | None = None
    rule: Rule = "trapezoid"
    weighted: bool = False

    def __post_init__(self) -> None:
        if (self.threshold is None) != (self.kind == "nme"):
            need = "takes no threshold" if self.kind == "nme" else "needs a threshold, such as 0.07"
            raise InputError(f"metric {self.kind} {need}")
        if self.threshold is not None and not 0 < self.threshold < np.inf:
            raise InputError(f"threshold {self.threshold}: expected a fraction above 0, such as 0.07")
        if self.rule not in RULES or (self.rule != "trapezoid" and self.kind != "auc"):
            raise InputError(f"rule {self.rule!r} for {self.kind}: auc takes one of {', '.join(RULES)}")

    @classmethod
    def parse(cls, key: str) -> Metric:
        """Read a key such as ``nme_box``, ``auc_box_0.07_lua`` or ``macc_box_0.07_weighted``.

        Raises:
            InputError: not a metric's key; the message shows the form of each.
        """
        try:
            kind, normaliser, threshold, rule, weighted = cast(re.Match[str], _KEY.fullmatch(key)).groups()
            return cls(
                cast(Kind, kind),
                cast(Normaliser, normaliser),
                float(threshold) if threshold else None,
                cast(Rule, rule or "trapezoid"),
                weighted is not None,
            )
        except (AttributeError, InputError):
            raise InputError(
                f"{key!r} is no metric: write nme_NORMALISER, fr_NORMALISER_THRESHOLD, "
                "macc_NORMALISER_THRESHOLD or auc_NORMALISER_THRESHOLD[_RULE], as in auc_box_0.07, and _weighted "
                "at the end where faces count by their weights, as in macc_box_0.07_weighted; "
                f"normalisers are {', '.join(NORMALISERS)}; rules are {', '.join(RULES)}"
            ) from None

    @property
    def key(self) -> str:
        """The metric's name in results; ``Metric.parse(metric.key) == metric``."""
        limit = () if self.threshold is None else (np.format_float_positional(self.threshold, trim="-"),)
        rule = () if self.rule == "trapezoid" else (self.rule,)
        weighted = ("weighted",) if self.weighted else ()
        return "_".join((self.kind, self.normaliser, *limit, *rule, *weighted))

    @property
    def larger_is_better(self) -> bool:
        """True for areas and accuracies, False for errors and failures."""
        return self.kind in ("auc", "macc")

    @property
    def title(self) -> str:
        """A short heading, such as ``AUC@0.07 box`` or ``mAcc@0.07 box, weighted``."""
        name = {"nme": "NME", "auc": "AUC", "fr": "FR", "macc": "mAcc"}[self.kind]
        limit = "" if self.threshold is None else f"@{self.threshold:g}"
        rule = "" if self.rule == "trapezoid" else f", {self.rule}"
        weighted = ", weighted" if self.weighted else ""
        return f"{name}{limit} {self.normaliser.replace('_', ' ')}{rule}{weighted}"

    @property
    def definition(self) -> str:
        """How the number is made, in one sentence without a full stop."""
        limit = self.threshold
        what = {
            "nme": "mean error, over the landmarks of a face, then over the faces",
            "auc": f"area under the cumulative distribution of the faces' errors up to {limit}, over {limit} "
            f"({RULES[self.rule]})",
            "fr": f"share of the faces whose error is above {limit}",
            "macc": "share of all landmarks with an error of at most t, mean over 100 equal steps of t up to "
            f"{limit}",
        }[self.kind]
        weighted = "; each face counts by its weight" if self.weighted else ""
        return f"{what}; errors are divided by {NORMALISERS[self.normaliser]}{weighted}"

    def column(self, errors: Floats) -> Column:
        """Score every face of (N, L) landmark errors; the metric is the mean score (see ``Column``)."""
        return replace(self._scored(errors), weighted=self.weighted)

    def _scored(self, errors: Floats) -> Column:
        limit = self.threshold or 0.0
        if self.kind == "macc":
            steps = np.arange(1, 101) * limit / 100
            return Column((1 - np.searchsorted(steps, errors) / 100).mean(axis=1))
        faces = errors.mean(axis=1)
        if self.kind == "nme":
            return Column(faces)
        if self.kind == "fr":
            return Column((faces > limit).astype(np.float64))
        return area_column(faces, limit, self.rule)


def metric_key(
    kind: Kind,
    normaliser: Normaliser,
    threshold: float | None = None,
    rule: Rule = "trapezoid",
    weighted: bool = False,
) -> str:
    """Build a metric's key.

    >>> metric_key("auc", "box", 0.07), metric_key("nme", "interocular"), metric_key("auc", "box", 0.07, "lua")
    ('auc_box_0.07', 'nme_interocular', 'auc_box_0.07_lua')
    """
    return Metric(kind, normaliser, threshold, rule, weighted).key
