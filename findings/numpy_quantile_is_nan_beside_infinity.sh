#!/usr/bin/env bash
# NumPy 2.4.6, Python 3.11: a quantile that falls exactly on a finite sample is NaN when its neighbor is infinite.
#
# The median of [1, 2, inf] is 2, and `np.median` returns it. `np.quantile` and `np.percentile` at 0.5 return NaN: the
# default method interpolates between the sample it needs, with weight 1, and the next one, with weight 0, and 0 * inf
# is NaN. The same holds for any quantile with an infinite sample beside it. The methods that do not interpolate
# ("lower", "inverted_cdf") return 2.
# Seen: median 2.0, quantile nan, percentile nan, with method="lower" 2.0; quantile 0.25 of [0, 1, 2, 3, inf] is 1.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import warnings

import numpy as np

samples = np.array([1.0, 2.0, np.inf])
with warnings.catch_warnings(action="ignore"):
    print(np.median(samples), np.quantile(samples, 0.5), np.percentile(samples, 50))
    assert np.median(samples) == 2
    assert np.isnan(np.quantile(samples, 0.5))
    assert np.isnan(np.percentile(samples, 50))
assert np.quantile(samples, 0.5, method="lower") == 2
assert np.quantile([0, 1, 2, 3, np.inf], 0.25) == 1
PY
