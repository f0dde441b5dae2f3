"""The result of a fit read back from the metadata of a model file, which anyone may have edited."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from graphengine.errors import UsageError
from graphengine.fit.determination import AtBound, Undetermined
from graphengine.fit.profile import Interval
from graphengine.fit.quadratic import Matrix
from graphengine.fit.statistics import Bootstrap, Fit, Squares
from graphengine.ir.graph import Graph
from graphengine.ops.numbers import decode_array
from graphengine.training.history import History

HINT = "fit the model again: graphengine fit FILE --save FILE"


class _StoredFit(BaseModel):
    """What of `fit_as_json` makes a `Fit` again, except the starts; other keys are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    objective: Literal["least_squares", "robust", "likelihood"]
    converged: bool
    reason: str | None = None
    loss: float
    parameters: dict[str, Any]
    standard_errors: dict[str, Any]
    coordinates: tuple[str, ...]
    covariance: Any = None
    at_bounds: tuple[AtBound, ...] = ()
    undetermined: tuple[Undetermined, ...] = ()
    observations: int
    degrees_of_freedom: int
    log_likelihood: float | None = None
    aic: float | None = None
    bic: float | None = None
    residual_sum_of_squares: float | None = None
    residual_standard_deviation: float = float("nan")
    r2: float | None = None
    r2_is_centered: bool = False
    intervals: dict[float, dict[str, Interval]] = {}
    bootstrap: Bootstrap | None = None
    settings: dict[str, Any] = {}


def fit_from_json(content: Any, graph: Graph) -> Fit:
    """Return the fit of the trainable parameters of a graph that `fit_as_json` wrote; its history is empty.

    Raises
    ------
    UsageError
        GE801 if it is no such fit, with the first reason.
    """
    try:
        stored = _StoredFit.model_validate(content)
        found = stored.model_dump(include=set(Fit.__dataclass_fields__) & set(_StoredFit.model_fields))
        sizes = _shapes(graph)
        found |= {key: _arrays(key, getattr(stored, key), sizes) for key in ("parameters", "standard_errors")}
        found["covariance"] = _covariance(stored, sum(map(prod, sizes.values())))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "/".join(map(str, first["loc"]))
        raise _unreadable(f"{place or 'it'}: {first['msg']}") from None
    except ValueError as error:
        raise _unreadable(str(error)) from None
    found |= {key: getattr(stored, key) for key in ("at_bounds", "undetermined", "intervals", "bootstrap")}
    if None in (found["log_likelihood"], found["aic"], found["bic"]):
        found |= dict.fromkeys(("log_likelihood", "aic", "bic"))
    return Fit(**found, squares=_squares(stored), history=History())


def _unreadable(reason: str) -> UsageError:
    return UsageError(f"metadata.fit is not the result of a fit of this model: {reason}", hint=HINT)


def _shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """The shapes of the trainable parameters, which are integers."""
    if not graph.trainable:
        raise ValueError("no parameter is trainable")
    return {name: graph.types[name].shape for name in graph.trainable}  # type: ignore[misc] # integers


def _arrays(key: str, values: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    if values.keys() != shapes.keys():
        raise ValueError(f"{key} are those of {sorted(values)}; trainable are {sorted(shapes)}")
    found = {name: decode_array(values[name], np.dtype(np.float64)) for name in shapes}
    for name, array in found.items():
        if array.shape != shapes[name]:
            raise ValueError(f"{key}/{name} has shape {array.shape}; the parameter has {shapes[name]}")
    return {name: array[()] for name, array in found.items()}


def _covariance(stored: _StoredFit, count: int) -> Matrix:
    """The covariance; NaN where a fit of many numbers keeps none."""
    if len(stored.coordinates) != count:
        raise ValueError(f"it has {len(stored.coordinates)} coordinates; the trainable parameters have {count} numbers")
    if stored.covariance is None:
        return np.full((count, count), np.nan)
    covariance = decode_array(stored.covariance, np.dtype(np.float64))
    if covariance.shape != (count, count):
        raise ValueError(f"the covariance has shape {covariance.shape}; there are {count} coordinates")
    return covariance


def _squares(stored: _StoredFit) -> Squares | None:
    total = stored.residual_sum_of_squares
    if total is None:
        return None
    return Squares(total, stored.residual_standard_deviation, stored.r2, stored.r2_is_centered)


def is_outdated(content: Any, graph: Graph, values: Mapping[str, Any]) -> bool:
    """Whether the metadata has a fit of these parameters that found other values; False if it is no fit."""
    try:
        found = fit_from_json(content, graph).parameters
    except UsageError:
        return False
    return any(not np.array_equal(found[name], np.asarray(values.get(name, np.nan))) for name in found)
