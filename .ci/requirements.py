"""What pyproject.toml declares: the oldest versions of what the tests use, and the extras with heavy packages.

python .ci/requirements.py oldest    numpy==2.0, ..., one a line
python .ci/requirements.py heavy     jit,onnx: one list for pip, empty if there are none
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

DECLARED = re.compile(r"([\w.-]+)>=([\w.]+)")
TOOLS = ("test", "browser", "lint", "docs", "package", "coverage")
"""Extras that other stages install."""


def oldest(project: Mapping[str, Any]) -> list[str]:
    """Return the packages of `[test]` in their oldest declared versions.

    Raises
    ------
    ValueError
        If a package has no oldest version.
    """
    requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    found = {}
    for requirement in requirements:
        declared = DECLARED.fullmatch(requirement)
        if declared is None:
            raise ValueError(f"{requirement}: an oldest version is missing, such as {requirement}>=1.0")
        found[declared[1]] = f"{declared[1]}=={declared[2]}"
    return list(found.values())


def heavy(project: Mapping[str, Any]) -> list[str]:
    """Return the extras with packages that no other stage installs."""
    extras = project["optional-dependencies"]
    known = {name for tool in TOOLS for name in _names(extras.get(tool, ()))}
    return [extra for extra, requirements in extras.items() if not _names(requirements) <= known]


def _names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in requirements}


if __name__ == "__main__":
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    print(*(oldest if sys.argv[1] == "oldest" else heavy)(project), sep="\n" if sys.argv[1] == "oldest" else ",")
