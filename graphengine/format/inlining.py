"""Inlining: each call of a function is replaced by the nodes of the function, their ids in the scope of the call.

The node `product` of a function that the node `hidden` calls becomes `hidden/product`; the node that gives the
function's first output becomes `hidden` itself. Nothing recurses: calls within calls are a list that grows.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import orjson

from graphengine.errors import MOST_TOLD, Problem, did_you_mean, make_pointer
from graphengine.format.documents import InputDocument, ModelDocument
from graphengine.format.functions import (
    Function,
    FunctionCall,
    Table,
    attributes_named,
    callable_in,
    cycle_problems,
    declaration_problems,
    omission_problems,
    substituted,
)
from graphengine.format.resolve import Resolver
from graphengine.format.salvage import Gaps
from graphengine.ir.node_types import literal_type
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.limits import DEFAULT, Limits
from graphengine.ops.numbers import INEXACT, is_inexact
from graphengine.ops.shapes import ArrayType, dtype_name, mismatch


@dataclass(frozen=True, eq=False, slots=True)
class CallFrame:
    """One call on its way into the graph.

    `node` is the id of the node that calls, in the file or in the function that the `parent` calls; `path` is the scope
    of the nodes it becomes, and `ident` the id of the one that gives its first output.
    """

    node: str
    path: str
    ident: str
    call: FunctionCall
    operands: tuple[Operand, ...]
    parent: CallFrame | None = None

    def id_of(self, node: str) -> str:
        """The id that a node of the function gets."""
        return self.ident if node == self.call.function.lead else f"{self.path}/{node}"

    @property
    def made(self) -> dict[str, str]:
        """The parameters that the call makes, by their names in the function: those that it is not given."""
        function = self.call.function
        if not function.document.parameters:
            return {}
        given = dict(zip(function.signature.inputs, self.operands, strict=True))
        names = {name: f"{self.path}/{name}" for name in function.document.parameters}
        return {name: ident for name, ident in names.items() if given.get(name) in (None, ident)}

    @property
    def trace(self) -> list[CallFrame]:
        """The calls that lead here, the one in the file's own nodes first."""
        frames: list[CallFrame] = [self]
        while frames[-1].parent:
            frames.append(frames[-1].parent)
        return frames[::-1]

    def __str__(self) -> str:
        """The calls that lead here, as a message tells them."""
        return ", ".join(f"call '{frame.node}' of '{frame.call.function.name}'" for frame in self.trace)


def _frame(
    node: str, path: str, ident: str, call: FunctionCall, operands: tuple[Operand, ...], parent: CallFrame | None = None
) -> CallFrame:
    """A call; where it omits an input for which it makes a parameter, that is its operand."""
    made = call.function.document.parameters
    if made:
        pairs = zip(call.signature.inputs, operands, strict=True)
        operands = tuple([f"{path}/{name}" if ref is None and name in made else ref for name, ref in pairs])
    return CallFrame(node, path, ident, call, operands, parent)


class Body(NamedTuple):
    """The nodes of a function for certain attributes: ops, the further outputs of those, and calls."""

    ops: list[GraphNode]
    ports: list[tuple[str, str]]
    calls: list[GraphNode]


