"""The formula of a node, `theta * x`, and the same with numbers put in, `2 * 3`.

A formula is read from the docstring of the node class, where the one text serves the documentation and the trace. An op
whose docstring has no formula that can be filled in is written as a call, `matmul(x, w)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from graphengine.format.saving import node_document
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.registry import OPS, Op
from graphengine.traces.summary import MAX_TERMS, ShownValue, in_product, number_text, numbers_text

_NAME = re.compile(r"[^\W\d]\w*")
_SERIES = re.compile(r"\b(\w+)1(, | [+*] )\.\.\.\2\1n\b")
_PARTIAL = re.compile(r"\bdz/d(\w+) = (.+?)(?=, dz/|$)")


def formula(node: GraphNode) -> str:
    """The node's result in terms of its operands: by the op's formula, or as a call."""
    template = _template(node)
    filled = template and _filled(template, {**_operands(node), **_attributes(node)})
    return filled or call(node)


def formula_with_numbers(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """The node's formula with its operands' values put in; None where they are too many to read."""
    template = _template(node)
    if template is None:
        return _series_with_numbers(node, values)
    texts = [_number(value) for value in values]
    if not texts or None in texts:
        return None
    numbers = {name: text for name, text in zip(_arguments(node), texts, strict=True) if text}
    return _filled(template, {**numbers, **_attributes(node)})


def partial_formula(node: GraphNode, position: int) -> str | None:
    """The partial derivative toward one operand in terms of the operands, where the docstring has one."""
    return _partial(node, position, {"z": node.id, "n": "n", **_operands(node)})


def partial_with_numbers(
    node: GraphNode, position: int, values: Sequence[ShownValue | None], result: ShownValue | None
) -> str | None:
    """The same with numbers put in; None where nothing is put in, or too many numbers."""
    texts = dict(zip(_arguments(node), map(_number, values), strict=True)) | {
        "z": _number(result),
        "n": _count(node, values),
    }
    filled = _partial(node, position, {name: text for name, text in texts.items() if text})
    return filled if filled != partial_formula(node, position) else None


def call(node: GraphNode) -> str:
    """A node as Python writes a call: `mean(sq, axis=0)`."""
    document = node_document(node)
    inputs = document["inputs"]
    named = inputs if isinstance(inputs, dict) else {}
    operands = [] if named else list(map(str, inputs))
    attributes = {**named, **document.get("attributes", {})}
    return f"{node.op}({', '.join([*operands, *(f'{name}={value}' for name, value in attributes.items())])})"


def _op(node: GraphNode) -> Op | None:
    op = OPS.get(node.op)
    return op if op and op.cls is type(node.node) else None


def _arguments(node: GraphNode) -> list[str]:
    return [node.node.signature.input_name(index) for index in range(len(node.inputs))]


def _operands(node: GraphNode) -> dict[str, str]:
    """The inputs that are not omitted, by name."""
    pairs = zip(_arguments(node), node.inputs, strict=True)
    return {name: _operand_text(operand) for name, operand in pairs if operand is not None}


def _attributes(node: GraphNode) -> dict[str, str]:
    return {name: number_text(value) for name, value in node.node.model_dump().items() if type(value) in (int, float)}


def _operand_text(operand: Operand) -> str:
    return number_text(operand) if isinstance(operand, float) else str(operand)


def _template(node: GraphNode) -> str | None:
    """The right side of the op's formula if it has all of the node: its operands, and each attribute that is set."""
    op = _op(node)
    text = op.docstring.formula.removeprefix("z = ") if op else ""
    names = set(_free_names(text))
    is_complete = all(name in names for name in node.node.model_dump(exclude_defaults=True))
    return text if text and is_complete and names <= {*_operands(node), *_attributes(node)} else None


def _free_names(text: str) -> Iterator[str]:
    """The names in a formula that are not called."""
    for found in _NAME.finditer(text):
        if text[found.end() : found.end() + 1] != "(":
            yield found[0]


def _filled(template: str, texts: Mapping[str, str]) -> str | None:
    """A template with texts for its names; a negative number beside an operator gets parentheses."""

    def fill(found: re.Match[str]) -> str:
        name = found[0]
        if name not in texts or template[found.end() : found.end() + 1] == "(":
            return name
        alone = template[: found.start()].endswith(("(", ", ")) or template == name
        alone = alone and not template[found.end() :].lstrip().startswith("**")  # a power binds closer than a sign
        return texts[name] if alone else in_product(texts[name])

    return _NAME.sub(fill, template) if all(name in texts for name in _free_names(template)) else None


def _number(value: ShownValue | None) -> str | None:
    """A value inside a formula; None for one with too many numbers."""
    return numbers_text(value.numbers) if value is not None and value.fits_formula else None


def _series_with_numbers(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """A formula such as (x1 + ... + xn) / n over all numbers of one small vector, written out."""
    op, value = _op(node), values[0] if len(values) == 1 else None
    if op is None or value is None or len(value.shape) != 1 or getattr(node.node, "axis", None) is not None:
        return None
    texts = [number_text(number) for number in value.numbers or ()]
    if not 0 < len(texts) <= MAX_TERMS:
        return None
    text, count = _SERIES.subn(lambda found: _joined(texts, found[2]), op.docstring.formula.removeprefix("z = "))
    filled = re.sub(r"\bn\b", str(len(texts)), text)
    return filled if count and not list(_free_names(filled)) else None


def _joined(texts: Sequence[str], operator: str) -> str:
    return operator.join(texts if operator == ", " else map(in_product, texts))


def _count(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """The n of a formula over all numbers of its operand."""
    value = values[0]
    return None if value is None or getattr(node.node, "axis", None) is not None else str(math.prod(value.shape))


def _partial(node: GraphNode, position: int, texts: Mapping[str, str]) -> str | None:
    op = _op(node)
    partials = dict(_PARTIAL.findall(op.docstring.derivatives)) if op else {}
    name = node.node.signature.input_name(position)
    template = partials.get(name) or partials.get(f"{name}i")
    return _filled(template, {**texts, **_attributes(node)}) if template else None
