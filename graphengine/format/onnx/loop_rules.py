"""The rules of loops and choices: Scan and If, whose bodies are graphs that see the values around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphengine.format.onnx.emitting import Applied, Emitter, Unexportable, applied, exports
from graphengine.format.onnx.onnx_lowering import has_rule, lowered_graph, why_not
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import literal_type
from graphengine.mappings import picked, without
from graphengine.ops.shapes import ArrayType


@exports("scan")
def scan(emit: Emitter, loop: Applied) -> tuple[str, ...]:
    """Write Scan: states and sequences are its inputs, and the body reads what is the same in each step."""
    node: Any = loop.node.node
    steps, _ = node.steps(loop.types)
    states = [emit.read(loop, place, emit.dtype(steps[place])) for place in node.carried]
    sequences, places = _sequences(emit, loop)
    results = [emit.free(loop.node.id) for _ in node.outputs]
    made = emit.helper.make_node(
        "Scan",
        [*states, *sequences],
        results,
        body=_body(emit, loop, steps),
        num_scan_inputs=len(sequences),
        scan_input_axes=places,
        scan_input_directions=[int(node.reverse)] * len(sequences),
        **_stacking(node, node.axes[1], steps),
    )
    emit.nodes.append(made)
    return tuple(results)


def _sequences(emit: Emitter, loop: Applied) -> tuple[list[str], list[int]]:
    """Return the sequences and the axis of each; Scan needs one, whose length is the number of steps."""
    node: Any = loop.node.node
    if not node.cut:
        numbers = [emit.constant(number, np.int64) for number in (0, node.length, 1)]
        return [emit("Range", *numbers)], [0]
    axes = [axis % loop.rank(place) for axis, place in zip(node.axes[0], node.cut, strict=True)]
    return [emit.read(loop, place) for place in node.cut], axes


def _stacking(node: Any, axes: Any, steps: Any) -> dict[str, list[int]]:
    """Return how results are stacked; nothing where none is."""
    kinds = node.function.infer(steps)[len(node.carry) :]
    if not kinds:
        return {}
    places = [axis % (len(kind.shape) + 1) for axis, kind in zip(axes, kinds, strict=True)]
    return {"scan_output_axes": places, "scan_output_directions": [int(node.reverse)] * len(places)}


@exports("cond")
def cond(emit: Emitter, choice: Applied) -> tuple[str, ...]:
    """Write If; both branches read the values around them."""
    node: Any = choice.node.node
    branches = {}
    for name, body in (("then_branch", node.then), ("else_branch", node.otherwise)):
        given = dict(zip(body.inputs, choice.node.inputs[1:], strict=True))
        inner, outputs = _nested(emit, choice.node.id, body, choice.types[1:], given, ())
        branches[name] = emit.helper.make_graph(inner.nodes, body.name, [], outputs)
    results = [emit.free(choice.node.id) for _ in choice.node.outputs]
    emit.nodes.append(emit.helper.make_node("If", [emit.read(choice)], results, **branches))
    return tuple(results)


def _body(emit: Emitter, loop: Applied, steps: tuple[ArrayType | None, ...]) -> Any:
    """Return the graph of one step."""
    node: Any = loop.node.node
    own = (*node.carry, *node.sequences)
    given = dict(zip(node.function.inputs, loop.node.inputs, strict=True))
    near = loop.node.id
    inner, outputs = _nested(emit, near, node.function, steps, given, own)
    inputs = [_declared(inner, inner.renamed[name], inner.types[name]) for name in own]
    if not node.sequences:
        inputs.append(_declared(inner, inner.free(f"{near}/step"), ArrayType((), np.dtype(np.int64))))
    return emit.helper.make_graph(inner.nodes, node.function.name, inputs, outputs)


def _nested(
    emit: Emitter,
    near: str,
    body: Any,
    types: tuple[ArrayType | None, ...],
    given: dict[str, Any],
    own: tuple[str, ...],
) -> tuple[Emitter, list[Any]]:
    """Return the nodes of a body and its outputs; inputs but its `own` are operands from around it."""
    whole = body.graph(types)
    graph, _ = lowered_graph(whole.derive(whole.nodes, picked(body.results, body.outputs), whole.types))
    inside = without(graph.types, without(whole.inputs, own))
    renamed = _names_in(emit, near, inside, without(given, own))
    inner = emit.nested({**whole.types, **graph.types}, renamed)
    _write(inner, graph)
    return inner, [_output(inner, f"{near}/{port}", value, graph) for port, value in graph.outputs.items()]


def _names_in(emit: Emitter, near: str, inside: Iterable[str], around: Mapping[str, Any]) -> dict[str, str]:
    """Return the names that values of a body have: new ones, or those of operands from around it."""
    renamed = {name: emit.free(f"{near}/{name}") for name in inside}
    return renamed | {name: _outside(emit, operand) for name, operand in around.items()}


def _output(inner: Emitter, near: str, value: str, graph: Graph) -> Any:
    """Return the declaration of an output of a body under its own name."""
    name = inner.free(near)
    inner.alias(inner.renamed[value], name)
    return _declared(inner, name, graph.types[value])


def _outside(emit: Emitter, operand: Any) -> str:
    """Return the name of a value around the loop, or of a literal."""
    if isinstance(operand, str):
        return emit.renamed.get(operand, operand)
    kind = literal_type(operand)
    if kind is None:
        raise Unexportable("an input of its function is omitted")
    return emit.constant(operand, kind.array_dtype)


def _write(inner: Emitter, graph: Graph) -> None:
    """Write the nodes of a step."""
    for node in graph.nodes:
        if not has_rule(node):
            raise Unexportable(f"node '{node.id}' ({node.op}) of its function: {why_not(node)}")
        try:
            inner.place(applied(node, graph))
        except Unexportable as reason:
            raise Unexportable(f"node '{node.id}' ({node.op}) of its function: {reason}") from None


def _declared(emit: Emitter, name: str, kind: ArrayType) -> Any:
    shape = [size if isinstance(size, int) else None for size in kind.shape]
    return emit.helper.make_tensor_value_info(name, emit.tensor_type(np.dtype(emit.dtype(kind))), shape)
