"""Arguments and options that several commands share, each written once, and the form that some have: NAME=VALUE.

`--limit` sets how much a file may ask for, for the command that runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from graphengine.cli.output import Format, writable
from graphengine.errors import UsageError, did_you_mean
from graphengine.limits import DEFAULT, Limits


def folder_path(text: str) -> Path:
    """Return the path of a folder; an empty one, such as an unset variable of a shell gives, would be the current one.

    Raises
    ------
    UsageError
        GE801 if the text is empty.
    """
    if not text:
        raise UsageError("the path of a folder is empty; write . for the current folder")
    return Path(text)


ModelName: TypeAlias = Annotated[
    str, typer.Argument(metavar="MODEL", help="A model file, or the name of a shipped model such as linreg.")
]
Inputs: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME=JSON", help="The value of an input: x=[1, 2.5]. May be repeated."),
]
DataName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="FILE|NAME",
        help="Inputs from a file, .csv, .jsonl, .npz, .parquet or .arrow, or from a data source of MODEL.",
    ),
]
ColumnNames: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        metavar="NAME=COLUMN[,...]",
        help="Columns for an input. Default: those in the data of MODEL, or the column named like the input.",
    ),
]
Settings: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=JSON",
        help="Override any value in the file before it is checked: training.epochs=5, nodes.y_hat.op=add, "
        "inputs.x=[1, 2]. May be repeated.",
    ),
]
Plugins: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", metavar="FILE|MODULE", help="Python file or module that registers nodes. May be repeated."
    ),
]
Strict: TypeAlias = Annotated[
    bool, typer.Option("--strict", help="Treat warnings as errors: exit with code 2 before any work.")
]
UpdateRuleFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A file with an update rule; overrides the optimizer in the file."),
]
BackendName: TypeAlias = Annotated[
    str, typer.Option("--backend", metavar="NAME", help="Compile the model's graphs with this backend.")
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option("--device", metavar="NAME", help="The device of the jax backend: cpu, gpu, tpu, gpu:1."),
]
Unfold: TypeAlias = Annotated[
    bool, typer.Option("--unfold", help="Draw all nodes; do not fold functions and long parts into boxes.")
]
OutputFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", callback=writable, help="Write the result to a file instead of printing it."
    ),
]
SaveFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--save", metavar="FILE", callback=writable, help="Write the model with its final values."),
]
WorkerCount: TypeAlias = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Compute with N workers on this machine.")
]
DaskAddress: TypeAlias = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Compute on the workers of this Dask scheduler.")
]
CheckpointFolder: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", parser=folder_path, help="Write checkpoints to FOLDER so that training can resume."),
]
LogFile: TypeAlias = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="Append progress to FILE as JSON lines.")
]
PlotFile: TypeAlias = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", callback=writable, help="Draw the loss curve: .png, .svg or .pdf."),
]
CheckFinite: TypeAlias = Annotated[
    bool, typer.Option("--check-finite", help="Stop at the first value that is NaN or infinite. Slow.")
]
OutputFormat: TypeAlias = Annotated[
    Format, typer.Option("--format", help="Output for people (text) or for machines (json).")
]
Of: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--of",
        metavar="NAME",
        help="The value to differentiate. Default: the loss, or the only output.",
    ),
]
Wrt: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--wrt",
        metavar="NAME",
        help="A value to differentiate with respect to. Default: the trainable parameters. May be repeated.",
    ),
]


def split_pairs(option: str, pairs: Iterable[str]) -> list[tuple[str, str]]:
    """`NAME=TEXT` as name and text.

    Raises
    ------
    UsageError
        GE801 if there is no name or no "=".
    """
    return [_split(option, pair) for pair in pairs]


def _split(option: str, pair: str) -> tuple[str, str]:
    name, mark, text = pair.partition("=")
    if not (name and mark):
        raise UsageError(f"{option} takes NAME=VALUE, not '{pair}'")
    return name, text


KNOWN = tuple(field.name for field in fields(Limits))
UNITS = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

LIMITS: ContextVar[Limits] = ContextVar("limits", default=DEFAULT)
"""The limits of the command that runs."""


def limits_of(pairs: Iterable[str]) -> Limits:
    """Limits from `NAME=SIZE` on a command line; a size is an integer, with a unit such as MiB if it counts bytes.

    Raises
    ------
    UsageError
        GE801 for what is no limit or no size.
    """
    limits = DEFAULT
    for name, text in split_pairs("--limit", pairs):
        size = re.fullmatch(r"([0-9]{1,18})([KMGT]iB)?", text)
        if name not in KNOWN:
            raise UsageError(f"there is no limit '{name}'", hint=did_you_mean(name, KNOWN, "limits"))
        if size is None:
            raise UsageError(f"--limit {name}: a size is an integer such as 1000 or 4GiB, not '{text}'")
        limits = replace(limits, **{name: int(size[1]) * UNITS[size[2] or ""]})
    return limits
