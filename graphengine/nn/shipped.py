"""Functions as Python functions: what a call computes on arrays, and the types of its results."""

from __future__ import annotations

import inspect
import itertools
import operator
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import ValidationError

from graphengine.backends.reference.executor import Executor
from graphengine.errors import InputError, did_you_mean
from graphengine.format.building import build_graph
from graphengine.format.documents import FORMAT, FORMAT_VERSION, FunctionDocument, InputDocument, ModelDocument
from graphengine.format.functions import DOMAINS, Function, shipped_functions
from graphengine.ir.graph import Graph
from graphengine.mappings import only, without_none
from graphengine.ops.calling import as_operands, attribute_problems, split
from graphengine.ops.registry import CORE, OPSET_VERSION
from graphengine.ops.shapes import ArrayType, array_type, dtype_name

Functions = Mapping[str, FunctionDocument]


@runtime_checkable
class RecordsCalls(Protocol):
    """A symbol whose recorder can record the call of a function."""

    def record_call(self, function: str, inputs: Sequence[Any], attributes: Mapping[str, Any], *, by_name: bool) -> Any:
        """Record the call, its inputs by name or in order, and return the symbols of its results."""


class ShippedFunction:
    """A function of the package as a Python function: inputs by position or name, attributes by keyword.

    Given arrays it returns what the function computes, a tuple if it has several outputs; given symbols of a
    `Builder` it records a call.

    Raises
    ------
    TypeError
        If an input is unknown or missing.
    InputError
        GE213 if there is no such attribute, GE404 if NumPy makes no array of numbers of an argument.
    InvalidModelError
        GE301 if shapes or dtypes do not fit.
    """

    __name__: str
    __signature__: inspect.Signature

    def __init__(self, function: Function) -> None:
        self._function = function
        self.__name__ = self.__qualname__ = function.name.rpartition(".")[2]
        self.__doc__ = function.document.description
        self.__signature__ = signature_of(function)

    def __repr__(self) -> str:
        return f"<function {self._function.name}{self.__signature__}>"

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Apply the function."""
        name, form = self._function.name, form_of(self._function, named)
        arguments, attributes = split(name, form.signature.parameters(), inputs, named)
        check_attributes(self._function, attributes)
        for value in arguments:
            if isinstance(value, RecordsCalls):
                by_name = not named.keys().isdisjoint(form.signature.inputs)
                return value.record_call(name, arguments, attributes, by_name=by_name)
        operands = as_operands(f"function '{name}'", form.signature, arguments)
        return _computed(name, list(map(_as_array, operands)), attributes)


def form_of(function: Function, named: Mapping[str, Any]) -> Function:
    """Return the form of a function that a call with these keywords, attributes among them, means.

    Raises
    ------
    InputError
        GE213 if a layer does not have the attributes.
    """
    try:
        return function.form(only(named, function.document.attributes))
    except ValidationError as error:
        raise InputError(attribute_problems(f"function '{function.name}'", error)) from None


def check_attributes(function: Function, attributes: Mapping[str, Any]) -> None:
    """Refuse attributes that a function does not have.

    Raises
    ------
    InputError
        GE213.
    """
    for name in attributes:
        if name not in function.document.attributes:
            hint = did_you_mean(name, function.document.attributes, "attributes")
            raise InputError(f"function '{function.name}' has no attribute '{name}'", code="GE213", hint=hint)


def signature_of(function: Function) -> inspect.Signature:
    """Return the signature of a function: its inputs, then its attributes as keywords.

    Python requires a default after a default, so what follows an optional input has one, too; the function requires it.
    """
    return inspect.Signature([*_positional(function.document), *_keywords(function.document)])


def _positional(document: FunctionDocument) -> list[inspect.Parameter]:
    kind = inspect.Parameter
    optional = itertools.accumulate([each.optional for each in document.inputs.values()], operator.or_)
    return [
        kind(name, kind.POSITIONAL_OR_KEYWORD, default=None if may_lack else kind.empty)
        for name, may_lack in zip(document.inputs, optional, strict=True)
    ]


def _keywords(document: FunctionDocument) -> list[inspect.Parameter]:
    kind = inspect.Parameter
    return [
        kind(name, kind.KEYWORD_ONLY, default=kind.empty if each.required else each.default)
        for name, each in document.attributes.items()
    ]


def call_graph(
    function: str,
    kinds: Sequence[ArrayType | int | float | None],
    attributes: Mapping[str, Any],
    own: Functions | None = None,
) -> Graph:
    """Return the graph of one call: inputs `x0`, `x1`, ... of the given types, and an output for each result.

    `own` are functions of a file, which may be called as well as those of the package.

    Raises
    ------
    InvalidModelError
        If the types do not fit.
    """
    own = own or {}
    known = {**shipped_functions(), **{name: Function(name, each, {}) for name, each in own.items()}}
    called = known[function].form(attributes)
    operands = without_none(dict(zip(called.signature.inputs, _operands(kinds), strict=False)))
    first, *further = called.signature.outputs
    document = ModelDocument.model_construct(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        opset_imports={CORE: OPSET_VERSION, **DOMAINS},
        name=function,
        inputs=_declared(kinds),
        functions=dict(own),
        nodes=[{"id": "call", "op": function, "inputs": operands, "attributes": dict(attributes)}],
        outputs={first: "call", **{port: f"call:{port}" for port in further}},
    )
    return build_graph(document)


def _operands(kinds: Sequence[ArrayType | int | float | None]) -> list[Any]:
    """What a call reads: its arrays by the names of inputs, and numbers."""
    return [f"x{place}" if isinstance(kind, ArrayType) else kind for place, kind in enumerate(kinds)]


def _declared(kinds: Sequence[ArrayType | int | float | None]) -> dict[str, InputDocument]:
    """The inputs of a call: its arrays, each named after its place."""
    return {
        f"x{place}": InputDocument(shape=list(kind.shape), dtype=dtype_name(kind.dtype))  # type: ignore[arg-type]
        for place, kind in enumerate(kinds)
        if isinstance(kind, ArrayType)
    }


def _computed(function: str, arrays: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    graph = call_graph(function, list(map(_kind_of, arrays)), attributes)
    _require_no_parameters(function, graph)
    return _results(graph, {f"x{place}": each for place, each in enumerate(arrays) if each is not None})


def _results(graph: Graph, inputs: Mapping[str, Any]) -> Any:
    """The result of a graph, or its results as a tuple."""
    executor = Executor(graph)
    slots = executor.forward(inputs)
    results = tuple(slots[executor.slot_of[value]] for value in graph.outputs.values())
    return results[0] if len(results) == 1 else results


def _as_array(operand: Any) -> Any:
    return None if operand is None else np.asarray(operand)


def _kind_of(array: Any) -> ArrayType | None:
    return None if array is None else array_type(array.shape, array.dtype)


def _require_no_parameters(function: str, graph: Graph) -> None:
    if graph.parameters:
        missing = ", ".join(name.removeprefix("call/") for name in graph.parameters)
        raise InputError(f"function '{function}' makes parameters only in a model; on arrays it needs {missing}")


@cache
def shipped_function(domain: str, name: str) -> ShippedFunction:
    """Return a shipped function of a domain.

    Raises
    ------
    AttributeError
        If there is none of that name.
    """
    functions = shipped_functions()
    if f"{domain}.{name}" not in functions:
        hint = did_you_mean(name, shipped_names(domain), "functions")
        raise AttributeError(f"there is no function '{domain}.{name}'; {hint}")
    return ShippedFunction(functions[f"{domain}.{name}"])


def shipped_names(domain: str = "nn") -> list[str]:
    """Return the names of the shipped functions of a domain, without it."""
    return sorted(name.rpartition(".")[2] for name, each in shipped_functions().items() if each.domain == domain)