class Inlining:
    """The nodes of a document with all calls inlined, and what is wrong with the calls.

    `aliases` maps names of results that a file can use ("cell:state") to values of the graph ("cell/new_state").
    """

    def __init__(
        self, document: ModelDocument, nodes: Sequence[GraphNode], table: Table, limits: Limits = DEFAULT
    ) -> None:
        self.table, self._document, self._limits = table, document, limits
        self.problems: list[Problem] = []
        self.aliases: dict[str, str] = {}
        self.nodes: list[GraphNode] = []
        self._frames: list[CallFrame] = []
        self._bodies: dict[tuple[str | None, str, bytes] | FunctionCall, Body] = {}
        self._inline(nodes)

    def _inline(self, nodes: Sequence[GraphNode]) -> None:
        for node in nodes:
            if isinstance(node.node, FunctionCall):
                results = self._results(node.id, node.id, node.node.function)
                self.aliases.update({name: value for name, value in results.items() if name != value})
        names: Mapping[Any, Any] = self.aliases
        for ident, op, instance, inputs in nodes:
            operands = tuple([names.get(operand, operand) for operand in inputs])
            if isinstance(instance, FunctionCall):
                self._frames.append(_frame(ident, ident, ident, instance, operands))
            else:
                self.nodes.append(GraphNode(ident, op, instance, operands))
        ports = 0
        for frame in self._frames:  # it grows: a function may call others
            ports += len(self._body(frame).ports)
            if ports > (most := self._limits.outputs(len(self.nodes))):
                message = f"{frame}: up to here the inlined nodes have more than {most:,} outputs"
                hint = "raise the limit node_outputs"
                self.problems.append(Problem("GE216", message, hint, self.place_of(frame), frame.node))
                return
            self._inline_call(frame)

    def _inline_call(self, frame: CallFrame) -> None:
        """Put the nodes of a function into the graph, and its calls among the frames."""
        body, names = self._body(frame), self._names(frame)
        for name, op, instance, inputs in body.ops:
            operands = tuple([names.get(ref, ref) for ref in inputs])
            if instance.signature.variadic and None in operands:
                operands = tuple([ref for ref in operands if ref is not None])
            self.nodes.append(GraphNode(names[name], op, instance, operands))
        for node in body.calls:
            call: Any = node.node
            path, operands = f"{frame.path}/{node.id}", tuple([names.get(ref, ref) for ref in node.inputs])
            self._frames.append(_frame(node.id, path, frame.id_of(node.id), call, operands, frame))

    def renamed(self) -> ModelDocument:
        """The document of the graph: it names values of the graph where the file names results of calls."""
        names, document = self.aliases, self._document
        changed: dict[str, Any] = {
            "outputs": {name: names.get(value, value) for name, value in document.targets.items()},
            "state": {
                name: state.model_copy(update={"update": names.get(state.update or "", state.update)})
                for name, state in document.state.items()
            },
        }
        return document.model_copy(update=changed)

    def _names(self, frame: CallFrame) -> dict[Any, Any]:
        """What the names in a function stand for in one call: its inputs, and the results of its nodes."""
        body, function, path = self._body(frame), frame.call.function, frame.path
        names: dict[Any, Any] = dict(zip(function.signature.inputs, frame.operands, strict=True)) | frame.made
        names.update([(node[0], f"{path}/{node[0]}") for node in body.ops])
        if function.lead in names:
            names[function.lead] = frame.ident
        names.update([(f"{node}:{port}", f"{names[node]}:{port}") for node, port in body.ports])
        for call in body.calls:
            ident = frame.id_of(call.id)
            results = self._results(ident, f"{path}/{call.id}", call.node.function)  # type: ignore[attr-defined]
            names.update({f"{call.id}{name.removeprefix(ident)}": value for name, value in results.items()})
        return names

    def _results(self, ident: str, path: str, function: Function) -> dict[str, str]:
        """The values that a call gives, by the names that refer to them."""
        first, *others = function.signature.outputs
        values = {ident: self._value(ident, path, function, first)}
        return values | {f"{ident}:{port}": self._value(ident, path, function, port) for port in others}

    def _value(self, ident: str, path: str, function: Function, port: str) -> str:
        """The value that one output of a call is, followed through calls within the call."""
        while True:
            node, _, inner = function.document.outputs[port].partition(":")
            ident, path = ident if node == function.lead else f"{path}/{node}", f"{path}/{node}"
            callee = callable_in(function, self.table).get(function.ops[node])
            if callee is None:
                return f"{ident}:{inner}" if inner else ident
            function, port = callee, inner or callee.signature.outputs[0]

    def _body(self, frame: CallFrame) -> Body:
        """The nodes of a function for the attributes of a call; equal attributes give the same ones."""
        call = frame.call
        if call in self._bodies:
            return self._bodies[call]
        key = (call.function.domain, call.function.name, orjson.dumps(call.attributes, option=orjson.OPT_SORT_KEYS))
        if key not in self._bodies:
            nodes, problems = resolved_body(call.function, call.attributes, self.table, Gaps())
            ops = [node for node in nodes if not isinstance(node.node, FunctionCall)]
            ports = [(node.id, port) for node in ops for port in node.node.outputs[1:]]
            self._bodies[key] = Body(ops, ports, [node for node in nodes if isinstance(node.node, FunctionCall)])
            self.problems += [self._called(frame, problem) for problem in problems]
        self._bodies[call] = self._bodies[key]
        return self._bodies[call]

    # ------------------------------------------------------------ what is wrong

    def doubled(self, taken: Iterable[str]) -> Iterator[Problem]:
        """Ids of inlined nodes that something else has already."""
        calls = {frame.node for frame in self._frames if frame.parent is None}
        seen = set(taken) - calls
        for frame in self._frames:
            made = frame.made
            ids = [("node", node.id, frame.id_of(node.id)) for node in self._body(frame).ops]
            ids += [("parameter", name, ident) for name, ident in made.items()]
            for what, name, ident in ids:
                if ident in seen and not (name in made and ident in self._document.parameters):
                    message = f"{frame}, {what} '{name}': the id '{ident}' is used twice"
                    yield Problem("GE201", message, "rename a node of the file", self.place_of(frame), frame.path)
                seen.add(ident)

    def type_problems(
        self, types: Mapping[str, ArrayType], found: Iterable[Problem], made: Mapping[CallFrame, Problem]
    ) -> list[Problem]:
        """What is wrong with operands of calls and, where these are as declared, what was found inside.

        `made` are problems of parameters that calls make. The same inside the same function is reported once.
        """
        problems = dict(made)
        known: dict[Any, str | None] = {}  # most calls of a function are alike
        for frame in self._frames:
            kinds = tuple(types.get(ref) if isinstance(ref, str) else literal_type(ref) for ref in frame.operands)
            key = (frame.call.function, kinds)
            if key not in known:
                known[key] = _misfit(*key)
            reason = known[key]
            if reason and problems.keys().isdisjoint(frame.trace):
                problems[frame] = Problem("GE301", f"{frame}: {reason}", None, self.place_of(frame), frame.path)
        inner: dict[Any, Problem] = {}
        for problem in found:
            within = self._origins[problem.node][0] if problem.node in self._origins else None
            told = self.told(problem)
            if within is None or problems.keys().isdisjoint(within.trace):
                inner.setdefault((told.pointer, told.message.removeprefix(str(within))), told)
        return [*problems.values(), *inner.values()]

    @property
    def makers(self) -> list[CallFrame]:
        """The calls that make parameters."""
        return [frame for frame in self._frames if frame.made]

    def told(self, problem: Problem) -> Problem:
        """A problem of an inlined node as one of the function's node, to which calls have led; any other as it is."""
        if problem.node not in self._origins:
            return problem
        frame, node = self._origins[problem.node]
        function = frame.call.function
        pointer = make_pointer(("nodes", function.places[node]))
        message = problem.message.removeprefix(f"node '{problem.node}'")
        return self._called(frame, replace(problem, message=f"node '{node}'{message}", pointer=pointer))

    def _called(self, frame: CallFrame, problem: Problem) -> Problem:
        """A problem in a function as one of a call; of a function that is in no file, the place is that of the call."""
        function = frame.call.function
        within = make_pointer(("functions", function.name)) + (problem.pointer or "")
        pointer = self.place_of(frame) if function.domain else within
        return replace(problem, message=f"{frame}, {problem.message}", pointer=pointer)

    def place_of(self, frame: CallFrame) -> str:
        """The pointer to the innermost node of the file that leads to a call."""
        place = ""
        for caller in frame.trace:
            if caller.parent is None:
                place = make_pointer(("nodes", self._index[caller.node]))
            elif caller.parent.call.function.domain is None:
                function = caller.parent.call.function
                index = function.places[caller.node]
                place = make_pointer(("functions", function.name, "nodes", index))
        return place

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return {node["id"]: index for index, node in enumerate(self._document.nodes)}

    @cached_property
    def _origins(self) -> Mapping[str | None, tuple[CallFrame, str]]:
        """The call that each inlined node is from, and its id in the function."""
        return {frame.id_of(node.id): (frame, node.id) for frame in self._frames for node in self._body(frame).ops}


