"""The public names have types that are known and that all type checkers see alike (`pyright --verifytypes`)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import graphengine as ge

PACKAGE = Path(ge.__file__).parent
UNTYPED = "graphengine.ops.families."
"""Node classes read like a textbook: forward and backward take and give arrays, and have nothing to annotate."""


def verified(folder):
    """What pyright reports of each symbol, by its full name."""
    pytest.importorskip("pyright")
    command = [sys.executable, "-m", "pyright", "--verifytypes", "graphengine", "--ignoreexternal", "--outputjson"]
    where = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}  # an installation in place has no py.typed for pyright
    found = subprocess.run(
        [*command, "--pythonpath", sys.executable], capture_output=True, check=False, cwd=folder, env=where
    )
    return {symbol["name"]: symbol for symbol in json.loads(found.stdout)["typeCompleteness"]["symbols"]}


def test_every_public_name_has_a_known_type(tmp_path):
    symbols = verified(tmp_path)
    homes = [f"graphengine.{module}.{name}" for name, module in ge._HOME.items()]
    homes += [f"graphengine.{module}" for module in ge._MODULES.values()]
    members = {name for name in symbols for home in homes if name == home or name.startswith(f"{home}.")}
    public = {name for name in members if not name.startswith(UNTYPED)} | {f"graphengine.{name}" for name in ge.__all__}
    assert len(public & symbols.keys()) > 500
    unknown = [
        f"{name}: {[each['message'] for each in symbols[name]['diagnostics']][:1]}"
        for name in sorted(public & symbols.keys())
        if not symbols[name]["isTypeKnown"] or symbols[name]["isTypeAmbiguous"]
    ]
    assert unknown == []
