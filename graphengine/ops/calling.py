"""Ops as functions: `ge.ops.softmax(z, axis=-1)` computes on arrays, and records a node on symbols."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from graphengine.errors import InputError, Problem, did_you_mean
from graphengine.ops.inference import probed
from graphengine.ops.node import Node, Recorded, Signature
from graphengine.ops.registry import OPS, Op, domain_of
from graphengine.ops.shapes import type_of
from graphengine.wording import nearest, shown


class OpFunction:
    """An op of the registry as a Python function: inputs by position or name, attributes by keyword.

    Given arrays, or what NumPy makes arrays of, it returns what the op computes; given a symbol of a `Builder` it
    adds a node and returns the symbol of its result. An op with several outputs returns a tuple.

    Raises
    ------
    TypeError
        If an argument is unknown or missing.
    InputError
        GE213 if an attribute does not have the type or value that the op declares, GE301 if the arrays do not fit it,
        GE404 if NumPy makes no array of numbers of an argument.
    """

    __name__: str
    __signature__: inspect.Signature

    def __init__(self, op: Op) -> None:
        self._op = op
        self.__name__ = self.__qualname__ = op.name.rpartition(".")[2]
        self.__doc__ = inspect.getdoc(op.cls)
        self.__signature__ = signature_of(op)

    def __repr__(self) -> str:
        return f"<op {self._op.name}{self.__signature__}>"

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Apply the op."""
        signature = self._op.signature
        arguments, attributes = split(self._op.name, signature.parameters(), inputs, named)
        node = self.node(attributes)
        operands = as_operands(f"op '{self._op.name}'", signature, arguments)
        if not any(isinstance(value, Recorded) for value in operands):
            self._check(node, operands)
        return node(*operands)

    def _check(self, node: Node, operands: list[Any]) -> None:
        """Refuse arrays that a graph would refuse: NumPy alone would broadcast some of them."""
        if type(node).infer is probed:  # a user's node has no rule but its forward
            return
        try:
            node.infer(*[None if value is None else type_of(value) for value in operands])
        except (ValueError, TypeError) as error:
            raise InputError(f"op '{self._op.name}': {error}", code="GE301") from error

    def node(self, attributes: Mapping[str, Any]) -> Node:
        """Return the node with these attributes.

        Raises
        ------
        InputError
            GE213 for each attribute that is unknown, missing or of a wrong type.
        """
        fields = self._op.cls.model_fields
        unknown = [name for name in attributes if name not in fields]
        if unknown:
            message = f"op '{self._op.name}' has no attribute '{unknown[0]}'"
            raise InputError(message, code="GE213", hint=did_you_mean(unknown[0], fields, "attributes"))
        try:
            return self._op.cls.model_validate(dict(attributes))
        except ValidationError as error:
            raise InputError(attribute_problems(f"op '{self._op.name}'", error)) from None


def signature_of(op: Op) -> inspect.Signature:
    """Return the signature of an op as a function: its inputs, then its attributes as keywords."""
    inputs = _positional(op.signature.parameters())
    return inspect.Signature([*inputs, *_keywords(op.cls)])


def _positional(parameters: Iterable[str]) -> Iterator[inspect.Parameter]:
    kind = inspect.Parameter
    for text in parameters:
        name, optional = text.removeprefix("*").removesuffix("=None"), text.endswith("=None")
        variadic = text.startswith("*")
        yield kind(
            name,
            kind.VAR_POSITIONAL if variadic else kind.POSITIONAL_OR_KEYWORD,
            default=None if optional else kind.empty,
        )


def _keywords(cls: type[Node]) -> Iterator[inspect.Parameter]:
    kind = inspect.Parameter
    for name, field in cls.model_fields.items():
        default = kind.empty if field.is_required() else field.default
        yield kind(name, kind.KEYWORD_ONLY, default=default, annotation=field.annotation)


def split(
    what: str, parameters: Iterable[str], inputs: tuple[Any, ...], named: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call as inputs in order and attributes by name.

    `parameters` are the inputs as `Signature.parameters` writes them.

    Raises
    ------
    TypeError
        If an input is given twice, is missing, or if there are too many.
    """
    declared = list(_positional(parameters))
    signature = inspect.Signature(declared)
    names = {each.name for each in declared if each.kind is not each.VAR_POSITIONAL}
    try:
        bound = signature.bind(*inputs, **{name: value for name, value in named.items() if name in names})
    except TypeError as error:
        raise TypeError(f"{what}{signature}: {error}") from None
    bound.apply_defaults()
    return list(bound.args), {name: value for name, value in named.items() if name not in names}


def as_operands(what: str, signature: Signature, arguments: Iterable[Any]) -> list[Any]:
    """Return the arguments of a call as arrays; numbers of Python, symbols, and None for an optional one stay.

    Raises
    ------
    InputError
        GE404 if there is one of which NumPy makes no array of numbers.
    """
    return [_as_operand(what, signature, index, value) for index, value in enumerate(arguments)]


def _as_operand(what: str, signature: Signature, index: int, value: Any) -> Any:
    may_lack = index >= signature.required and not signature.variadic
    if isinstance(value, (Recorded, float)) or (value is None and may_lack):
        return value
    if isinstance(value, int) and value.bit_length() < INTEGER_BITS:
        return value
    name = signature.inputs[min(index, len(signature.inputs) - 1)]
    try:
        array = np.asarray(value)
    except Exception as error:
        reason = f"{what}: input '{name}' is not a regular array of numbers: {type(error).__name__}: {error}"
        raise InputError(reason, code="GE404") from error
    if array.dtype.kind in NO_NUMBERS:
        raise InputError(f"{what}: input '{name}' must be numbers, not {shown(value)}", code="GE404")
    return array


INTEGER_BITS = 64
"""An integer of Python with so many bits is in no dtype."""
NO_NUMBERS = "OSUMm"
"""The kinds of NumPy's dtypes for objects, texts and dates."""


def attribute_problems(what: str, error: ValidationError) -> Iterator[Problem]:
    """Return pydantic's findings in the attributes of an op or a function."""
    for found in error.errors(include_url=False):
        place = ".".join(map(str, found["loc"])) or "attributes"
        yield Problem("GE213", f"{what}: attribute '{place}': {found['msg']}")


class Namespace:
    """The ops of a domain as attributes: `ge.ops.acme.cube(x)` for the op "acme.cube"."""

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def __getattr__(self, name: str) -> Any:
        return function_named(f"{self._domain}.{name}")

    def __dir__(self) -> list[str]:
        return names_in(self._domain)


def names_in(domain: str) -> list[str]:
    """Return the names of the ops of a domain without the domain."""
    return sorted(name.rpartition(".")[2] for name in OPS if domain_of(name) == domain)


def function_named(name: str) -> OpFunction | Namespace:
    """Return the op of a name as a function, or the namespace of a domain.

    Raises
    ------
    AttributeError
        If there is neither.
    """
    if name in OPS:
        return _functions.setdefault(OPS[name].cls, OpFunction(OPS[name]))
    if any(op.startswith(f"{name}.") for op in OPS):
        return Namespace(name)
    near = nearest(name, OPS)
    raise AttributeError(f"there is no op '{name}'" + (f"; did you mean '{near}'?" if near else ""))


_functions: dict[Callable[..., Any], OpFunction] = {}
