"""All 27 nonlinear problems of NIST's Statistical Reference Datasets: data, starts, certified results, formulas.

The figures in `nist_problems.json` are NIST's, which are in the public domain: https://www.itl.nist.gov/div898/strd.
The first column of the data is the response, of Nelson its logarithm is fitted. A formula works on arrays and on
symbols of a `Builder` alike.
"""

import json
from pathlib import Path

import numpy as np

import graphengine as ge

PROBLEMS = json.loads(Path(__file__).with_name("nist_problems.json").read_text(encoding="utf-8"))


def rise(x, b1, b2):
    return b1 * (1 - np.exp(-b2 * x))


def chwirut(x, b1, b2, b3):
    return np.exp(-b1 * x) / (b2 + b3 * x)


def gauss(x, b1, b2, b3, b4, b5, b6, b7, b8):
    peaks = b3 * np.exp(-((x - b4) ** 2) / b5**2) + b6 * np.exp(-((x - b7) ** 2) / b8**2)
    return b1 * np.exp(-b2 * x) + peaks


def cubics(x, b1, b2, b3, b4, b5, b6, b7):
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


def lanczos(x, b1, b2, b3, b4, b5, b6):
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


def enso(x, b1, b2, b3, b4, b5, b6, b7, b8, b9):
    turn = 2 * np.pi * x
    year = b2 * np.cos(turn / 12) + b3 * np.sin(turn / 12)
    first = b5 * np.cos(turn / b4) + b6 * np.sin(turn / b4)
    return b1 + year + first + b8 * np.cos(turn / b7) + b9 * np.sin(turn / b7)


FORMULAS = {
    "Bennett5": lambda x, b1, b2, b3: b1 * (b2 + x) ** (-1 / b3),
    "BoxBOD": rise,
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": lambda x, b1, b2: b1 * x**b2,
    "ENSO": enso,
    "Eckerle4": lambda x, b1, b2, b3: b1 / b2 * np.exp(-0.5 * ((x - b3) / b2) ** 2),
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Hahn1": cubics,
    "Kirby2": lambda x, b1, b2, b3, b4, b5: (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2),
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Lanczos3": lanczos,
    "MGH09": lambda x, b1, b2, b3, b4: b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4),
    "MGH10": lambda x, b1, b2, b3: b1 * np.exp(b2 / (x + b3)),
    "MGH17": lambda x, b1, b2, b3, b4, b5: b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5),
    "Misra1a": rise,
    "Misra1b": lambda x, b1, b2: b1 * (1 - (1 + b2 * x / 2) ** -2.0),
    "Misra1c": lambda x, b1, b2: b1 * (1 - (1 + 2 * b2 * x) ** -0.5),
    "Misra1d": lambda x, b1, b2: b1 * b2 * x / (1 + b2 * x),
    "Nelson": lambda x, b1, b2, b3: b1 - b2 * x[0] * np.exp(-b3 * x[1]),
    "Rat42": lambda x, b1, b2, b3: b1 / (1 + np.exp(b2 - b3 * x)),
    "Rat43": lambda x, b1, b2, b3, b4: b1 / (1 + np.exp(b2 - b3 * x)) ** (1 / b4),
    "Roszman1": lambda x, b1, b2, b3, b4: b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi,
    "Thurber": cubics,
}


def data_of(name):
    """The predictor, or a list of two, and the response."""
    y, *x = (np.array(column) for column in PROBLEMS[name]["data"])
    return (x[0] if len(x) == 1 else x), (np.log(y) if name == "Nelson" else y)


def fitted(name, start):
    """Our model of a problem with its values at a start, and the data by input."""
    x, y = data_of(name)
    b = ge.Builder(name)
    inputs = {f"x{place}": column for place, column in enumerate(x if isinstance(x, list) else [x])}
    symbols = [b.input(key, ["N"]) for key in inputs]
    target = b.input("y", ["N"])
    parameters = [b.parameter(f"b{place}", [], initializer=float(value)) for place, value in enumerate(start, 1)]
    curve = FORMULAS[name](symbols if len(symbols) > 1 else symbols[0], *parameters)
    b.output(residual=b.name("residual", target - curve))
    return b.model(), {**inputs, "y": y}
