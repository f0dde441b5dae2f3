"""Compiles functions with numba, and what their text calls: folds of contiguous vectors in 32 lanes.

Lane k takes the numbers k, k + 32, k + 64, ... one after the other, sums in double precision; then lane k takes lane
k + 16, of these k + 8, and so on, and at last the start. That is an order which IEEE 754 defines to the last bit,
whatever the width of a processor's registers: LLVM makes of a vector of 8 doubles as many instructions as it takes.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import numba
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.caching import FunctionCache
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.imputils import impl_ret_borrowed
from numba.core.registry import cpu_target
from numba.core.runtime.nrt import rtsys
from numba.extending import intrinsic

from graphengine.backends.numba.team_code import (
    claimed,
    help_with,
    offer_call,
    offered_call,
    withdraw_call,
    yield_processor,
)
from graphengine.ops.shapes import ArrayType

WIDTH, VECTORS = 8, 4
LANES = WIDTH * VECTORS
COUNT, PLACE, DOUBLE = ir.IntType(64), ir.IntType(32), ir.DoubleType()

BYTES = ir.IntType(8).as_pointer()

Combine = Callable[[Any, Any, Any], Any]


def _memory(builder: Any, kind: Any) -> Any:
    """Memory of the function, of which a loop takes no more in each round."""
    return cgutils.alloca_once(builder, kind)  # type: ignore[no-untyped-call]


def _plus(builder: Any, lane: Any, value: Any) -> Any:
    return builder.fadd(lane, value)


def _extreme(comparison: str) -> Combine:
    """Of two numbers the larger or smaller one, the first of equal ones, of a NaN and a number the NaN."""

    def combine(builder: Any, lane: Any, value: Any) -> Any:
        found = builder.select(builder.fcmp_ordered(comparison, value, lane), value, lane)  # an instruction for both
        return builder.select(builder.fcmp_unordered("uno", value, value), value, found)

    return combine


class _Lanes:
    """Writes the instructions of one reduction, in lanes of the type `kind`."""

    def __init__(self, builder: Any, arrays: Sequence[Any], combine: Combine, neutral: float, kind: Any) -> None:
        self._builder, self._combine, self._kind = builder, combine, kind
        self._size = _size(kind)
        self._pointers, self._count = [each.data for each in arrays], arrays[0].nitems
        vector = ir.VectorType(kind, WIDTH)
        self._places = _memory(builder, ir.ArrayType(kind, LANES))
        self._vectors = [_memory(builder, vector) for _ in range(VECTORS)]
        for each in self._vectors:
            builder.store(ir.Constant(vector, [neutral] * WIDTH), each)

    def reduced(self) -> Any:
        """The reduction of all numbers."""
        builder, blocks = self._builder, self._builder.sdiv(self._count, COUNT(LANES))
        with cgutils.for_range(builder, blocks) as loop:
            first = builder.mul(loop.index, COUNT(LANES))
            for number, vector in enumerate(self._vectors):
                value = self._product(builder.add(first, COUNT(number * WIDTH)), WIDTH)
                builder.store(self._combine(builder, builder.load(vector), value), vector)
        done = builder.mul(blocks, COUNT(LANES))
        with builder.if_then(builder.icmp_signed("<", done, self._count)):
            self._add_rest(done)
        return self._halved([builder.load(vector) for vector in self._vectors])

    def _add_rest(self, done: Any) -> None:
        """Combine the last numbers, fewer than there are lanes, with the first lanes."""
        builder = self._builder
        for number, vector in enumerate(self._vectors):
            builder.store(builder.load(vector), self._lanes(number * WIDTH, WIDTH), align=self._size)
        with cgutils.for_range(builder, builder.sub(self._count, done)) as loop:
            lane = builder.gep(self._lanes(0, 1), [loop.index])
            value = self._product(builder.add(done, loop.index), 1)
            builder.store(self._combine(builder, builder.load(lane), value), lane)
        for number, vector in enumerate(self._vectors):
            builder.store(builder.load(self._lanes(number * WIDTH, WIDTH), align=self._size), vector)

    def _halved(self, vectors: Sequence[Any]) -> Any:
        """One number of all lanes: in registers, because memory between two halvings takes as long as the sums."""
        while len(vectors) > 1:
            half = len(vectors) // 2
            vectors = [self._combine(self._builder, *pair) for pair in zip(vectors[:half], vectors[half:], strict=True)]
        (found,), width = vectors, WIDTH
        while width > 1:
            width //= 2
            one, other = (self._part(found, first, width) for first in (0, width))
            found = self._combine(self._builder, one, other)
        return self._builder.extract_element(found, PLACE(0))

    def _part(self, vector: Any, first: int, width: int) -> Any:
        places = ir.Constant(ir.VectorType(PLACE, width), [*range(first, first + width)])
        return self._builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    def _lanes(self, place: int, width: int) -> Any:
        """A pointer to a vector of lanes, to a number for a width of 1."""
        builder = self._builder
        first = builder.bitcast(self._places, self._kind.as_pointer())
        kind = self._kind if width == 1 else ir.VectorType(self._kind, width)
        return builder.bitcast(builder.gep(first, [COUNT(place)]), kind.as_pointer())

    def _product(self, place: Any, width: int) -> Any:
        """The product of the numbers at a place, or of as many from there on as the width, in the type of the lanes."""
        values = [self._loaded(pointer, place, width) for pointer in self._pointers]
        return values[0] if len(values) == 1 else self._builder.fmul(*values)

    def _loaded(self, pointer: Any, place: Any, width: int) -> Any:
        builder, single = self._builder, pointer.type.pointee
        at = builder.gep(pointer, [place])
        if width > 1:
            at = builder.bitcast(at, ir.VectorType(single, width).as_pointer())
        value = builder.load(at, align=_size(single))
        wide = self._kind if width == 1 else ir.VectorType(self._kind, width)
        return value if single == self._kind else builder.fpext(value, wide)


def _size(kind: Any) -> int:
    """The bytes of a number."""
    return 8 if kind == DOUBLE else 4


def _generator(combine: Combine, neutral: float) -> Callable[..., Any]:
    """What writes the instructions for a call with arrays and, in the end, a start.

    Sums are added in double precision; extremes are numbers of the array itself.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args[:-1]
        arrays = [
            context.make_array(kind)(context, builder, value) for kind, value in zip(kinds, arguments, strict=False)
        ]
        kind = DOUBLE if combine is _plus else arrays[0].data.type.pointee
        found = _Lanes(builder, arrays, combine, neutral, kind).reduced()
        return combine(builder, arguments[-1], found if kind == DOUBLE else builder.fpext(found, DOUBLE))

    return generate


