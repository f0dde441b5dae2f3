"""The walk that all passes share: over the sorted nodes once, replacing what a rule replaces.

A rule is a pure function (rewriter, node) -> None (keep the node), a GraphNode (this one instead, asked again), or an
operand (the node's result is that value or number). It must keep the type of the result. What it decides depends on
the node's instance, literals, the types of operands and result, and what it finds with `Rewriter.producer`; so a node
that no rule changes, and all nodes alike, are asked about once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

from graphengine.ir.graph import Graph, GraphNode, Operand, application_key, infer, literal_type, operand_key
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType

Rule: TypeAlias = "Callable[[Rewriter, GraphNode], GraphNode | Operand]"


class _Kind(NamedTuple):
    """What all nodes alike have in common: the types of their results, what rules see of them, and their instance.

    `trait` stands for a type and an op, `instance` for all instances that are equal.
    """

    types: tuple[ArrayType, ...]
    trait: int
    instance: int


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
        self._kinds: dict[Any, _Kind] = {}
        self._trait_numbers: dict[Any, int] = {}
        self._traits: dict[Any, int] = {name: self._trait(kind, None) for name, kind in self.types.items()}
        self._computed: dict[Any, str] = {}
        self._found_producer = False

    def run(self, rules: Iterable[Rule] = (), *, merge: bool = False) -> Graph:
        """Walk the graph, applying the rules to each node until none changes it.

        With `merge` the same op with the same attributes on the same operands is computed once.
        """
        rules = tuple(rules)
        replaced, traits, types = self.replaced, self._traits, self.graph.types
        settled: dict[Any, _Kind] = {}
        for node in self.graph.nodes:
            name, _, instance, operands = node
            inputs = tuple(map(replaced.get, operands, operands))
            if inputs != operands:
                node = node._replace(inputs=inputs)
            seen = tuple(map(traits.get, inputs))
            if None in seen:
                seen = (*seen, *[operand_key(operand) for operand in inputs if type(operand) is not str])
            alike = (id(instance), id(types.get(name)), seen)
            kind = settled.get(alike)
            if kind is None:
                self._found_producer = False
                rewritten = self._rewritten(node, rules)
                if rewritten is None:
                    continue
                kind = self._kind(rewritten)
                if rewritten is node and not self._found_producer:
                    settled[alike] = kind
                node = rewritten
            if not merge or len(kind.types) > 1 or self._is_new(node, kind):
                self._append(node, kind)
        outputs = {name: self._as_value(value) for name, value in self.graph.outputs.items()}
        return self.graph.derive(self.nodes, outputs, self.types)

    def _rewritten(self, node: GraphNode, rules: tuple[Rule, ...]) -> GraphNode | None:
        """The node that the rules leave; None if they replace its result."""
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
                    return None
        return node

    def _kind(self, node: GraphNode) -> _Kind:
        types = tuple([self.type_of(operand) for operand in node.inputs])
        key = (id(node.node), types)
        if key not in self._kinds:
            results = infer(node.node, types)
            trait = self._trait(results[0], node)
            self._kinds[key] = _Kind(results, trait, id(self.instance.shared(node.op, node.node)))
        return self._kinds[key]

    def _trait(self, kind: ArrayType, node: GraphNode | None) -> int:
        """A number for what rules see of a value: its type, the op that computes it, and which constant it is."""
        op = node.op if node and node.is_core else None
        seen = (kind, op, id(node.node) if node and op == "constant" else None)
        return self._trait_numbers.setdefault(seen, len(self._trait_numbers))

    def _is_new(self, node: GraphNode, kind: _Kind) -> bool:
        """Whether the new graph does not compute this yet; else the value that it computes replaces the result."""
        known = self._computed.setdefault(application_key(kind.instance, node.inputs), node.id)
        if known == node.id:
            return True
        self.replaced[node.id] = known
        return False

    def _append(self, node: GraphNode, kind: _Kind) -> None:
        self.nodes.append(node)
        if len(kind.types) == 1:
            name = node.id
            self.producers[name], self.types[name], self._traits[name] = node, kind.types[0], kind.trait
            return
        for name, each in zip(node.outputs, kind.types, strict=True):
            self.producers[name], self.types[name], self._traits[name] = node, each, self._trait(each, node)

    def add(self, node: GraphNode) -> str:
        """Append a node to the new graph."""
        self._append(node, self._kind(node))
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
        if producer is None or producer.op not in ops or not producer.is_core:
            return None
        self._found_producer |= producer.op != "constant"
        return producer

    def _as_value(self, value: str) -> str:
        """An output must name a value: a number becomes a constant node."""
        operand = self.replaced.get(value, value)
        if isinstance(operand, str):
            return operand
        dtype = self.graph.types[value].array_dtype.name
        return self.insert("constant", (), {"value": float(cast("float", operand)), "dtype": dtype}, value)
