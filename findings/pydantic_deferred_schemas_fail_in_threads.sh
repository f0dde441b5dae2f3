#!/usr/bin/env bash
# pydantic 2.11.0, Python 3.11: a class with `defer_build=True` cannot be used by several threads at first.
#
# With this setting the schema of a class is made at its first use, as it is for a class whose annotations are not yet
# defined. Until it is made, the class has no validator of its own. A thread that validates while another one makes the
# schema finds the validator of the base class, and raises PydanticUserError "BaseModel cannot be instantiated directly",
# about a class that is a subclass; or AttributeError, because the other thread has removed an attribute. One thread, or
# one use before the threads start, is enough to avoid it. Versions 2.12 and 2.13 fail more rarely; 2.14 makes schemas
# under a lock (issue 13419).
# Seen: with 2.11.0 some 1,390 of 1,600 validations of 200 classes by 8 threads fail, none after a first use; with 2.14.4
# none at all.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/together.py" <<'PY'
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from pydantic import VERSION, ConfigDict, create_model

THREADS = 8
sys.setswitchinterval(1e-6)


def deferred(name, kind):
    fields = {f"field{place}": (kind, None) for place in range(15)}
    return create_model(name, __config__=ConfigDict(defer_build=True), **fields)


def outcome(cls, together):
    together.wait()
    try:
        cls.model_validate({})
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition(",")[0]
    return "valid"


found = Counter()
with ThreadPoolExecutor(THREADS) as pool:
    for number in range(200):
        cls = deferred(f"Outer{number}", deferred(f"Inner{number}", int | None) | None)
        if sys.argv[1:] == ["before"]:
            cls.model_validate({})
        together = Barrier(THREADS)
        found.update(pool.map(lambda _: outcome(cls, together), range(THREADS)))
print(VERSION, *sys.argv[1:], dict(found))
failed = found["PydanticUserError: Pydantic models should inherit from BaseModel"]
if VERSION == "2.11.0" and sys.argv[1:] != ["before"]:
    assert failed > 100
else:
    assert found == {"valid": 200 * THREADS}
PY
for version in 2.11.0 2.14.4; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install -q --disable-pip-version-check pydantic=="$version"
    "$folder/$version/bin/python" -W error "$folder/together.py"
    "$folder/$version/bin/python" -W error "$folder/together.py" before
done
