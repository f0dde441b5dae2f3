"""What is checked where a solver starts: finite numbers, squares that are no 0, and a loss that is a sum of squares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.reference.executor import Executor
from graphengine.errors import DivergenceError, InputError, TrainingError
from graphengine.fit.objective import Objective
from graphengine.fit.quadratic import Vector
from graphengine.fit.residuals import Residuals
from graphengine.fit.robust import Robust
from graphengine.fit.solvers import LeastSquares
from graphengine.format.documents import TrainingDocument
from graphengine.ir.finite import NonFinite, first_non_finite
from graphengine.ops.norms import SMALLEST

SHIFTS = (0.0, 0.1, -0.07, 0.013)
"""How far from the start a loss is looked at, in units of it: four points, of which any may be a special one."""
ALIKE = 1e-6
"""The relative difference that two gradients in double precision may have."""


def not_finite(objective: Objective, start: Vector, loss: str) -> DivergenceError:
    """The error of a start where the loss or its gradient is not finite: which value comes first, and what may help."""
    found = _first(objective, start)
    if found is None:
        what = f"no solver can start here: '{loss}' is finite at the start, but its gradient is not"
        return DivergenceError(what, iteration=1, epoch=1, hint="start from other values")
    elsewhere = [_first(objective, x) for x in (-start, 0.1 * start, 10 * start, start + 1, start - 1)]
    stays = all(other is not None and (other.what, other.row) == (found.what, found.row) for other in elsewhere)
    row = "the data" if found.row is None else f"row {found.row} of the data"
    hint = f"other parameters do not change that: check {row}" if stays else "start from other values"
    what = f"no solver can start here: {found.what} is not finite at the start: {found.how}"
    return DivergenceError(what, iteration=1, epoch=1, node=found.node, hint=hint)


def _first(objective: Objective, x: Vector) -> NonFinite | None:
    executor = Executor(objective.graph)
    with np.errstate(all="ignore"):
        slots = executor.forward(objective.sources_at(x))
    return first_non_finite(objective.graph, {name: slots[slot] for name, slot in executor.slot_of.items()})


def _around(start: Vector) -> Iterator[Vector]:
    """The start, and points near it that have nothing to do with each other."""
    for number, shift in enumerate(SHIFTS):
        pattern = np.cos(np.arange(len(start)) + number)
        yield start + shift * pattern * (np.abs(start) + (start == 0))


class _Slopes(NamedTuple):
    """At one point: the loss, its gradient, J'r, and how large the terms of J'r are."""

    loss: float
    slope: Vector
    product: Vector
    size: Vector


def require_positive(objective: Objective, x: Vector, options: LeastSquares) -> None:
    """Refuse standard deviations that are not positive, and weights that are negative.

    Raises
    ------
    InputError
        GE404 with the first of them and its row.
    """
    if options.sigma is not None:
        numbers = _numbers_at(objective, x, options.sigma)
        hint = "a point without an error has infinite weight; give it an error, or leave it out"
        _require_all(numbers, numbers > 0, f"sigma '{options.sigma}' must be positive", hint)
    if options.weights is not None:
        numbers = _numbers_at(objective, x, options.weights)
        _require_all(numbers, numbers >= 0, f"weights '{options.weights}' must be zero or positive", None)


def _numbers_at(objective: Objective, x: Vector, value: str) -> Any:
    """A value of the graph at a point."""
    executor, name = Executor(objective.graph), objective.graph.value_name(value)
    slots = executor.forward(objective.sources_at(x), executor.forward_schedule([name]))
    return np.asarray(slots[executor.slot_of[name]])


def _require_all(numbers: Any, is_right: Any, what: str, hint: str | None) -> None:
    """Refuse numbers that are not right or not finite, with the first of them."""
    wrong = np.argwhere(~(is_right & np.isfinite(numbers)))
    if len(wrong):
        place = tuple(wrong[0])
        row = f" in row {place[0] + 1}" if place else ""
        raise InputError(f"{what} everywhere; it is {numbers[place]:g}{row}", code="GE404", hint=hint)


def require_resolved(residual: Vector, name: str) -> None:
    """Refuse residuals whose squares lose their digits or vanish: a sum of 0 looks like a perfect fit.

    Raises
    ------
    DivergenceError
        GE601 with the size of the residuals.
    """
    with np.errstate(all="ignore"):
        largest, squares = float(np.abs(residual).max(initial=0)), float(residual @ residual)
    if largest > 0 and squares < len(residual) * SMALLEST[np.float64]:
        message = f"no solver can start here: the residual '{name}' is at most {largest:.1e}, and its square vanishes"
        hint = f"use another unit for the data: divide the fitted values by about {largest:.0e}"
        raise DivergenceError(message, iteration=1, epoch=1, hint=hint)


def require_sum_of_squares(
    objective: Objective, residuals: Residuals, robust: Robust | None, start: Vector, training: TrainingDocument
) -> None:
    """Refuse a loss that is not a function of the sum of squares of the residual that the section names.

    The loss must have the gradient c J'r at all points, with one c > 0; or one c over the loss, as a root has.

    Raises
    ------
    TrainingError
        GE602, with what to do.
    """
    points = list(_slopes(objective, residuals, robust, start))
    tolerance = ALIKE * residuals.epsilon / np.finfo(np.float64).eps
    if any(_agree(points, power, min(tolerance, 0.01)) for power in (0, 1)):
        return
    residual = training.optimizer.attributes["residual"]
    weighted = " with these weights" if training.optimizer.attributes.keys() & {"sigma", "weights", "robust"} else ""
    message = f"the loss '{training.loss}' is not the sum of the squares of the residual '{residual}'{weighted}"
    hint = "name the value whose squares the loss adds up, or use 'newton', which minimizes any loss"
    raise TrainingError(message, hint=hint, pointer="/training/optimizer/residual")


def _slopes(objective: Objective, residuals: Residuals, robust: Robust | None, start: Vector) -> Iterator[_Slopes]:
    for x in _around(start):
        with np.errstate(all="ignore"):
            loss, slope = objective(x)
            residual, jacobian = residuals(x), residuals.jacobian(x)
            residual = residual * robust.weights(residual) if robust else residual
            found = _Slopes(loss, slope, jacobian.T @ residual, np.abs(jacobian).T @ np.abs(residual))
        if np.isfinite(loss) and all(np.isfinite(each).all() for each in found[1:]):
            yield found


def _agree(points: list[_Slopes], power: int, tolerance: float) -> bool:
    """Whether the gradients are one positive multiple of J'r, times the loss to minus a power."""
    factors = [(point.loss or 1.0) ** -power for point in points]
    products = np.concatenate([point.product * factor for point, factor in zip(points, factors, strict=True)])
    sizes = np.concatenate([point.size * abs(factor) for point, factor in zip(points, factors, strict=True)])
    slopes = np.concatenate([point.slope for point in points])
    units = np.where(sizes > 0, sizes, 1.0)
    products, slopes = products / units, slopes / units
    squares = float(products @ products)
    factor = float(products @ slopes) / squares if squares else 1.0
    return factor > 0 and float(np.abs(slopes - factor * products).max(initial=0.0)) <= tolerance * factor
