"""What the doctor finds, and what each kind of finding means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fanlight.geometry import Floats


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: heading.
        meaning: what was compared with what, and what to do about it.
    """

    title: str
    meaning: str


KINDS: dict[str, Kind] = {
    "unusable": Kind(
        "Cannot be used",
        "Photos and labels that cannot be read, or cannot belong together. A training refuses them: mend "
        "them or take them out of the index.",
    ),
    "duplicate": Kind(
        "Photos that are there twice",
        "The same pixels and the same face under several lines. Across splits, what is judged has been "
        "learnt: keep one of them.",
    ),
    "near-duplicate": Kind(
        "Photos that look the same",
        "Scaled, cut or compressed anew, or frames of a clip whose names do not tell. Across splits they make "
        "figures too good; within one they count a face several times.",
    ),
    "frames": Kind(
        "Partitions with frames that look the same",
        "Neighbouring frames of clips, whose names tell that they belong together: one line for a partition. "
        "They count a face several times, and are no harm otherwise.",
    ),
    "same name": Kind(
        "Names that stand in several splits",
        "File names that differ by the number behind them only, within one subset: probably the same "
        "person or clip. Keep each in one split.",
    ),
    "degenerate": Kind(
        "Degenerate labels",
        "Tiny, flat as a line, many points on one spot, or a small part of the face box. Label them anew "
        "or take them out.",
    ),
    "outside": Kind(
        "Points outside the photo",
        "True where the face reaches over the photo's edge, as some do; else a slip or another scale.",
    ),
    "swapped": Kind(
        "Left and right swapped",
        "With left and right exchanged by the mark-up's mirror table the label fits the mean shape, as "
        "it is it does not. Sides are the subject's.",
    ),
    "box": Kind(
        "Boxes that miss the face",
        "The box lies around the landmarks otherwise than in the rest of this data set: another face's "
        "box, or coordinates of another scale.",
    ),
    "shape": Kind(
        "Unusual shapes",
        "A part of the face lies elsewhere than all other points say, by what is usual among the labels "
        "of its subset. Rare poses and faces are among them.",
    ),
    "shifted set": Kind(
        "Partitions that are shifted",
        "Labels of a whole partition lie to one side of what the network finds, often from counting "
        "pixels from another corner. Sideways the network's own bias is taken out by mirroring; up and "
        "down it is not, so that a network trained on the same labels hides a shift there.",
    ),
    "shifted": Kind(
        "Labels that are shifted",
        "All points of the face lie to one side of what the network finds, farther than usual in the "
        "partition.",
    ),
    "disagrees": Kind(
        "Labels the network disagrees with",
        "The largest distances between label and network. Either may be wrong: look at the picture.",
    ),
}
"""All kinds, in the order of reports."""


@dataclass(frozen=True)
class Finding:
    """Something to look at.

    Attributes:
        kind: a key of ``KINDS``.
        positions: of the faces in the data set; none where it concerns a whole partition.
        message: a sentence with the numbers behind it.
        score: larger is worse; comparable within a kind only.
    """

    kind: str
    positions: tuple[int, ...]
    message: str
    score: float = 0.0


@dataclass(frozen=True)
class Examined:
    """What was found in a data set.

    Attributes:
        findings: the worst of each kind first, in the order of ``KINDS``.
        looked_for: kinds that were looked for; the others needed more faces or a network.
        landmarks: of the faces that findings name, (L, 2) in image px, by position.
        predicted: what the network found in them, likewise; empty without a network.
    """

    findings: tuple[Finding, ...]
    looked_for: tuple[str, ...]
    landmarks: dict[int, Floats]
    predicted: dict[int, Floats]

    def counts(self) -> dict[str, int]:
        """How many findings there are of each kind that was looked for."""
        counts = dict.fromkeys(self.looked_for, 0)
        for finding in self.findings:
            counts[finding.kind] += 1
        return counts


def strongest(scores: NDArray[np.floating]) -> list[int]:
    """Positions of positive scores, the largest first."""
    order = np.argsort(-scores, kind="stable")
    return [int(at) for at in order if scores[at] > 0]
