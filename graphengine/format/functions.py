"""Functions: named subgraphs that a node calls as it uses an op.

A file has functions of its own; others come with the package, as function files of the domains `nn`, `nll` and
`shape`, in the folders of these names. What is wrong with a function, or with functions calling each other, is found
before anything is inlined; so is how large the graph would become.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple, TypeAlias

import orjson

from graphengine.errors import Problem, did_you_mean, make_pointer
from graphengine.format.documents import FunctionDocument, ModelDocument, NodeDocument
from graphengine.format.reading import shipped_files
from graphengine.format.salvage import Gaps
from graphengine.ir.graph import GraphNode, topologically_sorted
from graphengine.limits import Limits
from graphengine.ops.node import Signature
from graphengine.ops.registry import OPS

DOMAINS: Mapping[str, int] = {"nn": 1, "nll": 1, "shape": 1}
"""The domains of the functions that come with the package, each with its version: layers, likelihoods, line shapes."""


@dataclass(frozen=True, eq=False)
class Function:
    """A function under the name by which it is called; `domain` is None for one of the file's own."""

    name: str
    document: FunctionDocument
    imports: Mapping[str, int]
    domain: str | None = None

    @cached_property
    def signature(self) -> Signature:
        """Its inputs and outputs, told as those of an op."""
        inputs = tuple(self.document.inputs)
        required = sum(not each.optional for each in self.document.inputs.values())
        return Signature(inputs, required, False, tuple(self.document.outputs), None)

    @cached_property
    def lead(self) -> str | None:
        """The node whose value is the first output: inlined, it takes the id of the call."""
        first = self.document.outputs[self.signature.outputs[0]]
        return None if ":" in first else first

    @cached_property
    def ops(self) -> Mapping[str, str]:
        """What each of its nodes is."""
        return {node["id"]: node["op"] for node in self.document.nodes}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The index of each of its nodes."""
        return {node["id"]: index for index, node in enumerate(self.document.nodes)}

    @cached_property
    def uncallable(self) -> str | None:
        """Why no node can call it: only an update rule has slots, or gives back what it was given; None if one can."""
        for name, declared in self.document.inputs.items():
            if declared.initializer is not None:
                return f"its input '{name}' has an initializer, which only an update rule can have"
        for name, value in self.document.outputs.items():
            if value in self.document.inputs:
                return f"its output '{name}' is its input '{value}', not what a node gives"
        return None

    @cached_property
    def operands(self) -> frozenset[str]:
        """The attributes that its nodes have as operands."""
        read = {ref for node in self.document.nodes for ref in _references(node)}
        return frozenset(read & self.document.attributes.keys())

    def may_be(self, attribute: str, value: Any) -> bool:
        """Whether an attribute can have a value: one that is an operand must be a number."""
        return attribute not in self.operands or is_number(value)

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The attributes that a call may leave out."""
        return {name: each.default for name, each in self.document.attributes.items() if not each.required}


@dataclass(frozen=True, eq=False)
class Call:
    """What stands in the place of a node class's instance until the call is inlined."""

    function: Function
    attributes: Mapping[str, Any]

    @property
    def signature(self) -> Signature:
        """That of the function."""
        return self.function.signature

    @property
    def outputs(self) -> tuple[str, ...]:
        """Those of the function."""
        return self.function.signature.outputs


Table: TypeAlias = Mapping[str, Function]


def _references(node: NodeDocument) -> Collection[Any]:
    inputs = node["inputs"]
    return inputs.values() if isinstance(inputs, dict) else inputs


def is_number(value: Any) -> bool:
    """A finite number, of a size that a float can have."""
    return isinstance(value, (int, float)) and type(value) is not bool and abs(value) <= sys.float_info.max


@cache
def shipped_functions() -> Table:
    """The functions that come with the package, by the name under which a file calls them."""
    return {
        f"{domain}.{name}": Function(f"{domain}.{name}", file, file.opset_imports, domain)
        for domain in DOMAINS
        for name, file in shipped_files("graphengine", domain).items()
    }


def functions_in(document: ModelDocument) -> Table:
    """The functions that a file can call: its own, and, where it imports their domain, those of the package.

    A function of the file stands before an op of the same name, so that a file stays what it is when the op set grows.
    """
    imported = DOMAINS.keys() & document.opset_imports.keys()
    shipped = {name: each for name, each in shipped_functions().items() if each.domain in imported} if imported else {}
    own = {name: Function(name, each, document.opset_imports) for name, each in document.functions.items()}
    return {**shipped, **own}


def callable_in(function: Function, table: Table) -> Table:
    """The functions that the nodes of a function can call: those of the package call no function of a file."""
    return table if function.domain is None else shipped_functions()


