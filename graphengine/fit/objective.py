"""A model on fixed data as functions of one vector, all trainable parameters laid end to end: what solvers work with.

The functions are compiled programs of the model graph and of its derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from graphengine.backends.protocol import Program
from graphengine.errors import DifferentiationError
from graphengine.fit.data_blocks import DataBlocks
from graphengine.fit.fit_programs import Programs
from graphengine.fit.quadratic import Matrix, Vector
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import free_name
from graphengine.mappings import only
from graphengine.transform.directional import curvature, hessian
from graphengine.transform.gradient import gradient

MOST_ROWS = 16
"""The Hessian for so many scalars is one program, which grows with their square; for more, one that gives a product."""


class Objective:
    """The loss and its gradient as functions of a vector; `before` each evaluation is called, and may end it all."""

    graph: Graph
    names: list[str]
    directions: list[str]
    programs: Programs

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, Any],
        data: Mapping[str, Any],
        loss: str,
        programs: Programs,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._before, self.programs = before, programs
        self.names = list(graph.trainable)
        self.graph = graph.with_sizes(bind_sizes(shapes_of(data), graph.types))
        self._declared, self._data = graph, data
        self._fixed = {**values, **data}
        self.directions = [free_name(f"{name}/direction", self.graph.types) for name in self.names]
        self._alone = self.graph.derive(self.graph.nodes, {"loss": loss}, self.graph.types)
        self._known: tuple[Vector, tuple[float, Vector]] | None = None

    def with_data(self, data: Mapping[str, Any]) -> Objective:
        """The same functions with other data of the same shapes; what is compiled is shared."""
        _ = self.has_curvature  # compiled before it is shared
        other = copy(self)
        other._data = {**self._data, **data}
        other._fixed, other._known = {**self._fixed, **data}, None
        return other

    def blocks_for(self, value: str, most: int | None = None) -> DataBlocks:
        """The blocks that a value is computed in, of at most this many rows, or of those that fit a cache."""
        return DataBlocks(self._declared, value, self._data, most)

    def in_blocks(self, blocks: DataBlocks) -> Iterator[dict[str, Any]]:
        """Yield what a block has of the data instead of all of it."""
        return blocks.of(self._data)

    def vector(self, values: Mapping[str, Any]) -> Vector:
        """The trainable parameters among `values` as one vector."""
        return flat([values[name] for name in self.names])

    @cached_property
    def _gradient(self) -> Program:
        return self.programs.get("gradient", lambda: gradient(self._alone, of="loss", wrt=self.names, also=["loss"]))

    @property
    def is_scalar(self) -> bool:
        """Whether all trainable parameters are scalars."""
        return all(self.graph.types[name].shape == () for name in self.names)

    @property
    def _sizes(self) -> list[int]:
        return [prod(self.graph.types[name].shape) for name in self.names]  # type: ignore[arg-type] # integers

    @property
    def size(self) -> int:
        """How many numbers the vector has."""
        return sum(self._sizes)

    def each(self, numbers: Sequence[float]) -> Vector:
        """A vector of one number for each parameter, repeated for all numbers that it has."""
        return np.repeat(np.asarray(numbers, np.float64), self._sizes)

    def split(self, x: Vector) -> dict[str, Any]:
        """A vector as parameters by name."""
        parts, start = {}, 0
        for name in self.names:
            kind = self.graph.types[name]
            shape: tuple[int, ...] = kind.shape  # type: ignore[assignment] # those of parameters are integers
            size = int(np.prod(shape))
            parts[name] = x[start : start + size].reshape(shape).astype(kind.array_dtype)[()]
            start += size
        return parts

    def run(self, program: Program, x: Vector, /, **more: Any) -> list[Any]:
        """The outputs of a program at a point, in the order of its graph."""
        return self.compute(program, {**self.given_at(x), **more})

    def compute(self, program: Program, given: Mapping[str, Any]) -> list[Any]:
        """The outputs of a program for all that it reads, in the order of its graph."""
        self._before()
        return list(program.run(given).values())

    def sources_at(self, x: Vector) -> dict[str, Any]:
        """The values of all inputs, parameters and state at a point."""
        return only(self.given_at(x), self.graph.types)

    def given_at(self, x: Vector) -> dict[str, Any]:
        """All that the graph reads at a point, and what else a caller has handed over."""
        return {**self._fixed, **self.split(x)}

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Loss and gradient at a point; the last point is remembered, because a solver and its history both ask."""
        if self._known is None or not np.array_equal(self._known[0], x):
            loss, *gradients = self.run(self._gradient, x)
            self._known = np.array(x), (float(loss), flat(gradients))
        return self._known[1]

    def along(self, direction: Vector) -> dict[str, Any]:
        """A direction as the inputs of a graph that has one for each parameter."""
        return dict(zip(self.directions, self.split(direction).values(), strict=True))

    @cached_property
    def _curvature(self) -> Curvature | None:
        return curvature_of(self, "curvature of the loss", lambda: (self._alone, "loss"))

    @property
    def has_curvature(self) -> bool:
        """Whether the loss has second derivatives."""
        return self._curvature is not None

    @property
    def epsilon(self) -> float:
        """The rounding error of the loss, in relation to it."""
        return rounding_error(self._alone, "loss")

    @property
    def coordinates(self) -> list[str]:
        """A name for each number of the vector: that of its parameter, with its place in an array."""
        names = []
        for name in self.names:
            shape: tuple[int, ...] = self.graph.types[name].shape  # type: ignore[assignment] # integers
            names += [name + "".join(f"[{index}]" for index in place) for place in np.ndindex(shape)]
        return names

    def hessian(self, x: Vector) -> Matrix:
        """The Hessian of the loss at a point."""
        assert self._curvature is not None
        return self._curvature.hessian(self, x)

    def hessian_product(self, x: Vector, direction: Vector) -> Vector:
        """The Hessian of the loss at a point, times a direction."""
        assert self._curvature is not None
        return self._curvature.product(self, x, direction)