@intrinsic
def added(_context: Any, x: Any, start: Any) -> Any:
    """Return the sum of the numbers of x and a start."""
    return types.float64(x, types.float64), _generator(_plus, 0.0)


@intrinsic
def products(_context: Any, x: Any, y: Any, start: Any) -> Any:
    """Return the sum of the products of x and y and a start."""
    return types.float64(x, y, types.float64), _generator(_plus, 0.0)


@intrinsic
def highest(_context: Any, x: Any, start: Any) -> Any:
    """Return the largest number of x and a start; NaN if there is one."""
    return types.float64(x, types.float64), _generator(_extreme(">"), -math.inf)


@intrinsic
def lowest(_context: Any, x: Any, start: Any) -> Any:
    """Return the smallest number of x and a start; NaN if there is one."""
    return types.float64(x, types.float64), _generator(_extreme("<"), math.inf)


@intrinsic
def flat(_context: Any, x: Any) -> Any:
    """Return the numbers of an array as a vector in the same memory: a `reshape` that compiles in no time."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        from numba.np.arrayobj import populate_array  # which loading machine code does not need

        array = context.make_array(x)(context, builder, arguments[0])
        made = context.make_array(signature.return_type)(context, builder)
        populate_array(  # type: ignore[no-untyped-call]
            made,
            data=array.data,
            shape=[array.nitems],
            strides=[array.itemsize],
            itemsize=array.itemsize,
            meminfo=array.meminfo,
            parent=array.parent,
        )
        return impl_ret_borrowed(context, builder, signature.return_type, made._getvalue())  # type: ignore[no-untyped-call]

    return types.Array(x.dtype, 1, "C", readonly=not x.mutable)(x), generate


@intrinsic
def applied(_context: Any, function: Any, x: Any, z: Any) -> Any:
    """Call the loop of a NumPy ufunc, given by its address, on contiguous numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[1:], arguments[1:], strict=True)
        ]
        places = _stored(builder, [builder.bitcast(each.data, BYTES) for each in arrays])
        count = _stored(builder, [arrays[0].nitems])
        strides = _stored(builder, [each.itemsize for each in arrays])
        kind = ir.FunctionType(ir.VoidType(), [places.type, count.type, strides.type, BYTES])
        builder.call(
            builder.inttoptr(arguments[0], kind.as_pointer()), [places, count, strides, ir.Constant(BYTES, None)]
        )
        return context.get_dummy_value()

    return types.void(function, x, z), generate