# ---------------------------------------------------------------- attributes


def substituted(node: NodeDocument, attributes: Mapping[str, Any]) -> NodeDocument:
    """A node of a function for given attributes.

    An input that is the name of an attribute becomes its value, and so does `{"attribute": name}` as an attribute of
    the node or as an element of one. A name without a value stays.
    """
    inputs: Any = node["inputs"]
    if isinstance(inputs, dict):
        inputs = {name: attributes.get(ref, ref) for name, ref in inputs.items()}
    else:
        inputs = [attributes.get(ref, ref) for ref in inputs]
    changed: Any = {**node, "inputs": inputs}
    if "attributes" in node:
        changed["attributes"] = {name: _valued(value, attributes) for name, value in node["attributes"].items()}
    return changed  # type: ignore[no-any-return]


def _valued(value: Any, attributes: Mapping[str, Any]) -> Any:
    name = attribute_named(value)
    if name is not None:
        return attributes.get(name, value)
    if isinstance(value, list) and any(map(attribute_named, value)):
        # an element is one number or word: lists in lists could double at each level of calls
        single = {name: each for name, each in attributes.items() if not isinstance(each, (list, dict))}
        return [single.get(attribute_named(item) or "", item) for item in value]
    return value


def attribute_named(value: Any) -> str | None:
    """The name in `{"attribute": name}`; None for anything else."""
    name = value.get("attribute") if isinstance(value, dict) and len(value) == 1 else None
    return name if isinstance(name, str) else None


def attributes_named(node: NodeDocument) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """The attributes of the function that the attributes of a node name, each with its place in the node."""
    for key, value in node.get("attributes", {}).items():
        items = enumerate(value) if isinstance(value, list) else ()
        for item, place in [(value, ()), *((item, (number,)) for number, item in items)]:
            name = attribute_named(item)
            if name is not None:
                yield name, ("attributes", key, *place)


def declaration_problems(function: FunctionDocument, gaps: Gaps) -> Iterator[Problem]:
    """Names of attributes that are taken or that there are not, optional inputs before others; pointers into it."""
    taken = {*function.inputs, *(node["id"] for node in function.nodes)}
    optional = ""
    for name, declared in function.inputs.items():
        if optional and not declared.optional:
            message = f"input '{name}' is not optional but comes after '{optional}', which is"
            yield Problem("GE112", message, "put the optional inputs last", make_pointer(("inputs", name)))
        optional = name if declared.optional else optional
    for name in function.attributes:
        if name in taken:
            message = f"attribute '{name}' has the name of a node or an input"
            yield Problem("GE201", message, None, make_pointer(("attributes", name)), at_key=True)
    for index, node in enumerate(function.nodes):
        for name, place in attributes_named(node):
            if name not in function.attributes and not gaps.hide(name, "attributes"):
                hint = did_you_mean(name, function.attributes, "attributes")
                message = f"node '{node['id']}': attribute '{name}' of the function is not defined"
                yield Problem("GE210", message, hint, make_pointer(("nodes", index, *place)), node["id"])


def cycle_problems(function: FunctionDocument) -> Iterator[Problem]:
    """Nodes of a function that form cycles, whether it is called or not; pointers into it."""
    seen = {*function.inputs, *function.attributes}
    places = {node["id"]: index for index, node in enumerate(function.nodes)}
    if len(places) < len(function.nodes) or not seen.isdisjoint(places):
        return  # an id is used twice, and which of the two is read nobody knows
    nodes = [GraphNode(each["id"], each["op"], None, tuple(_references(each))) for each in function.nodes]  # type: ignore[arg-type]
    for node in nodes:
        if not all(ref.partition(":")[0] in seen for ref in node.inputs if isinstance(ref, str)):
            break
        seen.add(node.id)
    else:
        return  # each reads what comes before it, as most functions are written
    for problem in topologically_sorted(nodes)[1]:
        yield replace(problem, pointer=make_pointer(("nodes", places[problem.node or ""])))


def omission_problems(function: Function, table: Table) -> Iterator[Problem]:
    """Optional inputs where a node needs one: a call that omits it would leave nothing there; pointers into it."""
    optional = {name for name, each in function.document.inputs.items() if each.optional}
    for index, node in enumerate(function.document.nodes if optional else ()):
        callee = table.get(node["op"]) or OPS.get(node["op"])
        needed = callee.signature.inputs[: callee.signature.required] if callee else ()
        inputs = node["inputs"]
        given = inputs if isinstance(inputs, dict) else dict(zip(needed, inputs, strict=False))
        for place, name in enumerate(needed):
            if given.get(name) in optional:
                message = (
                    f"node '{node['id']}' ({node['op']}) needs its input '{name}', but '{given[name]}' is optional"
                )
                pointer = make_pointer(("nodes", index, "inputs", name if isinstance(inputs, dict) else place))
                hint = "it may stand where the op takes an optional input, or any number of them, as add_n does"
                yield Problem("GE212", message, hint, pointer, node["id"])


