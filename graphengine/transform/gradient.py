"""Reverse mode as a transformation from graph to graph.

Each node's own `backward` is called with symbols, which record what is done to them as nodes of the same op set. The
result is a graph like any other: it can be read, saved, run and differentiated again. A `backward` that cannot be
recorded, because it looks at values or calls foreign code, becomes one opaque node.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphengine.backends.reference.executor import BackwardStep, Executor
from graphengine.errors import DifferentiationError
from graphengine.ir.binding import bind_sizes
from graphengine.ir.graph import Graph, GraphNode, names_of, reachable
from graphengine.ir.memory import may_grow, require_memory
from graphengine.ir.recording import Recorder, Symbol, UnrecordableError

MAX_NAMES = 8
"""The description of a gradient graph names at most this many values."""


def gradient(
    graph: Graph, of: str = "loss", wrt: str | Sequence[str] | None = None, *, also: Iterable[str] = ()
) -> Graph:
    """The graph that computes the gradients of a scalar.

    `of` is a public output or a value; `wrt` are values (default: the trainable parameters). The result has of the
    graph's own outputs those in `also`, and then the outputs `d_<of>/d_<wrt>`, in order, with a "_" behind where that
    name is taken; it has only the nodes, inputs and parameters they need, and is generic in symbolic sizes. A node
    `d_y` is the gradient of y, made of `d_y.1`, `d_y.2`, ...; a node `d_z/d_y` is the partial derivative of one node's
    result.

    Raises
    ------
    UsageError
        GE402 if there is no such value.
    DifferentiationError
        GE411 if `of` is not a floating-point scalar or a node on the way has no `backward`.
    """
    names = names_of(graph.trainable if wrt is None else wrt)
    target, wanted = graph.value_name(of), [graph.value_name(name) for name in names]
    recorder = Recorder(graph)
    gradients = record_backward(recorder, target, wanted)
    outputs = {name: graph.outputs[name] for name in also}
    for name, value in zip(names, wanted, strict=True):
        output = f"d_{of}/d_{name}".replace(":", ".")
        while output in outputs:
            output += "_"
        outputs[output] = _as_output(recorder, gradients[value], value)
    toward = ", ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} values"
    description = f"gradient of {of} toward {toward} of {graph.name}"
    return pruned(recorder, outputs, description)


def pruned(recorder: Recorder, outputs: Mapping[str, str], description: str, keep: Iterable[str] = ()) -> Graph:
    """The recorded graph with only the nodes and declarations that the outputs need, and those to keep."""
    graph = recorder.graph
    kept = reachable([*graph.nodes, *recorder.nodes], outputs.values())
    read = {ref for node in kept for ref in node.inputs if isinstance(ref, str)}.union(outputs.values(), keep)
    inputs = {name: source for name, source in graph.inputs.items() if name in read}
    parameters = {name: source for name, source in graph.parameters.items() if name in read}
    state = {name: source for name, source in graph.state.items() if name in read}
    values = {name for node in kept for name in node.outputs}.union(inputs, parameters, state)
    state = {
        name: source if source.update in values else replace(source, update=None) for name, source in state.items()
    }
    types = {name: recorder.types[name] for name in (*inputs, *parameters, *state, *values)}
    return graph.derive(
        kept, outputs, types, inputs=inputs, parameters=parameters, state=state, description=description
    )


def require_memory_for(graph: Graph, values: Mapping[str, Any], of: str | None, wrt: Sequence[str]) -> None:
    """Refuse values with which a graph, or its gradient of the scalar `of`, takes more memory than the limit.

    Raises
    ------
    InputError
        GE133, naming what asks for most.
    DifferentiationError
        GE411 if there is no such gradient.
    """
    shapes = {name: np.shape(value) for name, value in values.items() if name in graph.inputs}
    sizes = bind_sizes(shapes, graph.types)
    require_memory(graph, sizes)
    if of is not None and wrt and may_grow(graph, sizes):
        require_memory(gradient(graph, of, wrt), sizes)


def check_differentiable(graph: Graph, target: str, wanted: Sequence[str]) -> None:
    """Refuse gradients that have no meaning.

    Raises
    ------
    DifferentiationError
        GE411 if the target is not a floating-point scalar or a wanted value is not of floating-point dtype.
    """
    kind = graph.types[target]
    if kind.shape != () or not kind.is_differentiable:
        raise DifferentiationError(f"only a floating-point scalar has a gradient; '{target}' is {kind}")
    for name in wanted:
        if not graph.types[name].is_differentiable:
            raise DifferentiationError(f"there is no gradient toward '{name}', which is {graph.types[name]}")


def record_backward(recorder: Recorder, target: str, wanted: Sequence[str]) -> dict[str, Symbol | None]:
    """Record the backward pass from the scalar `target`; the gradient of each wanted value, None where it is zero."""
    graph = recorder.graph
    check_differentiable(graph, target, wanted)
    steps = Executor(graph).backward_schedule(target, wanted)
    gradients: dict[Any, Symbol] = {target: filled(recorder, "ones_like", target)}
    recorder.follow(gradients[target])
    pending = Counter(operand for step in steps for operand in _targets(step))
    for step in steps:
        _record_step(recorder, step, gradients, pending)
    return {name: gradients.get(name) for name in wanted}


def _targets(step: BackwardStep) -> list[Any]:
    """The operands of a step that need a gradient, as often as it reads them."""
    return [operand for operand, need in zip(step.step.node.inputs, step.needs, strict=True) if need]


def filled(recorder: Recorder, op: str, value: str) -> Symbol:
    """Ones or zeros like a value, named as its gradient."""
    symbol: Symbol = recorder.emit(op, recorder.instance(op, {}), (value,), recorder.free(_name(value)))
    return symbol


def _name(value: str) -> str:
    """The name of a value's gradient."""
    return f"d_{value}".replace(":", ".")


