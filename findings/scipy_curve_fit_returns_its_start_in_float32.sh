#!/usr/bin/env bash
# SciPy 1.17.1, Python 3.11: `curve_fit` returns its start as the result when the model computes in float32.
#
# The derivatives are differences with a step of about 1.5e-8 relative, chosen for float64. A model function that rounds
# its parameter to float32 (as a network or a GPU kernel does) does not see a step below 6e-8, so every difference is 0.
# `curve_fit` then returns p0 unchanged. It raises nothing: without bounds it warns that the covariance could not be
# estimated, which reads as a matter of the errors; `full_output` reports success (ier 1 to 4).
# Seen: exp(b x) with b = 2, started at 1: popt [1.], an infinite covariance, a success code; computed in float64: 2.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PY'
import warnings

import numpy as np
from scipy.optimize import curve_fit

x = np.linspace(0, 1, 20)
y = np.exp(2 * x)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    found, covariance, _, message, code = curve_fit(
        lambda x, b: np.exp(np.float32(b) * x), x, y, p0=[1.0], full_output=True
    )
print(found, covariance, code, message.splitlines()[0], [str(warning.message) for warning in caught])
assert found[0] == 1.0
assert np.isinf(covariance).all()
assert code in (1, 2, 3, 4)
assert abs(curve_fit(lambda x, b: np.exp(b * x), x, y, p0=[1.0])[0][0] - 2) < 1e-6
PY
