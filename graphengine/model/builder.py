"""A model file written in Python: NumPy functions, operators and ops on symbols become its nodes.

A builder adds nothing to the format. What it makes is checked like any file, and can be saved as one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphengine.errors import InvalidModelError, Problem, UsageError, did_you_mean, require_none
from graphengine.format.documents import FORMAT, FORMAT_VERSION, FunctionDocument
from graphengine.format.files import write_bytes
from graphengine.format.functions import DOMAINS, RUNNING, Function, shipped_functions
from graphengine.format.inlining import function_body
from graphengine.format.reading import as_json, parse_model
from graphengine.format.saving import node_document
from graphengine.format.writing import dump_model, encode_array
from graphengine.ir.graph import Graph
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ir.recording import Recorder, Symbol
from graphengine.limits import DEFAULT, Limits
from graphengine.mappings import only, without_none
from graphengine.model.model import Model
from graphengine.nn.shipped import call_graph, check_attributes, form_of
from graphengine.ops.calling import OpFunction, split
from graphengine.ops.node import Node
from graphengine.ops.registry import CORE, OPS, OPSET_VERSION, domain_of
from graphengine.ops.shapes import ArrayType, Size, array_type

Json = dict[str, Any]


class Value(Symbol):
    """A value of a model that is being built: an input, a parameter, state, or what a node computes.

    It has `shape`, `ndim` and `dtype` and takes part in NumPy's operators and functions; each use adds a node.
    """

    __slots__ = ()

    @property
    def shape(self) -> Any:
        """The shape: integers, and symbols as text, `("N", 4)`; `ge.ops.size` adds a node that computes a size."""
        return self.type.shape

    def record_call(self, function: str, inputs: Sequence[Any], attributes: Mapping[str, Any], *, by_name: bool) -> Any:
        """Record the call of a function; the result is a value, or a tuple of them."""
        recorder: Any = self.recorder
        return recorder.call_function(function, inputs, attributes, by_name=by_name)


class _GraphDraft(Recorder):
    """Records nodes as they are written: what is written twice stays twice, and functions stay calls."""

    def __init__(self, dtype: str) -> None:
        super().__init__(Graph("draft", {}, {}, {}, [], {}, {"": array_type((), dtype)}))
        self.calls: dict[str, Json] = {}
        """The nodes that call functions, by their temporary names."""
        self.functions: dict[str, FunctionDocument] = {}
        self.lines: dict[str, str] = {}
        """Where in the caller's code each node was made."""

    def symbol(self, operand: Operand) -> Any:
        return Value(self, operand, self.types[operand]) if isinstance(operand, str) else operand

    def emit(self, op: str, node: Node, operands: tuple[Operand, ...], name: str) -> Any:
        self._same.clear()
        name = self.numbered("")
        self.lines[name] = _callers_line()
        try:
            super().emit(op, node, operands, name)
        except ValueError as error:
            raise InvalidModelError([Problem("GE301", f"{self.lines[name]}: op '{op}': {error}")]) from None
        made = self.nodes[-1]
        results = tuple(map(self.symbol, made.outputs))
        return results[0] if len(results) == 1 else results

    def call_function(
        self, function: str, inputs: Sequence[Any], attributes: Mapping[str, Any], *, by_name: bool = False
    ) -> Any:
        """Record the call of a function; the file names its inputs, or has them in order."""
        operands = [self._operand(value) for value in inputs]
        name = self.numbered("")
        self.lines[name] = _callers_line()
        graph = self._graph_of_call(name, function, operands, attributes)
        outputs = dict(zip(graph.outputs, _port_names(name, list(graph.outputs)), strict=True))
        self.types.update({outputs[port]: graph.types[value] for port, value in graph.outputs.items()})
        while operands and operands[-1] is None:
            operands.pop()
        self.calls[name] = {"op": function, "inputs": operands, "attributes": dict(attributes), "by_name": by_name}
        self.nodes.append(GraphNode(name, function, None, tuple(operands)))  # type: ignore[arg-type]
        results = tuple(map(self.symbol, outputs.values()))
        return results[0] if len(results) == 1 else results

    def _graph_of_call(self, name: str, function: str, operands: Sequence[Any], attributes: Mapping[str, Any]) -> Graph:
        """The graph of a function for the operands of a call; errors have the caller's line."""
        kinds = [self.types[each] if isinstance(each, str) else each for each in operands]
        try:
            return call_graph(function, kinds, attributes, self.functions)
        except InvalidModelError as error:
            raise InvalidModelError(
                Problem(each.code, f"{self.lines[name]}: {each.message}", each.hint) for each in error.problems
            ) from None

    def declare(self, name: str, kind: ArrayType) -> Any:
        """Enter a value that no node computes."""
        self.types[name] = kind
        for axis, size in enumerate(kind.shape):
            if isinstance(size, str):
                self._axes.setdefault(size, (name, axis))
        return self.symbol(name)


