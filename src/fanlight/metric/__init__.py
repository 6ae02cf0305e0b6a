"""How good predicted landmarks are: NME, failure rate, CED, AUC and mean accuracy, each with its definition.

A metric's name carries everything needed to repeat it: ``auc_box_0.07`` is the area under the cumulative error
distribution up to 0.07, errors divided by the size of the true landmarks' bounding box, by the trapezoid rule.
Errors are fractions of the normaliser; percent exists in print only.

Weights are true weights everywhere: a face of weight 2 moves a mean twice as far, a face of weight 0 is not
there, and fractional weights are never rounded to repeats.
"""

from fanlight.distance import Normaliser, face_errors, normalise, point_errors, possible_normalisers
from fanlight.metric.area import RULES, Rule
from fanlight.metric.key import Kind, Metric, metric_key
from fanlight.metric.paired import EQUAL, compare
from fanlight.metric.summary import (
    BOOTSTRAP,
    BOOTSTRAP_SEED,
    PART_KEYS,
    SUMMARY_KEYS,
    USUAL_THRESHOLDS,
    asked_keys,
    measure,
    single,
    summarise,
    usual_keys,
)
from fanlight.metric.values import auc, ced, failure_rate, macc, nme

__all__ = [
    "BOOTSTRAP",
    "BOOTSTRAP_SEED",
    "EQUAL",
    "PART_KEYS",
    "RULES",
    "SUMMARY_KEYS",
    "USUAL_THRESHOLDS",
    "Kind",
    "Metric",
    "Normaliser",
    "Rule",
    "asked_keys",
    "auc",
    "ced",
    "compare",
    "face_errors",
    "failure_rate",
    "macc",
    "measure",
    "metric_key",
    "nme",
    "normalise",
    "point_errors",
    "possible_normalisers",
    "single",
    "summarise",
    "usual_keys",
]
