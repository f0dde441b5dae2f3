"""Many small parameters as a few vectors, so that a compiled step updates them all at once.

A parameter of four numbers costs a plan as much as one of four thousand: a call for each node of the update rule. So
the small parameters of one dtype and the same multipliers lie one after the other in a vector. The step reads and
replaces the vector; the model's nodes read its parts. An elementwise rule gives each number the same bits wherever it
lies.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.mappings import without
from graphengine.ops.families.shaping import Reshape
from graphengine.ops.shapes import ArrayType, Shape
from graphengine.ops.traits import OpTrait


class Pack(NamedTuple):
    """Parameters in one vector, by name, each with its shape; `scalars` are the slots that all of them share."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]
    vectors: tuple[str, ...]
    scalars: tuple[str, ...]

    @property
    def edges(self) -> list[int]:
        """Where each parameter begins, and where the last one ends."""
        return [0, *itertools.accumulate(map(math.prod, self.shapes.values()))]

    @property
    def slots(self) -> tuple[str, ...]:
        """What is appended to names: nothing for parameters, then the slots."""
        return ("", *self.vectors, *self.scalars)

    def joined(self, slot: str, values: Sequence[Any]) -> Any:
        """The value of a slot from those of the parameters: their vector, or the number that they share."""
        return values[0] if slot in self.scalars else np.concatenate([np.ravel(value) for value in values])

    def parts(self, slot: str, value: Any) -> Iterable[tuple[str, Any]]:
        """The value of a slot for each parameter."""
        return dict.fromkeys(self.shapes, value).items() if slot in self.scalars else self._cut(value)

    def _cut(self, vector: Any) -> Iterator[tuple[str, Any]]:
        """The parts of a vector: views, and numbers of parameters that are one."""
        for (name, shape), (start, stop) in zip(self.shapes.items(), itertools.pairwise(self.edges), strict=True):
            yield name, vector[start:stop].reshape(shape) if shape else vector[start]


class Packing(NamedTuple):
    """The packs of a training."""

    packs: tuple[Pack, ...]

    def pack(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values of parameters and slots by the names of the packed graph; copies where they are packed."""
        packed = dict(values)
        for pack in self.packs:
            for slot in pack.slots:
                found = [packed.pop(f"{name}{slot}", None) for name in pack.shapes]
                if found[0] is not None:
                    packed[f"{pack.name}{slot}"] = pack.joined(slot, found)
        return packed

    def unpack(self, packed: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        """Values by the names of the graph; those of parameters are parts of the vectors. All names have the prefix."""
        values = dict(packed)
        for pack in self.packs:
            for slot in pack.slots:
                if (value := values.pop(f"{prefix}{pack.name}{slot}", None)) is not None:
                    values |= {f"{prefix}{name}{slot}": part for name, part in pack.parts(slot, value)}
        return values

    def packed(self, graph: Graph) -> Graph:
        """The graph with a vector instead of the parameters of each pack, which become nodes of the same names."""
        gone = itertools.chain.from_iterable([pack.shapes for pack in self.packs])
        parameters = without(graph.parameters, {*gone})
        types = dict(graph.types)
        nodes: list[GraphNode] = []
        for pack in self.packs:
            first = graph.parameters[next(iter(pack.shapes))]
            kind = first.type._replace(shape=(pack.edges[-1],))
            parameters[pack.name] = replace(first, type=kind, value=None, description=None)
            types[pack.name] = kind
            for node, kinds in _taken_apart(pack, kind):
                nodes.append(node)
                types.update(zip(node.outputs, kinds, strict=True))
        return graph.derive([*nodes, *graph.nodes], graph.outputs, types, parameters=parameters)


def _taken_apart(pack: Pack, kind: ArrayType) -> Iterator[tuple[GraphNode, list[ArrayType]]]:
    """The nodes that give each parameter as a part of its vector, with the types of their results."""
    from graphengine.ops.families.selection import Split

    split = GraphNode(f"{pack.name}.parts", "split", Split(indices_or_sections=tuple(pack.edges[1:-1])), (pack.name,))
    sizes = map(math.prod, pack.shapes.values())
    yield split, [kind._replace(shape=(size,)) for size in sizes]
    shapers: dict[tuple[int, ...], tuple[Reshape, list[ArrayType]]] = {}
    for part, (name, shape) in zip(split.outputs, pack.shapes.items(), strict=True):
        if shape not in shapers:
            shapers[shape] = Reshape(shape=shape), [kind._replace(shape=shape)]
        shaper, kinds = shapers[shape]
        operands: tuple[Operand, ...] = (part, None)
        yield GraphNode(name, "reshape", shaper, operands), kinds


def treats_numbers_alike(graph: Graph, shape: Shape) -> bool:
    """Whether a graph of vectors of a shape does to each number, bit for bit, what it does to that number alone."""
    return all(_treats_numbers_alike(node, graph.types, shape) for node in graph.nodes)


def _treats_numbers_alike(node: GraphNode, types: Mapping[str, ArrayType], shape: Shape) -> bool:
    """Whether a node gives a number of numbers, or treats each number of a vector alike; random ops do neither."""
    if type(node.node).random:
        return False
    if not any(types[ref].shape for ref in node.references):
        return types[node.id].shape == ()
    return OpTrait.CORRECTLY_ROUNDED in node.node.traits and types[node.id].shape == shape
