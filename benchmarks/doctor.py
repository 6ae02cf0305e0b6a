"""What a check of a data set finds of mistakes that were planted in a copy of it, and how much else it reports.

    python -m benchmarks.doctor INDEX.tsv --model small
    python -m benchmarks.doctor INDEX.tsv --seed 1 2 3 --json figures.json

Plants 20 mistakes of each kind for each seed, in faces of their own; see ``planted``. Only the faces that were
changed are read again. The first table says what share of them is found: by the kind of finding that is made for
them, and by any. The second says what the findings of each kind are of: planted mistakes of that kind, others, or
faces in which nothing was planted, which may be wrong all the same; most of these were found before planting, too.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.command import add_json, positive, report
from benchmarks.environment import in_words
from benchmarks.planted import EACH, Planted, Planter
from fanlight.data.check import check
from fanlight.data.index import Index
from fanlight.doctor import KINDS, Finding
from fanlight.doctor.examination import judge
from fanlight.doctor.reading import Measured, measure
from fanlight.markup import Markup
from fanlight.predict import Predictor, load

# What finds a planted mistake, where that is not the finding of the same name.
OWN = {
    "degenerate": ("degenerate", "unusable"),
    "box": ("box", "unusable"),
    "near-duplicate": ("near-duplicate", "duplicate"),
    "other face": ("disagrees",),
}


@dataclass(frozen=True)
class Subject:
    """What is examined: a sound index, what was read of it, and what with."""

    index: Index
    markup: Markup
    predictor: Predictor | None
    measured: Measured


def main() -> None:
    """Read the command line, plant, examine, print two tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.doctor", description="recall and precision of fanlight data check --report"
    )
    parser.add_argument("index", type=Path, help="an index of real faces")
    parser.add_argument("--model", help="a network's name or path; none when left out")
    parser.add_argument("--markup", default="ibug68", help="of the labels")
    parser.add_argument("--seed", type=int, nargs="+", default=[1], help="of what is planted; one or several")
    parser.add_argument("--each", type=positive, default=EACH, help="mistakes of each kind for a seed")
    add_json(parser)
    options = parser.parse_args()

    def measure_all(environment: dict[str, Any]) -> dict[str, Any]:
        print(in_words(environment))
        index, markup = Index.read(options.index), Markup.load(options.markup)
        predictor = load(options.model, precision="auto") if options.model else None
        subject = Subject(index, markup, predictor, measure(index, markup, predictor))
        figures = of_seeds(subject, options.seed, options.each)
        print_report(figures)
        return figures

    report(measure_all, options.json)


def of_seeds(subject: Subject, seeds: Sequence[int], each: int) -> dict[str, Any]:
    """All figures: what is found as it is, and summed over seeds what of the planted mistakes and what else."""
    before, looked_for = judge(subject.index, subject.measured, subject.markup)
    known = {(finding.kind, finding.positions) for finding in before}
    recall: dict[str, Counter[str]] = {}
    findings = {kind: Counter[str]() for kind in ("unusable", *looked_for)}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            planter = Planter(subject.index, subject.markup, Path(folder) / "planted", seed)
            found = examine_planted(subject, planter.plant(each), planter.planted)
        count_recall(planter.planted, found, recall)
        count_findings(planter.planted, found, known, findings)
    return {
        "seeds": list(seeds),
        "faces": len(subject.index),
        "recall": recall,
        "findings": findings,
        "as_it_is": dict(Counter(finding.kind for finding in before)),
        "partitions_as_they_are": [finding.message for finding in before if finding.kind == "shifted set"],
    }


def examine_planted(subject: Subject, planted: Index, mistakes: Sequence[Planted]) -> list[Finding]:
    """What is found in the copy with mistakes, each in the last of its lines."""
    changed = sorted(mistake.lines[-1] - 2 for mistake in mistakes)
    problems = check(planted.take(changed), subject.markup)
    unusable = {changed[problem.position] for problem in problems}
    changed = [at for at in changed if at not in unusable]
    rows = np.array([at for at in range(len(planted)) if at not in unusable])
    again = measure(planted.take(changed), subject.markup, subject.predictor)
    findings, _ = judge(planted.take(rows), merge(subject.measured, again, changed, rows), subject.markup)
    findings = [
        Finding(one.kind, tuple(int(rows[at]) for at in one.positions), one.message, one.score)
        for one in findings
    ]
    return [*findings, *(Finding("unusable", (at,), "") for at in sorted(unusable))]


def merge(old: Measured, new: Measured, changed: Sequence[int], rows: np.ndarray[Any, Any]) -> Measured:
    """What is known of the faces ``rows`` of the copy: ``new`` for those that changed, else ``old``."""
    values: dict[str, Any] = {}
    for field in fields(Measured):
        one, other = getattr(old, field.name), getattr(new, field.name)
        if one is None:
            values[field.name] = None
            continue
        whole = np.zeros((max(rows.max() + 1, len(one)), *one.shape[1:]), one.dtype)
        whole[: len(one)] = one
        whole[changed] = other
        values[field.name] = whole[rows]
    return Measured(**values)


def count_recall(planted: list[Planted], found: list[Finding], recall: dict[str, Counter[str]]) -> None:
    """Add how many mistakes of each kind were found, by their own kind of finding and at all."""
    for mistake in planted:
        faces = {line - 2 for line in mistake.lines}
        kinds = {
            finding.kind
            for finding in found
            if faces <= set(finding.positions)
            and finding.kind != "frames"  # of all that look alike, not of one
        }
        counts = recall.setdefault(mistake.kind, Counter())
        counts["planted"] += 1
        counts["own"] += not kinds.isdisjoint(OWN.get(mistake.kind, (mistake.kind,)))
        counts["any"] += bool(kinds)


def count_findings(
    planted: list[Planted],
    found: list[Finding],
    known: set[tuple[str, tuple[int, ...]]],
    findings: dict[str, Counter[str]],
) -> None:
    """Add what the findings of each kind are of."""
    mistakes = {mistake.lines[-1] - 2: mistake.kind for mistake in planted}
    for finding in found:
        kinds = {mistakes[at] for at in finding.positions if at in mistakes}
        counts = findings[finding.kind]
        counts["all"] += 1
        if any(finding.kind in OWN.get(kind, (kind,)) for kind in kinds):
            counts["own"] += 1
        elif kinds:
            counts["other"] += 1
        else:
            counts["none"] += 1
            counts["before"] += (finding.kind, finding.positions) in known


def print_report(figures: dict[str, Any]) -> None:
    """Both tables."""
    print(f"\n{figures['faces']} faces, planted with the seeds {figures['seeds']}\n")
    print("| planted | mistakes | found by the kind made for it | found at all |\n|---|---|---|---|")
    for kind, counts in figures["recall"].items():
        total = counts["planted"]
        print(f"| {kind} | {total} | {counts['own'] / total:.0%} | {counts['any'] / total:.0%} |")
    print(
        "\n| findings | all | planted, its kind | planted, other kinds | nothing planted | before planting |"
    )
    print("|---|---|---|---|---|---|")
    for kind, counts in figures["findings"].items():
        numbers = " | ".join(str(counts[what]) for what in ("all", "own", "other", "none", "before"))
        print(f"| {KINDS[kind].title} | {numbers} |")
    print(f"\nas it is: {figures['as_it_is']}")
    print("\n".join(figures["partitions_as_they_are"]))


if __name__ == "__main__":
    main()
