"""The formula of a node, `theta * x`, and the same with numbers filled in, `2 * 3`.

A formula is read from the docstring of the node class, where the one text serves the documentation and the trace. An op
whose docstring has no formula that can be filled in is written as a call, `matmul(x, w)`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from graphengine.format.saving import node_document
from graphengine.ir.nodes import GraphNode, Operand
from graphengine.ops.inference import elementwise, normalized_axes, reduction
from graphengine.ops.registry import OPS, Op
from graphengine.traces.summary import MAX_TERMS, ShownValue, in_product, number_text, numbers_text

_WORD = re.compile(r"\.?[^\W\d]\w*\(?")
"""A name, a name that is called, or an attribute, as the T of x.T."""
_SERIES = re.compile(r"\b(\w+)1(, | [+*] )\.\.\.\2\1n\b")
_PARTIAL = re.compile(r"\bdz/d(\w+) = (.+?)(?=, dz/|$)")


def formula(node: GraphNode) -> str:
    """The node's result in terms of its operands: by the op's formula, or as a call."""
    if node.op == "einsum":
        return f"einsum('{einsum_equation(node)}', {', '.join(map(_operand_text, node.inputs))})"
    template = _template(node)
    text = template and filled(template, {**operand_texts(node), **attribute_texts(node)})
    return text or call(node)


def formula_with_numbers(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """The node's formula with its operands' values put in; None where they are too many to read."""
    template = _template(node)
    texts = _texts(node, values)
    if node.op == "einsum" and None not in texts:
        return f"einsum('{einsum_equation(node)}', {', '.join(map(str, texts))})"
    if template is None:
        return _series_with_numbers(node, values)
    return _with_texts(node, template, texts)


def _texts(node: GraphNode, values: Sequence[ShownValue | None]) -> list[str | None]:
    """Values as a formula has them: of an elementwise op, single numbers."""
    text_of = whole_text if type(node.node).infer is not elementwise else _number
    return list(map(text_of, values))


def _with_texts(node: GraphNode, template: str, texts: Sequence[str | None]) -> str | None:
    if not texts or None in texts:
        return None
    numbers = dict(zip(argument_names(node), map(str, texts), strict=True))
    return filled(template, {**numbers, **attribute_texts(node)})


def partial_formula(node: GraphNode, position: int) -> str | None:
    """The partial derivative with respect to one operand in terms of the operands, where the docstring has one."""
    return _partial(node, position, {"z": node.id, "n": "n", **operand_texts(node)})


def partial_with_numbers(
    node: GraphNode, position: int, values: Sequence[ShownValue | None], result: ShownValue | None
) -> str | None:
    """The same with numbers filled in; None where nothing is put in, or too many numbers."""
    texts = dict(zip(argument_names(node), map(_number, values), strict=True)) | {
        "z": _number(result),
        "n": _count(node, values),
    }
    numbers = _partial(node, position, {name: text for name, text in texts.items() if text})
    return numbers if numbers != partial_formula(node, position) else None


def call(node: GraphNode) -> str:
    """A node as Python writes a call: `mean(sq, axis=0)`."""
    document = node_document(node)
    inputs = document["inputs"]
    named = inputs if isinstance(inputs, dict) else {}
    operands = [] if named else list(map(str, inputs))
    attributes = {**named, **document.get("attributes", {})}
    return f"{node.op}({', '.join([*operands, *(f'{name}={value}' for name, value in attributes.items())])})"


def documented(node: GraphNode) -> Op | None:
    """The op whose docstring is about a node; None for an op that was replaced."""
    op = OPS.get(node.op)
    return op if op and op.cls is type(node.node) else None


def argument_names(node: GraphNode) -> list[str]:
    """The names that the op has for the operands."""
    return list(map(node.node.signature.input_name, range(len(node.inputs))))


def operand_texts(node: GraphNode) -> dict[str, str]:
    """The inputs that are not omitted, by name."""
    pairs = zip(argument_names(node), node.inputs, strict=True)
    return {name: _operand_text(operand) for name, operand in pairs if operand is not None}


def attribute_texts(node: GraphNode) -> dict[str, str]:
    """The attributes that are numbers, by name."""
    return {name: number_text(value) for name, value in node.node.model_dump().items() if type(value) in (int, float)}


def _operand_text(operand: Operand) -> str:
    return number_text(operand) if isinstance(operand, float) else str(operand)


def _template(node: GraphNode) -> str | None:
    """The right side of the op's formula if it has all of the node: its operands, and each attribute that is set."""
    text = _right_side(documented(node))
    names = set(_free_names(text))
    is_complete = names.issuperset(node.node.model_dump(exclude_defaults=True))
    return text if text and is_complete and names <= {*operand_texts(node), *attribute_texts(node)} else None


