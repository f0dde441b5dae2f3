#!/usr/bin/env bash
# pandas 3.1.1, Python 3.11: with `thousands="."` a column of dates such as 12.03.1999 becomes integers, silently.
#
# A table in the German form needs `sep=";", decimal=",", thousands="."`. The separator of thousands is then removed from
# any text, wherever it is in a number, and not only between groups of three digits: 12.03.1999 is read as 12031999, and
# 01.11.2001 as 1112001, which has lost a digit. There is no warning, and the column looks like a number to whatever
# comes next. Both the C and the Python engine do so. Naming the column in `parse_dates` reads the same texts as dates.
# Seen: dtype int64 with 12031999 and 1112001; with parse_dates and the format the dates are right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pandas==3.1.1
"$folder/venv/bin/python" -W error - <<'PY'
import io

import pandas as pd

TABLE = "day;amount\n12.03.1999;1.234,5\n01.11.2001;17,25\n"
GERMAN = {"sep": ";", "decimal": ",", "thousands": "."}

for engine in ("c", "python"):
    read = pd.read_csv(io.StringIO(TABLE), engine=engine, **GERMAN)
    print(engine, read["day"].dtype, read["day"].tolist(), read["amount"].tolist())
    assert read["day"].tolist() == [12031999, 1112001]
    assert pd.api.types.is_integer_dtype(read["day"])
    assert read["amount"].tolist() == [1234.5, 17.25]

dated = pd.read_csv(io.StringIO(TABLE), parse_dates=["day"], date_format="%d.%m.%Y", **GERMAN)
print(dated["day"].tolist())
assert dated["day"].tolist() == [pd.Timestamp("1999-03-12"), pd.Timestamp("2001-11-01")]
PY
