"""The walk that all passes share: over the sorted nodes once, replacing what a rule replaces.

A rule is a pure function (rewriter, node) -> None (keep the node), a GraphNode (this one instead, asked again), or an
operand (the node's result is that value or number). It must keep the type of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

from graphengine.ir.graph import Graph, GraphNode, Operand, infer, literal_type
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType

Rule: TypeAlias = "Callable[[Rewriter, GraphNode], GraphNode | Operand]"


class Rewriter:
    """Builds the new graph node by node; `types` and `producers` describe what is built so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.types: dict[str, ArrayType] = {name: graph.types[name] for name in graph.sources}
        self.producers: dict[str, GraphNode] = {}
        self.nodes: list[GraphNode] = []
        self.replaced: dict[Any, Operand] = {}
        self.instance = Instances(OPS.original)
        self._taken: dict[str, int] = {}
        self._inferred: dict[Any, tuple[ArrayType, ...]] = {}

    def run(self, rules: Iterable[Rule]) -> Graph:
        """Walk the graph, applying the rules to each node until none changes it."""
        rules = tuple(rules)
        for node in self.graph.nodes:
            inputs = tuple([self.replaced.get(ref, ref) if type(ref) is str else ref for ref in node.inputs])
            self._place(node if inputs == node.inputs else node._replace(inputs=inputs), rules)
        outputs = {name: self._as_value(value) for name, value in self.graph.outputs.items()}
        return self.graph.derive(self.nodes, outputs, self.types)

    def _place(self, node: GraphNode, rules: tuple[Rule, ...]) -> None:
        changed = node.is_core
        while changed:
            changed = False
            for rule in rules:
                result = rule(self, node)
                if isinstance(result, GraphNode):
                    node, changed = result, True
                    break
                if result is not None:
                    self.replaced[node.id] = result
                    return
        self.add(node)

    def add(self, node: GraphNode) -> str:
        """Append a node to the new graph."""
        types = tuple([self.type_of(operand) for operand in node.inputs])
        key = (id(node.node), types)
        if key not in self._inferred:
            self._inferred[key] = infer(node.node, types)
        self.nodes.append(node)
        results = self._inferred[key]
        for name, kind in zip(node.outputs, results, strict=True) if len(results) > 1 else ((node.id, results[0]),):
            self.producers[name] = node
            self.types[name] = kind
        return node.id

    def insert(self, op: str, inputs: tuple[Operand, ...], attributes: Mapping[str, Any], near: str) -> str:
        """Append a new node, named after the one it stands before."""
        return self.add(GraphNode(self.free_name(near), op, self.instance(op, attributes), inputs))

    def free_name(self, near: str) -> str:
        """A name that neither the old nor the new graph has."""
        count = self._taken.get(near, 0) + 1
        while (name := f"{near}~{count}") in self.types or name in self.graph.types:
            count += 1
        self._taken[near] = count
        return name

    def type_of(self, operand: Operand) -> ArrayType | None:
        """The type of an operand."""
        return self.types[operand] if isinstance(operand, str) else literal_type(operand)

    def producer(self, operand: Operand, *ops: str) -> GraphNode | None:
        """The node that computes an operand, if it is of one of these ops, and not one a user put in their place."""
        producer = self.producers.get(operand) if isinstance(operand, str) else None
        return producer if producer and producer.op in ops and producer.is_core else None

    def _as_value(self, value: str) -> str:
        """An output must name a value: a number becomes a constant node."""
        operand = self.replaced.get(value, value)
        if isinstance(operand, str):
            return operand
        dtype = self.graph.types[value].array_dtype.name
        return self.insert("constant", (), {"value": float(cast("float", operand)), "dtype": dtype}, value)
