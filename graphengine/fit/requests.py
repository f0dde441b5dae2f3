"""What a fit minimizes: what the file declares, with what a caller asks for in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from graphengine.errors import TrainingError
from graphengine.fit.robust import Robust
from graphengine.fit.solvers import LeastSquares
from graphengine.fit.squares import (
    SUM_OF_SQUARES,
    Weighted,
    squared_residual,
    weighted_residual,
    with_difference,
    with_sum_of_squares,
)
from graphengine.format.documents import TrainingDocument
from graphengine.ir.graph import Graph

LEAST_SQUARES, NEWTON = "least_squares", "newton"


@dataclass(frozen=True)
class Request:
    """What a caller asks for; None leaves it to the file. The names are those of the solver `least_squares`."""

    residual: str | None = None
    sigma: str | None = None
    weights: str | None = None
    absolute_sigma: bool | None = None
    robust: str | None = None
    robust_scale: float | None = None

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Request:
        """The request that a fit of these settings had; other keys are ignored."""
        return cls(**{key: settings[key] for key in cls.__dataclass_fields__ if key in settings})

    @property
    def given(self) -> dict[str, Any]:
        """What is requested."""
        return {key: value for key, value in asdict(self).items() if value is not None}


def fit_section(
    graph: Graph, section: TrainingDocument | None, request: Request, max_iterations: int | None
) -> tuple[Graph, dict[str, Any]]:
    """The graph of a fit and its training section, not yet checked.

    A sum of squares is minimized as one; without a residual, any other loss as a negative log-likelihood.

    Raises
    ------
    TrainingError
        If there is neither.
    """
    keys = {"data": section.data if section else None, "max_iterations": max_iterations}
    declared = _declared_options(graph, section)
    found = None if declared or section is None else with_difference(graph, graph.value_name(section.loss))
    if section is not None and found is None and request.given.keys() <= {"absolute_sigma"}:
        optimizer = {"type": NEWTON} if declared is None else {**declared, **request.given}
        return graph, {**keys, "loss": section.loss, "optimizer": optimizer}
    graph, residual = found or Weighted(graph, "")
    optimizer = {"type": LEAST_SQUARES, "residual": residual or None, **(declared or {}), **request.given}
    _require_residual(graph, optimizer)
    return _with_loss(graph, optimizer), {**keys, "loss": SUM_OF_SQUARES, "optimizer": optimizer}


def _require_residual(graph: Graph, optimizer: Mapping[str, Any]) -> None:
    if optimizer["residual"] is None:
        hint = "name the value whose squares are to be summed up"
        raise TrainingError(f"model '{graph.name}' does not name its residual", hint=hint)


def _declared_options(graph: Graph, section: TrainingDocument | None) -> dict[str, Any] | None:
    """The optimizer of a file that minimizes a sum of squares, or of one whose loss is written as one."""
    if section is None or section.optimizer.type == NEWTON:
        return None
    if section.optimizer.type == LEAST_SQUARES:
        return {"type": LEAST_SQUARES, **section.optimizer.attributes}
    residual = squared_residual(graph, graph.value_name(section.loss))
    return None if residual is None else {"type": LEAST_SQUARES, "residual": residual}


def _with_loss(graph: Graph, optimizer: dict[str, Any]) -> Graph:
    """The graph with the loss that a caller asks for, as far as what is named is there."""
    values = [optimizer.get(key) for key in ("residual", "sigma", "weights")]
    if any(value is not None and graph.meaning(value) not in graph.types for value in values):
        return graph  # the checks of the section say so
    try:
        options = LeastSquares.model_validate(optimizer)
    except ValidationError:  # again the checks of the section say so
        return graph
    robust = Robust(options.robust, options.robust_scale) if options.robust else None
    return with_sum_of_squares(*weighted_residual(graph, options), robust)
