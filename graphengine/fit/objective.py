"""A model on fixed data as functions of one vector, all trainable parameters laid end to end: what solvers work with.

The functions are compiled programs of the model graph, of its gradient, and of the Jacobian of a residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from graphengine.backends.program_cache import Programs
from graphengine.backends.protocol import Program
from graphengine.errors import DifferentiationError
from graphengine.fit.data_blocks import DataBlocks
from graphengine.fit.quadratic import Matrix, Vector
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph
from graphengine.ops.body import bodies_of
from graphengine.transform.directional import (
    WEIGHTED,
    columns,
    curvature,
    directional,
    hessian,
    transposed_product,
    weighted,
)
from graphengine.transform.gradient import gradient

MOST_COLUMNS = 32
"""The Jacobian of so many numbers is one program; of more, one that gives a column."""
MOST_ROWS = 16
"""The same of a Hessian, whose program grows with their square."""


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
        shapes = {name: np.shape(array) for name, array in data.items()}
        self.graph = graph.with_sizes(bind_sizes(shapes, graph.types))
        self._declared, self._data = graph, data
        self._fixed = {**values, **data}
        self.directions = [_free(f"{name}/direction", self.graph) for name in self.names]
        self._alone = self.graph.derive(self.graph.nodes, {"loss": loss}, self.graph.types)
        self._known: tuple[Vector, tuple[float, Vector]] | None = None

    def with_data(self, data: Mapping[str, Any]) -> Objective:
        """The same functions with other data of the same shapes; what is compiled is shared."""
        _ = self.has_curvature  # compiled before it is shared
        other = copy(self)
        other._data = {**self._data, **data}
        other._fixed, other._known = {**self._fixed, **data}, None
        return other

    def blocks_for(self, value: str) -> DataBlocks:
        """The blocks of rows that a value is computed in."""
        return DataBlocks(self._declared, value, self._data)

    def in_blocks(self, blocks: DataBlocks) -> Iterator[dict[str, Any]]:
        """Yield what a block has of the data instead of all of it."""
        return blocks.of(self._data)

    def vector(self, values: Mapping[str, Any]) -> Vector:
        """The trainable parameters among `values` as one vector."""
        return _flat([values[name] for name in self.names])

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
        return {name: value for name, value in self.given_at(x).items() if name in self.graph.types}

    def given_at(self, x: Vector) -> dict[str, Any]:
        """All that the graph reads at a point, and what else a caller has handed over."""
        return {**self._fixed, **self.split(x)}

    def __call__(self, x: Vector) -> tuple[float, Vector]:
        """Loss and gradient at a point; the last point is remembered, because a solver and its history both ask."""
        if self._known is None or not np.array_equal(self._known[0], x):
            loss, *gradients = self.run(self._gradient, x)
            self._known = np.array(x), (float(loss), _flat(gradients))
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
            rows = np.array([self.product(objective, x, _unit(len(x), row), **more) for row in range(len(x))])
            return np.asarray((rows + rows.T) / 2)
        upper = np.zeros((len(x), len(x)))
        upper[np.triu_indices(len(x))] = _flat(objective.run(self._program, x, **more))
        return np.asarray(upper + np.triu(upper, 1).T)

    def product(self, objective: Objective, x: Vector, direction: Vector, /, **more: Any) -> Vector:
        """The Hessian at a point, times a direction."""
        if self.is_whole:
            return np.asarray(self.hessian(objective, x, **more) @ direction)
        return _flat(objective.run(self._program, x, **objective.along(direction), **more))


def curvature_of(objective: Objective, purpose: str, of: Callable[[], tuple[Graph, str]]) -> Curvature | None:
    """Return the curvature `of` a loss of a graph, None if a node on the way has no second derivative."""
    try:
        return Curvature(objective, purpose, of)
    except DifferentiationError:
        return None


class Residuals:
    """A vector of residuals and its Jacobian as functions of the vector of an objective, computed in blocks of rows."""

    def __init__(self, objective: Objective, residual: str) -> None:
        self._objective, self._blocks = objective, objective.blocks_for(residual)
        graph = self._graph = self._blocks.graph
        shape: tuple[int, ...] = graph.types[residual].shape  # type: ignore[assignment] # the sizes have numbers
        self._shape, self._name = shape, residual
        self._weight = _free("weight", graph)
        self._zero: Any = np.zeros(shape)[()]
        names, weight, directions, programs = objective.names, self._weight, objective.directions, objective.programs
        self._shift: Vector | float = 0.0
        self._together = self._columns = None
        try:
            if objective.size <= MOST_COLUMNS:
                self._together = programs.get("columns", lambda: columns(graph, residual, names, weight), exact=False)
            else:
                self._columns = programs.get("column", lambda: directional(graph, residual, names, weight, directions))
        except DifferentiationError:  # a node without a second derivative: a backward pass for each residual instead
            _ = self._transposed

    @cached_property
    def _alone(self) -> Program:
        graph, outputs = self._graph, {"residual": self._name}
        return self._objective.programs.get("residual", lambda: graph.derive(graph.nodes, outputs, graph.types))

    @cached_property
    def _transposed(self) -> Program:
        """What gives J'u."""
        graph, names = self._graph, self._objective.names
        return self._objective.programs.get(
            "transposed product", lambda: transposed_product(graph, self._name, names, self._weight)
        )

    @cached_property
    def size(self) -> int:
        """The number of residuals."""
        graph = self._objective.graph
        return prod(graph.types[graph.value_name(self._name)].shape)  # type: ignore[arg-type] # integers

    @property
    def are_in_blocks(self) -> bool:
        """Whether there are several blocks."""
        return not self._blocks.is_single

    @property
    def have_tables(self) -> bool:
        """Whether the residuals and their Jacobian together cost little more than the residuals."""
        return self._together is not None

    def _each(self, program: Program, x: Vector, /, **more: Any) -> Iterator[list[Vector]]:
        """Yield the outputs of a program for each block, as vectors with a number for each residual."""
        left, given = self.size, {**self._objective.given_at(x), **more}
        for block in self._objective.in_blocks(self._blocks):
            found = [np.ravel(each)[:left] for each in self._objective.compute(program, {**given, **block})]
            left -= len(found[0])
            yield found

    def _whole(self, program: Program, x: Vector, /, **more: Any) -> Vector:
        return _flat([found for (found,) in self._each(program, x, **more)])

    def __call__(self, x: Vector) -> Vector:
        """The residuals at a point."""
        return self._whole(self._alone, x) + self._shift

    def tables(self, x: Vector) -> Iterator[tuple[slice, Matrix]]:
        """Yield for each block its place, the residuals and, below them, their derivatives by parameter.

        The array is the same for all blocks; there are tables only where `have_tables` says so.
        """
        assert self._together is not None
        start, table = 0, np.empty((len(x) + 1, int(np.prod(self._shape))))
        for found in self._each(self._together, x, **{self._weight: self._zero}):
            place = slice(start, start + len(found[0]))
            for row, each in zip(table, found, strict=True):
                row[: len(each)] = each
            table[0, : len(found[0])] += self._shift[place] if isinstance(self._shift, np.ndarray) else self._shift
            start = place.stop
            yield place, table[:, : len(found[0])]

    def with_jacobian(self, x: Vector) -> Matrix | None:
        """The residuals at a point and, below them, their derivatives by parameter, if there are tables."""
        if not self.have_tables:
            return None
        if not self.are_in_blocks:
            return next(self.tables(x))[1]
        whole = np.empty((len(x) + 1, self.size))
        for place, table in self.tables(x):
            whole[:, place] = table
        return whole

    def shifted(self, shift: Vector) -> Residuals:
        """The same residuals with a constant added to each; what is compiled is shared."""
        _ = self.have_curvature, self._alone  # compiled before they are shared
        other = copy(self)
        other._shift = shift
        return other

    @property
    def epsilon(self) -> float:
        """The rounding error of the residuals, in relation to what they are the difference of."""
        return rounding_error(self._graph, self._name)

    @cached_property
    def _curvature(self) -> Curvature | None:
        names, weights = self._objective.names, [(self._name, self._weight)]
        return curvature_of(
            self._objective, "curvature of residuals", lambda: (weighted(self._graph, weights, names), WEIGHTED)
        )

    @property
    def have_curvature(self) -> bool:
        """Whether the residuals have second derivatives."""
        return (self._has_loops and self._transposed is not None) or self._curvature is not None

    @cached_property
    def _has_loops(self) -> bool:
        """Whether to differentiate J'u again takes longer than a whole fit by differences."""
        return any(bodies_of(node.node) for node in self._graph.nodes)

    def curvature(self, x: Vector, weights: Vector, sizes: Vector) -> Matrix | None:
        """The sum of the Hessians of the residuals, each times a weight; None if they have no second derivatives.

        `sizes` are those of the parameters: a step of differences is a fraction of them.
        """
        if self._has_loops:
            second = self._by_differences(x, weights, sizes)
            if np.isfinite(second).all():
                return second
        if self._curvature is None:
            return None
        found = [self._curvature.hessian(self._objective, x, **given) for given in self._weighted_blocks(weights)]
        return np.asarray(sum(found))

    def _weighted_blocks(self, weights: Vector) -> Iterator[dict[str, Any]]:
        """Yield what each block has of the data, with its weights."""
        dtype, objective = self._graph.types[self._name].array_dtype, self._objective
        cut = zip(objective.in_blocks(self._blocks), self._blocks.vectors(weights, self._shape), strict=True)
        return ({**block, self._weight: part.astype(dtype)[()]} for block, part in cut)

    def _by_differences(self, x: Vector, weights: Vector, sizes: Vector) -> Matrix:
        """Differences of J'u on both sides, whose error is of the order of epsilon to the power of 2/3."""
        rows = []
        for index, step in enumerate(np.cbrt(self.epsilon) * sizes):
            ahead, back = (self._slopes(x + side * step * _unit(len(x), index), weights) for side in (1, -1))
            rows.append((ahead - back) / (2 * step))
        return np.asarray((np.array(rows) + np.transpose(rows)) / 2)

    def _slopes(self, x: Vector, weights: Vector) -> Vector:
        """J'u at a point."""
        given = self._weighted_blocks(weights)
        return np.asarray(sum(_flat(self._objective.run(self._transposed, x, **each)) for each in given))

    def jacobian(self, x: Vector) -> Matrix:
        """The derivative of each residual with respect to each parameter, a row for each residual."""
        if (whole := self.with_jacobian(x)) is not None:
            return whole[1:].T
        if self._columns is None:
            return np.array([self._row(x, index) for index in range(self.size)])
        return np.stack([self._column(x, index, self._columns) for index in range(len(x))], axis=1)

    def _column(self, x: Vector, index: int, program: Program) -> Vector:
        direction = self._objective.along(_unit(len(x), index))
        return self._whole(program, x, **direction, **{self._weight: self._zero})

    def _row(self, x: Vector, index: int) -> Vector:
        return self._slopes(x, _unit(self.size, index))


def _flat(arrays: Sequence[Any]) -> Vector:
    return np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64)


def _unit(size: int, index: int) -> Vector:
    vector = np.zeros(size)
    vector[index] = 1.0
    return vector


def rounding_error(graph: Graph, value: str) -> float:
    """The relative rounding error of a floating-point value of a graph."""
    return float(np.finfo(graph.types[graph.value_name(value)].array_dtype).eps)


def _free(name: str, graph: Graph) -> str:
    while name in graph.types:
        name += "_"
    return name
