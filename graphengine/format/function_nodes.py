"""The nodes of a function for given attributes, and the errors in a function whatever its attributes are."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer
from graphengine.format.documents import InputDocument, ModelDocument
from graphengine.format.functions import (
    Function,
    Table,
    callable_in,
    cycle_problems,
    declaration_problems,
    nameable_in,
    naming_others,
    omission_problems,
    substituted,
)
from graphengine.format.resolve import Resolver
from graphengine.format.salvage import Gaps
from graphengine.ir.nodes import GraphNode
from graphengine.ops.numbers import INEXACT, is_inexact


def function_problems(function: Function, table: Table, gaps: Gaps) -> list[Problem]:
    """The errors in a function of the file whatever its attributes are; pointers into the file."""
    document = function.document
    checks = (
        declaration_problems(document, gaps),
        _output_problems(function, gaps),
        _default_problems(function),
        cycle_problems(document),
        omission_problems(function, callable_in(function, table)),
    )
    found = [problem for check in checks for problem in itertools.islice(check, MOST_REPORTED + 1)]
    if document.outputs:
        found += _body_problems(function, table, gaps)
    pointer, prefix = make_pointer(("functions", function.name)), f"function '{function.name}': "
    return [each.within(pointer, prefix) for each in found]


def _body_problems(function: Function, table: Table, gaps: Gaps) -> list[Problem]:
    """The errors in the nodes of a function with the defaults of its attributes, and 1.0 where there is none."""
    document = function.document
    known = {name: value for name, value in function.defaults.items() if function.may_be(name, value)}
    attributes = {**dict.fromkeys(document.attributes.keys() - known.keys(), 1.0), **known}
    unsure = naming_others(document.nodes, known)
    _, problems = resolved_body(function, attributes, table, gaps)
    return [each for each in problems if each.code != "GE213" or each.node not in unsure]


def _output_problems(function: Function, gaps: Gaps) -> Iterator[Problem]:
    """Outputs that are the value of no node; whether a node has the port is checked where its op is known."""
    if not function.document.outputs:
        yield Problem("GE111", "it has no output", None, "/outputs")
    for name, value in function.document.outputs.items():
        known = value.partition(":")[0] in function.ops or value in function.document.inputs
        if not known and not gaps.hide_value(value):
            hint = did_you_mean(value, function.ops, "nodes")
            message = f"output '{name}': no node gives the value '{value}'"
            yield Problem("GE210", message, hint, make_pointer(("outputs", name)))


def _default_problems(function: Function) -> Iterator[Problem]:
    for name, value in function.defaults.items():
        if not function.may_be(name, value):
            message = f"attribute '{name}' is an input of a node, so its default must be a finite number"
            yield Problem("GE112", message, None, make_pointer(("attributes", name, "default")))
        elif name in function.operands and is_inexact(value):
            pointer = make_pointer(("attributes", name, "default"))
            yield Problem("GE125", f"{INEXACT}, such as {value}", None, pointer)


def resolved_body(
    function: Function, attributes: Mapping[str, Any], table: Table, gaps: Gaps
) -> tuple[list[GraphNode], list[Problem]]:
    """The nodes of a function for given attributes, and the errors in them; pointers into the function."""
    content = content_of(function, attributes)
    resolver = Resolver(content, callable_in(function, table), gaps, named=nameable_in(function, table))
    nodes = resolver.nodes()
    problems = [each for each in resolver.problems if each.code != "GE105" or each.node is not None]
    dangling = _dangling_ports(function, resolver.values, gaps)
    return nodes, [*problems, *itertools.islice(dangling, MOST_REPORTED + 1)]


def _dangling_ports(function: Function, values: Collection[str], gaps: Gaps) -> Iterator[Problem]:
    """Outputs that are a further output of a node that does not have it."""
    for name, value in function.document.outputs.items():
        if ":" in value and value not in values and not gaps.hide_value(value):
            message = f"output '{name}': value '{value}' is not defined"
            yield Problem("GE210", message, None, make_pointer(("outputs", name)))


def content_of(function: Function, attributes: Mapping[str, Any]) -> ModelDocument:
    """A function for given attributes as a model."""
    document = function.document
    return ModelDocument.model_construct(
        format="graphengine.model",
        format_version=1,
        opset_imports=dict(function.imports),
        name=function.name,
        inputs={name: InputDocument(shape=[]) for name in (*document.inputs, *document.parameters)},
        nodes=[substituted(node, attributes) for node in document.nodes],
        outputs=document.outputs,
    )
