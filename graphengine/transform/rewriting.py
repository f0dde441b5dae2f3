"""The walk that all passes share: over the sorted nodes once, replacing what a rule replaces.

A rule is a pure function (rewriter, node, type of the first result) -> None (keep the node), a GraphNode (this one
instead, asked again), an operand (the node's result is that value or literal), or a number of NumPy's (the result is
known). It must keep the type of the result. What it decides depends on the node's instance, literals, the types of
operands and the ops that compute them, and what it finds with `Rewriter.producer`; so a node that no rule changes, and
all nodes alike, are asked about once.

A known number becomes a node only where a node that stays reads it. Of known numbers, and of literals of arithmetic,
rules may distinguish only 0 and 1, unless all operands of a node are known.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import UNLIKE, GraphNode, Operand, application_key, infer, literal_keys, literal_type
from graphengine.ir.recording import Recorder, Template
from graphengine.mappings import picked
from graphengine.ops.numbers import encode_number
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait

Result: TypeAlias = "GraphNode | Operand | np.floating[Any]"
Change: TypeAlias = "Callable[[Rewriter, GraphNode, ArrayType], Result]"
Types: TypeAlias = Sequence[ArrayType | None]
Expansion: TypeAlias = Callable[[Recorder, GraphNode, Types, Types], Template | None]
"""What replaces a node, by the types of its operands and results."""

NUMBER = "constant"
"""What computes a number that is known: a literal counts as a constant."""


@dataclass(frozen=True)
class Rule:
    """What may change a node, and which nodes: those of which one of these facts holds, or all.

    A fact is an op, a trait, or the rule for types of a class. A rule that `reads` ops changes nodes with an operand
    that one of these computes, and no others.
    """

    change: Change
    facts: frozenset[Any]
    reads: frozenset[str]


def only_for(
    *ops: str, traits: Collection[OpTrait] = (), infer: Any = None, reads: Collection[str] = ()
) -> Callable[[Change], Rule]:
    """Make a rule for nodes of these ops, of ops with one of these traits, or with this `infer`, alone; see `Rule`."""
    facts = frozenset((*ops, *traits, infer)) - {None}
    return lambda change: Rule(change, facts, frozenset(reads))


@dataclass(slots=True, eq=False)
class Trait:
    """What rules may see of a value: its type, and the op that computes it; of a number, whether it is 0 or 1.

    Equal ones are one.
    """

    type: ArrayType
    op: str | None


class _Common(NamedTuple):
    """What all nodes alike have in common: types of operands and results, traits, and the first of equal instances."""

    operands: tuple[ArrayType | None, ...]
    types: tuple[ArrayType, ...]
    traits: tuple[Trait, ...]
    instance: int


class Rewriter:
    """Builds the new graph node by node; `values` and `producers` describe what is built so far.

    `numbers` are the values that are known already.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.values: dict[Any, Trait] = {}
        self.producers: dict[str, GraphNode] = {}
        self.nodes: list[GraphNode] = []
        self.numbers: dict[Any, np.floating[Any]] = {}
        self.replaced: dict[Any, Operand] = {}
        self.instance = Instances(OPS.original)
        self._taken: dict[str, int] = {}
        self._kinds: dict[Any, _Common] = {}
        self._traits: dict[tuple[ArrayType, str | None, Any], Trait] = {}
        """By type, op and, of a constant, what distinguishes it from others; the first of equal ones is kept."""
        self._computed: dict[Any, str] = {}
        self._same_number: dict[Any, str] = {}
        self._found_producer = False
        for name in graph.sources:
            kind = graph.types[name]
            self.values[name] = self._traits.setdefault((kind, None, None), Trait(kind, None))

    def run(
        self,
        rules: Iterable[Rule] = (),
        *,
        merge: bool = False,
        expansion: Expansion | None = None,
        primitives: bool = False,
    ) -> Graph:
        """Walk the graph, applying the rules to each node until none changes it.

        With `merge` the same op with the same attributes on the same operands is computed once. `expansion` gives the
        template that replaces a node and all nodes alike, or None; it is asked about `primitives` only with that.
        """
        self._rules, self._merge = tuple(rules), merge
        self._expansion, self._primitives = expansion, primitives
        self._rules_of: dict[str, tuple[Rule, ...]] = {}
        self._settled: dict[Any, _Common] = {}
        self._templates: dict[Any, Template | None] = {}
        with np.errstate(all="ignore"):  # what is known is computed now
            for node in self.graph.nodes:
                self._place(node)
        outputs = {name: self._as_value(value) for name, value in self.graph.outputs.items()}
        nodes = [*self._constants(outputs.values()), *self.nodes]
        return self.graph.derive(nodes, outputs, {name: trait.type for name, trait in self.values.items()})

    def _place(self, node: GraphNode) -> None:
        """Put what a node becomes into the new graph."""
        operands = node.inputs
        inputs = tuple(map(self.replaced.get, operands, operands))
        if inputs != operands:
            node = node._replace(inputs=inputs)
        seen = tuple(map(self.values.get, inputs))
        alike: Any = (id(node.node), seen)
        if None in seen:
            alike = (alike, *literal_keys(node))
        kind = self._settled.get(alike)
        if kind is None:
            decided = self._decide(node, alike)
            if decided is None:
                return
            node, kind = decided
        name = node.id
        if len(kind.traits) > 1:
            self._append(node, kind)
            return
        if self._merge:
            known = self._computed.setdefault(application_key(kind.instance, node.inputs), name)
            if known != name:
                self.replaced[name] = known
                return
        self.nodes.append(node)
        self.producers[name] = node
        self.values[name] = kind.traits[0]

    def _decide(self, node: GraphNode, alike: Any) -> tuple[GraphNode, _Common] | None:
        """What the rules leave of a node; None if other values take the place of its results."""
        kind = self._kind(node)
        if self._primitives or OpTrait.PRIMITIVE not in node.node.traits:
            template = self._template(node, kind)
            if template is not None:
                self._follow(template, node)
                return None
        self._found_producer = False
        decided = self._rewritten(node, kind) if node.node.is_core else (node, kind)
        if decided and decided[0] is node and not self._found_producer and not self._is_known(node):
            self._settled[alike] = kind
        return decided

    def _template(self, node: GraphNode, kind: _Common) -> Template | None:
        if self._expansion is None:
            return None
        alike = (id(node.node), *kind.operands, *literal_keys(node))
        if alike not in self._templates:
            self._templates[alike] = self._expansion(self._recorder, node, kind.operands, kind.types)
        return self._templates[alike]

    @cached_property
    def _recorder(self) -> Recorder:
        """Records what nodes are made of, on top of the sources of the graph."""
        return Recorder(self.graph.derive((), {}, picked(self.graph.types, self.graph.sources)))

    def _follow(self, template: Template, node: GraphNode) -> None:
        """Put what a node is made of into the new graph."""
        values = [*node.inputs, *template.fixed]
        for part in template.parts:
            made = GraphNode(self.free_name(node.id), part.op, part.node, part.pick(values))
            self._place(made)
            values += [self.replaced.get(name, name) for name in made.outputs]
        self.replaced.update(zip(node.outputs, template.results_among(values), strict=True))

    def _rewritten(self, node: GraphNode, kind: _Common) -> tuple[GraphNode, _Common] | None:
        """The node that the rules leave; None if they replace its result."""
        while (result := self._changed(node, kind.types[0])) is not None:
            if isinstance(result, GraphNode):
                node, kind = result, self._kind(result)
                continue
            if isinstance(result, np.floating):
                self._enter_number(node.id, result)
            else:
                self.replaced[node.id] = result
            return None
        return node, kind

    def _changed(self, node: GraphNode, kind: ArrayType) -> Result:
        """What the first rule makes of a node that changes it; None if none does."""
        reads = {self.values[ref].op if type(ref) is str else NUMBER for ref in node.inputs}
        rules = self._rules_of.get(node.op)
        for rule in self._rules_for(node) if rules is None else rules:
            if not rule.reads or not rule.reads.isdisjoint(reads):
                result = rule.change(self, node, kind)
                if result is not None:
                    return result
        return None

    def _enter_number(self, name: str, number: np.floating[Any]) -> None:
        """The value of this name is a number; with `merge`, equal ones are one value."""
        key = (number.dtype, number.tobytes()) if self._merge else name
        first = self._same_number.setdefault(key, name)
        if first != name:
            self.replaced[name] = first
        else:
            self.numbers[name] = number
            unlike = repr(number) if number in UNLIKE else None
            kind = ArrayType((), number.dtype)
            self.values[name] = self._traits.setdefault((kind, NUMBER, unlike), Trait(kind, NUMBER))

    def _is_known(self, node: GraphNode) -> bool:
        """Whether a node has no operands but numbers: what rules make of it depends on each of them."""
        return all(type(operand) is not str or operand in self.numbers for operand in node.inputs)

    def number(self, operand: Operand) -> Any:
        """The value of an operand that is a literal, a known number or a constant; None of any other."""
        if type(operand) is not str:
            return operand
        constant = self.producer(operand, NUMBER)
        return constant.node.forward() if constant else self.numbers.get(operand)

    def _constants(self, outputs: Iterable[str]) -> list[GraphNode]:
        """Nodes for the known numbers that something reads."""
        if not self.numbers:
            return []
        read = set(outputs).union(*[node.inputs for node in self.nodes])
        return [self._constant(name, number) for name, number in self.numbers.items() if name in read]

    def _constant(self, name: str, number: np.floating[Any]) -> GraphNode:
        attributes = {"value": encode_number(float(number)), "dtype": number.dtype.name}
        return GraphNode(name, "constant", self.instance("constant", attributes), ())

    def _rules_for(self, node: GraphNode) -> tuple[Rule, ...]:
        """Find the rules that may change nodes of the op of this one."""
        cls = type(node.node)
        facts = {node.op, cls.infer, *cls.traits}
        found = [rule for rule in self._rules if not (rule.facts and rule.facts.isdisjoint(facts))]
        return self._rules_of.setdefault(node.op, tuple(found))

    def _kind(self, node: GraphNode, known: ArrayType | None = None) -> _Common:
        operands = tuple([self.values[ref].type if type(ref) is str else literal_type(ref) for ref in node.inputs])
        key = (id(node.node), operands)
        if key not in self._kinds:
            results = (known,) if known else infer(node.node, operands)
            op = node.op if node.node.is_core else None
            number = id(node.node) if op == NUMBER else None
            traits = tuple([self._traits.setdefault((each, op, number), Trait(each, op)) for each in results])
            self._kinds[key] = _Common(operands, results, traits, id(self.instance.shared(node.op, node.node)))
        return self._kinds[key]

    def _append(self, node: GraphNode, kind: _Common) -> None:
        self.nodes.append(node)
        names = (node.id,) if len(kind.traits) == 1 else node.outputs
        for name, trait in zip(names, kind.traits, strict=True):
            self.producers[name], self.values[name] = node, trait

    def insert(
        self,
        op: str,
        inputs: tuple[Operand, ...],
        attributes: Mapping[str, Any],
        near: str,
        kind: ArrayType | None = None,
    ) -> str:
        """Append a new node, named after the one it precedes; `kind` is the type of its result, if that is known."""
        node = GraphNode(self.free_name(near), op, self.instance(op, attributes), inputs)
        self._append(node, self._kind(node, kind))
        return node.id

    def free_name(self, near: str) -> str:
        """A name that neither the old nor the new graph has."""
        count = self._taken.get(near, 0) + 1
        while (name := f"{near}~{count}") in self.values or name in self.graph.types:
            count += 1
        self._taken[near] = count
        return name

    def type_of(self, operand: Operand) -> ArrayType | None:
        """The type of an operand."""
        return self.values[operand].type if isinstance(operand, str) else literal_type(operand)

    def producer(self, operand: Operand, *ops: str) -> GraphNode | None:
        """The node that computes an operand, if it is of one of these ops, and not one a user put in their place."""
        producer = self.producers.get(operand) if isinstance(operand, str) else None
        if producer is None or producer.op not in ops or not producer.node.is_core:
            return None
        self._found_producer |= producer.op != NUMBER
        return producer

    def _as_value(self, value: str) -> str:
        """An output must name a value: a number becomes a constant node."""
        operand = self.replaced.get(value, value)
        if isinstance(operand, str):
            return operand
        dtype = self.graph.types[value].array_dtype.name
        return self.insert("constant", (), {"value": float(cast("float", operand)), "dtype": dtype}, value)
