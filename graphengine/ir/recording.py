"""Recording: code that works on arrays is called with symbols, and what it does becomes nodes of a graph.

A symbol is no array but takes part in NumPy's protocols (NEP 13 and NEP 18): each call made with it is recorded as the
op that does the same. Code that looks at values cannot be recorded, and says so.

The code of a node depends on its instance, the types of its values and literals, and on nothing else. So it is recorded
once for all nodes alike, and a graph of a hundred thousand nodes is differentiated by recording a handful of `backward`
methods: `Recorder.sample` calls code with stand-ins, `Sample.template` makes a template of what it did, and
`Recorder.repeat` follows that with other values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from operator import itemgetter
from typing import Any, ClassVar, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from pydantic import ValidationError

from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, Operand, application_key, infer, literal_type, operand_keys, results_of
from graphengine.ops.node import Node, Recorded
from graphengine.ops.registry import OPS, Instances
from graphengine.ops.shapes import ArrayType, Shape, Size, product


class UnrecordableError(Exception):
    """Code did something with a recorded value that has no meaning before numbers are there."""


@dataclass(slots=True, eq=False, repr=False)
class Symbol(NDArrayOperatorsMixin, Recorded):
    """A stand-in for a value of a graph: knows its type, and records the NumPy calls made with it."""

    recorder: Recorder
    name: str
    type: ArrayType
    __array_priority__: ClassVar[float] = 1000.0

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
        """The shape: integers where sizes are known, symbols elsewhere."""
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

    def __getitem__(self, place: Any) -> Symbol:
        """Return the symbol itself for `[()]`, which makes a scalar of an array without axes; refuse other places."""
        return self if place == () else self._refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise UnrecordableError(f"the value of '{self.name}' is not known while a graph is made")

    __bool__: ClassVar[Callable[..., NoReturn]] = _refuse
    __len__: ClassVar[Callable[..., NoReturn]] = _refuse
    __iter__: ClassVar[Callable[..., NoReturn]] = _refuse
    __float__: ClassVar[Callable[..., NoReturn]] = _refuse
    __int__: ClassVar[Callable[..., NoReturn]] = _refuse
    __index__: ClassVar[Callable[..., NoReturn]] = _refuse
    __array__: ClassVar[Callable[..., NoReturn]] = _refuse
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


# ------------------------------------------------------------ templates

STAND_IN = "\0"
"""The first character of the names of stand-ins, which no name in a file has."""

Namer: TypeAlias = Callable[[Any, str, list[Any], tuple[Operand, ...]], str]
"""Names a part of a template: from the recorder, the node whose code it is, the values so far, and its operands."""


@dataclass(slots=True, eq=False)
class StandIn:
    """A stand-in for any value of a type; two of them are two values."""

    kind: ArrayType


class Part(NamedTuple):
    """An op that a template applies: `pick` takes its operands from the values so far."""

    op: str
    node: Node
    pick: Callable[[list[Any]], tuple[Operand, ...]]
    kinds: tuple[ArrayType, ...]
    name: Namer


class Template(NamedTuple):
    """The ops that code applies, and the places of its results among all values (None where there is none).

    The values are, in order: those the code gets, the `fixed` ones, and what the parts give.
    """

    fixed: list[Operand]
    parts: list[Part]
    results: list[int | None]

    def results_among(self, values: list[Any]) -> list[Any]:
        """The results, taken from all values."""
        return [None if place is None else values[place] for place in self.results]


class Sample(NamedTuple):
    """What code did with stand-ins: the nodes, under names that mean nothing, their types, and what it returned."""

    operands: list[Any]
    nodes: list[GraphNode]
    kinds: list[tuple[ArrayType, ...]]
    returned: Any

    def template(self, results: Sequence[str | None], names: Sequence[Namer]) -> Template:
        """The template with these values as results and these names for its parts."""
        made, keys = results_of(self.nodes), operand_keys(self.operands)
        inputs = [node.inputs for node in self.nodes]
        read = list(map(operand_keys, inputs))
        given, operands = {*keys, *made}, chain(*inputs, results)
        fixed = {key: ref for key, ref in zip(chain(*read, results), operands, strict=True) if key not in given}
        # a key that occurs twice has the first of its places
        places = {key: place for place, key in reversed([*enumerate([*keys, *fixed, *made])])}
        parts = [
            Part(node.op, node.node, _picking(places, refs), kinds, name)
            for node, refs, kinds, name in zip(self.nodes, read, self.kinds, names, strict=True)
        ]
        return Template([*fixed.values()], parts, [None if name is None else places[name] for name in results])


def _picking(places: Mapping[Any, int], keys: Sequence[Any]) -> Callable[[list[Any]], tuple[Operand, ...]]:
    """A function that takes the values at the places of some keys out of a list, as a tuple."""
    wanted = [places[key] for key in keys]
    if len(wanted) > 1:
        return itemgetter(*wanted)
    return lambda values: tuple([values[place] for place in wanted])


# ------------------------------------------------------------ the recorder


class Recorder:
    """Collects the nodes that recorded code makes, on top of the values of a graph."""

    graph: Graph
    instance: Instances

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[GraphNode] = []
        self.types: dict[str, ArrayType] = dict(graph.types)
        self._scope = ""
        self._taken: dict[str, int] = {}
        self._same: dict[Any, tuple[str, ...]] = {}
        """The names of the results of an op on operands: of what the graph computes, then of each recorded node."""
        self._sizes: dict[Any, Symbol] = {}
        self.instance = Instances(OPS.__getitem__)
        self._like: dict[Shape, str] = {}
        self._axes: dict[Size, tuple[str, int]] = {}
        self._offer(graph.types)
        self._inferred: dict[Any, tuple[ArrayType, ...]] = {}
        self.templates: dict[Any, tuple[Node, Template]] = {}
        """What has been sampled of a node, by its id and all else that it depends on.

        The node is kept, so that no other one gets its id.
        """
        self._adopt(graph.nodes)

    def _offer(self, types: Mapping[str, ArrayType]) -> None:
        """Values whose shapes and sizes represent all equal ones, unless earlier ones do."""
        seen: set[int] = set()
        for name, kind in types.items():
            if id(kind) in seen:  # nodes alike share the object that is their type
                continue
            seen.add(id(kind))
            if None not in kind.shape:
                self._like.setdefault(kind.shape, name)
            for axis, size in enumerate(kind.shape):
                if isinstance(size, str):
                    self._axes.setdefault(size, (name, axis))

    def _adopt(self, nodes: Iterable[GraphNode]) -> None:
        """What the graph itself computes is not recorded again."""
        shared: dict[int, Node | None] = {}
        for name, op, node, operands in nodes:
            if id(node) not in shared:
                known = node.is_core and len(node.outputs) == 1
                shared[id(node)] = self.instance.shared(op, node) if known else None
            instance = shared[id(node)]
            if instance is not None:
                self._same.setdefault(application_key(id(instance), operands), (name,))

    def symbol(self, operand: Operand) -> Any:
        """The stand-in for an operand: a symbol for a value, a number for a literal."""
        return Symbol(self, operand, self.types[operand]) if isinstance(operand, str) else operand

    def call(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Record a call of a NumPy function as the op that does the same."""
        op, name = OPS.of_function(function), f"numpy.{getattr(function, '__name__', function)}"
        if op is None:
            raise UnrecordableError(f"{name} is not the counterpart of an op")
        inputs, attributes = (args, {}) if isinstance(function, np.ufunc) else op.arguments(function, args, kwargs)
        if unknown := attributes.keys() - op.cls.model_fields.keys():
            raise UnrecordableError(f"op '{op.name}' has no attribute {', '.join(sorted(unknown))}")
        try:
            return self.apply(op.name, inputs, attributes)
        except ValidationError as error:  # an op may need what NumPy has a default for
            from graphengine.ops.calling import attribute_problems

            problems = "; ".join(problem.message for problem in attribute_problems(f"{name} as op '{op.name}'", error))
            raise UnrecordableError(problems) from error

    def apply(self, op: str, inputs: Sequence[Any], node: Node | Mapping[str, Any]) -> Any:
        """Record one node and give the symbol of its result, or symbols of its results."""
        operands, fixed = self._operands(op, inputs)
        if not isinstance(node, Node):
            node = self.instance(op, {**node, **fixed})
        elif fixed:
            node = self.instance(op, {**node.model_dump(), **fixed})
        else:
            node = self.instance.shared(op, node)
        return self.emit(op, node, operands, self.numbered(self._scope))

    def _operands(self, op: str, inputs: Sequence[Any]) -> tuple[tuple[Operand, ...], dict[str, Any]]:
        """Recorded values as operands; a shape becomes the attribute `shape` where it is known, else a node."""
        operands: list[Operand] = []
        fixed: dict[str, Any] = {}
        signature = OPS[op].signature
        names = signature.inputs
        for position, value in enumerate(inputs):
            if type(value) is Symbol:
                operands.append(value.name)
            elif isinstance(value, tuple) and names[position : position + 1] == ("sizes",):
                fixed = self._known_shape(op, value)
                operands.append(None if fixed else self._shape_operand(value))
            else:
                operands.append(self._operand(value))
        missing = 0 if signature.variadic else len(names) - len(operands)
        return (*operands, *[None] * missing), fixed

    @staticmethod
    def _known_shape(op: str, shape: tuple[Any, ...]) -> dict[str, Any]:
        """The attribute `shape`; none if it has symbolic sizes, except for one that `reshape` finds."""
        symbolic = sum(isinstance(size, Symbol) for size in shape)
        if symbolic > (op == "reshape") or (symbolic and isinstance(shape, SymbolicShape)):
            return {}
        return {"shape": tuple([-1 if isinstance(size, Symbol) else int(size) for size in shape])}

    def _operand(self, value: Any) -> Operand:
        if isinstance(value, Symbol):
            return value.name
        if value is None or type(value) in (int, float):
            return value  # type: ignore[no-any-return]
        if isinstance(value, (bool, np.bool_)):  # of literals, such as y == 0 for x ** 3
            return int(value)
        if isinstance(value, np.floating) and np.isfinite(value):
            return self._constant(value)
        raise UnrecordableError(f"{type(value).__name__} is not an operand")

    def _constant(self, value: np.floating[Any]) -> str:
        node = self.instance("constant", {"value": float(value), "dtype": value.dtype.name})
        return str(self.emit("constant", node, (), self.numbered(self._scope)).name)

    def _shape_operand(self, shape: tuple[Any, ...]) -> str:
        if not isinstance(shape, SymbolicShape):
            sizes = [self.apply("cast", (size,), {"dtype": "int64"}) for size in shape]
            return str(self.apply("stack", sizes, {}).name)
        source = self._source(shape.of)
        symbol = self.emit("shape", self.instance("shape", {}), (source,), self.free(f"{source}.shape"))
        return str(symbol.name)

    def _source(self, symbol: Symbol) -> str:
        """The first value of the graph that has the same shape: an input, where possible."""
        return self._like.get(symbol.type.shape, symbol.name)

    def size_of(self, of: Symbol, axis: int | None) -> Any:
        """A size as an integer where it is known, else the one symbol for all sizes of that name."""
        size = product(of.type.shape) if axis is None else of.type.shape[axis]
        if isinstance(size, int):
            return size
        if size in self._sizes:
            return self._sizes[size]
        symbol = self._size_node(of, axis, size)
        if size is not None:
            self._sizes[size] = symbol
        return symbol

    def _size_node(self, of: Symbol, axis: int | None, size: Size) -> Any:
        """Record the size of the first value of the graph that has the same one."""
        if axis is None:
            source, suffix, attributes = self._source(of), "size", {}
        else:
            source, axis = self._axes.get(size, (of.name, axis))
            suffix, attributes = f"size.{axis}", {"axis": axis}
        return self.emit("size", self.instance("size", attributes), (source,), self.free(f"{source}.{suffix}"))

    def emit(self, op: str, node: Node, operands: tuple[Operand, ...], name: str) -> Any:
        """Add a node under a name; the same op on the same operands is recorded once."""
        key = application_key(id(node), operands)
        names = self._same.get(key)
        if names is None:
            types = tuple([self.types[ref] if type(ref) is str else literal_type(ref) for ref in operands])
            inference = (id(node), types)
            results = self._inferred.get(inference)
            if results is None:
                results = self._inferred[inference] = infer(node, types)
            names = self._enter(key, GraphNode(name, op, node, operands), results)
        symbols = tuple([Symbol(self, name, self.types[name]) for name in names])
        return symbols if len(symbols) > 1 else symbols[0]

    def _enter(self, key: Any, node: GraphNode, kinds: tuple[ArrayType, ...]) -> tuple[str, ...]:
        """Append a node, whose results have these types; gives their names."""
        self.nodes.append(node)
        if len(kinds) == 1:
            names: tuple[str, ...] = (node.id,)
            self.types[node.id] = kinds[0]
        else:
            names = node.outputs
            self.types.update(zip(names, kinds, strict=True))
        self._same[key] = names
        return names

    def forget(self, since: int) -> None:
        """Take back what was recorded after the first `since` nodes."""
        gone = {name for _ in self.nodes[since:] for name in self._same.popitem()[1]}
        del self.nodes[since:]
        for name in gone:
            del self.types[name]
        self._sizes = {size: symbol for size, symbol in self._sizes.items() if symbol.name not in gone}

    def enter(self, scope: str) -> None:
        """Name what is recorded from now on after `scope`."""
        self._scope = scope

    # ------------------------------------------------------------ recorded once, repeated for all nodes alike

    def sample(self, stand_ins: Sequence[Any], code: Callable[[list[Any]], Any]) -> Sample:
        """Call code with stand-ins and literals, and give what it did; nothing of that stays in the recorder.

        A stand-in that occurs twice is one value.
        """
        names: dict[int, str] = {}
        for place, each in enumerate(stand_ins):
            if isinstance(each, StandIn):
                name = names.setdefault(id(each), f"{STAND_IN}{place}")
                self.types[name] = each.kind
        operands = [names.get(id(each), each) for each in stand_ins]
        before, scope, self._scope = len(self.nodes), self._scope, STAND_IN
        try:
            types = self.types
            returned = code([Symbol(self, ref, types[ref]) if type(ref) is str else ref for ref in operands])
            nodes = self.nodes[before:]
            made = [*islice(reversed(self._same.values()), len(nodes))]
            kinds = [tuple(map(self.types.__getitem__, names_made)) for names_made in reversed(made)]
            return Sample(operands, nodes, kinds, returned)
        finally:
            self.forget(before)
            self._scope = scope
            for name in names.values():
                del self.types[name]

    def repeat(self, template: Template, values: list[Any], near: str) -> list[Any]:
        """Follow a template with other values; gives all values, among which are its results.

        `near` is the node whose code it is: parts may be named after it.
        """
        values += template.fixed
        for op, node, pick, kinds, name in template.parts:
            operands = pick(values)
            key = application_key(id(node), operands)
            names = self._same.get(key)
            if names is None:
                names = self._enter(key, GraphNode(name(self, near, values, operands), op, node, operands), kinds)
            values += names
        return values

    # ------------------------------------------------------------ names

    def numbered(self, name: str) -> str:
        """The next free of `name.1`, `name.2`, ..."""
        count = self._taken.get(name, 0) + 1
        while (free := f"{name}.{count}") in self.types:
            count += 1
        self._taken[name] = count
        return free

    def free(self, name: str) -> str:
        """The name, if nothing has it, else a numbered one."""
        return name if name not in self.types else self.numbered(name)
