"""`predict`: the outputs of a model for inputs from the command line or from a data file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphengine.cli.data_files import kept_columns, offered_by
from graphengine.cli.failures import heed
from graphengine.cli.opening import decoded, model_file, on_device, open_changed
from graphengine.cli.options import (
    BackendName,
    CheckFinite,
    ColumnNames,
    DataName,
    Device,
    Inputs,
    ModelName,
    Plugins,
    Settings,
    Strict,
)
from graphengine.cli.output import (
    TableFormat,
    check_targets,
    json_values,
    print_json,
    print_note,
    print_table,
    print_text,
    writable,
)
from graphengine.cli.values import named_values

if TYPE_CHECKING:
    from graphengine.cli.data_files import Offer
    from graphengine.data.carried import Carried
    from graphengine.model.model import Model
    from graphengine.model.predictions import Predictions


class BandKind(StrEnum):
    """What a band is of: the curve, or single new observations."""

    confidence = "confidence"
    prediction = "prediction"


def _writable_table(path: Path | None) -> Path | None:
    """The path of a table, unless it could not be written."""
    if path is not None:
        from graphengine.data.table_files import encoder_of

        encoder_of(path)
    return writable(path)


def predict(
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    outputs: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="NAME", help="Output to compute. Default: all that the inputs allow."),
    ] = None,
    settings: Settings = None,
    band: Annotated[
        float | None, typer.Option(metavar="LEVEL", help="Add the band of a fitted curve, for example 0.95.")
    ] = None,
    band_kind: Annotated[
        BandKind, typer.Option(help="A band for the curve, or for single new observations.")
    ] = BandKind.confidence,
    check_finite: CheckFinite = False,
    row_stable: Annotated[
        bool,
        typer.Option("--row-stable", help="Give each row the same bits in any batch and on any number of threads."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--write",
            metavar="FILE",
            callback=_writable_table,
            help="Write a table to FILE: .csv, .csv.gz, .jsonl or .parquet.",
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[,...]|all",
            help="Columns of the data file to copy to the front of each row. May be repeated.",
        ),
    ] = None,
    output_format: Annotated[
        TableFormat | None, typer.Option("--format", help="Default: table on a terminal, csv in a pipe.")
    ] = None,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Compute outputs of MODEL for given inputs.

    Only the inputs that the outputs depend on are needed. A table has a row for each sample; an output without one,
    such as a loss, is in the JSON result only.
    """
    check_targets({"MODEL": model_file(model), "--data": data, "-o": output})
    opened, given = open_changed(model, plugins, settings, backend=on_device(backend, device), strict=strict)
    heed(opened.untrained(outputs), strict=strict)
    given = decoded(opened, {**given, **named_values("--input", inputs)})
    offer, possible = _offer(opened, data, columns, given, _needed(opened, outputs))
    is_table = output is not None or output_format is not TableFormat.json
    rows = _useful(offer, _inputs_of(outputs or _shown(opened, possible, is_table=is_table), possible))
    kept = kept_columns(opened, data, keep)
    options = {"check_finite": check_finite, "row_stable": row_stable, **_band(band, band_kind)}
    work = _predictor(in_parts=data is not None and band is None)
    found = work(opened, {**rows, **given}, outputs or None, **options)
    _write(found, kept, output, output_format)
    if is_table:
        _note_left_out(outputs or possible, found)


def _useful(offer: Offer, useful: Collection[str]) -> dict[str, Any]:
    """The rows of an offer that are of use, or all of them if none are."""
    return offer.read([name for name in offer.inputs if name in useful or not useful])


def _band(level: float | None, kind: BandKind) -> dict[str, Any]:
    return {} if level is None else {"band": level, "band_kind": kind.value}


def _predictor(*, in_parts: bool) -> Callable[..., Predictions]:
    """What predicts all rows at once, or one part of them after the other."""
    from graphengine.model.predictions import predictions_at_once, predictions_for_rows

    return predictions_for_rows if in_parts else predictions_at_once


def _inputs_of(outputs: Iterable[str], needed: Mapping[str, Sequence[str]]) -> set[str]:
    return set[str]().union(*[needed.get(output, ()) for output in outputs])


def _offer(
    model: Model, data: str | None, columns: ColumnNames, given: Mapping[str, Any], needed: Sequence[str] | None
) -> tuple[Offer, dict[str, list[str]]]:
    """What data has for the inputs, and the outputs that can be computed from it and what is given."""
    offer = offered_by(model, data, columns, given, needed)
    there = {*offer.inputs, *given}
    possible = _possible(model, there)
    if not possible:  # reading what one of them needs reports which columns lack
        return offered_by(model, data, columns, given, _nearest(model, there)), _inputs_of_outputs(model)
    return offer, possible


def _nearest(model: Model, there: Collection[str]) -> list[str]:
    """The inputs of the output that lacks the fewest of them."""
    needs = _inputs_of_outputs(model).values()
    return min(needs, key=lambda needed: len({*needed}.difference(there)), default=[])


def _possible(model: Model, inputs: Collection[str]) -> dict[str, list[str]]:
    """The outputs that can be computed from some inputs, with the inputs that each depends on."""
    return {name: needed for name, needed in _inputs_of_outputs(model).items() if set(needed) <= set(inputs)}


def _inputs_of_outputs(model: Model) -> dict[str, list[str]]:
    return {name: model.executor.inputs_of([value]) for name, value in model.graph.outputs.items()}


def _shown(model: Model, possible: Collection[str], *, is_table: bool) -> list[str]:
    """The outputs that a result has: of a table those with a row for each sample, if there are any."""
    from graphengine.model.output_columns import has_rows

    rows = [name for name in possible if has_rows(name, model.graph)] if is_table else []
    return rows or list(possible)


def _needed(model: Model, outputs: Sequence[str] | None) -> list[str] | None:
    """The inputs that the asked outputs depend on; None if none are asked. What is no output is reported later."""
    known = model.graph.outputs
    return list(model.executor.inputs_of([known[name] for name in outputs if name in known])) if outputs else None


def _write(
    found: Predictions, kept: Iterator[Carried] | None, path: Path | None, output_format: TableFormat | None
) -> None:
    """Write predictions to a file or to stdout."""
    if path is not None:
        from graphengine.data.table_files import write_table

        write_table(path, found.columns(kept))
        print_note(f"predictions written to {path}")
    elif output_format is TableFormat.json:
        _print_json(found, kept)
    else:
        _print_rows(found, kept, output_format or (TableFormat.table if sys.stdout.isatty() else TableFormat.csv))


def _print_json(found: Predictions, kept: Iterator[Carried] | None) -> None:
    from graphengine.data.table_files import as_lists

    columns = {} if kept is None else {"kept": as_lists(kept)}
    print_json({"outputs": json_values(found.whole()), **columns})


def _print_rows(found: Predictions, kept: Iterator[Carried] | None, output_format: TableFormat) -> None:
    from graphengine.data.table_files import as_lists, csv_parts

    rows = found.columns(kept)
    if output_format is TableFormat.csv:
        for part in csv_parts(rows):
            print_text(part)
    else:
        columns = as_lists(rows)
        print_table("", list(columns), list(zip(*columns.values(), strict=True)))


def _note_left_out(outputs: Collection[str], found: Predictions) -> None:
    """Name the outputs that are in no row, of those asked for or possible."""
    left_out = [name for name in outputs if name not in found.of_rows]
    if left_out and found.of_rows:
        names = ", ".join(map(repr, left_out))
        print_note(f"no value for each row, left out of the table: {names} (see --format json)")
