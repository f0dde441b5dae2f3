"""Reverse mode as a transformation from graph to graph.

Each node's own `backward` is called with values that are not arrays but record what is done to them, through NumPy's
protocols (NEP 13 and NEP 18), as nodes of the same op set. The result is a graph like any other: it can be read, saved,
run and differentiated again. A `backward` that cannot be recorded, because it looks at values or calls foreign code,
becomes one opaque node.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from graphengine.errors import DifferentiationError
from graphengine.executor import BackwardStep, Executor
from graphengine.graph import Graph, GraphNode, Operand, infer, literal_type, reachable
from graphengine.node import Node, Recorded
from graphengine.registry import OPS, Op
from graphengine.shapes import ArrayType, Shape, Size, product

MAX_NAMES = 8
"""The description of a gradient graph names at most this many values."""


class UnrecordableError(Exception):
    """Code did something with a recorded value that has no meaning before numbers are there."""


class Symbol(NDArrayOperatorsMixin, Recorded):
    """Stands for a value of a graph: knows its type, and records the NumPy calls made with it."""

    __slots__ = ("name", "recorder", "type")
    __array_priority__ = 1000.0

    def __init__(self, recorder: Recorder, name: str, kind: ArrayType) -> None:
        self.recorder, self.name, self.type = recorder, name, kind

    def __repr__(self) -> str:
        return f"<Symbol {self.name}: {self.type}>"

    @property
    def ndim(self) -> int:
        """The number of dimensions, always known."""
        return len(self.type.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype, always known."""
        return self.type.array_dtype

    @property
    def shape(self) -> SymbolicShape:
        """The shape: integers where sizes are known, symbols that stand for numbers elsewhere."""
        return SymbolicShape(self)

    @property
    def size(self) -> Any:
        """The number of values: an integer where it is known."""
        return self.recorder.size_of(self, None)

    @property
    def T(self) -> Any:  # noqa: N802 - NumPy's name
        """The transpose."""
        return self.recorder.apply("transpose", (self,), {})

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """The sum, as `numpy.sum`."""
        return self.recorder.call(np.sum, (self,), {"axis": axis, "keepdims": keepdims})

    def reshape(self, *shape: Any) -> Any:
        """The values in another shape, as `numpy.reshape`."""
        return self.recorder.call(np.reshape, (self, shape[0] if len(shape) == 1 else shape), {})

    def astype(self, dtype: Any) -> Any:
        """The values in another dtype."""
        return self.recorder.apply("cast", (self,), {"dtype": np.dtype(dtype).name})

    def record(self, node: Node, inputs: tuple[Any, ...]) -> Any:
        """Record the application of a node instance."""
        op = OPS.of_class(type(node))
        if op is None:
            raise UnrecordableError(f"{type(node).__name__} is not registered")
        return self.recorder.apply(op.name, inputs, node)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            raise UnrecordableError(f"numpy.{ufunc.__name__} with method {method}, options {sorted(options)}")
        return self.recorder.call(ufunc, inputs, {})

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        attribute = _ATTRIBUTES.get(function)
        if attribute and len(args) == 1 and not kwargs:
            return getattr(args[0], attribute)
        return self.recorder.call(function, args, kwargs)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnrecordableError(f"the value of '{self.name}' is not known while a graph is made")

    __bool__ = __len__ = __iter__ = __float__ = __int__ = __index__ = __array__ = __getitem__ = _refuse
    __hash__ = object.__hash__  # equality records a comparison


_ATTRIBUTES: Mapping[Any, str] = {np.shape: "shape", np.ndim: "ndim", np.size: "size"}


class SymbolicShape(tuple[Any, ...]):
    """The shape of a symbol: a tuple whose unknown sizes are symbols, and which as a whole is an operand."""

    of: Symbol

    def __new__(cls, of: Symbol) -> SymbolicShape:
        """Make the tuple of sizes."""
        shape = super().__new__(cls, [of.recorder.size_of(of, axis) for axis in range(of.ndim)])
        shape.of = of
        return shape


