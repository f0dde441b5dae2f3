"""Loops whose length is large or known only at run time: one step is recorded as the function of a `scan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphengine.format.onnx.drafts import Draft
from graphengine.format.onnx.onnx_calls import Unimportable, op
from graphengine.ir.graph_bodies import GraphBody
from graphengine.ir.nodes import GraphNode
from graphengine.ir.recording import Symbol
from graphengine.ops.shapes import ArrayType

Step = Callable[[list[Any], list[Any]], tuple[list[Any], list[Any]]]
"""From what is carried and the parts of sequences to what is carried on and what is stacked."""
FEW = 16
"""Steps of the longest loop that is unrolled where it could be a `scan`."""


def looped(
    draft: Draft,
    step: Step,
    carried: Sequence[Any],
    sequences: Sequence[Any],
    axes: Sequence[int],
    stacking: Sequence[int],
    *,
    reverse: bool,
) -> list[Any]:
    """Return the last values of what is carried, and what the steps stack along axes."""
    begin, whole = ([draft.as_symbol(each) for each in values] for values in (carried, sequences))
    before = len(draft.nodes)
    states = [draft.declare(draft.free("step.state"), ArrayType(each.type.shape, each.dtype)) for each in begin]
    parts = [draft.declare(draft.free("step.part"), _part(each, axis)) for each, axis in zip(whole, axes, strict=True)]
    last, stacked = step(list(states), list(parts))
    results = [draft.as_symbol(draft.computed(each)) for each in (*last, *stacked)]
    nodes = draft.nodes[before:]
    own = [each.name for each in (*states, *parts)]
    body, outside = _body(nodes, own, results)
    kinds = {name: draft.types[name] for name in outside}
    draft.forget(before)
    for name in own:
        del draft.types[name]
    if len(stacking) != len(stacked):
        raise Unimportable("a loop gives other results than it stacks")
    count = len(states)
    made = op(
        "scan",
        function=body,
        carry=body.inputs[:count],
        sequences=body.inputs[count : len(own)],
        axis=(*axes, *stacking),
        reverse=reverse,
    )(*begin, *whole, *[Symbol(draft, name, kind) for name, kind in kinds.items()])
    return list(made) if isinstance(made, tuple) else [made]


def _part(sequence: Symbol, axis: int) -> ArrayType:
    shape = tuple(sequence.type.shape)
    return ArrayType((*shape[:axis], *shape[axis + 1 :]), sequence.dtype)


def _body(nodes: list[GraphNode], own: list[str], results: list[Symbol]) -> tuple[GraphBody, list[str]]:
    """Return the function that nodes make, and the values around it that it reads; names are its own."""
    outside = _read_around(nodes, own, results)
    local = {name: f"in_{number}" for number, name in enumerate([*own, *outside])}
    local |= {node.id: f"value_{number}" for number, node in enumerate(nodes)}
    inner = [
        node._replace(id=local[node.id], inputs=tuple([_local(each, local) for each in node.inputs])) for node in nodes
    ]
    outputs = {f"out_{number}": str(_local(each.name, local)) for number, each in enumerate(results)}
    return GraphBody("step", [local[name] for name in (*own, *outside)], inner, outputs), outside


def _read_around(nodes: list[GraphNode], own: list[str], results: list[Symbol]) -> list[str]:
    """Return the values that nodes and results read and that neither they nor the loop gives."""
    made = {node.id for node in nodes}
    read = [operand for node in nodes for operand in node.inputs if isinstance(operand, str)]
    names = dict.fromkeys([*read, *[each.name for each in results]])
    return [name for name in names if name not in own and name.partition(":")[0] not in made]


def _local(operand: Any, local: Mapping[str, str]) -> Any:
    if not isinstance(operand, str):
        return operand
    if operand in local:
        return local[operand]
    node, colon, port = operand.partition(":")
    return f"{local[node]}{colon}{port}"
