"""Arguments and options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from graphengine.cli.output import Format

ModelName: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model file, or the name of a shipped model such as linreg.")
]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=JSON", help="The value of an input: x=[1, 2.5]. May be repeated."),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=JSON",
        help="Change any place of the file before it is checked: training.epochs=5, nodes.y_hat.op=add, "
        "inputs.x=[1, 2]. May be repeated.",
    ),
]
Plugins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="FILE|MODULE", help="Python file or module that registers nodes. May be repeated."
    ),
]
UpdateRuleFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with an update rule, in place of the one that the training names."),
]
OutputFile: TypeAlias = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file instead of printing it.")
]
OutputFormat: TypeAlias = Annotated[Format, typer.Option("--format", help="For people or for machines.")]
Of: TypeAlias = Annotated[
    str | None, typer.Option("--of", metavar="NAME", help="Default: the loss, or the only output.")
]
Wrt: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--wrt", metavar="NAME", help="Default: the trainable parameters. May be repeated."),
]
