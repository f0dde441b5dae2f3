"""Inlining: each call of a function is replaced by the nodes of the function, their ids in the scope of the call.

The node `product` of a function that the node `hidden` calls becomes `hidden/product`; the node that gives the
function's first output becomes `hidden` itself. Nothing recurses: calls within calls are a list that grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from graphengine.errors import Problem, make_pointer
from graphengine.format.documents import ModelDocument
from graphengine.format.function_nodes import content_of, resolved_body
from graphengine.format.functions import (
    Application,
    Function,
    FunctionCall,
    Table,
    callable_in,
)
from graphengine.format.layer_forms import LAYERS
from graphengine.format.salvage import Gaps
from graphengine.ir.declarations import misfit
from graphengine.ir.graph_bodies import ExpectedOperands, GraphBody
from graphengine.ir.nodes import GraphNode, Operand, operand_types, topologically_sorted
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import with_renamed, without_none
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType


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
        given = self.given
        names = {name: f"{self.path}/{name}" for name in function.document.parameters}
        return {name: ident for name, ident in names.items() if given.get(name) in (None, ident)}

    @property
    def given(self) -> dict[str, Operand]:
        """The operands, by the names of the function's inputs."""
        return dict(zip(self.call.function.signature.inputs, self.operands, strict=True))

    @property
    def trace(self) -> list[CallFrame]:
        """The calls that lead here, the one in the file's own nodes first."""
        frames: list[CallFrame] = [self]
        while frames[-1].parent:
            frames.append(frames[-1].parent)
        return frames[::-1]

    def __str__(self) -> str:
        """The calls that lead here, as a message lists them."""
        return ", ".join(f"call '{frame.node}' of '{frame.call.function.name}'" for frame in self.trace)


def _frame(
    node: str, path: str, ident: str, call: FunctionCall, operands: tuple[Operand, ...], parent: CallFrame | None = None
) -> CallFrame:
    """A call; where it omits an input for which it makes a parameter, that is its operand."""
    made = call.function.document.parameters
    most = len(call.signature.inputs)
    operands = (*operands, *[None] * (most - len(operands)))[:most]
    if made:
        pairs = zip(call.signature.inputs, operands, strict=True)
        operands = tuple([f"{path}/{name}" if ref is None and name in made else ref for name, ref in pairs])
    return CallFrame(node, path, ident, call, operands, parent)


class FunctionNodes(NamedTuple):
    """The nodes of a function for certain attributes: ops, the further outputs of those, and calls by id.

    `problems` are those that have not been reported.
    """

    ops: list[GraphNode]
    ports: list[tuple[str, str]]
    calls: Mapping[str, GraphNode]
    problems: list[Problem]


