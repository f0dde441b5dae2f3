"""The table of the jax backend: from kernel ops to functions of `jax.numpy`.

An entry is a function from an instruction to a function of arrays, or to None where it does not cover the attributes.
NumPy's ufuncs are found by their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from graphengine.backends.protocol import Instruction, instructions
from graphengine.ops.families.constants import represented
from graphengine.ops.families.padding import Pad
from graphengine.ops.families.patches import Unfold
from graphengine.ops.families.selection import Slice
from graphengine.ops.inference import normalized_axes
from graphengine.ops.norms import SMALLEST
from graphengine.ops.registry import OPS
from graphengine.ops.shapes import ArrayType, PythonNumber
from graphengine.transform.passes import optimize

Kernel: TypeAlias = Callable[..., Any]
MOST_PLACES = 2**24
"""Numbers up to which an op may be a table of places."""


def kernel_of(instruction: Instruction) -> Kernel | None:
    """Return what computes the results of an instruction, in their dtypes; None if the table lacks it."""
    if not instruction.is_core or any(map(_is_open, [*instruction.types, *instruction.value_types])):
        return None
    made = KERNELS.get(instruction.op, _by_name)(instruction)
    return None if made is None else _typed(made, _dtypes(instruction))


def _dtypes(instruction: Instruction) -> list[Any]:
    """The dtypes of the results."""
    return [kind.array_dtype for kind in instruction.types]


def _is_open(kind: ArrayType) -> bool:
    """Whether a value is a size, or has one that is known only when it runs."""
    return None in kind.shape or kind.dtype is PythonNumber.INT


def _typed(kernel: Kernel, dtypes: list[Any]) -> Kernel:
    """A kernel whose results have the dtypes that NumPy gives them."""

    def typed(*operands: Any) -> tuple[Any, ...]:
        found = kernel(*operands)
        results = found if isinstance(found, (tuple, list)) else (found,)
        return tuple([jnp.asarray(each).astype(dtype) for each, dtype in zip(results, dtypes, strict=True)])

    return typed


def _by_name(instruction: Instruction) -> Kernel | None:
    function = OPS.original(instruction.op).numpy
    if not isinstance(function, np.ufunc) or not _fits(instruction):
        return None
    return getattr(jnp, function.__name__, None)


def _fits(instruction: Instruction) -> bool:
    """Whether Python's integers are in the range of an array of integers beside them: jax drops their upper bits."""
    dtypes = [kind.array_dtype for kind in instruction.value_types]
    if not dtypes or np.result_type(*dtypes).kind not in "iu":
        return True
    range_of = np.iinfo(np.result_type(*dtypes))
    return all(range_of.min <= of <= range_of.max for of in instruction.inputs if type(of) is int)


def power(instruction: Instruction) -> Kernel | None:
    """Powers but of integers: NumPy refuses negative exponents, and jax reads the lowest bits of an exponent alone."""
    return None if instruction.types[0].array_dtype.kind in "iu" else jnp.power


def _shape(instruction: Instruction, place: int = 0) -> tuple[Any, ...]:
    kind = instruction.operand_types[place]
    assert kind is not None
    return kind.shape


def _size(shape: tuple[Any, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64))


def _fields(instruction: Instruction) -> Any:
    return instruction.node


def reduction(function: Kernel, *, of_nothing: bool = True) -> Callable[[Instruction], Kernel | None]:
    """Return the entry of a function over axes."""

    def entry(instruction: Instruction) -> Kernel | None:
        node, shape = _fields(instruction), _shape(instruction)
        if not (_size(shape) or of_nothing):
            return None  # the node says what the extremum of no values is
        axes = normalized_axes(node.axis, len(shape))
        return lambda x: function(x, axis=axes, keepdims=node.keepdims)

    return entry


def place_of(function: Kernel) -> Callable[[Instruction], Kernel | None]:
    """Return the entry of a function that finds a place along an axis."""

    def entry(instruction: Instruction) -> Kernel:
        node = _fields(instruction)
        return lambda x: function(x, axis=node.axis, keepdims=node.keepdims)

    return entry


