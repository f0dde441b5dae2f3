"""What there is to say of an op or a function, as JSON values: read from its class or its file, never written twice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from pydantic import ValidationError

from graphengine.graph import infer
from graphengine.inference import along_axis, elementwise, probed, reduction
from graphengine.loading.functions import Function
from graphengine.registry import Op
from graphengine.shapes import ArrayType, dtype_name

SHAPE_RULES = {
    elementwise: "the inputs broadcast",
    reduction: "without the axes of the attribute 'axis', all of them if it is null",
    along_axis: "that of the input",
    probed: "found by running forward on small arrays",
}
"""What a family's rule says of the shape of a result."""

_TRIED_DTYPES = ("float64", "float32", "int64", "bool")
_TRIED_SHAPES = ((), (3,), (3, 3), (1, 3, 3), (1, 1, 3, 3))


def describe(op: Op) -> dict[str, Any]:
    """An op as a JSON object: signature, attributes, formula, derivatives, rules for shape and dtype.

    Formula and derivatives are None where the docstring has none.
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
        "differentiable": signature.saved is not None,
        "derivatives": docstring.derivatives or None,
        "shape": SHAPE_RULES.get(rule, "by a rule of its own"),
        "dtypes": dtypes_of(op),
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


def dtypes_of(op: Op) -> dict[str, str]:
    """The dtypes of the results for inputs of one dtype, or whose first has it and whose others are integers.

    What the op does not take is left out; empty where the op needs attributes, on which it may all depend.
    """
    try:
        node = op.cls()
    except ValidationError:
        return {}
    count = len(op.signature.inputs) + op.signature.variadic
    others = dict.fromkeys((None, "int64"))
    found: dict[str, str] = {}
    for dtype, other, shape in itertools.product(_TRIED_DTYPES, others, _TRIED_SHAPES):
        if dtype in found or not count:
            continue
        kinds = [ArrayType(shape, np.dtype(dtype)), *[ArrayType(shape, np.dtype(other or dtype))] * (count - 1)]
        try:
            results = infer(node, tuple(kinds))
        except ValueError:
            continue
        found[dtype] = ", ".join(dtype_name(kind.dtype) for kind in results)
    return found
