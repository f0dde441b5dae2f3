"""What is different between two models: nodes, wiring, attributes, values; order and formatting do not count.

What is written in two ways and means the same (inputs by order or by name, an attribute with its default) is no
difference. Names and descriptions of the model and its parts are told, but change nothing of what is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from graphengine.format.documents import ModelDocument
from graphengine.format.writing import model_as_dict
from graphengine.registry import OPS
from graphengine.wording import shown

Kind: TypeAlias = Literal["added", "removed", "rewired", "changed"]
Path: TypeAlias = tuple[str, ...]

TEXTS = {"$schema", "name", "description", "metadata"}
"""Keys that change nothing of what a model computes."""
SECTIONS = {"nodes", "inputs", "parameters", "state", "functions", "outputs", "data"}
"""Objects whose keys are names that the file gives, and not keys of the format."""


class Difference(NamedTuple):
    """One place in which two models differ; `before` or `after` is None where there is nothing."""

    kind: Kind
    path: Path
    before: Any
    after: Any

    @property
    def changes_meaning(self) -> bool:
        """Whether what the model computes may be another."""
        keys = [key for place, key in enumerate(self.path) if place == 0 or self.path[place - 1] not in SECTIONS]
        return not TEXTS.intersection(keys)

    def as_dict(self) -> dict[str, Any]:
        """The difference as a JSON object."""
        return {**self._asdict(), "path": list(self.path), "changes_meaning": self.changes_meaning}

    def __str__(self) -> str:
        mark = {"added": "+", "removed": "-"}.get(self.kind, "~")
        change = " -> ".join(_shown(value) for value in (self.before, self.after) if value is not None)
        note = _distance(self.before, self.after)
        rewired = " (rewired)" if self.kind == "rewired" else ""
        return f"{mark} {'.'.join(self.path)}: {change}{note}{rewired}"


def differences(before: ModelDocument, after: ModelDocument) -> list[Difference]:
    """All places in which two models differ, those that change what is computed first."""
    found = list(_compared((), _normalized(model_as_dict(before)), _normalized(model_as_dict(after))))
    return sorted(found, key=lambda each: not each.changes_meaning)


def _compared(path: Path, before: Any, after: Any) -> Iterator[Difference]:
    if before == after and type(before) is type(after):
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in dict.fromkeys((*before, *after)):
            yield from _compared((*path, key), before.get(key), after.get(key))
        return
    kind: Kind = "added" if before is None else "removed" if after is None else "changed"
    rewired = len(path) > 2 and path[-2] == "inputs" and path[-4:-3] == ("nodes",)
    yield Difference("rewired" if rewired else kind, path, before, after)


def _normalized(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file with nodes by id, their inputs by name, and no attribute that has its default."""
    result = {**content, "nodes": {node["id"]: _node(node) for node in content["nodes"]}}
    if "functions" in content:
        result["functions"] = {name: _normalized(each) for name, each in content["functions"].items()}
    return result


def _node(node: Mapping[str, Any]) -> dict[str, Any]:
    op = OPS.get(node["op"])
    inputs, attributes = node["inputs"], node.get("attributes", {})
    if isinstance(inputs, list):
        many = op is not None and (op.signature.variadic or len(inputs) <= len(op.signature.inputs))
        names = [op.signature.input_name(place) if op and many else str(place) for place in range(len(inputs))]
        inputs = dict(zip(names, inputs, strict=True))
    defaults = {} if op is None else {name: field.default for name, field in op.cls.model_fields.items()}
    kept = {name: value for name, value in attributes.items() if name not in defaults or value != defaults[name]}
    told = {"description": node["description"]} if "description" in node else {}
    return {"op": node["op"], "inputs": inputs, "attributes": kept, **told}


def _shown(value: Any) -> str:
    """A value on one line; a node as Python writes a call."""
    if isinstance(value, dict) and value.keys() >= {"op", "inputs", "attributes"}:
        given = [f"{name}={item}" for name, item in {**value["inputs"], **value["attributes"]}.items()]
        return f"{value['op']}({', '.join(given)})"
    return shown(value)


def _distance(before: Any, after: Any) -> str:
    """By how much two arrays of numbers differ at most."""
    if not (isinstance(before, list) and isinstance(after, list)):
        return ""
    try:
        first, second = np.asarray(before, np.float64), np.asarray(after, np.float64)
    except (ValueError, TypeError):
        return ""
    return f" (by at most {np.abs(first - second).max():.6g})" if first.shape == second.shape and first.size else ""
