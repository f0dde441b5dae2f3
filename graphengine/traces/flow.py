"""Whether the gradient of a scalar reaches a value, along which paths, and if not, which nodes are in the way.

Nothing is computed: an op passes a gradient on where its `backward`, called with stand-ins for arrays, gives one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import and_
from typing import Any, NamedTuple

from graphengine.ir.graph import Graph, names_of
from graphengine.ir.nodes import GraphNode, differentiable_operands, operand_types, reachable
from graphengine.ir.recording import Recorder
from graphengine.mappings import without
from graphengine.ops.body import bodies_of
from graphengine.ops.shapes import dtype_name
from graphengine.traces.formulas import documented
from graphengine.transform.backward import check_differentiable

MAX_PATHS = 5
"""So many paths are listed, the shortest ones; all are counted."""


@dataclass(frozen=True, slots=True)
class Block:
    """A node that does not pass the gradient on to `operand`."""

    node: str
    op: str
    operand: str
    reason: str


@dataclass(frozen=True, slots=True)
class Flow:
    """How the gradient of `of` reaches `toward`: the shortest paths, from there on, and how many there are in all."""

    of: str
    toward: str
    kind: str
    trainable: bool
    count: int
    paths: tuple[tuple[str, ...], ...]
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """What it comes to, in one sentence."""
        kept = "; it is not trainable, so no update uses it" * (self.kind == "parameter" and not self.trainable)
        return f"{self.toward} gets {self._how}{kept}"

    @property
    def _how(self) -> str:
        if self.count:
            ways = "one path" if self.count == 1 else f"{self.count} paths"
            return f"a gradient from {self.of} along {ways}"
        why = ": every path is blocked" if self.blocks else ", which does not depend on it"
        return f"no gradient from {self.of}{why}"


class _Way(NamedTuple):
    """A path as a linked list, shared between the paths that end alike."""

    length: int
    value: str
    rest: _Way | None

    @property
    def values(self) -> Iterator[str]:
        way: _Way | None = self
        while way:
            yield way.value
            way = way.rest


def explain_gradient(graph: Graph, of: str, wrt: str | Sequence[str] | None = None) -> list[Flow]:
    """How the gradient of a scalar reaches values; without `wrt` all parameters.

    Raises
    ------
    UsageError
        GE402 if there is no such value.
    DifferentiationError
        GE411 if `of` is not a floating-point scalar.
    """
    target = graph.value_name(of)
    check_differentiable(graph, target, [])
    names = [graph.value_name(name) for name in names_of(graph.parameters if wrt is None else wrt)]
    explorer = _Explorer(graph, [target])
    return list(map(explorer.flow, names))


class _Explorer:
    """The nodes that the targets depend on, with the edges along which a gradient flows and those where it stops."""

    def __init__(self, graph: Graph, targets: Sequence[str]) -> None:
        self.graph, self.target = graph, targets[0]
        self.recorder = Recorder(graph)
        self.nodes = reachable(graph.nodes, targets)
        self._functions: dict[str, list[tuple[_Explorer, Sequence[str | None]]]] = {}
        self.users: dict[str, list[tuple[GraphNode, str | None]]] = {}
        for node in self.nodes:
            for operand, reason in self._edges(node).items():
                self.users.setdefault(operand, []).append((node, reason))

    def _edges(self, node: GraphNode) -> dict[str, str | None]:
        """For each operand None where the node passes a gradient on, else why it does not."""
        passes = self._passes(node)
        edges: dict[str, str | None] = {}
        for operand, passed in zip(node.inputs, passes, strict=True):
            if isinstance(operand, str):
                reason = None if passed else self._reason(node, operand)
                edges[operand] = None if edges.get(operand, reason) is None else reason
        return edges

    def _passes(self, node: GraphNode) -> Sequence[bool]:
        """Which operands a node's `backward` gives a gradient."""
        needs = differentiable_operands(node, self.graph.types)
        if not self._may_pass(node):
            return [False] * len(needs)
        if bodies_of(node.node):
            return list(map(and_, needs, self._open_within(node)))
        return self._recorded_passes(node, needs)

    def _may_pass(self, node: GraphNode) -> bool:
        """Whether a node has a `backward` that is not 0 everywhere, and a result that a gradient can arrive at."""
        flowing = any(self.graph.types[name].is_differentiable for name in node.outputs)
        return flowing and node.node.signature.saved is not None and not _is_flat(node)

    def _open_within(self, node: GraphNode) -> list[bool]:
        """For each operand whether a gradient flows to it in one of the functions that the node runs."""
        names = [map(inner.is_open, given) for inner, given in self._within(node)]
        return list(map(any, zip(*names, strict=True)))

    def _recorded_passes(self, node: GraphNode, needs: tuple[bool, ...]) -> Sequence[bool]:
        """Which operands get a gradient from a `backward` that is recorded."""
        inputs = list(map(self.recorder.symbol, node.inputs))
        results = list(map(self.recorder.symbol, node.outputs))
        before = len(self.recorder.nodes)
        try:
            given = node.node.signature.gradients(node.node, results, inputs, results, needs)
        except Exception:  # noqa: BLE001 - what cannot be recorded is run with arrays
            return needs
        finally:
            self.recorder.forget(before)
        return [gradient is not None for gradient in given]

    def _within(self, node: GraphNode) -> list[tuple[_Explorer, Sequence[str | None]]]:
        """The functions that a node runs, each with the names that its operands have there.

        What reaches a state reaches the results of later steps, so all results are targets.
        """
        if node.id not in self._functions:
            op: Any = node.node
            kinds = operand_types(node.inputs, self.graph.types)
            ahead = () if node.op == "scan" else (None,)  # the condition of a choice
            given = op.steps(kinds)[0] if node.op == "scan" else kinds[1:]
            self._functions[node.id] = [
                (_Explorer(body.graph(given), list(body.results.values())), (*ahead, *body.inputs))
                for body in bodies_of(op).values()
            ]
        return self._functions[node.id]

    def is_open(self, name: str | None) -> bool:
        """Whether a gradient flows to a value from a target."""
        return name in self._open

    @cached_property
    def _open(self) -> set[str]:
        found = set(self.graph.outputs.values())
        for node in reversed(self.nodes):
            if not found.isdisjoint(node.outputs):
                found.update(ref for ref, reason in self._edges(node).items() if reason is None)
        return found

    def _reason(self, node: GraphNode, operand: str) -> str:
        types = self.graph.types
        for name in (operand, *node.outputs):
            if not types[name].is_differentiable:
                return f"'{name}' is {dtype_name(types[name].dtype)}, and only floating-point numbers have a gradient"
        if node.node.signature.saved is None:
            return "the op has no backward"
        if _is_flat(node):
            return "its derivative is 0 everywhere"
        return next(self._reasons_within(node, operand), "its backward gives no gradient here")

    def _reasons_within(self, node: GraphNode, operand: str) -> Iterator[str]:
        """What blocks the gradient in the functions that a node runs."""
        for inner, names in self._within(node) if bodies_of(node.node) else ():
            for block in inner._blocks(str(names[node.inputs.index(operand)])):
                yield f"in its function '{inner.graph.name}', node '{block.node}' ({block.op}): {block.reason}"

    @cached_property
    def _ways(self) -> dict[str, tuple[int, list[_Way]]]:
        """For each value how many paths lead to the target, and the shortest of them."""
        ways: dict[str, tuple[int, list[_Way]]] = {}
        for value in self._last_first():
            if value == self.target:
                ways[value] = 1, [_Way(0, value, None)]
            elif further := list(filter(None, map(ways.get, self._open_results(value)))):
                ways[value] = sum(count for count, _ in further), _shortest(value, further)
        return ways

    def _last_first(self) -> list[str]:
        """All values, each after those that are computed from it."""
        return [*[name for node in reversed(self.nodes) for name in node.outputs], *self.graph.sources]

    def _open_results(self, value: str) -> list[str]:
        """What the nodes give that pass a gradient on to a value."""
        return [name for node, reason in self.users.get(value, ()) if reason is None for name in node.outputs]

    def flow(self, name: str) -> Flow:
        """How the gradient reaches one value."""
        count, ways = self._ways.get(name, (0, []))
        paths = tuple(tuple(way.values) for way in ways)
        blocks = () if count else tuple(self._blocks(name))
        return Flow(self.target, name, self._kind(name), name in self.graph.trainable, count, paths, blocks)

    def _kind(self, name: str) -> str:
        kinds = {"input": self.graph.inputs, "parameter": self.graph.parameters, "state": self.graph.state}
        return next((kind for kind, names in kinds.items() if name in names), "node")

    def _blocks(self, name: str) -> Iterator[Block]:
        """The nodes at which all paths from a value end, each once."""
        seen, pending = {name}, [name]
        while pending:
            value = pending.pop()
            users = self.users.get(value, ())
            yield from (Block(node.id, node.op, value, reason) for node, reason in users if reason is not None)
            new = without(dict.fromkeys(self._open_results(value)), seen)
            seen.update(new)
            pending += new


def _shortest(value: str, further: Sequence[tuple[int, Sequence[_Way]]]) -> list[_Way]:
    """The shortest ways from a value, whose first step leads to the beginning of another way."""
    found = (_Way(way.length + 1, value, way) for _, several in further for way in several)
    return sorted(found, key=lambda way: way.length)[:MAX_PATHS]


def _is_flat(node: GraphNode) -> bool:
    """Whether the documentation of the op says that its derivative is 0 everywhere, as that of `sign`."""
    op = documented(node)
    return op is not None and op.docstring.derivatives == "dz/dx = 0"
