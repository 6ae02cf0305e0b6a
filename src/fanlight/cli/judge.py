"""What ``fanlight eval`` and ``fanlight compare`` share: options, models, and predictions made before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fanlight.cli.console import progress_bar, warn
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.checkpoint import Checkpoint
    from fanlight.data.faces import Faces
    from fanlight.distance import Normaliser
    from fanlight.judging.predictions import Origin, Predictions
    from fanlight.markup import Markup
    from fanlight.metric import Rule
    from fanlight.predict import Predictor

SHORT = {"diagonal": "box_diagonal", "height": "box_height"}

Normalisers = Annotated[
    list[str] | None,
    typer.Option(
        "--normaliser",
        metavar="NAME",
        help="Also give metrics by this length: box, interocular, interpupil, box_diagonal or box_height; may be "
        "repeated.",
    ),
]
Thresholds = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold",
        metavar="T",
        help="Also give areas, failures and accuracies at this fraction, such as 0.1; may be repeated.",
    ),
]
Rules = Annotated[
    list[str] | None,
    typer.Option(
        "--auc-rule",
        metavar="RULE",
        help="Also give areas by this rule: trapezoid, step, lua or simpson; may be repeated.",
    ),
]
Weighted = Annotated[
    bool,
    typer.Option(
        "--weighted",
        help="Also give every metric with the faces counted by their weights, which the index's aug_idx tells.",
    ),
]
Flip = Annotated[
    bool, typer.Option("--flip/--no-flip", help="Average each prediction with that of the mirrored face.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(min=0, help="Loader processes.")]
IndexFile = Annotated[
    str,
    typer.Option(
        "--index", metavar="INDEX|PACK", help="The index (TSV) or the pack that holds the partitions."
    ),
]
Partitions = Annotated[
    list[str],
    typer.Option("--partition", metavar="SUBSET/SPLIT", help="What to judge on; may be repeated."),
]
Leaf = Annotated[
    int, typer.Option("--faces", min=0, help="Faces of each partition to leaf through in the report.")
]


def asked_metrics(
    markup: Markup,
    normalisers: Sequence[str] | None,
    thresholds: Sequence[float] | None,
    rules: Sequence[str] | None,
    weighted: bool,
) -> list[str]:
    """The keys of the usual metrics and of those that the options ask for.

    Raises:
        InputError: an option has a value that it does not know; all of them are told.
    """
    from fanlight.distance import NORMALISERS
    from fanlight.metric import RULES, asked_keys

    lengths = [SHORT.get(name, name) for name in normalisers or ()]
    problems = [
        f"--normaliser {name}: give one of {', '.join(NORMALISERS)}"
        for name in lengths
        if name not in NORMALISERS
    ]
    problems += [
        f"--auc-rule {name}: give one of {', '.join(RULES)}" for name in rules or () if name not in RULES
    ]
    problems += [
        f"--threshold {limit:g}: give a fraction of the normaliser between 0 and 1, such as 0.07"
        for limit in thresholds or ()
        if not 0 < limit <= 1
    ]
    if problems:
        raise InputError.collect(problems, "these metrics are not possible:")
    chosen: list[Normaliser] = [name for name in NORMALISERS if name in lengths]
    by: list[Rule] = [name for name in RULES if name in (rules or ())]
    return asked_keys(markup, chosen, thresholds or (), by, weighted)


class Source:
    """A model, or predictions that one made before.

    Args:
        model: a checkpoint, the name of a network, an ``.onnx`` file, or predictions in an ``.npz`` file.
        index: the index to judge on.
        device: where a model runs.

    Attributes:
        name: as given.
        origin: what is known of who predicts.
        predictor: the network; None for saved predictions.

    Raises:
        InputError: there is no such thing, or it cannot be used.
    """

    def __init__(self, model: str, index: Faces, device: str) -> None:
        from fanlight.device import resolve_device
        from fanlight.judging.predictions import SUFFIX, load_predictions
        from fanlight.predict import load

        self.name, self.index = model, index
        self.predictor: Predictor | None = None
        self._saved: Predictions | None = None
        if Path(model).suffix.lower() == SUFFIX:
            self._saved = load_predictions(model)
            self.origin = self._saved.origin
            return
        onnx = Path(model).suffix.lower() == ".onnx"
        where = None if onnx and device == "auto" else str(resolve_device(device))
        self.predictor = load(model, where)
        self.origin = _origin(model, self.predictor, index)

    @property
    def markup(self) -> Markup:
        """Of the landmarks."""
        return self.origin.markup

    def predictions(self, partitions: Sequence[str], flip: bool, workers: int) -> Predictions:
        """Those that were saved, or fresh ones of the partitions' faces."""
        from fanlight.judging.evaluate import predict_partitions

        if self.predictor is None:
            if self._saved is None:
                raise InputError(f"{self.name}: neither a model nor predictions")
            return self._saved
        total = sum(self.index.select(partitions).partitions().values())
        with progress_bar("judging", total) as bar:
            return predict_partitions(
                self.predictor, self.index, partitions, flip, workers, bar.advance, self.origin
            )

    def warn(self, partitions: Sequence[str], who: str = "") -> None:
        """Say so when the faces judged are those the model learnt from or was chosen on."""
        for name in partitions:
            if name in self.origin.learnt_from:
                warn(
                    f"{who}{name}: the checkpoint learnt from these faces; the figures say nothing of others"
                )
            elif name in self.origin.chosen_on:
                warn(f"{who}{name}: the checkpoint was chosen on these faces; the figures are a little kind")


