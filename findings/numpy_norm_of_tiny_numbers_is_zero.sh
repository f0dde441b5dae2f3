#!/usr/bin/env bash
# NumPy 2.4.6 and SciPy 1.17.1, Python 3.11: `numpy.linalg.norm` of small finite numbers is 0, of large ones infinity.
#
# The Euclidean norm of [1e-200, 1e-200] is 1.4e-200, well inside float64. NumPy squares before it adds, so the squares
# underflow to 0 (or overflow to infinity for 1e200), without an error; for the small numbers without a warning either.
# `scipy.linalg.norm`, which has the same name and meaning, calls BLAS's nrm2, which scales, and returns the right value
# for both. A gradient clipped or a vector normalized by NumPy's norm becomes 0 / 0.
# Seen: numpy 0.0 and inf, scipy 1.414213562373095e-200 and 1.414213562373095e+200.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/python" - <<'PY'
import math

import numpy as np
import scipy.linalg

small, large = np.array([1e-200, 1e-200]), np.array([1e200, 1e200])
with np.errstate(all="raise", over="ignore", under="ignore"):
    print(np.linalg.norm(small), scipy.linalg.norm(small), np.linalg.norm(large), scipy.linalg.norm(large))
    assert np.linalg.norm(small) == 0
    assert np.linalg.norm(large) == math.inf
assert math.isclose(scipy.linalg.norm(small), math.hypot(1e-200, 1e-200), rel_tol=1e-14)
assert math.isclose(scipy.linalg.norm(large), math.hypot(1e200, 1e200), rel_tol=1e-14)
PY
