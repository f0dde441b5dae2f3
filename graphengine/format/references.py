"""References outside the nodes, in outputs, state, data and training: which of them lead nowhere."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping

from graphengine.errors import Problem, did_you_mean, make_pointer
from graphengine.format.documents import ModelDocument
from graphengine.format.initializers import FromDataInitializer
from graphengine.format.salvage import HOLE, VALUES, Gaps
from graphengine.format.training_documents import TrainingDocument
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
        if any(name in each for each in declared) or gaps.hide(name, *sections):
            continue
        if "nodes" in sections and gaps.hide_value(name):
            continue
        names = dict.fromkeys(each for each in itertools.chain(*declared, gaps.known(*sections)) if each != HOLE)
        hint = did_you_mean(name, names, "defined")
        yield Problem("GE210", f"{what} '{name}' is not defined", hint, make_pointer(path), at_key=possible == "input")


def _references(document: ModelDocument) -> Iterator[tuple[str, ...]]:
    """Each reference outside the nodes: the name, what it may name, what it is, its path in the file."""
    for name, output in document.outputs.items():
        if isinstance(output, str):
            yield output, "value", f"output '{name}': value", "outputs", name
        else:
            yield output.value, "value", f"output '{name}': value", "outputs", name, "value"
            yield output.categories, "speaking", f"output '{name}': input", "outputs", name, "categories"
    for name, state in document.state.items():
        if state.update is not None:
            yield state.update, "value", f"state '{name}': update", "state", name, "update"
    yield from _statistic_references(document)
    for name, data in document.data.items():
        for key in ("values", "columns", "arrays", "paths", "keys"):
            for target in getattr(data, key, None) or {}:
                yield target, "input", f"data '{name}': input", "data", name, key, target
    if document.training:
        yield from _training_references(document.training)


def _statistic_references(document: ModelDocument) -> Iterator[tuple[str, ...]]:
    for section in ("parameters", "state"):
        for name, declared in getattr(document, section).items():
            if isinstance(declared.initializer, FromDataInitializer):
                what = f"{section.removesuffix('s')} '{name}': value"
                yield declared.initializer.of, "value", what, section, name, "initializer", "of"


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
