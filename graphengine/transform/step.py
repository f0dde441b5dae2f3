"""One training step as one graph: forward, gradient, clipping and update, joined from their parts.

The step graph reads the model's inputs, its parameters and state, `learning_rate` and `iteration`; its outputs are the
loss, the gradient's norm and, as `new_<name>`, what replaces each parameter, slot and state. It is a graph like any
other: it can be printed, saved, run and compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from graphengine.errors import InvalidModelError, Problem
from graphengine.ir.declarations import Input, State
from graphengine.ir.graph import Graph, types_of
from graphengine.ir.nodes import Operand
from graphengine.ir.recording import Recorder
from graphengine.ops.inference import as_tuple
from graphengine.ops.shapes import ArrayType, array_type
from graphengine.ops.traits import OpTrait
from graphengine.transform.backward import filled, pruned, record_backward

LEARNING_RATE, ITERATION, GRADIENT_NORM = "learning_rate", "iteration", "gradient_norm"


@dataclass(frozen=True)
class Step:
    """A step graph; `carried` maps each output that is fed back to the parameter, slot or state it replaces."""

    graph: Graph
    carried: Mapping[str, str]
    loss: str


class Update(Protocol):
    """An update rule for parameters of one type: a graph from `ARGUMENTS` and slots to what replaces them."""

    graph: Graph
    kind: ArrayType
    slots: Mapping[str, State]
    """The values it keeps for each parameter, with what they start from."""


class Clipping(Protocol):
    """How gradients are limited: each number (`value`), each array (`norm`) or all together (`global_norm`)."""

    @property
    def type(self) -> str:
        """What is limited."""

    @property
    def limit(self) -> float:
        """The largest magnitude or norm."""


def step_graph(
    graph: Graph,
    loss: str,
    rules: Mapping[str, Update],
    *,
    seed: int,
    clipping: Clipping | None = None,
    description: str = "",
) -> Step:
    """Join a graph with the update of its trainable parameters by their rules.

    A parameter without a rule keeps its value: the loss does not depend on it. `loss` is an output or a value of the
    graph, whose name the step keeps.

    Raises
    ------
    DifferentiationError
        If the loss has no gradient with respect to a trainable parameter.
    InvalidModelError
        GE201 if the model uses a name that the step needs.
    """
    value = graph.value_name(loss)
    recorder = Recorder(in_training(graph, rules, seed))
    gradients = record_gradients(recorder, value, rules)
    updates, carried = record_updates(recorder, gradients, rules, clipping)
    for name, update in graph.updates.items():
        updates[f"new_{name}"] = update
        carried[f"new_{name}"] = name
    step = pruned(
        recorder, with_loss(loss, value, updates), description, keep=(LEARNING_RATE, ITERATION, *carried.values())
    )
    return Step(step, carried, loss)


def with_loss(name: str, loss: str, others: Mapping[str, str]) -> dict[str, str]:
    """The outputs of a step: the loss, under the name that the training section gives it, and what else it computes.

    Raises
    ------
    InvalidModelError
        GE201 if something else has that name.
    """
    if name in others:
        raise taken_name(name)
    return {name: loss, **others}


def taken_name(name: str) -> InvalidModelError:
    """GE201: the loss has a name that the step needs."""
    return InvalidModelError([Problem("GE201", f"the training step needs the name '{name}' itself; the loss has it")])


def record_gradients(recorder: Recorder, loss: str, names: Iterable[str]) -> dict[str, Any]:
    """Record the backward pass; the gradient of each parameter, zeros for one that the loss does not depend on."""
    found = record_backward(recorder, loss, list(names))
    return {
        name: filled(recorder, "zeros_like", name) if gradient is None else gradient for name, gradient in found.items()
    }


def record_updates(
    recorder: Recorder,
    gradients: Mapping[str, Any],
    rules: Mapping[str, Update],
    clipping: Clipping | None,
) -> tuple[dict[str, str], dict[str, str]]:
    """Record norm, clipping and update; the outputs, and what each of them replaces, by output."""
    lengths = _lengths(recorder, gradients)
    norm = _norm(recorder, lengths)
    if clipping:
        gradients = _clipped(recorder, gradients, lengths, norm, clipping)
    outputs, carried = {GRADIENT_NORM: norm.name}, {}
    for name, update_rule in rules.items():
        for target, value in _updated(recorder, name, gradients[name], update_rule).items():
            outputs[f"new_{target}"] = value
            carried[f"new_{target}"] = target
    unchanged = {f"new_{name}": name for name in recorder.graph.trainable if name not in rules}
    return {**outputs, **unchanged}, {**carried, **unchanged}


def in_training(graph: Graph, rules: Mapping[str, Update], seed: int) -> Graph:
    """The graph as a step runs it: with the step's declarations, and in training mode if its nodes have one.

    Raises
    ------
    InvalidModelError
        GE201 if the model uses a name that the step needs.
    """
    graph = with_declarations(graph, rules)
    if not any(OpTrait.HAS_MODE in node.node.traits for node in graph.nodes):
        return graph
    from graphengine.transform.mode import in_training_mode, with_iteration

    return with_iteration(in_training_mode(graph), ITERATION, seed)


def with_declarations(graph: Graph, rules: Mapping[str, Update]) -> Graph:
    """The graph with the step's own inputs, and the slots of each parameter as state.

    Raises
    ------
    InvalidModelError
        GE201 if the model uses one of their names.
    """
    inputs = {
        LEARNING_RATE: Input(array_type((), graph.dtype), "the learning rate of this iteration"),
        ITERATION: Input(array_type(()), "the number of this iteration, from 1"),
    }
    slots: dict[str, State] = {}
    for name, rule in rules.items():
        slots |= {f"{name}/{slot}": state for slot, state in rule.slots.items()}
    _require_free((*inputs, *slots), graph.types)
    types = {**graph.types, **types_of(inputs, slots)}
    return graph.derive(
        graph.nodes, graph.outputs, types, inputs={**graph.inputs, **inputs}, state={**graph.state, **slots}
    )


def _require_free(names: Iterable[str], types: Mapping[str, ArrayType]) -> None:
    """Refuse a graph that uses names of the step."""
    taken = list(filter(types.__contains__, names))
    if taken:
        raise InvalidModelError(Problem("GE201", f"the training step needs the id '{name}' itself") for name in taken)


def _lengths(recorder: Recorder, gradients: Mapping[str, Any]) -> dict[str, Any]:
    """The Euclidean norm of each gradient, in the file's dtype; that of a single one is the norm of all."""
    lengths = {}
    for name, gradient in gradients.items():
        recorder.enter(f"{name}/length")
        op = "norm" if gradient.ndim else "abs"
        whole = recorder.free(GRADIENT_NORM) if len(gradients) == 1 else recorder.numbered(f"{name}/length")
        lengths[name] = recorder.emit(op, recorder.instance(op, {}), (gradient.name,), whole)
    return lengths


