"""Measure every subject: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from benchmarks.command import add_plan, plan_of, report
from benchmarks.environment import busy, in_words
from benchmarks.plan import Plan

# Modules of this package with a function measure(plan) -> Result; the first line of each says what it measures.
SUBJECTS = ("machine", "start_up", "loader", "heatmaps", "losses", "step", "inference", "evaluation")
# Modules that are run by themselves, as they need a network or faces: python -m benchmarks.NAME.
BY_THEMSELVES = ("inference", "detectors", "doctor", "failures", "scale")


def main() -> None:
    """Read the command line, measure, print tables, and write JSON where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="time fanlight on one core")
    parser.add_argument(
        "--only", nargs="+", choices=SUBJECTS, metavar="NAME", help="subjects to measure; all when left out"
    )
    parser.add_argument("--list", action="store_true", help="list the subjects and what they measure")
    parser.add_argument("--quick", action="store_true", help="try everything on small inputs, in seconds")
    add_plan(parser)
    options = parser.parse_args()
    if options.list:
        print(listing())
        return

    def measure(environment: dict[str, Any]) -> dict[str, Any]:
        print(in_words(environment))
        names = [name for name in SUBJECTS if name in (options.only or SUBJECTS)]
        return measure_all(names, plan_of(options, options.quick))

    report(measure, options.json)


def measure_all(names: list[str], plan: Plan) -> dict[str, Any]:
    """Measure subjects one after the other, printing each as soon as it is done."""
    results = {}
    for name in names:
        result = importlib.import_module(f"benchmarks.{name}").measure(plan)
        print(f"\n{result.table()}", flush=True)
        results[name] = result.to_dict()
    asked = {"rounds": plan.rounds, "quick": plan.quick, "partitions": list(plan.partitions)}
    return {"plan": asked, "load_afterwards": busy(), "results": results}


def listing() -> str:
    """Every benchmark with the first line of its description."""
    lines = ["python -m benchmarks [--only NAME ...]"]
    lines += [f"  {name:12}{about(name)}" for name in SUBJECTS]
    lines += ["by themselves, with arguments of their own: python -m benchmarks.NAME --help"]
    lines += [f"  {name:12}{about(name)}" for name in BY_THEMSELVES]
    return "\n".join(lines)


def about(name: str) -> str:
    """What a benchmark measures."""
    return (importlib.import_module(f"benchmarks.{name}").__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    main()
