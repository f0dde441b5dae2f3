"""Parts of arrays: selecting them, putting them together, adding to them.

Selecting and adding are each other's gradients: what `slice`, `gather` and `take_along_axis` take out of an array,
`slice_add`, `index_add` and `scatter_add` add back at the same places. Indices are integers, negative ones count from
the end.
"""

import itertools
import math
from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.families.shaping import quotient
from graphengine.ops.inference import normalized_axes
from graphengine.ops.node import Node
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, DTypeName, PythonNumber, broadcast_shapes, dtype_name, shape_text, total
from graphengine.ops.sums import is_long

Bound = int | tuple[int | None, ...] | None


@register("slice", traits=("view",))
class Slice(Node):
    """Every `step`-th part of x from `start` to before `stop` along an axis.

    z = x[start:stop:step]; dx = slice_add(zeros_like(x), dz).

    As Python slices: None is the end in the direction of the step, and indices outside of x are ignored. With a list of
    axes, each other attribute is a list of the same length, or one number for all. The result is a view.
    """

    start: Bound = None
    stop: Bound = None
    step: int | tuple[int, ...] = 1
    axis: int | tuple[int, ...] = 0

    def infer(self, x):
        return ArrayType(sliced(x.shape, self), x.dtype)

    def merge(self, axes, x):
        return kept_whole(self, axes, x)

    def forward(self, x):
        return x[slice_index(self, x.ndim)]

    def backward(self, grad, x):
        return SliceAdd(**self.model_dump())(np.zeros_like(x), grad)


@register("slice_add")
class SliceAdd(Node):
    """x with `updates` added where the op `slice` with the same attributes selects.

    z[start:stop:step] = x[start:stop:step] + updates; dx = dz, dupdates = dz[start:stop:step].

    Elsewhere z is x.
    """

    start: Bound = None
    stop: Bound = None
    step: int | tuple[int, ...] = 1
    axis: int | tuple[int, ...] = 0

    def infer(self, x, updates):
        return added(x, updates, sliced(x.shape, self))

    def merge(self, axes, x, updates):
        return kept_whole(self, axes, x, updates)

    def forward(self, x, updates):
        z = np.array(x, np.result_type(x, updates))
        z[slice_index(self, x.ndim)] += updates
        return z

    def backward(self, grad):
        return grad, Slice(**self.model_dump())(grad)


@register("gather", numpy=np.take, traits=("primitive",))
class Gather(Node):
    """Parts of x by their indices along one axis, as `numpy.take`.

    z[i] = x[indices[i]]; dx = index_add(zeros_like(x), indices, dz).

    The axis is replaced by the axes of the indices: (4, 2, 3) with indices (5, 6) along axis 1 gives (4, 5, 6, 3).
    """

    axis: int

    def infer(self, x, indices):
        axis = selecting_axis(self, x, indices)
        return ArrayType((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)

    def merge(self, axes, x, _indices):
        return None if axes[0] == self.axis % len(x.shape) else "rows"

    def forward(self, x, indices):
        return np.take(x, indices, axis=self.axis)

    def backward(self, grad, x, indices):
        return IndexAdd(axis=self.axis)(np.zeros_like(x), indices, grad), None


@register("index_add")
class IndexAdd(Node):
    """x with `updates` added at indices along one axis, once for each time an index occurs.

    z[j] = x[j] + sum(updates[indices == j]); dx = dz, dupdates[i] = dz[indices[i]].

    The gradient of `gather`, whose result has the shape of the updates. Called `index_add` in PyTorch, too.
    """

    axis: int

    def infer(self, x, indices, updates):
        axis = selecting_axis(self, x, indices)
        return added(x, updates, (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]))

    def merge(self, axes, x, _indices, _updates):
        if axes[0] is None:
            return None if axes[1] is None or axes[2] is None else "add"
        return "rows" if axes[1] is None and axes[0] != self.axis % len(x.shape) else None

    def forward(self, x, indices, updates):
        places = flat_places(x.shape, self.axis % x.ndim, indices)
        z = added_at(np.reshape(x, -1), places, np.reshape(updates, -1), uses(indices, x.shape[self.axis]))
        return np.reshape(z, x.shape)

    def backward(self, grad, indices):
        return grad, None, np.take(grad, indices, axis=self.axis)


