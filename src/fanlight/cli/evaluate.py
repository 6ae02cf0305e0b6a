"""``fanlight eval``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fanlight.cli.console import err, out, progress_bar
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.checkpoint import Checkpoint
    from fanlight.data.index import Index
    from fanlight.evaluate import PartitionResult

VIEWS = 12  # worst faces in the report; half as many best and median ones


def evaluate(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint that fanlight train wrote.")
    ],
    index: Annotated[Path, typer.Option(help="The index (TSV) that holds the partitions.")],
    partition: Annotated[
        list[str], typer.Option(metavar="SUBSET/SPLIT", help="What to judge on; may be repeated.")
    ],
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Average each prediction with that of the mirrored face.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an HTML report with plots and faces.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int, typer.Option(min=0, help="Loader processes.")] = 1,
) -> None:
    """Judge a checkpoint: every metric with its 95 % bootstrap interval."""
    from fanlight.checkpoint import load_checkpoint
    from fanlight.data.index import Index
    from fanlight.device import resolve_device
    from fanlight.evaluate import evaluate as judge
    from fanlight.network import TorchNetwork
    from fanlight.predict import Predictor

    loaded = load_checkpoint(checkpoint)
    faces = Index.read(index)
    chosen = faces.select(partition)
    counts = chosen.partitions()
    _check_markup(loaded, chosen)
    _warn_of_selection(loaded, faces.sha256, list(counts))
    predictor = Predictor(TorchNetwork(loaded, resolve_device(device), str(checkpoint)))
    views = VIEWS if report else 0
    with progress_bar("judging", sum(counts.values())) as bar:
        results = judge(predictor, faces, list(counts), flip, workers, views, progress=bar.advance)
    if as_json:
        out.print(json.dumps(_json(checkpoint, results), indent=2))
    else:
        _print_tables(results)
    if report:
        err.print(f"report: {_write_report(report, checkpoint, loaded, index, results)}")


def _check_markup(checkpoint: Checkpoint, faces: Index) -> None:
    """Refuse labels of another mark-up in one sentence, not in one for each face."""
    from fanlight.data.pts import read_pts

    label, markup = faces[0].landmarks_path, checkpoint.markup
    count = len(read_pts(label))
    if count != markup.count:
        raise InputError(
            f"{label}: has {count} points, and the checkpoint predicts the {markup.count} of {markup.name}: "
            "judge it on an index with labels of its own mark-up"
        )


def _json(checkpoint: Path, results: list[PartitionResult]) -> dict[str, Any]:
    """The results by partition, and of all partitions together where there are several."""
    about = {"checkpoint": str(checkpoint), "flip": results[0].flip}
    judged = {result.name: {**about, **result.summary} for result in results}
    together = {"all": judged.pop("all")} if "all" in judged else {}
    return {**about, "partitions": judged, **together}


def _warn_of_selection(checkpoint: Checkpoint, index_sha256: str, partitions: list[str]) -> None:
    """Say so when the faces judged are those the checkpoint learnt from or was chosen on."""
    if checkpoint.provenance.get("index_sha256") != index_sha256:
        return
    data = checkpoint.recipe.get("data", {})
    for name in partitions:
        if name in data.get("train", []):
            err.print(
                f"[yellow]{name}: the checkpoint learnt from these faces; the figures say nothing of others[/]"
            )
        elif name in data.get("val", []):
            err.print(
                f"[yellow]{name}: the checkpoint was chosen on these faces; the figures are a little kind[/]"
            )


def _print_tables(results: list[PartitionResult]) -> None:
    from fanlight.metric import Metric

    table = Table("", *(result.name for result in results))
    table.add_row("faces", *(str(result.summary["n"]) for result in results))
    for key in results[0].summary:
        if key not in ("n", "parts"):
            table.add_row(Metric.parse(key).title, *(_percent(result.summary[key]) for result in results))
    for part in results[0].summary["parts"]:
        values = (_percent(result.summary["parts"][part]["nme_box"]) for result in results)
        table.add_row(f"{Metric.parse('nme_box').title}, {part}", *values)
    # Wide enough for every column: a pipe counts as 80 characters, and would wrap the figures.
    Console(width=max(out.width, 26 + 25 * len(results)), highlight=False).print(table)
    out.print(f"in percent [95 % interval]; mirrored faces averaged in: {'yes' if results[0].flip else 'no'}")


def _percent(value: dict[str, float]) -> str:
    return f"{100 * value['value']:.2f} [{100 * value['low']:.2f}, {100 * value['high']:.2f}]"


def _write_report(
    folder: Path, path: Path, checkpoint: Checkpoint, index: Path, results: list[PartitionResult]
) -> Path:
    from fanlight.report import write_report

    parameters = sum(tensor.numel() for tensor in checkpoint.build().parameters())
    options, decoder = checkpoint.options, checkpoint.decoder
    facts = {
        "Checkpoint": str(path),
        "Network": f"FAN of {options.stacks} x {options.features} features, {parameters / 1e6:.2f} M parameters",
        "Input": f"{options.input_size} px, heatmaps of {options.heatmap_size} px",
        "Mark-up": f"{checkpoint.markup.name}, {checkpoint.markup.count} points",
        "Decoder": f"centroid, radius {decoder.radius:g}, gamma {decoder.gamma:g}, border {decoder.border}",
        "Crop": f"{checkpoint.crop.scale:.3f} x {checkpoint.crop.measure} of the face box's sides",
        "Index": str(index),
        **{
            name: str(checkpoint.provenance[key]) for name, key in _PROVENANCE if key in checkpoint.provenance
        },
    }
    try:
        return write_report(folder / "report.html", _title(path), facts, results, checkpoint.markup)
    except OSError as error:
        raise InputError(f"{folder}: cannot write the report: {error}") from None


def _title(checkpoint: Path) -> str:
    """RUN, best.ckpt - a run is told by its folder, not by the name that all best checkpoints share."""
    folder = checkpoint.absolute().parent
    return f"{folder.parent.name}, {checkpoint.name}" if folder.name == "checkpoints" else checkpoint.name


_PROVENANCE = (("Trained by", "command"), ("fanlight", "fanlight"), ("PyTorch", "torch"))
