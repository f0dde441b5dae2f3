"""What is printed, and how: JSON for machines; for people aligned text in a pipe and tables by rich on a terminal.

A model file is hostile input, and a terminal obeys control characters: text from a file passes through `escaped`, JSON
through `escaped_json`. Whatever the commands print is printed here.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import typer

from graphengine.errors import GraphEngineError, Problem, UsageError
from graphengine.wording import escaped, escaped_json

MAX_INLINE = 8
"""An array of at most this many numbers is printed as it is, a larger one by its range."""

MAX_TABLE = 5000
"""A table with more rows is printed as aligned text on a terminal, too: rich takes its time."""


WARNINGS: ContextVar[tuple[Problem, ...]] = ContextVar("warnings", default=())
"""What the command that runs has warned of so far."""


class Format(StrEnum):
    """For whom a command prints: people or machines."""

    text = "text"
    json = "json"


class TableFormat(StrEnum):
    """How predictions are printed."""

    table = "table"
    csv = "csv"
    json = "json"


def make_streams_forgiving() -> None:
    """Print what the terminal's encoding does not have as an escape, and into nothing where a stream was closed."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nothing = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(nothing, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 (to the end)
        stream = getattr(sys, name)
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def give_up(stream: TextIO) -> None:
    """Print no more on a stream that failed: what is still in its buffer would fail again when Python exits."""
    with suppress(OSError):  # a stream that is not a file has nothing to fail
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def print_line(text: str) -> None:
    """One line of text on stdout, escaped."""
    typer.echo(escaped(text))


def print_note(text: str) -> None:
    """One line of text on stderr, escaped: what is not the result, and is lost if nothing can be written there."""
    try:
        typer.echo(escaped(text), err=True)
    except OSError:
        give_up(sys.stderr)


def print_text(text: str | bytes) -> None:
    """Text of several lines on stdout, as it is; what machines read is bytes, and no terminal's encoding changes it."""
    typer.echo(text, nl=False)


def writable(path: Path | None) -> Path | None:
    """The path of an option, unless no file could be written there: that is reported before the work it is to keep.

    Raises
    ------
    UsageError
        GE101, GE504 as of `check_target`.
    """
    if path is not None:
        from graphengine.format.files import check_target

        with before_the_work():
            check_target(path)
    return path


def check_targets(paths: Mapping[str, Path | str | None]) -> None:
    """Refuse one file for what is read and a result, or for several results: the last would be all that is left.

    Raises
    ------
    UsageError
        GE801 with the names of the two arguments.
    """
    options: dict[str, str] = {}
    for option, path in paths.items():
        first = option if path is None else options.setdefault(os.path.realpath(path), option)
        if first != option:
            raise UsageError(f"{first} and {option} name the same file", hint="name two files")


@contextmanager
def before_the_work() -> Iterator[None]:
    """What cannot be written, found out before the work, is a wrong command line and no work that failed."""
    try:
        yield
    except GraphEngineError as error:
        raise UsageError(error.problems) from error


def print_or_write(text: str, path: Path | None) -> None:
    """Text of several lines on stdout, or in a file if one is named."""
    if path is None:
        print_text(text)
        return
    from graphengine.format.files import write_bytes

    write_bytes(path, text.encode())
    print_note(f"written to {path}")


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout, on one line, with the warnings of the command."""
    print_text(json_text(with_warnings(value)).encode())


def print_result(output_format: Format, content: Mapping[str, Any], show: Callable[[], None]) -> None:
    """Print a result: as one JSON object for machines, or as `show` prints it for people."""
    if output_format is Format.json:
        print_json(content)
    else:
        show()


def print_lines(lines: Iterable[str]) -> None:
    """Lines of text on stdout, escaped."""
    for line in lines:
        print_line(line)


def print_notes(lines: Iterable[str]) -> None:
    """Lines of text on stderr, escaped."""
    for line in lines:
        print_note(line)


def with_warnings(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the warnings of the command that runs."""
    return {**value, "warnings": [each.as_dict() for each in WARNINGS.get()]}


def json_text(value: Any) -> str:
    """A value as one line of JSON."""
    import orjson

    try:
        return f"{escaped_json(orjson.dumps(value).decode())}\n"
    except TypeError:  # a file name that is not UTF-8: Python has surrogates for its bytes, and JSON escapes for those
        return f"{json.dumps(value)}\n"


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name as JSON values."""
    from graphengine.format.writing import encode_array

    return {name: encode_array(value) for name, value in values.items()}


def print_values(title: str, values: Mapping[str, Any]) -> None:
    """Named arrays, one a line, under a title; nothing if there are none."""
    if not values:
        return
    print_line(f"{title}:")
    width = max(map(len, values))
    for name, value in values.items():
        print_line(f"  {name:<{width}}  {array_text(value)}")


def array_text(value: Any) -> str:
    """A small array as it is, a large one by shape, least, mean and greatest value."""
    import numpy as np

    from graphengine.ops.shapes import type_of

    array = np.asarray(value)
    if array.size <= MAX_INLINE:
        return str(array.tolist())
    with np.errstate(all="ignore"):
        least, mean, greatest = np.min(array), np.mean(array), np.max(array)
    return f"{type_of(array)}: min {least:.6g}, mean {mean:.6g}, max {greatest:.6g}"


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table: drawn by rich on a terminal, else columns of plain text, of any width, that tools can read."""
    cells = [[escaped(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty() and len(cells) <= MAX_TABLE:
        _draw_table(title, columns, cells)
    else:
        _write_table(title, columns, cells)


def _draw_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=title or None, title_justify="left")
    for row in rows:
        table.add_row(*map(Text, row))  # not markup: "[red]" in a description is just that
    Console().print(table)


def _write_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if title:
        print_line(f"{title}:")
    print_lines(aligned([columns, *rows]))


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as lines whose cells form columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows)
