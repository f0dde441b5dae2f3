"""A graph: immutable, every reference resolved, topologically sorted, the type of every value known.

One class serves the model's graph, its gradient and its training step. It knows no file: `format` reads and writes one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from graphengine import hooks
from graphengine.errors import InvalidModelError, UsageError, did_you_mean
from graphengine.ir.declarations import Input, Parameter, Source, State
from graphengine.ir.nodes import GraphNode, Origin, infer_types, reachable, reached, results_of, topologically_sorted
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import only, picked
from graphengine.notebook import Pictured
from graphengine.ops.shapes import ArrayType
from graphengine.wording import counted


class Graph(Pictured):
    """Nodes in topological order, the values they read, and the public outputs.

    `inputs`, `parameters` and `state` map the names of values that no node computes to their declarations, `outputs`
    maps public names to values, `types` maps every value to its `ArrayType`. If a transformation keeps the nodes sorted
    and passes their types, nothing is sorted or inferred again. `aliases` are further names of values: results of
    inlined calls, as the file names them. `limits` bound the memory of the values when the graph runs, `dtype` is the
    default dtype of declarations in the file. `origin` finds the place of a node in the file that the graph comes from.

    Raises
    ------
    InvalidModelError
        GE214 for cycles, GE301 for shapes and dtypes that do not fit.
    """

    name: str
    description: str | None
    dtype: str
    limits: Limits
    origin: Callable[[str], Origin] | None

    def __init__(
        self,
        name: str,
        inputs: Mapping[str, Input],
        parameters: Mapping[str, Parameter],
        state: Mapping[str, State],
        nodes: Iterable[GraphNode],
        outputs: Mapping[str, str],
        types: Mapping[str, ArrayType] | None = None,
        *,
        dtype: str = "float64",
        description: str | None = None,
        aliases: Mapping[str, str] | None = None,
        limits: Limits = DEFAULT,
        origin: Callable[[str], Origin] | None = None,
    ) -> None:
        self.name, self.description, self.dtype = name, description, dtype
        self.limits, self.origin = limits, origin
        self.inputs: Mapping[str, Input] = MappingProxyType(dict(inputs))
        self.parameters: Mapping[str, Parameter] = MappingProxyType(dict(parameters))
        self.state: Mapping[str, State] = MappingProxyType(dict(state))
        self.outputs: Mapping[str, str] = MappingProxyType(dict(outputs))
        self.aliases: Mapping[str, str] = MappingProxyType(dict(aliases or {}))
        self.nodes: tuple[GraphNode, ...] = tuple(nodes) if types else self._sorted(list(nodes))
        if isinstance(types, MappingProxyType):  # those of another graph, which never change
            self.types: Mapping[str, ArrayType] = types
        else:
            self.types = MappingProxyType(dict(types) if types else self._infer())

    def __repr__(self) -> str:
        return f"<Graph '{self.name}': {self.summary}>"

    @property
    def summary(self) -> str:
        """The size of the graph as text."""
        parts = {"input": self.inputs, "parameter": self.parameters, "node": self.nodes, "output": self.outputs}
        return ", ".join(counted(len(part), word) for word, part in parts.items())

    @property
    def sources(self) -> Mapping[str, Source]:
        """All values that are not computed by a node."""
        return {**self.inputs, **self.parameters, **self.state}

    @property
    def updates(self) -> dict[str, str]:
        """The values that replace state after a step, by the name of the state."""
        return {name: state.update for name, state in self.state.items() if state.update is not None}

    @cached_property
    def trainable(self) -> tuple[str, ...]:
        """Names of the parameters that are trained."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.trainable)

    def value_name(self, name: str) -> str:
        """Return the value that a public output name, an alias or the name of a value refers to.

        Raises
        ------
        UsageError
            GE402 if there is none.
        """
        value = self.meaning(name)
        if value not in self.types:
            hint = did_you_mean(name, {**self.outputs, **self.aliases, **self.types})
            raise UsageError(f"graph '{self.name}' has no value '{name}'", code="GE402", hint=hint)
        return value

    def meaning(self, name: str) -> str:
        """Return the value that a public output name or an alias refers to; any other name refers to itself."""
        return self.outputs.get(name, self.aliases.get(name, name))

    def derive(
        self,
        nodes: Iterable[GraphNode],
        outputs: Mapping[str, str],
        types: Mapping[str, ArrayType] | None = None,
        *,
        inputs: Mapping[str, Input] | None = None,
        parameters: Mapping[str, Parameter] | None = None,
        state: Mapping[str, State] | None = None,
        description: str | None = None,
    ) -> Graph:
        """Return a graph with the given nodes and outputs and, optionally, declarations."""
        return Graph(
            self.name,
            self.inputs if inputs is None else inputs,
            self.parameters if parameters is None else parameters,
            self.state if state is None else state,
            nodes,
            outputs,
            types,
            dtype=self.dtype,
            description=description or self.description,
            aliases=self.aliases,
            limits=self.limits,
            origin=self.origin,
        )

    def with_sizes(self, sizes: Mapping[str, int]) -> Graph:
        """Return the graph for given numbers of its symbolic sizes: every shape that follows from them is known."""
        kinds = {id(kind): kind for kind in self.types.values()}
        if all(kind.is_sized for kind in kinds.values()):
            return self
        graph = object.__new__(type(self))
        vars(graph).update(vars(self))
        inputs = {name: replace(each, type=each.type.sized(sizes)) for name, each in self.inputs.items()}
        graph.inputs = MappingProxyType(inputs)
        graph.types = MappingProxyType(graph._infer())
        return graph

    def __copy__(self) -> Graph:
        return self  # it never changes

    def __deepcopy__(self, memo: Any) -> Graph:
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle has; the places of nodes are in it where calls of functions lead to some."""
        views = {name: dict(value) for name, value in vars(self).items() if isinstance(value, MappingProxyType)}
        is_called = any("/" in node.id for node in self.nodes)  # any other node is where its id says
        return {**vars(self), **views, "origin": self.origin if is_called else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        views = {name: MappingProxyType(value) for name, value in state.items() if isinstance(value, dict)}
        vars(self).update({**state, **views})

    def save(self, path: str | Path) -> None:
        """Write the graph as a model file.

        Raises
        ------
        GraphEngineError
            GE101 if the file cannot be written.
        """
        hooks.save_graph(self, path)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of the file that `save` writes."""
        return dict(hooks.graph_as_dict(self))

    @staticmethod
    def _sorted(nodes: list[GraphNode]) -> tuple[GraphNode, ...]:
        found, problems = topologically_sorted(nodes)
        if problems:
            raise InvalidModelError(problems)
        return tuple(found)

    def _infer(self) -> dict[str, ArrayType]:
        types = types_of(self.inputs, self.parameters, self.state)
        problems = infer_types(self.nodes, types)
        if problems:
            raise InvalidModelError(problems)
        return types


