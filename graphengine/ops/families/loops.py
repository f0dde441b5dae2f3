"""Functions that run as a node: a loop over the steps of sequences, a choice between two functions.

The gradient of a loop is a loop over the gradient of its function, from the last step to the first; so derivatives of
any order are loops again.
"""

import functools
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from graphengine import hooks
from graphengine.ops.body import Body, Branch, Reversal, kind_of
from graphengine.ops.inference import as_tuple, normalized_axes
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS, register
from graphengine.ops.shapes import ArrayType, PythonNumber, shape_text

Names = tuple[str, ...]


@register("scan", traits=("primitive", "runs_functions"))
class Scan(Node):
    """A loop: a function runs once for each step and returns the state for the next step.

    z = function(*values), step by step; dvalues = function.gradient(*values, dz), from the last step to the first.

    The inputs are those of the function. Those named in `carry` are its state: the first step gets the given values,
    each further step the first outputs of the previous one, in the order of `carry`. Those named in `sequences` are cut
    along `axis`, one part for each step; all others are the same in each step. The results are the last state, under
    the names of the outputs that replace it, and the further outputs of all steps, stacked along `axis`. A tuple of
    axes has one for each sequence and then one for each stacked output. With `reverse` the loop begins with the last
    part and stacks from the end. `length` is the number of steps of a loop without sequences. With `checkpoint_every` =
    k the gradient only keeps the state before every k-th step, and recomputes the values in between.
    """

    function: Annotated[Body, Field(examples=["step"])]
    carry: Names = ()
    sequences: Names = ()
    axis: int | tuple[int, ...] = 0
    reverse: bool = False
    length: Annotated[int, Field(ge=0)] | None = None
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None

    @property
    def outputs(self):
        return self.function.outputs

    @property
    def carried(self):
        """The places of the carried values among the inputs."""
        return [self.function.inputs.index(name) for name in self.carry]

    @property
    def cut(self):
        """The places of the sequences among the inputs."""
        return [self.function.inputs.index(name) for name in self.sequences]

    @property
    def axes(self):
        """The axis of each sequence, and that of each stacked output."""
        count, stacked = len(self.sequences), len(self.outputs) - len(self.carry)
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,) * (count + stacked)
        return axes[:count], axes[count:]

    def infer(self, *types):
        self.check(types)
        steps, size = self.steps(types)
        results = self.function.infer(steps)
        for name, place, kind in zip(self.carry, self.carried, results, strict=False):
            if (kind.shape, kind.array_dtype) != (steps[place].shape, steps[place].array_dtype):
                raise ValueError(f"carry '{name}' is {steps[place]}, but the function gives {kind} for the next step")
        count = len(self.carry)
        stacked = [
            ArrayType(_with_axis(kind.shape, axis, size), np.dtype(kind.array_dtype))
            for kind, axis in zip(results[count:], self.axes[1], strict=True)
        ]
        return (*[ArrayType(kind.shape, np.dtype(kind.array_dtype)) for kind in results[:count]], *stacked)

    def check(self, types):
        """Refuse roles that do not fit the function."""
        names, roles = self.function.inputs, (*self.carry, *self.sequences)
        if unknown := [name for name in roles if name not in names]:
            raise ValueError(f"the function has no input '{unknown[0]}'; its inputs are {', '.join(names)}")
        if doubled := [name for name in roles if roles.count(name) > 1]:
            raise ValueError(f"input '{doubled[0]}' has two roles; name it once, in 'carry' or in 'sequences'")
        if len(types) != len(names):
            raise ValueError(f"the function has {len(names)} inputs ({', '.join(names)}), not {len(types)}")
        if len(self.carry) > len(self.outputs):
            message = f"{len(self.carry)} inputs are carried, but the function has {len(self.outputs)} outputs"
            raise ValueError(f"{message}; the first outputs are the state for the next step")
        if bool(self.sequences) == (self.length is not None):
            raise ValueError("a loop needs either sequences or a 'length'")
        if isinstance(self.axis, tuple) and len(self.axis) != len(self.sequences) + len(self.outputs) - len(self.carry):
            raise ValueError("'axis' has one axis for each sequence and then one for each stacked output, or is one")

    def steps(self, types):
        """The types of what the function gets in each step, and the number of steps."""
        steps, sizes = list(types), {}
        for name, place, axis in zip(self.sequences, self.cut, self.axes[0], strict=True):
            kind = types[place]
            if not kind.shape:
                raise ValueError(f"sequence '{name}' is {kind}, which has no axis")
            (axis,) = normalized_axes(axis, len(kind.shape))
            sizes[name] = kind.shape[axis]
            steps[place] = ArrayType(kind.shape[:axis] + kind.shape[axis + 1 :], kind.dtype)
        if len(set(sizes.values())) > 1:
            given = ", ".join(f"'{name}' has {'?' if size is None else size}" for name, size in sizes.items())
            raise ValueError(f"the sequences have different numbers of steps: {given}")
        size = next(iter(sizes.values()), self.length)
        for place in self.carried:
            steps[place] = types[place]._replace(content=None)  # the next step has another value
            if isinstance(types[place].dtype, PythonNumber):
                steps[place] = self._of_number(tuple(steps), place)
        return tuple(steps), size

    def _of_number(self, steps, place):
        """The type of a state that begins with a literal: a number of the dtype that the function gives."""
        result = self.function.infer(steps)[self.carried.index(place)]
        return ArrayType((), np.dtype(result.array_dtype))

    def workspace(self, *types):
        steps, _ = self.steps(types)
        return self.function.values(steps)

    def merge(self, axes, *types):
        steps, _ = self.steps(types)
        kept = list(axes)
        for place, axis in zip(self.cut, self.axes[0], strict=True):
            (cut,) = normalized_axes(axis, len(types[place].shape))
            if kept[place] == cut:
                return None
            kept[place] = kept[place] and kept[place] - (cut < kept[place])
        return "rows" if self.function.merges(steps, kept) else None

    def forward(self, *values):
        types = tuple(map(kind_of, values))
        results, (steps, count) = self.infer(*types), self.steps(types)
        given, (axes, stacking) = list(values), self.axes
        for place in self.carried:
            given[place] = np.asarray(values[place], steps[place].array_dtype)[()]
        parts = {
            place: np.moveaxis(np.asarray(values[place]), axis, 0) for place, axis in zip(self.cut, axes, strict=True)
        }
        carries = len(self.carry)
        stacks = [np.empty(kind.shape, kind.dtype) for kind in results[carries:]]
        slots = [np.moveaxis(stack, axis, 0) for stack, axis in zip(stacks, stacking, strict=True)]
        for step in reversed(range(count)) if self.reverse else range(count):
            for place, part in parts.items():
                given[place] = part[step]
            found = self.function(*given)
            for slot, result in zip(slots, found[carries:], strict=True):
                slot[step] = result
            for place, result in zip(self.carried, found, strict=False):
                given[place] = result
        return _one_or_all([*[given[place] for place in self.carried], *stacks])

    def backward(self, arriving, values, needs):
        arrive = tuple(each is not None for each in arriving)
        found, ahead, back = self.gradient_loops(tuple(map(kind_of, values)), arrive, needs)
        if not found.gradients:
            return (None,) * len(values)
        if self.checkpoint_every is not None:
            return self._in_segments(arriving, values, arrive, found)
        kept = as_tuple(ahead(*values))[len(self.outputs) :]
        results = as_tuple(back(*[self.operand(each, arriving, values, kept) for each in found.operands]))
        gradients = {place: sum_of([results[each] for each in parts]) for place, parts in found.gradients.items()}
        return tuple(gradients.get(place) for place in range(len(values)))

    def gradient_loops(self, types, arrive, needs):
        """The gradient of the loop: the loop that keeps what it reads, and the loop over the function's gradient."""
        steps, size = self.steps(types)
        found: Reversal = hooks.loop_gradient(self.function, steps, self.carry, self.sequences, arrive, needs)
        extra = len(found.forward.outputs) - len(self.outputs)
        axes = (*self.axes[0], *self.axes[1], *(0,) * extra)
        changes = {"function": found.forward, "axis": axes, "checkpoint_every": None}
        back = Scan(
            function=found.backward,
            carry=found.carry,
            sequences=found.sequences,
            axis=self._axes_back(found, extra),
            reverse=not self.reverse,
            length=None if found.sequences else size,
        )
        return found, Scan(**{**dict(self), **changes}), back

    def _in_segments(self, arriving, values, arrive, found):
        """The gradients by a node of their own, which computes values again."""
        needs = tuple(place in found.gradients for place in range(len(values)))
        node = OPS["scan_gradient"].cls(**dict(self), arrives=arrive, wanted=needs)
        results = iter(as_tuple(node(*values, *[each for each in arriving if each is not None])))
        return tuple(next(results) if need else None for need in needs)

    def between(self, values, start, stop, count):
        """The loop over some of its `count` steps, in the order in which they run, with its operands."""
        given = list(values)
        for place, axis in zip(self.cut, self.axes[0], strict=True):
            given[place] = self.parts(values[place], axis, start, stop, count)
        return (self if self.sequences else self.model_copy(update={"length": stop - start})), given

    def parts(self, whole, axis, start, stop, count):
        """The parts of an array for some of the steps, in the order in which they run."""
        places = slice(count - stop, count - start) if self.reverse else slice(start, stop)
        return np.moveaxis(np.moveaxis(np.asarray(whole), axis, 0)[places], 0, axis)

    def _axes_back(self, found, kept):
        """The axes of the loop of the gradient: of arriving gradients, kept values, sequences, and their gradients."""
        axis_of, carried = dict(zip(self.cut, self.axes[0], strict=True)), len(self.carry)
        arriving = [self.axes[1][n - carried] for kind, n in found.operands if kind == "arriving" and n >= carried]
        own = [axis_of[place] for kind, place in found.operands if kind == "value" and place in axis_of]
        return (*arriving, *(0,) * kept, *own, *[axis_of[place] for place in found.gradients if place in axis_of])

    def operand(self, source, arriving, values, kept):
        """An operand of the loop of the gradient."""
        kind, place = source
        if kind == "zero":  # the neutral element of addition: 0.0 would make 0.0 of -0.0
            value = values[place]
            return -0.0 if isinstance(value, float | int) else np.negative(np.zeros_like(value))
        return {"arriving": arriving, "value": values, "kept": kept}[kind][place]