def _misfit(function: Function, kinds: Sequence[ArrayType | None]) -> str | None:
    """Why operands do not have the declared shapes and dtypes; None if they have or are not known."""
    declared = function.document.inputs
    given = {name: kind for name, kind in zip(declared, kinds, strict=True) if kind is not None}
    for name, kind in given.items():
        dtype = declared[name].dtype
        if dtype is not None and isinstance(kind.dtype, np.dtype) and kind.dtype != dtype:
            return f"input '{name}' must be {dtype}, it is {dtype_name(kind.dtype)}"
    parts = {
        name: declared[name].part_of(kind.shape) for name, kind in given.items() if declared[name].axes is not None
    }
    return mismatch({name: tuple(declared[name].axes or ()) for name in parts}, parts)


def function_problems(function: Function, table: Table, gaps: Gaps) -> list[Problem]:
    """What is wrong with a function of the file whatever its attributes are; pointers into the file."""
    document = function.document
    checks = (
        declaration_problems(document, gaps),
        _output_problems(function, gaps),
        _default_problems(function),
        cycle_problems(document),
        omission_problems(function, callable_in(function, table)),
    )
    found = [problem for check in checks for problem in itertools.islice(check, MOST_TOLD + 1)]
    if document.outputs:
        known = {name: value for name, value in function.defaults.items() if function.may_be(name, value)}
        attributes = {**dict.fromkeys(document.attributes.keys() - known.keys(), 1.0), **known}
        unsure = {node["id"] for node in document.nodes if any(name not in known for name, _ in attributes_named(node))}
        _, problems = resolved_body(function, attributes, table, gaps)
        found += [each for each in problems if each.code != "GE213" or each.node not in unsure]
    pointer, prefix = make_pointer(("functions", function.name)), f"function '{function.name}': "
    return [replace(each, pointer=pointer + (each.pointer or ""), message=prefix + each.message) for each in found]


def _output_problems(function: Function, gaps: Gaps) -> Iterator[Problem]:
    """Outputs that are the value of no node; whether a node has the port is told where its op is known."""
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
    """The nodes of a function for given attributes, and what is wrong with them; pointers into the function."""
    document = function.document
    content = ModelDocument.model_construct(
        format="graphengine.model",
        format_version=1,
        opset_imports=dict(function.imports),
        name=function.name,
        inputs={name: InputDocument(shape=[]) for name in (*document.inputs, *document.parameters)},
        nodes=[substituted(node, attributes) for node in document.nodes],
        outputs=document.outputs,
    )
    resolver = Resolver(content, callable_in(function, table), gaps)
    nodes = resolver.nodes()
    dangling = (
        Problem("GE210", f"output '{name}': value '{value}' is not defined", None, make_pointer(("outputs", name)))
        for name, value in document.outputs.items()
        if ":" in value and value not in resolver.values and not gaps.hide_value(value)
    )
    problems = [each for each in resolver.problems if each.code != "GE105" or each.node is not None]
    return nodes, [*problems, *itertools.islice(dangling, MOST_TOLD + 1)]