def unsound_functions(table: Table, broken: Collection[str]) -> set[str]:
    """The functions that are broken and all that call them, or call what there is not; none calls itself."""
    callees = {each: _callees(each.document.nodes, callable_in(each, table)) for each in table.values()}
    unsound = set(broken)
    for function in TopologicalSorter(callees).static_order():
        if any(op in unsound or (op not in OPS and op not in table) for op in function.ops.values()):
            unsound.add(function.name)
    return unsound


# ---------------------------------------------------------------- how large it would become


class Measure(NamedTuple):
    """What a list of nodes becomes when it is inlined: nodes, ids and references in it, characters, depth of calls."""

    nodes: int = 0
    names: int = 0
    text: int = 0
    depth: int = 0


def expansion_problems(document: ModelDocument, table: Table, limits: Limits) -> Iterator[Problem]:
    """Recursion, and a graph that would become too large: told from the functions alone, nothing is inlined."""
    callees = {each: _callees(each.document.nodes, callable_in(each, table)) for each in table.values()}
    try:
        order = list(TopologicalSorter(callees).static_order())
    except CycleError as error:
        names = [function.name for function in error.args[1][::-1]]
        message = f"functions call each other in a cycle: {' -> '.join(names)}"
        yield Problem("GE215", message, None, make_pointer(("functions", names[0])))
        return
    calls = [node for node in document.nodes if node["op"] in table]
    measures: dict[Function, Measure] = {}
    longest = _longest_attribute(calls, table)
    for function in order:
        body = _measured(function.document.nodes, callable_in(function, table), measures, longest)
        measures[function] = _called(function, body)
    whole = _measured(calls, table, measures, longest)
    whole = whole._replace(nodes=whole.nodes + len(document.nodes) - len(calls), depth=whole.depth - 1)
    limit = _most_text(calls, document.functions.values(), whole.text, limits)
    for got, most, what in (
        (whole.nodes, limits.nodes, "nodes"),
        (whole.text, limit, "bytes of text"),
        (whole.depth, limits.function_depth, "levels of calls"),
    ):
        if got > most:
            amount = f"{got:,}" if got < _MOST else f"more than {_MOST:,}"
            message = f"with its functions inlined the graph would have {amount} {what}; the limit is {most:,}"
            hint = None
            if most is limit and limit < limits.function_bytes:
                hint = f"a file may become {limits.function_growth} times as long; raise the limit function_growth"
            yield Problem("GE216", message, hint, "/functions")
            return


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
    inner = (node for each in table.values() for node in each.document.nodes if node["op"] in callable_in(each, table))
    given = (node.get("attributes", {}) for node in itertools.chain(calls, inner))
    defaults = (function.defaults for function in table.values())
    return max((_length(value) for each in itertools.chain(given, defaults) for value in each.values()), default=0)


def _called(function: Function, body: Measure) -> Measure:
    """The measure of a function with what each call costs besides its nodes: omitted inputs, outputs, attributes."""
    interface = (*function.document.inputs, *function.document.outputs, *function.document.attributes)
    text = sum(map(len, interface)) + 5 * len(interface) + _length(function.defaults)
    return body._replace(names=body.names + len(function.document.outputs), text=body.text + text)


_LEAST = 100
"""Bytes that a node counts at least: a short one takes as much memory as a longer one."""


_MOST = 10**15
"""Counting stops here: a file of functions that each call the one before twice has numbers as long as itself."""


def _callees(nodes: Iterable[NodeDocument], table: Table) -> list[Function]:
    return [table[node["op"]] for node in nodes if node["op"] in table]


def _measured(
    nodes: Iterable[NodeDocument], table: Table, measures: Mapping[Function, Measure], longest: int
) -> Measure:
    """The measure of nodes from those of the functions they call; an attribute takes at most the `longest` text."""
    count, names, text, depth = 0, 0, 0, 1
    for node in nodes:
        called = measures[table[node["op"]]] if node["op"] in table else Measure(nodes=1)
        count += called.nodes
        names += called.names + 1 + len(node["inputs"])
        text += called.text + called.names * (len(node["id"]) + 1) + max(_length(node), _LEAST)
        text += longest * sum(1 for _ in attributes_named(node))
        depth = max(depth, called.depth + 1)
    return Measure(min(count, _MOST), min(names, _MOST), min(text, _MOST), depth)


def _length(value: Any) -> int:
    return len(orjson.dumps(value))
