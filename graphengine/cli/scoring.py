"""`evaluate`: the loss, the metrics and the scores of a model on data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphengine.cli.data_files import needed_to_train, read_data
from graphengine.cli.failures import heed
from graphengine.cli.opening import decoded, on_device, open_changed
from graphengine.cli.options import (
    BackendName,
    ColumnNames,
    DataName,
    Device,
    Inputs,
    ModelName,
    OutputFormat,
    Plugins,
    Settings,
    Strict,
)
from graphengine.cli.output import Format, print_line, print_lines, print_result, print_table
from graphengine.cli.values import named_values
from graphengine.mappings import without_none
from graphengine.wording import counted

if TYPE_CHECKING:
    from graphengine.model.evaluating import DefaultRows, Scores


def evaluate(
    model: ModelName,
    inputs: Inputs = None,
    data: DataName = None,
    columns: ColumnNames = None,
    settings: Settings = None,
    output_format: OutputFormat = Format.text,
    plugins: Plugins = None,
    strict: Strict = False,
    backend: BackendName = "numpy",
    device: Device = None,
) -> None:
    """Compute the loss, the metrics and the scores of MODEL on data.

        Without --data, the validation data of the file is used, or the rows that its training holds out, or else the
    training data. For classes the scores are accuracy, a confusion matrix, precision and recall; for numbers R
    squared, mean absolute and root mean squared error.
    """
    from graphengine.model.evaluating import default_rows

    opened, given = open_changed(model, plugins, settings, backend=on_device(backend, device), strict=strict)
    heed(opened.untrained(), strict=strict)
    given = decoded(opened, {**given, **named_values("--input", inputs)})
    given |= read_data(opened, data, columns, given, needed_to_train(opened) if data is not None else None)
    rows = None if given else default_rows(opened.document)
    scores = opened.evaluate(given or None)
    name = opened.graph.name
    content = {"model": name, **_rows_as_json(rows), **scores_as_json(scores)}
    print_result(output_format, content, lambda: print_scores(name, scores, rows.text if rows else ""))


def _rows_as_json(rows: DefaultRows | None) -> dict[str, Any]:
    """The data source of the file that was read, and whether its rows are those that a training sets apart."""
    if rows is None:
        return {}
    source: dict[str, Any] = {"data": rows.source} if rows.source else {}
    return source | {"set_apart": True} if rows.validation else source


def scores_as_json(scores: Scores) -> dict[str, Any]:
    """Return scores as JSON has them."""
    from graphengine.ops.numbers import encode_number

    found: dict[str, Any] = {"rows": scores.rows}
    found["loss"] = None if scores.loss is None else encode_number(scores.loss)
    found["metrics"] = {name: encode_number(value) for name, value in scores.metrics.items()}
    if scores.confusion is not None:
        found["classes"] = [_class_as_json(each._asdict()) for each in scores.classes]
        found["confusion"] = scores.confusion.tolist()
    return found


def _class_as_json(scores: Mapping[str, Any]) -> dict[str, Any]:
    from graphengine.ops.numbers import encode_number

    return {key: encode_number(value) if isinstance(value, float) else value for key, value in scores.items()}


def print_scores(name: str, scores: Scores, on: str = "") -> None:
    """Print scores under a name, and the rows that they are of."""
    print_line(f"{name}: {counted(scores.rows, 'row')}{on}")
    numbers = without_none({"loss": scores.loss, **scores.metrics})
    print_lines(f"{metric}: {value:.6g}" for metric, value in numbers.items())
    if scores.confusion is not None:
        _print_classes(scores, scores.confusion.tolist())


def _print_classes(scores: Scores, confusion: Sequence[Sequence[int]]) -> None:
    names = [str(each.name) for each in scores.classes]
    print_table("", ["class", "precision", "recall", "f1", "rows"], [_cells(*each) for each in scores.classes])
    rows = [[name, *map(str, counts)] for name, counts in zip(names, confusion, strict=True)]
    print_table("", ["class \\ predicted", *names], rows)


def _cells(name: str | float, *numbers: float) -> Sequence[str]:
    *scores, support = numbers
    return [str(name), *(f"{score:.4f}" for score in scores), str(support)]
