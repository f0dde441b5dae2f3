"""Fits beside SciPy's `curve_fit` and lmfit: problems solved, a whole process, many points; in turns.

The problems are all 27 of NIST's Statistical Reference Datasets (`tests/nist.py`), from certified values times random
factors between 1/2 and 2, two draws each. Solved is what reaches the certified sum of squares to six digits.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import graphengine as ge
from benchmarks.cold_start import failure, measured
from benchmarks.harness import DisagreementError, Goal, Options, Row, Table

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from nist import FORMULAS, PROBLEMS, data_of, fitted

DRAWS = 2
DIGITS, ROUNDING = 1e-6, 1e-20
"""Rounding decides the sum of squares of Lanczos1, 1.4e-25."""
OURS, SCIPY, LMFIT = "graphengine", "scipy curve_fit", "lmfit"
COMMAND, SCRIPT = "graphengine fit peak.json", "python peak.py (curve_fit)"
POINTS = 100_000
Solver = Callable[[str, list[float]], Sequence[float]]


def run(options: Options) -> list[Table]:
    """The three comparisons; goals are those of issue 19."""
    return [perturbed(), whole_process(options), *many_points(options)]


# ---------------------------------------------------------------- perturbed starts


def by_graphengine(name: str, start: list[float]) -> Sequence[float]:
    """Fit a problem by this package."""
    model, data = fitted(name, start)
    fit = model.fit(data, residual="residual")
    return [float(fit.parameters[key]) for key in fit.coordinates]


def by_scipy(name: str, start: list[float]) -> Sequence[float]:
    """Fit a problem by SciPy."""
    from scipy.optimize import curve_fit

    x, y = data_of(name)
    best, _ = curve_fit(FORMULAS[name], x, y, start)
    return list(best)


def by_lmfit(name: str, start: list[float]) -> Sequence[float]:
    """Fit a problem by lmfit."""
    from lmfit import Parameters, minimize

    x, y = data_of(name)
    parameters = Parameters()
    for place, value in enumerate(start, 1):
        parameters.add(f"b{place}", value=value)
    found = minimize(lambda b: y - FORMULAS[name](x, *b.valuesdict().values()), parameters)
    return list(found.params.valuesdict().values())


SOLVERS: Mapping[str, tuple[str, Solver]] = {
    OURS: ("ours", by_graphengine),
    SCIPY: ("peer", by_scipy),
    LMFIT: ("peer", by_lmfit),
}


def starts() -> Iterator[tuple[str, list[float]]]:
    """Yield each problem with its starting values, draw by draw."""
    for name, problem in PROBLEMS.items():
        for draw in range(DRAWS):
            random = np.random.Generator(np.random.Philox(key=[draw, len(problem["parameters"])]))
            factors = 2.0 ** random.uniform(-1, 1, len(problem["parameters"]))
            yield name, (np.array(problem["parameters"]) * factors).tolist()


def perturbed() -> Table:
    """How many of 54 draws each solver does not solve."""
    rows, skipped = [], {}
    for label, (kind, solver) in SOLVERS.items():
        try:
            unsolved = sum(not is_solved(solver, name, start) for name, start in starts())
        except ImportError as error:
            skipped[label] = f"not installed ({error.name})"
            continue
        rows.append(Row(label, kind, [float(unsolved)], kind == "peer"))
    return Table("NIST from perturbed starts, not solved", "draws", "54 draws", rows, skipped, [Goal(OURS, 0.99)])


def is_solved(solver: Solver, name: str, start: list[float]) -> bool:
    """Whether a solver reaches the certified sum of squares; sums of exponentials have it in several orders."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            found = solver(name, start)
        except (RuntimeError, ValueError, ge.errors.GraphEngineError):
            return False
        x, y = data_of(name)
        squares = float(np.sum((y - FORMULAS[name](x, *found)) ** 2))
    return squares <= PROBLEMS[name]["residual_sum_of_squares"] * (1 + DIGITS) + ROUNDING


# ---------------------------------------------------------------- a whole process

