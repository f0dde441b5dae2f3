"""Loops over the same function and operands as one loop.

The gradient of a loop needs values of its steps: the loop that is there keeps them, and nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphengine.ir.nodes import GraphNode
from graphengine.ops.shapes import ArrayType


def merged_loops(
    nodes: list[GraphNode], types: Mapping[str, ArrayType], outputs: Mapping[str, str]
) -> tuple[list[GraphNode], Mapping[str, ArrayType], Mapping[str, str]]:
    """Return nodes, types and outputs with all loops alike merged into the first of them, which keeps its name."""
    alike = _groups(nodes)
    if not alike:
        return nodes, types, outputs
    merged: dict[str, GraphNode | None] = {}
    names: dict[Any, str] = {}
    for group in alike:
        whole, renamed = _merged(group)
        merged |= {**dict.fromkeys([node.id for node in group], None), whole.id: whole}
        names |= renamed
    found = [merged.get(node.id, node) for node in nodes]
    kept = [node.renamed(names) for node in found if node]
    further = {name: types[old] for old, name in names.items()}
    return kept, {**types, **further}, {name: names.get(value, value) for name, value in outputs.items()}


def _groups(nodes: Sequence[GraphNode]) -> list[list[GraphNode]]:
    """The loops that can be merged, those alike together."""
    groups: dict[Any, list[GraphNode]] = {}
    for node in nodes:
        if node.is_loop:
            groups.setdefault(_alike(node), []).append(node)
    return [group for group in groups.values() if len(group) > 1]


def _alike(node: GraphNode) -> Any:
    """What is the same for loops that can be merged: all but what they give."""
    loop: Any = node.node
    return node.inputs, loop.carry, loop.sequences, loop.reverse, loop.length, loop.axes[0], loop.function.nodes


def _merged(group: Sequence[GraphNode]) -> tuple[GraphNode, dict[Any, str]]:
    """The loop that gives what all loops of a group give, and what the others' results are called there."""
    from graphengine.ir.graph_bodies import GraphBody

    first = group[0]
    loop: Any = first.node
    results, axes, ports = dict(loop.function.results), list(loop.axes[1]), dict[Any, str]()
    carried = len(loop.carry)
    for place, (port, value) in enumerate(results.items()):
        ports[value, None if place < carried else axes[place - carried]] = port
    renamed: dict[Any, str] = {}
    for node in group[1:]:
        other: Any = node.node
        stacked = [*[None] * carried, *other.axes[1]]
        for (port, value), axis, name in zip(other.function.results.items(), stacked, node.outputs, strict=True):
            if (value, axis) not in ports:
                ports[value, axis] = free = _free(port, results)
                results[free] = value
                axes.append(axis)
            position = list(results).index(ports[value, axis])
            renamed[name] = first.id if position == 0 else f"{first.id}:{ports[value, axis]}"
    body = GraphBody(loop.function.name, loop.function.inputs, loop.function.nodes, results)
    changed = loop.model_copy(update={"function": body, "axis": (*loop.axes[0], *axes)})
    return first._replace(node=changed), renamed


def _free(port: str, taken: Mapping[str, str]) -> str:
    while port in taken:
        port += "_"
    return port
