"""Fits of differential equations beside SciPy's `solve_ivp` and `least_squares`, in turns, by processor time.

SciPy integrates with the loosest tolerance that gives the parameters to 1e-6. A model that was fitted before has its
programs: what counts for the next data set of the same shapes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import graphengine as ge
from benchmarks.harness import DisagreementError, Goal, Options, Row, Table

FIRST, AGAIN, SCIPY = "graphengine, a new model", "graphengine, the next data set", "solve_ivp and least_squares"
MODELS = ("sir", "lotka_volterra")


def run(options: Options) -> Iterator[Table]:
    """Yield a table for each model; goals are those of issue 17."""
    for name in MODELS:
        title = f"fit of {name}, processor time"
        try:
            import scipy.integrate  # noqa: F401
        except ImportError as error:
            yield Table(title, "ms", "fit", [], {SCIPY: f"not installed ({error.name})"})
            continue
        used = ge.load(name)
        data, start = used.load_data("train"), dict(used.parameters)
        works = {
            FIRST: lambda name=name, data=data: parameters(ge.load(name), data),
            AGAIN: lambda used=used, start=start, data=data: again(used, start, data),
            SCIPY: lambda name=name, start=start, data=data: by_scipy(name, start, data),
        }
        found = [work() for work in works.values()]
        if not all(np.allclose(each, found[0], rtol=1e-6) for each in found):
            raise DisagreementError(f"{name}: the fits end at different parameters: {found}")
        rows = [Row(label, "peer" if label == SCIPY else "ours", [], label == SCIPY) for label in works]
        with threadpool_limits(1):
            for _ in range(options.rounds):
                for row in rows:
                    began = time.process_time()
                    works[row.name]()
                    row.values.append(time.process_time() - began)
        yield Table(title, "ms", "fit", rows, {}, [Goal(FIRST, 0.5), Goal(AGAIN, 0.5)])


def again(model: ge.Model, start: Any, data: Any) -> Any:
    """Fit a model that was fitted before, from the same start."""
    model.parameters.update(start)
    return parameters(model, data)


def parameters(model: ge.Model, data: Any) -> Any:
    """The fitted parameters as one vector."""
    return np.concatenate([np.ravel(each) for each in model.fit(data).parameters.values()])


def by_scipy(name: str, start: Any, data: Any) -> Any:
    """The same by SciPy."""
    from scipy.integrate import solve_ivp
    from scipy.optimize import least_squares

    first = np.concatenate([np.ravel(each) for each in start.values()])
    times = data["day" if name == "sir" else "year"]

    def states(p: Any) -> Any:
        begin = [1 - p[2], p[2]] if name == "sir" else p[4:]
        rates = (epidemic if name == "sir" else animals)(p)
        return solve_ivp(rates, (0, times[-1]), begin, "DOP853", times, rtol=1e-8, atol=1e-10).y

    if name == "sir":
        return least_squares(lambda p: data["infected"] - states(p)[1], first).x
    return least_squares(lambda p: (data["counted"] - states(p).T).ravel(), first, x_scale="jac").x


def epidemic(p: Any) -> Callable[[float, Any], list[Any]]:
    """The right-hand side of `sir`."""
    return lambda _, y: [-p[0] * y[0] * y[1], p[0] * y[0] * y[1] - p[1] * y[1]]


def animals(p: Any) -> Callable[[float, Any], list[Any]]:
    """The right-hand side of `lotka_volterra`."""
    return lambda _, y: [p[0] * y[0] - p[1] * y[0] * y[1], p[2] * y[0] * y[1] - p[3] * y[1]]
