#!/usr/bin/env bash
# pyarrow 26.0.1 and pandas 3.1.1, Python 3.11: the CSV reader of pyarrow takes "0x10" for the integer 16.
#
# Inferring the types of a CSV file, pyarrow reads a cell that begins with 0x as a hexadecimal integer, also in a column
# whose other cells are decimal, and needs no option for it. The same file is text for pandas' own parser and for
# Python's `int`. An identifier such as 0x10 beside 7 becomes a number, and its spelling is lost. A sign makes the
# difference: "+5" is not an integer for pyarrow, and the column becomes float64.
# Seen: [16, 7] as int64; pandas' C parser returns ["0x10", "7"]; the column ["+5", "6"] is double.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pyarrow==26.0.1 pandas==3.1.1
"$folder/venv/bin/python" -W error - <<'PY'
import io

import pandas as pd
import pyarrow as pa
from pyarrow import csv

text = b"code\n0x10\n7\n"
column = csv.read_csv(io.BytesIO(text))["code"]
print(column.type, column.to_pylist(), pd.read_csv(io.BytesIO(text))["code"].tolist())
assert column.type == pa.int64()
assert column.to_pylist() == [16, 7]
assert pd.read_csv(io.BytesIO(text))["code"].tolist() == ["0x10", "7"]
assert csv.read_csv(io.BytesIO(b"code\n+5\n6\n"))["code"].type == pa.float64()
PY
