"""The ``fanlight`` command: one module for each group of commands."""

from __future__ import annotations

import os
import sys

import typer

from fanlight import __version__
from fanlight.cli import (
    ablate,
    compare,
    convert,
    data,
    evaluate,
    export,
    info,
    models,
    predict,
    recipes,
    reproduce,
    serve,
    train,
)
from fanlight.cli.console import err, out, print_titled
from fanlight.errors import InputError

app = typer.Typer(
    name="fanlight",
    help="Train, judge and use Face Alignment Networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("train")(train.train)
app.command("reproduce")(reproduce.reproduce)
app.command("ablate")(ablate.ablate)
app.command("eval")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("predict")(predict.predict)
app.command("info")(info.info)
app.command("models")(models.models)
app.command("recipes")(recipes.recipes)
app.command("export")(export.export)
app.command("convert")(convert.convert)
app.command("serve")(serve.serve)
app.add_typer(data.app, name="data")


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: bool = typer.Option(False, "--version", help="Print the version and leave."),
) -> None:
    """Train, judge and use Face Alignment Networks."""
    from fanlight.environment import whole_number

    command, processes = context.invoked_subcommand, whole_number("WORLD_SIZE", 1, 1)
    if processes != 1 and command not in ("train", "ablate", "reproduce", None):
        raise InputError(
            f"fanlight {command} takes one process, and was started as {processes}, which would all do the same: "
            "start it without torchrun"
        )
    if show:
        out.print(f"fanlight {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command: exit code 2 and a message for bad input, 130 for Ctrl-C, 1 for a defect."""
    try:
        app()
    except InputError as error:
        print_titled("fanlight:", "bold red", str(error))
        sys.exit(2)
    except BrokenPipeError:  # of head or less, which have seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # of a file or folder that no command expected to fail
        if error.filename is None:
            raise
        remedy = "look at its name, its permissions and the room on its disk"
        print_titled("fanlight:", "bold red", f"{error.filename}: {error.strerror}: {remedy}")
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("fanlight: interrupted")
        sys.exit(130)