@register("cond", traits=("primitive", "runs_functions"))
class Cond(Node):
    """A choice between two functions by a truth value.

    z = then(*values) if condition else otherwise(*values); dvalues = chosen.gradient(*values, dz).

    Both functions take the same inputs and give results of the same types, and only the chosen one runs. The gradient
    is that of the chosen one.
    """

    then: Annotated[Body, Field(examples=["large"])]
    otherwise: Annotated[Body, Field(examples=["small"])]

    @property
    def outputs(self):
        return self.then.outputs

    def infer(self, condition, *types):
        if condition.shape != () or condition.array_dtype != np.bool_:
            raise ValueError(f"the condition must be a single truth value, bool(), not {condition}")
        if len(self.then.inputs) != len(self.otherwise.inputs):
            message = f"'{self.then.name}' has {len(self.then.inputs)} inputs, '{self.otherwise.name}'"
            raise ValueError(f"{message} has {len(self.otherwise.inputs)}; both take the same")
        results = [self.then.infer(types), self.otherwise.infer(types)]
        one, other = ([(kind.shape, kind.array_dtype) for kind in each] for each in results)
        if one != other:
            given = " and ".join(", ".join(map(str, each)) for each in results)
            raise ValueError(f"both functions must return the same types, not {given}")
        return tuple(ArrayType(kind.shape, np.dtype(kind.array_dtype)) for kind in results[0])

    def workspace(self, condition, *types):
        return [*self.then.values(types), *self.otherwise.values(types)]

    def merge(self, axes, condition, *types):
        if axes[0] is not None:
            return None
        rows = self.then.merges(types, axes[1:]) and self.otherwise.merges(types, axes[1:])
        return "rows" if rows else None

    def forward(self, condition, *values):
        types = self.infer(kind_of(condition), *map(kind_of, values))
        results = (self.then if condition else self.otherwise)(*values)
        return _one_or_all([np.asarray(each, kind.dtype)[()] for each, kind in zip(results, types, strict=True)])

    def backward(self, arriving, condition, values, needs):
        types = tuple(map(kind_of, values))
        arrive = tuple(each is not None for each in arriving)
        wanted = tuple(place for place, need in enumerate(needs[1:]) if need)
        branches: list[Branch] = [
            hooks.branch_gradient(body, types, arrive, wanted) for body in (self.then, self.otherwise)
        ]
        chosen: Any = Cond(then=branches[0].body, otherwise=branches[1].body)
        found = as_tuple(chosen(condition, *values, *[each for each in arriving if each is not None]))
        gradients = dict(zip(wanted, found, strict=True))
        return (None, *[gradients.get(place) for place in range(len(values))])


