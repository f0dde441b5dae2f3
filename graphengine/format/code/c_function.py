"""A graph of known sizes as a C function: a loop over the elements of each value, row by row.

A value of one number is a variable, any other an array that the function keeps between calls. Sources and outputs are
arrays of the caller, who may give the same array for a source and for what replaces it: outputs are written last.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.backends.protocol import Instruction, instructions
from graphengine.format.code.c_expressions import EXPRESSIONS
from graphengine.format.code.folding import Unborrowed
from graphengine.format.code.identifiers import Names
from graphengine.ir.graph import Graph
from graphengine.mappings import absent
from graphengine.ops.families.selection import slice_index
from graphengine.ops.inference import normalized_axes
from graphengine.ops.shapes import ArrayType, PythonNumber

TYPES = {"float64": "double", "int64": "int64_t", "int32": "int32_t", "bool": "bool"}
"""C types by dtype."""
ALIASES = ("reshape", "expand_dims", "squeeze")
"""Ops that give the numbers that they read, in the same order."""


def number(value: Any) -> str:
    """Return a number as a C literal that gives it back."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (int, np.integer)):
        return f"INT64_C({int(value)})" if abs(int(value)) > 2**31 - 1 else str(int(value))
    return _double(float(value))


def _double(value: float) -> str:
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "(-INFINITY)"
    return repr(value) if math.copysign(1, value) > 0 else f"({value!r})"


def count_of(shape: Sequence[Any]) -> int:
    """Return how many numbers an array of a shape has."""
    return math.prod(shape)


