"""docs/add_an_op.md is carried out on a copy of the package: two files change, and everything follows."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from test_docs import assert_shown

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "add_an_op.md").read_text(encoding="utf-8")
CLASS, ROW = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
NAME = re.search(r'@register\("(\w+)"', CLASS)[1]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the package with the class at the end of its family's module and the entry in the table."""
    folder = tmp_path_factory.mktemp("copy")
    for name in ("graphengine", "tests", "docs", "models"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    family, table = re.findall(r"`((?:graphengine/ops/families|tests/samples)/\w+\.py)`", PAGE)[:2]
    with (folder / family).open("a", encoding="utf-8") as module:
        module.write(f"\n\n{CLASS}")
    entries = (folder / table).read_text(encoding="utf-8")
    (folder / table).write_text(entries.replace("TABLE = {\n", f"TABLE = {{\n{ROW}"), encoding="utf-8")
    return folder


def run(folder, *command):
    """What a Python command prints in the copy."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def shown(command):
    """What the page shows below a command."""
    return re.search(rf"^\$ .*{re.escape(command)}.*\n((?:(?!```|\$).*\n)*)", PAGE, re.MULTILINE)[1]


def test_all_laws_hold_for_the_new_op(extended):
    tests = re.search(r"pytest -q (.+)", PAGE)[1].split()
    laws = run(extended, "-m", "pytest", "-v", "-p", "no:cacheprovider", *tests[:-1], f"{NAME} or hypot")
    held, expected = [set(re.findall(rf"::(\w+)\[.*{op}.*PASSED", laws)) for op in (NAME, "hypot")]
    assert held == expected
    assert len(held) > 15
    assert "failed" not in laws


def test_the_command_line_the_schema_and_the_page_of_ops_know_the_new_op(extended):
    assert_shown(shown(f"ops {NAME}"), run(extended, "-m", "graphengine", "ops", NAME), "add_an_op.md")
    run(extended, "docs/generate.py")
    assert shown("docs/generate.py") in (extended / "docs" / "ops.md").read_text(encoding="utf-8")
    schema = orjson.loads(run(extended, "-m", "graphengine", "schema"))
    assert f'"{NAME}"'.encode() in orjson.dumps(schema)
