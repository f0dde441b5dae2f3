"""Statistics that initializers take from the rows of a training: what a graph declares, and whether it has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from graphengine.errors import Problem, make_pointer
from graphengine.format.initializers import FromDataInitializer
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, operands_of, reachable, topologically_sorted
from graphengine.mappings import present
from graphengine.ops.shapes import ArrayType, Shape, shape_text


class Statistic(NamedTuple):
    """A parameter or state whose start is computed from rows, and the value that it is a statistic of."""

    section: str
    name: str
    source: Parameter | State
    recipe: FromDataInitializer
    value: str

    @property
    def what(self) -> str:
        """The parameter or state in words."""
        return f"{self.section.removesuffix('s')} '{self.name}'"

    @property
    def classes(self) -> int:
        """How many integers have a frequency."""
        size = self.source.type.shape[-1]
        assert isinstance(size, int), "the sizes of parameters are integers"
        return size

    def reads(self, graph: Graph) -> set[str]:
        """Return the declared values that it depends on."""
        nodes = reachable(graph.nodes, [self.value])
        read = {self.value} | operands_of(nodes)
        return set(present((*graph.inputs, *graph.parameters, *graph.state), read))


def statistics_in(graph: Graph) -> list[Statistic]:
    """Return what the initializers of a graph compute from rows."""
    found = []
    for section, sources in (("parameters", graph.parameters), ("state", graph.state)):
        for name, source in sources.items():
            if isinstance(source.initializer, FromDataInitializer):
                of = source.initializer.of
                found.append(Statistic(section, name, source, source.initializer, graph.aliases.get(of, of)))
    return found


def statistic_problems(graph: Graph) -> Iterator[Problem]:
    """Yield what keeps statistics from being computed before a training, or from being what is declared."""
    statistics = statistics_in(graph)
    followed = _Followed(statistics, graph)
    for statistic in statistics:
        if statistic.value in graph.types:
            wrong, hint = _reason(statistic, followed, graph)
            if wrong:
                pointer = make_pointer((statistic.section, statistic.name, "initializer", "of"))
                yield Problem("GE304", f"{statistic.what}, {statistic.source.type}: {wrong}", hint, pointer)


def _reason(statistic: Statistic, followed: _Followed, graph: Graph) -> tuple[str | None, str | None]:
    """Why a statistic cannot be what is declared, and what to do; None if it can."""
    of, value = statistic.recipe.of, statistic.value
    late = followed.late.get(value, None if statistic.name in followed.names else statistic.name)
    if late:
        wrong = f"'{of}' depends on '{late}', which has no value before a training"
        return wrong, "name an input, or a value that depends on inputs only"
    kind = graph.types[value]
    if value not in followed.in_rows:
        return _misfit(statistic, kind.shape, graph), None
    if not _lies_in_rows(kind):
        return f"'{of}' is {kind}; samples must be along its first axis", None
    return _misfit(statistic, kind.shape[1:], graph), None


def _lies_in_rows(kind: ArrayType) -> bool:
    """Whether there are samples along the first axis."""
    return isinstance(next(iter(kind.shape), None), str)


class _Followed:
    """What values depend on, found in one walk over the graph.

    `late` has, for values that depend on something that is trained or changes, one such name; `in_rows` the values that
    depend on an input with samples along its first axis; `names` the values and statistics that do not depend on
    themselves.
    """

    def __init__(self, statistics: list[Statistic], graph: Graph) -> None:
        own = {each.name: each.value for each in statistics}
        self.late = {name: name for name in (*graph.trainable, *graph.state) if name not in own}
        self.in_rows = {name for name, each in graph.inputs.items() if _lies_in_rows(each.type)}
        self.names = {*graph.inputs, *self.late}
        for node in _in_order(graph, own):
            self._follow(node)

    def _follow(self, node: GraphNode) -> None:
        outputs = node.outputs if node.node else (node.id,)
        self.names.update(outputs)
        self.late.update(_late(node.inputs, outputs, self.late))
        if node.node and not self.in_rows.isdisjoint(node.inputs):
            self.in_rows.update(outputs)


def _late(inputs: Iterable[Any], outputs: Iterable[str], late: Mapping[str, str]) -> dict[str, str]:
    """The outputs of a node, if it depends on what is trained or changes, with the first such name."""
    found = next((late[ref] for ref in inputs if ref in late), None)
    return {} if found is None else dict.fromkeys(outputs, found)


def _in_order(graph: Graph, statistics: Mapping[str, str]) -> list[GraphNode]:
    """The nodes of a graph and its statistics, each of which depends on a value, in topological order."""
    made: Any = None
    sources = [GraphNode(name, "parameter", made, (value,)) for name, value in statistics.items()]
    return topologically_sorted([*graph.nodes, *sources])[0]


def _misfit(statistic: Statistic, shape: Shape, graph: Graph) -> str | None:
    """Why a statistic of rows of some shape is not what is declared, in words."""
    of = graph.types[statistic.value].array_dtype
    return _shape_misfit(statistic, shape, of) or _dtype_misfit(statistic, of)


def _shape_misfit(statistic: Statistic, shape: Shape, of: np.dtype[Any]) -> str | None:
    recipe, declared = statistic.recipe, statistic.source.type.shape
    if recipe.statistic != "frequency":
        is_right = declared == shape
        return None if is_right else f"the {recipe.statistic} of '{recipe.of}' has the shape {shape_text(shape)}"
    if of.kind not in "iub":
        return f"frequencies are those of integers, and '{recipe.of}' is {of}"
    is_right = declared[:-1] == shape and declared != ()
    return None if is_right else f"the frequencies of 0, 1, ..., K - 1 have the shape {shape_text((*shape, 'K'))}"


def _dtype_misfit(statistic: Statistic, of: np.dtype[Any]) -> str | None:
    """Why a dtype is declared that the statistic does not have: some are one of the values."""
    declared = statistic.source.type.array_dtype
    is_value = statistic.recipe.statistic in ("min", "max", "mode") and declared == of
    return None if declared.kind == "f" or is_value else "a statistic is floating-point"