@register("take_along_axis", numpy=np.take_along_axis, traits=("primitive",))
class TakeAlongAxis(Node):
    """Values of x by their indices along one axis.

    z[i, j] = x[i, indices[i, j]]; dx = scatter_add(zeros_like(x), indices, dz).

    Indices have the shape of x, except along the axis, here the last of two. Called GatherElements in ONNX, gather in
    PyTorch.
    """

    axis: int = -1

    def infer(self, x, indices):
        return ArrayType(along(self, x, indices), x.dtype)

    def merge(self, axes, x, indices):
        return kept_whole(self, axes, x, indices)

    def forward(self, x, indices):
        return np.take_along_axis(x, indices, axis=self.axis)

    def backward(self, grad, x, indices):
        return ScatterAdd(axis=self.axis)(np.zeros_like(x), indices, grad), None


@register("scatter_add")
class ScatterAdd(Node):
    """x with `updates` added at indices along one axis.

    z[i, k] = x[i, k] + sum(updates[i, indices[i] == k]); dx = dz, dupdates[i, j] = dz[i, indices[i, j]].

    Indices and updates have the shape of x, except along the axis, here the last of two. Called ScatterElements in
    ONNX, scatter_add in PyTorch.
    """

    axis: int = -1

    def infer(self, x, indices, updates):
        return added(x, updates, along(self, x, indices))

    def merge(self, axes, x, indices, updates):
        if axes[0] is None:
            return "add" if axes[1] is not None and axes[1] == axes[2] else None
        return kept_whole(self, axes, x, indices, updates)

    def forward(self, x, indices, updates):
        places = [*np.ogrid[tuple(map(slice, indices.shape))]]
        places[self.axis] = indices
        return added_at(x, tuple(places), updates, indices.shape[self.axis])

    def backward(self, grad, indices):
        return grad, None, np.take_along_axis(grad, indices, axis=self.axis)


@register("one_hot")
class OneHot(Node):
    """A new last axis of size `depth`, 1 where its index equals the target and 0 elsewhere.

    z[i, j] = (targets[i] == j).

    Negative targets count from the end, as in ONNX. The attribute `dtype` is that of the result.
    """

    merge = "rows"
    depth: int
    dtype: DTypeName = "float64"

    def infer(self, targets):
        if targets.array_dtype.kind not in "iu":
            raise ValueError(f"targets must be integers, not {dtype_name(targets.dtype)}")
        return ArrayType((*targets.shape, self.depth), np.dtype(self.dtype))

    def forward(self, targets):
        places = np.expand_dims(from_the_front(targets, self.depth), -1)
        return np.equal(places, np.arange(self.depth)).astype(self.dtype)


@register("concat", numpy=np.concatenate, traits=("primitive",))
class Concat(Node):
    """Arrays one after the other along an axis they have; the other sizes are equal.

    z = concat(x, *xs); dx, *dxs = split(dz).
    """

    axis: int = 0

    def infer(self, x, *xs):
        xs = (x, *xs)
        (axis,) = normalized_axes(self.axis, min(len(x.shape) for x in xs))
        others, dtype = together(xs, [(*x.shape[:axis], *x.shape[axis + 1 :]) for x in xs])
        return ArrayType((*others[:axis], total(x.shape[axis] for x in xs), *others[axis:]), dtype)

    def merge(self, axes, *xs):
        return kept_whole(self, axes, *xs)

    def forward(self, x, *xs):
        return np.concatenate((x, *xs), axis=self.axis)

    def backward(self, grad, x, xs):
        sizes = [each.shape[self.axis] for each in (x, *xs)]
        if not xs:
            return grad
        if all(isinstance(size, int) for size in sizes):
            return tuple(np.split(grad, tuple(itertools.accumulate(sizes[:-1])), axis=self.axis))
        return SplitLike(parts=len(sizes), axis=self.axis)(grad, x, *xs)


