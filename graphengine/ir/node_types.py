"""The types of what nodes give, by the rule of each class, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from graphengine.errors import MOST_REPORTED, Problem
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.node import Node
from graphengine.ops.shapes import PYTHON_NUMBERS, ArrayType, SizeError, require_possible


class _Misfit(NamedTuple):
    """Why a node has no types."""

    code: str
    reason: str


def infer_types(nodes: Iterable[GraphNode], types: dict[str, ArrayType]) -> list[Problem]:
    """Add the types of what sorted nodes give to `types`, and return a problem for each of the first misfits.

    The problems are GE301 or, where a size is larger than any array, GE134. Nodes of one instance on operands of the
    same types are inferred once.
    """
    known: dict[Any, tuple[ArrayType, ...] | _Misfit] = {}
    problems: list[Problem] = []
    for graph_node in nodes:
        name, op, node, operands = graph_node
        given = tuple([types.get(operand) for operand in operands])  # type: ignore[arg-type]
        if None in given:
            given = operand_types(operands, types)
            if given.count(None) > operands.count(None):
                continue  # what it reads failed, and that is reported there
        key = (id(node), given)
        results = known.get(key)
        if results is None:
            try:
                results = infer(node, given)
            except ValueError as error:
                results = _Misfit("GE134" if isinstance(error, SizeError) else "GE301", str(error))
            known[key] = results
        if isinstance(results, _Misfit):
            if len(problems) <= MOST_REPORTED:
                problems.append(Problem(results.code, f"node '{name}' ({op}): {results.reason}", node=name))
            continue
        types[name] = results[0]
        if len(results) > 1:
            types.update(zip(graph_node.outputs, results, strict=True))
    return problems


def infer(node: Node, types: tuple[ArrayType | None, ...]) -> tuple[ArrayType, ...]:
    """The types of a node's results.

    Raises
    ------
    ValueError
        If the types do not fit the op, or if its results are not what its class declares.
    SizeError
        If no array can be as large as a result.
    """
    try:
        result = node.infer(*types)
    except ValueError:
        raise
    except Exception as error:  # a rule may raise anything: NumPy does for an axis or dtype that is none
        raise ValueError(f"{type(error).__name__}: {error}") from error
    results = (result,) if isinstance(result, ArrayType) else tuple(result)
    for kind in results:
        require_possible(tuple(kind.shape))
    if len(results) != len(node.outputs):
        raise ValueError(f"it gives {len(results)} outputs and declares {len(node.outputs)}: {node.outputs}")
    return results


def operand_type(operand: Operand, types: Mapping[str, ArrayType]) -> ArrayType | None:
    """The type of a value or of a literal; None where it is not known, and for an omitted input."""
    return types.get(operand) if isinstance(operand, str) else literal_type(operand)


def operand_types(operands: Iterable[Operand], types: Mapping[str, ArrayType]) -> tuple[ArrayType | None, ...]:
    """The type of each operand; see `operand_type`."""
    return tuple([operand_type(operand, types) for operand in operands])


def literal_type(operand: Any) -> ArrayType | None:
    """The type of a literal number, an integer with what it is: it may be a size. None for an omitted input."""
    if type(operand) is int:
        return integer_type(operand)
    return None if operand is None else PYTHON_NUMBERS[type(operand)]


@lru_cache(maxsize=1024)
def integer_type(number: int) -> ArrayType:
    """The type of an integer of which is known what it is; one object for each."""
    return PYTHON_NUMBERS[int]._replace(content=(number,))