PEAK = """
import numpy as np
from scipy.optimize import curve_fit
x, y = np.loadtxt({data!r}, delimiter=",", skiprows=1, unpack=True)
def peak(x, height, center, width, level):
    return height * np.exp(-0.5 * ((x - center) / width) ** 2) + level
best, covariance = curve_fit(peak, x, y, [1.0, 5.0, 1.0, 0.0])
print(*best, *np.sqrt(np.diag(covariance)))
"""
START = {"height": 1.0, "center": 5.0, "width": 1.0, "level": 0.0}


def peak_model(x: Any, y: Any) -> ge.Model:
    """A model of a Gaussian peak of four parameters."""
    b = ge.Builder("peak")
    place, signal = b.input("x", ["N"]), b.input("y", ["N"])
    height, center, width, level = (b.parameter(name, [], initializer=value) for name, value in START.items())
    curve = height * np.exp(-0.5 * ((place - center) / width) ** 2) + level
    residual = b.name("residual", signal - curve)
    b.output(loss=b.name("loss", np.sum(np.square(residual))))
    b.training(loss="loss", data="points", optimizer={"type": "least_squares", "residual": "residual"})
    b.data("points", {"type": "csv", "path": "peak.csv"})
    return b.model()


def whole_process(options: Options) -> Table:
    """1,000 points, four parameters, from the command to its end, by processor time."""
    random = np.random.Generator(np.random.Philox(0))
    x = np.linspace(0, 10, 1000)
    y = 3 * np.exp(-0.5 * ((x - 4.2) / 0.8) ** 2) + 0.7 + random.normal(scale=0.1, size=1000)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "peak.csv"
        np.savetxt(data, np.column_stack([x, y]), delimiter=",", header="x,y", comments="")
        peak_model(x, y).save(Path(folder) / "peak.json")
        (Path(folder) / "peak.py").write_text(PEAK.format(data=str(data)), encoding="utf-8")
        commands = {
            COMMAND: ["-m", "graphengine", "fit", str(Path(folder) / "peak.json")],
            SCRIPT: [str(Path(folder) / "peak.py")],
        }
        skipped = {name: why for name, command in commands.items() if (why := failure(command))}
        rows = [Row(name, "process", [], name == SCRIPT) for name in commands if name not in skipped]
        if not skipped:
            same_peak(commands)
        for _ in range(options.rounds):
            for row in rows:
                row.values.append(measured(commands[row.name])[1])
    goals = [Goal(COMMAND, 1.2)]
    return Table("fit of 1,000 points, four parameters, processor time", "ms", "process", rows, skipped, goals)


def same_peak(commands: Mapping[str, list[str]]) -> None:
    """Compare parameters and standard errors of the two commands.

    Raises
    ------
    DisagreementError
        If they are not the same to five digits.
    """
    from benchmarks.cold_start import start_process

    ours = json.loads(start_process([*commands[COMMAND], "--format", "json"]).stdout)
    found = [ours[part][name] for part in ("parameters", "standard_errors") for name in START]
    theirs = list(map(float, start_process(commands[SCRIPT]).stdout.split()))
    if not np.allclose(np.abs(found), np.abs(theirs), rtol=1e-5):
        raise DisagreementError(f"{COMMAND} finds {found}, {SCRIPT} {theirs}")


# ---------------------------------------------------------------- many points


def waves(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any, b10: Any) -> Any:
    """A line and three cycles, as NIST's ENSO with a trend."""
    turn = 2 * np.pi * x
    year = b2 * np.cos(turn / 12) + b3 * np.sin(turn / 12)
    first, second = b5 * np.cos(turn / b4) + b6 * np.sin(turn / b4), b8 * np.cos(turn / b7) + b9 * np.sin(turn / b7)
    return b1 + b10 * x + year + first + second


def peaks(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any, b10: Any) -> Any:
    """Three Gaussian peaks on a level."""
    one = b1 * np.exp(-0.5 * ((x - b2) / b3) ** 2)
    two = b4 * np.exp(-0.5 * ((x - b5) / b6) ** 2)
    return one + two + b7 * np.exp(-0.5 * ((x - b8) / b9) ** 2) + b10


def lines(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any, b10: Any) -> Any:
    """Three Lorentzian lines on a level: no function but arithmetic."""
    one, two = b1 / (1 + ((x - b2) / b3) ** 2), b4 / (1 + ((x - b5) / b6) ** 2)
    return one + two + b7 / (1 + ((x - b8) / b9) ** 2) + b10


