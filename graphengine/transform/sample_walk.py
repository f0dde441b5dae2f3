"""How each value of a graph depends on the samples, found in one walk over its nodes.

Seen from the samples a value is the same for all of them (a parameter, and what is computed from such values alone),
or it has a part for each of them, or an op merges it over the samples: a sum, a maximum. What is merged is the same for
all samples again. A value of single samples that depends on a merged one, such as the distance from a mean, needs a
further pass over them. How an op depends on the samples its class declares (`ops.merging`); an op made of others is
followed through their calls. An op that needs all samples at once gets them, gathered from the parts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, infer, operand_types
from graphengine.ir.recording import Recorder
from graphengine.mappings import only, without
from graphengine.ops.merging import ADD, ROWS, merge_of
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType, Shape, Size, axes_with, factors, powers, product, size_value, symbols_of
from graphengine.transform.filling import filled_nodes
from graphengine.transform.passes import expand_node

PART_KEY = "part/key"
"""The input of a pass that random ops add to their keys, so that each part draws numbers of its own."""
MEAN, COUNT, LAST = "mean", "count", "last"
"""How values merge that a model gives for one sample at a time: their mean, their sum, the one after the last."""
MOST_DEPTH = 32
"""How deep ops may be made of others."""
_ALL = "@all"
"""Appended to the name of a value: what it is for all samples together."""


class Spread(Enum):
    """How a value depends on the samples."""

    FIXED = "the same for all samples"
    ROWS = "a part for each sample, along one axis"
    SHAPE = "the shape of what has a part for each sample"
    WHOLE = "of all samples at once"
    EACH = "a value for each sample, one at a time"


class Place(NamedTuple):
    """How a value depends on the samples, and how many passes come before it can be computed."""

    spread: Spread
    stage: int = 0
    axis: int | None = None


FIXED = Place(Spread.FIXED)


class Merged(NamedTuple):
    """A value of each part, and how it merges over the parts: by a word of `ops.merging`, `MEAN`, `COUNT` or `LAST`."""

    value: str
    word: str
    axis: int | None = None


def with_part_for_each(graph: Graph, sizes: Mapping[str, int], rows: Iterable[str]) -> set[str]:
    """Return the values with a part for each sample along their first axis that depends on no other sample."""
    walk = walked(graph, sizes, rows, (), redraws=False)
    return {value for value in graph.types if walk.place_of(value) == Place(Spread.ROWS, 0, 0)}


def walked(
    graph: Graph, sizes: Mapping[str, int], rows: Iterable[str], single: Iterable[str], *, redraws: bool
) -> SampleWalk:
    """The walk over all nodes of a graph."""
    walk = SampleWalk(graph, sizes, tuple(rows), tuple(single), redraws=redraws)
    for node in graph.nodes:
        walk.visit(node)
    return walk


class SampleWalk:
    """Goes over the nodes of a graph once and finds for each value how it depends on the samples."""

    def __init__(
        self, graph: Graph, sizes: Mapping[str, int], rows: tuple[str, ...], single: tuple[str, ...], *, redraws: bool
    ) -> None:
        self.graph, self.sizes, self.redraws = graph, sizes, redraws
        self._rows, self._single = rows, single
        self._symbols = {symbol for name in rows for symbol in symbols_of(graph.types[name].shape[:1])}
        kinds = {name: self._bound(graph.types[name]) for name in graph.sources}
        self._recorder = Recorder(graph.derive((), {}, kinds))
        self.types = self._recorder.types
        self.types.update(without(graph.types, kinds))  # names are taken
        self.places: dict[Any, Place] = {name: self._of_source(name) for name in kinds}
        self.nodes: list[GraphNode] = []
        self.merged: dict[str, Merged] = {}
        """By the name of what is merged."""
        self.gathered: list[GraphNode] = []
        self._literals: dict[Any, int] = {}
        self._shapes: dict[Any, Operand] = {}
        """What the shapes of samples are the shapes of."""
        self._replaced: dict[Any, str] = {}
        self._instance = Instances(OPS.original)

    def _bound(self, kind: ArrayType) -> ArrayType:
        """A type with numbers for all sizes but those that count samples."""
        fixed = without(self.sizes, self._symbols)
        return kind._replace(shape=tuple(_substituted(size, fixed) for size in kind.shape))

    def _of_source(self, name: str) -> Place:
        if not self._single:
            return self._of_cut(name)
        each = (*self._single, *self._rows, *self.graph.updates)
        return Place(Spread.EACH) if name in each else FIXED

    def _of_cut(self, name: str) -> Place:
        """How a source depends on samples that come in parts: an input of them must have them on its first axis."""
        axes = self._sampled_axes(self._bound(self.graph.types[name]).shape)
        if name not in self._rows:
            return Place(Spread.WHOLE) if axes else FIXED
        return Place(Spread.ROWS, 0, 0) if axes == [0] else Place(Spread.WHOLE)

    def _sampled_axes(self, shape: Shape) -> list[int]:
        """The axes whose sizes count samples; a size that is not known may do so."""
        return axes_with(self._symbols, shape)

    def _is_sampled(self, name: str) -> bool:
        """Whether a value may have samples on an axis."""
        return bool(self._sampled_axes(self.types[name].shape))

    def _stage(self, operands: Iterable[Operand]) -> int:
        """The number of passes before operands are known."""
        return max([self.places.get(ref, FIXED).stage for ref in operands], default=0)

    @property
    def uncut(self) -> tuple[str, ...]:
        """The inputs that cannot be cut into parts."""
        return tuple(name for name in self.graph.inputs if self.places[name].spread is Spread.WHOLE)

    def place_of(self, value: str) -> Place:
        """Return how a value depends on the samples."""
        return self.places.get(self._resolved(value), FIXED)

    # ------------------------------------------------------------ nodes

    def visit(self, node: GraphNode) -> None:
        """Find how the results of a node depend on the samples, and place it, or the nodes that it is made of."""
        node = node._replace(inputs=self._current(node))
        self.types.update(zip(node.outputs, infer(node.node, self._kinds(node)), strict=True))
        pending = deque([(node, 0)])
        while pending:
            node, depth = pending.popleft()
            made = self._visit(node, expand=depth < MOST_DEPTH)
            pending.extendleft((each, depth + 1) for each in reversed(made))

    def _current(self, node: GraphNode) -> tuple[Operand, ...]:
        return tuple([self._resolved(ref) for ref in node.inputs])

    def _resolved(self, operand: Operand) -> Operand:
        """The form of an operand: what its node is made of, or what it is once it is merged."""
        while operand in self._replaced:
            operand = self._replaced[operand]
        return operand

    def _kinds(self, node: GraphNode) -> tuple[ArrayType | None, ...]:
        return operand_types(node.inputs, self.types)

    def _visit(self, node: GraphNode, *, expand: bool) -> list[GraphNode]:
        """Place a node, or give the nodes that it is made of."""
        node = node._replace(inputs=self._current(node))
        places = [self.places.get(ref, FIXED) for ref in node.inputs]
        spreads, stage = _spreads(places), self._stage(node.inputs)
        if Spread.EACH in spreads:
            self._place(self._keyed(node), Place(Spread.EACH))
        elif not (node.node.is_core and self._placed_size(node, spreads, stage)):
            return self._visit_in_parts(node, places, stage, expand=expand)
        return []

    def _visit_in_parts(self, node: GraphNode, places: list[Place], stage: int, *, expand: bool) -> list[GraphNode]:
        """Place a node of samples that come in parts, or give the nodes that it is made of."""
        spreads = _spreads(places)
        if spreads <= {Spread.FIXED}:
            self._place_fixed(node, places, stage)
        elif Spread.WHOLE in spreads or self._misuses_shape(node, places):
            self._place_whole(node, places)
        else:
            return self._visit_sampled(node, places, stage, expand=expand)
        return []

    def _placed_size(self, node: GraphNode, spreads: set[Spread], stage: int) -> bool:
        """Place a size that is a number, or the shape of samples; whether it is one of them."""
        if node.op == "size":
            return self._is_literal(node)
        if node.op != "shape" or spreads != {Spread.ROWS}:
            return False
        self._shapes[node.id] = node.inputs[0]
        self._place(node, Place(Spread.SHAPE, stage))
        return True

    def _place_fixed(self, node: GraphNode, places: list[Place], stage: int) -> None:
        """Place a node that reads what is the same for all samples."""
        if any(map(self._is_sampled, node.outputs)):
            self._place_whole(node, places)
        elif not (stage and self._place_filled(node)):
            self._place(node, Place(Spread.FIXED, stage))

    def _place_filled(self, node: GraphNode) -> bool:
        """Ones like a merged value do not wait for it: only its shape counts. Whether it is known that they are."""
        made = filled_nodes(node, self.types, self._instance)
        for each in made:
            self._place(each, FIXED)
        return bool(made)

    def _is_literal(self, node: GraphNode) -> bool:
        """Whether a size is a number in every part: that of all samples together."""
        content = self.types[node.id].content
        size = size_value(content[0], self.sizes) if content else None
        if size is not None:
            self._literals[node.id] = size
        return size is not None

    def _misuses_shape(self, node: GraphNode, places: list[Place]) -> bool:
        """Whether a node reads the shape of samples for anything but the shape of its result."""
        return any(
            place.spread is Spread.SHAPE and not _is_sizes(node, position) for position, place in enumerate(places)
        )

    def _visit_sampled(self, node: GraphNode, places: list[Place], stage: int, *, expand: bool) -> list[GraphNode]:
        if self.redraws:
            node = self._keyed(node)
        words = self._words(node, places)
        found = [self._merging(word, name) for word, name in zip(words, node.outputs, strict=True)]
        if None in found:
            return self._made_of(node, places, expand=expand)
        if found[0].word == ADD:
            self._place_added(node, stage)
        else:
            self._place_merging(node, found, stage)
        return []

    def _words(self, node: GraphNode, places: list[Place]) -> tuple[str | None, ...]:
        """How the outputs of a node merge, by what its class says; what is drawn part by part has rows."""
        if self.redraws and node.node.random:
            return (ROWS,) * len(node.outputs)
        axes = tuple([place.axis for place in places])
        return merge_of(node.node, axes, self._kinds(node))

    def _made_of(self, node: GraphNode, places: list[Place], *, expand: bool) -> list[GraphNode]:
        """The nodes that a node is made of; none where it needs all samples at once, which places it."""
        made = expand_node(self._recorder, node, self._replaced) if expand else None
        if made is None:
            self._place_whole(node, places)
            return []
        return made

    def _merging(self, word: str | None, name: str) -> Any:
        """How an output merges by what its class says, if its type bears that out."""
        axes = self._sampled_axes(self.types[name].shape)
        if word == ROWS:
            return Merged(name, ROWS, axes[0]) if self._has_rows(name, axes) else None
        return None if word is None or axes else Merged(name, word)

    def _has_rows(self, name: str, axes: list[int]) -> bool:
        """Whether the one axis with samples has as many times more parts as there are more samples."""
        return len(axes) == 1 and list(factors(self.types[name].shape[axes[0]] or 0)[1].values()) == [1]

    def _place_merging(self, node: GraphNode, found: list[Merged], stage: int) -> None:
        self._append(node)
        for each in found:
            if each.word == ROWS:
                self.places[each.value] = Place(Spread.ROWS, stage, each.axis)
            else:
                self._replaced[each.value] = self._merge(each, stage + 1)

    def _place_added(self, node: GraphNode, stage: int) -> None:
        """Of an op that adds to its first input what it adds is a sum over the samples."""
        base, *others = node.inputs
        zeros, part = f"{node.id}/zeros", f"{node.id}/part"
        self.types[zeros], self.types[part] = self.types[str(base)], self.types[node.id]
        self._place(
            GraphNode(zeros, "zeros_like", self._instance("zeros_like", {}), (base,)), self.places.get(base, FIXED)
        )
        self._append(node._replace(id=part, inputs=(zeros, *others)))
        total = self._merge(Merged(part, "sum"), stage + 1)
        self._place(GraphNode(node.id, "add", self._instance("add", {}), (base, total)), Place(Spread.FIXED, stage + 1))

    def _place(self, node: GraphNode, place: Place) -> None:
        self._append(node)
        self.places.update(dict.fromkeys(node.outputs, place))

    def _append(self, node: GraphNode) -> None:
        self.nodes.append(node.renamed(self._literals))

    def _merge(self, merged: Merged, stage: int) -> str:
        """The name of a value once it is merged."""
        name = f"{merged.value}@{merged.word}" if merged.word == LAST else f"{merged.value}{_ALL}"
        self.merged[name] = merged
        self.types[name] = self.types[merged.value]
        sampled = merged.word == ROWS
        self.places[name] = Place(Spread.WHOLE if sampled else Spread.FIXED, stage)
        return name

    def _keyed(self, node: GraphNode) -> GraphNode:
        """A random op with its own key in each part."""
        place = node.node.signature.key
        if not node.node.random or place is None:
            return node
        key = node.inputs[place]
        own = f"{key}/part"
        if own not in self.places:
            self.types[own] = self.types[PART_KEY] = ArrayType((2,), np.dtype(np.uint64))
            part = GraphNode(own, "add", self._instance("add", {}), (key, PART_KEY))
            self._place(part, Place(Spread.EACH, self.places.get(key, FIXED).stage))
        return node.with_input(place, own)

    # ------------------------------------------------------------ all samples at once

    def _place_whole(self, node: GraphNode, places: list[Place]) -> None:
        """Place a node that gets all samples at once."""
        whole = node
        for position, place in enumerate(places):
            whole = self._with_whole(whole, position, place.spread)
        if whole is not node and Spread.WHOLE not in _spreads(places):
            self.gathered.append(node)
        self._place_gathered(whole)

    def _place_gathered(self, node: GraphNode) -> None:
        """Place a node whose operands are there for all samples."""
        stage = self._stage(node.inputs)
        self._append(node)
        for name in node.outputs:
            self.places[name] = Place(Spread.WHOLE if self._is_sampled(name) else Spread.FIXED, stage)

    def _with_whole(self, node: GraphNode, position: int, spread: Spread) -> GraphNode:
        """A node that reads at a position what its operand is for all samples."""
        if spread is Spread.ROWS:
            return node.with_input(position, self._whole(node.inputs[position]))
        return self._with_whole_shape(node, position) if spread is Spread.SHAPE else node

    def _whole(self, value: Any) -> str:
        """A value of all samples at once, gathered from the parts."""
        name = f"{value}{_ALL}"
        place = self.places[value]
        return name if name in self.merged else self._merge(Merged(value, ROWS, place.axis), place.stage + 1)

    def _with_whole_shape(self, node: GraphNode, position: int) -> GraphNode:
        """A node that reads the shape of all samples: as its attribute, where it has one for that."""
        shape = self._sizes_of_all(str(node.inputs[position]))
        if None not in shape and _is_sizes(node, position) and "shape" in type(node.node).model_fields:
            return node.with_input(position, None)._replace(node=node.node.model_copy(update={"shape": shape}))
        return node.with_input(position, self._whole_shape(node.inputs[position]))

    def _sizes_of_all(self, shape: str) -> Shape:
        """The content of a shape of samples, for all of them; None for each size that is not known."""
        content = self.types[shape].content or (None,)
        return tuple([size_value(size, self.sizes) for size in content])

    def _whole_shape(self, value: Any) -> str:
        name = f"{value}{_ALL}"
        if name not in self.places:
            self.types[name] = self.types[value]
            of = self._whole(self._shapes[value])
            shape = GraphNode(name, "shape", self._instance("shape", {}), (of,))
            self._place(shape, Place(Spread.FIXED, self.places[of].stage))
        return name

    def output(self, value: str, *, is_last: bool) -> str:
        """The name of an output for all samples together."""
        value = str(self._resolved(value))
        place = self.places.get(value, FIXED)
        if value in self._literals:
            return self._constant(value)
        if place.spread is Spread.EACH:
            return self._merge(Merged(value, LAST if is_last else self._summary(value)), 1)
        whole = {Spread.SHAPE: self._whole_shape, Spread.ROWS: self._whole}
        return whole.get(place.spread, str)(value)

    def _summary(self, value: str) -> str:
        """How a value of each sample merges: integers are counted, anything else has a mean."""
        return COUNT if self.types[value].array_dtype.kind in "biu" else MEAN

    def _constant(self, size: str) -> str:
        name = f"{size}{_ALL}"
        if name not in self.places:
            self.types[name] = ArrayType((), np.dtype(np.int64))
            attributes = {"value": self._literals[size], "dtype": "int64"}
            self._place(GraphNode(name, "constant", self._instance("constant", attributes), ()), FIXED)
        return name


def _is_sizes(node: GraphNode, position: int) -> bool:
    """Whether an input of a node says the shape of its result."""
    names = node.node.signature.inputs
    return position < len(names) and names[position] == "sizes"


def _spreads(places: Iterable[Place]) -> set[Spread]:
    return {place.spread for place in places}


def _substituted(size: Size, sizes: Mapping[str, int]) -> Size:
    """A size with numbers for some of its symbols."""
    if not isinstance(size, str):
        return size
    coefficient, exponents = factors(size)
    known = [sizes[symbol] ** exponent for symbol, exponent in only(exponents, sizes).items()]
    return product([coefficient, *known, *powers(without(exponents, sizes))])