@register("call")
class Apply(Node):
    """The results of a function, z = function(*values); dvalues = function.gradient(*values, dz).

    With it a function can call a function that it gets as an attribute. A graph contains the nodes of the function
    instead.
    """

    function: Annotated[Body, Field(examples=["rates"])]

    @property
    def outputs(self):
        return self.function.outputs

    def infer(self, *types):
        if len(types) != len(self.function.inputs):
            raise ValueError(f"the function has {len(self.function.inputs)} inputs, not {len(types)}")
        return self.function.infer(types)

    def workspace(self, *types):
        return self.function.values(types)

    def merge(self, axes, *types):
        return "rows" if self.function.merges(types, axes) else None

    def forward(self, *values):
        return _one_or_all(list(self.function(*values)))

    def backward(self, arriving, values, needs):
        arrive = tuple(each is not None for each in arriving)
        wanted = tuple(place for place, need in enumerate(needs) if need)
        found: Branch = hooks.branch_gradient(self.function, tuple(map(kind_of, values)), arrive, wanted)
        results = as_tuple(Apply(function=found.body)(*values, *[each for each in arriving if each is not None]))
        gradients = dict(zip(wanted, results, strict=True))
        return tuple(gradients.get(place) for place in range(len(values)))


def _with_axis(shape, axis, size):
    """A shape with a further axis of this size."""
    if not -len(shape) - 1 <= axis <= len(shape):
        raise ValueError(f"results of shape {shape_text(shape)} cannot be stacked along axis {axis}")
    place = axis + len(shape) + 1 if axis < 0 else axis
    return (*shape[:place], size, *shape[place:])


def sum_of(parts):
    """What parts add up to, in order; None for no parts."""
    return functools.reduce(np.add, parts) if parts else None


def _one_or_all(results):
    return tuple(results) if len(results) > 1 else results[0]
