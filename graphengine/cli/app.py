"""The commands as one typer application.

A command is a function in the module of its theme; it becomes one by its place in the table below. Errors are reported
in one place, by the group, and never by a command.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any
from warnings import catch_warnings, simplefilter

import typer
from typer.core import TyperGroup

from graphengine import gc_pause
from graphengine.cli.failures import begin, ended_in_order, reported
from graphengine.cli.options import KNOWN, LIMITS, limits_of
from graphengine.cli.output import print_line
from graphengine.errors import ModelWarning
from graphengine.limits import DEFAULT

COMMANDS = {
    "new": "inferring",
    "run": "running",
    "train": "running",
    "evaluate": "scoring",
    "search": "searching",
    "predict": "predicting",
    "score": "folder_scoring",
    "fit": "fitting",
    "report": "publishing",
    "resume-check": "checkpointing",
    "validate": "inspecting",
    "show": "inspecting",
    "trace": "tracing",
    "view": "viewing",
    "explain-gradient": "explaining",
    "grad": "deriving",
    "gradcheck": "checking",
    "step": "deriving",
    "export": "converting",
    "import": "converting",
    "ops": "listing",
    "models": "listing",
    "schema": "inspecting",
    "diff": "comparing",
    "upgrade": "comparing",
    "explain": "codes",
    "copy": "maintaining",
    "doctor": "maintaining",
    "cluster": "clustering",
}
"""The commands, each with the module that has the function of its name."""
SUMMARIES = {
    "Begin": {
        "new": "Write a model file for a table, ready to train.",
        "models": "List the models that come with the package.",
        "copy": "Copy a shipped model and its data.",
        "ops": "List all ops and functions, or explain one of them.",
    },
    "Train and use": {
        "run": "Train a model, or evaluate it if it is trained.",
        "train": "Train a model, also one that is trained already.",
        "fit": "Fit parameters and estimate their uncertainties.",
        "report": "Write a report of a fit: tables, charts, residuals.",
        "search": "Compare settings of a training by cross-validation.",
        "evaluate": "Compute the loss, the metrics and scores on data.",
        "predict": "Compute outputs for given inputs.",
        "score": "Compute outputs for folders of Parquet files.",
    },
    "Look inside": {
        "validate": "Check model files; report all errors and warnings.",
        "show": "Show the nodes, the graph, the plan or the Python code.",
        "trace": "Show each value and each derivative of an evaluation.",
        "view": "Write a page that plays a training step by step.",
        "explain-gradient": "Show how the gradient reaches a parameter, or why not.",
        "gradcheck": "Check gradients against numerical differences.",
        "explain": "Explain an error code.",
    },
    "Derive and exchange": {
        "grad": "Write the gradient of a model as a graph.",
        "step": "Write one training iteration as a graph.",
        "export": "Write a model as an ONNX, Python or C file.",
        "import": "Write a model file for an ONNX file.",
        "schema": "Print the JSON Schema of model files.",
    },
    "Maintain": {
        "diff": "Show what differs between two models.",
        "upgrade": "Rewrite a model in the newest version of the format.",
        "resume-check": "Verify that an interrupted training resumes exactly.",
        "cluster": "Start a Dask scheduler and workers on this machine.",
        "doctor": "Print versions, extras and backends for a bug report.",
    },
}
"""What the help shows of each command, in groups."""
EXAMPLES = {
    "new": "linear -o line.json",
    "models": "",
    "copy": "linreg",
    "ops": "softmax",
    "run": "linreg",
    "train": "linreg --epochs 20 --save trained.json",
    "fit": "misra1a --save fitted.json",
    "report": "fitted.json -o report.html",
    "search": "linreg --set training.optimizer.learning_rate=0.05,0.1",
    "evaluate": "trained.json --data new.csv",
    "predict": "linreg --input 'x=[1, 2]' --format json",
    "score": "trained.json --data 'tables/*.parquet' -o scores",
    "validate": "linreg",
    "show": "linreg --format svg -o linreg.svg",
    "trace": "linreg_single_sample --input x=3 --input y=10",
    "view": "linreg --open",
    "explain-gradient": "linreg",
    "gradcheck": "linreg",
    "explain": "GE210",
    "grad": "linreg -o gradient.json",
    "step": "linreg -o step.json",
    "export": "linreg -o linreg.onnx",
    "import": "linreg.onnx -o imported.json",
    "schema": "-o model.schema.json",
    "diff": "linreg trained.json",
    "upgrade": "old.json",
    "resume-check": "linreg",
    "cluster": "--workers 2",
    "doctor": "",
}
"""What the help of each command shows after its name, as an example."""
ALIASES = {"train": "run", "import": "import_model"}
HELP = {"train": "Train MODEL as its training section declares."}


class Commands(TyperGroup):
    """The group of all commands. Every error leaves in the one form of this package, never as a traceback."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, *rest: Any, **extra: Any) -> Any:
        """Run the command that the arguments name, and leave the process with its exit code."""
        arguments = sys.argv[1:] if args is None else list(args)
        begin(arguments)
        with catch_warnings(), ended_in_order(), reported(arguments):
            simplefilter("ignore", ModelWarning)  # a command prints them itself
            code = super().main(arguments, prog_name, *rest, **{**extra, "standalone_mode": False})
        sys.exit(code)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the commands in groups, each with a sentence that fits on a line."""
        for group, summaries in SUMMARIES.items():
            with formatter.section(group):
                formatter.write_dl([(name, text) for name, text in summaries.items() if name in COMMANDS])
        formatter.write_paragraph()
        formatter.write_text("Example: graphengine run linreg")
        formatter.write_text("Options of a command: graphengine COMMAND --help")
        formatter.write_text("Ops, errors, bug reports: graphengine ops, graphengine explain, graphengine doctor")
        formatter.write_text("Guides: docs/tutorial.md and the pages beside it, in the source distribution")

    # typer would give an interruption and a closed pipe exit codes of its own, without a word

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Read the command line, and print what it asks for at once, such as help."""
        with ended_in_order(), gc_pause.paused(many=0):  # typer makes a schema for each option
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with ended_in_order():
            return super().invoke(ctx)


