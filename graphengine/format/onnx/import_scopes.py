"""Where nodes of an ONNX file are: what they see, and how they are called in a report."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, NamedTuple

from graphengine.format.onnx.import_findings import FindingPlace


class ImportScope(NamedTuple):
    """Where nodes are: the values that they see by name, opsets by domain, and what their names are put after.

    `kinds` are ONNX's numbers of the types that values have in the file, where these are none of ours; `declared` are
    the types that the file states. `path` leads to the nodes in the file; `within` is the op whose body by ONNX's
    schema they are, with its place.
    """

    values: MutableMapping[str, Any]
    opsets: Mapping[str, int]
    attributes: Mapping[str, Any]
    kinds: MutableMapping[str, int]
    declared: Mapping[str, Any]
    prefix: str = ""
    depth: int = 0
    path: str = ""
    within: FindingPlace | None = None

    def place(self, node: Any) -> FindingPlace:
        """Return where a node is."""
        if self.within:
            return self.within._replace(what=node.op_type, within=self.within.what)
        return FindingPlace(node.op_type, self.path + name_of(node))


def name_of(node: Any) -> str:
    """Return the name of a node or, where it has none, of its first result."""
    return str(node.name or next(iter(node.output), ""))
