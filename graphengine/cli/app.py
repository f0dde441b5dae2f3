"""The commands as one typer application.

A command is a function in the module of its theme; it becomes one by standing in the list below. Errors are told in
one place, by the group, and never by a command.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any
from warnings import catch_warnings, simplefilter

import typer
from typer.core import TyperGroup

from graphengine.cli.checking import gradcheck
from graphengine.cli.codes import explain
from graphengine.cli.comparing import diff, upgrade
from graphengine.cli.deriving import grad, step
from graphengine.cli.explaining import explain_gradient
from graphengine.cli.failures import begin, ended_in_order, told
from graphengine.cli.fitting import fit
from graphengine.cli.inspecting import schema, show, validate
from graphengine.cli.limiting import KNOWN, set_limits
from graphengine.cli.listing import models, ops
from graphengine.cli.output import print_line
from graphengine.cli.predicting import predict
from graphengine.cli.resuming import resume_check
from graphengine.cli.running import run
from graphengine.cli.tracing import trace
from graphengine.cli.viewing import view
from graphengine.errors import ModelWarning

COMMANDS = (
    fit,
    resume_check,
    validate,
    show,
    trace,
    view,
    explain_gradient,
    grad,
    gradcheck,
    step,
    ops,
    models,
    schema,
    diff,
    upgrade,
    explain,
)


class Commands(TyperGroup):
    """The group of all commands. Every error leaves in the one form of this package, never as a traceback."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command that the arguments name, and leave the process with its exit code."""
        arguments = sys.argv[1:] if args is None else list(args)
        begin(arguments)
        with catch_warnings(), ended_in_order(), told(arguments):
            simplefilter("ignore", ModelWarning)  # a command prints them itself
            code = super().main(arguments, prog_name, *rest, **{**extra, "standalone_mode": False})
        sys.exit(code)

    # typer would give an interruption and a closed pipe exit codes of its own, without a word

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Read the command line, and print what it asks for at once, such as help."""
        with ended_in_order():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with ended_in_order():
            return super().invoke(ctx)


app = typer.Typer(
    cls=Commands,
    help="A model is a JSON file: check it, look at it, train it, ask it for predictions.",
    rich_markup_mode=None,  # plain help: rich takes longer to import than everything else that help needs
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)


def _print_version(asked: bool) -> None:
    if asked:
        from graphengine import __version__

        print_line(f"graphengine {__version__}")
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    limits: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=SIZE",
            help=f"How much a file may ask for: {', '.join(KNOWN)}; array_bytes=4GiB. May be repeated.",
        ),
    ] = None,
) -> None:
    """Options of no command; without a command, say which there are."""
    set_limits(limits or [])
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


app.command("run")(run)
app.command("train", help="Train MODEL as its training section says.")(run)
app.command("predict")(predict)
for command in COMMANDS:
    app.command()(command)
