"""`predict`: the outputs of a model for inputs from the command line or from a data file."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.data_files import read_data
from graphengine.cli.failures import heed
from graphengine.cli.opening import decoded, open_changed
from graphengine.cli.options import (
    BackendName,
    CheckFinite,
    ColumnNames,
    DataName,
    Inputs,
    ModelName,
    Plugins,
    Settings,
    Strict,
)
from graphengine.cli.output import TableFormat, json_values, print_json, print_table
from graphengine.cli.values import named_values
from graphengine.errors import UsageError

if TYPE_CHECKING:
    from graphengine.model.model import Model


def predict(
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="Which outputs; default: all possible ones.")
    ] = None,
    settings: Settings = None,
    check_finite: CheckFinite = False,
    output_format: Annotated[
        TableFormat | None, typer.Option("--format", help="Default: table on a terminal, csv in a pipe.")
    ] = None,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
) -> None:
    """Compute outputs of MODEL for given inputs.

    Only the inputs that the outputs depend on are needed.
    """
    opened, given = open_changed(model, plugins, settings or [], backend=backend, strict=strict)
    heed(opened.untrained(outputs), strict=strict)
    given = decoded(opened, {**given, **named_values("--input", inputs or [])})
    if data is None and not columns:
        predictions = opened.predict(given, outputs=outputs or None, check_finite=check_finite)
    else:
        rows = read_data(opened, data, columns or [], given, _needed(opened, outputs))
        from graphengine.model.outputs import predict_rows

        predictions = predict_rows(opened, {**rows, **given}, outputs or None, check_finite=check_finite)
    _print(predictions, output_format or (TableFormat.table if sys.stdout.isatty() else TableFormat.csv))


def _needed(model: Model, outputs: Sequence[str] | None) -> list[str] | None:
    """The inputs that the asked outputs depend on; None if none are asked. What is no output is told later."""
    known = model.graph.outputs
    return list(model.executor.inputs_of([known[name] for name in outputs if name in known])) if outputs else None


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