def _stored(builder: Any, values: Sequence[Any]) -> Any:
    """A pointer to memory of the function that has some values, one after the other."""
    memory = _memory(builder, ir.ArrayType(values[0].type, len(values)))
    for number, value in enumerate(values):
        builder.store(value, builder.gep(memory, [PLACE(0), PLACE(number)]))
    return builder.gep(memory, [PLACE(0), PLACE(0)])


TEXT_FUNCTIONS = {
    "applied": applied,
    "added": added,
    "products": products,
    "highest": highest,
    "lowest": lowest,
    "flat": flat,
    "claimed": claimed,
    "offer_call": offer_call,
    "withdraw_call": withdraw_call,
    "offered_call": offered_call,
    "help_with": help_with,
    "yield_processor": yield_processor,
}
"""What the texts of loops call beside the C library."""


class NoSharedMemory(CompilerBase):
    """Compiles a function none of whose arrays shares memory with another: LLVM need not compare their places."""

    def define_pipelines(self) -> list[Any]:
        """Return numba's own pipeline, with the flag set, and no second entry for callers in C."""
        self.state.flags.noalias = True
        self.state.flags.no_cfunc_wrapper = True
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]  # type: ignore[no-untyped-call]


class StoredCode(FunctionCache):
    """The machine code of a function on disk, loaded without what only compiling needs.

    numba's own class first imports the lowering of all functions it knows, and SciPy for some of them: 0.35 s. Machine
    code calls the memory functions of numba's runtime and the C library alone.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is stored for a signature, None if there is nothing."""
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]


@contextmanager
def _few_registries() -> Iterator[None]:
    """Let numba import the lowering of what loops use, and not of all functions it knows, with SciPy: 0.25 s."""
    context = cpu_target.target_context

    def load() -> None:
        from numba.core import inline_closurecall, optional  # noqa: F401
        from numba.cpython import builtins, iterators, mathimpl, numbers, rangeobj, slicing, tupleobj  # noqa: F401
        from numba.np import arrayobj, npyimpl  # noqa: F401

        rtsys.initialize(context)
        context.install_registry(mathimpl.registry)
        context.install_registry(npyimpl.registry)

    with global_compiler_lock:
        context.load_additional_registries = load
        try:
            yield
        finally:
            del context.load_additional_registries


@contextmanager
def _interrupted_later() -> Iterator[None]:
    """Keep Ctrl-C until the end.

    LLVM calls functions of Python, and what these raise is lost: then numba writes to a place that LLVM did not find.
    """
    handler, kept = signal.getsignal(signal.SIGINT), list[int]()
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    signal.signal(signal.SIGINT, lambda number, _: kept.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if kept:
            signal.raise_signal(signal.SIGINT)


def machine_code(function: Any, parameters: Sequence[tuple[ArrayType, bool]], *, cache: bool, is_shared: bool) -> Any:
    """Compile a function for parameters, each of a type and read only or not; division is NumPy's.

    Without `cache` it is compiled in numba's own way, whatever that imports. A function that several threads share runs
    without Python's lock, makes no array and counts no references: threads would wait for each other's counts.
    """
    signature = tuple([_type_of(*each) for each in parameters])
    options: dict[str, Any] = {"nogil": is_shared, "_nrt": not is_shared}
    made = numba.njit(error_model="numpy", pipeline_class=NoSharedMemory, **options)(function)
    if made is not function:  # numba may be switched off
        if cache:
            made._cache = StoredCode(function)  # type: ignore[no-untyped-call]
        with _interrupted_later(), _few_registries() if cache else nullcontext():
            made.compile(signature)
        made.disable_compile()
    return made


def _type_of(kind: ArrayType, read_only: bool) -> Any:
    single = numba.from_dtype(kind.array_dtype)
    return types.Array(single, len(kind.shape), "C", readonly=read_only) if kind.shape else single
