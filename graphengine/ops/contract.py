"""The node contract, checked: what a class must be to serve as an op.

`inspect_class` reads a class once, at registration, and refuses what breaks the contract with a message that says how
to write it.
"""

from __future__ import annotations

import dis
import inspect
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any

import numpy as np
from pydantic import PydanticUndefinedAnnotation, PydanticUserError

from graphengine.errors import RegistrationError
from graphengine.ops.merging import WORDS
from graphengine.ops.node import Node, Signature

RESERVED = frozenset(
    {"id", "op", "inputs", "outputs", "signature", "grad", "grads", "arriving", "needs", "out", "outs"}
)


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
    allowed = (*gradients, *signature.inputs, *results, "needs", "arriving")
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
