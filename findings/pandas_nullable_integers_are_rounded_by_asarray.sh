#!/usr/bin/env bash
# pandas 3.1.1 with NumPy 2.4.6, Python 3.11: an Int64 column with a missing value reaches NumPy as rounded doubles.
#
# The nullable dtype Int64 keeps integers of 64 bits exact beside a missing value, and the column itself computes with
# them. `np.asarray(column)` and `column.to_numpy()`, which every library that takes array-likes calls, give float64 all
# the same: 2^53 + 1 becomes 2^53, without an error or a warning, and two keys become one. Without the missing value the
# array is int64 and exact. `to_numpy(dtype=object)` keeps the integers.
# Seen: asarray gives [9007199254740992.0, nan] for [9007199254740993, NA]; column.sum() is 9007199254740993.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pandas==3.1.1 numpy==2.4.6
"$folder/venv/bin/python" -W error - <<'EOF'
import numpy as np
import pandas as pd
column = pd.Series([2**53 + 1, None], dtype="Int64")
array = np.asarray(column)
print(array.tolist(), array.dtype, column.sum(), column.to_numpy(dtype=object)[0])
assert array.dtype == np.float64 and array[0] == 2**53
assert column.to_numpy()[0] == 2**53
assert column.sum() == 2**53 + 1 == column.to_numpy(dtype=object)[0]
assert np.asarray(column[:1]).tolist() == [2**53 + 1]
assert np.asarray(pd.Series([2**53, 2**53 + 1, None], dtype="Int64")).tolist()[:2] == [2.0**53] * 2
EOF
