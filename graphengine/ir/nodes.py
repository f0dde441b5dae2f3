"""The nodes of a graph: ops applied to operands, their topological order, what they depend on, and their types.

The types of what nodes give are inferred by the rule of each class, before anything runs.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from graphengine.errors import MOST_REPORTED, Problem
from graphengine.ops.node import Node
from graphengine.ops.shapes import PYTHON_NUMBERS, ArrayType, SizeError, require_possible
from graphengine.ops.traits import OpTrait

Operand: TypeAlias = str | int | float | None
"""What a node's input is: the name of a value, a literal number, or None for an omitted optional input."""

UNLIKE = (0, 1)
"""Literals that passes look for."""

LOOP = "scan"
"""The op that runs a function for each step of sequences."""


class Origin(NamedTuple):
    """Where a node is in a file: the calls that lead to it, in words, and its id and op in the innermost function."""

    calls: list[str]
    name: str | None
    op: str | None


class GraphNode(NamedTuple):
    """One node of a graph: an op with its attributes (`node`), applied to operands."""

    id: str
    op: str
    node: Node
    inputs: tuple[Operand, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values it gives: its id, and `id:port` for further ones."""
        ports = self.node.outputs
        return (self.id,) if len(ports) == 1 else (self.id, *[f"{self.id}:{port}" for port in ports[1:]])

    @property
    def references(self) -> tuple[str, ...]:
        """The operands that are values, one for each use."""
        return tuple([operand for operand in self.inputs if isinstance(operand, str)])

    @property
    def is_loop(self) -> bool:
        """Whether it runs a function for each step of sequences."""
        return self.op == LOOP and self.node.is_core

    def with_input(self, position: int, operand: Operand) -> GraphNode:
        """Return the node with another operand at a position."""
        return self._replace(inputs=(*self.inputs[:position], operand, *self.inputs[position + 1 :]))

    def renamed(self, names: Mapping[Any, Any]) -> GraphNode:
        """Return the node with the operands that `names` maps its own to; those that it does not have stay."""
        return self._replace(inputs=tuple([names.get(ref, ref) for ref in self.inputs]))


def free_name(name: str, taken: Container[str]) -> str:
    """Return a name that is not taken: the given one, or with underscores appended."""
    while name in taken:
        name += "_"
    return name


def operand_key(operand: Operand) -> Any:
    """What distinguishes operands: a literal 2 is not a literal 2.0, and 0.0 is not -0.0."""
    return operand if type(operand) is str else (type(operand), repr(operand))


def operand_keys(operands: Iterable[Operand]) -> list[Any]:
    """What distinguishes operands, for each of them."""
    return [ref if type(ref) is str else (type(ref), repr(ref)) for ref in operands]


def literal_key(node: GraphNode, operand: Operand) -> Any:
    """The key of literals that differ for the code of a node and for the passes: those of most arithmetic are alike.

    The passes look for 0 and 1. A template takes a literal from the operands of a node, as it takes a value.
    """
    if type(operand) is float and OpTrait.TAKES_LITERALS in node.node.traits and operand not in UNLIKE:
        return float if math.isfinite(operand) else operand_key(operand)
    return operand_key(operand)


def literal_keys(node: GraphNode) -> list[Any]:
    """The keys of the literals among the operands of a node; see `literal_key`."""
    return [literal_key(node, operand) for operand in node.inputs if type(operand) is not str]


def application_key(instance: int, operands: tuple[Operand, ...]) -> Any:
    """What distinguishes applications of ops; `instance` is the identity of a node object."""
    for operand in operands:
        if type(operand) is not str:
            return (instance, tuple(operand_keys(operands)))
    return (instance, operands)


def results_of(nodes: Iterable[GraphNode]) -> list[str]:
    """The names of all values that nodes give, in their order."""
    return [name for node in nodes for name in ((node[0],) if len(node[2].outputs) == 1 else node.outputs)]


def producers_of(nodes: Iterable[GraphNode]) -> dict[str, GraphNode]:
    """The node that gives each value."""
    return {name: node for node in nodes for name in node.outputs}


def has_loops(nodes: Iterable[GraphNode]) -> bool:
    """Whether one of the nodes may run a function for each step of sequences."""
    return any(node.op == LOOP for node in nodes)


def differentiable_operands(node: GraphNode, types: Mapping[str, ArrayType]) -> tuple[bool, ...]:
    """For each operand whether it is a floating-point value."""
    return tuple([isinstance(operand, str) and types[operand].is_differentiable for operand in node.inputs])


def operands_of(nodes: Iterable[GraphNode]) -> set[Any]:
    """All that nodes read."""
    return set[Any]().union(*[node.inputs for node in nodes])


def reachable(nodes: Sequence[GraphNode], targets: Iterable[str]) -> list[GraphNode]:
    """The nodes that the target values depend on; `nodes` are sorted, and the result is."""
    return reached(nodes, targets)[0]


def reached(nodes: Sequence[GraphNode], targets: Iterable[str]) -> tuple[list[GraphNode], set[Any]]:
    """The nodes that the target values depend on, in their order, and all that these read, the targets included."""
    needed: set[Any] = set(targets)
    found = []
    for node in reversed(nodes):
        name, _, instance, operands = node
        if name in needed or (len(instance.outputs) > 1 and not needed.isdisjoint(node.outputs)):
            found.append(node)
            needed.update(operands)
    found.reverse()
    return found, needed


def topologically_sorted(nodes: list[GraphNode]) -> tuple[list[GraphNode], list[Problem]]:
    """The nodes, each after those it reads; the same order whatever the order they come in.

    Nodes that cannot be sorted are left out: those on a cycle and what depends on them. The problems are GE214, naming
    the nodes on a short cycle of each group of nodes that form cycles.
    """
    if _is_chain(nodes):
        return [*nodes], []
    from graphengine.ir import toposort  # networkx is the slowest import of all, needed only here

    nodes = sorted(nodes, key=itemgetter(0))
    graph = toposort.Readers(len(nodes), _reads(nodes))
    order = graph.order()
    cycles = graph.cycles(MOST_REPORTED + 1) if len(order) < len(nodes) else []
    return (
        [nodes[index] for index in order],
        [_cycle_problem([nodes[index].id for index in cycle]) for cycle in cycles],
    )


def _is_chain(nodes: list[GraphNode]) -> bool:
    """Whether each node reads the one before it, and none a later one: they have no other order."""
    return all(before[0] in node[3] for before, node in pairwise(nodes)) and all(
        max(read, default=-1) < index for index, read in enumerate(_reads(nodes))
    )


def _reads(nodes: list[GraphNode]) -> Iterator[Collection[int]]:
    """For each node the positions of those it reads."""
    position: dict[Any, int] = {node[0]: index for index, node in enumerate(nodes)}
    for _, _, _, operands in nodes:
        found = {position[operand] for operand in operands if operand in position}
        if len(found) < len(operands):
            found.update(_read_by_port(position, operands))
        yield found


def _read_by_port(position: Mapping[Any, int], operands: Iterable[Operand]) -> list[int]:
    """The positions of nodes whose further results are read, which have the name of their port after a colon."""
    producers = [operand.partition(":")[0] for operand in operands if type(operand) is str and ":" in operand]
    return [position[producer] for producer in producers if producer in position]


def _cycle_problem(names: list[str]) -> Problem:
    shown = names if len(names) <= 12 else [*names[:6], f"... {len(names) - 11} more ...", *names[-5:]]
    return Problem("GE214", f"nodes form a cycle: {' -> '.join(shown)}", node=names[0])


class _Misfit(NamedTuple):
    """Why a node has no types."""

    code: str
    reason: str

    @classmethod
    def of(cls, error: ValueError) -> _Misfit:
        """Return what a rule for types has raised."""
        return cls("GE134" if isinstance(error, SizeError) else "GE301", str(error))

    def problem(self, node: GraphNode) -> Problem:
        """Return it as a finding about the node."""
        return Problem(self.code, f"node '{node.id}' ({node.op}): {self.reason}", node=node.id)


def infer_types(nodes: Iterable[GraphNode], types: dict[str, ArrayType]) -> list[Problem]:
    """Add the types of what sorted nodes give to `types`, and return a problem for each of the first misfits.

    The problems are GE301 or, where a size is larger than any array, GE134. Nodes of one instance on operands of the
    same types are inferred once.
    """
    known: dict[Any, tuple[ArrayType, ...] | _Misfit] = {}
    misfits: list[tuple[_Misfit, GraphNode]] = []
    for graph_node in nodes:
        name, _, node, operands = graph_node
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
                results = _Misfit.of(error)
            known[key] = results
        if isinstance(results, _Misfit):
            misfits.append((results, graph_node))
            continue
        types[name] = results[0]
        if len(results) > 1:
            types.update(zip(graph_node.outputs, results, strict=True))
    return [misfit.problem(node) for misfit, node in misfits[: MOST_REPORTED + 1]]


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