class CFunction:
    """Writes the lines that compute a graph; names of values are made by `names`."""

    def __init__(self, graph: Graph, names: Names) -> None:
        self._graph, self._names = graph, names
        self._sources = set(graph.sources)
        self._constants: dict[str, str] = {}
        self.nbytes = 0
        """The bytes of its arrays."""

    def lines(self) -> Iterator[str]:
        """Yield the lines for all nodes.

        Raises
        ------
        Unborrowed
            For a node that cannot be written; the text says why.
        """
        for each in instructions(self._graph):
            yield from self.lines_of(each)

    def lines_of(self, instruction: Instruction) -> Iterator[str]:
        """Return the lines of one instruction; raises as `lines`."""
        _check_types(instruction)
        if not instruction.is_core or len(instruction.types) > 1:
            raise Unborrowed("only ops of one result are written in C")
        if instruction.op not in WRITERS:
            raise Unborrowed("this op is not written in C")
        return WRITERS[instruction.op](self, instruction)

    # ------------------------------------------------------------ values

    def name(self, value: str) -> str:
        """Return the name of a value."""
        return self._names[value]

    def array(self, value: str) -> str:
        """Return a value as a pointer to its first number."""
        if value in self._constants:
            raise Unborrowed("a constant has no array")
        return f"&{self.name(value)}" if self._is_variable(value) else self.name(value)

    def _is_variable(self, value: str) -> bool:
        """Whether a value is a variable; sources are arrays of the caller, also those of one number."""
        return self._graph.types[value].shape == () and value not in self._sources

    def declared(self, value: str) -> str:
        """Return the declaration of the array of a value."""
        kind = self._graph.types[value]
        size = max(1, count_of(kind.shape))
        self.nbytes += size * kind.array_dtype.itemsize
        return f"static {c_type(kind)} {self.name(value)}[{size}];"

    def element(self, operand: Any, index: str = "0", *, real: bool = False) -> str:
        """Return one number of an operand; literals become doubles where a partner is `real`."""
        if not isinstance(operand, str):
            return number(float(operand) if real and operand is not None else operand)
        return self._constants.get(operand) or self._place(operand, index, real=real)

    def _place(self, value: str, index: str, *, real: bool) -> str:
        """One number of a value in memory."""
        cast = "(double)" if real and self._graph.types[value].array_dtype.kind == "i" else ""
        place = "" if self._is_variable(value) else f"[{index}]"
        return f"{cast}{self.name(value)}{place}"

    def shape(self, operand: Any) -> tuple[Any, ...]:
        """Return the shape of an operand."""
        return self._graph.types[operand].shape if isinstance(operand, str) else ()

    # ------------------------------------------------------------ elements

    def constant(self, instruction: Instruction) -> Iterator[str]:
        """Note the number of a constant, which is written where it is read."""
        self._constants[instruction.outputs[0]] = number(instruction.node.forward().item())
        return iter(())

    def alias(self, instruction: Instruction) -> Iterator[str]:
        """Yield the line that gives the numbers of an operand another name."""
        (output, (kind,)), source = (instruction.outputs[0], instruction.types), instruction.inputs[0]
        if kind.shape == ():
            yield f"const {c_type(kind)} {self.name(output)} = {self.element(source)};"
        else:
            yield f"const {c_type(kind)} *{self.name(output)} = {self.array(str(source))};"

    def elementwise(self, instruction: Instruction) -> Iterator[str]:
        """Yield the loop that computes one number after the other, or the line for a single one."""
        output, kind = instruction.outputs[0], instruction.types[0]
        shape, shapes = kind.shape, list(map(self.shape, _used(instruction)))
        if shape == ():
            yield f"const {c_type(kind)} {self.name(output)} = {self._expression(instruction, ['0'] * len(shapes))};"
            return
        yield self.declared(output)
        if {(), shape}.issuperset(shapes):
            expression = self._expression(instruction, ["i" if each else "0" for each in shapes])
            yield f"for (long i = 0; i < {count_of(shape)}; i++) {self.name(output)}[i] = {expression};"
            return
        expression = self._expression(instruction, [index_of(each, shape) for each in shapes])
        yield from nested(shape, f"{self.name(output)}[{index_of(shape, shape)}] = {expression};")

    def _expression(self, instruction: Instruction, indices: list[str]) -> str:
        """One number of a result, from numbers of its operands at places in their arrays."""
        kinds = filter(None, (*instruction.types, *instruction.operand_types))
        real = any(kind.dtype in (np.float64, PythonNumber.FLOAT) for kind in kinds)
        elements = [self.element(*each, real=real) for each in zip(_used(instruction), indices, strict=True)]
        return EXPRESSIONS[instruction.op].format(*elements)

    def copied(self, instruction: Instruction, index: str) -> Iterator[str]:
        """Yield a loop that fills the result with numbers of the first operand, from a place in it."""
        (output, kind) = instruction.outputs[0], instruction.types[0]
        if kind.shape == ():
            yield f"const {c_type(kind)} {self.name(output)} = {self.element(instruction.inputs[0], index)};"
            return
        yield self.declared(output)
        line = (
            f"{self.name(output)}[{index_of(kind.shape, kind.shape)}] = {self.element(instruction.inputs[0], index)};"
        )
        yield from nested(kind.shape, line)

    def result(self, instruction: Instruction, start: str) -> tuple[Iterator[str], str]:
        """Return the lines that declare a result filled with a number, and the pattern of its elements."""
        (output, kind) = instruction.outputs[0], instruction.types[0]
        if kind.shape == ():
            return iter([f"{c_type(kind)} {self.name(output)} = {start};"]), self.name(output)
        fill = f"for (long i = 0; i < {count_of(kind.shape)}; i++) {self.name(output)}[i] = {start};"
        return iter([self.declared(output), fill]), f"{self.name(output)}[{{}}]"


def _check_types(instruction: Instruction) -> None:
    for kind in (*instruction.types, *filter(None, instruction.operand_types)):
        if not isinstance(kind.dtype, PythonNumber) and kind.dtype.name not in TYPES:
            raise Unborrowed(f"values of type {kind.dtype.name} are not written in C")


def _used(instruction: Instruction) -> list[Any]:
    """Return the operands that are not omitted."""
    return [each for each in instruction.inputs if each is not None]


