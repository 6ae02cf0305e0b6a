"""What a reader of an archive is asked, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fanlight.errors import InputError
from fanlight.geometry import Floats
from fanlight.markup import Markup

Box = tuple[float, float, float, float]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Request:
    """What to read, and how.

    Attributes:
        root: the archive: a folder, or a list file where a kind has one.
        stage: a folder for photos taken out of a video or a ``.mat`` file; it becomes the new data set.
        flips: 300W-LP: the mirrored copies too.
        every: videos: take each n-th labelled frame.
        like: 300W-LP: a folder of 300W that says which photos are for training and which for testing.
        photos: where the photos of a list lie, if not beside it.
        subset: what to call the faces of a kind that has no name of its own; else the folder's or file's name.
        split: ``train``, ``val`` or ``test`` for faces of which the archive does not say it.
        offset: what to add to the archive's coordinates to make them continuous; None: what its format means.
        markup: what the labels of a kind without a mark-up of its own follow, when known.
        progress: called now and then with how much is done, and of how much.
    """

    root: Path
    stage: Path
    flips: bool = False
    every: int = 1
    like: Path | None = None
    photos: Path | None = None
    subset: str | None = None
    split: str = "train"
    offset: float | None = None
    markup: Markup | None = None
    progress: Progress = lambda done, total: None


@dataclass(slots=True)
class Face:
    """One face of an archive.

    Attributes:
        subset: the collection.
        split: ``train``, ``val`` or ``test``.
        photo: the file it is in.
        landmarks: (L, 2) in continuous pixel coordinates of the photo.
        label: the ``.pts`` file that holds exactly these landmarks; None: one has to be written.
        box: left, top, right, bottom in continuous pixel coordinates, or None where the archive has no boxes.
        aug_idx: which synthesised version of a photo it is, -1 for an original.
        name: what to call its label and its copy; the photo's name without the ending when empty.
    """

    subset: str
    split: str
    photo: Path
    landmarks: Floats
    label: Path | None = None
    box: Box | None = None
    aug_idx: int = -1
    name: str = ""

    @property
    def partition(self) -> str:
        return f"{self.subset}/{self.split}"


@dataclass(frozen=True)
class Tally:
    """How many there should be of something, and how many there are."""

    what: str
    expected: int
    found: int


@dataclass
class Contents:
    """What an archive holds.

    Attributes:
        faces: those that can be used, in a fixed order.
        markup: the built-in mark-up that the labels follow; None: whatever the request says.
        expected: how many faces of a partition (``helen/train``) or a subset (``helen``) there should be:
            a published archive's official number, or as many as a list names or a folder has labels.
        tallies: further expected numbers, compared by the reader itself.
        notes: what differs from a complete archive, and faces left out for a good reason: one line each.
        problems: labels that cannot be read or used: one line each, beginning with the file.
        sidecars: further text files of the data set, by name.
        groups: further indices by name (``attributes/blur.tsv``): positions in ``faces``.
    """

    faces: list[Face] = field(default_factory=list)
    markup: str | None = None
    expected: dict[str, int] = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    sidecars: dict[str, str] = field(default_factory=dict)
    groups: dict[str, list[int]] = field(default_factory=dict)

    def expect(self, partition: str, count: int = 1) -> None:
        """There should be so many more faces of a partition."""
        self.expected[partition] = self.expected.get(partition, 0) + count

    def keep(self, positions: Iterable[int]) -> None:
        """Drop all faces but those at these positions."""
        moved = {old: new for new, old in enumerate(positions)}
        self.faces = [self.faces[i] for i in moved]
        self.groups = {name: [moved[i] for i in rows if i in moved] for name, rows in self.groups.items()}


def check_name(name: str, where: str) -> str:
    """A subset's or split's name that can stand in an index and be a folder.

    Raises:
        InputError: it cannot.
    """
    if not name or name.startswith(".") or any(not (c.isalnum() or c in "._+-") for c in name):
        raise InputError(
            f"{where}: the name {name!r} should be letters, digits and . _ + - (--subset gives another)"
        )
    return name


def nothing_found(root: Path, layout: str) -> InputError:
    """The error for a folder that is no such archive."""
    return InputError(f"{root}: no such archive here: expected {layout}")
