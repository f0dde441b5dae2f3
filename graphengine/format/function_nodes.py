"""The nodes of a function for given attributes, and the errors in a function whatever its attributes are."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from graphengine.errors import MOST_REPORTED, Problem, did_you_mean, make_pointer
from graphengine.format.documents import FunctionDocument, InputDocument, ModelDocument, NodeDocument, references_of
from graphengine.format.functions import (
    Function,
    Table,
    attributes_named,
    callable_in,
    nameable_in,
    naming_others,
    substituted,
)
from graphengine.format.resolve import Resolver
from graphengine.format.salvage import Gaps
from graphengine.ir.nodes import GraphNode, topologically_sorted
from graphengine.ops.numbers import INEXACT, is_inexact
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import symbols_of


def function_problems(function: Function, table: Table, gaps: Gaps) -> list[Problem]:
    """The errors in a function of the file whatever its attributes are; pointers into the file."""
    document = function.document
    checks = (
        declaration_problems(document, gaps),
        _output_problems(function, gaps),
        _default_problems(function),
        _cycle_problems(function),
        _omission_problems(function, callable_in(function, table)),
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


def declaration_problems(function: FunctionDocument, gaps: Gaps) -> Iterator[Problem]:
    """Names of attributes that are taken or that there are not, optional inputs before others; pointers into it."""
    yield from _order_problems(function)
    yield from _parameter_problems(function, gaps)
    taken = function.inputs.keys() | _ids(function)
    for name in function.attributes:
        if name in taken:
            message = f"attribute '{name}' has the name of a node or an input"
            yield Problem("GE201", message, None, make_pointer(("attributes", name)), at_key=True)
    yield from _undefined_attributes(function, gaps)


def _ids(function: FunctionDocument) -> set[str]:
    return {node["id"] for node in function.nodes}


def _order_problems(function: FunctionDocument) -> Iterator[Problem]:
    """Inputs that a call needs after some that it may omit."""
    optional = ""
    for name, declared in function.inputs.items():
        if declared.optional or name in function.parameters:
            optional = name
        elif optional:
            message = f"input '{name}' is not optional but comes after '{optional}', which is"
            yield Problem("GE112", message, "put the optional inputs last", make_pointer(("inputs", name)))


def _undefined_attributes(function: FunctionDocument, gaps: Gaps) -> Iterator[Problem]:
    for index, node in enumerate(function.nodes):
        for name, place in attributes_named(node):
            if name not in function.attributes and not gaps.hide(name, "attributes"):
                hint = did_you_mean(name, function.attributes, "attributes")
                message = f"node '{node['id']}': attribute '{name}' of the function is not defined"
                yield Problem("GE210", message, hint, make_pointer(("nodes", index, *place)), node["id"])


def _parameter_problems(function: FunctionDocument, gaps: Gaps) -> Iterator[Problem]:
    """Names of parameters that are taken, and sizes of theirs that nothing gives."""
    taken = function.attributes.keys() | _ids(function)
    sizes, hidden = _given_sizes(function), gaps.known("inputs", "attributes") or gaps.open
    for name in function.parameters:
        if name in taken:
            message = f"parameter '{name}' has the name of a node or an attribute"
            yield Problem("GE201", message, None, make_pointer(("parameters", name)), at_key=True)
        if not hidden:
            yield from _size_problems(function, name, sizes)
        yield from _statistic_problems(function, name, gaps)


def _given_sizes(function: FunctionDocument) -> set[Any]:
    """The names of sizes that a call gives: attributes, and sizes of its inputs."""
    axes = [each.axes or () for each in function.inputs.values()]
    return function.attributes.keys() | set(itertools.chain(*axes))


def _size_problems(function: FunctionDocument, name: str, sizes: Collection[Any]) -> Iterator[Problem]:
    unknown = [symbol for symbol in symbols_of(function.parameters[name].shape or ()) if symbol not in sizes]
    if unknown:
        message = f"the size '{unknown[0]}' of parameter '{name}' is neither an attribute nor a size of an input"
        yield Problem("GE210", message, None, make_pointer(("parameters", name, "shape")))


def _statistic_problems(function: FunctionDocument, name: str, gaps: Gaps) -> Iterator[Problem]:
    """What a parameter is a statistic of, where the function has no such input."""
    of = getattr(function.parameters[name].initializer, "of", None)
    if of is not None and of not in function.inputs and not gaps.hide(of, "inputs"):
        message = f"parameter '{name}': the function has no input '{of}', which it is a statistic of"
        pointer = make_pointer(("parameters", name, "initializer", "of"))
        yield Problem("GE210", message, did_you_mean(of, function.inputs, "inputs"), pointer)


def _cycle_problems(function: Function) -> Iterator[Problem]:
    """Nodes of a function that form cycles, whether it is called or not; pointers into it."""
    document, places = function.document, function.places
    known = {*document.inputs, *document.attributes, *document.parameters}
    if len(places) < len(document.nodes) or not known.isdisjoint(places):
        return  # a duplicate id: it is unknown which of the two is read
    nodes = _without_instances(document.nodes)
    if not _are_in_order(nodes, known):
        for problem in topologically_sorted(nodes)[1]:
            yield replace(problem, pointer=make_pointer(("nodes", places[problem.node or ""])))


def _without_instances(nodes: Iterable[NodeDocument]) -> list[GraphNode]:
    """Nodes that say what they read, which is all that sorting them needs."""
    return [GraphNode(each["id"], each["op"], None, tuple(references_of(each))) for each in nodes]  # type: ignore[arg-type]


def _are_in_order(nodes: Iterable[GraphNode], known: set[str]) -> bool:
    """Whether each node reads what comes before it, as in most functions; then there is no cycle."""
    for node in nodes:
        if not all(ref.partition(":")[0] in known for ref in node.inputs if isinstance(ref, str)):
            return False
        known.add(node.id)
    return True


def _omission_problems(function: Function, table: Table) -> Iterator[Problem]:
    """Optional inputs where a node needs one: a call that omits it would leave nothing there; pointers into it."""
    omissible = function.omissible
    if not omissible:
        return
    for index, node in enumerate(function.document.nodes):
        for name, place, given in _required_inputs(node, _needed(node["op"], table)):
            if given in omissible:
                message = f"node '{node['id']}' ({node['op']}) needs its input '{name}', but '{given}' is optional"
                hint = (
                    "it is only allowed for an op that takes an optional input or any number of inputs, such as add_n"
                )
                yield Problem("GE212", message, hint, make_pointer(("nodes", index, "inputs", place)), node["id"])


def _needed(op: str, table: Table) -> tuple[str, ...]:
    """The names of the inputs that a node of an op must have."""
    callee = table.get(op) or OPS.get(op)
    return callee.signature.inputs[: callee.signature.required] if callee else ()


def _required_inputs(node: NodeDocument, needed: Sequence[str]) -> list[tuple[str, Any, Any]]:
    """The inputs that a node must have: name, place in the file, and what is given."""
    inputs: Any = node["inputs"]
    if isinstance(inputs, dict):
        return [(name, name, inputs.get(name)) for name in needed]
    return [(name, place, given) for place, (name, given) in enumerate(zip(needed, inputs, strict=False))]


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
