"""The gradient of a loop in segments, so that not all values that it reads are there at the same time."""

from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.body import Body, kind_of
from graphengine.ops.families.loops import Scan, all_of, sum_of
from graphengine.ops.node import Node, Recorded
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, PythonNumber

Flags = tuple[bool, ...]


@register("scan_gradient", traits=("primitive",))
class ScanGradient(Node):
    """The gradient of a loop with `checkpoint_every`, from the last segment of so many steps to the first.

    z = function.gradient(*values, dz), segment by segment; dvalues = function.gradient.gradient(*values, dz).

    The inputs are those of the loop and the gradients that arrive at its results, of those that `arrives` marks. The
    results are the gradients of the inputs that `wanted` marks, with the bits that they have without segments. Chen et
    al., Training Deep Nets with Sublinear Memory Cost, 2016.
    """

    function: Annotated[Body, Field(examples=["step"])]
    arrives: Flags
    wanted: Flags
    checkpoint_every: Annotated[int, Field(ge=1)]
    carry: tuple[str, ...] = ()
    sequences: tuple[str, ...] = ()
    axis: int | tuple[int, ...] = 0
    reverse: bool = False
    length: Annotated[int, Field(ge=0)] | None = None

    @property
    def outputs(self):
        return tuple([f"d_{name}" for name, need in zip(self.function.inputs, self.wanted, strict=True) if need])

    @property
    def loop(self):
        """The loop whose gradient it is, without segments."""
        fields = {name: value for name, value in self if name not in ("arrives", "wanted", "checkpoint_every")}
        return Scan(**fields)

    @property
    def places(self):
        """The places of the inputs whose gradients are the results."""
        return [place for place, need in enumerate(self.wanted) if need]

    def infer(self, *types):
        kinds, given = types[: len(self.wanted)], types[len(self.wanted) :]
        results = self.loop.infer(*kinds)
        if len(given) != sum(self.arrives) or len(results) != len(self.arrives):
            raise ValueError(f"it takes {len(self.wanted)} values and {sum(self.arrives)} gradients, not {len(types)}")
        expected = [kind for kind, arrives in zip(results, self.arrives, strict=True) if arrives]
        if any(kind is None or kind.shape != wanted.shape for kind, wanted in zip(given, expected, strict=True)):
            raise ValueError("a gradient must have the shape of the result at which it arrives")
        arrays = [kind for kind in given if kind and not isinstance(kind.dtype, PythonNumber)]
        if not all(kind.is_differentiable for kind in (*arrays, *[kinds[place] for place in self.places])):
            raise ValueError("only floating-point numbers have a gradient")
        return tuple([ArrayType(kinds[place].shape, np.dtype(kinds[place].array_dtype)) for place in self.places])

    def workspace(self, *types):
        loop, kinds = self.loop, types[: len(self.wanted)]
        steps, count = loop.steps(kinds)
        found, ahead, _ = loop.gradient_loops(kinds, self.arrives, self.wanted)
        each = min(self.checkpoint_every, count)
        states = [steps[place] for place in loop.carried]
        stacked = ahead.function.infer(steps)[len(loop.carry) :]
        once = [*self.function.values(steps), *found.forward.values(steps)]
        kept = [ArrayType((each, *kind.shape), kind.dtype) for kind in stacked]
        return [*once, *kept, *[ArrayType((-(-count // max(each, 1)), *kind.shape), kind.dtype) for kind in states]]

    def merge(self, axes, *types):
        apart = self.loop.merge(axes[: len(self.wanted)], *types[: len(self.wanted)]) == "rows"
        if not apart or None in axes[len(self.wanted) :]:
            return None
        return tuple(["sum" if axes[place] is None else "rows" for place in self.places])

    def forward(self, *values):
        if any(isinstance(value, Recorded) for value in values):  # an exported graph computes nothing again
            found, _, _, _, results = self._whole(values)
            return self._gradients(found, results)
        return self.computed(values, lambda loop, operands: all_of(loop(*operands)))

    def computed(self, values, call):
        """The gradients, by a function that runs a loop on operands."""
        loop, own = self.loop, list(values[: len(self.wanted)])
        results = loop.infer(*map(kind_of, own))
        arriving = [
            each if each is None else np.asarray(each, kind.array_dtype)[()]
            for each, kind in zip(self._arriving(values), results, strict=True)
        ]
        steps, count = loop.steps(tuple(map(kind_of, own)))
        for place in loop.carried:
            own[place] = np.asarray(own[place], steps[place].array_dtype)[()]
        found, ahead, back = loop.gradient_loops(tuple(map(kind_of, own)), self.arrives, self.wanted)
        starts = range(0, max(count, 1), self.checkpoint_every)
        begun, stacks = None, []
        for start, given in zip(starts[::-1], self._states(own, starts, count, call)[::-1], strict=True):
            stop = min(start + self.checkpoint_every, count)
            keeping, inner = ahead.between(given, start, stop, count)
            kept = call(keeping, inner)[len(loop.outputs) :]
            cut = [
                each
                if each is None or number < len(loop.carry)
                else loop.parts(each, loop.axes[1][number - len(loop.carry)], start, stop, count)
                for number, each in enumerate(arriving)
            ]
            operands = [loop.operand(source, cut, inner, kept) for source in found.operands]
            operands[: len(found.carry)] = begun or operands[: len(found.carry)]
            results = call(back if found.sequences else back.model_copy(update={"length": stop - start}), operands)
            begun = list(results[: len(found.carry)])
            stacks.append(results[len(found.carry) :])
        made = self._gradients(found, [*begun, *self._joined(stacks, back)])
        typed = [
            np.asarray(each, kind_of(own[place]).array_dtype)[()]
            for each, place in zip(all_of(made), self.places, strict=True)
        ]
        return tuple(typed) if len(typed) > 1 else typed[0]

    def _arriving(self, values):
        """What arrives at each result of the loop, None for nothing."""
        given = iter(values[len(self.wanted) :])
        return [next(given) if arrives else None for arrives in self.arrives]

    def _states(self, own, starts, count, call):
        """The operands of the loop with the state before each segment."""
        found = [own]
        for start in starts[:-1]:
            loop, inner = self.loop.between(found[-1], start, start + self.checkpoint_every, count)
            results, following = call(loop, inner), list(own)
            for place, state in zip(loop.carried, results, strict=False):
                following[place] = state
            found.append(following)
        return found

    def _joined(self, stacks, back):
        """The gradients of sequences, whose segments were computed from the last one to the first."""
        ordered = stacks if self.reverse else stacks[::-1]
        pairs = zip(zip(*ordered, strict=True), back.axes[1], strict=True)
        return [np.concatenate(parts, axis=axis) for parts, axis in pairs]

    def _gradients(self, found, results):
        made = tuple(sum_of([results[part] for part in found.gradients[place]]) for place in self.places)
        return made if len(made) > 1 else made[0]

    def _whole(self, values):
        """Both loops of the gradient without segments, with the operands and results of the second one."""
        loop, own, given = self.loop, values[: len(self.wanted)], self._arriving(values)
        found, ahead, back = loop.gradient_loops(tuple(map(kind_of, own)), self.arrives, self.wanted)
        kept = all_of(ahead(*own))[len(loop.outputs) :]
        operands = tuple(loop.operand(source, given, own, kept) for source in found.operands)
        return found, ahead, back, operands, all_of(back(*operands))

    def backward(self, arriving, values, needs):
        """The chain rule through both loops of the gradient, which keep all their values."""
        own, outputs = values[: len(self.wanted)], len(self.function.outputs)
        found, ahead, back, operands, _ = self._whole(values)
        at_back = [None] * len(back.outputs)
        for place, gradient in zip(self.places, arriving, strict=True):
            for part in found.gradients[place]:
                at_back[part] = gradient
        active = tuple(kind_of(each).is_differentiable for each in operands)
        totals, at_ahead = {}, [None] * len(ahead.outputs)
        for (kind, number), part in zip(found.operands, back.backward(tuple(at_back), operands, active), strict=True):
            if part is not None and kind == "kept":
                at_ahead[outputs + number] = part
            elif part is not None and kind != "zero":
                totals.setdefault((kind, number), []).append(part)
        inner = tuple(need and kind_of(each).is_differentiable for need, each in zip(needs, own, strict=False))
        parts = ahead.backward(tuple(at_ahead), own, inner) if any(each is not None for each in at_ahead) else ()
        for number, part in enumerate(parts):
            if part is not None:
                totals.setdefault(("value", number), []).append(part)
        keys = [("value", number) for number in range(len(own))]
        keys += [("arriving", number) for number, arrives in enumerate(self.arrives) if arrives]
        return tuple(sum_of(totals[key]) if key in totals else None for key in keys)
