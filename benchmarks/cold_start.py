"""Cold start: whole processes, from the command to its end, in turns: seconds, processor seconds, peak memory.

Processor seconds say more on a machine that others use, too.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.harness import DisagreementError, Goal, Options, Row, Table

ROOT = Path(__file__).resolve().parents[1]
RUN = ["-m", "graphengine", "run", "models/linreg.json"]
HELP, RUN_LINREG = "graphengine --help", "graphengine run models/linreg.json"
HUBBLE = 2502739000 / 5903559
COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import numpy, pydantic, networkx, typer": ["-c", "import numpy, pydantic, networkx, typer"],
    "import graphengine": ["-c", "import graphengine"],
    HELP: ["-m", "graphengine", "--help"],
    RUN_LINREG: RUN,
}
GOALS = [Goal(HELP, 1.3), Goal(RUN_LINREG, 4.0)]
MOST_MEMORY = 60 * 2**20
"""Bytes that a run may have at its peak."""


def run(options: Options) -> list[Table]:
    """Time, processor time and peak memory per process, with `import numpy` as the reference."""
    skipped = {name: why for name, command in COMMANDS.items() if (why := failure(command))}
    names = [name for name in COMMANDS if name not in skipped]
    if RUN_LINREG in names:
        verify()
    wall, processor, memory = ([Row(name, "process", [], name == "import numpy") for name in names] for _ in range(3))
    memory.append(Row("the limit", "limit", [MOST_MEMORY]))
    for _ in range(options.rounds):
        for index, name in enumerate(names):
            for rows, value in zip((wall, processor, memory), measured(COMMANDS[name]), strict=True):
                rows[index].values.append(value)
    return [
        Table("cold start", "ms", "process", wall, skipped, GOALS),
        Table("cold start, processor time", "ms", "process", processor, skipped, GOALS),
        Table("cold start, peak memory", "MB", "process", memory, skipped, [Goal(RUN_LINREG, 1.0, "the limit")]),
    ]


def measured(arguments: list[str], **variables: str) -> tuple[float, float, float]:
    """Return the seconds, the processor seconds and the peak memory in bytes of one process with further variables.

    Raises
    ------
    DisagreementError
        If it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**environment(), **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise DisagreementError(f"{' '.join(arguments)}: exit code {process.returncode}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def environment() -> dict[str, str]:
    """The variables of a process that runs compiled modules, as those of an installed package are."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def start_process(arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, and further variables, in the root of the repository."""
    command, given = [sys.executable, *arguments], {**environment(), **variables}
    return subprocess.run(command, cwd=ROOT, env=given, capture_output=True, text=True, check=False)


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