def running(function: Kernel, start: int) -> Callable[[Instruction], Kernel | None]:
    """Return the entry of running results, from either end, with or without the value at their own place."""

    def entry(instruction: Instruction) -> Kernel:
        node = _fields(instruction)

        def kernel(x: Any) -> Any:
            lines = jnp.flip(x, node.axis) if node.reverse else x
            results = function(lines, axis=node.axis)
            if node.exclusive:
                first = jnp.full_like(jnp.take(results, jnp.arange(1), axis=node.axis), start)
                results = jnp.concatenate([first, jnp.delete(results, -1, axis=node.axis)], axis=node.axis)
            return jnp.flip(results, node.axis) if node.reverse else results

        return kernel

    return entry


def norm(instruction: Instruction) -> Kernel:
    """The root of the sum of squares; where a square leaves the range, numbers are divided by the largest first."""
    node, axes = _fields(instruction), normalized_axes(_fields(instruction).axis, len(_shape(instruction)))
    if node.ord == 1:
        return lambda x: jnp.sum(jnp.abs(x), axis=axes, keepdims=node.keepdims)

    def euclidean(x: Any) -> Any:
        x = x.astype(jnp.result_type(x, jnp.float32))
        squares = jnp.sum(jnp.square(x), axis=axes, keepdims=True)
        smallest = max(1, x.size) * SMALLEST[x.dtype.type]
        is_exact = jnp.all((squares >= smallest) & (squares < jnp.inf))
        root = jax.lax.cond(is_exact, lambda: jnp.sqrt(squares), lambda: scaled(x, axes))
        return root if node.keepdims else jnp.squeeze(root, axes)

    return euclidean


def scaled(x: Any, axes: tuple[int, ...]) -> Any:
    """Return norms of numbers that are divided by the largest of them."""
    largest = jnp.max(jnp.abs(x), axis=axes, keepdims=True, initial=0)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    return scale * jnp.sqrt(jnp.sum(jnp.square(x / scale), axis=axes, keepdims=True))


def sum_to(instruction: Instruction) -> Kernel:
    """Sums over the axes that broadcasting added or stretched; a smaller array is broadcast."""
    shape, wanted = _shape(instruction), instruction.types[0].shape
    extra = len(shape) - len(wanted)
    if extra < 0 or _size(shape) < _size(wanted):
        return lambda x, sizes=None: jnp.broadcast_to(x, wanted)
    stretched = [axis for axis in range(extra, len(shape)) if wanted[axis - extra] == 1 != shape[axis]]
    return lambda x, sizes=None: jnp.sum(x, axis=(*range(extra), *stretched)).reshape(wanted)


def reshaped(instruction: Instruction) -> Kernel:
    """The same numbers in the shape of the result."""
    shape = instruction.types[0].shape
    return lambda x, sizes=None: jnp.reshape(x, shape)


def broadcast_to(instruction: Instruction) -> Kernel:
    """Views in the shape of the result."""
    shape = instruction.types[0].shape
    return lambda x, sizes=None: jnp.broadcast_to(x, shape)


def moved(instruction: Instruction) -> Kernel | None:
    """An op that moves numbers: which one goes where shows in what it does to the places 1, 2, ...; 0 is filling."""
    node, shape = _filling_zeros(instruction.node), _shape(instruction)
    if max(_size(shape), _size(instruction.types[0].shape)) > MOST_PLACES:
        return None
    places = _places(node, shape)
    filling = _filling(instruction)
    return lambda x: jnp.concatenate([jnp.full(1, filling, x.dtype), jnp.ravel(x)])[places]


def moved_rows(instruction: Instruction) -> Kernel | None:
    """The same for an op that moves the numbers of each sample alike."""
    (rows, *shape), result = _shape(instruction), instruction.types[0].shape
    if not rows or _size(result[1:]) > MOST_PLACES:
        return None
    one: Any = (1, *shape)
    places = _places(_filling_zeros(instruction.node), one)[0]
    filling = _filling(instruction)

    def kernel(x: Any) -> Any:
        flat = x.reshape(rows, -1)
        return jnp.concatenate([jnp.full((rows, 1), filling, x.dtype), flat], axis=1)[:, places]

    return kernel


