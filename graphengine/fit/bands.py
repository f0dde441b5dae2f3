"""Bands of the outputs of a fitted model by the delta method, with the exact Jacobian with respect to the parameters.

A confidence band is where the curve lies: its variance is g'Cg, with the gradient g of an output by the parameters
and their covariance C (Seber and Wild 1989, section 5.1). A prediction band is where a new observation lies: the
variance of an observation is added. Where the spread was estimated the quantile is that of Student's t.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from graphengine.backends.protocol import Backend, Program
from graphengine.errors import DifferentiationError, UsageError
from graphengine.fit.profile import quantiles
from graphengine.fit.quadratic import Matrix, Vector
from graphengine.fit.statistics import Fit
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph, part_for
from graphengine.ir.nodes import GraphNode, free_name
from graphengine.mappings import absent, only, present
from graphengine.transform.directional import directional, transposed_product
from graphengine.transform.path import differentiable_toward

BandKind: TypeAlias = Literal["confidence", "prediction"]
LOWER, UPPER = "lower", "upper"
NO_FIT = "a band needs the covariance of a fit, and the values of this model are not those of one"
HINT = "fit it with model.fit(), or save one with: graphengine fit FILE --save FILE"


@dataclass(frozen=True)
class BandRequest:
    """A band of a level, of a model with the result of its fit.

    Raises
    ------
    UsageError
        GE801 if there is no fit, or the level or the kind has no meaning; GE803 if SciPy is not installed.
    """

    fit: Fit | None
    level: float
    kind: BandKind

    def __post_init__(self) -> None:
        if self.kind not in ("confidence", "prediction"):
            raise UsageError(f"a band is of kind 'confidence' or 'prediction', not '{self.kind}'")
        quantiles([self.level], np.inf)
        if self.fit is None:
            raise UsageError(NO_FIT, hint=HINT)
        if self.kind == "prediction" and (self.fit.objective != "least_squares" or _is_weighted(self.fit)):
            message = "a prediction band needs least squares without sigma and weights: a new observation has no sigma"
            raise UsageError(message, hint="ask for a confidence band")


def _is_weighted(fit: Fit) -> bool:
    return bool(fit.settings.keys() & {"sigma", "weights"}) or bool(fit.settings.get("absolute_sigma"))


@dataclass(frozen=True)
class BandSubject:
    """A graph with the values of its parameters, and the inputs that its outputs are computed from."""

    graph: Graph
    values: Mapping[str, Any]
    given: Mapping[str, Any]
    backend: Backend

    def jacobian(self, value: str) -> Matrix:
        """The derivatives of a value with respect to the trainable parameters: a row for each number of the value."""
        part = self._part_for(value)
        known = only({**self.values, **self.given}, part.types)
        weight, names = free_name("weight", part.types), list(part.trainable)
        directions = [free_name(f"{name}/direction", part.types) for name in names]
        try:
            program = self.backend.compile(directional(part, value, names, weight, directions))
        except DifferentiationError:  # a node without a second derivative: a backward pass for each number instead
            return _by_rows(self.backend.compile(transposed_product(part, value, names, weight)), weight, part, known)
        still = {each: np.zeros_like(known[name]) for name, each in zip(names, directions, strict=True)}
        return _by_columns(program, still, {**known, weight: _zero(part)})

    def _part_for(self, value: str) -> Graph:
        """The part of the graph that computes a value, with the sizes of the given inputs."""
        part = part_for(self.graph, {"value": value})
        shapes = {name: np.shape(self.given[name]) for name in part.inputs}
        return part.with_sizes(bind_sizes(shapes, part.types))


def _by_columns(program: Program, still: Mapping[str, Any], known: Mapping[str, Any]) -> Matrix:
    """The derivatives along each direction of one number; `still` are the directions with zeros."""
    columns = [
        program.run({**known, **still, direction: unit}) for direction, zero in still.items() for unit in _units(zero)
    ]
    return np.stack([np.ravel(next(iter(column.values()))) for column in columns], axis=1).astype(np.float64)


def _by_rows(program: Program, weight: str, part: Graph, known: Mapping[str, Any]) -> Matrix:
    rows = [program.run({**known, weight: unit}).values() for unit in _units(_zero(part))]
    return np.array([np.concatenate([np.ravel(each) for each in row]) for row in rows], np.float64)


def _zero(part: Graph) -> Any:
    """Zeros like the value that a part of a graph is for."""
    kind = part.types[part.outputs["value"]]
    return np.zeros(kind.shape, kind.array_dtype)[()]  # type: ignore[type-var] # the sizes have numbers


def _units(zero: Any) -> list[Any]:
    """The arrays of a shape with a single 1."""
    units = np.eye(np.size(zero), dtype=np.asarray(zero).dtype)
    return [unit.reshape(np.shape(zero))[()] for unit in units]


def _limits(name: str, estimate: Any, width: Any, outputs: Container[str]) -> dict[str, Any]:
    """The limits of the band of an output, in its dtype."""
    limits = {f"{name}_{LOWER}": estimate - width, f"{name}_{UPPER}": estimate + width}
    for limit in limits:
        if limit in outputs:
            raise UsageError(f"the band of '{name}' has a limit '{limit}', and an output has this name")
    return {limit: np.asarray(number, np.asarray(estimate).dtype) for limit, number in limits.items()}


def with_bands(found: Mapping[str, Any], wanted: BandRequest, subject: BandSubject, *, asked: bool) -> dict[str, Any]:
    """Outputs, each followed by the limits of its band, `NAME_lower` and `NAME_upper`, where it has one.

    An output has a band if it is of floating dtype and depends on the parameters; a scalar only if requested.

    Raises
    ------
    UsageError
        GE801 if no output has a band, or a limit would have the name of an output.
    """
    result: dict[str, Any] = {}
    for name, estimate in found.items():
        result[name] = estimate
        if _has_band(name, estimate, subject.graph, asked=asked) and _is_compared(name, wanted, subject.graph):
            width = half_width(wanted, subject.jacobian(subject.graph.outputs[name])).reshape(np.shape(estimate))
            result |= _limits(name, estimate, width, subject.graph.outputs)
    if len(result) == len(found):
        of = "depends on the parameters" if wanted.kind == "confidence" else "is what the residual compares with data"
        raise UsageError(f"no output here has a {wanted.kind} band: none of floating dtype {of}")
    return result


def _has_band(name: str, estimate: Any, graph: Graph, *, asked: bool) -> bool:
    if np.asarray(estimate).dtype.kind != "f" or not (asked or np.shape(estimate)):
        return False
    value = graph.outputs[name]
    return value in graph.trainable or value in differentiable_toward(graph, graph.trainable)


def _is_compared(name: str, wanted: BandRequest, graph: Graph) -> bool:
    """Whether an output may have the band: one of observations only what the residual compares with them."""
    if wanted.kind == "confidence":
        return True
    assert wanted.fit is not None
    pair = compared_values(wanted.fit, graph)
    return pair is not None and graph.outputs[name] == pair[1]


def compared_values(fit: Fit, graph: Graph) -> tuple[str, str] | None:
    """The values whose difference a fit minimizes: the observations and the curve; None of any other objective."""
    residual = str(fit.settings.get("residual", ""))
    compares = {graph.meaning(residual), residual.partition("/residual")[0]}
    learned = differentiable_toward(graph, graph.trainable)
    nodes = [node for node in graph.nodes if node.id in compares and node.op in ("sub", "mse")]
    return next(filter(None, (_sides_of(node, learned) for node in nodes)), None)


def _sides_of(node: GraphNode, learned: Container[str]) -> tuple[str, str] | None:
    """The operand of a difference that does not depend on parameters and the one that does, if there is one each."""
    names = node.references
    fixed, curves = absent(names, learned), present(names, learned)
    return (fixed[0], curves[0]) if len(fixed) == len(curves) == 1 else None


def half_width(wanted: BandRequest, jacobian: Matrix) -> Vector:
    """The quantile times the standard error of each number, NaN where it depends on what the data leave open.

    What a bound holds is fixed, as for the standard errors.
    """
    fit = wanted.fit
    assert fit is not None
    held = {each.parameter for each in fit.at_bounds}
    free = np.array([name not in held for name in fit.coordinates])
    slopes, covariance = jacobian[:, free], fit.covariance[np.ix_(free, free)]
    unknown = np.isnan(np.diag(covariance))
    known = np.where(np.isnan(covariance), 0.0, covariance)
    variance = np.sum((slopes @ known) * slopes, axis=1)
    if wanted.kind == "prediction":
        variance = variance + fit.residual_standard_deviation**2
    is_open = np.any(slopes[:, unknown] != 0, axis=1)
    (quantile,) = quantiles([wanted.level], fit.freedom_of_errors).values()
    return np.where(is_open, np.nan, quantile * np.sqrt(np.maximum(variance, 0.0)))
