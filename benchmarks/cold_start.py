"""Cold start: whole processes, from the command to its end, in turns."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import DisagreementError, Options, Row, Table

ROOT = Path(__file__).resolve().parents[1]
RUN = ["-m", "graphengine", "run", "models/linreg.json"]
HUBBLE = 2502739000 / 5903559
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import graphengine": ["-c", "import graphengine"],
    "graphengine --help": ["-m", "graphengine", "--help"],
    "graphengine run models/linreg.json": RUN,
}


def run(options: Options) -> list[Table]:
    """ms per process, with `import numpy` as the reference."""
    skipped = {name: why for name, command in COMMANDS.items() if (why := failure(command))}
    rows = [Row(name, "process", [], name == "import numpy") for name in COMMANDS if name not in skipped]
    if "graphengine run models/linreg.json" not in skipped:
        verify()
    for _ in range(options.rounds):
        for row in rows:
            start = time.perf_counter()
            start_process(COMMANDS[row.name])
            row.values.append(time.perf_counter() - start)
    return [Table("cold start", "ms", "process", rows, skipped)]


def start_process(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in the root of the repository, from compiled modules as an installed package."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def failure(command: list[str]) -> str | None:
    """Why a command does not run, None if it does."""
    done = start_process(command)
    return f"exit code {done.returncode}: {done.stderr.strip().splitlines()[-1:]}" if done.returncode else None


def verify() -> None:
    """The run must have learned the Hubble constant.

    Raises
    ------
    DisagreementError
        If it has not.
    """
    theta = json.loads(start_process([*RUN, "--format", "json"]).stdout)["parameters"]["theta"]
    if not math.isclose(theta, HUBBLE, rel_tol=1e-6):
        raise DisagreementError(f"'run models/linreg.json' learned {theta}, not {HUBBLE}")
