"""The table of C: ops on single numbers as expressions, with {0}, {1}, {2} for the operands."""

from __future__ import annotations

import re
from collections.abc import Mapping

ARITHMETIC: Mapping[str, str] = {
    "add": "{0} + {1}",
    "sub": "{0} - {1}",
    "mul": "{0} * {1}",
    "div": "{0} / {1}",
    "neg": "-{0}",
    "abs": "fabs({0})",
    "square": "{0} * {0}",
    "sqrt": "sqrt({0})",
    "reciprocal": "1.0 / {0}",
    "sign": "sign({0})",
    "maximum": "larger({0}, {1})",
    "minimum": "smaller({0}, {1})",
    "floor": "floor({0})",
    "ceil": "ceil({0})",
    "round": "nearbyint({0})",
    "mod": "modulo({0}, {1})",
    "equal": "{0} == {1}",
    "not_equal": "{0} != {1}",
    "less": "{0} < {1}",
    "less_equal": "{0} <= {1}",
    "greater": "{0} > {1}",
    "greater_equal": "{0} >= {1}",
    "isfinite": "isfinite({0}) != 0",
    "logical_and": "{0} && {1}",
    "logical_or": "{0} || {1}",
    "logical_not": "!{0}",
    "where": "{0} ? {1} : {2}",
    "cast": "{0}",
    "zeros_like": "0",
    "ones_like": "1",
}
"""Ops that IEEE 754 defines to the last bit."""

OF_THE_LIBRARY: Mapping[str, str] = {
    **{name: f"{name}({{0}})" for name in ("exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan")},
    **{name: f"{name}({{0}})" for name in ("sinh", "cosh", "tanh", "erf")},
    **{f"arc{name}": f"a{name}({{0}})" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "arctan2": "atan2({0}, {1})",
    "pow": "pow({0}, {1})",
    "hypot": "hypot({0}, {1})",
}
"""Ops whose last bits depend on the mathematical library."""

EXPRESSIONS = {**ARITHMETIC, **OF_THE_LIBRARY}
"""What is written for an op of each element."""

HELPERS: Mapping[str, str] = {
    "sign": "static double sign(double x) { return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x == 0.0 ? 0.0 : x; }",
    "larger": "static double larger(double x, double y) { return x >= y || isnan(x) ? x : y; }",
    "smaller": "static double smaller(double x, double y) { return x <= y || isnan(x) ? x : y; }",
    "modulo": """\
/* The remainder with the sign of y. */
static double modulo(double x, double y) {
    double r = fmod(x, y);
    if (r == 0.0) return copysign(0.0, y);
    return (y < 0.0) != (r < 0.0) ? r + y : r;
}""",
    "pairwise": """\
/* The sum of n numbers in the order in which NumPy adds them: in pairs of halves, eight at a time. */
static double pairwise(const double *x, long n) {
    if (n > 128) {
        long half = n / 2 - n / 2 % 8;
        return pairwise(x, half) + pairwise(x + half, n - half);
    }
    double sum = -0.0;
    long i = 0;
    if (n >= 8) {
        double r[8];
        for (int k = 0; k < 8; k++) r[k] = x[k];
        for (i = 8; i < n - n % 8; i += 8)
            for (int k = 0; k < 8; k++) r[k] += x[i + k];
        sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    }
    for (; i < n; i++) sum += x[i];
    return sum;
}""",
    "euclidean": """\
/* The root of the sum of squares, of numbers divided by the largest, so that no square leaves the range. */
static double euclidean(const double *x, long n) {
    double largest = 0.0, sum = 0.0;
    for (long i = 0; i < n; i++) largest = larger(largest, fabs(x[i]));
    if (largest == 0.0 || !isfinite(largest)) return largest;
    for (long i = 0; i < n; i++) sum += (x[i] / largest) * (x[i] / largest);
    return largest * sqrt(sum);
}""",
}
"""Functions that the expressions and loops call; one that calls another comes after it."""


def helpers_of(text: str) -> list[str]:
    """Return the helpers that a text calls, with those that they call."""
    found: dict[str, str] = {}
    for name, helper in reversed(list(HELPERS.items())):
        if any(re.search(rf"\b{name}\(", each) for each in (text, *found.values())):
            found[name] = helper
    return [helper for name, helper in HELPERS.items() if name in found]
