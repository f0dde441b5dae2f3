"""Loops over the same function and operands as one loop.

The gradient of a loop needs values of its steps: the loop that is there keeps them, and nothing runs twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphengine.ir.nodes import GraphNode, free_name
from graphengine.mappings import with_renamed
from graphengine.ops.shapes import ArrayType


def merged_loops(
    nodes: list[GraphNode], types: Mapping[str, ArrayType], outputs: Mapping[str, str]
) -> tuple[list[GraphNode], Mapping[str, ArrayType], Mapping[str, str]]:
    """Return nodes, types and outputs with all loops alike merged into the first of them, which keeps its name."""
    alike = _groups(nodes)
    if not alike:
        return nodes, types, outputs
    merged, names = _all_merged(alike)
    kept = [merged.get(node.id, node).renamed(names) for node in nodes if node.id not in names]
    further = {name: types[old] for old, name in names.items()}
    return kept, {**types, **further}, with_renamed(outputs, names)


def _all_merged(groups: Sequence[Sequence[GraphNode]]) -> tuple[dict[str, GraphNode], dict[Any, str]]:
    """The loop of each group by its name, and what the results of the others are called there."""
    merged: dict[str, GraphNode] = {}
    names: dict[Any, str] = {}
    for group in groups:
        whole, renamed = _merged(group)
        merged[whole.id] = whole
        names |= renamed
    return merged, names


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

    first, *others = group
    loop: Any = first.node
    results = _results(group)
    values = {port: value for port, (value, _) in results.items()}
    stacked = [axis for _, axis in results.values()][len(loop.carry) :]
    body = GraphBody(loop.function.name, loop.function.inputs, loop.function.nodes, values)
    whole = first._replace(node=loop.model_copy(update={"function": body, "axis": (*loop.axes[0], *stacked)}))
    names = dict(zip(results.values(), whole.outputs, strict=True))
    given = {name: names[key] for node in others for name, key in zip(node.outputs, _given(node), strict=True)}
    return whole, given


def _results(group: Sequence[GraphNode]) -> dict[str, tuple[str, int | None]]:
    """The results of all loops of a group by port, those of the first under its ports, each once."""
    loops: list[Any] = [node.node for node in group]
    found = dict(zip(loops[0].function.results, _given(group[0]), strict=True))
    for loop, node in zip(loops[1:], group[1:], strict=True):
        for port, key in zip(loop.function.results, _given(node), strict=True):
            if key not in found.values():
                found[free_name(port, found)] = key
    return found


def _given(node: GraphNode) -> list[tuple[str, int | None]]:
    """What a loop gives: values of its body, each with the axis that its steps are put together along, if they are."""
    loop: Any = node.node
    axes = [*[None] * len(loop.carry), *loop.axes[1]]
    return list(zip(loop.function.results.values(), axes, strict=True))
