"""The rule of the logarithm of the gamma function, for which ONNX has no op: our own approximation, step by step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphengine.format.onnx.composite_rules import log1p_of, polynomial
from graphengine.format.onnx.emitting import Applied, Emitter, exports
from graphengine.ops.families import gamma_functions


@exports("lgamma")
def lgamma(emit: Emitter, applied: Applied) -> str:
    """Write Stirling's series from 10 on, else a Taylor series at 2 after recurrence, and reflect negative numbers.

    Relative error for positive x below 1e-14, in single precision 2e-6, also near the zeros at 1 and 2.
    """
    dtype = emit.result_dtype(applied)
    x, one, most = emit.read(applied, 0, dtype), emit.constant(1, dtype), emit.constant(np.inf, dtype)
    is_positive = emit("Greater", x, emit.constant(0, dtype))
    positive = emit("Where", is_positive, x, emit("Sub", one, x))
    is_small = emit("Less", positive, emit.constant(gamma_functions.FAR, dtype))
    result = emit("Where", is_small, _near_two(emit, positive, is_small, dtype), _far(emit, positive, is_small, dtype))
    result = emit("Where", emit("Equal", x, most), most, result)
    turn = emit("Sub", x, emit("Round", x))
    sine = emit("Abs", emit("Sin", emit("Mul", emit.constant(math.pi, dtype), turn)))
    reflected = emit("Sub", emit("Sub", emit.constant(math.log(math.pi), dtype), emit("Log", sine)), result)
    return emit("Where", is_positive, result, reflected)


def _far(emit: Emitter, x: str, is_small: str, dtype: Any) -> str:
    """Return Stirling's series."""
    large = emit("Where", is_small, emit.constant(gamma_functions.FAR, dtype), x)
    head = emit("Mul", emit("Sub", large, emit.constant(0.5, dtype)), emit("Log", large))
    head = emit("Add", emit("Sub", head, large), emit.constant(math.log(2 * math.pi) / 2, dtype))
    series = [each / (2 * k * (2 * k - 1)) for k, each in enumerate(gamma_functions.BERNOULLI, 1)]
    inverse = emit("Div", emit.constant(1, dtype), large)
    rest = polynomial(emit, series[::-1], emit("Mul", inverse, inverse), dtype)
    return emit("Add", head, emit("Mul", inverse, rest))


def _near_two(emit: Emitter, x: str, is_small: str, dtype: Any) -> str:
    """Return the function of small positive numbers, as `gamma_functions.lgamma_near` has it."""
    one, two, middle = (emit.constant(each, dtype) for each in (1, 2, 1.5))
    down = small = emit("Where", is_small, x, two)
    above = one
    for _ in range(math.ceil(gamma_functions.FAR) - 2):
        high = emit("Less", emit.constant(2.5, dtype), down)
        down = emit("Where", high, emit("Sub", down, one), down)
        above = emit("Mul", above, emit("Where", high, down, one))
    lowest, low = emit("Less", small, emit.constant(0.5, dtype)), emit("Less", small, middle)

    def by_range(of_lowest: str, of_low: str, of_others: str) -> str:
        return emit("Where", lowest, of_lowest, emit("Where", low, of_low, of_others))

    less = emit("Sub", small, one)
    beyond = by_range(small, less, emit("Sub", down, two))
    logarithms = emit("Add", emit("Log", small), log1p_of(emit, small, dtype))
    below = by_range(logarithms, log1p_of(emit, less, dtype), emit.constant(0, dtype))
    series = polynomial(emit, gamma_functions.lgamma_at_two()[::-1], beyond, dtype)
    return emit("Sub", emit("Add", series, emit("Log", above)), below)
