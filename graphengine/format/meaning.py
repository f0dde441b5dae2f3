"""What a model means, however it is written: the content of its file in one form, and a fingerprint of that.

Nodes are known by their ids and inputs by their names, and an attribute that has its default is not there; of ops that
are not of this package neither is known, because they may not be registered. The names and descriptions of a model and
of its parts stay, as texts that mean nothing to a computation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeAlias

from graphengine.format.canonical import canonical_text
from graphengine.format.documents import ModelDocument
from graphengine.format.writing import model_as_dict
from graphengine.mappings import without
from graphengine.ops.registry import CORE, OPS, Op, domain_of
from graphengine.ops.shapes import repeated

Content: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str, ...]

TEXTS = ("$schema", "name", "description", "metadata")
"""Keys of a file that change nothing of what the model computes; the parts of a model have a description only."""
PARTS = ("inputs", "parameters", "state", "attributes", "nodes")
"""Sections of a file or a function whose keys are names, and whose values may have a description."""


def fingerprint(document: ModelDocument) -> str:
    """A sha256 of what a model means: formatting, order of nodes and keys, and descriptions do not count."""
    return hashlib.sha256(as_text(_without_texts(meaning(document), TEXTS))).hexdigest()


def meaning(document: ModelDocument) -> Content:
    """The content of a model's file, the same for all files that mean the same, except for texts."""
    return _in_one_form(model_as_dict(document))


def is_text(path: Path) -> bool:
    """Whether the value at a path in such a content is a text, which means nothing to a computation."""
    if path[0] == "functions" and len(path) > 2:
        return path[2:] == ("description",) or _is_description(path[2:])
    return path[0] in TEXTS or _is_description(path)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike; 1, 1.0 and true are three values."""
    return as_text(one) == as_text(other)


def as_text(value: Any) -> bytes:
    """JSON in which the order of keys does not count."""
    return canonical_text(value, sort_keys=True).encode()


def _is_description(path: Path) -> bool:
    return len(path) == 3 and path[0] in PARTS and path[2] == "description"


def _without_texts(content: Content, texts: tuple[str, ...]) -> Content:
    kept = without(content, texts)
    for section in kept.keys() & set(PARTS):
        kept[section] = {name: _declared(part) for name, part in kept[section].items()}
    if "functions" in kept:
        kept["functions"] = {name: _without_texts(each, ("description",)) for name, each in kept["functions"].items()}
    return kept


def _declared(part: Content) -> Content:
    """What an input, a parameter or a state is declared to be."""
    return {key: _spelled(key, value) for key, value in without(part, ("description",)).items()}


def _spelled(key: str, value: Any) -> Any:
    """A part as it is hashed: sizes repeat their symbols, as all files did before there were exponents."""
    return list(map(repeated, value)) if key == "shape" else value


def _in_one_form(content: Content) -> Content:
    found = {**content, "nodes": {node["id"]: _node(node) for node in content["nodes"]}}
    if "functions" in content:
        found["functions"] = {name: _function(each) for name, each in content["functions"].items()}
    return found


def _function(content: Content) -> Content:
    """A function; arguments may be given in the order of its inputs, and its first output is the result of a call."""
    order = {section: list(content[section]) for section in ("inputs", "outputs")}
    return {**_in_one_form(content), "order": order}


def _node(node: Mapping[str, Any]) -> Content:
    op = OPS.get(node["op"]) if domain_of(node["op"]) == CORE else None
    inputs = node["inputs"]
    if isinstance(inputs, list):
        inputs = dict(zip(_names(op, len(inputs)), inputs, strict=True))
    described = {"description": node["description"]} if "description" in node else {}
    attributes = _without_defaults(op, node.get("attributes", {}))
    return {"op": node["op"], "inputs": inputs, "attributes": attributes, **described}


def _without_defaults(op: Op | None, attributes: Mapping[str, Any]) -> Content:
    """The attributes that are not what the op has without them."""
    if op is None or not attributes:
        return {**attributes}
    fields = op.cls.model_fields
    return {name: value for name, value in attributes.items() if not _is_default(fields.get(name), value)}


def _is_default(field: Any, value: Any) -> bool:
    return field is not None and not field.is_required() and same(value, field.default)


def _names(op: Op | None, count: int) -> list[str]:
    """The names of the first inputs of an op; their numbers where there are none."""
    if op is None or not (op.signature.variadic or count <= len(op.signature.inputs)):
        return list(map(str, range(count)))
    return list(map(op.signature.input_name, range(count)))
