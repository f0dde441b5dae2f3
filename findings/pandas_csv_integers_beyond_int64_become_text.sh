#!/usr/bin/env bash
# pandas 3.1.1, Python 3.11: one negative number turns a CSV column of large integers into text.
#
# `read_csv` reads a column with 9223372036854775808 (2^63) as uint64. With -1 in the same column neither int64 nor
# uint64 holds both, and the column becomes strings, without a warning: not float64, and not Python integers, which
# 18446744073709551616 (2^64) beside 1 gives in the same version. Three columns of whole numbers get three kinds of
# values, and arithmetic on one of them joins texts.
# Seen: uint64; strings ["9223372036854775808", "-1"]; object with Python integers [18446744073709551616, 1].
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pandas==3.1.1
"$folder/venv/bin/python" -W error - <<'PY'
import io

import pandas as pd


def column(*cells):
    return pd.read_csv(io.StringIO("\n".join(["a", *cells, ""])))["a"]


unsigned, mixed, larger = column(str(2**63), "1"), column(str(2**63), "-1"), column(str(2**64), "1")
for read in (unsigned, mixed, larger):
    print(read.dtype, read.tolist())
assert unsigned.dtype == "uint64"
assert mixed.tolist() == ["9223372036854775808", "-1"]
assert mixed.sum() == "9223372036854775808-1"
assert larger.tolist() == [2**64, 1]
PY
