"""What a document says outside the nodes and its graph does not bear out: references that lead nowhere, and tables.

References are in outputs, state, data and training; of tables there are categories, missing values, storage, and
statistics of the training rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from graphengine.errors import Problem, did_you_mean, make_pointer
from graphengine.format.documents import ModelDocument, OutputDocument
from graphengine.format.from_rows import statistic_problems
from graphengine.format.initializers import FromDataInitializer
from graphengine.format.salvage import HOLE, VALUES, Gaps
from graphengine.format.training_documents import TrainingDocument
from graphengine.ir.declarations import Input, Parameter, State
from graphengine.ir.graph import Graph


def dangling_references(document: ModelDocument, values: Collection[str], gaps: Gaps) -> Iterator[Problem]:
    """References outside the nodes that lead nowhere; what the `gaps` hide is not reported."""
    choices: Mapping[str, tuple[tuple[Collection[str], ...], tuple[str, ...]]] = {
        "value": ((values,), VALUES),
        "public": ((document.outputs, values), ("outputs", *VALUES)),
        "input": ((document.inputs,), ("inputs",)),
        "speaking": ((document.inputs,), ("inputs",)),
        "data": ((document.data,), ("data",)),
    }
    for name, possible, what, *path in _references(document):
        declared, sections = choices[possible]
        if any(name in each for each in declared) or _is_hidden(name, sections, gaps):
            continue
        names = dict.fromkeys(itertools.chain(*declared, gaps.known(*sections)))
        names.pop(HOLE, None)
        hint = did_you_mean(name, names, "defined")
        yield Problem("GE210", f"{what} '{name}' is not defined", hint, make_pointer(path), at_key=possible == "input")


def _is_hidden(name: str, sections: Collection[str], gaps: Gaps) -> bool:
    """Whether a name that the sections do not have may be there all the same; that of a value may have a port."""
    return gaps.hide(name, *sections) or ("nodes" in sections and gaps.hide_value(name))


def _references(document: ModelDocument) -> Iterator[tuple[str, ...]]:
    """Each reference outside the nodes: the name, what it may name, what it is, its path in the file."""
    yield from _output_references(document.outputs)
    for name, state in document.state.items():
        if state.update is not None:
            yield state.update, "value", f"state '{name}': update", "state", name, "update"
    yield from _statistic_references(document)
    yield from _data_references(document.data)
    if document.training:
        yield from _training_references(document.training)


def _output_references(outputs: Mapping[str, str | OutputDocument]) -> Iterator[tuple[str, ...]]:
    for name, output in outputs.items():
        if isinstance(output, str):
            yield output, "value", f"output '{name}': value", "outputs", name
        else:
            yield output.value, "value", f"output '{name}': value", "outputs", name, "value"
            yield output.categories, "speaking", f"output '{name}': input", "outputs", name, "categories"


def _statistic_references(document: ModelDocument) -> Iterator[tuple[str, ...]]:
    for section in ("parameters", "state"):
        for name, declared in getattr(document, section).items():
            if isinstance(declared.initializer, FromDataInitializer):
                what = f"{section.removesuffix('s')} '{name}': value"
                yield declared.initializer.of, "value", what, section, name, "initializer", "of"


def _data_references(sources: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for name, data in sources.items():
        for key in ("values", "columns", "arrays", "paths", "keys"):
            for target in getattr(data, key, None) or {}:
                yield target, "input", f"data '{name}': input", "data", name, key, target


def _training_references(training: TrainingDocument) -> Iterator[tuple[str, ...]]:
    yield training.loss, "public", "loss", "training", "loss"
    for name, metric in training.metrics.items():
        yield metric, "public", f"metric '{name}': value", "training", "metrics", name
    if training.data is not None:
        yield training.data, "data", "data source", "training", "data"
    for key, possible in (("data", "data"), ("stratify", "speaking"), ("group", "speaking")):
        if (named := getattr(training.validation, key, None)) is not None:
            yield named, possible, f"validation {key}", "training", "validation", key


def loss_problems(document: ModelDocument, graph: Graph) -> Iterator[Problem]:
    """A loss that is defined but no floating-point scalar."""
    name = document.training.loss if document.training else ""
    kind = graph.types.get(graph.meaning(name))
    if kind is None:
        return
    if kind.shape != () or not kind.is_differentiable:
        hint = "reduce it with a node of op 'mean' or 'sum'" if kind.shape else None
        yield Problem(
            "GE303",
            f"the loss '{name}' must be a floating-point scalar, not {kind}",
            hint,
            "/training/loss",
        )


def table_problems(document: ModelDocument, graph: Graph) -> Iterator[Problem]:
    """Yield what does not fit together in inputs and outputs of a table."""
    for name, declared in graph.inputs.items():
        yield from _gap_problems(name, declared)
    yield from _storage_problems(graph)
    for name, output in document.outputs.items():
        if isinstance(output, OutputDocument):
            yield from _output_problems(name, output, graph)
    sources: list[Parameter | State] = [*graph.parameters.values(), *graph.state.values()]
    if any(isinstance(source.initializer, FromDataInitializer) for source in sources):
        yield from statistic_problems(graph)


def _gap_problems(name: str, declared: Input) -> Iterator[Problem]:
    """The errors in the missing values or the units of an input."""
    if declared.missing and declared.type.array_dtype.kind != "f":
        yield _missing_misfit(name, declared)
    if declared.units and (declared.categories or declared.type.array_dtype.kind not in "fi"):
        yield _units_misfit(name, declared)


def _missing_misfit(name: str, declared: Input) -> Problem:
    message = f"input '{name}' is {declared.type}, which has no NaN for missing values"
    hint = 'give "unknown" an index' if declared.categories else "give it a floating-point dtype"
    return Problem("GE112", message, hint, make_pointer(("inputs", name, "missing")))


def _units_misfit(name: str, declared: Input) -> Problem:
    what = "has categories" if declared.categories else f"is {declared.type}"
    message = f"input '{name}' has units of dates, and {what}"
    hint = "dates are floating-point numbers or integers"
    return Problem("GE112", message, hint, make_pointer(("inputs", name, "units")))


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
