#!/usr/bin/env bash
# NumPy 2.4.6, Python 3.11: x ** 0.5 is another number for -infinity and -0.0 when the exponent is an array.
#
# With one exponent for all elements `numpy.power` and `**` take the square root instead of the power. C99 and IEEE 754
# (pow) say (-inf) ** 0.5 = inf and (-0.0) ** 0.5 = 0.0, the square roots are NaN and -0.0. So the result depends on the
# shape of the exponent, on whether a number is a NumPy scalar or in an array, and on whether the function or the
# operator is called. Python's `math.pow` follows the standard.
# Seen: inf and 0.0 from an array of exponents and from numpy.float64 ** 0.5, NaN and -0.0 from the exponent 0.5 beside
# an array and from numpy.power of two numbers.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import math

import numpy as np

np.seterr(all="ignore")
x = np.array([-np.inf, -0.0])
halves = np.power(x, np.full(2, 0.5))
half = np.power(x, 0.5)
print("array of exponents:", halves, "one exponent:", half, "scalars:", np.float64(-np.inf) ** 0.5, np.power(-np.inf, 0.5))
assert halves[0] == np.inf and not np.signbit(halves[1])
assert np.isnan(half[0]) and np.signbit(half[1])
assert np.isnan((x**0.5)[0]) and np.float64(-np.inf) ** 0.5 == np.inf and np.isnan(np.power(-np.inf, 0.5))
assert math.pow(-math.inf, 0.5) == math.inf and math.copysign(1, math.pow(-0.0, 0.5)) == 1
PY
