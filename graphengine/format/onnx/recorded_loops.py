"""Loops whose length is large or known only at run time: one step is recorded as the function of a `scan`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

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


def is_short(length: Any) -> bool:
    """Whether a loop is unrolled where it could be a `scan`."""
    return isinstance(length, int) and length <= FEW


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
    begin, whole = list(map(draft.as_symbol, carried)), list(map(draft.as_symbol, sequences))
    kinds = [ArrayType(each.type.shape, each.dtype) for each in begin]
    body, around = _recorded(draft, step, kinds, [_part(*each) for each in zip(whole, axes, strict=True)])
    count = len(begin)
    if len(body.outputs) != count + len(stacking):
        raise Unimportable("a loop gives other results than it stacks")
    made = op(
        "scan",
        function=body,
        carry=body.inputs[:count],
        sequences=body.inputs[count : count + len(whole)],
        axis=(*axes, *stacking),
        reverse=reverse,
    )(*begin, *whole, *around)
    return list(made) if isinstance(made, tuple) else [made]


def _recorded(
    draft: Draft, step: Step, carried: Sequence[ArrayType], cut: Sequence[ArrayType]
) -> tuple[GraphBody, list[Symbol]]:
    """Return a step as a function and the values around it that it reads; its nodes leave the draft."""
    before = len(draft.nodes)
    states, parts = _declared(draft, "step.state", carried), _declared(draft, "step.part", cut)
    last, stacked = step(list(states), list(parts))
    results = [draft.as_symbol(draft.computed(each)) for each in (*last, *stacked)]
    own = [each.name for each in (*states, *parts)]
    body, outside = _body(draft.nodes[before:], own, results)
    around = [Symbol(draft, name, draft.types[name]) for name in outside]
    draft.forget(before)
    for name in own:
        del draft.types[name]
    return body, around


def _declared(draft: Draft, near: str, kinds: Sequence[ArrayType]) -> list[Symbol]:
    return [draft.declare(draft.free(near), kind) for kind in kinds]


def _part(sequence: Symbol, axis: int) -> ArrayType:
    shape = tuple(sequence.type.shape)
    return ArrayType((*shape[:axis], *shape[axis + 1 :]), sequence.dtype)


def _body(nodes: list[GraphNode], own: list[str], results: list[Symbol]) -> tuple[GraphBody, list[str]]:
    """Return the function that nodes make, and the values around it that it reads; names are its own."""
    outside = _read_around(nodes, own, results)
    local = {name: f"in_{number}" for number, name in enumerate([*own, *outside])}
    inputs = list(local.values())
    local |= {node.id: f"value_{number}" for number, node in enumerate(nodes)}
    outputs = {f"out_{number}": str(_local(each.name, local)) for number, each in enumerate(results)}
    return GraphBody("step", inputs, [_within(node, local) for node in nodes], outputs), outside


def _within(node: GraphNode, local: Mapping[str, str]) -> GraphNode:
    """Return a node with the names of a function."""
    return node._replace(id=local[node.id], inputs=tuple([_local(each, local) for each in node.inputs]))


def _read_around(nodes: list[GraphNode], own: list[str], results: list[Symbol]) -> list[str]:
    """Return the values that nodes and results read and that neither they nor the loop gives."""
    made = {*own, *(node.id for node in nodes)}
    operands = itertools.chain(*[node.inputs for node in nodes], [each.name for each in results])
    names = dict.fromkeys(filter(_is_name, operands))
    return [name for name in names if name.partition(":")[0] not in made]


def _is_name(operand: Any) -> TypeGuard[str]:
    return isinstance(operand, str)


def _local(operand: Any, local: Mapping[str, str]) -> Any:
    if not isinstance(operand, str):
        return operand
    if operand in local:
        return local[operand]
    node, colon, port = operand.partition(":")
    return f"{local[node]}{colon}{port}"
