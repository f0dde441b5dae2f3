"""Where the numbers of an evaluation first left the finite ones: the node, the row, and what it computed them from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import ExecutionError, Problem
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ir.origins import node_text, source_text
from graphengine.ops.numbers import all_finite

FEW = 4
"""Values up to this number are listed one by one, more of them by the least and the greatest."""


class NonFinite(NamedTuple):
    """A value that is not finite although all that it is computed from are."""

    what: str
    """The value in words: node 'z' (log)."""
    how: str
    """What it is, in which row, and from which inputs: -inf in row 3, from y = 0."""
    node: str | None
    row: int | None = None
    """The row, from 1, if it has rows."""


def require_all_finite(graph: Graph, values: Mapping[str, Any]) -> None:
    """Look at all values of an evaluation for one that is NaN or infinite; one that is None was not computed.

    Raises
    ------
    ExecutionError
        GE413, naming the first node that gave such a number, its row, and the inputs it computed it from.
    """
    found = first_non_finite(graph, values)
    if found:
        raise ExecutionError(
            [Problem("GE413", f"{found.what} is the first value that is not finite: {found.how}", node=found.node)]
        )


def first_non_finite(graph: Graph, values: Mapping[str, Any]) -> NonFinite | None:
    """The first value of an evaluation that is not finite, in the order in which they are computed.

    NaN that an input declares for missing values is none, nor what is NaN because of it, unless an output is.
    """
    gaps: dict[str, None] = {}
    for name in _not_finite(graph.sources, values):
        if not _is_gap(graph, name, values[name]):
            return _of_source(graph, name, values[name])
        gaps[name] = None
    for node in graph.nodes:
        for name in _not_finite(node.outputs, values):
            if gaps.keys().isdisjoint(node.references) or not _only_nan(values[name]):
                return _of_node(graph, node, name, values)
            gaps[name] = None
    if gaps.keys().isdisjoint(graph.outputs.values()):
        return None
    first = next(iter(gaps))
    return _of_source(graph, first, values[first])


def _not_finite(names: Iterable[str], values: Mapping[str, Any]) -> list[str]:
    return [name for name in names if not _is_finite(values.get(name))]


def _is_gap(graph: Graph, name: str, value: Any) -> bool:
    """Whether an input declares its NaN for missing values, and has nothing worse."""
    return name in graph.inputs and bool(graph.inputs[name].missing) and _only_nan(value)


def _of_source(graph: Graph, name: str, value: Any) -> NonFinite:
    how, row = _how(value)
    return NonFinite(source_text(graph, name), how, None, row)


def _of_node(graph: Graph, node: GraphNode, name: str, values: Mapping[str, Any]) -> NonFinite:
    how, row = _how(values[name])
    operands = [values[ref] if isinstance(ref, str) else ref for ref in node.inputs]
    if row is not None:
        operands = _in_row(graph, node, operands, values[name], name, row)
    read = ", ".join(_read(node, operands))
    return NonFinite(node_text(graph, node), f"{how}, from {read}" if read else how, node.id, row)


def _only_nan(value: Any) -> bool:
    """Whether a value that is not finite is nowhere infinite."""
    return not np.isinf(value).any()


def _is_finite(value: Any) -> bool:
    """Whether all numbers of a value are finite; what holds no floating-point numbers, or was not computed, is."""
    return value is None or np.asarray(value).dtype.kind not in "fc" or all_finite(value)


def _how(value: Any) -> tuple[str, int | None]:
    """The first number that is not finite, and its row, from 1; a scalar has none."""
    array = np.asarray(value)
    place = tuple(np.argwhere(~np.isfinite(array))[0])
    if not place:
        return f"{array}", None
    row = int(place[0]) + 1
    return f"{array[place]} in row {row}", row


def _in_row(graph: Graph, node: GraphNode, operands: list[Any], result: Any, name: str, row: int) -> list[Any]:
    """What one row of a result was computed from: rows of the operands, if the node gives it for these alone."""
    size = graph.types[name].shape[0]
    has_rows = [isinstance(ref, str) and graph.types[ref].shape[:1] == (size,) for ref in node.inputs]
    alone = _cut(operands, has_rows, slice(row - 1, row))
    return _cut(alone, has_rows, 0) if _gives(node, alone, name, result[row - 1 : row]) else operands


def _cut(operands: list[Any], has_rows: list[bool], rows: int | slice) -> list[Any]:
    """The operands, of those that have rows these."""
    return [operand[rows] if has else operand for operand, has in zip(operands, has_rows, strict=True)]


def _gives(node: GraphNode, operands: list[Any], name: str, expected: Any) -> bool:
    """Whether a node gives these numbers as one of its results."""
    try:
        with np.errstate(all="ignore"):
            given = node.node.forward(*operands)
            given = given if len(node.outputs) == 1 else given[node.outputs.index(name)]
            return np.allclose(given, expected, equal_nan=True)
    except Exception:  # noqa: BLE001 - whatever it is, the operands do not show where the result comes from
        return False


def _read(node: GraphNode, operands: list[Any]) -> Iterator[str]:
    """What a node was computed from in words: values by name, each once, and literals."""
    for ref, value in dict(zip(node.inputs, operands, strict=True)).items():
        if value is not None:
            yield f"{ref} = {_numbers(np.asarray(value))}" if isinstance(ref, str) else str(ref)


def _numbers(array: np.ndarray[Any, Any]) -> str:
    if array.size <= FEW:
        return str(array.tolist())
    return f"{float(array.min()):.6g} to {float(array.max()):.6g}"
