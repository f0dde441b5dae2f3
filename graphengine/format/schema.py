"""The JSON Schema of model files, made from the live registry, so that an editor completes op names and attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphengine.format.documents import SOLVERS, FunctionFile, ModelDocument
from graphengine.registry import OPS, Op

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def model_schema(rules: Mapping[str, FunctionFile]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a model file: the documents, each op's inputs and attributes, each update rule."""
    schema = ModelDocument.model_json_schema()
    definitions = schema["$defs"]
    node = definitions["NodeDocument"]
    node["properties"]["op"] = {"enum": sorted(OPS), "type": "string"}
    node["allOf"] = [_if_type(name, "op", _op_schema(OPS[name])) for name in sorted(OPS)]
    optimizer = definitions["OptimizerDocument"]
    # a rule may also be a function of the model: the enumeration is what an editor proposes, not all that is possible
    optimizer["properties"]["type"] = {"anyOf": [{"enum": sorted([*rules, *SOLVERS])}, {"type": "string"}]}
    optimizer["allOf"] = [_if_type(name, "type", _rule_schema(rule)) for name, rule in sorted(rules.items())]
    optimizer["allOf"] += [_if_type(name, "type", _solver_schema(name)) for name in SOLVERS]
    return {"$schema": DIALECT, **schema}


def _if_type(name: str, key: str, then: dict[str, Any]) -> dict[str, Any]:
    """What holds of an object whose `key` is `name`."""
    return {"if": {"properties": {key: {"const": name}}, "required": [key]}, "then": then}


def _op_schema(op: Op) -> dict[str, Any]:
    """What a node of this op may have: its attributes, and its inputs by count or by name."""
    signature = op.signature
    ordered: dict[str, Any] = {"type": "array", "minItems": signature.required}
    named: dict[str, Any] = {"type": "object", "required": list(signature.inputs[: signature.required])}
    if not signature.variadic:
        ordered["maxItems"] = len(signature.inputs)
        named |= {"properties": dict.fromkeys(signature.inputs, True), "additionalProperties": False}
    fields = op.cls.model_json_schema()
    attributes = {"type": "object", "properties": fields.get("properties", {}), "additionalProperties": False}
    attributes |= {key: fields[key] for key in ("required", "$defs") if key in fields}
    then: dict[str, Any] = {"properties": {"attributes": attributes, "inputs": {"anyOf": [ordered, named]}}}
    if "required" in fields:
        then["required"] = ["attributes"]
    return {"description": op.summary, **then}


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
    own = {"residual": {"type": "string"}} if name == "least_squares" else {}
    return {"properties": {"type": True, **own}, "required": list(own), "additionalProperties": False}
