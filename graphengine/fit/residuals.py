"""Residuals and their Jacobian as functions of the vector of an objective, computed in blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from graphengine.backends.protocol import Program
from graphengine.errors import DifferentiationError, TrainingError
from graphengine.fit.data_blocks import DataBlocks
from graphengine.fit.objective import Curvature, Objective, curvature_of, flat, rounding_error, unit
from graphengine.fit.quadratic import Matrix, Vector
from graphengine.ir.nodes import free_name
from graphengine.ops.body import bodies_of
from graphengine.transform.directional import WEIGHTED, columns, directional, transposed_product, weighted
from graphengine.wording import size_text

MOST_COLUMNS = 32
"""The Jacobian of this many numbers is one program; of more, one that gives a column."""
MOST_CURVED = 100
"""Of more numbers than this, and than residuals, there are no second derivatives. The Jacobian, a gradient for each
sample, takes a hundredth of their time, and where residuals vanish it is all that counts."""


class Residuals:
    """A vector of residuals and its Jacobian as functions of the vector of an objective, computed in blocks of rows."""

    def __init__(self, objective: Objective, residual: str) -> None:
        self._objective, self._blocks = objective, objective.blocks_for(residual)
        graph = self._graph = self._blocks.graph
        shape: tuple[int, ...] = graph.types[residual].shape  # type: ignore[assignment] # the sizes have numbers
        self._shape, self._name = shape, residual
        self._weight = free_name("weight", graph.types)
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
            _ = self._sample_gradient

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
    def _samples(self) -> DataBlocks:
        """The data sample by sample where a residual depends on its own sample, else all at once."""
        return self._objective.blocks_for(self._name, 1)

    @cached_property
    def _sample_gradient(self) -> Program:
        """What gives J'u of one sample."""
        graph, names = self._samples.graph, self._objective.names
        return self._objective.programs.get(
            "gradient of a sample", lambda: transposed_product(graph, self._name, names, self._weight)
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
        return flat([found for (found,) in self._each(program, x, **more)])

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
        if len(x) > max(MOST_CURVED, self.size):
            return None
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
            ahead, back = (self._slopes(x + side * step * unit(len(x), index), weights) for side in (1, -1))
            rows.append((ahead - back) / (2 * step))
        return np.asarray((np.array(rows) + np.transpose(rows)) / 2)

    def _slopes(self, x: Vector, weights: Vector) -> Vector:
        """J'u at a point."""
        given = self._weighted_blocks(weights)
        return np.asarray(sum(flat(self._objective.run(self._transposed, x, **each)) for each in given))

    def jacobian(self, x: Vector) -> Matrix:
        """The derivative of each residual with respect to each parameter, a row for each residual.

        Raises
        ------
        TrainingError
            GE133 if there are many parameters, and it takes more memory than the limit `array_bytes`.
        """
        if (whole := self.with_jacobian(x)) is not None:
            return whole[1:].T
        self._require_memory(len(x))
        if self._columns is None or self.size <= len(x):
            return self._by_rows(x)
        return np.stack([self._column(x, index, self._columns) for index in range(len(x))], axis=1)

    def _require_memory(self, numbers: int) -> None:
        taken, allowed = self.size * numbers * 8, self._graph.limits.array_bytes
        if taken > allowed:
            message = f"the Jacobian of {self.size} residuals by {numbers} numbers takes {size_text(taken)}"
            hint = (
                "train the model with 'lbfgs' or an update rule, which need no matrix, or raise the limit array_bytes"
            )
            raise TrainingError(f"{message}, the limit is {size_text(allowed)}", code="GE133", hint=hint)

    def _column(self, x: Vector, index: int, program: Program) -> Vector:
        direction = self._objective.along(unit(len(x), index))
        return self._whole(program, x, **direction, **{self._weight: self._zero})

    def _by_rows(self, x: Vector) -> Matrix:
        """The Jacobian from a gradient for each residual, which takes no more than its own sample."""
        kind = self._samples.graph.types[self._name]
        shape: Any = kind.shape
        weights = [unit(prod(shape), place).reshape(shape).astype(kind.array_dtype)[()] for place in range(prod(shape))]
        program, objective = self._sample_gradient, self._objective
        samples = objective.in_blocks(self._samples)
        given = ({**sample, self._weight: weight} for sample in samples for weight in weights)
        return np.array([flat(objective.run(program, x, **each)) for each in given])