@register("split_like")
class SplitLike(Node):
    """x cut along an axis into as many parts as there are xs, each as long as the one of xs.

    z0, z1, ... = split(x); dx = concat(dz0, dz1, ...), dxs = 0.

    The gradient of `concat` if sizes are known only at run time. Only the sizes of the inputs xs count; `parts` is
    their number.
    """

    parts: Annotated[int, Field(ge=2)]
    axis: int = 0

    @property
    def outputs(self):
        return part_names(self.parts)

    def infer(self, x, *xs):
        if self.parts != len(xs) or not agree(x.shape, Concat(axis=self.axis).infer(*xs).shape):
            shapes = ", ".join(shape_text(each.shape) for each in xs)
            raise ValueError(f"shape {shape_text(x.shape)} has no {self.parts} parts of shapes {shapes}")
        return tuple(ArrayType(each.shape, x.dtype) for each in xs)

    def forward(self, x, *xs):
        sizes = [each.shape[self.axis] for each in xs]
        return tuple(np.split(x, tuple(itertools.accumulate(sizes[:-1])), axis=self.axis))

    def backward(self, grads, xs):
        return Concat(axis=self.axis)(*grads), *(None for _ in xs)


@register("stack", numpy=np.stack, traits=("primitive",))
class Stack(Node):
    """Arrays of one shape along a new axis, which is the axis `axis` of the result.

    z = stack(x, *xs); dx = dz[0], dxs[i] = dz[i + 1].

    The derivatives for axis 0.
    """

    merge = "rows"
    axis: int = 0

    def infer(self, x, *xs):
        xs = (x, *xs)
        shape, dtype = together(xs, [x.shape for x in xs])
        (axis,) = normalized_axes(self.axis, len(shape) + 1)
        sizes = [each.content for each in xs]
        content = None if shape or None in sizes else tuple(size for each in sizes for size in each)
        return ArrayType((*shape[:axis], len(xs), *shape[axis:]), dtype, content)

    def forward(self, x, *xs):
        return np.stack((x, *xs), axis=self.axis)

    def backward(self, grad, needs):
        parts = enumerate(needs)
        return tuple(np.take(grad, index, axis=self.axis) if need else None for index, need in parts)


@register("split", numpy=np.split, traits=("view", "primitive"))
class Split(Node):
    """x cut along an axis, the inverse of `concat`, z0, z1, ... = split(x); dx = concat(dz0, dz1, ...).

    The parts are `id`, `id:part_1` and so on. `indices_or_sections` is the number of equal parts or, as an array, the
    places before which x is cut, as in NumPy.
    """

    indices_or_sections: Annotated[int, Field(ge=2, le=256)] | Annotated[tuple[int, ...], Field(min_length=1)]
    axis: int = 0

    @property
    def outputs(self):
        cuts = self.indices_or_sections
        return part_names(cuts if isinstance(cuts, int) else len(cuts) + 1)

    def infer(self, x):
        (axis,) = normalized_axes(self.axis, len(x.shape))
        sizes = part_sizes(x.shape[axis], self.indices_or_sections)
        return tuple(ArrayType((*x.shape[:axis], size, *x.shape[axis + 1 :]), x.dtype) for size in sizes)

    def merge(self, axes, x):
        return kept_whole(self, axes, x)

    def forward(self, x):
        return tuple(np.split(x, self.indices_or_sections, axis=self.axis))

    def backward(self, grads):
        return Concat(axis=self.axis)(*grads)


def kept_whole(node, axes, *types):
    """Samples stay apart unless parts are taken along the axis on which they lie."""
    rank = len(types[0].shape)
    inside = {axis for axis in axes if axis is not None}
    return "rows" if inside.isdisjoint(normalized_axes(node.axis, rank)) and len(inside) == 1 else None


def part_names(count):
    """The names of the parts of an array."""
    return tuple([f"part_{index}" for index in range(count)])


def slice_index(node, rank):
    """The index of what a slice selects in an array of `rank` dimensions."""
    if isinstance(node.axis, int):
        return (*[slice(None)] * (node.axis % rank), slice(node.start, node.stop, node.step))
    cuts = [slice(None)] * rank
    for number, axis in enumerate(node.axis):
        bounds = (node.start, node.stop, node.step)
        cuts[axis] = slice(*(bound[number] if isinstance(bound, tuple) else bound for bound in bounds))
    return tuple(cuts)


def flat_places(shape, axis, indices):
    """Where the values are that indices select, in an array of a shape made a vector: there NumPy adds the fastest."""
    size, indices = shape[axis], np.asarray(indices, np.intp)
    if np.any((indices < -size) | (indices >= size)):
        raise IndexError(f"an index is out of bounds for axis {axis} with size {size}")
    before, after = np.arange(math.prod(shape[:axis])), np.arange(math.prod(shape[axis + 1 :]))
    return ((before[:, None, None] * size + np.reshape(indices % size, (-1, 1))) * after.size + after).reshape(-1)


