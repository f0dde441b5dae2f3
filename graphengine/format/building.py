"""From a document to a graph: names get their meaning, calls of functions become nodes, random ops get keys.

What a document says outside the nodes is checked against the graph: references in outputs, state, data and training,
the loss, updates of state and, of a table, categories, missing values, storage and statistics of the training rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer, require_none
from graphengine.format.call_paths import origin_in
from graphengine.format.documents import (
    InputDocument,
    ModelDocument,
    OutputDocument,
    ParameterDocument,
    StateDocument,
    TrainingDocument,
)
from graphengine.format.from_rows import statistic_problems
from graphengine.format.functions import Table, functions_in
from graphengine.format.initializers import FromDataInitializer
from graphengine.format.resolve import UNKNOWN, Resolver
from graphengine.format.salvage import HOLE, VALUES, Gaps
from graphengine.ir.declarations import Input, Parameter, State
from graphengine.ir.graph import Graph, types_of
from graphengine.ir.memory import memory_problem, steps_problem
from graphengine.ir.nodes import GraphNode, infer_types, topologically_sorted
from graphengine.ir.origins import enclosing
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import without
from graphengine.ops.registry import CORE
from graphengine.ops.shapes import ArrayType, array_type

if TYPE_CHECKING:
    from graphengine.format.inlining import Inlining


def build_graph(document: ModelDocument) -> Graph:
    """The graph of a model document.

    Raises
    ------
    InvalidModelError
        With all independent problems.
    """
    graph, problems = sound_graph(document)
    require_none(problems)
    return graph


def completed(document: ModelDocument) -> ModelDocument:
    """The document with declarations of the parameters that its calls make; as it is if it is not sound."""
    table = functions_in(document)
    if not any(node["op"] in table for node in document.nodes):
        return document
    from graphengine.format.saving import with_made_parameters

    graph, problems = sound_graph(document)
    return document if problems else with_made_parameters(document, graph)


def sound_graph(
    document: ModelDocument, limits: Limits = DEFAULT, gaps: Gaps | None = None
) -> tuple[Graph, list[Problem]]:
    """The graph of a model document as far as it is sound, and the errors in the rest.

    What the `gaps` of the document hide is not reported; what is found to be wrong is added to them.
    """
    gaps = Gaps() if gaps is None else gaps
    may_call = document.functions or document.opset_imports.keys() != {CORE}
    table = functions_in(document) if may_call else {}
    expansion = _expansion_problems(document, table, limits) if table else []
    gaps.calls = bool(expansion)
    resolver = Resolver(document, table, gaps, limits)
    nodes, unknown = resolver.nodes(), resolver.unknown
    dangling = itertools.islice(dangling_references(document, resolver.values, gaps), MOST_REPORTED + 1)
    problems = [*resolver.problems, *dangling]
    inlining = None
    if table:
        from graphengine.format.function_calls import with_calls

        nodes, calling, inlining, found = with_calls(resolver, nodes, table, expansion)
        unknown, problems = [*unknown, *calling], [*problems, *found]
    graph, misfits = _typed(document, resolver, nodes, unknown, inlining, limits)
    problems += [*with_pointers(misfits, document), *loss_problems(document, graph), *_update_problems(graph)]
    problems += _table_problems(document, graph)
    if too_large := steps_problem(graph) or memory_problem(graph):
        problems += with_pointers([too_large], document)
    if problems:
        gaps.names["nodes"].update(resolver.values.keys() - graph.types.keys())
    return graph, problems


def _expansion_problems(document: ModelDocument, table: Table, limits: Limits) -> list[Problem]:
    """Functions that would become too large a graph."""
    from graphengine.format.expansion import expansion_problems

    return list(expansion_problems(document, table, limits))


def _typed(
    document: ModelDocument,
    resolver: Resolver,
    nodes: list[GraphNode],
    unknown: list[GraphNode],
    inlining: Inlining | None,
    limits: Limits,
) -> tuple[Graph, list[Problem]]:
    """The graph of the nodes whose types can be known; cycles, also through `unknown` nodes, and types that misfit."""
    header, aliases = document, {}
    taken: Collection[str] = resolver.values
    if inlining:
        header, aliases, nodes = inlining.renamed(), inlining.aliases, inlining.nodes
        taken = {*taken, *(node.id for node in nodes)}
    if inlining or resolver.takes_keys:
        from graphengine.transform.mode import with_keys

        nodes = with_keys(nodes, taken)
    ordered, cycles = _in_order(nodes, unknown)
    header = _without(header, resolver.gaps.names["nodes"])
    inputs, parameters, state = _inputs_of(header), _parameters_of(header), _state_of(header)
    types = types_of(inputs, parameters, state)
    misfits = _infer_and_make(header, inlining, ordered, types, parameters) if inlining else infer_types(ordered, types)
    graph = Graph(
        document.name,
        inputs,
        parameters,
        state,
        ordered,
        header.targets,
        types,
        dtype=document.dtype,
        description=document.description,
        aliases=aliases,
        limits=limits,
        origin=partial(origin_in, document),
    )
    return graph, [*cycles, *misfits]


def _in_order(nodes: list[GraphNode], unknown: list[GraphNode]) -> tuple[list[GraphNode], list[Problem]]:
    """The nodes that are known in topological order, and cycles, also through those that are not."""
    ordered, cycles = topologically_sorted([*nodes, *unknown])
    if unknown:
        ordered = [node for node in ordered if node.node is not UNKNOWN]
    return ordered, cycles


def _without(document: ModelDocument, names: Collection[str]) -> ModelDocument:
    """A document without the inputs, parameters and state of some names."""
    if not names:
        return document
    sections = ("inputs", "parameters", "state")
    return document.model_copy(update={section: without(getattr(document, section), names) for section in sections})


def _infer_and_make(
    header: ModelDocument,
    inlining: Inlining,
    ordered: list[GraphNode],
    types: dict[str, ArrayType],
    parameters: dict[str, Parameter],
) -> list[Problem]:
    """Infer the types of nodes, and add the parameters that calls make."""
    from graphengine.format.making import Making

    making = Making(header, inlining)
    misfits = inlining.type_problems(types, making.infer(ordered, types), making.problems)
    parameters |= _parameters_of(header.model_copy(update={"parameters": making.made}))
    return misfits


# ---------------------------------------------------------------- declarations


def _inputs_of(document: ModelDocument) -> dict[str, Input]:
    """Return the inputs that a document declares."""
    return {name: _input(each, document) for name, each in document.inputs.items()}


def _input(declared: InputDocument, document: ModelDocument) -> Input:
    return Input(
        _type_of(declared, document),
        declared.description,
        None if declared.categories is None else tuple(declared.categories),
        None if isinstance(declared.unknown, str) else declared.unknown,
        declared.missing == "nan",
        declared.units,
        declared.storage,
    )


def _parameters_of(document: ModelDocument) -> dict[str, Parameter]:
    """Return the parameters that a document declares."""
    return {
        name: Parameter(
            _type_of(each, document),
            each.initializer,
            each.value,
            each.trainable,
            each.learning_rate_multiplier,
            each.weight_decay_multiplier,
            None if each.bounds is None else (each.bounds[0], each.bounds[1]),
            each.scale,
            each.description,
            each.storage,
        )
        for name, each in document.parameters.items()
    }


def _state_of(document: ModelDocument) -> dict[str, State]:
    """Return the state that a document declares."""
    return {
        name: State(_type_of(each, document), each.initializer, each.update, each.value, each.description)
        for name, each in document.state.items()
    }


def _type_of(declared: InputDocument | ParameterDocument | StateDocument, document: ModelDocument) -> ArrayType:
    """Return the type that a declaration in a file gives a value."""
    return array_type(declared.shape, declared.dtype or document.dtype)


# ---------------------------------------------------------------- what the rest of the document says


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


def _update_problems(graph: Graph) -> Iterator[Problem]:
    """State that would not be after a step what it is declared to be before it."""
    for name, value in graph.updates.items():
        given, declared = graph.types.get(value), graph.types[name]
        if given and (given.shape, given.array_dtype) != (declared.shape, declared.dtype):
            message = f"state '{name}' is {declared}, but its update is {given}"
            same = given.shape == declared.shape
            hint = "cast it with a node of op 'cast'" if same else "state keeps its shape, whatever the batch"
            yield Problem("GE301", message, hint, make_pointer(("state", name, "update")))


def _table_problems(document: ModelDocument, graph: Graph) -> Iterator[Problem]:
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


# ---------------------------------------------------------------- places


def with_pointers(problems: Iterable[Problem], document: ModelDocument) -> Iterator[Problem]:
    """Problems of nodes of the file with their places; of more than are reported only those and one more."""
    places: dict[str, int] = {}
    for problem in itertools.islice(problems, MOST_REPORTED + 1):
        if problem.pointer is None:
            places = places or _places_in(document)
            problem = replace(problem, pointer=f"/nodes/{_place_of(problem.node or '', places)}")
        yield problem


def _places_in(document: ModelDocument) -> dict[str, int]:
    return {spec["id"]: index for index, spec in enumerate(document.nodes)}


def _place_of(ident: str, places: Mapping[str, int]) -> int:
    """The index of the node of the file that leads to a node."""
    return next(places[name] for name in enclosing(ident) if name in places)