def types_of(*sections: Mapping[str, Input] | Mapping[str, Parameter] | Mapping[str, State]) -> dict[str, ArrayType]:
    """The types of all declared values by name."""
    return {name: source.type for section in sections for name, source in section.items()}


def names_of(asked: str | Iterable[str]) -> list[str]:
    """The names that a caller asks for, each once; a string is one name and no sequence of letters."""
    return [asked] if isinstance(asked, str) else list(dict.fromkeys(asked))


def gradient_names(graph: Graph, wrt: str | Iterable[str] | None) -> list[str]:
    """The values that gradients are with respect to: those a caller asks for, by default the trainable parameters."""
    return names_of(graph.trainable if wrt is None else wrt)


def inputs_of(graph: Graph, targets: Iterable[str]) -> list[str]:
    """The declared inputs that values depend on."""
    _, read = reached(graph.nodes, targets)
    return list(filter(read.__contains__, graph.inputs))


def part_for(graph: Graph, outputs: Mapping[str, str]) -> Graph:
    """Return the part of a graph that outputs depend on, with its inputs; parameters and state stay.

    `outputs` maps names to values.
    """
    nodes = reachable(graph.nodes, outputs.values())
    inputs = picked(graph.inputs, inputs_of(graph, outputs.values()))
    there = {*inputs, *graph.parameters, *graph.state, *results_of(nodes)}
    types = only(graph.types, there)
    return graph.derive(nodes, outputs, types, inputs=inputs)
