"""The bodies that ONNX's own schemas give some ops: functions of other ops, which are inlined like those of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from graphengine.extras import optional
from graphengine.format.onnx.onnx_calls import Unimportable, shape_of
from graphengine.format.onnx.protos import subgraphs

NEWEST = {"": 28, "ai.onnx.ml": 6}
"""The newest opset of each domain that the rules of the import know."""


@cache
def check_version(op: str, domain: str, version: int) -> None:
    """Raise Unimportable for an op that means something else since the opsets that the rules know."""
    newest = NEWEST.get(domain, version)
    if version > newest:
        onnx = optional("onnx", "onnx")
        schema = schema_of(op, domain, version)
        if version > onnx.defs.onnx_opset_version() or (schema and schema.since_version > newest):
            raise Unimportable(f"its meaning is known up to opset {newest}, and the file has opset {version}")


def schema_of(op: str, domain: str, version: int) -> Any:
    """Return the schema of an op as an opset has it, None for an op that ONNX does not know."""
    onnx = optional("onnx", "onnx")
    try:
        return onnx.defs.get_schema(op, version, domain)
    except onnx.defs.SchemaError:
        return None


def defaults_of(schema: Any) -> dict[str, Any]:
    """Return the attributes of an op that have defaults, as ONNX writes them."""
    return {name: each.default_value for name, each in schema.attributes.items() if each.default_value.name}


def body_of(schema: Any, node: Any, version: int, values: Sequence[Any], attributes: Mapping[str, Any]) -> Any:
    """Return the `FunctionProto` that a schema has for a node with these attributes, None if there is none."""
    onnx, text = optional("onnx", "onnx"), b""
    if schema is None:
        return None
    if schema.has_function:
        text = schema.get_function_with_opset_version(_newest(schema.function_opset_versions, version))
    elif schema.has_context_dependent_function:
        newest = _newest(schema.context_dependent_function_opset_versions, version)
        types = [_type_proto(onnx, value).SerializeToString() for value in values]
        resolved = _resolved(onnx, node, attributes).SerializeToString()
        text = schema.get_context_dependent_function_with_opset_version(newest, resolved, types)
    return onnx.FunctionProto.FromString(text) if text else None


def _newest(versions: Sequence[int], version: int) -> int:
    """Return the newest of the versions that an opset has; the newest of all if it has none."""
    return max([each for each in versions if each <= version] or versions)


def _resolved(onnx: Any, node: Any, attributes: Mapping[str, Any]) -> Any:
    """Return a node in which attributes of its function are replaced by their values."""
    resolved = onnx.NodeProto()
    resolved.CopyFrom(node)
    del resolved.attribute[:]
    for each in node.attribute:
        name = each.ref_attr_name
        if not name:
            resolved.attribute.append(each)
        elif name in attributes:
            resolved.attribute.append(onnx.helper.make_attribute(each.name, attributes[name]))
    return resolved


def inferred_types(node: Any, values: Sequence[Any], opsets: Mapping[str, int]) -> dict[str, Any]:
    """Return the types of a node's results, by name, that follow from its inputs by ONNX's schema of its op."""
    onnx = optional("onnx", "onnx")
    domain = "" if node.domain == "ai.onnx" else node.domain
    schema = schema_of(node.op_type, domain, opsets.get(domain, 1))
    if schema is None or next(subgraphs(node), None) is not None:
        return {}
    types = _input_types(onnx, node, values)
    imported = [onnx.helper.make_opsetid(name, version) for name, version in opsets.items()]
    try:
        found: dict[str, Any] = onnx.shape_inference.infer_node_outputs(schema, node, types, opset_imports=imported)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, RuntimeError, TypeError, ValueError):
        return {}
    return found


def _input_types(onnx: Any, node: Any, values: Sequence[Any]) -> dict[str, Any]:
    return {name: _type_proto(onnx, value) for name, value in zip(node.input, values, strict=True) if name}


def _type_proto(onnx: Any, value: Any) -> Any:
    """Return the type of a value; nothing for one that is omitted."""
    if value is None or isinstance(value, list):
        return onnx.TypeProto()
    dtype = "int64" if value.dtype == object else value.dtype
    number = onnx.helper.np_dtype_to_tensor_dtype(dtype) if dtype != "int64" else onnx.TensorProto.INT64
    return onnx.helper.make_tensor_type_proto(number, list(map(_size, shape_of(value))))


def _size(size: Any) -> Any:
    """Return a size as ONNX has it: a number, a name, or None."""
    return size if isinstance(size, (int, str)) else None
