"""The backward of a node that cannot be recorded, as one node that calls the code of the class with arrays."""

from typing import Annotated, Any

from pydantic import Field

from graphengine.ops.families.shaping import like
from graphengine.ops.merging import merge_of
from graphengine.ops.node import Node
from graphengine.ops.registry import OPS, register
from graphengine.ops.shapes import ArrayType


@register("opaque_backward")
class OpaqueBackward(Node):
    """The gradient with respect to input number `index` of a node of op `of`, by that op's own code.

    z = backward(*values)[index].

    Its inputs are, in order: the gradients of all outputs, all inputs but those with the numbers `omitted`, and all
    outputs of that node. It has no backward of its own: there is no second derivative through code that cannot be
    recorded.
    """

    of: Annotated[str, Field(examples=["exp"])]
    index: int
    attributes: Annotated[dict[str, Any], Field(default_factory=dict)]
    omitted: tuple[Annotated[int, Field(ge=0)], ...] = ()

    def infer(self, *values):
        if self.of not in OPS:
            raise ValueError(f"unknown op '{self.of}'")
        node, _, inputs, results = self.parts(values)
        wanted = inputs[self.index] if 0 <= self.index < len(inputs) else None
        if wanted is None or len(results) < len(node.outputs) or not node.signature.accepts(len(inputs)):
            raise ValueError(f"its inputs are not those of a backward of '{self.of}' for input {self.index}")
        return ArrayType(*wanted[:2])

    def merge(self, axes, *values):
        node, incoming, inputs, results = self.parts(values)
        places = iter(axes[len(incoming) : len(axes) - len(results)])
        own = tuple(None if kind is None else next(places) for kind in inputs)
        around = (*axes[: len(incoming)], *axes[len(axes) - len(results) :])
        forward = set(merge_of(node, own, tuple(inputs)))
        if forward == {"rows"} and None not in around:
            return "sum" if own[self.index] is None else "rows"
        return "rows" if forward == {"sum"} and set(around) == {None} and own[self.index] is not None else None

    def forward(self, *values):
        node, incoming, inputs, results = self.parts(values)
        needs = tuple(position == self.index for position in range(len(inputs)))
        return like(node.signature.gradients(node, incoming, inputs, results, needs)[self.index], inputs[self.index])

    def parts(self, values):
        """The node, the gradients of its outputs, its inputs with None for omitted ones, and its outputs."""
        node = OPS[self.of].cls.model_validate(self.attributes)
        count = len(node.outputs)
        inputs = list(values[count : max(count, len(values) - count)])
        for place in sorted(self.omitted):
            inputs.insert(place, None)
        return node, values[:count], inputs, values[count:][-count:]