class Inlining:
    """The nodes of a document with all calls inlined, and the errors in the calls.

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
        self._bodies: dict[Any, FunctionNodes] = {}
        self._instances: dict[Any, Any] = {}
        self._made: dict[Any, GraphBody] = {}
        self._inline(nodes)

    def _inline(self, nodes: Sequence[GraphNode]) -> None:
        self._name_results(nodes)
        names: Mapping[Any, Any] = self.aliases
        for ident, op, instance, inputs in nodes:
            operands = tuple([names.get(operand, operand) for operand in inputs])
            if isinstance(instance, FunctionCall):
                self._enter(_frame(ident, ident, ident, instance, operands), operands)
            else:
                self._place(ident, op, instance, operands)
        self._inline_calls()

    def _name_results(self, nodes: Sequence[GraphNode]) -> None:
        """Note which values the results of calls in the file are."""
        for node in nodes:
            if isinstance(node.node, FunctionCall):
                results = self._results(node.id, node.id, node.node)
                self.aliases.update({name: value for name, value in results.items() if name != value})

    def _place(self, ident: str, op: str, instance: Any, operands: tuple[Operand, ...]) -> None:
        """Put a node that is no call into the graph."""
        if isinstance(instance, Application):
            self.nodes.append(self._running(ident, instance, operands))
            return
        if None in operands and instance.signature.variadic:
            operands = _given(operands)
        self.nodes.append(GraphNode(ident, op, instance, operands))

    def _inline_calls(self) -> None:
        ports = 0
        for frame in self._frames:  # it grows: a function may call others
            ports += len(self._body(frame).ports)
            if ports > (most := self._limits.outputs(len(self.nodes))):
                message = f"{frame}: up to here the inlined nodes have more than {most:,} outputs"
                hint = "raise the limit node_outputs"
                self.problems.append(Problem("GE216", message, hint, self.place_of(frame), frame.node))
                return
            self._inline_call(frame)

    def _enter(self, frame: CallFrame, given: tuple[Operand, ...]) -> None:
        """Note a call, unless it has too few or too many operands: of a node of op `call` that depends on the caller's.

        A shipped function hands on all inputs that it may have been given.
        """
        signature, needed = frame.call.signature, frame.operands[: frame.call.signature.required]
        if None in needed or _given(given[len(signature.inputs) :]):
            message = f"{frame}: it takes {signature.arity()}, not {len(_given(given))}"
            self.problems.append(Problem("GE212", message, None, self.place_of(frame), frame.path))
            return
        self._frames.append(frame)

    def _inline_call(self, frame: CallFrame) -> None:
        """Put the nodes of a function into the graph, and its calls among the frames."""
        body, names = self._body(frame), self._names(frame)
        for name, op, instance, inputs in body.ops:
            self._place(names[name], op, instance, tuple([names.get(ref, ref) for ref in inputs]))
        for node in body.calls.values():
            call: Any = node.node
            path, operands = f"{frame.path}/{node.id}", tuple([names.get(ref, ref) for ref in node.inputs])
            self._enter(_frame(node.id, path, frame.id_of(node.id), call, operands, frame), operands)

    def _running(self, ident: str, application: Application, operands: tuple[Operand, ...]) -> GraphNode:
        """A node that runs functions, with their bodies, for the inputs that are there."""
        omitted = tuple(place - application.ahead for place, operand in enumerate(operands) if operand is None)
        key = (application, omitted)
        if key not in self._instances:
            bodies = {field: self._body_of(each, omitted) for field, each in application.functions.items()}
            cls = OPS[application.name].cls
            self._instances[key] = cls.model_validate({**application.attributes, **bodies})
        return GraphNode(ident, application.name, self._instances[key], _given(operands))

    def _body_of(self, function: Function, omitted: tuple[int, ...]) -> GraphBody:
        """The nodes of a function with its calls inlined and without the inputs that are omitted."""
        if (function, omitted) not in self._made:
            body, problems = function_body(function, omitted, self.table, self._limits)
            self.problems += [_in_function(function, each) for each in problems]
            self._made[function, omitted] = body
        return self._made[function, omitted]

    def renamed(self) -> ModelDocument:
        """The document of the graph: it names values of the graph where the file names results of calls."""
        names, document = self.aliases, self._document
        changed: dict[str, Any] = {
            "outputs": with_renamed(document.targets, names),
            "state": {
                name: state.model_copy(update={"update": names.get(state.update or "", state.update)})
                for name, state in document.state.items()
            },
        }
        return document.model_copy(update=changed)

    def _names(self, frame: CallFrame) -> dict[Any, Any]:
        """What the names in a function mean in one call: its inputs, and the results of its nodes."""
        body, function, path = self._body(frame), frame.call.function, frame.path
        names: dict[Any, Any] = frame.given | frame.made
        names.update([(node[0], f"{path}/{node[0]}") for node in body.ops])
        if function.lead in names:
            names[function.lead] = frame.ident
        names.update([(f"{node}:{port}", f"{names[node]}:{port}") for node, port in body.ports])
        for call in body.calls.values():
            names.update(self._inner_results(frame, call.id, call.node))  # type: ignore[arg-type]
        return names

    def _inner_results(self, frame: CallFrame, node: str, call: FunctionCall) -> dict[str, str]:
        """The values that a call within a call gives, by the names that the calling function has for them."""
        ident = frame.id_of(node)
        results = self._results(ident, f"{frame.path}/{node}", call)
        return {f"{node}{name.removeprefix(ident)}": value for name, value in results.items()}

    def _results(self, ident: str, path: str, call: FunctionCall) -> dict[str, str]:
        """The values that a call gives, by the names that refer to them."""
        first, *others = call.outputs
        values = {ident: self._value(ident, path, call, first)}
        return values | {f"{ident}:{port}": self._value(ident, path, call, port) for port in others}

    def _value(self, ident: str, path: str, call: FunctionCall, port: str) -> str:
        """The value that one output of a call is, followed through calls within the call."""
        while True:
            function = call.function
            node, _, inner = function.document.outputs[port].partition(":")
            ident, path = ident if node == function.lead else f"{path}/{node}", f"{path}/{node}"
            inside = self._resolved(call).calls.get(node)
            if inside is None:
                return f"{ident}:{inner}" if inner else ident
            call = inside.node  # type: ignore[assignment]
            port = inner or call.outputs[0]

    def _body(self, frame: CallFrame) -> FunctionNodes:
        """The nodes of a function for the attributes of a call; what is wrong with them is reported once."""
        body = self._resolved(frame.call)
        if body.problems:
            self.problems += [self._called(frame, problem) for problem in body.problems]
            body.problems.clear()
        return body

    def _resolved(self, call: FunctionCall) -> FunctionNodes:
        """The nodes of a function for the attributes of a call; equal attributes give the same ones."""
        if call not in self._bodies:
            key = _form_of(call)
            if key not in self._bodies:
                self._bodies[key] = self._nodes_of(call)
            self._bodies[call] = self._bodies[key]
        return self._bodies[call]

    def _nodes_of(self, call: FunctionCall) -> FunctionNodes:
        nodes, problems = resolved_body(call.function, call.attributes, self.table, Gaps())
        calls = {node.id: node for node in nodes if isinstance(node.node, FunctionCall)}
        ops = [node for node in nodes if node.id not in calls]
        return FunctionNodes(ops, _ports(ops), calls, problems)

    # ------------------------------------------------------------ what is wrong

    def doubled(self, taken: Iterable[str]) -> Iterator[Problem]:
        """Ids of inlined nodes that something else has already."""
        calls = {frame.node for frame in self._frames if frame.parent is None}
        seen = set(taken) - calls
        for frame in self._frames:
            for what, name, ident in self._ids(frame):
                if ident in seen:
                    message = f"{frame}, {what} '{name}': duplicate node id '{ident}'"
                    yield Problem("GE201", message, "rename a node of the file", self.place_of(frame), frame.path)
                seen.add(ident)

    def _ids(self, frame: CallFrame) -> Iterator[tuple[str, str, str]]:
        """What a call adds to the graph, by its name in the function and its id; a file may declare the parameters."""
        for node in self._body(frame).ops:
            yield "node", node.id, frame.id_of(node.id)
        for name, ident in frame.made.items():
            if ident not in self._document.parameters:
                yield "parameter", name, ident

    def type_problems(
        self, types: Mapping[str, ArrayType], found: Iterable[Problem], made: Mapping[CallFrame, Problem]
    ) -> list[Problem]:
        """What is wrong with operands of calls and, where these are as declared, what was found inside.

        `made` are problems of parameters that calls make. The same inside the same function is reported once.
        """
        problems = self._operand_problems(types, made)
        inner: dict[Any, Problem] = {}
        for problem in found:
            within, _ = self._origins.get(problem.node, (None, None))
            placed = self.placed(problem)
            if within is None or problems.keys().isdisjoint(within.trace):
                inner.setdefault((placed.pointer, placed.message.removeprefix(str(within))), placed)
        return [*problems.values(), *inner.values()]

    def _operand_problems(
        self, types: Mapping[str, ArrayType], made: Mapping[CallFrame, Problem]
    ) -> dict[CallFrame, Problem]:
        """What is wrong with calls, except for those within a call that is wrong."""
        problems = dict(made)
        known: dict[Any, str | None] = {}  # most calls of a function are alike
        for frame in self._frames:
            key = (frame.call.function, operand_types(frame.operands, types))
            if key not in known:
                known[key] = _misfit(*key)
            reason = known[key]
            if reason and problems.keys().isdisjoint(frame.trace):
                problems[frame] = Problem("GE301", f"{frame}: {reason}", None, self.place_of(frame), frame.path)
        return problems

    @property
    def expected(self) -> list[ExpectedOperands]:
        """What the functions that are called declare of their operands."""
        return [_expected(f"{frame}: ", frame.call.function, frame.given) for frame in self._frames]

    @property
    def makers(self) -> list[CallFrame]:
        """The calls that make parameters."""
        return [frame for frame in self._frames if frame.made]

    def placed(self, problem: Problem) -> Problem:
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
        function, where = frame.call.function, f"{frame}, "
        if function.domain:
            return replace(problem, message=where + problem.message, pointer=self.place_of(frame))
        return problem.within(make_pointer(("functions", function.name)), where)

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
    given = without_none(dict(zip(declared, kinds, strict=True)))
    return misfit({name: declared[name].expected for name in given}, given)


def _expected(where: str, function: Function, given: Mapping[str, Operand]) -> ExpectedOperands:
    """What a function declares of the operands that its inputs are given."""
    declared = function.document.inputs
    return ExpectedOperands(where, {name: (operand, declared[name].expected) for name, operand in given.items()})


def function_body(
    function: Function, omitted: tuple[int, ...], table: Table, limits: Limits
) -> tuple[GraphBody, list[Problem]]:
    """The body that an op runs, of a function without the inputs at the places `omitted`, and the errors in it."""
    nodes, problems = resolved_body(function, function.defaults, table, Gaps())
    given = function.signature.inputs
    absent = dict.fromkeys([given[place] for place in omitted])
    nodes = [_without(node, absent) for node in nodes]
    scope = callable_in(function, table)
    inner = Inlining(content_of(function, function.defaults), nodes, {**table, **scope}, limits)
    problems += [*inner.problems, *_key_problems(inner.nodes), *_maker_problems(inner.makers)]
    results = with_renamed(function.document.outputs, inner.aliases)
    names = {name: name for name in given if name not in absent}
    expected = [_expected("", function, names), *inner.expected]
    return GraphBody(function.name, names, topologically_sorted(inner.nodes)[0], results, expected), problems


def _key_problems(nodes: Iterable[GraphNode]) -> Iterator[Problem]:
    """Random ops without a key: what an op runs gets none by itself."""
    for node in nodes:
        place = getattr(node.node.signature, "key", None)
        if place is not None and node.inputs[place] is None:
            message = f"node '{node.id}' ({node.op}): a random op that runs in a loop or a choice needs its 'key'"
            hint = "give the function the key as an input, one for each step"
            yield Problem("GE212", message, hint, None, node.id)


def _maker_problems(makers: Sequence[CallFrame]) -> Iterator[Problem]:
    for frame in makers[:1]:
        message = f"{frame} makes parameters, which a function that an op runs cannot"
        yield Problem("GE213", message, "give them as inputs")


def _without(node: GraphNode, absent: Mapping[Any, None]) -> GraphNode:
    """A node without the operands that are absent."""
    operands = tuple([None if ref in absent else ref for ref in node.inputs])
    return node._replace(inputs=_given(operands) if node.node.signature.variadic else operands)


def _given(operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
    """The operands that are not omitted."""
    return tuple([ref for ref in operands if ref is not None])


def _ports(nodes: Iterable[GraphNode]) -> list[tuple[str, str]]:
    """The further outputs of nodes."""
    return [(node.id, port) for node in nodes for port in node.node.outputs[1:]]


def _form_of(call: FunctionCall) -> tuple[Any, ...]:
    """What the nodes of a call depend on: those of a layer also on the inputs that it gives."""
    function, attributes = call.function, orjson.dumps(call.attributes, option=orjson.OPT_SORT_KEYS)
    return function.domain, function.name, attributes, len(function.document.nodes) * (function.name in LAYERS)


def _in_function(function: Function, problem: Problem) -> Problem:
    """A problem in a function that an op runs; of a function of the file the place is there."""
    where = f"function '{function.name}': "
    if function.domain:
        return replace(problem, message=where + problem.message, pointer=None)
    return problem.within(make_pointer(("functions", function.name)), where)
