"""The nodes of a file that call functions: which of them can be inlined, and what is wrong with the others.

Only a file that has functions, or imports those of the package, needs this.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Set
from typing import Any

from graphengine.errors import MOST_REPORTED, Problem
from graphengine.format.documents import ModelDocument, NodeDocument
from graphengine.format.function_nodes import function_problems
from graphengine.format.functions import Application, FunctionCall, Table, unsound_functions
from graphengine.format.inlining import Inlining
from graphengine.format.resolve import UNKNOWN, Resolver
from graphengine.format.salvage import Gaps
from graphengine.ir.nodes import GraphNode, topologically_sorted


def with_calls(
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


def _inlined(resolver: Resolver, nodes: list[GraphNode], table: Table) -> tuple[Inlining | None, Collection[Problem]]:
    """The calls of nodes, inlined, or the errors in them; neither if they form a cycle.

    A call is a node: what forms a cycle with calls does so whatever is inside, and is reported by its own ids.
    """
    if len(topologically_sorted(nodes)[0]) < len(nodes):
        return None, ()
    inlining = Inlining(resolver.document, nodes, table, resolver.limits)
    found = inlining.problems or list(inlining.doubled(resolver.values))
    return None if found else inlining, found


def _in_functions(document: ModelDocument, table: Table, gaps: Gaps) -> tuple[list[Problem], set[str]]:
    """What is wrong in the functions of the file, and which of them cannot be called.

    Where there is more than is reported, the functions that were not looked at are taken for wrong.
    """
    problems: list[Problem] = []
    broken = set(gaps.names["functions"])
    for name in _own(document):
        found = () if len(problems) > MOST_REPORTED else function_problems(table[name], table, gaps.within(name))
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
