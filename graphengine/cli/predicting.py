"""`predict`: the outputs of a model for inputs from the command line or from a CSV file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.opening import check_inputs, decoded, open_changed
from graphengine.cli.options import CheckFinite, Inputs, ModelName, Plugins, Settings
from graphengine.cli.output import TableFormat, json_values, print_json, print_table
from graphengine.cli.values import json_value, named_values, split_pairs
from graphengine.errors import ExecutionError, UsageError

if TYPE_CHECKING:
    from graphengine.model import Model


def predict(
    model: ModelName,
    inputs: Inputs = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Inputs from a CSV file with a header, one row each.")
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=COLUMN[,...]", help="The columns of an input; default: the column of its name."),
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="Which outputs; default: all possible ones.")
    ] = None,
    settings: Settings = None,
    check_finite: CheckFinite = False,
    output_format: Annotated[
        TableFormat | None, typer.Option("--format", help="Default: table on a terminal, csv in a pipe.")
    ] = None,
    plugins: Plugins = None,
) -> None:
    """Compute outputs of MODEL for given inputs.

    Only the inputs that the outputs depend on are needed.
    """
    opened, given = open_changed(model, plugins, settings or [])
    given = decoded(opened, {**given, **named_values("--input", inputs or [])})
    if csv_file is None:
        predictions = opened.predict(given, outputs=outputs or None, check_finite=check_finite)
    else:
        rows = _read_columns(opened, csv_file, _column_names(columns or []), given, outputs or [])
        predictions = _predict_rows(opened, {**rows, **given}, outputs or None, check_finite=check_finite)
    _print(predictions, output_format or (TableFormat.table if sys.stdout.isatty() else TableFormat.csv))


def _column_names(pairs: Sequence[str]) -> dict[str, str | list[str]]:
    """Columns by input: one, or several as `x=a,b` or, where a name has a comma, as `x=["a", "b"]`."""
    names: dict[str, str | list[str]] = {}
    for name, text in split_pairs("--columns", pairs):
        if text.startswith("["):
            names[name] = [str(column) for column in json_value("--columns", text)]
        else:
            names[name] = text.split(",") if "," in text else text
    return names


def _read_columns(
    model: Model,
    path: Path,
    columns: Mapping[str, str | list[str]],
    given: Mapping[str, Any],
    outputs: Sequence[str],
) -> dict[str, Any]:
    """The inputs in a CSV file: those that the asked outputs need, else those it has a column for."""
    import numpy as np

    from graphengine.training.data import read_csv
    from graphengine.training.data.stored import Memory

    check_inputs(model, columns)
    graph = model.graph
    if outputs:
        needed = model.executor.inputs_of([graph.outputs[name] for name in outputs if name in graph.outputs])
    else:
        header = _header(path)
        needed = [name for name in graph.inputs if name in columns or name in header] or list(graph.inputs)
    wanted = {name: columns.get(name, name) for name in needed if name not in given}
    arrays = read_csv(path, wanted, graph, Memory(model.limits.data_bytes))
    return {name: np.asarray(array) for name, array in arrays.items()}  # the predictions are in memory, too


def _header(path: Path) -> list[str]:
    """The names in the first line of a CSV file; what is wrong with a file is found when the rest is read."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _predict_rows(
    model: Model, arrays: Mapping[str, Any], outputs: Sequence[str] | None, *, check_finite: bool
) -> dict[str, Any]:
    """The outputs for all rows: at once, or a row at a time where an input takes one sample."""
    import numpy as np

    from graphengine.training.batches import Batches

    batches = Batches(arrays, model.graph, batch_size=1)
    whole = batches.whole()
    if whole is not None:
        return model.predict(whole, outputs=outputs, check_finite=check_finite)
    samples = [segment.batch(index) for segment in batches.epoch(1) for index in range(segment.count)]
    rows = []
    for number, sample in enumerate(samples, 1):
        try:
            rows.append(model.predict(sample, outputs=outputs, check_finite=check_finite))
        except ExecutionError as error:
            raise ExecutionError(
                replace(each, message=f"row {number}: {each.message}") for each in error.problems
            ) from error
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _print(predictions: Mapping[str, Any], output_format: TableFormat) -> None:
    if output_format is TableFormat.json:
        print_json({"outputs": json_values(predictions)})
        return
    columns = _as_columns(predictions)
    rows = list(zip(*columns.values(), strict=True))
    if output_format is TableFormat.table:
        print_table("", list(columns), rows)
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerows([list(columns), *rows])


def _as_columns(predictions: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Outputs as columns of one table: a row for each sample, a column for each further element, scalars repeated.

    Raises
    ------
    UsageError
        GE801 if outputs have different numbers of rows.
    """
    lengths = {name: len(value) for name, value in predictions.items() if value.shape}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        hint = "name one with --output, or use --format json"
        raise UsageError(f"outputs with different numbers of rows make no table: {shown}", hint=hint)
    rows = next(iter(lengths.values()), 1)
    return {label: column for name in predictions for label, column in _columns_of(name, predictions[name], rows)}


def _columns_of(name: str, value: Any, rows: int) -> Iterator[tuple[str, list[Any]]]:
    import numpy as np

    from graphengine.format.writing import encode_array

    table = np.broadcast_to(value, (rows,)) if not value.shape else value
    for index in np.ndindex(table.shape[1:]):
        label = f"{name}[{','.join(map(str, index))}]" if index else name
        yield label, encode_array(table[(slice(None), *index)])
