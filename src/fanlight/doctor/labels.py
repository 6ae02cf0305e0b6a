"""Findings about labels and boxes, from what is usual among the labels themselves."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fanlight.data.faces import Faces
from fanlight.doctor.finding import Finding, strongest
from fanlight.doctor.points import box_fit, coinciding, extents, face_sizes, outside
from fanlight.doctor.reading import Measured
from fanlight.doctor.robust import MIN_FACES, how_unusual
from fanlight.doctor.shape import ShapeStatistics, groups_of, swapped
from fanlight.judging.breakdown import mean_shape
from fanlight.markup import Markup

# Limits, with the most extreme value among 4409 real faces, of which none was seen to be wrong in this way.
TINY_PX = 12.0  # 32
THIN = 0.3  # extent across over extent along, 0.57 for a profile
COINCIDING = 0.3  # share of points on another one, 0.21
SMALL_IN_BOX = 0.25  # size of the landmarks' box over the face box's, of what is usual
OUTSIDE = 0.01  # of the face's size, beyond the photo's edge; and a px
SWAPPED = 1.25  # misfit as it is over misfit with sides exchanged, 0.81
BOX = 8.0  # deviations, 5.8
DISPLACED = 2.7  # deviations of how far a part is displaced, in its logarithm
UNLIKELY = 5.5  # deviations of how unlikely a part's place is, in its logarithm


def find_degenerate(measured: Measured) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Labels that are no faces, and which faces have them, (N,)."""
    landmarks = measured.landmarks
    sizes = face_sizes(landmarks)
    along, across = extents(landmarks)
    thin, together = across / np.maximum(along, 1e-9), coinciding(landmarks)
    box_sizes = np.sqrt((measured.boxes[:, 2:] - measured.boxes[:, :2]).prod(axis=1))
    share = sizes / box_sizes
    usual = float(np.median(share))
    faults = (
        (TINY_PX / np.maximum(sizes, 1e-3), lambda at: f"the landmarks span {sizes[at]:.1f} px"),
        (
            THIN / np.maximum(thin, 1e-3),
            lambda at: f"{thin[at]:.2f} times as far across as along: flat as a line",
        ),
        (together / COINCIDING, lambda at: f"{together[at]:.0%} of the points lie on another one"),
        (
            SMALL_IN_BOX * usual / np.maximum(share, 1e-6),
            lambda at: f"{share[at]:.2f} times as large as the face box, usual is {usual:.2f}",
        ),
    )
    scores = np.stack([score for score, _ in faults])
    worst, wrong = scores.argmax(axis=0), scores.max(axis=0) > 1
    found = [
        Finding("degenerate", (int(at),), faults[worst[at]][1](at), float(scores[worst[at], at]))
        for at in np.flatnonzero(wrong)
    ]
    return found, wrong


def find_outside(measured: Measured) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Points beyond the edge of the photo, and which faces have them, (N,)."""
    counts, farthest = outside(measured.landmarks, measured.sizes)
    limit = np.maximum(1.0, OUTSIDE * face_sizes(measured.landmarks))
    found = [
        Finding(
            "outside",
            (at,),
            f"{counts[at]} of {measured.landmarks.shape[1]} points outside the {measured.sizes[at, 0]} x "
            f"{measured.sizes[at, 1]} photo, by up to {farthest[at]:.1f} px",
            float(farthest[at] / limit[at]),
        )
        for at in strongest(np.where(farthest > limit, farthest / limit, 0))
    ]
    return found, farthest > limit


def find_swapped(
    measured: Measured, markup: Markup, sound: NDArray[np.bool_]
) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Labels whose sides are exchanged, and which faces have them, (N,)."""
    mean = mean_shape(measured.landmarks[sound])
    as_it_is, exchanged = swapped(measured.landmarks, mean, markup)
    ratios = as_it_is / np.maximum(exchanged, 1e-3)
    wrong = sound & (ratios > SWAPPED)
    found = [
        Finding(
            "swapped",
            (at,),
            f"{as_it_is[at]:.0%} of the shape is left over by the mean shape, {exchanged[at]:.0%} with left and "
            "right exchanged",
            float(ratios[at]),
        )
        for at in strongest(np.where(wrong, ratios, 0))
    ]
    return found, wrong


def find_boxes(measured: Measured, sound: NDArray[np.bool_]) -> Iterator[Finding]:
    """Boxes that lie around the landmarks otherwise than usual."""
    fits, overlaps = box_fit(measured.landmarks, measured.boxes)
    unusual = np.abs(how_unusual(fits, floor=0.02))
    scores = np.where(sound, unusual.max(axis=1), 0)
    usual = float(np.median(overlaps))
    what = ("to a side of", "above or below", "wider or narrower than", "higher or lower than")
    for at in strongest(np.where(scores > BOX, scores, 0)):
        yield Finding(
            "box",
            (at,),
            f"the landmarks lie {what[int(unusual[at].argmax())]} their usual place in the face box by "
            f"{scores[at]:.0f} deviations; the two overlap by {overlaps[at]:.2f} (IoU), usual is {usual:.2f}",
            float(scores[at]),
        )


def find_shapes(
    faces: Faces, measured: Measured, markup: Markup, sound: NDArray[np.bool_]
) -> Iterator[Finding]:
    """Parts of faces that lie elsewhere than the other points say."""
    rows_of = _comparable(faces, sound, least=max(MIN_FACES, 4 * markup.count))
    for rows in rows_of:
        landmarks = measured.landmarks[rows]
        statistics = ShapeStatistics.of(landmarks)
        names, scores, lengths = [], [], []
        for name, members in groups_of(markup).items():
            distance, length = statistics.displaced(landmarks, members)
            far, unlikely = (how_unusual(np.log(np.maximum(values, 1e-9))) for values in (length, distance))
            names.append(name)
            scores.append(np.maximum(far / DISPLACED, unlikely / UNLIKELY))
            lengths.append(length)
        stacked = np.stack(scores)
        for at in strongest(np.where(stacked.max(axis=0) > 1, stacked.max(axis=0), 0)):
            part = int(stacked[:, at].argmax())
            yield Finding(
                "shape",
                (int(rows[at]),),
                f"{names[part]} {lengths[part][at]:.1%} of the face off its place by the other points, median of "
                f"the subset {float(np.median(lengths[part])):.1%}",
                float(stacked[part, at]),
            )


def _comparable(faces: Faces, sound: NDArray[np.bool_], least: int) -> list[NDArray[np.intp]]:
    """Faces whose labels are of one kind: those of each subset of at least ``least``, and all others together."""
    subsets = np.array([faces.partition_of(at).rpartition("/")[0] for at in range(len(faces))])
    groups, rest = [], np.zeros(len(faces), bool)
    for subset in dict.fromkeys(subsets.tolist()):
        own = sound & (subsets == subset)
        if own.sum() >= least:
            groups.append(np.flatnonzero(own))
        else:
            rest |= own
    if rest.sum() >= MIN_FACES:
        groups.append(np.flatnonzero(rest))
    return groups
