"""``fanlight reproduce``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fanlight.cli.console import err, one_line, out
from fanlight.cli.train import TrainingBar, check_data, leads, stopped_with_advice
from fanlight.errors import InputError

if TYPE_CHECKING:
    from fanlight.checkpoint import Checkpoint
    from fanlight.data.faces import Faces, Problem
    from fanlight.reproduction import Plan

NOT_EQUAL = 3  # exit code


def reproduce(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A checkpoint of a run.")],
    out_folder: Annotated[
        Path | None, typer.Option("--out", help="The new run's folder.", show_default="runs/RUN-again")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="INDEX|PACK", help="The faces, where they lie elsewhere now.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting, such as a path that has moved; may be repeated.",
        ),
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Go on with faces that are not the same.")] = False,
) -> None:
    """Train a checkpoint's network again, up to its own step, and say whether it is equal bit for bit.

    The exit code is 0 if it is, and 3 if it is not.
    """
    from fanlight.checkpoint import load_checkpoint
    from fanlight.reproduction import check_none_missing, check_same_faces, plan, threads_of

    original = load_checkpoint(checkpoint)
    moved = [] if data is None else [f"data.index={data}"]
    planned = plan(checkpoint, original, [*moved, *(settings or [])])
    folder = out_folder or Path("runs") / f"{_run_name(checkpoint)}-again"
    goes_on = _goes_on(folder, planned)
    faces = planned.recipe.data.open()
    if not anyway:
        check_same_faces(checkpoint, original, faces)
    whole = len(faces.select([*planned.recipe.data.train, *planned.recipe.data.val]))
    with threads_of(planned.trained):
        if leads():
            _warn(original, planned)
        some_missing = planned.trained.faces < whole
        checked, skipped = check_data(planned.recipe, folder, skip_invalid=some_missing)
        if not anyway:
            check_none_missing(checkpoint, original, planned.recipe, checked)
        again = _train(planned, checked, skipped, folder, goes_on)
    if again is not None:
        _tell(original, again)


def _run_name(checkpoint: Path) -> str:
    folder = checkpoint.absolute().parent
    return folder.parent.name if folder.name == "checkpoints" else checkpoint.stem


def _warn(original: Checkpoint, planned: Plan) -> None:
    """Say beforehand why the result may be another one."""
    from fanlight.reproduction import differences

    if planned.by_time:
        err.print(
            "warning: its learning rate followed the clock, so that no run can be equal; this one takes the same "
            "steps at the rates that they would have had at an even pace"
        )
    for line in differences(original, planned):
        err.print(one_line(f"warning: {line}"))
    trained = planned.trained
    err.print(
        f"training to step {planned.step}, {trained.epoch:.2f} epochs; took {trained.minutes:.1f} minutes then"
    )


def _goes_on(folder: Path, planned: Plan) -> bool:
    """Whether the folder holds the beginning of the very same.

    Raises:
        InputError: it holds another run.
    """
    from fanlight.run import can_go_on, open_recipe

    if not can_go_on(folder):
        return False
    if open_recipe(folder).to_dict() != planned.recipe.to_dict():
        raise InputError(f"{folder}: holds a run of other settings: give another --out")
    return True


def _train(
    planned: Plan, faces: Faces, skipped: Sequence[Problem], folder: Path, goes_on: bool
) -> Checkpoint | None:
    """Train to the checkpoint's step; gives what came out, in the leading process."""
    from fanlight.checkpoint import load_checkpoint
    from fanlight.resuming import LAST
    from fanlight.train import train

    with stopped_with_advice(folder, "the same command goes on"), TrainingBar() as bar:
        outcome = train(
            planned.recipe, faces, folder, bar, resume=goes_on, until=planned.step, skipped=skipped
        )
    if outcome is None:
        return None
    again = load_checkpoint(folder / LAST)
    step = again.provenance["step"]
    if step != planned.step:
        raise InputError(
            f"{folder}: has gone on to step {step}, past step {planned.step}: give another --out"
        )
    return again


def _tell(original: Checkpoint, again: Checkpoint) -> None:
    """Say how what came out compares with the checkpoint.

    Raises:
        typer.Exit: it is not equal.
    """
    from fanlight.reproduction import compare

    found = compare(original, again)
    rounded = ", rounded to half precision as it is stored" if found.rounded else ""
    if found.equal:
        out.print(f"equal bit for bit: weights{' and metrics' if original.metrics else ''}{rounded}")
        return
    if found.where:
        out.print(f"not equal: weights differ by {found.largest:.3g} at most, in {found.where}{rounded}")
    else:
        out.print("not equal: the weights are, but not the metrics")
    for key, (then, now) in found.metrics.items():
        out.print(f"  {key:20} {100 * then:8.4f} % then {100 * now:8.4f} % now")
    raise typer.Exit(NOT_EQUAL)