def _is_double(kind: ArrayType | None) -> bool:
    return kind is not None and kind.dtype == np.float64


def c_type(kind: ArrayType) -> str:
    """Return the C type of the numbers of a value."""
    if isinstance(kind.dtype, PythonNumber):
        return "double" if kind.dtype is PythonNumber.FLOAT else "int64_t"
    return TYPES[kind.dtype.name]


def strides_of(shape: Sequence[Any]) -> list[int]:
    """Return how far apart in memory neighbors along each axis are."""
    return [count_of(shape[axis + 1 :]) for axis in range(len(shape))]


def index_of(shape: Sequence[Any], whole: Sequence[Any], variables: Mapping[int, str] | None = None) -> str:
    """Return the place in an array of what lies at i0, i1, ... of the shape that it broadcasts to."""
    extra, terms = len(whole) - len(shape), []
    for axis, (size, stride) in enumerate(zip(shape, strides_of(shape), strict=True)):
        variable = (variables or {}).get(axis, f"i{axis + extra}")
        if size != 1:
            terms.append(f"{stride} * {variable}" if stride != 1 else variable)
    return " + ".join(terms) or "0"


def nested(shape: Sequence[Any], line: str, axes: Sequence[Any] | None = None) -> Iterator[str]:
    """Yield a line in loops over axes, by default all; those of one element have none."""
    chosen = [axis for axis in (range(len(shape)) if axes is None else axes) if shape[axis] != 1]
    for depth, axis in enumerate(chosen):
        yield f"{'    ' * depth}for (long i{axis} = 0; i{axis} < {shape[axis]}; i{axis}++)"
    yield f"{'    ' * len(chosen)}{line}"


# ---------------------------------------------------------------- ops with their own loops


def reduced(text: CFunction, instruction: Instruction, axes: Sequence[Any]) -> Iterator[str]:
    """Yield a sum over axes in NumPy's order: the last axes pairwise, the others one after the other."""
    source, shape = instruction.inputs[0], text.shape(instruction.inputs[0])
    if not _is_double(instruction.operand_types[0]):
        raise Unborrowed("sums of other numbers than doubles are not written in C")
    head, element = text.result(instruction, "0.0")
    yield from head
    run = _run_of(shape, axes)
    place = element.format(kept_index(shape, axes))
    if count_of(shape[run:]) > 1:
        where = index_of(shape[:run], shape[:run])
        base = text.array(str(source)) + (f" + {count_of(shape[run:])} * ({where})" if where != "0" else "")
        yield from nested(shape, f"{place} += pairwise({base}, {count_of(shape[run:])});", range(run))
    else:
        yield from nested(shape, f"{place} += {text.element(source, index_of(shape, shape))};")


def _run_of(shape: Sequence[Any], axes: Sequence[Any]) -> int:
    """Return the first of the last axes that are summed, whose numbers lie side by side."""
    run = len(shape)
    while run and (run - 1 in axes or shape[run - 1] == 1):
        run -= 1
    return run


def kept_index(shape: Sequence[Any], axes: Sequence[Any]) -> str:
    """Return the place in a result of a reduction of what lies at i0, i1, ... before it."""
    kept = absent(range(len(shape)), axes)
    sizes = [shape[axis] for axis in kept]
    return index_of(sizes, sizes, {place: f"i{axis}" for place, axis in enumerate(kept)})


