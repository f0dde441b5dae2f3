"""The description of an op or a function, as JSON values: read from its class or its file, never written twice."""

from __future__ import annotations

from typing import Any

from graphengine.format.functions import Function
from graphengine.ir.dtypes import dtype_rules
from graphengine.ops.inference import along_axis, elementwise, probed, reduction
from graphengine.ops.registry import Op

SHAPE_RULES = {
    elementwise: "the inputs broadcast",
    reduction: "without the axes of the attribute 'axis', all of them if it is null",
    along_axis: "that of the input",
    probed: "found by running forward on small arrays",
}
"""What a family's rule says of the shape of a result."""


def describe(op: Op) -> dict[str, Any]:
    """An op as a JSON object: signature, attributes, formula, derivatives, rules for shape and dtype.

    Formula and derivatives are None where the docstring has none, and `dtypes` is empty where they are not known.
    """
    signature, docstring = op.signature, op.docstring
    rule: Any = vars(op.cls).get("infer", op.cls.infer)
    return {
        "op": op.name,
        "domain": op.domain,
        "summary": docstring.words,
        "inputs": list(signature.inputs),
        "required": signature.required,
        "variadic": signature.variadic,
        "outputs": list(signature.outputs),
        "attributes": op.cls.model_json_schema().get("properties", {}),
        "formula": docstring.formula or None,
        "random": op.cls.random,
        "differentiable": signature.saved is not None,
        "derivatives": docstring.derivatives or None,
        "shape": SHAPE_RULES.get(rule, "by its own rule"),
        "dtypes": [rule._asdict() for rule in dtype_rules(op)],
        "remarks": docstring.remarks,
    }


def describe_function(function: Function) -> dict[str, Any]:
    """A function in the form of `describe`, with its nodes."""
    signature, document = function.signature, function.document
    return {
        "op": function.name,
        "domain": function.domain,
        "summary": document.description or "",
        "inputs": list(signature.inputs),
        "required": signature.required,
        "variadic": False,
        "outputs": list(signature.outputs),
        "attributes": {name: each.model_dump(exclude_defaults=True) for name, each in document.attributes.items()},
        "shapes": {name: each.shape for name, each in document.inputs.items() if each.shape is not None},
        "nodes": document.nodes,
    }