def _record_step(recorder: Recorder, step: BackwardStep, gradients: dict[Any, Symbol], pending: Counter[Any]) -> None:
    """Record the backward of one node and add what it gives to the gradients of its inputs."""
    node, targets = step.step.node, _targets(step)
    pending.subtract(targets)
    incoming = [gradients.get(name) for name in node.outputs]
    if all(gradient is None for gradient in incoming):
        return  # what reads its results passes no gradient on
    scope, aside = _names(node, set(targets))
    recorder.enter(scope, aside)
    inputs = [recorder.symbol(operand) for operand in node.inputs]
    results = [recorder.symbol(name) for name in node.outputs]
    before = len(recorder.nodes)
    try:
        given = node.node.signature.gradients(node.node, incoming, inputs, results, step.needs)
        _check_recorded(given)
    except Exception:  # noqa: BLE001 - whatever stops the recording, the code still runs with arrays
        recorder.forget(before)
        given = _opaque(recorder, step, incoming, inputs, results)
    if len(recorder.nodes) - before > len(targets) > 1:
        _rename_pieces(recorder, node, given, before)
    for place, (operand, contribution) in enumerate(zip(node.inputs, given, strict=True)):
        if contribution is not None:
            _rename_partial(recorder, node, operand, contribution, incoming[0], before)
            last = not pending[operand] and operand not in node.inputs[place + 1 :]
            _add(recorder, gradients, str(operand), contribution, before, last=last)


def _names(node: GraphNode, targets: set[Any]) -> tuple[str, str]:
    """What pieces of gradients are named after, and pieces of partial derivatives: of one operand, or of the node."""
    if len(targets) > 1:
        return _name(node.id), _name(node.id)
    (target,) = targets
    return _name(target), _partial_name(node, target)


def _partial_name(node: GraphNode, operand: str) -> str:
    """The name of a partial derivative; inside a function the operand is named as it is there."""
    scope = node.id[: node.id.rfind("/") + 1]
    return f"{_name(node.id)}/{_name(operand.removeprefix(scope))}"


