"""The line of a file in which a problem lies, with a mark under the place, for people at a terminal."""

from __future__ import annotations

import re
from pathlib import Path

from graphengine.errors import Problem
from graphengine.wording import escaped

WIDTH = 100
"""Of a longer line only the part around the place is shown."""
MOST_BYTES = 64 * 2**20

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"?|[^\s,:\[\]{}"]+|.')


def excerpt(problem: Problem) -> list[str]:
    """The line with its number, and below it carets under what is wrong; nothing if there is no such line any more."""
    if problem.file is None or problem.line is None or problem.column is None:
        return []
    line = _line(Path(problem.file), problem.line)
    if line is None or problem.column > len(line) + 1:
        return []
    before, here, after = _parts(line, problem.column - 1)
    number = str(problem.line)
    return [
        f"  {number} | {before}{here}{after}",
        f"  {' ' * len(number)} | {' ' * _columns(before)}{'^' * max(1, _columns(here))}",
    ]


def _parts(line: str, place: int) -> tuple[str, str, str]:
    """What is at a place of a line, and what of the line is shown before and after it."""
    found = _TOKEN.match(line, place)
    token = found[0] if found else ""
    start = max(0, min(place - WIDTH // 3, len(line) - WIDTH))
    before, here = "... " * bool(start) + escaped(line[start:place]), escaped(token[:WIDTH])[: WIDTH // 2]
    after = escaped(line[place + len(token) :][:WIDTH])
    return before, here, after[: max(0, WIDTH - len(before) - len(here))]


def _line(path: Path, number: int) -> str | None:
    """A line of a text file, as far as it can be read."""
    try:
        if not path.is_file():  # a pipe has given what it had
            return None
        with path.open("rb") as file:
            lines = file.read(MOST_BYTES).split(b"\n", number)
    except OSError:
        return None
    return lines[number - 1].decode(errors="replace").removeprefix("\ufeff") if number <= len(lines) else None


def _columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)
