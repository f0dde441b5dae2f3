"""The node contract: what a class must be to serve as an op.

A node class is a frozen pydantic model whose fields are the op's attributes. It defines `forward`, usually `backward`,
in plain NumPy, and holds no state: what belongs to the graph (id, inputs) is not on it, so
`Mean(axis=0).forward(x)` works alone. `inspect_class` reads a class once, at registration, and refuses what breaks
the contract with a message that says how to write it.
"""

# without postponed annotations: pydantic would evaluate those of Node again for each of its subclasses
import dis
import inspect
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticKnownError
from pydantic_core.core_schema import no_info_before_validator_function

from graphengine.errors import RegistrationError
from graphengine.ops.inference import probed
from graphengine.ops.merging import WORDS
from graphengine.ops.numbers import exact_number
from graphengine.wording import counted

RESERVED = frozenset({"id", "op", "inputs", "outputs", "signature", "grad", "grads", "needs", "out", "outs"})


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
    - Where the number of outputs depends on the attributes `outputs` is a property that gives their names; `backward`
      then asks for `grads` and `outs`, tuples of all gradients and of all outputs.
    - `backward` returns one gradient for each input, in order, None where there is none. It may leave a gradient in
      the broadcast shape: the engine sums it to the shape of the input.
    - `random = True` says that the op draws numbers: it has an optional input `key`, which the engine supplies where a
      file leaves it out, another key for each node and each iteration.
    - `infer(*types)` tells the types of the results before anything runs; without one the class is probed.
    - `merge` says how the result for all samples follows from the results for parts of them: see `ops.merging`. Without
      one the engine follows the calls that `forward` makes.
    - `workspace(*types)` tells the types of arrays that `forward` makes on the way, where they may be larger than a few
      times its inputs and results: their memory is counted, too. It gets types whose sizes are numbers.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    outputs: ClassVar[tuple[str, ...]] = ("out",)
    random: ClassVar[bool] = False
    signature: ClassVar["Signature"]
    """What the engine read of the class when it was registered."""
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
        return _exact(schema) if cls.model_fields else schema

    @model_validator(mode="before")
    @classmethod
    def _sequences_as_tuples(cls, fields: Any) -> Any:
        """Attributes are hashable: a JSON array becomes a tuple, at every depth pydantic will accept."""
        return {name: _frozen(value) for name, value in fields.items()} if isinstance(fields, dict) else fields


class Recorded(ABC):
    """Base of what stands for an array while code is recorded as a graph."""

    __slots__ = ()

    @abstractmethod
    def record(self, node: Node, inputs: tuple[Any, ...]) -> Any:
        """Record the application of an op and give what stands for its result."""


def _exact(schema: Any) -> Any:
    """A core schema in which a literal that is no string has to have the type of an expected value.

    A float takes no integer that it would round.
    """
    if isinstance(schema, list | tuple):
        return type(schema)(map(_exact, schema))
    if not isinstance(schema, dict):
        return schema
    schema = {key: _exact(value) if isinstance(value, dict | list | tuple) else value for key, value in schema.items()}
    if schema.get("type") == "float":
        return no_info_before_validator_function(exact_number, schema)
    if schema.get("type") == "literal" and not all(isinstance(value, str) for value in schema["expected"]):
        return no_info_before_validator_function(_one_of(schema["expected"]), schema)
    return schema


def _one_of(expected: Sequence[Any]) -> Callable[[Any], Any]:
    """A check that a value is one of those expected, by type and value."""
    known = {(type(value), value) for value in expected}
    names = [value if isinstance(value, str) else json.dumps(value) for value in expected]
    possible = " or ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])

    def check(value: Any) -> Any:
        if not isinstance(value, Hashable) or (type(value), value) not in known:
            raise PydanticKnownError("literal_error", {"expected": possible})
        return value

    return check


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True, slots=True)
class Signature:
    """What the engine must know of a node class to call it."""

    inputs: tuple[str, ...]
    """Input names in order; with `variadic` the last one stands for any number."""
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
        values: dict[str, Any] = {"needs": needs, **dict(zip(self.inputs, inputs, strict=False))}
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


def is_shipped(cls: type[Node]) -> bool:
    """Whether a class is one of this package, which the tests have checked."""
    return cls.__module__.startswith("graphengine.")


def inspect_class(cls: type[Node]) -> Signature:
    """Read the signature of a node class.

    Raises
    ------
    RegistrationError
        If the class breaks the node contract.
    """
    if not (isinstance(cls, type) and issubclass(cls, Node)):
        raise RegistrationError(f"{cls!r} is not a subclass of graphengine.Node")
    if not hasattr(cls, "forward"):
        raise RegistrationError(f"{cls.__name__} has no forward method; write: def forward(self, x): return ...")
    _complete(cls)
    inputs, required, variadic = _inputs_of(cls)
    _refuse_clashes(cls, inputs)
    _refuse_unsaid_keys(cls, "key" in inputs[required:])
    signature = Signature(inputs, required, variadic, _outputs_of(cls, inputs), None)
    _refuse_unknown_merges(cls, signature.outputs)
    _refuse_state(cls, inputs)
    backward: Any = cls.backward
    if backward is None:
        return signature
    return Signature(inputs, required, variadic, signature.outputs, _saved_by(cls, signature))


def _complete(cls: type[Node]) -> None:
    """Let pydantic read the fields; those of the shipped classes, which are tested, are read when they are needed."""
    if is_shipped(cls):
        return
    try:
        cls.model_rebuild()
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        reason = str(error).splitlines()[0]
        raise RegistrationError(f"{cls.__name__}: a field has a type that a file cannot hold: {reason}") from error