def _right_side(op: Op | None) -> str:
    return op.docstring.formula.removeprefix("z = ") if op else ""


def _free_names(text: str) -> Iterator[str]:
    """The names in a formula that are not called, and attributes, which no text replaces; a transpose is none."""
    words = (found[0] for found in _WORD.finditer(text))
    return (word for word in words if not word.endswith("(") and word != ".T")


def filled(template: str, texts: Mapping[str, str]) -> str | None:
    """A template with texts for its names; a negative number beside an operator gets parentheses."""

    def fill(found: re.Match[str]) -> str:
        name = found[0]
        if name not in texts:
            return name
        return texts[name] if _is_alone(found, template) else in_product(texts[name])

    return _WORD.sub(fill, template) if texts.keys() >= set(_free_names(template)) else None


def _is_alone(found: re.Match[str], template: str) -> bool:
    """Whether a name has no operator beside it."""
    if template[found.end() :].lstrip().startswith("**"):  # a power binds closer than a sign
        return False
    return template[: found.start()].endswith(("(", ", ")) or template == found[0]


def _number(value: ShownValue | None) -> str | None:
    """A value inside a formula; None for one with too many numbers."""
    return numbers_text(value.numbers) if value is not None and value.fits_formula else None


def whole_text(value: ShownValue | None) -> str | None:
    """All numbers of a small array of any shape; None for a larger one."""
    return numbers_text(value.numbers) if value is not None and value.is_small else None


def einsum_equation(node: GraphNode) -> str:
    """The equation of an einsum, without spaces."""
    return str(node.node.model_dump()["equation"]).replace(" ", "")


def _series_with_numbers(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """A formula such as (x1 + ... + xn) / n with all numbers of a small array, for each place along its other axes."""
    op, value = documented(node), values[0] if len(values) == 1 else None
    if op is None or value is None or not value.is_small or type(node.node).infer is not reduction:
        return None
    numbers = np.array(value.numbers, dtype=object)
    axes = normalized_axes(node.node.axis, numbers.ndim)  # type: ignore[attr-defined]
    terms = math.prod(map(numbers.shape.__getitem__, axes))
    return _series(op, numbers, axes, terms) if 0 < terms <= MAX_TERMS else None


def _series(op: Op, numbers: np.ndarray[Any, Any], axes: Sequence[int], terms: int) -> str | None:
    if len(axes) == numbers.ndim:
        return _written_out(op, numbers.ravel().tolist())
    rows = np.moveaxis(numbers, axes, range(-len(axes), 0)).reshape(-1, terms)
    texts = [_written_out(op, row) for row in rows.tolist()]
    return None if None in texts else f"[{', '.join(map(str, texts))}]"


def _written_out(op: Op, numbers: Sequence[Any]) -> str | None:
    """The formula of an op over some numbers; None if it has no series."""
    texts = list(map(number_text, numbers))
    text, count = _SERIES.subn(lambda found: _joined(texts, found[2]), op.docstring.formula.removeprefix("z = "))
    text = re.sub(r"\bn\b", str(len(texts)), text)
    return text if count and not list(_free_names(text)) else None


def _joined(texts: Sequence[str], operator: str) -> str:
    return operator.join(texts if operator == ", " else map(in_product, texts))


def _count(node: GraphNode, values: Sequence[ShownValue | None]) -> str | None:
    """The n of a formula over the numbers of its operand that one number of the result is made of."""
    value = values[0]
    return None if value is None else str(math.prod(_counted_sizes(node, value.shape)))


def _counted_sizes(node: GraphNode, shape: tuple[int, ...]) -> Sequence[int]:
    """The sizes of the axes that an op goes over: all of them unless it is a reduction over some."""
    if type(node.node).infer is not reduction:
        return shape
    return [shape[axis] for axis in normalized_axes(node.node.axis, len(shape))]  # type: ignore[attr-defined]


def _partial(node: GraphNode, position: int, texts: Mapping[str, str]) -> str | None:
    op = documented(node)
    partials = dict(_PARTIAL.findall(op.docstring.derivatives)) if op else {}
    name = node.node.signature.input_name(position)
    template = partials.get(name) or partials.get(f"{name}i")
    return filled(template, {**texts, **attribute_texts(node)}) if template else None