def sums(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `sum`."""
    node: Any = instruction.node
    yield from reduced(text, instruction, normalized_axes(node.axis, len(text.shape(instruction.inputs[0]))))


def sum_to(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `sum_to`."""
    shape, wanted = text.shape(instruction.inputs[0]), instruction.types[0].shape
    extra = len(shape) - len(wanted)
    if extra < 0 or count_of(shape) < count_of(wanted):
        raise Unborrowed("a sum to a larger shape is not written in C")
    stretched = [axis for axis in range(extra, len(shape)) if wanted[axis - extra] == 1 != shape[axis]]
    yield from reduced(text, instruction, [*range(extra), *stretched])


EXTREMES = {"max": ("-INFINITY", "larger"), "min": ("INFINITY", "smaller")}


def extreme(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `max` or `min`."""
    node: Any = instruction.node
    source, shape = instruction.inputs[0], text.shape(instruction.inputs[0])
    if instruction.types[0].dtype != np.float64 or not count_of(shape):
        raise Unborrowed("an extremum of other numbers than doubles is not written in C")
    start, function = EXTREMES[instruction.op]
    head, element = text.result(instruction, start)
    yield from head
    place = element.format(kept_index(shape, normalized_axes(node.axis, len(shape))))
    yield from nested(shape, f"{place} = {function}({place}, {text.element(source, index_of(shape, shape))});")


def norm(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the norm of all numbers."""
    node: Any = instruction.node
    source, shape = instruction.inputs[0], text.shape(instruction.inputs[0])
    if node.ord != 2 or instruction.types[0].shape != () or instruction.types[0].dtype != np.float64:
        raise Unborrowed("a norm over some axes is not written in C")
    call = f"euclidean({text.array(str(source))}, {count_of(shape)})"
    yield f"const double {text.name(instruction.outputs[0])} = {call};"


def matmul(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the products of matrices, each sum from its first product to its last."""
    x, y = instruction.inputs
    left, right = text.shape(x), text.shape(y)
    if instruction.types[0].dtype != np.float64:
        raise Unborrowed("only products of doubles are written in C")
    left, right = left if len(left) > 1 else (1, *left), right if len(right) > 1 else (*right, 1)
    (rows, length), columns = left[-2:], right[-1]
    leading = np.broadcast_shapes(left[:-2], right[:-2])
    head, element = text.result(instruction, "0.0")
    yield from head
    inner = len(leading) + 2
    first = text.element(x, index_of(left, (*leading, rows, length), {len(left) - 1: f"i{inner}"}))
    second = text.element(y, index_of(right, (*leading, length, columns), {len(right) - 2: f"i{inner}"}))
    shape = (*leading, rows, columns)
    line = f"{element.format(index_of(shape, shape))} += {first} * {second};"
    order = (*range(len(leading) + 1), inner, inner - 1)  # columns in the innermost loop
    yield from nested((*shape, length), line, order)


def transpose(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `transpose`."""
    node: Any = instruction.node
    shape = text.shape(instruction.inputs[0])
    order = [axis % len(shape) for axis in node.axes] if node.axes is not None else list(range(len(shape)))[::-1]
    variables = {axis: f"i{place}" for place, axis in enumerate(order)}
    yield from text.copied(instruction, index_of(shape, shape, variables))


def broadcast_to(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `broadcast_to`."""
    yield from text.copied(instruction, index_of(text.shape(instruction.inputs[0]), instruction.types[0].shape))


def sliced(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `slice`."""
    yield from text.copied(instruction, slice_places(text, instruction, instruction.types[0].shape))


def slice_places(text: CFunction, instruction: Instruction, taken: Sequence[Any]) -> str:
    """Return the place in the first operand of what lies at i0, i1, ... of the slice, whose shape is `taken`."""
    shape = text.shape(instruction.inputs[0])
    index = slice_index(instruction.node, len(shape))  # type: ignore[no-untyped-call]
    start, terms = 0, []
    for axis, stride in enumerate(strides_of(shape)):
        part = index[axis] if axis < len(index) else slice(None)
        if not isinstance(part, slice):
            raise Unborrowed("only slices along axes are written in C")
        first, _, step = part.indices(shape[axis])
        start += first * stride
        terms += [f"{step * stride} * i{axis}"] * (taken[axis] != 1)
    return " + ".join([str(start), *terms])


def slice_add(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `slice_add`."""
    source, updates = instruction.inputs
    output, shape = instruction.outputs[0], text.shape(source)
    yield text.declared(output)
    yield f"for (long i = 0; i < {count_of(shape)}; i++) {text.name(output)}[i] = {text.element(source, 'i')};"
    changed = text.shape(updates)
    place = slice_places(text, instruction, changed)
    line = f"{text.name(output)}[{place}] += {text.element(updates, index_of(changed, changed))};"
    yield from nested(changed, line)


def one_hot(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `one_hot`."""
    node: Any = instruction.node
    shape = instruction.types[0].shape
    target = text.element(instruction.inputs[0], index_of(shape[:-1], shape[:-1]))
    yield text.declared(instruction.outputs[0])
    last = f"i{len(shape) - 1}" if shape[-1] != 1 else "0"
    hit = f"{target} == {last} || {target} == {last} - {node.depth}"
    yield from nested(shape, f"{text.name(instruction.outputs[0])}[{index_of(shape, shape)}] = {hit};")


def take_along_axis(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `take_along_axis`; an index that is out of range gives NaN."""
    node: Any = instruction.node
    source, indices = instruction.inputs
    shape, axis = text.shape(source), node.axis % len(text.shape(source))
    kind, wanted = instruction.types[0], instruction.types[0].shape
    others = absent(range(len(shape)), (axis,))
    if kind.dtype != np.float64 or any(shape[each] != wanted[each] for each in others):
        raise Unborrowed("only doubles are taken along an axis in C")
    place = text.element(indices, index_of(wanted, wanted))
    strides = strides_of(shape)
    terms = [f"{strides[each]} * i{each}" for each in others if shape[each] != 1]
    taken = f"({place} < 0 ? {place} + {shape[axis]} : {place})"
    found = text.element(source, " + ".join([*terms, f"{strides[axis]} * {taken}"]))
    yield text.declared(instruction.outputs[0])
    inside = f"{place} >= -{shape[axis]} && {place} < {shape[axis]}"
    line = f"{text.name(instruction.outputs[0])}[{index_of(wanted, wanted)}] = {inside} ? {found} : NAN;"
    yield from nested(wanted, line)


def argument(text: CFunction, instruction: Instruction) -> Iterator[str]:
    """Yield the loop of `argmax` or `argmin`: the first place, that of NaN where there is one."""
    node: Any = instruction.node
    source, shape = instruction.inputs[0], text.shape(instruction.inputs[0])
    if node.axis is None or not _is_double(instruction.operand_types[0]):
        raise Unborrowed("only places of doubles along one axis are written in C")
    axis, sign = node.axis % len(shape), ">" if instruction.op == "argmax" else "<"
    head, element = text.result(instruction, "0")
    yield from head
    place = element.format(kept_index(shape, [axis]))
    here = text.element(source, index_of(shape, shape))
    best = text.element(source, index_of(shape, shape, {axis: f"({place})"}))
    better = f"{here} {sign} {best} || (isnan({here}) && !isnan({best}))"
    yield from nested(shape, f"if ({better}) {place} = {f'i{axis}' if shape[axis] != 1 else '0'};")


LOOPS = {
    "sum": sums,
    "sum_to": sum_to,
    "max": extreme,
    "min": extreme,
    "norm": norm,
    "matmul": matmul,
    "transpose": transpose,
    "broadcast_to": broadcast_to,
    "slice": sliced,
    "slice_add": slice_add,
    "one_hot": one_hot,
    "take_along_axis": take_along_axis,
    "argmax": argument,
    "argmin": argument,
}
"""What writes an op that is no expression."""
WRITERS: Mapping[str, Callable[[CFunction, Instruction], Iterator[str]]] = {
    "constant": CFunction.constant,
    **dict.fromkeys(ALIASES, CFunction.alias),
    **dict.fromkeys(EXPRESSIONS, CFunction.elementwise),
    **LOOPS,
}
"""What gives the lines of an op."""