class Curvature:
    """The Hessian of a loss: for a few scalar parameters one program, for more, or arrays, one that gives a product."""

    def __init__(self, objective: Objective, purpose: str, of: Callable[[], tuple[Graph, str]]) -> None:
        names, directions = objective.names, objective.directions
        self.is_whole = objective.is_scalar and len(names) <= MOST_ROWS

        def made() -> Graph:
            graph, loss = of()
            return hessian(graph, loss, names) if self.is_whole else curvature(graph, loss, names, directions)

        self._program = objective.programs.get(purpose, made, exact=False)

    def hessian(self, objective: Objective, x: Vector, /, **more: Any) -> Matrix:
        """The Hessian at a point."""
        if not self.is_whole:
            rows = np.array([self.product(objective, x, unit(len(x), row), **more) for row in range(len(x))])
            return np.asarray((rows + rows.T) / 2)
        upper = np.zeros((len(x), len(x)))
        upper[np.triu_indices(len(x))] = flat(objective.run(self._program, x, **more))
        return np.asarray(upper + np.triu(upper, 1).T)

    def product(self, objective: Objective, x: Vector, direction: Vector, /, **more: Any) -> Vector:
        """The Hessian at a point, times a direction."""
        if self.is_whole:
            return np.asarray(self.hessian(objective, x, **more) @ direction)
        return flat(objective.run(self._program, x, **objective.along(direction), **more))


def curvature_of(objective: Objective, purpose: str, of: Callable[[], tuple[Graph, str]]) -> Curvature | None:
    """Return the curvature `of` a loss of a graph, None if a node on the way has no second derivative."""
    try:
        return Curvature(objective, purpose, of)
    except DifferentiationError:
        return None


def flat(arrays: Sequence[Any]) -> Vector:
    """Return arrays laid end to end."""
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


def unit(size: int, index: int) -> Vector:
    """Return a vector of zeros with one 1."""
    vector = np.zeros(size)
    vector[index] = 1.0
    return vector


def rounding_error(graph: Graph, value: str) -> float:
    """The relative rounding error of a floating-point value of a graph."""
    return float(np.finfo(graph.types[graph.value_name(value)].array_dtype).eps)
