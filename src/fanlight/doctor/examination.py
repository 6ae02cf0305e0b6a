"""The whole examination of a data set: everything that is looked for, in the order of the report."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fanlight.data.faces import Faces, Problem
from fanlight.doctor.copies import find_copies, find_names, name_series
from fanlight.doctor.finding import KINDS, Examined, Finding
from fanlight.doctor.labels import find_boxes, find_degenerate, find_outside, find_shapes, find_swapped
from fanlight.doctor.network import find_by_network
from fanlight.doctor.reading import Measured, measure
from fanlight.doctor.robust import MIN_FACES
from fanlight.markup import Markup

if TYPE_CHECKING:
    from fanlight.predict import Predictor


def examine(
    faces: Faces,
    markup: Markup,
    predictor: Predictor | None = None,
    problems: Sequence[Problem] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Examined:
    """Look for what is probably wrong with photos, labels and boxes that can be read.

    Args:
        faces: all of them, of an index or a pack.
        markup: of their labels.
        predictor: a network of the same mark-up; without one, shifted labels and disagreements are not looked for.
        problems: what ``data.check`` found; the faces are left out, and reported as unusable.
        progress: called now and then with how many photos have been read, and how many there are.

    Raises:
        InputError: the network finds other points than the labels have, or a face that was sound is gone.
    """
    unusable = sorted({problem.position for problem in problems})
    rows = np.delete(np.arange(len(faces)), unusable)
    found = [Finding("unusable", (problem.position,), problem.message) for problem in problems]
    measured, left, looked_for = None, faces.take(rows), ["unusable"]
    if len(rows):
        measured = measure(left, markup, predictor, progress)
        more, kinds = judge(left, measured, markup)
        looked_for += kinds
        found += [
            Finding(one.kind, tuple(int(rows[at]) for at in one.positions), one.message, one.score)
            for one in more
        ]
    order = list(KINDS)
    found.sort(key=lambda finding: (order.index(finding.kind), -finding.score))
    named = {at for finding in found for at in finding.positions}
    places = {int(row): at for at, row in enumerate(rows) if int(row) in named}
    return Examined(
        tuple(found),
        tuple(kind for kind in order if kind in looked_for),
        {} if measured is None else {row: measured.landmarks[at] for row, at in places.items()},
        {}
        if measured is None or measured.predicted is None
        else {row: measured.predicted[at] for row, at in places.items()},
    )


def judge(faces: Faces, measured: Measured, markup: Markup) -> tuple[list[Finding], list[str]]:
    """What is to be said of faces whose photos have been read.

    Returns:
        findings: in no order, positions being those in ``faces``.
        kinds: those that were looked for; what is usual takes ``MIN_FACES`` to tell.
    """
    kinds = ["duplicate", "near-duplicate", "frames", "same name", "degenerate", "outside"]
    beyond, is_outside = find_outside(measured)
    degenerate, wrong = find_degenerate(measured)
    series = name_series(faces)
    found = [*find_copies(faces, measured, series), *find_names(faces, series), *degenerate, *beyond]
    if (~wrong).sum() >= MIN_FACES:
        kinds += ["swapped", "box", "shape"]
        swapped, is_swapped = find_swapped(measured, markup, ~wrong)
        found += [*swapped, *find_boxes(measured, ~(wrong | is_outside))]
        wrong = wrong | is_swapped
        found += find_shapes(faces, measured, markup, ~wrong)
    if measured.predicted is not None:
        kinds += ["shifted set", "shifted", "disagrees"]
        found += find_by_network(faces, measured.landmarks, measured.predicted, ~wrong)
    return found, kinds
