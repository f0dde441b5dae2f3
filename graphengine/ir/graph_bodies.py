"""The body of a loop or of a branch: a graph whose inputs get their types where it is used.

It is made of the nodes of a function, all calls in it inlined, and holds no types: for each combination of types that
it meets it makes a `Graph`, once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from graphengine.errors import GraphEngineError, Problem
from graphengine.ir.declarations import Expected, misfit, plain_inputs
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, infer_types, operand_type, operand_types, results_of
from graphengine.mappings import without_none
from graphengine.ops.body import Body, bodies_of
from graphengine.ops.merging import ROWS, merge_of
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType, Shape, SizeError, axes_with, symbols_of

MOST_GRAPHS = 16
"""Combinations of types for which a body remembers its graph, and what is derived from it."""


class ExpectedOperands(NamedTuple):
    """What the function of a body, or one that it calls, declares of its inputs, each with the operand that it gets."""

    path: str
    """The call, in words; empty for the body itself."""
    inputs: Mapping[str, tuple[Operand, Expected]]

    def misfit(self, types: Mapping[str, ArrayType]) -> str | None:
        """Return which input is not what is declared; None if all are, as far as their types are known."""
        given = without_none({name: operand_type(ref, types) for name, (ref, _) in self.inputs.items()})
        reason = misfit({name: expected for name, (_, expected) in self.inputs.items()}, given)
        return reason and f"{self.path}{reason}"


class GraphBody(Body):
    """Nodes in topological order, the names of the inputs, and the public outputs: from names to values.

    `expected` is what functions of a file declare of their inputs; it is checked for each combination of types.
    """

    def __init__(
        self,
        name: str,
        inputs: Iterable[str],
        nodes: Iterable[GraphNode],
        results: Mapping[str, str],
        expected: Iterable[ExpectedOperands] = (),
    ) -> None:
        self.name, self.inputs, self.results = name, tuple(inputs), dict(results)
        self.outputs = tuple(self.results)
        self.nodes: tuple[GraphNode, ...] = tuple(nodes)
        self.expected = tuple(expected)
        self.known: OrderedDict[Any, Any] = OrderedDict()
        """What was derived from it, by what it was derived for; the last used come last."""

    def __reduce__(self) -> tuple[Any, ...]:
        return GraphBody, (self.name, self.inputs, self.nodes, self.results, self.expected)

    def __deepcopy__(self, _memo: Any) -> GraphBody:
        return self  # it never changes

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, GraphBody) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<function '{self.name}' {self.digest}>"

    def __str__(self) -> str:
        return self.name

    @cached_property
    def digest(self) -> str:
        """The hash of its content."""
        nodes = [(each.id, each.op, repr(each.node), list(map(_text, each.inputs))) for each in self.nodes]
        content = (self.name, self.inputs, nodes, list(self.results.items()))
        return hashlib.sha256(repr(content).encode()).hexdigest()

    def remembered(self, key: Any, make: Callable[[], Any]) -> Any:
        """Return what is known under a key, or else is made."""
        found = self.known.pop(key, None)
        if found is None:
            found = make()
        self.known[key] = found
        while len(self.known) > MOST_GRAPHS:
            self.known.popitem(last=False)
        return found

    def graph(self, types: Sequence[ArrayType | None]) -> Graph:
        """Return the graph for inputs of these types.

        Raises
        ------
        ValueError
            Naming the node that they do not fit.
        """
        given = tuple(types)
        found: Graph = self.remembered(given, lambda: self._typed(given))
        return found

    def _typed(self, given: Sequence[ArrayType | None]) -> Graph:
        pairs = without_none(dict(zip(self.inputs, given, strict=True)))
        types = dict(pairs)
        problems = infer_types(self.nodes, types)
        self._require_fit(types, problems)
        return Graph(self.name, plain_inputs(pairs), {}, {}, self.nodes, self.results, types)

    def _require_fit(self, types: Mapping[str, ArrayType], problems: Sequence[Problem]) -> None:
        """Raise what is declared of an input and not so, before what follows from it: the first misfit of a node."""
        if reason := next(filter(None, [each.misfit(types) for each in self.expected]), None):
            raise ValueError(f"function '{self.name}': {reason}")
        if problems:
            kind = SizeError if problems[0].code == "GE134" else ValueError
            raise kind(f"function '{self.name}': {problems[0].message}")

    def infer(self, types: tuple[ArrayType | None, ...]) -> tuple[ArrayType, ...]:
        """Return the types of the results; see `Body`."""
        graph = self.graph(types)
        return tuple([graph.types[value] for value in self.results.values()])

    def values(self, types: tuple[ArrayType | None, ...]) -> list[ArrayType]:
        """Return the types of all values that it computes."""
        graph = self.graph(types)
        found = [graph.types[name] for name in results_of(self.nodes)]
        for node in self.nodes:
            if bodies_of(node.node):
                found += node.node.workspace(*operand_types(node.inputs, graph.types))
        return found

    def merges(self, types: tuple[ArrayType | None, ...], axes: Sequence[int | None]) -> bool:
        """Return whether each sample of the results comes from the same sample of the inputs alone."""
        graph, symbols = self.graph(types), _sample_sizes(types, axes)
        places: dict[Any, int | None] = dict(zip(self.inputs, axes, strict=True))
        for node in self.nodes:
            given = tuple([places.get(ref) for ref in node.inputs])
            if set(given) <= {None}:
                continue
            if set(merge_of(node.node, given, operand_types(node.inputs, graph.types))) != {ROWS}:
                return False
            places.update((name, _only_axis(graph.types[name].shape, symbols)) for name in node.outputs)
            if None in map(places.get, node.outputs):
                return False
        return None not in map(places.get, self.results.values())

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """Compute the results from arrays with the `forward` of each node.

        Raises
        ------
        ValueError
            If a node fails, naming it.
        """
        known: dict[Any, Any] = dict(zip(self.inputs, values, strict=True))
        self._compute(known)
        return tuple([known[value] for value in self.results.values()])

    def _compute(self, known: dict[Any, Any]) -> None:
        """Add what the nodes give to the known values."""
        for node in self.nodes:
            arguments = [known[ref] if type(ref) is str else ref for ref in node.inputs]
            try:
                found = node.node.forward(*arguments)
            except GraphEngineError:
                raise
            except Exception as error:  # a user's node may raise anything
                raise ValueError(f"function '{self.name}': node '{node.id}' ({node.op}): {error}") from error
            if len(node.node.outputs) == 1:
                known[node.id] = found
            else:
                known.update(zip(node.outputs, found, strict=True))

    def with_results(self, further: Mapping[str, str]) -> GraphBody:
        """Return the body with further outputs."""
        return GraphBody(self.name, self.inputs, self.nodes, {**self.results, **further})

    def mapped(self, change: Callable[[Node], Node]) -> GraphBody:
        """Return the body with other nodes; the same one if none is another."""
        nodes = [node._replace(node=change(node.node)) for node in self.nodes]
        if all(one.node is other.node for one, other in zip(nodes, self.nodes, strict=True)):
            return self
        return GraphBody(self.name, self.inputs, nodes, self.results, self.expected)


def bodies_in(nodes: Iterable[GraphNode]) -> Iterator[GraphBody]:
    """Yield the bodies of nodes and those within them, each once."""
    seen: set[int] = set()
    pending = [nodes]
    while pending:
        for node in pending.pop():
            for body in graph_bodies_of(node.node).values():
                if id(body) not in seen:
                    seen.add(id(body))
                    pending.append(body.nodes)
                    yield body


def graph_bodies_of(node: Node) -> dict[str, GraphBody]:
    """Return the bodies among the attributes of a node, by name."""
    if not type(node).model_fields:
        return {}
    return {field: body for field, body in bodies_of(node).items() if isinstance(body, GraphBody)}


def _sample_sizes(types: Sequence[ArrayType | None], axes: Sequence[int | None]) -> set[str]:
    """The symbols in the sizes of the axes that samples are on."""
    sampled = [(kind, axis) for kind, axis in zip(types, axes, strict=True) if kind and axis is not None]
    return set(chain(*[symbols_of(kind.shape[axis : axis + 1]) for kind, axis in sampled]))


def _text(operand: Operand) -> str:
    return repr(operand)


def _only_axis(shape: Shape, symbols: set[str]) -> int | None:
    """The one axis whose size counts samples."""
    found = axes_with(symbols, shape)
    return found[0] if len(found) == 1 else None
