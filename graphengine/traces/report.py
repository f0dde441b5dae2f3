"""A trace as a report to read: plain text for the terminal, or Markdown with the same sections and words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from graphengine.escaping import markdown
from graphengine.traces.sentences import (
    arriving_text,
    forward_text,
    partial_text,
    product_text,
    sum_text,
    title,
    total_text,
    update_title,
)
from graphengine.traces.trace_parts import Gradient, GraphTrace, TracedLoop
from graphengine.wording import escaped

MAX_WIDTH = 60
"""A cell may be longer; the next one then follows it and is not in a column."""


class Row(NamedTuple):
    """A line of a section; a row of depth 1 belongs to the row of depth 0 above it."""

    depth: int
    cells: tuple[str, ...]


def text_report(trace: GraphTrace) -> str:
    """The report as lines of text in aligned columns, escaped for a terminal."""
    lines = [title(trace)]
    for heading, rows in _sections(trace):
        lines += [f"{heading}:", *_aligned(rows)]
    return "".join(f"{escaped(line)}\n" for line in lines)


def markdown_report(trace: GraphTrace) -> str:
    """The report in Markdown: a heading for each section, a list item for each row, equations as code."""
    lines = [f"# {markdown(title(trace))}"]
    for heading, rows in _sections(trace):
        lines += ["", f"## {markdown(heading[0].upper() + heading[1:])}", ""]
        lines += [f"{'  ' * depth}- {', '.join(map(_markdown_cell, cells))}" for depth, cells in rows]
    return "\n".join([*lines, ""])


def _markdown_cell(text: str) -> str:
    """A sentence as text, anything else as code."""
    return markdown(text) if text.endswith(".") or text.startswith("skipped") else f"`{escaped(text)}`"


def _aligned(rows: Sequence[Row]) -> Iterator[str]:
    """Rows as lines: the cells of rows of one depth form columns."""
    texts = [("    " * depth + "  " + cells[0], *cells[1:]) for depth, cells in rows]
    widths = _widths([cells[:-1] for cells in texts])  # the last cell of a row may be long
    for cells in texts:
        yield "  ".join(map(str.ljust, cells, [*widths, 0])).rstrip()


def _widths(rows: Iterable[Sequence[str]]) -> list[int]:
    """How wide the columns of rows are, which may have more or fewer cells."""
    return [min(max(map(len, column)), MAX_WIDTH) for column in zip_longest(*rows, fillvalue="")]


def _sections(trace: GraphTrace) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of each part of a trace, without those that have no rows."""
    yield from ((heading, rows) for heading, rows in _parts(trace).items() if rows)
    for loop in trace.loops:
        yield from _steps(loop)


def _parts(trace: GraphTrace) -> dict[str, list[Row]]:
    return {
        "given": [Row(0, (given.name, given.value.text, given.kind)) for given in trace.given],
        "forward": _lines(map(forward_text, trace.forward)),
        f"backward, from {trace.of}": list(_backward(trace)),
        "sums of gradients": _lines(sum_text(gradient, trace.of) for gradient in trace.several),
        "gradients": _lines(total_text(gradient, trace.of) for gradient in _wanted(trace)),
        **_update(trace),
    }


def _wanted(trace: GraphTrace) -> list[Gradient]:
    return [gradient for gradient in trace.gradients if gradient.value in trace.wrt]


def _lines(texts: Iterable[str]) -> list[Row]:
    return [Row(0, (text,)) for text in texts]


def _steps(loop: TracedLoop) -> Iterator[tuple[str, list[Row]]]:
    """The sections of the steps of a loop that are opened, and one for those that are folded between them."""
    before = 0
    for number, step in loop.opened:
        if number > before + 1:
            yield (
                f"{loop.node}, {_steps_text(before + 1, number - 1)} of {loop.steps}",
                [Row(0, (f"{loop.function}: folded.",))],
            )
        for heading, rows in _sections(step):
            yield f"{loop.node}, step {number} of {loop.steps}, {heading}", rows
        before = number


def _steps_text(first: int, last: int) -> str:
    return f"step {first}" if first == last else f"steps {first} to {last}"


def _backward(trace: GraphTrace) -> Iterator[Row]:
    for walk in trace.backward:
        yield Row(0, (f"{walk.node}: {arriving_text(walk, trace.of)}",))
        for edge in walk.edges:
            yield Row(1, (partial_text(walk, edge, trace.of), product_text(walk, edge)))
    for node, reason in trace.left_out:
        yield Row(0, (node, f"skipped: {reason}"))


def _update(trace: GraphTrace) -> dict[str, list[Row]]:
    step = trace.training
    if step is None:
        return {}
    rows = []
    for update in step.updates:
        rows += [Row(0, (forward_text(line),)) for line in update.lines]
        rows.append(Row(0, (f"{update.parameter} <- {update.new.text}",)))
        rows.append(Row(0, (update.why,)))
    return {update_title(step): rows}