def _rename_pieces(recorder: Recorder, node: GraphNode, given: Sequence[Symbol | None], since: int) -> None:
    """Name after an operand what was made for its gradient alone."""
    owners: defaultdict[Any, set[Any]] = defaultdict(set)
    for operand, contribution in zip(node.inputs, given, strict=True):
        if contribution is not None:
            owners[contribution.name].add(operand)
    recorded = recorder.nodes[since:]
    for made in reversed(recorded):
        for operand in made.inputs:
            owners[operand] |= owners[made.id]
    for made in recorded:
        if len(owners[made.id]) == 1 and made.id.startswith(f"{_name(node.id)}."):
            scope, aside = _names(node, owners[made.id])
            recorder.rename(made.id, recorder.numbered(scope if recorder.follows(made.id) else aside), since)


def _rename_partial(
    recorder: Recorder, node: GraphNode, operand: Any, contribution: Symbol, incoming: Symbol | None, since: int
) -> None:
    """What was made to multiply the incoming gradient is the partial derivative, "d_z/d_x"."""
    made = next((each for each in reversed(recorder.nodes[since:]) if each.id == contribution.name), None)
    if made is None or made.op != "mul" or incoming is None or incoming.name not in made.inputs:
        return
    factor = made.inputs[made.inputs[0] == incoming.name]
    if isinstance(factor, str) and not recorder.follows(factor):
        recorder.rename(factor, _partial_name(node, operand), since)


def _add(
    recorder: Recorder, gradients: dict[Any, Symbol], operand: str, contribution: Any, since: int, *, last: bool
) -> None:
    """Add a contribution to the gradient of a value; the last one makes it whole, and gives it its name."""
    name, before = _name(operand), gradients.get(operand)
    recorder.enter(name)
    whole = last and before is None and contribution.type == recorder.types[operand]
    if not whole and not contribution.name.startswith(f"{name}."):
        recorder.rename(contribution.name, recorder.numbered(name), since)
    contribution = _like(recorder, contribution, operand)
    gradients[operand] = contribution if before is None else np.add(before, contribution)
    if last:
        recorder.rename(gradients[operand].name, name, since)


def _check_recorded(gradients: Sequence[Any]) -> None:
    for gradient_ in gradients:
        if gradient_ is not None and not isinstance(gradient_, Symbol):
            raise UnrecordableError(f"a gradient is {type(gradient_).__name__}")


def _opaque(recorder: Recorder, step: BackwardStep, incoming: Any, inputs: Any, results: Any) -> tuple[Any, ...]:
    """The backward of a node as opaque nodes, one for each input that needs a gradient."""
    node = step.step.node
    given = [value for value in inputs if value is not None]
    values = [*(_zeros(recorder, g, r) for g, r in zip(incoming, results, strict=True)), *given, *results]
    omitted = tuple(place for place, value in enumerate(inputs) if value is None)
    attributes = node.node.model_dump(mode="json", exclude_defaults=True)
    told = {"of": node.op, "attributes": attributes, "omitted": omitted}
    return tuple(
        recorder.apply("opaque_backward", values, {**told, "index": index}) if need else None
        for index, need in enumerate(step.needs)
    )


def _zeros(recorder: Recorder, gradient_: Any, result: Symbol) -> Any:
    return recorder.call(np.zeros_like, (result,), {}) if gradient_ is None else gradient_


def _like(recorder: Recorder, contribution: Symbol, operand: str) -> Symbol:
    """A gradient in the shape and dtype of its value: what `executor.like` does with arrays."""
    value = recorder.symbol(operand)
    if contribution.type.shape != value.type.shape or None in value.type.shape:
        contribution = recorder.apply("sum_to", (contribution, value.shape), {})
    if contribution.dtype != value.dtype:
        contribution = contribution.astype(value.dtype)
    return contribution


def _as_output(recorder: Recorder, gradient_: Symbol | None, value: str) -> str:
    if gradient_ is None:
        gradient_ = filled(recorder, "zeros_like", value)
    return gradient_.name
