"""Traits: what passes and backends ask of an op. An op, a user's included, declares its own when it is registered."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from graphengine.errors import RegistrationError


class OpTrait(StrEnum):
    """A fact that holds for every node of an op, whatever its attributes. An op without one is treated with caution."""

    POLE = "pole"
    """The value or a derivative is infinite, or not there, at a finite number."""
    LARGE_POLE = "large_pole"
    """The same, for large numbers only."""
    FINITE = "finite"
    """No pole. Shipped ops need not say it; another op without it is taken for one that has poles."""
    POINTWISE = "pointwise"
    """Each number of the result depends on the numbers in its place alone. `infer = elementwise` implies it."""
    CORRECTLY_ROUNDED = "correctly_rounded"
    """An elementwise op that IEEE 754 rounds correctly: no bit depends on the array that a number lies in."""
    TAKES_LITERALS = "takes_literals"
    """`forward` and `backward` hand a literal on as it is, so code that is recorded for one is right for all."""
    PRIMITIVE = "primitive"
    """The op is not replaced by the ops that its `forward` calls."""
    VIEW = "view"
    """The result costs nothing, so it is made again rather than kept."""
    SIZES_ONLY = "sizes_only"
    """The result depends on the shapes of the operands, and on no number in them."""
    KEEPS_ONE = "keeps_one"
    """Of an operand of one number the result is that number."""
    TYPE_ONLY = "type_only"
    """Where the result has the shape and dtype of the first operand, it is that operand."""
    GIVES_AXES = "gives_axes"
    """A file asks for an axis of size 1 with it."""
    RUNS_FUNCTIONS = "runs_functions"
    """The op runs functions of the file, which are among its attributes."""
    HAS_MODE = "has_mode"
    """A training step sets the mode or the seed of the nodes. A field `training: bool` implies it."""
    ZEROS = "zeros"
    """Each number of the result is 0."""
    ONES = "ones"
    """Each number of the result is 1."""


def traits_of(op: str, names: Iterable[str]) -> frozenset[OpTrait]:
    """Return the traits of these names.

    Raises
    ------
    RegistrationError
        GE701 if there is no such trait.
    """
    unknown = sorted({*names} - {*OpTrait})
    if unknown:
        message = f"op '{op}' declares the unknown trait '{unknown[0]}'"
        raise RegistrationError(message, hint=f"traits are {', '.join(OpTrait)}")
    return frozenset(map(OpTrait, names))