def uses(indices, size):
    """How often the index is used that is used most."""
    return np.max(np.bincount(np.reshape(indices, -1) % size), initial=0) if is_long(np.size(indices)) else 0


def added_at(x, places, updates, most):
    """x with updates added at places, at most so many at one; many of single precision are added in double."""
    dtype = np.result_type(x, updates)
    in_double = dtype == np.float32 and is_long(most)
    z = np.array(x, np.float64 if in_double else dtype, order="C")
    np.add.at(z, places, np.asarray(updates, z.dtype))
    return z.astype(dtype) if in_double else z


def sliced(shape, node):
    """The shape that a slice of `shape` has; a symbolic size stays known only where all of it is taken."""
    axes = normalized_axes(node.axis, len(shape))
    for name in ("start", "stop", "step"):
        bound = getattr(node, name)
        if isinstance(bound, tuple) and (isinstance(node.axis, int) or len(bound) != len(axes)):
            raise ValueError(f"{name} {bound} has not one number for each axis in {node.axis}")
    if node.step == 0 or (isinstance(node.step, tuple) and 0 in node.step):
        raise ValueError("the step of a slice must not be 0")
    cuts = itertools.zip_longest(shape, slice_index(node, len(shape)), fillvalue=slice(None))
    return tuple(sliced_size(size, cut) for size, cut in cuts)


def sliced_size(size, cut):
    """How many places of an axis a slice takes."""
    if isinstance(size, int):
        return len(range(size)[cut])
    forward, backward = cut.step in (None, 1) and not cut.start, cut.step == -1 and cut.start in (None, -1)
    return size if cut.stop is None and (forward or backward) else None


def part_sizes(size, cuts):
    """The sizes of the parts of an axis."""
    if isinstance(cuts, int):
        if isinstance(size, int) and size % cuts:
            raise ValueError(f"size {size} cannot be cut into {cuts} equal parts")
        return [None if size is None else quotient(size, cuts)] * cuts
    if not isinstance(size, int):
        return [None] * (len(cuts) + 1)
    pairs = zip((None, *cuts), (*cuts, None), strict=True)
    return [len(range(*slice(start, stop).indices(size))) for start, stop in pairs]


def from_the_front(indices, size):
    """Indices along an axis of a size as NumPy reads them: negative ones count from the end."""
    indices = np.asarray(indices)
    return np.where(indices < 0, indices + np.int64(size), indices) if indices.dtype.kind == "i" else indices


def selecting_axis(node, x, indices):
    """The axis of x along which integers select."""
    if indices.array_dtype.kind not in "iu":
        raise ValueError(f"indices must be integers, not {dtype_name(indices.dtype)}")
    return normalized_axes(node.axis, len(x.shape))[0]


def along(node, x, indices):
    """The shape of indices that have that of x but along an axis."""
    axis = selecting_axis(node, x, indices)
    if not agree((*x.shape[:axis], None, *x.shape[axis + 1 :]), indices.shape):
        shapes = f"{shape_text(indices.shape)} and {shape_text(x.shape)}"
        raise ValueError(f"the shapes of indices and x may differ on axis {axis} only, not {shapes}")
    return indices.shape


def added(x, updates, expected):
    """The type of x with updates added, which must have the shape of what they are added to."""
    if not agree(updates.shape, expected):
        raise ValueError(f"updates must have the shape {shape_text(expected)}, not {shape_text(updates.shape)}")
    number = {PythonNumber.INT: 1, PythonNumber.FLOAT: 1.0}.get(updates.dtype, updates.dtype)
    return ArrayType(x.shape, np.result_type(x.array_dtype, number))


def together(xs, shapes):
    """The shape and the dtype that arrays have in common, by those of their shapes that must be equal."""
    if not all(agree(shapes[0], shape) for shape in shapes):
        raise ValueError(f"shapes {' and '.join(shape_text(x.shape) for x in xs)} do not fit together")
    return broadcast_shapes(shapes), np.result_type(*[x.array_dtype for x in xs])


def agree(first, second):
    """Whether shapes are equal, as far as sizes are known."""
    return len(first) == len(second) and all(a == b or None in (a, b) for a, b in zip(first, second, strict=True))