class Builder:
    """Builds a model file: declare inputs and parameters, compute with them, name values, declare outputs.

    >>> import graphengine as ge
    >>> b = ge.Builder("double")
    >>> x = b.input("x", ["N"])
    >>> b.output(doubled=b.name("twice", 2 * x))
    >>> b.model().predict(x=[1.0, 2.0])["doubled"]
    array([2., 4.])

    `dtype` is the default for inputs and parameters. Values are symbols: operators, NumPy functions, the ops
    of `ge.ops` and the functions of `ge.nn` add nodes. A node without its own name is named after its op.
    """

    def __init__(
        self,
        name: str,
        *,
        dtype: str = "float64",
        description: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self._draft = _GraphDraft(dtype)
        self._dtype = dtype
        self._head: Json = {"name": name, **_given(description=description, metadata=metadata)}
        self._sections: dict[str, Json] = {key: {} for key in ("inputs", "parameters", "state", "functions", "data")}
        self._names: dict[str, str] = {}
        """The names that nodes were given, by their temporary names."""
        self._descriptions: dict[str, str] = {}
        self._outputs: dict[str, str] = {}
        self._speaking: dict[str, str] = {}
        """The inputs whose categories outputs are given in."""
        self._training: Json | None = None

    def __repr__(self) -> str:
        return f"<Builder '{self._head['name']}': {len(self._draft.nodes)} nodes>"

    # ------------------------------------------------------------ what a model declares

    def input(
        self, name: str, shape: Sequence[Size], dtype: str | None = None, *, description: str | None = None, **keys: Any
    ) -> Value:
        """Declare an input and return its value; `shape` has integers and symbols, such as `["N", 4]`."""
        return self._declare("inputs", name, shape, dtype, **_given(description=description), **keys)

    def parameter(
        self,
        name: str,
        shape: Sequence[Size],
        *,
        initializer: float | Mapping[str, Any] | None = None,
        value: Any = None,
        dtype: str | None = None,
        **keys: Any,
    ) -> Value:
        """Declare a parameter and return its value.

        `initializer` is a number or an initializer of the format, such as `{"type": "he_normal"}`; `value` is an array,
        the trained value. Further keywords are keys of the format: `trainable`, `learning_rate_multiplier`, ...
        """
        return self._declare("parameters", name, shape, dtype, **_started(initializer, value), **keys)

    def state(
        self,
        name: str,
        shape: Sequence[Size],
        *,
        initializer: float | Mapping[str, Any] | None = None,
        value: Any = None,
        dtype: str | None = None,
        **keys: Any,
    ) -> Value:
        """Declare state, a value that changes without being trained, and return its value; see `update`."""
        return self._declare("state", name, shape, dtype, **_started(initializer, value), **keys)

    def update(self, **values: Value) -> None:
        """Declare the value that replaces state after each step: `b.update(mean=new_mean)`."""
        for name, value in values.items():
            if name not in self._sections["state"]:
                raise UsageError(f"there is no state '{name}'", code="GE402")
            self._sections["state"][name]["update"] = self._reference(value)

    def function(self, name: str, document: Mapping[str, Any]) -> None:
        """Declare a function of the file, in the form of the format; `call` calls it."""
        self._sections["functions"][name] = dict(document)
        self._draft.functions[name] = FunctionDocument.model_validate(dict(document))

    def data(self, name: str, source: Mapping[str, Any]) -> None:
        """Declare a data source, in the form of the format."""
        self._sections["data"][name] = dict(source)

    def training(self, **section: Any) -> None:
        """Declare the training section, in the form of the format; a value may replace its name."""
        self._training = section

    def output(self, **values: Value) -> None:
        """Declare public outputs: `b.output(prediction=y_hat, loss=loss)`."""
        self._outputs.update({name: self._reference(value) for name, value in values.items()})

    def categories(self, **inputs: Value) -> None:
        """Return declared outputs as the categories of an input: `b.categories(species=y)`."""
        self._speaking.update({output: self._reference(value) for output, value in inputs.items()})

    # ------------------------------------------------------------ nodes

    def name(self, name: str, value: Any, *, description: str | None = None) -> Any:
        """Set the id of the node that computes a value, and return the value; pass any output of a node with several.

        Raises
        ------
        UsageError
            GE801 if no node made the value, or the node has a name.
        """
        node = self._node_of(value, name)
        if node in self._names:
            raise UsageError(f"the node that is to be named '{name}' is named '{self._names[node]}'")
        self._names[node] = name
        if description is not None:
            self._descriptions[node] = description
        return value

    def _node_of(self, value: Any, name: str) -> str:
        """The node that made a value, or the first of several values, which is to be named."""
        first = value[0] if isinstance(value, tuple) and value else value
        node = self._reference(first).partition(":")[0]
        if node not in self._draft.lines:
            raise UsageError(f"'{node or first}' is not the result of a node, so it cannot be named '{name}'")
        return node

    def node(self, op: str, *inputs: Any, **attributes: Any) -> Any:
        """Add a node of any op, even one without inputs: `b.node("constant", value=2.0)`.

        Raises
        ------
        UsageError
            GE211 if there is no such op.
        InputError
            GE213 if the attributes do not fit.
        """
        if op not in OPS:
            raise UsageError(f"there is no op '{op}'", code="GE211")
        arguments, rest = split(op, OPS[op].signature.parameters(), inputs, attributes)
        bodies = {field: self._body(rest[field]) for field in RUNNING.get(op, ()) if isinstance(rest.get(field), str)}
        return self._draft.apply(op, arguments, OpFunction(OPS[op]).node({**rest, **bodies}))

    def _body(self, name: str) -> GraphBody:
        """Return a function of the file or of the package as an op runs it."""
        imports = {CORE: OPSET_VERSION, **DOMAINS}
        own = {each: Function(each, document, imports) for each, document in self._draft.functions.items()}
        table = {**shipped_functions(), **own}
        if name not in table:
            raise UsageError(
                f"there is no function '{name}'", code="GE211", hint=did_you_mean(name, table, "functions")
            )
        body, problems = function_body(table[name], (), table, DEFAULT)
        require_none(problems)
        return body

    def call(self, function: str, *inputs: Any, **attributes: Any) -> Any:
        """Call a function of the file or of the package: `b.call("nn.dense", x, weight, bias)`.

        Raises
        ------
        UsageError
            GE211 if there is no such function.
        InputError
            GE213 if it has no such attribute.
        """
        called = self._function(function)
        arguments, rest = split(function, form_of(called, attributes).signature.parameters(), inputs, attributes)
        check_attributes(called, rest)
        by_name = not attributes.keys().isdisjoint(called.signature.inputs)
        return self._draft.call_function(function, arguments, rest, by_name=by_name)

    # ------------------------------------------------------------ what it makes

    def to_dict(self) -> Json:
        """Return the content of the model file."""
        ids = self._ids()
        sections = {**self._sections, "state": self._states(ids)}
        declared = {key: section for key, section in sections.items() if section}
        data = declared.pop("data", None)
        training = self._without_values(self._training, ids)
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "opset_imports": self._imports(),
            **self._head,
            **({"dtype": self._dtype} if self._dtype != "float64" else {}),
            **declared,
            "nodes": [self._node(node, ids) for node in self._draft.nodes],
            "outputs": {name: self._output(name, _renamed(value, ids)) for name, value in self._outputs.items()},
            **_given(data=data, training=training),
        }

    def _states(self, ids: Mapping[str, str]) -> Json:
        """The state, with references to ids."""
        states = self._sections["state"]
        return {name: {**each, **_given(update=_renamed(each.get("update"), ids))} for name, each in states.items()}

    def _output(self, name: str, value: str) -> str | Json:
        return {"value": value, "categories": self._speaking[name]} if name in self._speaking else value

    def model(self, path: str | Path | None = None, *, limits: Limits = DEFAULT) -> Model:
        """Return the model; data paths are resolved as if it were loaded from `path`.

        Raises
        ------
        InvalidModelError
            With all independent problems; those of a node name the line of Python that made it.
        """
        try:
            return Model.from_dict(self.to_dict(), path, limits=limits)
        except InvalidModelError as error:
            raise InvalidModelError(map(self._with_line, error.problems)) from None

    def save(self, path: str | Path) -> None:
        """Write the model file.

        Raises
        ------
        InvalidModelError
            If the model is not valid; nothing is written then.
        GraphEngineError
            GE101 if the file cannot be written.
        """
        self.model(path)
        write_bytes(path, dump_model(parse_model(as_json(self.to_dict()))[0]))

    # ------------------------------------------------------------ parts

    def _declare(self, section: str, name: str, shape: Sequence[Size], dtype: str | None, **keys: Any) -> Value:
        if name in self._draft.types:
            raise UsageError(f"'{name}' is already declared", code="GE201")
        self._sections[section][name] = {"shape": list(shape), **_given(dtype=dtype), **keys}
        value: Value = self._draft.declare(name, array_type(shape, dtype or self._dtype))
        return value

    def _reference(self, value: Any) -> str:
        if not isinstance(value, Symbol) or value.recorder is not self._draft:
            what = "a value of another builder" if isinstance(value, Symbol) else f"{value!r:.60}"
            raise UsageError(f"{what} is not a value of this builder")
        return value.name

    def _ids(self) -> dict[str, str]:
        """The ids of the nodes by their temporary names: given ones, or derived from the op."""
        taken = {*self._sections["inputs"], *self._sections["parameters"], *self._sections["state"]}
        taken |= set(self._names.values())
        ids, counts = {}, dict[str, int]()
        for node in self._draft.nodes:
            if node.id in self._names:
                ids[node.id] = self._names[node.id]
                continue
            stem = node.op.rpartition(".")[2]
            counts[stem] = count = counts.get(stem, 0) + 1
            ident = stem if count == 1 else f"{stem}_{count}"
            while ident in taken:
                counts[stem] = count = count + 1
                ident = f"{stem}_{count}"
            taken.add(ident)
            ids[node.id] = ident
        return ids

    def _node(self, node: GraphNode, ids: Mapping[str, str]) -> Json:
        call = self._draft.calls.get(node.id)
        document: Json = dict(node_document(node)) if call is None else call
        attributes = document.get("attributes")
        return {
            "id": ids[node.id],
            "op": document["op"],
            "inputs": self._inputs(document, ids),
            **({"attributes": attributes} if attributes else {}),
            **_given(description=self._descriptions.get(node.id)),
        }

    def _inputs(self, document: Json, ids: Mapping[str, str]) -> Any:
        inputs = self._operands(document)
        if isinstance(inputs, dict):
            return {name: _renamed(ref, ids) for name, ref in inputs.items() if ref is not None}
        return [_renamed(ref, ids) for ref in inputs]

    def _operands(self, document: Json) -> Any:
        """The operands by name, where the caller named them or one between them is omitted, or else in order."""
        inputs = document["inputs"]
        if isinstance(inputs, dict) or (None not in inputs and not document.get("by_name")):
            return inputs
        return dict(zip(self._function(document["op"]).signature.inputs, inputs, strict=False))

    def _function(self, name: str) -> Function:
        own = self._draft.functions.get(name)
        if own is not None:
            return Function(name, own, {})
        shipped = shipped_functions()
        if name not in shipped:
            hint = did_you_mean(name, {**self._draft.functions, **shipped}, "functions")
            raise UsageError(f"there is no function '{name}'", code="GE211", hint=hint)
        return shipped[name]

    def _imports(self) -> Json:
        calls, functions = self._draft.calls, self._draft.functions.values()
        called = {call["op"] for call in calls.values()}
        domains = {domain_of(node.op) for node in self._draft.nodes if node.id not in calls}
        within = {node["op"] for each in functions for node in each.nodes}
        used = set(map(domain_of, called | within))
        return {CORE: OPSET_VERSION, **dict.fromkeys(sorted(domains - {CORE}), OPSET_VERSION), **only(DOMAINS, used)}

    def _without_values(self, content: Any, ids: Mapping[str, str]) -> Any:
        """A section with names where it has values."""
        if isinstance(content, Symbol):
            reference = self._reference(content)
            return _renamed(reference, ids)
        if isinstance(content, Mapping):
            return {key: self._without_values(value, ids) for key, value in content.items()}
        return content

    def _with_line(self, problem: Problem) -> Problem:
        lines = {ident: self._draft.lines[name] for name, ident in self._ids().items()}
        if problem.node not in lines:
            return problem
        return Problem(problem.code, f"{lines[problem.node]}: {problem.message}", problem.hint, None, problem.node)


