"""The rule by which a node hands a gradient on: `d_loss/d_h @ w.T`, and the same with numbers filled in.

For an op whose derivative is a matrix there is no partial derivative to show. Its docstring has the gradient instead,
`dx = dz @ y.T`, with dz for the gradient of the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile
from typing import NamedTuple, TypeVar

from graphengine.ir.nodes import GraphNode
from graphengine.mappings import without_none
from graphengine.ops.docstring import equations
from graphengine.ops.registry import Op
from graphengine.traces.formulas import (
    argument_names,
    attribute_texts,
    documented,
    einsum_equation,
    filled,
    operand_texts,
    whole_text,
)
from graphengine.traces.summary import ShownValue

T = TypeVar("T")
DEFINITION = "with "
"""What a line about derivatives begins with that defines a name."""


class GradientRule(NamedTuple):
    """What an operand gets, in names and with numbers; `numbers` is None where arrays are too large."""

    names: str
    numbers: str | None


def gradient_rule(
    node: GraphNode,
    position: int,
    gradient: str,
    values: Sequence[ShownValue | None],
    result: ShownValue,
    incoming: ShownValue,
) -> GradientRule | None:
    """Return the rule for an operand by the docstring of the op; `gradient` is the name of what arrives."""
    if node.op == "einsum":
        return _einsum(node, position, gradient, values, incoming)
    template = _template(node, position, values)
    if template is None:
        return None
    fixed = attribute_texts(node)
    names = filled(template, {**fixed, **operand_texts(node), "z": node.id, "dz": gradient})
    shown = {**dict(zip(argument_names(node), values, strict=True)), "z": result, "dz": incoming}
    numbers = filled(template, {**fixed, **_whole_texts(shown)})
    return GradientRule(names, _unless_same(numbers, names)) if names else None


def _whole_texts(values: Mapping[str, ShownValue | None]) -> dict[str, str]:
    """Return the texts of the values that are small enough for a formula."""
    return without_none({name: whole_text(value) for name, value in values.items()})


def _unless_same(numbers: str | None, names: str) -> str | None:
    """Return a formula with numbers, if there is a number in it."""
    return numbers if numbers != names else None


def _of_vector(position: int, values: Sequence[ShownValue | None]) -> str:
    """Return the rule of a product of a matrix and a vector, which has no transpose."""
    other = values[1 - position]
    rules = ("outer(dz, y)", "outer(x, dz)") if other and len(other.shape) == 1 else ("dz @ y.T", "x.T @ dz")
    return rules[position]


def _template(node: GraphNode, position: int, values: Sequence[ShownValue | None]) -> str | None:
    """Return the rule in names of operands; None if the docstring of the op has none."""
    if node.op == "matmul" and _has_vector(values):
        return _of_vector(position, values)
    op = documented(node)
    return None if op is None or len(node.outputs) > 1 else _documented_rule(op, argument_names(node)[position])


def _has_vector(values: Iterable[ShownValue | None]) -> bool:
    return any(len(value.shape) == 1 for value in filter(None, values))


def _documented_rule(op: Op, name: str) -> str | None:
    texts = equations(op.docstring.derivatives)
    ahead = f"d{name} = "
    rules = [text.removeprefix(ahead) for text in texts if text.startswith(ahead)]
    definitions = [*dropwhile(lambda text: not text.startswith(DEFINITION), texts)]
    return _with_definitions(rules[0], definitions) if rules else None


def _with_definitions(rule: str, definitions: Sequence[str]) -> str:
    """Return a rule with what it uses of definitions put in their place, the last one first."""
    pairs = [text.removeprefix(DEFINITION).partition(" = ")[::2] for text in definitions]
    for name, meaning in pairs[::-1]:
        rule = f"({meaning})".join(re.split(rf"\b{re.escape(name)}\b(?!\()", rule))
    return rule


def _einsum(
    node: GraphNode, position: int, gradient: str, values: Sequence[ShownValue | None], incoming: ShownValue
) -> GradientRule | None:
    """Return the gradient of one factor: a product of the gradient of the result with the other factors."""
    terms, arrow, result = einsum_equation(node).partition("->")
    own, others = _apart(terms.split(","), position)
    has_pattern = arrow and _is_product(own, [result, *others])
    if not has_pattern or _may_broadcast(values):
        return None
    equation = f"{','.join([result, *others])}->{own}"
    names = [gradient, *map(str, _apart(node.inputs, position)[1])]
    texts = list(map(whole_text, (incoming, *_apart(values, position)[1])))
    numbers = None if None in texts else _einsum_text(equation, texts)
    return GradientRule(_einsum_text(equation, names), numbers)


def _may_broadcast(values: Iterable[ShownValue | None]) -> bool:
    """Return whether one of the values has a size of 1."""
    return any(1 in value.shape for value in filter(None, values))


def _einsum_text(equation: str, operands: Iterable[str | None]) -> str:
    return f"einsum('{equation}', {', '.join(map(str, operands))})"


def _apart(items: Sequence[T], position: int) -> tuple[T, list[T]]:
    """Return one of the items, and the others."""
    return items[position], [*items[:position], *items[position + 1 :]]


def _is_product(own: str, others: Sequence[str]) -> bool:
    """Return whether each axis of a factor is there once, and in another term as well."""
    return "." not in "".join([own, *others]) and len({*own}) == len(own) and {*own} <= set().union(*others)
