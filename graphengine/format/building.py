"""From a document to a graph: names get their meaning, calls of functions become nodes, random ops get keys."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from graphengine.errors import MOST_REPORTED, Problem, make_pointer, require_none
from graphengine.format.call_paths import origin_in
from graphengine.format.declaring import inputs_of, parameters_of, state_of
from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.functions import Application, FunctionCall, Table, functions_in, unsound_functions
from graphengine.format.references import dangling_references, loss_problems, table_problems
from graphengine.format.resolve import UNKNOWN, Resolver
from graphengine.format.salvage import Gaps
from graphengine.ir.declarations import Parameter
from graphengine.ir.graph import Graph, types_of
from graphengine.ir.memory import memory_problem, steps_problem
from graphengine.ir.nodes import GraphNode, infer_types, topologically_sorted
from graphengine.ir.origins import enclosing
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import without
from graphengine.ops.shapes import ArrayType
from graphengine.transform.mode import with_keys

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
    table = functions_in(document)
    expansion = _expansion_problems(document, table, limits)
    gaps.calls = bool(expansion)
    resolver = Resolver(document, table, gaps, limits)
    nodes, unknown = resolver.nodes(), resolver.unknown
    dangling = itertools.islice(dangling_references(document, resolver.values, gaps), MOST_REPORTED + 1)
    problems = [*resolver.problems, *dangling]
    inlining = None
    if table:
        nodes, calling, inlining, found = _with_calls(resolver, nodes, table, expansion)
        unknown, problems = [*unknown, *calling], [*problems, *found]
    graph, misfits = _typed(document, resolver, nodes, unknown, inlining, limits)
    problems += [*with_pointers(misfits, document), *loss_problems(document, graph), *_update_problems(graph)]
    problems += table_problems(document, graph)
    if too_large := steps_problem(graph) or memory_problem(graph):
        problems += with_pointers([too_large], document)
    if problems:
        gaps.names["nodes"].update(resolver.values.keys() - graph.types.keys())
    return graph, problems


def _with_calls(
    resolver: Resolver, nodes: list[GraphNode], table: Table, expansion: list[Problem]
) -> tuple[list[GraphNode], list[GraphNode], Inlining | None, list[Problem]]:
    """The nodes that are known, those that call what is wrong, the inlining of the other calls, and what is wrong."""
    wrong, broken = _in_functions(resolver.document, table, resolver.gaps)
    problems = [*wrong, *expansion]
    nodes, calling = _apart(nodes, table.keys() if expansion else unsound_functions(table, broken))
    if not any(map(_run_by, nodes)):
        return nodes, calling, None, problems
    inlining, found = _inlined(resolver, nodes, table)
    nodes, rest = (nodes, []) if inlining else _apart(nodes, table.keys())
    return nodes, [*calling, *rest], inlining, [*problems, *found]


def _expansion_problems(document: ModelDocument, table: Table, limits: Limits) -> list[Problem]:
    if not table:
        return []
    from graphengine.format.expansion import expansion_problems

    return list(expansion_problems(document, table, limits))


def _inlined(resolver: Resolver, nodes: list[GraphNode], table: Table) -> tuple[Inlining | None, Collection[Problem]]:
    """The calls of nodes, inlined, or the errors in them; neither if they form a cycle.

    A call is a node: what forms a cycle with calls does so whatever is inside, and is reported by its own ids.
    """
    if len(topologically_sorted(nodes)[0]) < len(nodes):
        return None, ()
    from graphengine.format.inlining import Inlining

    inlining = Inlining(resolver.document, nodes, table, resolver.limits)
    found = inlining.problems or list(inlining.doubled(resolver.values))
    return None if found else inlining, found


def _in_functions(document: ModelDocument, table: Table, gaps: Gaps) -> tuple[list[Problem], set[str]]:
    """What is wrong in the functions of the file, and which of them cannot be called.

    Where there is more than is reported, the functions that were not looked at are taken for wrong.
    """
    from graphengine.format.function_nodes import function_problems

    problems: list[Problem] = []
    broken = set(gaps.names["functions"])
    for name in _own(document):
        found = () if len(problems) > MOST_REPORTED else function_problems(table[name], table, gaps.within[name])
        problems += found
        if found or len(problems) > MOST_REPORTED:
            broken.add(name)
    return problems, broken


def _run_by(node: GraphNode) -> list[str]:
    """The names of the functions that a node calls or runs."""
    what: Any = node.node
    if not isinstance(what, FunctionCall | Application):
        return []
    return [each.name for each in what.functions.values()]


def _apart(nodes: list[GraphNode], names: Set[str]) -> tuple[list[GraphNode], list[GraphNode]]:
    """The nodes that call no function of these names, and those that do: they give nothing that is known."""
    if not names:
        return nodes, []
    kept, calling = [], []
    for node in nodes:
        if names.isdisjoint(_run_by(node)):
            kept.append(node)
        else:
            calling.append(node._replace(node=UNKNOWN))
    return kept, calling


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
        nodes = with_keys(nodes, taken)
    ordered, cycles = _in_order(nodes, unknown)
    header = _without(header, resolver.gaps.names["nodes"])
    inputs, parameters, state = inputs_of(header), parameters_of(header), state_of(header)
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
    parameters |= parameters_of(header.model_copy(update={"parameters": making.made}))
    return misfits


def _update_problems(graph: Graph) -> Iterator[Problem]:
    """State that would not be after a step what it is declared to be before it."""
    for name, value in graph.updates.items():
        given, declared = graph.types.get(value), graph.types[name]
        if given and (given.shape, given.array_dtype) != (declared.shape, declared.dtype):
            message = f"state '{name}' is {declared}, but its update is {given}"
            same = given.shape == declared.shape
            hint = "cast it with a node of op 'cast'" if same else "state keeps its shape, whatever the batch"
            yield Problem("GE301", message, hint, make_pointer(("state", name, "update")))


def _without(document: ModelDocument, names: Collection[str]) -> ModelDocument:
    """A document without the inputs, parameters and state of some names."""
    if not names:
        return document
    sections = ("inputs", "parameters", "state")
    return document.model_copy(update={section: without(getattr(document, section), names) for section in sections})


def _named(node: NodeDocument) -> Iterator[str]:
    """What the attributes of a node may name."""
    return (value for value in node.get("attributes", {}).values() if isinstance(value, str))


def _own(document: ModelDocument) -> Iterator[str]:
    """The functions of the file except for a mere update rule, which is reported where the optimizer is checked."""
    rule = document.training.optimizer.type if document.training else None
    called = _named_in(document)
    return (name for name in document.functions if name != rule or name in called)


def _named_in(document: ModelDocument) -> set[str]:
    """What the nodes of a file and of its functions call, or may name."""
    bodies = [document.nodes, *(function.nodes for function in document.functions.values())]
    return {name for node in itertools.chain(*bodies) for name in (node["op"], *_named(node))}


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
