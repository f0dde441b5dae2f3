"""Bodies: functions that an op runs, such as the body of a loop.

A node class has one as a field of type `Body`. In a file the attribute is the name of a function; in a graph it is the
function itself, with all calls inlined, so that a node means the same wherever it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from graphengine.ops.node import Node, Recorded
from graphengine.ops.shapes import ArrayType, type_of


class Body(ABC):
    """A function as an attribute of a node: it never changes, and bodies of equal content are equal."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abstractmethod
    def infer(self, types: tuple[ArrayType | None, ...]) -> tuple[ArrayType, ...]:
        """Return the types of the results.

        Raises
        ------
        ValueError
            Naming the node of the function that the types do not fit.
        """

    @abstractmethod
    def values(self, types: tuple[ArrayType | None, ...]) -> list[ArrayType]:
        """Return the types of all values that it computes, those of bodies within it included."""

    @abstractmethod
    def merges(self, types: tuple[ArrayType | None, ...], axes: Sequence[int | None]) -> bool:
        """Return whether each sample of the results comes from the same sample of the inputs alone."""

    @abstractmethod
    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """Compute the results from arrays, node by node."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take a body as it is; in JSON it is the name of a function."""
        named = core_schema.plain_serializer_function_ser_schema(lambda body: body.name, when_used="json")
        return core_schema.is_instance_schema(cls, cls_repr="function", serialization=named)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of a name."""
        return {"type": "string", "description": "the name of a function", "maxLength": 200}


class Branch(NamedTuple):
    """The gradient of a function: `body` takes its inputs and what arrives at some outputs.

    `arriving` are the numbers of those outputs; the results of `body` are the gradients of the inputs `wanted`.
    """

    body: Body
    arriving: tuple[int, ...]
    wanted: tuple[int, ...]


class Reversal(NamedTuple):
    """The gradient of a loop: a loop over `forward`, which gives further results, and one over `backward`, reversed.

    The operands of the latter are pairs: ("value", number of an input), ("kept", number of a further result),
    ("arriving", number of an output) or ("zero", number of an input it is like). `gradients` maps the number of an
    input to those of the outputs of `backward` that add up to its gradient, in order.
    """

    forward: Body
    backward: Body
    carry: tuple[str, ...]
    sequences: tuple[str, ...]
    operands: tuple[tuple[str, int], ...]
    gradients: dict[int, tuple[int, ...]]


def bodies_of(node: Node) -> dict[str, Any]:
    """Return the functions among the attributes of a node."""
    return {name: value for name, value in node if isinstance(value, Body)}


def kind_of(value: Any) -> ArrayType | None:
    """Return the type of an operand: an array, a number, what is being recorded, or nothing."""
    if value is None:
        return None
    kind: ArrayType = value.type if isinstance(value, Recorded) else type_of(value)
    return kind