class Recorder:
    """Collects the nodes that recorded code makes, on top of the values of a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[GraphNode] = []
        self.types: dict[str, ArrayType] = dict(graph.types)
        self.scope = ""
        self._count = 0
        self._taken: dict[str, int] = {}
        self._same: dict[Any, Any] = {}
        self._sizes: dict[Size, Symbol] = {}
        self._instances: dict[Any, Node] = {}
        self._like: dict[Shape, str] = {}
        for name, kind in graph.types.items():
            if None not in kind.shape:
                self._like.setdefault(kind.shape, name)
        self._inferred: dict[Any, tuple[ArrayType, ...]] = {}

    def symbol(self, operand: Operand) -> Any:
        """What stands for an operand: a symbol for a value, a number for a literal."""
        return Symbol(self, operand, self.types[operand]) if isinstance(operand, str) else operand

    def call(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Record a call of a NumPy function as the op that does the same."""
        op = OPS.of_function(function)
        if op is None:
            raise UnrecordableError(f"numpy.{getattr(function, '__name__', function)} is not the counterpart of an op")
        inputs, attributes = _split_arguments(op, function, args, kwargs)
        return self.apply(op.name, inputs, attributes)

    def apply(self, op: str, inputs: Sequence[Any], node: Node | Mapping[str, Any]) -> Any:
        """Record one node and give the symbol of its result, or symbols of its results."""
        operands, fixed = self._operands(op, inputs)
        if not isinstance(node, Node):
            node = self.instance(op, {**node, **fixed})
        elif fixed:
            node = self.instance(op, {**node.model_dump(), **fixed})
        return self.emit(op, node, operands, self._fresh())

    def instance(self, op: str, attributes: Mapping[str, Any]) -> Node:
        """The node of an op with given attributes; equal ones are one object."""
        key = (op, *sorted((name, repr(value)) for name, value in attributes.items()))
        if key not in self._instances:
            self._instances[key] = OPS[op].cls.model_validate(attributes)
        return self._instances[key]

    def _operands(self, op: str, inputs: Sequence[Any]) -> tuple[tuple[Operand, ...], dict[str, Any]]:
        """Recorded values as operands; a shape becomes the attribute `shape` where it is known, else a node."""
        operands: list[Operand] = []
        fixed: dict[str, Any] = {}
        names = OPS[op].signature.inputs
        for position, value in enumerate(inputs):
            if position < len(names) and names[position] == "sizes" and isinstance(value, tuple):
                symbolic = sum(isinstance(size, Symbol) for size in value)
                if symbolic == 1 and op == "reshape" and not isinstance(value, SymbolicShape):
                    fixed["shape"] = tuple(-1 if isinstance(size, Symbol) else int(size) for size in value)
                    operands.append(None)
                elif symbolic:
                    operands.append(self._shape_operand(value))
                else:
                    fixed["shape"] = tuple(map(int, value))
                    operands.append(None)
            else:
                operands.append(self._operand(value))
        missing = len(names) - len(operands)
        return (*operands, *[None] * (missing if missing > 0 and not OPS[op].signature.variadic else 0)), fixed

    @staticmethod
    def _operand(value: Any) -> Operand:
        if isinstance(value, Symbol):
            return value.name
        if value is None or type(value) in (int, float):
            return value  # type: ignore[no-any-return]
        raise UnrecordableError(f"{type(value).__name__} is not an operand")

    def _shape_operand(self, shape: tuple[Any, ...]) -> str:
        if not isinstance(shape, SymbolicShape):
            raise UnrecordableError("a shape put together from symbolic sizes")
        source = self._source(shape.of)
        symbol = self.emit("shape", self.instance("shape", {}), (source,), self.free(f"{source}.shape"))
        return str(symbol.name)

    def _source(self, symbol: Symbol) -> str:
        """The first value of the graph that has the same shape: an input, where possible."""
        return self._like.get(symbol.type.shape, symbol.name)

    def size_of(self, of: Symbol, axis: int | None) -> Any:
        """A size as an integer where it is known, else the one symbol that stands for all sizes of that name."""
        size = product(of.type.shape) if axis is None else of.type.shape[axis]
        if isinstance(size, int):
            return size
        if size not in self._sizes:
            suffix, attributes = ("size", {}) if axis is None else (f"size.{axis}", {"axis": axis})
            source = self._source(of)
            symbol = self.emit("size", self.instance("size", attributes), (source,), self.free(f"{source}.{suffix}"))
            if size is None:
                return symbol
            self._sizes[size] = symbol
        return self._sizes[size]

    def emit(self, op: str, node: Node, operands: tuple[Operand, ...], name: str) -> Any:
        """Add a node under a name; the same op on the same operands is recorded once."""
        key = (id(node), operands, tuple(map(type, operands)))
        if key in self._same:
            return self._same[key]
        types = tuple(self.types[ref] if isinstance(ref, str) else literal_type(ref) for ref in operands)
        inference = (id(node), types)
        if inference not in self._inferred:
            self._inferred[inference] = infer(node, types)
        graph_node = GraphNode(name, op, node, operands)
        results = self._inferred[inference]
        self.nodes.append(graph_node)
        self.types.update(zip(graph_node.outputs, results, strict=True))
        symbols = tuple(self.symbol(output) for output in graph_node.outputs)
        self._same[key] = symbols[0] if len(symbols) == 1 else symbols
        return self._same[key]

    def forget(self, since: int) -> None:
        """Take back what was recorded after the first `since` nodes."""
        gone = {name for node in self.nodes[since:] for name in node.outputs}
        del self.nodes[since:]
        for name in gone:
            del self.types[name]
        self._same = {key: value for key, value in self._same.items() if _name(value) not in gone}
        self._sizes = {key: value for key, value in self._sizes.items() if value.name not in gone}

    def filled(self, op: str, value: str) -> Symbol:
        """Ones or zeros like a value, named as its gradient."""
        symbol: Symbol = self.emit(op, self.instance(op, {}), (value,), self.free(f"d_{value}"))
        return symbol

    def _fresh(self) -> str:
        self._count += 1
        return self.free(f"{self.scope}.{self._count}")

    def free(self, name: str) -> str:
        """A name that nothing has, as near to the wanted one as possible."""
        free, count = name, self._taken.get(name, 1)
        while free in self.types:
            count += 1
            free = f"{name}.{count}"
        self._taken[name] = count
        return free

    def enter(self, scope: str) -> None:
        """Name what is recorded from now on after `scope`."""
        self.scope, self._count = scope, 0

    def rename(self, symbol: Symbol, name: str, since: int) -> Symbol:
        """Give the node that made `symbol` a telling name if it is newer than `since` and nothing reads it yet."""
        recorded = self.nodes[since:]
        place = next((since + index for index, node in enumerate(recorded) if node.outputs == (symbol.name,)), None)
        if place is None or any(symbol.name in node.inputs for node in recorded):
            return symbol
        name = self.free(name)
        self.nodes[place] = self.nodes[place]._replace(id=name)
        self.types[name] = self.types.pop(symbol.name)
        symbol.name = name
        return symbol