def _inputs_of(cls: type[Node]) -> tuple[tuple[str, ...], int, bool]:
    names: list[str] = []
    required, variadic = 0, False
    for parameter in _parameters(cls, "forward"):
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            raise RegistrationError(
                f"{cls.__name__}.forward: {parameter} is not an input; inputs are positional, attributes are fields"
            )
        variadic = parameter.kind is parameter.VAR_POSITIONAL
        if parameter.default not in (parameter.empty, None):
            raise RegistrationError(
                f"{cls.__name__}.forward: {parameter} has a default other than None; "
                f"make it a field of the class: {parameter.name}: float = {parameter.default!r}"
            )
        required += parameter.default is parameter.empty and not variadic
        names.append(parameter.name)
    return tuple(names), required, variadic


def _parameters(cls: type[Node], method: str) -> list[inspect.Parameter]:
    function = inspect.getattr_static(cls, method)
    if not inspect.isfunction(function):
        raise RegistrationError(f"{cls.__name__}.{method} must be a plain method: def {method}(self, ...)")
    return list(inspect.signature(function).parameters.values())[1:]


def _refuse_clashes(cls: type[Node], inputs: tuple[str, ...]) -> None:
    for name in inputs:
        if name in RESERVED or name.startswith("grad_"):
            raise RegistrationError(
                f"{cls.__name__}.forward: an input cannot be named '{name}'; it has a meaning in backward"
            )
    for name in cls.model_fields:
        if name in (*RESERVED, "random", "merge", *inputs):
            owner = "an input" if name in inputs else "the graph or the contract"
            raise RegistrationError(f"{cls.__name__}: an attribute cannot be named '{name}', which belongs to {owner}")


def _refuse_unsaid_keys(cls: type[Node], has_key: bool) -> None:
    """A class that draws numbers says so, and no other one gets keys that it has not asked for."""
    if has_key and not cls.random:
        raise RegistrationError(
            f"{cls.__name__}.forward: an optional input 'key' is the key of a random op, which the engine supplies; "
            "say random = True in the class, or give the input another name"
        )
    if cls.random and not has_key:
        raise RegistrationError(
            f"{cls.__name__} is random, so forward takes its key as an optional input: def forward(self, ..., key=None)"
        )


def _refuse_unknown_merges(cls: type[Node], outputs: tuple[str, ...]) -> None:
    """A word that no rule knows would leave the class without one, and nobody would notice."""
    merge = cls.merge
    if merge is None or callable(merge):
        return
    words = merge if isinstance(merge, tuple) else (merge,)
    if isinstance(merge, tuple) and outputs and len(merge) != len(outputs):
        raise RegistrationError(f"{cls.__name__}: merge {merge!r} does not have a word for each output {outputs}")
    for word in words:
        if word is not None and word not in WORDS:
            raise RegistrationError(f"{cls.__name__}: merge is one of {', '.join(map(repr, WORDS))}, not {word!r}")


def _outputs_of(cls: type[Node], inputs: tuple[str, ...]) -> tuple[str, ...]:
    outputs = cls.outputs
    if isinstance(inspect.getattr_static(cls, "outputs"), property):
        return ()
    if not (
        isinstance(outputs, tuple)
        and outputs
        and all(isinstance(name, str) and name.isidentifier() for name in outputs)
    ):
        raise RegistrationError(
            f'{cls.__name__}: outputs must be a tuple of names such as ("values", "indices"), not {outputs!r}'
        )
    if len(set(outputs)) < len(outputs) or set(outputs) & set(inputs):
        raise RegistrationError(f"{cls.__name__}: the names of inputs {inputs} and outputs {outputs} must differ")
    return outputs


def _saved_by(cls: type[Node], signature: Signature) -> tuple[str, ...]:
    gradients, results = tuple(f"grad_{name}" for name in signature.outputs), signature.outputs
    if len(results) < 2:
        gradients, results = (("grad",), ("out",)) if results else (("grads",), ("outs",))
    allowed = (*gradients, *signature.inputs, *results, "needs")
    asked = _parameters(cls, "backward")
    for parameter in asked:
        if parameter.name not in allowed or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            raise RegistrationError(
                f"{cls.__name__}.backward cannot ask for '{parameter}'; it may ask for {', '.join(allowed)}"
            )
    return tuple(parameter.name for parameter in asked)


def _refuse_state(cls: type[Node], inputs: tuple[str, ...]) -> None:
    stored = [name for method in ("forward", "backward") for name in _stores(getattr(cls, method))]
    if not stored:
        return
    wanted = [name for name in inputs if name in {re.sub(r"^_+|_+$", "", attribute) for attribute in stored}]
    signature = ", ".join(["self", "grad", *(wanted or inputs)])
    raise RegistrationError(
        f"{cls.__name__} stores self.{stored[0]}; a node holds no state, because one instance serves any number of "
        f"graphs and threads. backward asks by name for what it uses: def backward({signature})"
    )


def _stores(method: Any) -> Iterator[str]:
    """Names of the attributes that a method sets, read from its bytecode (which a REPL has, too).

    Only what arrays have (`y.shape = ...`) may be set: anything else could be the node itself under another name.
    """
    codes: list[CodeType] = [method.__code__] if inspect.isfunction(method) else []
    for code in codes:
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        if not _WRITERS.isdisjoint((*code.co_names, *code.co_consts)):
            yield "..."
        if dis.opmap["STORE_ATTR"] in code.co_code[::2]:  # to take apart every method would make starting slow
            for instruction in dis.get_instructions(code):
                if instruction.opname == "STORE_ATTR" and not hasattr(np.ndarray, instruction.argval):
                    yield instruction.argval


_WRITERS = frozenset({"setattr", "vars", "__setattr__", "__dict__"})
