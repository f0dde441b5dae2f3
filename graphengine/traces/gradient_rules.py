"""The rule by which a node hands a gradient on: `d_loss/d_h @ w.T`, and the same with numbers put in.

For an op whose derivative is a matrix there is no partial derivative to show. Its docstring has the gradient instead,
`dx = dz @ y.T`, with dz for the gradient of the result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from graphengine.ir.nodes import GraphNode
from graphengine.ops.docstring import equations
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
    template = _template(node, position)
    if node.op == "matmul" and any(value and len(value.shape) == 1 for value in values):
        template = _of_vector(position, values)
    if template is None:
        return None
    fixed = attribute_texts(node)
    names = filled(template, {**fixed, **operand_texts(node), "z": node.id, "dz": gradient})
    shown = {**dict(zip(argument_names(node), values, strict=True)), "z": result, "dz": incoming}
    texts = {name: text for name, value in shown.items() if (text := whole_text(value)) is not None}
    numbers = filled(template, {**fixed, **texts})
    return GradientRule(names, numbers if numbers != names else None) if names else None


def _of_vector(position: int, values: Sequence[ShownValue | None]) -> str:
    """Return the rule of a product of a matrix and a vector, which has no transpose."""
    other = values[1 - position]
    if other and len(other.shape) == 1:
        return "outer(dz, y)" if position == 0 else "outer(x, dz)"
    return "dz @ y.T" if position == 0 else "x.T @ dz"


def _template(node: GraphNode, position: int) -> str | None:
    op = documented(node)
    if op is None or len(node.outputs) > 1:
        return None
    name = argument_names(node)[position]
    texts = equations(op.docstring.derivatives)
    definitions = texts[texts.index(first) :] if (first := next(filter(_is_definition, texts), None)) else []
    rule = next((text for text in texts if re.match(rf"d{name} = ", text)), None)
    if rule is None:
        return None
    return _with_definitions(rule.partition(" = ")[2], definitions)


def _is_definition(text: str) -> bool:
    return text.startswith("with ")


def _with_definitions(rule: str, definitions: Sequence[str]) -> str:
    """Return a rule with what it uses of definitions put in their place, the last one first."""
    pairs = [text.removeprefix("with ").partition(" = ")[::2] for text in definitions]
    for name, meaning in pairs[::-1]:
        rule = f"({meaning})".join(re.split(rf"\b{re.escape(name)}\b(?!\()", rule))
    return rule


def _einsum(
    node: GraphNode, position: int, gradient: str, values: Sequence[ShownValue | None], incoming: ShownValue
) -> GradientRule | None:
    """Return the gradient of one factor: a product of the gradient of the result with the other factors."""
    terms, arrow, result = einsum_equation(node).partition("->")
    factors = terms.split(",")
    own, others = factors[position], [*factors[:position], *factors[position + 1 :]]
    has_pattern = arrow and "." not in terms and len(set(own)) == len(own) and set(own) <= set(result).union(*others)
    if not has_pattern or any(1 in value.shape for value in values if value):  # a size of 1 may be broadcast
        return None
    equation = f"{','.join([result, *others])}->{own}"
    names = [gradient, *(str(ref) for place, ref in enumerate(node.inputs) if place != position)]
    texts = [whole_text(value) for value in (incoming, *values[:position], *values[position + 1 :])]
    numbers = None if None in texts else f"einsum('{equation}', {', '.join(map(str, texts))})"
    return GradientRule(f"einsum('{equation}', {', '.join(names)})", numbers)