def _norm(recorder: Recorder, lengths: Mapping[str, Any]) -> Any:
    """The Euclidean norm of all gradients together."""
    recorder.enter(GRADIENT_NORM)
    total, *others = lengths.values()
    for value in others[:-1]:
        total = np.hypot(total, value)
    if not others:
        return total
    hypot = recorder.instance("hypot", {})
    return recorder.emit("hypot", hypot, (total.name, others[-1].name), recorder.free(GRADIENT_NORM))


def _clipped(
    recorder: Recorder, gradients: Mapping[str, Any], lengths: Mapping[str, Any], norm: Any, clipping: Clipping
) -> dict[str, Any]:
    """Gradients within the limit; one that is within it already keeps its bits, because its factor is exactly 1."""
    limit = float(clipping.limit)
    clipped = {}
    for name, gradient in gradients.items():
        recorder.enter(f"{name}/clipped")
        if clipping.type == "value":
            clipped[name] = np.minimum(np.maximum(gradient, -limit), limit)
            continue
        length = norm if clipping.type == "global_norm" else lengths[name]
        clipped[name] = gradient * _cast(_factor(length, limit), gradient.dtype)
    return clipped


def _cast(value: Any, dtype: Any) -> Any:
    """A value in a dtype, as it is if it has it already."""
    return value if value.dtype == dtype else value.astype(dtype)


SMALL_LIMIT = 1e-6
"""From here on a limit divided by the longest gradient of single precision is not 0."""


def _factor(length: Any, limit: float) -> Any:
    """What makes a gradient as long as the limit; NaN instead of a silent 0 where that is too small for the dtype."""
    longest = np.maximum(length, limit)
    factor = limit / longest
    if limit >= SMALL_LIMIT:
        return factor
    excess = longest / limit
    return factor + (excess - excess)


def _updated(recorder: Recorder, name: str, gradient: Any, rule: Update) -> dict[str, str]:
    """Inline the rule for one parameter: what replaces the parameter and each of its slots."""
    targets = {"parameter": name, **{slot: f"{name}/{slot}" for slot in rule.slots}}
    rate = _rate(recorder, name, rule.kind)
    operands: dict[Any, Operand] = {**targets, "gradient": gradient.name, LEARNING_RATE: rate.name}
    if _reads_iteration(rule.graph):
        operands[ITERATION] = _scalar(recorder, ITERATION, rule.kind).name
    _inline(recorder, rule.graph, operands, name)
    updated = {targets[output]: str(operands[value]) for output, value in rule.graph.outputs.items()}
    return {**updated, name: _within_bounds(recorder, name, updated[name])}


def _inline(recorder: Recorder, rule: Graph, operands: dict[Any, Operand], near: str) -> None:
    """Record the nodes of a rule on the operands, and add what they give to these."""
    for node in rule.nodes:
        inputs = node.renamed(operands).inputs
        symbols = as_tuple(recorder.emit(node.op, node.node, inputs, recorder.free(f"{near}/{node.id}")))
        operands.update(zip(node.outputs, [symbol.name for symbol in symbols], strict=True))


def _rate(recorder: Recorder, name: str, kind: ArrayType) -> Any:
    """The learning rate of one parameter."""
    rate = _scalar(recorder, LEARNING_RATE, kind)
    multiplier = recorder.graph.parameters[name].learning_rate_multiplier
    recorder.enter(f"{name}/rate")
    return rate if multiplier == 1 else rate * float(multiplier)


def _reads_iteration(rule: Graph) -> bool:
    return ITERATION in rule.outputs.values() or any(ITERATION in node.inputs for node in rule.nodes)


def _within_bounds(recorder: Recorder, name: str, updated: str) -> str:
    """What replaces a parameter, moved to the nearest bound if it is beyond one."""
    low, high = recorder.graph.parameters[name].bounds or (None, None)
    recorder.enter(f"{name}/bounded")
    value = recorder.symbol(updated)
    if low is not None:
        value = np.maximum(value, float(low))
    if high is not None:
        value = np.minimum(value, float(high))
    return str(value.name)


def _scalar(recorder: Recorder, name: str, kind: ArrayType) -> Any:
    """A scalar input of the step in the dtype of a parameter."""
    symbol = recorder.symbol(name)
    recorder.enter(f"{name}/{kind.array_dtype.name}")
    return _cast(symbol, kind.array_dtype)
