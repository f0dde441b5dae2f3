"""From a document to a graph: names get their meaning, calls of functions become nodes, random ops get keys."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from graphengine.errors import MOST_TOLD, InvalidModelError, Problem
from graphengine.format.documents import ModelDocument
from graphengine.format.reading import Source
from graphengine.graph import Graph, GraphNode, declared_types, infer_types, topologically_sorted
from graphengine.limits import DEFAULT, Limits
from graphengine.loading.budget import memory_problem
from graphengine.loading.functions import Call, Table, expansion_problems, functions_in
from graphengine.loading.inlining import Inlining, function_problems
from graphengine.loading.mode import with_keys
from graphengine.loading.resolve import Resolver, dangling_references, loss_problems


def build_graph(document: ModelDocument, source: Source | None = None, limits: Limits = DEFAULT) -> Graph:
    """The graph of a model document.

    Raises
    ------
    InvalidModelError
        With all independent problems, located if `source` is given.
    """
    try:
        graph = _checked(document, limits)
        too_large = memory_problem(graph, limits)
        if too_large:
            raise InvalidModelError(_with_pointers([too_large], document))
    except InvalidModelError as error:
        raise source.locate(error.problems) if source else error from None
    return graph


def _checked(document: ModelDocument, limits: Limits) -> Graph:
    """The graph, or an error with all problems."""
    table = functions_in(document)
    resolver = Resolver(document, table)
    nodes = resolver.nodes()
    problems = [*resolver.problems, *dangling_references(document, resolver.values)]
    if table:
        problems += [*_function_problems(document, table), *expansion_problems(document, table, limits)]
        if any(isinstance(node.node, Call) for node in nodes):
            if problems:
                raise InvalidModelError(problems)
            return _inlined(document, resolver, nodes, table)
    try:
        keyed = with_keys(nodes, resolver.values) if resolver.takes_keys else nodes
        graph = Graph(document, keyed, document.outputs)
    except InvalidModelError as error:
        cycles_or_types = list(_with_pointers(error.problems, document))
        raise InvalidModelError(_relevant(problems, cycles_or_types)) from None
    problems += loss_problems(document, graph)
    if problems:
        raise InvalidModelError(problems)
    return graph


def _function_problems(document: ModelDocument, table: Table) -> Iterator[Problem]:
    """What is wrong with the functions of the file; a mere update rule is told where the optimizer is checked."""
    rule = document.training.optimizer.type if document.training else None
    bodies = [document.nodes, *(function.nodes for function in document.functions.values())]
    called = {node["op"] for node in itertools.chain(*bodies)}
    for name in document.functions:
        if name != rule or name in called:
            yield from function_problems(table[name], table)


def _inlined(document: ModelDocument, resolver: Resolver, calling: list[GraphNode], table: Table) -> Graph:
    """The graph of a document that calls functions and in which nothing is wrong yet."""
    inlining = Inlining(calling, table)
    problems = inlining.problems or list(inlining.doubled(resolver.values))
    if problems:
        raise InvalidModelError(problems)
    taken = {*resolver.values, *(node.id for node in inlining.nodes)}
    header = inlining.renamed(document)
    types = declared_types(header)
    try:
        nodes = topologically_sorted(with_keys(inlining.nodes, taken))
        problems = inlining.type_problems(types, infer_types(nodes, types))
    except InvalidModelError as error:
        problems = [inlining.told(problem) for problem in error.problems]
    if problems:
        raise InvalidModelError(_with_pointers(problems, document))
    graph = Graph(header, nodes, header.outputs, types, inlining.aliases)
    problems = list(loss_problems(header, graph))
    if problems:
        raise InvalidModelError(problems)
    return graph


def _relevant(problems: list[Problem], found: list[Problem]) -> list[Problem]:
    """Type errors are told only of a graph that is otherwise whole: its types may be wrong because its names are."""
    doubled = any(problem.code == "GE201" for problem in problems)
    return problems + [problem for problem in found if not problems or (problem.code == "GE214" and not doubled)]


def _with_pointers(problems: Iterable[Problem], document: ModelDocument) -> Iterator[Problem]:
    """Problems of nodes of the file with their places; of more than are told only those and one more."""
    places = {spec["id"]: index for index, spec in enumerate(document.nodes)}
    for problem in itertools.islice(problems, MOST_TOLD + 1):
        if problem.pointer is None:
            calls = [problem.node or "", *_callers(problem.node or "")]
            problem = replace(problem, pointer=f"/nodes/{next(places[name] for name in calls if name in places)}")
        yield problem


def _callers(name: str) -> Iterator[str]:
    """The calls that a node of an inlined function lies in, the innermost first."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name
