"""``fanlight eval``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fanlight.cli import judge
from fanlight.cli.console import err, out, print_wide, progress_bar
from fanlight.durable import write_whole
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.judging.faces import PartitionResult
    from fanlight.judging.sweep import Swept

EVALUATION = "evaluation.json"  # in the report's folder; fanlight recipes reads it
VIEWS = 12  # worst faces at a glance in the report; half as many best and median ones


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A checkpoint, a network's name, an .onnx file, or saved predictions (.npz).",
        ),
    ],
    index: judge.IndexFile,
    partition: judge.Partitions,
    flip: judge.Flip = True,
    normaliser: judge.Normalisers = None,
    threshold: judge.Thresholds = None,
    auc_rule: judge.Rules = None,
    weighted: judge.Weighted = False,
    as_json: judge.AsJson = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write an HTML report with plots and faces, and the JSON object."),
    ] = None,
    faces: judge.Leaf = 300,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Also judge with the face boxes moved and scaled: 13 times the work."),
    ] = False,
    save_predictions: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Keep the predictions, to judge them again.")
    ] = None,
    skip_invalid: Annotated[
        bool,
        typer.Option(
            "--skip-invalid",
            help="Leave out faces that cannot be used, and say how many; fanlight data check lists them.",
        ),
    ] = False,
    device: judge.Device = "auto",
    workers: judge.Workers = 1,
) -> None:
    """Judge a model: every metric with its 95 % bootstrap interval."""
    from fanlight.data.opening import open_faces
    from fanlight.judging.evaluate import judge as judge_predictions
    from fanlight.judging.faces import Wanted
    from fanlight.judging.predictions import check_name
    from fanlight.judging.predictions import save_predictions as save

    if save_predictions:
        check_name(save_predictions)
    whole = open_faces(index)
    source = judge.Source(model, whole, device)
    chosen = whole.select(partition)
    partitions = list(chosen.partitions())
    keys = judge.asked_metrics(source.markup, normaliser, threshold, auc_rule, weighted)
    if sweep and source.predictor is None:
        raise InputError(f"{model}: saved predictions know no other boxes: give the model for --sweep")
    left_out = judge.leave_out_invalid(source, partitions) if skip_invalid else 0
    judge.check_labels(source, source.index.select(partitions))
    source.warn(partitions)
    predictions = source.predictions(partitions, flip, workers)
    wanted = Wanted(keys, flip, VIEWS if report else 0, faces if report else 0)
    results = judge_predictions(predictions, source.index, partitions, wanted)
    if save_predictions:
        err.print(f"predictions: {save(save_predictions, predictions)}")
    swept = _sweep(source, partitions, workers) if sweep else {}
    content = {}
    if as_json or report:
        known = judge.provenance([source], source.index)
        content = {**_json(source, results, swept), "left_out": left_out, "provenance": known}
    if as_json:
        out.print(json.dumps(content, indent=2))
    else:
        _print_tables(results)
        _print_sweep(swept)
    if left_out:
        err.print(f"left out {left_out} of {len(chosen)} faces, which cannot be used")
    if report:
        err.print(f"report: {_write_report(report, source, results, swept, content)}")


def _sweep(source: judge.Source, partitions: list[str], workers: int) -> Swept:
    from fanlight.judging.sweep import CHANGES, sweep_boxes

    if source.predictor is None:
        return {}
    total = len(CHANGES) * len(source.index.select(partitions))
    with progress_bar("sweeping", total) as bar:
        return sweep_boxes(source.predictor, source.index, partitions, workers, bar.advance)


def _json(source: judge.Source, results: list[PartitionResult], swept: Swept) -> dict[str, Any]:
    """The results by partition, and of all partitions together where there are several."""
    from fanlight.judging.breakdown import break_down

    saved = {} if source.name == source.origin.model else {"predictions": source.name}
    about = {"checkpoint": source.origin.model, **saved, "flip": results[0].flip}
    judged = {result.name: {**about, **result.summary} for result in results}
    together = {"all": judged.pop("all")} if "all" in judged else {}
    groups = {
        result.name: {found.by: dict(found.rows) for found in break_down(result.judged, source.markup)}
        for result in results
    }
    content = {**about, "partitions": judged, **together, "groups": groups}
    if swept:
        content["sweep"] = {
            name: [{**asdict(change), **summary} for change, summary in rows] for name, rows in swept.items()
        }
    return content


def _print_tables(results: list[PartitionResult]) -> None:
    from fanlight.metric import Metric

    table = Table("", *(result.name for result in results))
    table.add_row("faces", *(str(result.summary["n"]) for result in results))
    for key in results[0].summary:
        if key not in ("n", "parts"):
            table.add_row(
                Metric.parse(key).title, *(judge.interval_text(result.summary[key]) for result in results)
            )
    for part in results[0].summary["parts"]:
        values = (judge.interval_text(result.summary["parts"][part]["nme_box"]) for result in results)
        table.add_row(f"{Metric.parse('nme_box').title}, {part}", *values)
    print_wide(table, 26 + 25 * len(results))
    out.print(f"in percent [95 % interval]; mirrored faces averaged in: {'yes' if results[0].flip else 'no'}")


def _print_sweep(swept: Swept) -> None:
    from fanlight.metric import Metric

    for name, rows in swept.items():
        keys = [key for key in rows[0][1] if key != "n"]
        table = Table(f"{name}, boxes", *(Metric.parse(key).title for key in keys))
        for change, summary in rows:
            table.add_row(change.title, *(judge.interval_text(summary[key]) for key in keys))
        print_wide(table, 26 + 25 * len(keys))
    if swept:
        out.print("boxes moved and scaled: mirrored faces averaged in: no")


def _write_report(
    folder: Path,
    source: judge.Source,
    results: list[PartitionResult],
    swept: Swept,
    content: Mapping[str, Any],
) -> Path:
    """Write the page, and the JSON object beside it."""
    from fanlight.report import write_report

    origin = source.origin
    facts = {"Model": origin.model, **origin.facts, "Index": source.index.where}
    if source.name != origin.model:
        facts["Predictions"] = source.name
    if content["left_out"]:
        facts["Left out"] = f"faces that cannot be used: {content['left_out']}"
    title, known = judge.title_of(origin.model), content["provenance"]
    page = write_report(folder / "report.html", title, facts, results, source.markup, swept, known)
    write_whole(folder / EVALUATION, json.dumps(content, indent=2))
    return page