def steps(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any, b10: Any) -> Any:
    """Three steps of growth on a level: logistic curves."""
    one, two = b1 / (1 + np.exp((b2 - x) / b3)), b4 / (1 + np.exp((b5 - x) / b6))
    return one + two + b7 / (1 + np.exp((b8 - x) / b9)) + b10


def ringing(x: Any, b1: Any, b2: Any, b3: Any, b4: Any, b5: Any, b6: Any, b7: Any, b8: Any, b9: Any, b10: Any) -> Any:
    """Two damped oscillations on a line."""
    one, two = b1 * np.exp(-b2 * x) * np.cos(b3 * x + b4), b5 * np.exp(-b6 * x) * np.cos(b7 * x + b8)
    return one + two + b9 + b10 * x


PEAKS = (10.0, [3, 2.1, 0.5, 2, 5, 0.8, 4, 7.5, 0.6, 0.7], [2, 2, 0.6, 1.5, 5, 1, 3, 7.6, 0.7, 0.5])
"""For three peaks on a level: the range of x, then height, place and width of each, and the start."""
LARGE: Mapping[str, tuple[Callable[..., Any], float, list[float], list[float]]] = {
    "three cycles": (
        waves,
        168.0,
        [10.5, 3, 0.5, 44, -1.6, 0.5, 26.9, 0.2, -1.5, 0.01],
        [11.0, 3, 0.5, 40, -0.7, -1.3, 25, -0.3, 1.4, 0],
    ),
    "three peaks": (peaks, *PEAKS),
    "three lines": (lines, *PEAKS),
    "three steps": (
        steps,
        10.0,
        [3, 2.1, 0.3, 2, 5, 0.4, 4, 7.5, 0.3, 0.7],
        [2, 2, 0.4, 1.5, 5, 0.5, 3, 7.6, 0.4, 0.5],
    ),
    "two damped oscillations": (
        ringing,
        10.0,
        [5, 0.3, 6, 0.5, 3, 0.1, 2.5, 1, 0.7, 0.1],
        [4, 0.2, 5.9, 0.4, 2, 0.15, 2.45, 1.2, 0.5, 0],
    ),
}
"""For each: the formula, the range of x, the parameters of the data, and the start."""


def many_points(options: Options) -> Iterator[Table]:
    """Yield a table for each formula, by processor time."""
    for name, (formula, end, exact, start) in LARGE.items():
        x = np.linspace(0, end, POINTS)
        y = formula(x, *exact) + np.random.Generator(np.random.Philox(1)).normal(size=POINTS)
        title = f"fit of 100,000 points, ten parameters, {name}, processor time"
        try:
            from scipy.optimize import curve_fit
        except ImportError as error:
            yield Table(title, "ms", "fit", [], {SCIPY: f"not installed ({error.name})"})
            continue
        works = {OURS: lambda f=formula, s=start, x=x, y=y: fit_large(f, s, x, y)}
        works[SCIPY] = lambda f=formula, s=start, x=x, y=y: curve_fit(f, x, y, s)[0]
        if not np.allclose(works[OURS](), works[SCIPY](), rtol=1e-4, atol=1e-4):
            raise DisagreementError(f"{name}: the fits end at different parameters")
        rows = [Row(label, "ours" if label == OURS else "peer", [], label == SCIPY) for label in works]
        with threadpool_limits(1):  # threads that wait would count as work
            for _ in range(options.rounds):
                for row in rows:
                    began = time.process_time()
                    works[row.name]()
                    row.values.append(time.process_time() - began)
        yield Table(title, "ms", "fit", rows, {}, [Goal(OURS, 0.5)])


def fit_large(formula: Callable[..., Any], start: list[float], x: Any, y: Any) -> Sequence[float]:
    """Build a model of a formula and fit it."""
    b = ge.Builder("large")
    place, signal = b.input("x", ["N"]), b.input("y", ["N"])
    parameters = [b.parameter(f"b{number}", [], initializer=float(value)) for number, value in enumerate(start, 1)]
    b.output(residual=b.name("residual", signal - formula(place, *parameters)))
    fit = b.model().fit({"x": x, "y": y}, residual="residual")
    return [float(fit.parameters[key]) for key in fit.coordinates]