def provenance(sources: Sequence[Source], index: Faces) -> dict[str, Any]:
    """Where a report comes from: how it was made, from which faces, and what each network says of itself."""
    from fanlight.judging.faces import provenance_of
    from fanlight.provenance import file_digest

    networks = [dict(source.origin.network) or {"name": source.origin.model} for source in sources]
    saved = {source.name: file_digest(source.name) for source in sources if source.predictor is None}
    return provenance_of(index, networks) | ({"predictions_sha256": saved} if saved else {})


def check_labels(source: Source, faces: Faces) -> None:
    """Refuse labels of another mark-up in one sentence, not in one for each face, and damaged tables of a pack."""
    faces.check_tables()
    count, markup = len(faces.landmarks(0)), source.markup
    if count != markup.count:
        raise InputError(
            f"{faces.where}: the label of {faces.name(0)} has {count} points, and the checkpoint predicts the "
            f"{markup.count} of {markup.name}: "
            "judge it on an index with labels of its own mark-up"
        )


def interval_text(value: dict[str, float]) -> str:
    """``5.11 [4.85, 5.42]``, in percent."""
    return f"{100 * value['value']:.2f} [{100 * value['low']:.2f}, {100 * value['high']:.2f}]"


def leave_out_invalid(source: Source, partitions: Sequence[str]) -> int:
    """Take the faces of some partitions that cannot be used out of a source's index; gives their number.

    Raises:
        InputError: none is left.
    """
    from fanlight.cli.faces import check_with_bar

    members = source.index.members(*partitions)
    problems = check_with_bar(source.index.take(members), source.markup)
    bad = sorted({problem.position for problem in problems})
    if len(bad) == len(members):
        raise InputError(f"{source.index.where}: none of {len(bad)} faces can be used: {problems[0].message}")
    source.index = source.index.drop(members[bad])
    return len(bad)


def title_of(model: str) -> str:
    """RUN, best.ckpt - a run is told by its folder, not by the name that all best checkpoints share."""
    path = Path(model)
    folder = path.absolute().parent
    return f"{folder.parent.name}, {path.name}" if folder.name == "checkpoints" else path.name


def _origin(model: str, predictor: Predictor, index: Faces) -> Origin:
    """What is known of a model; most of it of a checkpoint."""
    from fanlight.checkpoint import load_checkpoint
    from fanlight.inspection import exported
    from fanlight.judging.predictions import Origin
    from fanlight.models import crop_in_words, find, identity, in_words

    usage, path = predictor.usage, find(model)
    if path.suffix.lower() == ".onnx":
        facts = {
            "Network": "ONNX",
            "Input": f"{usage.input_size} px",
            "Mark-up": f"{predictor.markup.name}, {predictor.markup.count} points",
            "Crop": crop_in_words(usage.crop),
        }
        return Origin(
            model, predictor.markup, usage.crop, usage.input_size, facts, network=exported(path).identity()
        )
    checkpoint = load_checkpoint(path)
    learnt_from, chosen_on = _seen(checkpoint, index)
    return Origin(
        model,
        predictor.markup,
        usage.crop,
        usage.input_size,
        in_words(checkpoint),
        learnt_from,
        chosen_on,
        network={**identity(path, checkpoint), "name": model},
    )


def _seen(checkpoint: Checkpoint, index: Faces) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The partitions of an index that a checkpoint learnt from, and those it was chosen on."""
    known = checkpoint.provenance
    if known.get("source_sha256", known.get("index_sha256")) != index.source_sha256:
        return (), ()
    data = checkpoint.recipe.get("data", {})
    return tuple(data.get("train", ())), tuple(data.get("val", ()))
