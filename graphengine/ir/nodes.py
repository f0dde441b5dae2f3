"""The nodes of a graph: ops applied to operands, their topological order, and what they depend on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from graphengine.errors import MOST_REPORTED, Problem
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType

Operand: TypeAlias = str | int | float | None
"""What a node's input is: the name of a value, a literal number, or None for an omitted optional input."""

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

    def renamed(self, names: Mapping[Any, Any]) -> GraphNode:
        """Return the node with the operands that `names` maps its own to; those that it does not have stay."""
        return self._replace(inputs=tuple([names.get(ref, ref) for ref in self.inputs]))


def operand_key(operand: Operand) -> Any:
    """What distinguishes operands: a literal 2 is not a literal 2.0, and 0.0 is not -0.0."""
    return operand if type(operand) is str else (type(operand), repr(operand))


def operand_keys(operands: Iterable[Operand]) -> list[Any]:
    """What distinguishes operands, for each of them."""
    return [ref if type(ref) is str else (type(ref), repr(ref)) for ref in operands]


def application_key(instance: int, operands: tuple[Operand, ...]) -> Any:
    """What distinguishes applications of ops; `instance` is the identity of a node object."""
    for operand in operands:
        if type(operand) is not str:
            return (instance, tuple(operand_keys(operands)))
    return (instance, operands)


def results_of(nodes: Iterable[GraphNode]) -> list[str]:
    """The names of all values that nodes give, in their order."""
    return [name for node in nodes for name in ((node[0],) if len(node[2].outputs) == 1 else node.outputs)]


def has_loops(nodes: Iterable[GraphNode]) -> bool:
    """Whether one of the nodes may run a function for each step of sequences."""
    return any(node.op == LOOP for node in nodes)


def differentiable_operands(node: GraphNode, types: Mapping[str, ArrayType]) -> tuple[bool, ...]:
    """For each operand whether it is a floating-point value."""
    return tuple([isinstance(operand, str) and types[operand].is_differentiable for operand in node.inputs])


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
    from graphengine.ir import toposort  # networkx is the slowest import of all, needed only here

    nodes = sorted(nodes, key=itemgetter(0))
    graph = toposort.Readers(len(nodes), _reads(nodes))
    order = graph.order()
    cycles = graph.cycles(MOST_REPORTED + 1) if len(order) < len(nodes) else []
    return (
        [nodes[index] for index in order],
        [_cycle_problem([nodes[index].id for index in cycle]) for cycle in cycles],
    )


def _reads(nodes: list[GraphNode]) -> Iterator[Collection[int]]:
    """For each node the positions of those it reads."""
    position: dict[Any, int] = {node[0]: index for index, node in enumerate(nodes)}
    for _, _, _, operands in nodes:
        found = {position[operand] for operand in operands if operand in position}
        if len(found) < len(operands):
            with_port = (operand.partition(":")[0] for operand in operands if type(operand) is str and ":" in operand)
            found.update(position[producer] for producer in with_port if producer in position)
        yield found


def _cycle_problem(names: list[str]) -> Problem:
    shown = names if len(names) <= 12 else [*names[:6], f"... {len(names) - 11} more ...", *names[-5:]]
    return Problem("GE214", f"nodes form a cycle: {' -> '.join(shown)}", node=names[0])
