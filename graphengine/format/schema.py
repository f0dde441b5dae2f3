"""The JSON Schema of model files, made from the live registry, so that an editor completes op names and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphengine.format.documents import FunctionDocument, FunctionFile, ModelDocument
from graphengine.format.kinds import SOLVERS
from graphengine.mappings import absent, selected, without
from graphengine.ops.node import Signature
from graphengine.ops.registry import OPS, Op

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def model_schema(rules: Mapping[str, FunctionFile], functions: Mapping[str, FunctionDocument]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model file: the documents, each op's inputs and attributes, each update rule.

    `functions` are those that every file can call; a file may also have its own.
    """
    schema = ModelDocument.model_json_schema()
    definitions = schema["$defs"]
    called = [_if_type(name, "op", _function_schema(each)) for name, each in sorted(functions.items())]
    ops = [_if_type(name, "op", _op_schema(OPS[name])) for name in sorted(OPS)]
    definitions["NodeDocument"]["allOf"] = ops + called
    definitions["AttributeReference"] = ATTRIBUTE_REFERENCE
    known = {"properties": {"nodes": {"items": {"properties": {"op": {"enum": sorted([*OPS, *functions])}}}}}}
    schema |= {"if": {"required": ["functions"]}, "then": True, "else": known}
    optimizer = definitions["OptimizerDocument"]
    # a rule may also be a function of the model: the enumeration is what an editor proposes, not all that is possible
    optimizer["properties"]["type"] = {"anyOf": [{"enum": sorted([*rules, *SOLVERS])}, {"type": "string"}]}
    optimizer["allOf"] = [_if_type(name, "type", _rule_schema(rule)) for name, rule in sorted(rules.items())]
    optimizer["allOf"] += [_if_type(name, "type", _solver_schema(name)) for name in SOLVERS]
    return {"$schema": DIALECT, **schema}


_REFERENCE = {
    "type": "object",
    "properties": {"attribute": {"type": "string"}},
    "required": ["attribute"],
    "additionalProperties": False,
}
ATTRIBUTE_REFERENCE = {
    "description": "In a function: the value of one of its attributes, or an array with such values",
    "anyOf": [_REFERENCE, {"type": "array", "contains": _REFERENCE}],
}


def _if_type(name: str, key: str, then: dict[str, Any]) -> dict[str, Any]:
    """What holds of an object whose `key` is `name`."""
    return {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": then}


def _op_schema(op: Op) -> dict[str, Any]:
    """What a node of this op may have: its attributes, and its inputs by count or by name."""
    fields = op.cls.model_json_schema()
    attributes = {name: _or_reference(field) for name, field in fields.get("properties", {}).items()}
    further = selected(fields, ("required", "$defs"))
    return {"description": op.docstring.summary, **_call_schema(op.signature, attributes, further)}


def _function_schema(function: FunctionDocument) -> dict[str, Any]:
    """What a node that calls this function may have."""
    attributes = {name: _attribute_schema(each) for name, each in function.attributes.items()}
    required = [name for name, each in function.attributes.items() if each.required]
    wanted = sum(not each.optional for each in function.inputs.values())
    signature = Signature(tuple(function.inputs), wanted, False, tuple(function.outputs), None)
    call = _call_schema(signature, attributes, _requiring(required))
    return {"description": function.description or "", **call}


def _attribute_schema(declared: Any) -> dict[str, Any]:
    default = {} if declared.required else {"default": declared.default}
    return {"description": declared.description or "", **default}


def _or_reference(field: dict[str, Any]) -> dict[str, Any]:
    """A field, or a reference to an attribute in a function; what describes the field to an editor stays in front."""
    described = selected(field, ("title", "description", "default", "examples"))
    checked = without(field, described)
    return {**described, "anyOf": [checked, {"$ref": "#/$defs/AttributeReference"}]} if checked else field


def _call_schema(signature: Signature, attributes: dict[str, Any], further: dict[str, Any]) -> dict[str, Any]:
    ordered: dict[str, Any] = {"type": "array", "minItems": signature.required}
    named: dict[str, Any] = {"type": "object", "required": list(signature.inputs[: signature.required])}
    if not signature.variadic:
        ordered["maxItems"] = len(signature.inputs)
        named |= {"properties": dict.fromkeys(signature.inputs, True), "additionalProperties": False}
    fields = {"type": "object", "properties": attributes, "additionalProperties": False, **further}
    then: dict[str, Any] = {"properties": {"attributes": fields, "inputs": {"anyOf": [ordered, named]}}}
    required = ["inputs"] * (signature.required > 0) + ["attributes"] * ("required" in further)
    return {**then, **_requiring(required)}


def _requiring(keys: list[str]) -> dict[str, Any]:
    """What a schema says of the keys that an object must have; nothing if there are none."""
    return {"required": keys} if keys else {}


def _rule_schema(rule: FunctionFile) -> dict[str, Any]:
    """The keys of an optimizer that uses this rule."""
    properties = {
        name: {"type": "number", "default": attribute.default, "description": attribute.description or ""}
        for name, attribute in rule.attributes.items()
    }
    known = {"type": True, "learning_rate": True, **properties}
    return {
        "description": rule.description or rule.name,
        "properties": known,
        "required": ["learning_rate"],
        "additionalProperties": False,
    }


def _solver_schema(name: str) -> dict[str, Any]:
    """The keys of an optimizer that is a solver."""
    schema = SOLVERS[name].model_json_schema()
    properties = without(schema["properties"], ("type",))
    required = absent(schema["required"], ("type",))
    return {
        "description": schema["description"],
        "properties": {"type": True, **properties},
        "required": required,
        "additionalProperties": False,
    }
