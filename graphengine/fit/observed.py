"""A fit beside its data: observations, curve with its band, and residuals, for a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.errors import UsageError
from graphengine.fit.bands import BandRequest, BandSubject, half_width
from graphengine.fit.quadratic import Vector
from graphengine.ir.graph import inputs_of
from graphengine.mappings import only

GRID = 200
"""So many points has a curve over its only input."""


@dataclass(frozen=True)
class Curve:
    """Points of a fitted curve, in the order of `x`, with half the width of its band."""

    x: Vector
    y: Vector
    width: Vector


@dataclass(frozen=True)
class Comparison:
    """Observations and what the model has for them, all of shape (N,).

    `x` is the input that the curve depends on, and `curve` its points; both are None if there are several such inputs.
    `sigma` are the standard deviations of the fit, if it has any, in which the `residuals` are counted then.
    """

    observed: Vector
    fitted: Vector
    residuals: Vector
    sigma: Vector | None
    x_name: str
    x: Vector | None
    curve: Curve | None


def spread_in(settings: Mapping[str, Any]) -> str | None:
    """Return the value by which the residuals of a fit are divided, or whose square root they are multiplied by."""
    return settings.get("sigma") or settings.get("weights")


def comparison(wanted: BandRequest, subject: BandSubject, observed: str, curve: str) -> Comparison:
    """Compare two values of a graph, observations and the curve that was fitted to them.

    Raises
    ------
    UsageError
        GE801 if they have different shapes.
    """
    assert wanted.fit is not None
    settings = wanted.fit.settings
    spread = spread_in(settings)
    names = [observed, curve, *([subject.graph.value_name(str(spread))] if spread else [])]
    data, fitted, *given = _values(subject, names)
    if np.broadcast_shapes(np.shape(data), np.shape(fitted)) != np.shape(fitted):
        raise UsageError(f"'{observed}' has shape {np.shape(data)}, and the curve '{curve}' has {np.shape(fitted)}")
    data, fitted, *given = (np.ravel(np.broadcast_to(each, np.shape(fitted))) for each in (data, fitted, *given))
    sigma = _sigma(given[0], settings) if given else None
    residuals = (data - fitted) / (1.0 if sigma is None else sigma)
    x_name = _only_input(subject, curve)
    if x_name is None:
        return Comparison(data, fitted, residuals, sigma, "fitted", None, None)
    x = np.asarray(subject.given[x_name], np.float64)
    return Comparison(data, fitted, residuals, sigma, x_name, x, _curve(wanted, subject, curve, x_name))


def _sigma(spread: Vector, settings: Mapping[str, Any]) -> Vector:
    """The standard deviations: what a fit names as such, or the inverse roots of its weights."""
    found: Vector = spread if settings.get("sigma") else 1 / np.sqrt(spread)
    return found


def _values(subject: BandSubject, names: list[str]) -> list[Any]:
    executor = Executor(subject.graph)
    known = only({**subject.values, **subject.given}, subject.graph.types)
    with np.errstate(all="ignore"):
        slots = executor.forward(known, executor.forward_schedule(names))
    return [np.asarray(slots[executor.slot_of[name]]) for name in names]


def _only_input(subject: BandSubject, curve: str) -> str | None:
    """The one input that a curve depends on, if it is a sequence of numbers, one for each number of the curve."""
    names = inputs_of(subject.graph, [curve])
    if len(names) != 1 or np.asarray(subject.given[names[0]]).dtype.kind != "f":
        return None
    shape = subject.graph.types[names[0]].shape
    return names[0] if len(shape) == 1 and shape == subject.graph.types[curve].shape else None


def _curve(wanted: BandRequest, subject: BandSubject, curve: str, x_name: str) -> Curve:
    x = np.asarray(subject.given[x_name])
    grid = np.linspace(np.min(x), np.max(x), GRID).astype(x.dtype) if x.size else x
    dense = BandSubject(subject.graph, subject.values, {x_name: grid}, subject.backend)
    (y,) = _values(dense, [curve])
    return Curve(*(np.asarray(each, np.float64) for each in (grid, y, half_width(wanted, dense.jacobian(curve)))))
