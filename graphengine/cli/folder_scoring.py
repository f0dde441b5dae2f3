"""`score`: the outputs of a model for folders of Parquet files, in one process, in several, or on a cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.clustering import chosen
from graphengine.cli.data_files import column_names, columns_to_keep
from graphengine.cli.failures import heed
from graphengine.cli.opening import check_inputs, model_file, open_model
from graphengine.cli.options import LIMITS, ColumnNames, ModelName, OutputFormat, Plugins, Strict
from graphengine.cli.output import Format, print_line, print_note, print_result
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.scale.score_folders import Engine, Summary


def score(
    model: ModelName,
    data: Annotated[str, typer.Option(metavar="PATTERN", help="Parquet files to read: 'folder/*.parquet'.")],
    folder: Annotated[Path, typer.Option("-o", "--write", metavar="FOLDER", help="Write the scored parts to FOLDER.")],
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes on this machine, each of one thread; default: one of several."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Share the work among the workers of a Dask scheduler: tcp://..."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN[,...]|all", help="Columns to copy to the front of each row. May be repeated."),
    ] = None,
    columns: ColumnNames = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option(
            "--output", metavar="NAME", help="Output to compute. Default: all that have a row for each row of data."
        ),
    ] = None,
    row_stable: Annotated[
        bool, typer.Option("--row-stable/--fast", help="Give each row the same bits in any batch, or compute faster.")
    ] = True,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
) -> None:
    """Compute outputs of MODEL for each row of Parquet files.

    Each group of rows of a file becomes a file in FOLDER, whole or not at all. The same command again computes only
    what is missing, or what depends on data or a model that has changed. A row that lacks a value, has an unknown
    category, or fails alone has no outputs; the summary counts such rows.
    """
    from graphengine.scale.score_folders import score_folder
    from graphengine.scale.score_parts import Scoring

    chosen(workers, dask)
    opened = open_model(model, plugins, strict=strict)
    heed(opened.untrained(outputs), strict=strict)
    named = column_names(columns)
    check_inputs(opened, named)
    scoring = Scoring(
        str(Path(model_file(model)).absolute()),
        opened.fingerprint,
        tuple(outputs or ()) or None,
        tuple(columns_to_keep(keep)),
        tuple((name, _frozen(what)) for name, what in named.items()),
        row_stable,
        tuple(map(_anywhere, plugins or ())),
        LIMITS.get(),
    )
    with _shown() as seen:
        found = score_folder(scoring, data, folder, _engine(workers, dask), seen)
    content = {"model": opened.graph.name, "folder": str(folder), **found.as_dict()}
    print_result(output_format, content, lambda: _print(found, folder))


def _frozen(columns: str | list[str]) -> str | tuple[str, ...]:
    return columns if isinstance(columns, str) else tuple(columns)


def _anywhere(plugin: str) -> str:
    """The name of a plugin for a process with another working folder."""
    return str(Path(plugin).absolute()) if plugin.endswith(".py") else plugin


def _engine(workers: int | None, dask: str | None) -> Engine:
    from graphengine.scale.score_folders import by_workers, one_by_one

    if dask is not None:
        from graphengine.dask import in_cluster

        return lambda work, scoring, parts, _: in_cluster(work, scoring, parts, dask)
    return one_by_one if workers is None else by_workers(workers)


@contextmanager
def _shown() -> Iterator[Callable[[Summary, int], None]]:
    """A bar on stderr if that is a terminal, and what moves it."""
    if not sys.stderr.isatty():
        yield lambda summary, rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns: tuple[Any, ...] = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda summary, rows: progress.update(bar, completed=summary.rows, total=rows)


def _print(found: Summary, folder: Path) -> None:
    kept = f", {counted(found.kept, 'part')} of them kept from before" if found.kept else ""
    files = f"{counted(found.files, 'file')}, {counted(found.parts, 'part')}{kept}"
    print_line(f"{counted(found.rows, 'row')} in {files}: {folder}")
    for each in found.as_dict()["refused"]["reasons"]:
        first = each["first"][0]
        place = f"first in row {first['row']} of {first['file']}"
        print_note(f"{counted(each['count'], 'row')} without outputs: {each['reason']}, {place}")