def _name(symbols: Any) -> str:
    return str(symbols[0].name if isinstance(symbols, tuple) else symbols.name)


def _split_arguments(
    op: Op, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a NumPy call as the inputs and the attributes of an op, which bear NumPy's names."""
    if isinstance(function, np.ufunc):
        return list(args), {}
    count = 1 if op.signature.variadic else len(op.signature.inputs)
    names = list(inspect.signature(function).parameters) if len(args) > count or kwargs else []
    given = {**dict(zip(names[count:], args[count:], strict=False)), **kwargs}
    inputs = [*args[:count], *(given.pop(name) for name in names[len(args) : count] if name in given)]
    attributes = {name: value for name, value in given.items() if value is not None}
    unknown = attributes.keys() - op.cls.model_fields.keys()
    if unknown:
        raise UnrecordableError(f"op '{op.name}' has no attribute {', '.join(sorted(unknown))}")
    if op.signature.variadic:  # numpy.stack((x, y), axis) has all arrays in one argument
        (inputs,) = inputs
    return list(inputs), attributes


def gradient(
    graph: Graph, of: str = "loss", wrt: str | Sequence[str] | None = None, *, also: Iterable[str] = ()
) -> Graph:
    """The graph that computes the gradients of a scalar.

    `of` is a public output or a value; `wrt` are values (default: the trainable parameters). The result has the outputs
    `d_<of>/d_<wrt>`, and of the graph's own outputs those in `also`; it has only the nodes, inputs and parameters they
    need, and is generic in symbolic sizes.

    Raises
    ------
    UsageError
        GE402 if there is no such value.
    DifferentiationError
        GE411 if `of` is not a floating-point scalar or a node on the way has no `backward`.
    """
    names = [wrt] if isinstance(wrt, str) else list(graph.trainable if wrt is None else wrt)
    target, wanted = graph.value_name(of), [graph.value_name(name) for name in names]
    recorder = Recorder(graph)
    gradients = record_backward(recorder, target, wanted)
    outputs = {name: graph.outputs[name] for name in also} | {
        f"d_{of}/d_{name}".replace(":", "."): _as_output(recorder, gradients[value], value)
        for name, value in zip(names, wanted, strict=True)
    }
    toward = ", ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} values"
    description = f"gradient of {of} toward {toward} of {graph.name}"
    return pruned(recorder, outputs, description)


def pruned(recorder: Recorder, outputs: Mapping[str, str], description: str, keep: Iterable[str] = ()) -> Graph:
    """The recorded graph with only the nodes and declarations that the outputs need, and those to keep."""
    graph = recorder.graph
    kept = reachable([*graph.nodes, *recorder.nodes], outputs.values())
    read = {ref for node in kept for ref in node.inputs if isinstance(ref, str)}.union(outputs.values(), keep)
    declarations = {
        section: {name: source for name, source in getattr(graph, section).items() if name in read}
        for section in ("inputs", "parameters", "state")
    }
    values = {name for node in kept for name in node.outputs}.union(*declarations.values())
    declarations["state"] = {
        name: state if state.update in values else state.model_copy(update={"update": None})
        for name, state in declarations["state"].items()
    }
    told: dict[str, Any] = {"description": description, "metadata": None, "functions": {}, "json_schema": None}
    types = {name: recorder.types[name] for name in (*itertools.chain(*declarations.values()), *values)}
    return graph.derive(kept, outputs, types, **declarations, **told)


def check_differentiable(graph: Graph, target: str, wanted: Sequence[str]) -> None:
    """Refuse gradients that have no meaning.

    Raises
    ------
    DifferentiationError
        GE411 if the target is not a floating-point scalar or a wanted value is not of floating-point dtype.
    """
    kind = graph.types[target]
    if kind.shape != () or not kind.is_differentiable:
        raise DifferentiationError(f"only a floating-point scalar has a gradient; '{target}' is {kind}")
    for name in wanted:
        if not graph.types[name].is_differentiable:
            raise DifferentiationError(f"there is no gradient toward '{name}', which is {graph.types[name]}")


def record_backward(recorder: Recorder, target: str, wanted: Sequence[str]) -> dict[str, Symbol | None]:
    """Record the backward pass from the scalar `target`; the gradient of each wanted value, None where it is zero."""
    graph = recorder.graph
    check_differentiable(graph, target, wanted)
    schedule = Executor(graph).backward_schedule(target, wanted)
    gradients: dict[str, Any] = {target: recorder.filled("ones_like", target)}
    for step in schedule.steps:
        _record_step(recorder, step, gradients)
    return {name: gradients.get(name) for name in wanted}


def _record_step(recorder: Recorder, step: BackwardStep, gradients: dict[str, Any]) -> None:
    """Record the backward of one node and add what it gives to the gradients of its inputs."""
    node = step.step.node
    recorder.enter(f"d_{node.id}")
    incoming = [gradients.get(name) for name in node.outputs]
    inputs = [recorder.symbol(operand) for operand in node.inputs]
    results = [recorder.symbol(name) for name in node.outputs]
    before = len(recorder.nodes)
    try:
        given = node.node.signature.gradients(node.node, incoming, inputs, results, step.needs)
        _check_recorded(given)
    except Exception as error:  # noqa: BLE001 - whatever stops the recording, the code still runs with arrays
        recorder.forget(before)
        given = _opaque(recorder, step, incoming, inputs, results, error)
    for operand, contribution in zip(node.inputs, given, strict=True):
        if contribution is None:
            continue
        assert isinstance(operand, str)
        contribution = _like(recorder, contribution, operand)
        if operand in gradients:
            contribution = np.add(gradients[operand], contribution)
        gradients[operand] = recorder.rename(contribution, f"d_{operand}", before)


def _check_recorded(gradients: Sequence[Any]) -> None:
    for gradient_ in gradients:
        if gradient_ is not None and not isinstance(gradient_, Symbol):
            raise UnrecordableError(f"a gradient is {type(gradient_).__name__}")


def _opaque(
    recorder: Recorder, step: BackwardStep, incoming: Any, inputs: Any, results: Any, error: Exception
) -> tuple[Any, ...]:
    """The backward of a node as opaque nodes, one for each input that needs a gradient."""
    node = step.step.node
    values = [*(_zeros(recorder, g, r) for g, r in zip(incoming, results, strict=True)), *inputs, *results]
    if any(value is None for value in values):
        raise DifferentiationError(
            f"node '{node.id}' ({node.op}): its backward cannot be recorded: {error}", node=node.id
        ) from error
    attributes = node.node.model_dump(mode="json", exclude_defaults=True)
    return tuple(
        recorder.apply("opaque_backward", values, {"of": node.op, "index": index, "attributes": attributes})
        if need
        else None
        for index, need in enumerate(step.needs)
    )


def _zeros(recorder: Recorder, gradient_: Any, result: Symbol) -> Any:
    return recorder.call(np.zeros_like, (result,), {}) if gradient_ is None else gradient_


def _like(recorder: Recorder, contribution: Symbol, operand: str) -> Symbol:
    """A gradient in the shape and dtype of its value: what `executor.like` does with arrays."""
    value = recorder.symbol(operand)
    if contribution.type.shape != value.type.shape or None in value.type.shape:
        contribution = recorder.apply("sum_to", (contribution, value.shape), {})
    if contribution.dtype != value.dtype:
        contribution = contribution.astype(value.dtype)
    return contribution


def _as_output(recorder: Recorder, gradient_: Symbol | None, value: str) -> str:
    if gradient_ is None:
        gradient_ = recorder.filled("zeros_like", value)
    return gradient_.name
