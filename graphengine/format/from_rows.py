"""Statistics that initializers take from the rows of a training: what a graph declares, and whether it has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from graphengine.errors import Problem, make_pointer
from graphengine.format.initializers import FromDataInitializer
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, reachable, topologically_sorted
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
        read = {self.value}.union(*[node.inputs for node in nodes])
        return {name for name in (*graph.inputs, *graph.parameters, *graph.state) if name in read}


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
    if not statistics:
        return
    late, in_rows, ordered = _followed(statistics, graph)
    for statistic in statistics:
        section, name, source, recipe, value = statistic
        kind, found = graph.types.get(value), late.get(value, None if name in ordered else name)
        if kind is None:
            continue
        hint: str | None = None
        wrong: str | None
        if found:
            wrong = f"'{recipe.of}' depends on '{found}', which has no value before a training"
            hint = "name an input, or a value that depends on inputs only"
        elif value in in_rows and not (kind.shape and isinstance(kind.shape[0], str)):
            wrong = f"'{recipe.of}' is {kind}; samples must be along its first axis"
        else:
            wrong = _misfit(statistic, kind.shape[1:] if value in in_rows else kind.shape, graph)
        if wrong:
            pointer = make_pointer((section, name, "initializer", "of"))
            yield Problem("GE304", f"{statistic.what}, {source.type}: {wrong}", hint, pointer)


def _followed(statistics: list[Statistic], graph: Graph) -> tuple[dict[str, str], set[str], set[str]]:
    """What values depend on, found in one walk over the graph.

    It gives, for values that depend on something that is trained or changes, one such name; the values that depend
    on an input with samples along its first axis; and the values and statistics that do not depend on themselves.
    """
    own = {each.name: each.value for each in statistics}
    late = {name: name for name in (*graph.trainable, *graph.state) if name not in own}
    in_rows = {
        name for name, each in graph.inputs.items() if any(isinstance(size, str) for size in each.type.shape[:1])
    }
    made: Any = None
    sources = [GraphNode(name, "parameter", made, (value,)) for name, value in own.items()]
    names = {*graph.inputs, *late}
    for node in topologically_sorted([*graph.nodes, *sources])[0]:
        outputs = node.outputs if node.node else (node.id,)
        names.update(outputs)
        late.update(_late(node.inputs, outputs, late))
        if node.node and not in_rows.isdisjoint(node.inputs):
            in_rows.update(outputs)
    return late, in_rows, names


def _late(inputs: Iterable[Any], outputs: Iterable[str], late: Mapping[str, str]) -> dict[str, str]:
    """The outputs of a node, if it depends on what is trained or changes, with the first such name."""
    found = next((late[ref] for ref in inputs if ref in late), None)
    return {} if found is None else dict.fromkeys(outputs, found)


def _has_samples(kind: ArrayType) -> bool:
    """Whether the size of the first axis is a symbol."""
    return any(isinstance(size, str) for size in kind.shape[:1])


def _misfit(statistic: Statistic, shape: Shape, graph: Graph) -> str | None:
    """Why a statistic of rows of some shape is not what is declared, in words."""
    recipe, declared, of = statistic.recipe, statistic.source.type, graph.types[statistic.value].array_dtype
    if recipe.statistic == "frequency":
        if of.kind not in "iub":
            return f"frequencies are those of integers, and '{recipe.of}' is {of}"
        if declared.shape[:-1] != shape or not declared.shape:
            return f"the frequencies of 0, 1, ..., K - 1 have the shape {shape_text((*shape, 'K'))}"
    elif declared.shape != shape:
        return f"the {recipe.statistic} of '{recipe.of}' has the shape {shape_text(shape)}"
    is_value = recipe.statistic in ("min", "max", "mode") and declared.array_dtype == of
    return None if declared.array_dtype.kind == "f" or is_value else "a statistic is floating-point"
