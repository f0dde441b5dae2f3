"""Outputs as columns of one table, named by class where an output speaks the categories of an input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from graphengine.errors import UsageError
from graphengine.ir.graph import Graph
from graphengine.model.categories import categories_of


def has_rows(output: str, graph: Graph) -> bool:
    """Return whether an output has a row for each sample: its first size is a symbol, or is not known.

    A limit of a band, `NAME_lower`, has the rows of its output.
    """
    shape = graph.types[graph.outputs[output if output in graph.outputs else output.rpartition("_")[0]]].shape
    return bool(shape) and not isinstance(shape[0], int)


def as_columns(predictions: Mapping[str, Any], speaking: Mapping[str, str], graph: Graph) -> dict[str, Any]:
    """Return outputs as columns of one table, a column for each number of a row.

    A column of several has its place in its name, `z[0]`, or the category that it is of, `probability[setosa]`. A
    scalar fills a column.

    Raises
    ------
    UsageError
        GE801 if outputs have different numbers of rows.
    """
    rows = _rows_of(predictions)
    found: dict[str, Any] = {}
    for name, value in predictions.items():
        table: Any = value if value.shape else np.broadcast_to(value, (rows,))
        for place, label in _labels(table.shape[1:], categories_of(name, speaking, graph)):
            found[f"{name}[{label}]" if place else name] = table[(slice(None), *place)]
    return found


def _rows_of(predictions: Mapping[str, Any]) -> int:
    """The number of rows of all outputs but scalars; 1 if there are no others."""
    lengths = {name: len(value) for name, value in predictions.items() if value.shape}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        hint = "name one with --output, or use --format json"
        raise UsageError(f"outputs with different numbers of rows do not make a table: {shown}", hint=hint)
    return next(iter(lengths.values()), 1)


def _labels(shape: tuple[int, ...], categories: tuple[str | float, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """The places of the numbers of a row, each with its name."""
    speaks = bool(shape) and shape[-1] == len(categories)
    for place in np.ndindex(shape):
        names: list[Any] = [*place[:-1], categories[place[-1]]] if speaks else [*place]
        yield place, ",".join(map(str, names))