def _port_names(node: str, ports: Sequence[str]) -> list[str]:
    """The names of the values that a call gives."""
    return [node, *(f"{node}:{port}" for port in ports[1:])]


def _renamed(reference: Any, ids: Mapping[str, str]) -> Any:
    """A reference to a temporary name as one to an id; anything else as it is."""
    if not isinstance(reference, str):
        return reference
    name, colon, port = reference.partition(":")
    return ids.get(name, name) + colon + port


def _given(**keys: Any) -> Json:
    """The keys that have a value."""
    return without_none(keys)


def _started(initializer: float | Mapping[str, Any] | None, value: Any) -> Json:
    """Initializer and value of a parameter or state as the format has them."""
    if initializer is None and value is None:
        initializer = {"type": "zeros"}
    return _given(initializer=_initializer(initializer), value=_stored(value))


def _initializer(given: float | Mapping[str, Any] | None) -> Json | None:
    """An initializer as the format has it; a number is one of the same number everywhere."""
    if isinstance(given, Mapping):
        return dict(given)
    return None if given is None else {"type": "constant", "value": given}


def _stored(value: Any) -> Any:
    """A value as the format has it; what is in that form already stays."""
    return value if value is None or isinstance(value, (Mapping, str)) else encode_array(value)


def _callers_line() -> str:
    """Where in the caller's code the current call comes from: the innermost frame outside of this package and NumPy."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("graphengine", "numpy"):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
