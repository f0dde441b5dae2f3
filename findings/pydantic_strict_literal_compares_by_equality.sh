#!/usr/bin/env bash
# pydantic 2.14.4, Python 3.11: a strict Literal of integers accepts values of other types that are equal.
#
# In strict mode pydantic converts nothing: an int field refuses True and 2.0. A field Literal[1, 2] of the same strict
# model accepts both, because members of a Literal are looked up by equality: True becomes 1. 2.0 becomes 2. The value
# that was given is replaced by the member of the Literal, so nobody sees afterwards that another type was passed.
# Seen: the int field raises int_type for both values; the Literal field returns 1 for True and 2 for 2.0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q 'pydantic==2.14.4'
"$folder/env/bin/python" - <<'PY'
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)


class Number(Strict):
    value: int


class Choice(Strict):
    value: Literal[1, 2]


for given in (True, 2.0):
    try:
        Number.model_validate({"value": given})
    except ValidationError as error:
        assert error.errors()[0]["type"] == "int_type", error
    else:
        raise AssertionError(f"a strict int accepts {given!r}")
    found = Choice.model_validate({"value": given}).value
    print(f"strict Literal[1, 2] of {given!r}: {found!r}")
    assert found == given, found
    assert type(found) is int, type(found)
PY
