"""What the benchmarks' command lines share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.environment import environment
from benchmarks.plan import Plan
from benchmarks.result import write_json
from benchmarks.timing import use_one_core
from fanlight.errors import InputError


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Options for how and on what to measure."""
    parser.add_argument("--rounds", type=positive, default=9, help="rounds that the medians are of")
    parser.add_argument("--index", type=Path, help="an index of real faces; without it, faces are made")
    parser.add_argument("--partition", action="append", help="SUBSET/SPLIT of the index; all when left out")
    add_json(parser)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}: give 1 or more")
    return number


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option to keep the figures."""
    parser.add_argument("--json", type=Path, help="also write the figures here")


def plan_of(options: argparse.Namespace, quick: bool = False) -> Plan:
    """What the options of ``add_plan`` ask for."""
    return Plan(2 if quick else options.rounds, quick, options.index, tuple(options.partition or ()))


def report(measure: Callable[[dict[str, Any]], Mapping[str, Any]], json: Path | None) -> None:
    """Measure on one core, and keep the figures with their environment; end with code 2 on faulty input.

    Args:
        measure: measures and prints, given the environment; returns what JSON is to hold beside it.
        json: where to write it; the folder has to be there.
    """
    try:
        if json and not json.parent.is_dir():
            raise InputError(f"{json}: there is no folder {json.parent}: make it first")
        use_one_core()
        surroundings = environment()
        found = measure(surroundings)
        if json:
            write_json(json, {"environment": surroundings, **found})
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
