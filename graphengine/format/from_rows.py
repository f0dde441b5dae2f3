"""Statistics that initializers take from the rows of a training: what a graph declares, and whether it has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from graphengine.errors import Problem, make_pointer
from graphengine.format.initializers import FromDataInitializer
from graphengine.ir.declarations import Parameter, State
from graphengine.ir.graph import Graph, inputs_of, reachable
from graphengine.ops.shapes import Shape, shape_text


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


def takes_rows(value: str, graph: Graph) -> bool:
    """Whether a value has its samples along its first axis, and not one sample at a time."""
    shapes = [graph.types[name].shape for name in inputs_of(graph, [value])]
    return any(shape and isinstance(shape[0], str) for shape in shapes)


def statistic_problems(statistic: Statistic, graph: Graph) -> Iterator[Problem]:
    """Yield what keeps a statistic from being computed before a training, or from being what is declared."""
    kind, of = graph.types.get(statistic.value), statistic.recipe.of
    if kind is None:
        return
    pointer = make_pointer((statistic.section, statistic.name, "initializer", "of"))
    if late := _late(statistic, graph):
        message = f"{statistic.what}: '{of}' depends on '{late}', which has no value before a training"
        yield Problem("GE304", message, "name an input, or a value that depends on inputs only", pointer)
        return
    has_rows = takes_rows(statistic.value, graph)
    if has_rows and not (kind.shape and isinstance(kind.shape[0], str)):
        message = f"{statistic.what}: '{of}' is {kind}; samples must be along its first axis"
        yield Problem("GE304", message, None, pointer)
    elif wrong := _misfit(statistic, kind.shape[1:] if has_rows else kind.shape, graph):
        yield Problem("GE304", f"{statistic.what} is {statistic.source.type}; {wrong}", None, pointer)


def _late(statistic: Statistic, graph: Graph) -> str | None:
    """What a statistic depends on that is trained, changes, or is computed from the statistic itself."""
    others = {each.name: each for each in statistics_in(graph)}
    seen, waiting = set[str](), [statistic]
    while waiting:
        read = waiting.pop().reads(graph)
        if statistic.name in read:
            return statistic.name
        late = [name for name in (*graph.trainable, *graph.state) if name in read and name not in others]
        if late:
            return late[0]
        waiting += [others[name] for name in read & others.keys() - seen]
        seen |= read
    return None


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
