"""The backward of a node that cannot be recorded, as one node: it calls the node's own code with arrays."""

from typing import Annotated, Any

from pydantic import Field

from graphengine.node import Node
from graphengine.nodes.shaping import like
from graphengine.registry import OPS, register
from graphengine.shapes import ArrayType


@register("opaque_backward")
class OpaqueBackward(Node):
    """The gradient toward input number `index` of a node of op `of`, by that op's own code.

    z = backward(*values)[index].

    Its inputs are, in order: the gradients of all outputs, all inputs and all outputs of that node. It has no backward
    of its own: there is no second derivative through code that cannot be recorded.
    """

    of: Annotated[str, Field(examples=["exp"])]
    index: int
    attributes: Annotated[dict[str, Any], Field(default_factory=dict)]

    def infer(self, *values):
        if self.of not in OPS:
            raise ValueError(f"op '{self.of}' is not known")
        op = OPS[self.of]
        results = len(op.cls.model_validate(self.attributes).outputs)
        count = len(values) - 2 * results
        if not 0 <= self.index < count or not op.signature.accepts(count):
            raise ValueError(f"its inputs are not those of a backward of '{self.of}' toward input {self.index}")
        return ArrayType(*values[results + self.index][:2])

    def forward(self, *values):
        op = OPS[self.of]
        node = op.cls.model_validate(self.attributes)
        count = len(node.outputs)
        incoming, inputs, results = values[:count], values[count:-count], values[-count:]
        needs = tuple(position == self.index for position in range(len(inputs)))
        return like(op.signature.gradients(node, incoming, inputs, results, needs)[self.index], inputs[self.index])
