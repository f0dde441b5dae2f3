"""The gradient of a loop in segments, so that not all values that it reads are there at the same time."""

from typing import Annotated

import numpy as np
from pydantic import Field

from graphengine.ops.body import Body, kind_of
from graphengine.ops.families.loops import Scan, sum_of
from graphengine.ops.inference import as_tuple
from graphengine.ops.node import Node, Recorded
from graphengine.ops.registry import register
from graphengine.ops.shapes import ArrayType, PythonNumber

Flags = tuple[bool, ...]


@register("scan_gradient", traits=("primitive", "runs_functions"))
class ScanGradient(Node):
    """The gradient of a loop with `checkpoint_every`, from the last segment of that many steps to the first.

    z = function.gradient(*values, dz), segment by segment; dvalues = function.gradient.gradient(*values, dz).

    The inputs are those of the loop and the gradients of the results that `arrives` marks. The results are the
    gradients of the inputs that `wanted` marks, with the bits that they have without segments. Chen et al., Training
    Deep Nets with Sublinear Memory Cost, 2016.
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
        toward = [kinds[place] for place in self.places]
        self._require_fitting(kinds, given)
        arrays = [kind for kind in given if not isinstance(kind.dtype, PythonNumber)]
        if not all(kind.is_differentiable for kind in (*arrays, *toward)):
            raise ValueError("only floating-point numbers have a gradient")
        return tuple([ArrayType(kind.shape, np.dtype(kind.array_dtype)) for kind in toward])

    def _require_fitting(self, kinds, given):
        """Refuse gradients that do not have the number or shapes of the results at which they arrive."""
        results, count = self.loop.infer(*kinds), len(kinds) + len(given)
        if len(given) != sum(self.arrives) or len(results) != len(self.arrives):
            raise ValueError(f"it takes {len(self.wanted)} values and {sum(self.arrives)} gradients, not {count}")
        expected = [kind.shape for kind, arrives in zip(results, self.arrives, strict=True) if arrives]
        if [kind and kind.shape for kind in given] != expected:
            raise ValueError("a gradient must have the shape of the result at which it arrives")

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
        return self.computed(values, lambda loop, operands: as_tuple(loop(*operands)))

    def computed(self, values, call):
        """The gradients, by a function that runs a loop on operands."""
        loop, own = self.loop, list(values[: len(self.wanted)])
        arriving = list(map(typed, self._arriving(values), loop.infer(*map(kind_of, own))))
        steps, count = loop.steps(tuple(map(kind_of, own)))
        for place in loop.carried:
            own[place] = typed(own[place], steps[place])
        found, ahead, back = loop.gradient_loops(tuple(map(kind_of, own)), self.arrives, self.wanted)
        starts = range(0, max(count, 1), self.checkpoint_every)
        begun, stacks = None, []
        for start, given in zip(starts[::-1], self._states(own, starts, count, call)[::-1], strict=True):
            stop = min(start + self.checkpoint_every, count)
            keeping, inner = ahead.between(given, start, stop, count)
            kept = call(keeping, inner)[len(loop.outputs) :]
            cut = self._cut(arriving, start, stop, count)
            operands = [loop.operand(source, cut, inner, kept) for source in found.operands]
            operands[: len(found.carry)] = begun or operands[: len(found.carry)]
            results = call(back if found.sequences else back.model_copy(update={"length": stop - start}), operands)
            begun = list(results[: len(found.carry)])
            stacks.append(results[len(found.carry) :])
        made = self._gradients(found, [*begun, *self._joined(stacks, back)])
        gradients = [typed(each, kind_of(own[place])) for each, place in zip(as_tuple(made), self.places, strict=True)]
        return tuple(gradients) if len(gradients) > 1 else gradients[0]

    def _cut(self, arriving, start, stop, count):
        """What arrives at the results of a segment: at those of all steps the part that belongs to it."""
        axes = [*[None] * len(self.loop.carry), *self.loop.axes[1]]
        return [
            each if each is None or axis is None else self.loop.parts(each, axis, start, stop, count)
            for each, axis in zip(arriving, axes, strict=True)
        ]

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
        kept = as_tuple(ahead(*own))[len(loop.outputs) :]
        operands = tuple(loop.operand(source, given, own, kept) for source in found.operands)
        return found, ahead, back, operands, as_tuple(back(*operands))

    def backward(self, arriving, values, needs):
        """The chain rule through both loops of the gradient, which keep all their values."""
        own, outputs = values[: len(self.wanted)], len(self.function.outputs)
        found, ahead, back, operands, _ = self._whole(values)
        gradients = zip(self.places, arriving, strict=True)
        parts = {part: gradient for place, gradient in gradients for part in found.gradients[place]}
        at_back = map(parts.get, range(len(back.outputs)))
        active = tuple(kind_of(each).is_differentiable for each in operands)
        totals = collect({}, found.operands, back.backward(tuple(at_back), operands, active))
        kept = [("kept", number) for number in range(len(ahead.outputs) - outputs)]
        at_ahead = [*[None] * outputs, *totals_of(totals, kept)]
        inner = tuple(need and kind_of(each).is_differentiable for need, each in zip(needs, own, strict=False))
        sources = [("value", number) for number in range(len(own))]
        if not all(each is None for each in at_ahead):
            collect(totals, sources, ahead.backward(tuple(at_ahead), own, inner))
        sources += [("arriving", number) for number, arrives in enumerate(self.arrives) if arrives]
        return tuple(totals_of(totals, sources))


def typed(value, kind):
    """A value in the dtype of a type; None stays None."""
    return None if value is None else np.asarray(value, kind.array_dtype)[()]


def totals_of(totals, sources):
    """The gradient of each source; None where it has no part."""
    return [sum_of(totals.get(source, ())) for source in sources]


def collect(totals, sources, parts):
    """Add parts of gradients to those of the same source; None is no part."""
    for source, part in zip(sources, parts, strict=True):
        if part is not None:
            totals.setdefault(source, []).append(part)
    return totals
