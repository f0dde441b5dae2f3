"""The types that the fields of all documents are made of, and the base of the documents."""

from __future__ import annotations

from typing import Annotated, Any, Literal, LiteralString, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError

from graphengine.format.paths import NOT_PLAIN, is_plain
from graphengine.ops.numbers import NON_FINITE, encode_number, exact_number
from graphengine.ops.shapes import LONGEST_SIZE, SIZE_PATTERN, Size, SizeError, canonical_size, product

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


EXACT = BeforeValidator(exact_number)


def symbolic_size(text: str) -> Size:
    """The canonical form of a size that is not a number."""
    try:
        return canonical_size(text)
    except SizeError as error:
        raise PydanticCustomError("size", "{reason}", {"reason": str(error)}) from None


MOST_DECLARED_AXES = 32
"""Sizes in a shape of a file."""


def possible_shape(shape: list[Size]) -> list[Size]:
    """A shape as it is, unless no array can have it."""
    if len(shape) > MOST_DECLARED_AXES:
        found = {"field_type": "List", "max_length": MOST_DECLARED_AXES, "actual_length": len(shape)}
        raise PydanticKnownError("too_long", found)
    try:
        product(shape)
    except SizeError as error:
        raise PydanticCustomError("size", "{reason}", {"reason": str(error)}) from None
    return shape


def increasing_bounds(bounds: list[float | None]) -> list[float | None]:
    """Bounds as they are, unless nothing lies between them."""
    low, high = bounds
    if low is not None and high is not None and not low < high:
        raise PydanticCustomError("bounds", "the first bound must be less than the second")
    return bounds


def distinct(categories: list[Any]) -> list[Any]:
    """Categories as they are, unless one is there twice."""
    if len(set(categories)) < len(categories):
        twice = next(each for each in categories if categories.count(each) > 1)
        raise PydanticCustomError("distinct", "duplicate category {category}", {"category": repr(twice)})
    return categories


def plain_path(name: str) -> str:
    """A path as it is, unless it does not lead to a file in the folder of the model, or below."""
    if not is_plain(name):
        raise PydanticCustomError("path", NOT_PLAIN)
    return name


IDENTIFIER = r"^[^\W\d][\w.\-/]*$"
Identifier: TypeAlias = Annotated[str, Field(pattern=IDENTIFIER, max_length=200)]
Reference: TypeAlias = Annotated[str, Field(pattern=r"^[^\W\d][\w.\-/]*(:[^\W\d]\w*)?$", max_length=400)]
Float: TypeAlias = Annotated[float, EXACT]
Operand: TypeAlias = Annotated[
    Reference | Annotated[int, EXACT] | Float,
    Field(union_mode="left_to_right"),
]
Symbolic: TypeAlias = Annotated[
    str, Field(pattern=SIZE_PATTERN, max_length=LONGEST_SIZE), AfterValidator(symbolic_size)
]
SizeField: TypeAlias = Annotated[Annotated[int, Field(ge=0)] | Symbolic, Field(union_mode="left_to_right")]
ShapeField: TypeAlias = Annotated[
    list[SizeField], AfterValidator(possible_shape), Field(json_schema_extra={"maxItems": MOST_DECLARED_AXES})
]
Number: TypeAlias = Annotated[
    Float | Annotated[Literal["NaN", "Infinity", "-Infinity"], AfterValidator(NON_FINITE.__getitem__)],
    Field(union_mode="left_to_right"),
    PlainSerializer(lambda value: encode_number(value)),
]
WITHOUT_START: LiteralString = "without_start"
"""The type of pydantic's error for what has neither initializer nor value."""
SHA256 = "^[0-9a-f]{64}$"
Sha256: TypeAlias = Annotated[str, Field(pattern=SHA256)]
FilePath: TypeAlias = Annotated[str, AfterValidator(plain_path)]
PositiveInt: TypeAlias = Annotated[int, Field(ge=1)]
Fraction: TypeAlias = Annotated[float, Field(ge=0, le=1), EXACT]
NonNegative: TypeAlias = Annotated[float, Field(ge=0), EXACT]
Positive: TypeAlias = Annotated[float, Field(gt=0), EXACT]
Bounds: TypeAlias = Annotated[
    list[Float | None],
    Field(min_length=2, max_length=2, title="lowest and highest value; null where there is none"),
    AfterValidator(lambda bounds: increasing_bounds(bounds)),
]
Categories: TypeAlias = Annotated[
    Annotated[list[str], Field(title="strings", min_length=1)]
    | Annotated[list[Annotated[int, EXACT] | Float], Field(title="numbers", min_length=1)],
    Field(union_mode="left_to_right"),
    AfterValidator(lambda categories: distinct(categories)),
]
Seed: TypeAlias = Annotated[int, Field(ge=0, lt=2**63)]
Values: TypeAlias = Annotated[
    Any,
    WithJsonSchema(
        {
            "description": 'A number, "NaN", "Infinity", "-Infinity", true or false, or nested arrays of these',
            "type": ["number", "string", "boolean", "array"],
        }
    ),
]


class Document(BaseModel):
    """Base of all documents: unknown keys are errors, nothing is converted, nothing changes after reading."""

    model_config = STRICT
