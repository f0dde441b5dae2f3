"""Layers of the package that make their own parameters: their nodes depend on the attributes of a call.

A function file has the layer by hand, where a call gives weights and biases as inputs. With `units` a call makes them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args

from pydantic import Field

from graphengine.format.documents import FunctionDocument, FunctionInputDocument, MadeParameterDocument, NodeDocument
from graphengine.format.fields import Document, PositiveInt

Rectifier: TypeAlias = Literal["relu", "leaky_relu", "elu", "celu", "gelu", "silu", "mish", "softplus"]
"""Activations after which half of the variance is lost, so that weights start as He et al. 2015 propose."""

Activation: TypeAlias = Literal[
    Rectifier, "selu", "sigmoid", "hard_sigmoid", "tanh", "softsign", "softmax", "log_softmax"
]
"""Ops that a layer may apply to what it computes."""


class Layer(Document, ABC):
    """The attributes of a layer."""

    choosing: ClassVar[frozenset[str]] = frozenset()
    """The inputs whose presence changes the nodes."""

    @abstractmethod
    def formed(self, by_hand: FunctionDocument, given: Collection[str]) -> FunctionDocument:
        """Return the function for these attributes and these inputs that a call gives by name or in order."""


class Dense(Layer):
    """`nn.dense`: with `units` it makes a weight and, unless `use_bias` is false, a bias."""

    units: PositiveInt | None = None
    activation: Activation | None = None
    use_bias: bool = True

    def formed(self, by_hand: FunctionDocument, given: Collection[str]) -> FunctionDocument:
        """Return the layer by hand, with the parameters that it makes and its activation."""
        changes: dict[str, Any] = {}
        if self.units is not None:
            weight = by_hand.inputs["weight"].model_copy(update={"shape": ["I", self.units]})
            changes["inputs"] = {**by_hand.inputs, "weight": weight}
            changes["parameters"] = self._parameters(self.units)
        if self.activation is not None:
            active: NodeDocument = {"id": "active", "op": self.activation, "inputs": ["sum"]}
            changes |= {"nodes": [*by_hand.nodes, active], "outputs": {"out": "active"}}
        return by_hand.model_copy(update=changes)

    def _parameters(self, units: int) -> dict[str, MadeParameterDocument]:
        kind = "he_uniform" if self.activation in get_args(Rectifier) else "glorot_uniform"
        weight = _parameter(["I", units], kind)
        return {"weight": weight, "bias": _parameter([units], "zeros")} if self.use_bias else {"weight": weight}


class Mlp(Layer):
    """`nn.mlp`: with `units` it is a chain of as many calls of `nn.dense`, the last one with `output_activation`."""

    units: Annotated[list[PositiveInt], Field(min_length=1)] | None = None
    activation: Activation | None = "relu"
    output_activation: Activation | None = None
    use_bias: bool = True

    def formed(self, by_hand: FunctionDocument, given: Collection[str]) -> FunctionDocument:
        """Return the chain of layers, or the two layers by hand with their activations."""
        if self.units is None:
            return by_hand.model_copy(update={"nodes": self._by_hand(*by_hand.nodes)})
        nodes, last = list[NodeDocument](), "x"
        for number, units in enumerate(self.units, 1):
            is_last = number == len(self.units)
            ident = "out" if is_last else f"layer_{number}"
            given = {"units": units, "activation": self.output_activation if is_last else self.activation}
            attributes = {**given, "use_bias": self.use_bias}
            nodes.append({"id": ident, "op": "nn.dense", "inputs": [last], "attributes": attributes})
            last = ident
        x = FunctionInputDocument(trailing_shape=["I"])
        return by_hand.model_copy(update={"inputs": {"x": x}, "nodes": nodes})

    def _by_hand(self, hidden: NodeDocument, active: NodeDocument, out: NodeDocument) -> list[NodeDocument]:
        out = {**out, "attributes": {"activation": self.output_activation}}
        if self.activation is None:
            return [hidden, {**out, "inputs": ["hidden", "weight2", "bias2"]}]
        return [hidden, {**active, "op": self.activation}, out]


class Recurrent(Layer):
    """`nn.rnn`, `nn.gru` and `nn.lstm`: with `lengths` each step has to know which sequences have it."""

    choosing: ClassVar[frozenset[str]] = frozenset({"lengths"})

    reverse: bool = False
    checkpoint_every: PositiveInt | None = None

    def formed(self, by_hand: FunctionDocument, given: Collection[str]) -> FunctionDocument:
        """Return the loop over the steps, or over steps that leave the state as it is where a sequence has ended."""
        if "lengths" not in given:
            return by_hand
        *before, loop = by_hand.nodes
        attributes: dict[str, Any] = dict(loop.get("attributes", {}))
        attributes["function"] = attributes["function"].replace("_step", "_masked_step")
        attributes["sequences"] = ["x", "given"]
        inputs: Any = loop["inputs"]
        masked: NodeDocument = {**loop, "inputs": {**inputs, "given": "given"}, "attributes": attributes}
        return by_hand.model_copy(update={"nodes": [*before, *_MASK, masked]})


def _node(ident: str, op: str, *inputs: str, **attributes: Any) -> NodeDocument:
    node: NodeDocument = {"id": ident, "op": op, "inputs": list(inputs)}
    return {**node, "attributes": attributes} if attributes else node


_MASK = [
    _node("one_input", "slice", "x", axis=2, start=0, stop=1),
    _node("ones", "ones_like", "one_input"),
    _node("numbers", "cumsum", "ones", axis=1),
    _node("length_column", "expand_dims", "lengths", axis=[1, 2]),
    _node("given", "less_equal", "numbers", "length_column"),
]
"""Whether a sequence has a step, (N, T, 1): the number of the step, from 1, is at most its length."""


LAYERS: Mapping[str, type[Layer]] = {
    "nn.dense": Dense,
    "nn.gru": Recurrent,
    "nn.lstm": Recurrent,
    "nn.mlp": Mlp,
    "nn.rnn": Recurrent,
}
"""The layers of the package, by the names of their functions."""


def calls_by_hand(op: str, attributes: Mapping[str, Any] | None, longest: int) -> int:
    """Return as how many calls by hand a call counts; `longest` bounds the length of any attribute."""
    if op not in LAYERS or not attributes:
        return 1
    units = attributes.get("units")
    return 3 * max(len(units) if isinstance(units, list) else longest if isinstance(units, dict) else 1, 1)


def _parameter(shape: list[int | str], initializer: str) -> MadeParameterDocument:
    return MadeParameterDocument.model_validate({"shape": shape, "initializer": {"type": initializer}})
