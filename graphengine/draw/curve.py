"""The loss curve of a training in a terminal, and as a picture file."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from graphengine.errors import UsageError
from graphengine.extras import optional
from graphengine.format.files import write_bytes
from graphengine.training.history import History

BLOCKS = " ▁▂▃▄▅▆▇█"
FORMATS = (".png", ".svg", ".pdf")


def terminal_curve(losses: Sequence[float], width: int = 72, height: int = 8) -> str:
    """A loss curve in block characters, with its greatest and least value; logarithmic if all losses are positive.

    Batches without a loss, NaN, are left out.
    """
    losses = [loss for loss in losses if not math.isnan(loss)]
    if not losses:
        return "no loss is a number"
    return _logarithmic_curve(losses, width, height) if min(losses) > 0 else _linear_curve(losses, width, height)


def _logarithmic_curve(losses: Sequence[float], width: int, height: int) -> str:
    values = _columns(list(map(math.log10, losses)), width)
    return _curve(values, (10 ** max(values), 10 ** min(values)), height)


def _linear_curve(losses: Sequence[float], width: int, height: int) -> str:
    values = _columns(losses, width)
    return _curve(values, (max(values), min(values)), height)


def _curve(values: Sequence[float], ends: Sequence[float], height: int) -> str:
    """Values as blocks between their greatest and least, beside the numbers that these are shown as."""
    low, room = min(values), max(values) - min(values) or 1
    rows = _rows_of_blocks([(value - low) / room for value in values], height)
    return "\n".join(_beside_labels(rows, [f"{end:.4g}" for end in ends]))


def _beside_labels(rows: Sequence[str], labels: Sequence[str]) -> Iterator[str]:
    """Rows with the labels of the first and the last at their left."""
    margin = max(map(len, labels))
    texts = [labels[0], *[""] * (len(rows) - 2), labels[1]]
    return (f"{text:>{margin}} |{row.rstrip()}" for text, row in zip(texts, rows, strict=False))


def _rows_of_blocks(shares: Sequence[float], height: int) -> list[str]:
    """Columns that reach so far up, from 0 to 1, as rows of block characters."""
    steps = [1 + round(share * (8 * height - 1)) for share in shares]
    return ["".join(BLOCKS[min(max(step - 8 * row, 0), 8)] for step in steps) for row in reversed(range(height))]


def _columns(values: Sequence[float], width: int) -> list[float]:
    """The means of at most `width` equal parts of a sequence."""
    count = min(width, len(values))
    edges = [round(index * len(values) / count) for index in range(count + 1)]
    return [math.fsum(values[start:stop]) / (stop - start) for start, stop in itertools.pairwise(edges)]


def check_format(path: Path) -> None:
    """Refuse a file of which no picture can be made, before a training that it is to show.

    Raises
    ------
    UsageError
        GE801 for another suffix, GE803 if matplotlib is not installed.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a curve is written as {', '.join(FORMATS)}")
    optional("matplotlib.figure", "plot")


def save_curve(history: History, path: Path) -> None:
    """Write the loss curve as PNG, SVG or PDF, by the suffix of `path`; raises as `check_format` and `write_bytes`."""
    check_format(path)
    figure = optional("matplotlib.figure", "plot").Figure(figsize=(7, 4), layout="constrained")
    history.plot(figure.add_subplot())
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.lower().removeprefix("."))
    write_bytes(path, drawn.getvalue())
