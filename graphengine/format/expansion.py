"""How large the graph of a file becomes when its calls are inlined, counted before anything is inlined."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

import orjson

from graphengine.errors import Problem, make_pointer
from graphengine.format.documents import FunctionDocument, ModelDocument, NodeDocument
from graphengine.format.functions import (
    RUNNING,
    Function,
    Table,
    attributes_named,
    callable_in,
    callees_in,
    callees_of,
    nameable_in,
    names_functions,
)
from graphengine.format.layer_forms import calls_by_hand
from graphengine.limits import Limits


class Measure(NamedTuple):
    """What a list of nodes becomes when it is inlined: nodes, ids and references in it, characters, depth of calls."""

    nodes: int = 0
    names: int = 0
    text: int = 0
    depth: int = 0


def expansion_problems(document: ModelDocument, table: Table, limits: Limits) -> Iterator[Problem]:
    """Recursion, and a graph that would become too large: found in the functions alone, before anything is inlined."""
    try:
        order = list(TopologicalSorter(callees_in(table)).static_order())
    except CycleError as error:
        names = [function.name for function in error.args[1][::-1]]
        message = f"functions call each other in a cycle: {' -> '.join(names)}"
        yield Problem("GE215", message, None, make_pointer(("functions", names[0])))
        return
    calls = [node for node in document.nodes if node["op"] in table or node["op"] in RUNNING]
    whole = _whole(document, calls, table, order)
    yield from itertools.islice(_growth_problems(whole, calls, document, limits), 1)


def _growth_problems(
    whole: Measure, calls: Iterable[NodeDocument], document: ModelDocument, limits: Limits
) -> Iterator[Problem]:
    most_text = _most_text(calls, document.functions.values(), whole.text, limits)
    hint = f"a file may become {limits.function_growth} times as long; raise the limit function_growth"
    for got, most, what, how in (
        (whole.nodes, limits.nodes, "nodes", None),
        (whole.text, most_text, "bytes of text", hint if most_text < limits.function_bytes else None),
        (whole.depth, limits.function_depth, "levels of calls", None),
    ):
        if got > most:
            amount = f"{got:,}" if got < _MOST else f"more than {_MOST:,}"
            message = f"with its functions inlined the graph would have {amount} {what}; the limit is {most:,}"
            yield Problem("GE216", message, how, "/functions")


def _whole(document: ModelDocument, calls: list[NodeDocument], table: Table, order: Iterable[Function]) -> Measure:
    """The measure of a file, from those of its functions; `order` has each after those that it calls."""
    naming, longest = names_functions(table), _longest_attribute(calls, table)
    measures: dict[Function, Measure] = {}
    for function in order:
        scope = _Scope(callable_in(function, table), nameable_in(function, table), naming)
        body = _measured(function.document.nodes, scope, measures, longest)
        measures[function] = _called(function, body)
    whole = _measured(calls, _Scope(table, table, naming), measures, longest)
    return whole._replace(nodes=whole.nodes + len(document.nodes) - len(calls), depth=whole.depth - 1)


_ALWAYS = 2**22
"""Bytes of text that every file may become, however short it is."""


def _most_text(
    calls: Iterable[NodeDocument], functions: Iterable[FunctionDocument], wanted: int, limits: Limits
) -> int:
    """The limit of the text that a file becomes; what a file has itself is measured only if it is needed."""
    most = min(_ALWAYS, limits.function_bytes)
    if wanted > most:
        own = sum(map(_length, itertools.chain(calls, *(function.nodes for function in functions))))
        most = min(max(most, limits.function_growth * own), limits.function_bytes)
    return most


def _longest_attribute(calls: Iterable[NodeDocument], table: Table) -> int:
    """The length of the longest attribute that a call can hand over, or a function has as a default."""
    given = (node.get("attributes", {}) for node in itertools.chain(calls, _inner_calls(table)))
    defaults = (function.defaults for function in table.values())
    return max((_length(value) for each in itertools.chain(given, defaults) for value in each.values()), default=0)


def _inner_calls(table: Table) -> Iterator[NodeDocument]:
    return (node for each in table.values() for node in each.document.nodes if node["op"] in callable_in(each, table))


def _called(function: Function, body: Measure) -> Measure:
    """The measure of a function with what each call costs besides its nodes: its interface, and parameters it makes."""
    document = function.document
    interface = (*document.inputs, *document.outputs, *document.attributes, *document.parameters)
    text = (
        sum(map(len, interface)) + 5 * len(interface) + _length(function.defaults) + _LEAST * len(document.parameters)
    )
    names = body.names + len(document.outputs) + len(document.parameters)
    return body._replace(nodes=body.nodes + len(document.parameters), names=names, text=body.text + text)


_LEAST = 100
"""Bytes that a node counts at least: a short one takes as much memory as a longer one."""


_MOST = 10**15
"""Counting stops here: a file of functions that each call the one before twice has numbers as long as itself."""


class _Scope(NamedTuple):
    """What nodes can call and name, and the attributes of functions that name functions."""

    calls: Table
    names: Table
    naming: Mapping[Function, Mapping[str, int]]


def _measured(
    nodes: Iterable[NodeDocument], scope: _Scope, measures: Mapping[Function, Measure], longest: int
) -> Measure:
    """The measure of nodes from those of the functions they call; an attribute takes at most the `longest` text."""
    count, names, text, depth = 0, 0, 0, 1
    for node in nodes:
        for called, times in _callees(node, scope, measures, longest):
            count += called.nodes * times
            names += called.names * times
            text += (called.text + called.names * (len(node["id"]) + 1)) * times
            depth = max(depth, called.depth + 1)
        names += 1 + len(node["inputs"])
        text += max(_length(node), _LEAST) + longest * sum(1 for _ in attributes_named(node))
    return Measure(min(count, _MOST), min(names, _MOST), min(text, _MOST), depth)


def _callees(
    node: NodeDocument, scope: _Scope, measures: Mapping[Function, Measure], longest: int
) -> list[tuple[Measure, int]]:
    """The measures of what a node becomes, each with how often it becomes that."""
    callees = [(measures[each], times) for each, times in callees_of(node, *scope)]
    if node["op"] not in scope.calls:
        return [*callees, (Measure(nodes=1), 1)]
    by_hand = calls_by_hand(node["op"], node.get("attributes"), longest)
    return [(called, times * by_hand) for called, times in callees]


def _length(value: Any) -> int:
    return len(orjson.dumps(value))
