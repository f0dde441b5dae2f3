"""Files of older versions, step by step up to the newest: every file that was ever released loads forever.

A change of the syntax raises `FORMAT_VERSION` and adds an adapter to `FORMATS`; a change of an op's meaning raises the
version of its domain and adds one to `OPSETS`. An adapter works on the JSON values of a file, before they are checked,
and gives new ones that mean the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from graphengine.format.pieces import unfolded

Content: TypeAlias = dict[str, Any]

FORMATS: dict[int, Callable[[Content], Content]] = {}
"""From each version of the format to the next one; version 1 is the newest."""

OPSETS: dict[tuple[str, int], Callable[[Content], Content]] = {}
"""From each version of a domain's ops to the next one, for one node; version 1 of `core` is the newest."""


def upgraded(content: Content) -> Content:
    """The content of a file in the newest version; the same object if it is of that version.

    What is no version at all is left as it is, to be reported where a file is checked.
    """
    content = _with_format(unfolded(content))
    imports = content.get("opset_imports")
    for domain, number in imports.items() if isinstance(imports, dict) else ():
        content = _with_opset(content, domain, number)
    return content


def _with_format(content: Content) -> Content:
    version = content.get("format_version")
    while type(version) is int and version in FORMATS:
        content = {**FORMATS[version](content), "format_version": version + 1}
        version += 1
    return content


def _with_nodes(content: Content, adapt: Callable[[Content], Content]) -> Content:
    nodes = content.get("nodes")
    if not isinstance(nodes, list):
        return content
    return {**content, "nodes": [adapt(node) if isinstance(node, dict) else node for node in nodes]}


def _with_opset(content: Content, domain: str, number: Any) -> Content:
    while type(number) is int and (domain, number) in OPSETS:
        content = _with_nodes(content, OPSETS[domain, number])
        number += 1
        content = {**content, "opset_imports": {**content["opset_imports"], domain: number}}
    return content