def _print_version(asked: bool) -> None:
    if asked:
        from graphengine import __version__

        print_line(f"graphengine {__version__}")
        raise typer.Exit


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
            help=f"Set a limit for files, such as array_bytes=4GiB: {', '.join(KNOWN)}. May be repeated.",
        ),
    ] = None,
) -> None:
    """Options of no command; without a command, say which there are."""
    LIMITS.set(limits_of(limits) if limits else DEFAULT)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(2)


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the application for a command line: with the one command that it begins with, or with all of them.

    To make all commands takes a quarter of the time of a short one. The help has a table of them, and needs none.
    """
    first = arguments[0] if arguments else ""
    return app_of([first] if first in COMMANDS else [] if first in ("--help", "--version") else COMMANDS)


def app_of(names: Iterable[str]) -> typer.Typer:
    """Return the application that has these commands."""
    made = typer.Typer(
        cls=Commands,
        help="Check, inspect, train and use models that are JSON files.",
        rich_markup_mode=None,  # plain help: rich takes longer to import than everything else that help needs
        pretty_exceptions_enable=False,
        invoke_without_command=True,
    )
    made.callback()(start)
    for name in names:
        module = import_module(f"graphengine.cli.{COMMANDS[name]}")
        function = getattr(module, ALIASES.get(name, name).replace("-", "_"))
        example = f"Example: graphengine {name} {EXAMPLES[name]}".rstrip()
        made.command(name, help=HELP.get(name), epilog=example)(function)
    return made


def __getattr__(name: str) -> typer.Typer:
    """Make the application with all commands, `app`, when it is requested."""
    if name != "app":
        raise AttributeError(f"module 'graphengine.cli.app' has no attribute '{name}'")
    return app_of(COMMANDS)
