#!/usr/bin/env bash
# pyarrow 26.0.1 and polars 2.1.0, Python 3.11: the sum of an int64 column wraps around silently.
#
# `pyarrow.compute.sum` and polars' `Series.sum` add 64-bit integers in 64 bits. 2^63 - 1 and 1 give -2^63: no error, no
# null. pyarrow has checked variants of its arithmetic (`add_checked` raises for the same two numbers), but none of `sum`.
# Both libraries widen smaller types, so that a sum of int8 is right, which makes the last step the surprising one.
# Seen: -9223372036854775808 from both; add_checked raises ArrowInvalid; there is no sum_checked.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0
"$folder/venv/bin/python" -W error - <<'PY'
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

numbers = [2**63 - 1, 1]
print(pc.sum(pa.array(numbers)).as_py(), pl.Series(numbers).sum())
assert pc.sum(pa.array(numbers)).as_py() == -(2**63)
assert pl.Series(numbers).sum() == -(2**63)
assert pc.sum(pa.array([127, 1], pa.int8())).as_py() == 128
assert pl.Series([127, 1], dtype=pl.Int8).sum() == 128
try:
    pc.add_checked(pa.scalar(numbers[0]), pa.scalar(numbers[1]))
except pa.ArrowInvalid as error:
    print("add_checked:", error)
else:
    raise AssertionError("add_checked does not raise")
assert "sum_checked" not in pc.list_functions()
PY
