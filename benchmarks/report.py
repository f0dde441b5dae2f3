"""Tables for people and one JSON object for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from benchmarks.harness import UNITS, Row, Table

PACKAGES = (
    "numpy",
    "torch",
    "jax",
    "autograd",
    "micrograd",
    "pytensor",
    "numba",
    "onnx",
    "pydantic",
    "networkx",
    "orjson",
)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def as_text(table: Table) -> str:
    """A table in plain text: minimum, median, ratio to the reference, then what is to be said about it."""
    header = (table.title, "minimum", "median", "ratio")
    cells = [header, *[_cells(row, table) for row in table.rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [_aligned(row, widths) for row in cells]
    lines.insert(1, "-" * len(lines[0]))
    lines.append(f"{table.unit} per {table.per}; ratio of minima to the fastest reference (*)")
    lines += [f"skipped: {name}: {why}" for name, why in table.skipped.items()]
    lines += table.notes
    for goal, ratio in table.results():
        word = "held" if ratio <= goal.at_most else "MISSED"
        lines.append(f"goal {word}: {goal}: {ratio:.2f}")
    return "\n".join(lines)


def _cells(row: Row, table: Table) -> tuple[str, ...]:
    scale = UNITS[table.unit]
    ratio = f"{row.minimum / table.base:.2f}" if table.base else ""
    return row.name + " *" * row.reference, _number(row.minimum * scale), _number(row.median * scale), ratio


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers = cells
    return "  ".join([name.ljust(widths[0]), *[cell.rjust(w) for cell, w in zip(numbers, widths[1:], strict=True)]])


def as_json(tables: Sequence[Table]) -> str:
    """All tables as one JSON object."""
    return json.dumps({"machine": machine(), "tables": [_as_dict(table) for table in tables]}, indent=2)


def _as_dict(table: Table) -> dict[str, Any]:
    scale = UNITS[table.unit]
    return {
        "title": table.title,
        "unit": f"{table.unit} per {table.per}",
        "rows": [
            {
                "contender": row.name,
                "kind": row.kind,
                "reference": row.reference,
                "minimum": row.minimum * scale,
                "median": row.median * scale,
                "ratio": row.minimum / table.base if table.base else None,
                "rounds": len(row.values),
            }
            for row in table.rows
        ],
        "skipped": table.skipped,
        "notes": table.notes,
        "goals": [
            {
                "contender": g.contender,
                "against": g.against,
                "at_most": g.at_most,
                "got": ratio,
                "held": ratio <= g.at_most,
            }
            for g, ratio in table.results()
        ],
    }
