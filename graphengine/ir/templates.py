"""Templates: what code does with values of some types, recorded once and repeated for all nodes alike.

The code of a node depends on its instance, the types of its values and literals, and on nothing else. So a graph of a
hundred thousand nodes is differentiated by recording a handful of `backward` methods. `Recorder.sample` calls code with
stand-ins, `Sample.template` makes a template of what it did, `Recorder.repeat` follows that with other values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from graphengine.ir.nodes import GraphNode, Operand, operand_key, operand_keys, results_of
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType
from graphengine.ops.traits import OpTrait

STAND_IN = "\0"
"""The first character of the names of stand-ins, which no name in a file has."""

Namer: TypeAlias = Callable[[Any, str, list[Any], tuple[Operand, ...]], str]
"""Names a part of a template: from the recorder, the node whose code it is, the values so far, and its operands."""


UNLIKE = (0, 1)
"""Literals that passes look for."""


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


@dataclass(slots=True, eq=False)
class StandIn:
    """A stand-in for any value of a type; two of them are two values."""

    kind: ArrayType


class Part(NamedTuple):
    """An op that a template applies: `pick` takes its operands from the values so far."""

    op: str
    node: Node
    pick: Callable[[list[Any]], tuple[Operand, ...]]
    kinds: tuple[ArrayType, ...]
    name: Namer


class Template(NamedTuple):
    """The ops that code applies, and the places of its results among all values (None where there is none).

    The values are, in order: those the code gets, the `fixed` ones, and what the parts give.
    """

    fixed: list[Operand]
    parts: list[Part]
    results: list[int | None]

    def results_among(self, values: list[Any]) -> list[Any]:
        """The results, taken from all values."""
        return [None if place is None else values[place] for place in self.results]


class Sample(NamedTuple):
    """What code did with stand-ins: the nodes, under names that mean nothing, their types, and what it returned."""

    operands: list[Any]
    nodes: list[GraphNode]
    kinds: list[tuple[ArrayType, ...]]
    returned: Any

    def template(self, results: Sequence[str | None], names: Sequence[Namer]) -> Template:
        """The template with these values as results and these names for its parts."""
        made, keys = results_of(self.nodes), operand_keys(self.operands)
        inputs = [node.inputs for node in self.nodes]
        read = list(map(operand_keys, inputs))
        given, operands = {*keys, *made}, chain(*inputs, results)
        fixed = {key: ref for key, ref in zip(chain(*read, results), operands, strict=True) if key not in given}
        # a key that occurs twice has the first of its places
        places = {key: place for place, key in reversed([*enumerate([*keys, *fixed, *made])])}
        parts = [
            Part(node.op, node.node, _picking(places, refs), kinds, name)
            for node, refs, kinds, name in zip(self.nodes, read, self.kinds, names, strict=True)
        ]
        return Template([*fixed.values()], parts, [None if name is None else places[name] for name in results])


def _picking(places: Mapping[Any, int], keys: Sequence[Any]) -> Callable[[list[Any]], tuple[Operand, ...]]:
    """A function that takes the values at the places of some keys out of a list, as a tuple."""
    wanted = [places[key] for key in keys]
    if len(wanted) > 1:
        return itemgetter(*wanted)
    return lambda values: tuple([values[place] for place in wanted])