def fold(instruction: Instruction) -> Kernel | None:
    """The transpose of `unfold`: numbers are added up where the patches took them from."""
    node, shape = _fields(instruction), instruction.types[0].shape
    if not shape[0]:
        return None
    fields = {name: getattr(node, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    places = _places(Unfold(**fields), (1, *shape[1:]))[0]
    size = _size(shape[1:])
    return lambda x, like=None: jnp.zeros((shape[0], size + 1), x.dtype).at[:, places].add(x)[:, 1:].reshape(shape)


def _places(node: Any, shape: tuple[Any, ...]) -> Any:
    return np.asarray(node.forward(1.0 + np.arange(_size(shape), dtype=float).reshape(shape))).astype(np.int64)


def _filling_zeros(node: Any) -> Any:
    """The node with zeros as padding."""
    field = next((name for name in ("fill", "constant_values") if name in type(node).model_fields), None)
    return node.model_copy(update={field: 0.0}) if field else node


def _filling(instruction: Instruction) -> Any:
    node, dtype = instruction.node, instruction.types[0].array_dtype
    if isinstance(node, Unfold):
        return node.filling(dtype)  # type: ignore[no-untyped-call]
    return represented(node.constant_values, dtype) if isinstance(node, Pad) else 0  # type: ignore[no-untyped-call]


def slice_add(instruction: Instruction) -> Kernel:
    """What is added to the places that `slice` takes."""
    places = _places(Slice(**instruction.node.model_dump()), _shape(instruction)) - 1
    dtype = instruction.types[0].array_dtype
    return lambda x, updates: jnp.ravel(x).astype(dtype).at[places].add(updates).reshape(x.shape)


def one_hot(instruction: Instruction) -> Kernel:
    """A comparison with all indices, of which negative ones count from the end."""
    depth = _fields(instruction).depth

    def kernel(targets: Any) -> Any:
        places = jnp.where(targets < 0, targets + depth, targets)
        return places[..., None] == jnp.arange(depth)

    return kernel


def index_add(instruction: Instruction) -> Kernel:
    """Updates added at places along an axis, in the order of the indices."""
    axis, rank = _fields(instruction).axis, len(_shape(instruction))

    def kernel(x: Any, indices: Any, updates: Any) -> Any:
        place = (slice(None),) * (axis % rank) + (indices,)
        return x.astype(jnp.result_type(x, updates)).at[place].add(updates)

    return kernel


def scatter_add(instruction: Instruction) -> Kernel:
    """Updates added at places of their own rows."""
    axis = _fields(instruction).axis

    def kernel(x: Any, indices: Any, updates: Any) -> Any:
        places = [*jnp.ogrid[tuple(map(slice, indices.shape))]]
        places[axis] = indices
        return x.astype(jnp.result_type(x, updates)).at[tuple(places)].add(updates)

    return kernel


def body_of(body: Any, types: Sequence[Any]) -> Kernel | None:
    """Return a function of a model as a kernel for operands of these types; None if the table lacks an op of it."""
    graph = optimize(body.graph(tuple(types)))
    steps: list[tuple[Any, Instruction]] = [(kernel_of(each), each) for each in instructions(graph)]
    if any(kernel is None for kernel, _ in steps):
        return None

    def kernel(*operands: Any) -> tuple[Any, ...]:
        known: dict[Any, Any] = dict(zip(body.inputs, operands, strict=True))
        for made, step in steps:
            given = [known[of] if isinstance(of, str) else of for of in step.inputs]
            known.update(zip(step.outputs, made(*given), strict=True))
        return tuple([known[value] for value in graph.outputs.values()])

    return kernel


def scan(instruction: Instruction) -> Kernel | None:
    """A loop on the device."""
    node = _fields(instruction)
    steps, _ = node.steps(instruction.operand_types)
    body, carries = body_of(node.function, steps), len(node.carry)
    if body is None:
        return None
    axes, stacking = node.axes

    def kernel(*values: Any) -> tuple[Any, ...]:
        def step(state: Any, parts: Any) -> Any:
            given = dict(enumerate(values)) | state | parts
            found = body(*[given[place] for place in range(len(values))])
            return dict(zip(node.carried, found, strict=False)), found[carries:]

        state = {place: jnp.asarray(values[place], steps[place].array_dtype) for place in node.carried}
        parts = {place: jnp.moveaxis(values[place], axis, 0) for place, axis in zip(node.cut, axes, strict=True)}
        state, stacks = jax.lax.scan(step, state, parts, node.length, reverse=node.reverse)
        results = [jnp.moveaxis(each, 0, axis) for each, axis in zip(stacks, stacking, strict=True)]
        return (*[state[place] for place in node.carried], *results)

    return kernel


def cond(instruction: Instruction) -> Kernel | None:
    """A choice between two functions, of which one runs."""
    node, types = _fields(instruction), instruction.operand_types[1:]
    then, otherwise = body_of(node.then, types), body_of(node.otherwise, types)
    if then is None or otherwise is None:
        return None
    branches = [_typed(each, _dtypes(instruction)) for each in (then, otherwise)]
    return lambda condition, *values: jax.lax.cond(condition, *branches, *values)


def of_attributes(made: Callable[[Any], Kernel]) -> Callable[[Instruction], Kernel | None]:
    """Return the entry of a kernel that depends on the attributes alone."""
    return lambda instruction: made(instruction.node)


KERNELS: Mapping[str, Callable[[Instruction], Kernel | None]] = {
    "constant": lambda instruction: lambda: jnp.asarray(_fields(instruction).forward()),
    "sum": reduction(jnp.sum),
    "prod": reduction(jnp.prod),
    "max": reduction(jnp.max, of_nothing=False),
    "min": reduction(jnp.min, of_nothing=False),
    "any": reduction(jnp.any),
    "all": reduction(jnp.all),
    "argmax": place_of(jnp.argmax),
    "argmin": place_of(jnp.argmin),
    "cumsum": running(jnp.cumsum, 0),
    "cumprod": running(jnp.cumprod, 1),
    "norm": norm,
    "pow": power,
    "sum_to": sum_to,
    "reshape": reshaped,
    "expand_dims": reshaped,
    "squeeze": reshaped,
    "broadcast_to": broadcast_to,
    "transpose": of_attributes(lambda node: lambda x: jnp.transpose(x, node.axes)),
    "flip": of_attributes(lambda node: lambda x: jnp.flip(x, node.axis)),
    "tile": of_attributes(lambda node: lambda x: jnp.tile(x, node.reps)),
    "tril": of_attributes(lambda node: lambda x: jnp.tril(x, node.k)),
    "triu": of_attributes(lambda node: lambda x: jnp.triu(x, node.k)),
    "trace": of_attributes(lambda node: lambda x: jnp.trace(x, axis1=-2, axis2=-1)),
    "eye_like": of_attributes(lambda node: lambda x: jnp.broadcast_to(jnp.eye(*x.shape[-2:]), x.shape)),
    "concat": of_attributes(lambda node: lambda *xs: jnp.concatenate(xs, node.axis)),
    "stack": of_attributes(lambda node: lambda *xs: jnp.stack(xs, node.axis)),
    "split": of_attributes(lambda node: lambda x: jnp.split(x, node.indices_or_sections, node.axis)),
    "cast": of_attributes(lambda node: lambda x: jnp.asarray(x)),
    "round": of_attributes(lambda node: jnp.round),
    "erf": of_attributes(lambda node: jax.scipy.special.erf),
    "erfc": of_attributes(lambda node: jax.scipy.special.erfc),
    "einsum": of_attributes(lambda node: lambda *xs: jnp.einsum(node.equation, *xs)),
    "gather": of_attributes(lambda node: lambda x, indices: jnp.take(x, indices, axis=node.axis)),
    "take_along_axis": of_attributes(lambda node: lambda x, at: jnp.take_along_axis(x, at, axis=node.axis)),
    "searchsorted": of_attributes(lambda node: lambda a, v: jnp.searchsorted(a, v, node.side)),
    "where": of_attributes(lambda node: jnp.where),
    "zeros_like": of_attributes(lambda node: jnp.zeros_like),
    "ones_like": of_attributes(lambda node: jnp.ones_like),
    "slice": moved,
    "pad": moved,
    "unfold": moved_rows,
    "fold": fold,
    "slice_add": slice_add,
    "one_hot": one_hot,
    "index_add": index_add,
    "scatter_add": scatter_add,
    "scan": scan,
    "cond": cond,
}
"""For each op a function from an instruction to its kernel."""
