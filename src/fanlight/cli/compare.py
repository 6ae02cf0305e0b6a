"""``fanlight compare``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fanlight.cli import judge
from fanlight.cli.console import err, out, print_wide
from fanlight.durable import write_whole

if TYPE_CHECKING:
    from fanlight.judging.compare import ComparedPartition

MEANING = (
    "B minus A; below 0, B is better by nme and fr; above 0, B is better by auc and macc; "
    "an interval that holds 0 does not tell"
)
COMPARISON = "comparison.json"  # in the report's folder
ONE = "A checkpoint, a network's name, an .onnx file, or saved predictions (.npz)."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=ONE)],
    b: Annotated[str, typer.Argument(metavar="B", help="What it is compared with, of the same kinds.")],
    index: judge.IndexFile,
    partition: judge.Partitions,
    flip: judge.Flip = True,
    normaliser: judge.Normalisers = None,
    threshold: judge.Thresholds = None,
    auc_rule: judge.Rules = None,
    weighted: judge.Weighted = False,
    as_json: judge.AsJson = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write an HTML report with curves and faces.")
    ] = None,
    faces: judge.Leaf = 100,
    device: judge.Device = "auto",
    workers: judge.Workers = 1,
) -> None:
    """Compare two models on the same faces, with paired intervals of their difference."""
    from fanlight.data.opening import open_faces
    from fanlight.judging.compare import check_same_points, compare_predictions
    from fanlight.judging.faces import Wanted

    whole = open_faces(index)
    both = [judge.Source(name, whole, device) for name in (a, b)]
    chosen = whole.select(partition)
    partitions = list(chosen.partitions())
    check_same_points(both[0].origin, both[1].origin)
    keys = judge.asked_metrics(both[0].markup, normaliser, threshold, auc_rule, weighted)
    judge.check_labels(both[0], chosen)
    for who, source in zip("AB", both, strict=True):
        source.warn(partitions, f"{who}, ")
    found = [source.predictions(partitions, flip, workers) for source in both]
    wanted = Wanted(keys, flip, leaf=faces if report else 0)
    results = compare_predictions(found[0], found[1], whole, partitions, wanted)
    content = {**_json(both, flip, results), "provenance": judge.provenance(both, whole)}
    if as_json:
        out.print(json.dumps(content, indent=2))
    else:
        _print_tables(both, flip, results)
    if report:
        err.print(f"report: {_write_report(report, both, flip, results, content)}")


def _json(both: list[judge.Source], flip: bool, results: list[ComparedPartition]) -> dict[str, Any]:
    judged = {
        result.name: {
            **result.comparison,
            "groups": {by: dict(rows) for by, _, rows in result.groups},
        }
        for result in results
    }
    together = {"all": judged.pop("all")} if "all" in judged else {}
    about = {"a": both[0].name, "b": both[1].name, "flip": flip, "difference": MEANING}
    return {**about, "partitions": judged, **together}


def _print_tables(both: list[judge.Source], flip: bool, results: list[ComparedPartition]) -> None:
    from fanlight.metric import Metric
    from fanlight.report.comparison import verdict

    out.print(f"A: {both[0].name}\nB: {both[1].name}")
    for result in results:
        found = result.comparison
        table = Table(f"{result.name}, {found['n']} faces", "A", "B", "B - A", "")
        for key, values in found["metrics"].items():
            row = (judge.interval_text(values[name]) for name in ("a", "b", "difference"))
            table.add_row(Metric.parse(key).title, *row, verdict(key, values["difference"]))
        table.add_row(
            "better on this share of faces",
            judge.interval_text(found["a_better"]),
            judge.interval_text(found["b_better"]),
            "",
            "",
        )
        print_wide(table, 135)
    out.print(f"in percent [95 % interval]; mirrored faces averaged in: {'yes' if flip else 'no'}")
    out.print(f"the difference is {MEANING}")


def _write_report(
    folder: Path,
    both: list[judge.Source],
    flip: bool,
    results: list[ComparedPartition],
    content: Mapping[str, Any],
) -> Path:
    """Write the page, and the JSON object beside it."""
    from fanlight.report import write_comparison

    facts = [{"Model": s.origin.model, **s.origin.facts, "Given as": s.name} for s in both]
    shared = {
        name: (facts[0].get(name, ""), facts[1].get(name, ""))
        for name in dict.fromkeys([*facts[0], *facts[1]])
    }
    names = (judge.title_of(both[0].origin.model), judge.title_of(both[1].origin.model))
    known = content["provenance"]
    page = write_comparison(folder / "compare.html", names, shared, results, both[0].markup, flip, known)
    write_whole(folder / COMPARISON, json.dumps(content, indent=2))
    return page
