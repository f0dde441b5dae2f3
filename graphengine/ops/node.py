"""The node contract: what a class must be to serve as an op.

A node class is a frozen pydantic model whose fields are the op's attributes. It defines `forward`, usually `backward`,
in plain NumPy, and holds no state: what belongs to the graph (id, inputs) is not on it, so
`Mean(axis=0).forward(x)` works alone. `ops.contract` refuses, at registration, a class that breaks the contract.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema

from graphengine.ops.inference import probed
from graphengine.ops.numbers import make_exact
from graphengine.ops.traits import OpTrait
from graphengine.wording import counted

if TYPE_CHECKING:

    class _Merging:
        """To a type checker `merge` is anything, a word, words or a method, and no field of a node."""

        merge: Any = None

else:
    _Merging = object


class Node(BaseModel, _Merging):
    """Base of all node classes. Subclass it, define `forward` and `backward`, and register the class.

    - The parameter names of `forward` are the input names: `*xs` for any number, a default of None for optional.
    - `forward` returns one array, or a tuple when the class declares `outputs = ("values", "indices")`.
    - `backward` asks by name for what it uses: `grad` (`grad_<output>` with several outputs), any input, `out` (or the
      output names), `needs` (a tuple of bool: which inputs need a gradient).
    - If the number of outputs depends on the attributes, `outputs` is a property that returns their names; `backward`
      then asks for `grads` and `outs`, tuples of all gradients and of all outputs, or for `arriving`, in which the
      gradient of an output that passes none on is None.
    - `backward` returns one gradient for each input, in order, or None for an input without one. It may leave a
      gradient in the broadcast shape: the engine sums it to the shape of the input.
    - `random = True` declares that the op draws numbers: it has an optional input `key`. If a file omits it, the engine
      supplies a different key for each node and each iteration.
    - `infer(*types)` returns the types of the results before anything runs; without one the class is probed.
    - `merge` declares how the result for all samples follows from the results for parts of them: see `ops.merging`.
      Without it the engine follows the calls that `forward` makes.
    - `workspace(*types)` returns the types of intermediate arrays of `forward` that may be larger than a few times its
      inputs and results: their memory is counted, too. It gets types whose sizes are numbers.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    outputs: ClassVar[tuple[str, ...]] = ("out",)
    random: ClassVar[bool] = False
    signature: ClassVar["Signature"]
    """What the engine read of the class when it was registered."""
    traits: ClassVar[frozenset[OpTrait]] = frozenset()
    """What was declared of the class when it was registered."""
    is_core: ClassVar[bool] = False
    """Whether the op is one of this package, whose meaning passes and backends know, and not one of a user's."""
    if TYPE_CHECKING:  # to a type checker what a subclass defines overrides a method that takes anything

        def forward(self, *inputs: Any, **named: Any) -> Any:
            """Compute the result."""

        def backward(self, *wanted: Any, **named: Any) -> Any:
            """Compute a gradient for each input."""

        def infer(self, *types: Any, **named: Any) -> Any:
            """Return the types of the results."""

        def workspace(self, *types: Any, **named: Any) -> Any:
            """Return the types of arrays that are made on the way."""

    else:
        infer: ClassVar[Any] = probed
        merge: ClassVar[Any] = None
        workspace: ClassVar[Any] = None
        forward: ClassVar[Any]
        backward: ClassVar[Any] = None

    def __call__(self, *inputs: Any) -> Any:
        """Apply the op: to arrays by calling `forward`, to values that are being recorded by recording it."""
        for value in inputs:
            if isinstance(value, Recorded):
                return value.record(self, inputs)
        return self.forward(*inputs)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Compare the values of a Literal by type, too, and refuse to round an integer.

        pydantic takes True and 1.0 for 1, and 2^53 for 2^53 + 1 where a field is a float.
        """
        schema: CoreSchema = handler(source)
        if cls.model_fields:
            make_exact(schema)
        return schema

    @model_validator(mode="before")
    @classmethod
    def _sequences_as_tuples(cls, fields: Any) -> Any:
        """Attributes are hashable: a JSON array becomes a tuple, at every depth pydantic will accept."""
        return {name: _frozen(value) for name, value in fields.items()} if isinstance(fields, dict) else fields


Node.__annotations__.clear()  # class variables, which pydantic would read again for each subclass: half of its time


class Recorded(ABC):
    """Base of the stand-ins for arrays while code is recorded as a graph."""

    __slots__ = ()
    type: Any
    """Its `ArrayType`."""

    @abstractmethod
    def record(self, node: Node, inputs: tuple[Any, ...]) -> Any:
        """Record the application of an op and return the stand-in for its result."""


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Signature:
    """What the engine must know of a node class to call it."""

    inputs: tuple[str, ...]
    """Input names in order; with `variadic` the last one takes any number."""
    required: int
    """How many of the inputs have no default."""
    variadic: bool
    outputs: tuple[str, ...]
    """Output names; none where they depend on the attributes of a node."""
    saved: tuple[str, ...] | None
    """What `backward` asks for, in its own order; None if the op has no `backward`."""

    @property
    def key(self) -> int | None:
        """The position of the input `key` of a random op; None for any other op."""
        return self.inputs.index("key") if "key" in self.inputs[self.required :] else None

    def accepts(self, count: int) -> bool:
        """Whether a node may have this number of inputs."""
        return count >= self.required and (self.variadic or count <= len(self.inputs))

    def input_name(self, position: int) -> str:
        """The name of the input at a position; those of a variadic input are counted: xs[0], xs[1]."""
        last = len(self.inputs) - 1
        if self.variadic and position >= last:
            return f"{self.inputs[last]}[{position - last}]"
        return self.inputs[position]

    def named(
        self, incoming: Sequence[Any], inputs: Sequence[Any], results: Sequence[Any], needs: tuple[bool, ...]
    ) -> dict[str, Any]:
        """Everything `backward` may ask for, by name; an output without a gradient has the gradient zero."""
        values: dict[str, Any] = {"needs": needs, "arriving": tuple(incoming)}
        values.update(zip(self.inputs, inputs, strict=False))
        if self.variadic:
            values[self.inputs[-1]] = tuple(inputs[len(self.inputs) - 1 :])
        if len(self.outputs) == 1:
            return {**values, "grad": incoming[0], "out": results[0]}
        gradients = [
            np.zeros_like(result) if gradient is None else gradient
            for result, gradient in zip(results, incoming, strict=True)
        ]
        if not self.outputs:
            return {**values, "grads": tuple(gradients), "outs": tuple(results)}
        values.update(zip(self.outputs, results, strict=True))
        values.update(zip((f"grad_{name}" for name in self.outputs), gradients, strict=True))
        return values

    def gradients(
        self,
        node: "Node",
        incoming: Sequence[Any],
        inputs: Sequence[Any],
        results: Sequence[Any],
        needs: tuple[bool, ...],
    ) -> tuple[Any, ...]:
        """What `backward` gives: one gradient for each input, None where there is none or none is needed.

        Raises
        ------
        ValueError
            If it gives another number of gradients.
        """
        values = self.named(incoming, inputs, results, needs)
        given = node.backward(*[values[name] for name in self.saved or ()])
        gradients = given if isinstance(given, tuple) else (given,)
        if len(gradients) != len(inputs):
            raise ValueError(f"it gives {len(gradients)} gradients for {len(inputs)} inputs")
        return tuple(gradient if need else None for gradient, need in zip(gradients, needs, strict=True))

    def arity(self) -> str:
        """How many inputs the op takes, in words: "2 inputs (x, y)"."""
        least, most = self.required, len(self.inputs)
        count = f"{least} or more" if self.variadic else str(most) if least == most else f"{least} to {most}"
        return f"{counted(count, 'input')} ({', '.join(self.parameters())})"

    def parameters(self) -> list[str]:
        """The inputs as Python writes parameters: "*xs" for any number, "x=None" for an optional one."""
        return [
            f"*{name}" if self.variadic and name == self.inputs[-1] else name + "=None" * (index >= self.required)
            for index, name in enumerate(self.inputs)
        ]
