"""The result of a fit as a JSON object: what `graphengine fit --format json` prints and a saved model keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from graphengine.fit.starts import Start
from graphengine.fit.statistics import Bootstrap, Fit
from graphengine.format.writing import encode_array
from graphengine.ops.numbers import encode_number

PAIRS = ("covariance", "correlation")
MOST_PAIRED = 200
"""For this many numbers at most a file keeps the matrices of all pairs."""


def _ends(intervals: Mapping[str, Iterable[float]]) -> dict[str, Any]:
    return {name: [encode_number(end) for end in ends] for name, ends in intervals.items()}


def _unless_empty(key: str, value: Any) -> dict[str, Any]:
    return {key: value} if value else {}


def fit_as_json(fit: Fit) -> dict[str, Any]:
    """The result of a fit as a JSON object; numbers that are not finite are strings, as in a model file."""
    return {
        "objective": fit.objective,
        "iterations": len(fit.history),
        "converged": fit.converged,
        **_unless_empty("reason", fit.reason),
        "loss": encode_number(fit.loss),
        "parameters": arrays(fit.parameters),
        "standard_errors": arrays(fit.standard_errors),
        "coordinates": list(fit.coordinates),
        "covariance": encode_array(fit.covariance),
        "correlation": encode_array(fit.correlation),
        "at_bounds": [numbers(each._asdict()) for each in fit.at_bounds],
        "undetermined": [part._asdict() for part in fit.undetermined],
        "observations": fit.observations,
        "degrees_of_freedom": fit.degrees_of_freedom,
        **numbers({"log_likelihood": fit.log_likelihood, "aic": fit.aic, "bic": fit.bic}),
        **numbers(asdict(fit.squares) if fit.squares else {}),
        **numbers({} if fit.chi_square is None else {"chi_square": fit.chi_square}),
        **_unless_empty("settings", dict(fit.settings)),
        "intervals": {f"{level:g}": _ends(found) for level, found in fit.intervals.items()},
        **_unless_empty("bootstrap", fit.bootstrap and _bootstrap(fit.bootstrap)),
        **_unless_empty("starts", list(map(_start, fit.starts))),
    }


def fit_to_keep(fit: Fit) -> dict[str, Any]:
    """The result as the metadata of a model keep it: of many numbers without the matrices of all pairs."""
    kept = fit_as_json(fit)
    return kept if len(fit.coordinates) <= MOST_PAIRED else {key: kept[key] for key in kept if key not in PAIRS}


def _bootstrap(found: Bootstrap) -> dict[str, Any]:
    percentiles = {f"{percent:g}": numbers(each) for percent, each in found.percentiles.items()}
    return {**found._asdict(), "standard_errors": numbers(found.standard_errors), "percentiles": percentiles}


def _start(start: Start) -> dict[str, Any]:
    return {
        **start._asdict(),
        "start": arrays(start.start),
        "parameters": arrays(start.parameters),
        "loss": encode_number(start.loss),
    }


def arrays(values: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name as JSON values."""
    return {name: encode_array(value) for name, value in values.items()}


def numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers by name as JSON values; what is there is kept as it is if it is not a number."""
    return {name: encode_number(value) if isinstance(value, float) else value for name, value in values.items()}
