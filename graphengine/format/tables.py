"""Checks what a file says about tables: categories, missing values, storage, and statistics of the training rows."""

from __future__ import annotations

from collections.abc import Iterator

from graphengine.errors import Problem, make_pointer
from graphengine.format.documents import ModelDocument, OutputDocument
from graphengine.format.from_rows import statistic_problems
from graphengine.ir.graph import Graph


def table_problems(document: ModelDocument, graph: Graph) -> Iterator[Problem]:
    """Yield what does not fit together in inputs and outputs of a table."""
    for name, declared in graph.inputs.items():
        if declared.missing and declared.type.array_dtype.kind != "f":
            message = f"input '{name}' is {declared.type}, which has no NaN for missing values"
            hint = "give it a floating-point dtype" if not declared.categories else 'give "unknown" an index'
            yield Problem("GE112", message, hint, make_pointer(("inputs", name, "missing")))
        if declared.units and (declared.categories or declared.type.array_dtype.kind not in "fi"):
            what = "has categories" if declared.categories else f"is {declared.type}"
            message = f"input '{name}' has units of dates, and {what}"
            hint = "dates are floating-point numbers or integers"
            yield Problem("GE112", message, hint, make_pointer(("inputs", name, "units")))
    yield from _storage_problems(graph)
    for name, output in document.outputs.items():
        if isinstance(output, OutputDocument):
            yield from _output_problems(name, output, graph)
    yield from statistic_problems(graph)


def _storage_problems(graph: Graph) -> Iterator[Problem]:
    for section, sources in (("inputs", graph.inputs), ("parameters", graph.parameters)):
        for name, declared in sources.items():
            if declared.storage and declared.type.array_dtype.kind != "f":
                message = f"'{name}' is {declared.type}, and {declared.storage} stores floating-point numbers"
                yield Problem("GE112", message, 'remove "storage"', make_pointer((section, name, "storage")))


def _output_problems(name: str, output: OutputDocument, graph: Graph) -> Iterator[Problem]:
    source, kind = graph.inputs.get(output.categories), graph.types.get(graph.meaning(output.value))
    if source is None or kind is None:
        return
    if source.categories is None:
        message = f"output '{name}': input '{output.categories}' has no categories"
        yield Problem("GE112", message, None, make_pointer(("outputs", name, "categories")))
    elif kind.array_dtype.kind not in "iu" and kind.shape[-1:] != (len(source.categories),):
        message = (
            f"output '{name}' is {kind}; categories are integers, or {len(source.categories)} numbers on the last axis"
        )
        hint = "find the index with a node of op 'argmax'"
        yield Problem("GE301", message, hint, make_pointer(("outputs", name, "value")))
