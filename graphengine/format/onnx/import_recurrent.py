"""Import of recurrent layers: their steps one by one, over sequences of known length.

Gates lie one after the other in a weight: input, output, forget, cell of an LSTM; update, reset, hidden of a GRU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.import_control import part, stacked, trips
from graphengine.format.onnx.onnx_calls import NotKnownYet, OnnxCall, Unimportable, bounded, constant, imports, op
from graphengine.format.onnx.recorded_loops import FEW, looped

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "Tanh": lambda x, _a, _b: np.tanh(x),
    "Sigmoid": lambda x, _a, _b: op("sigmoid")(x),
    "Relu": lambda x, _a, _b: op("relu")(x),
    "Softsign": lambda x, _a, _b: op("softsign")(x),
    "Softplus": lambda x, _a, _b: op("softplus")(x),
    "LeakyRelu": lambda x, a, _b: op("leaky_relu", negative_slope=0.01 if a is None else a)(x),
    "Elu": lambda x, a, _b: op("elu", alpha=1.0 if a is None else a)(x),
    "HardSigmoid": lambda x, a, b: op("hard_sigmoid", alpha=0.2 if a is None else a, beta=0.5 if b is None else b)(x),
    "Affine": lambda x, a, b: x * constant(1 if a is None else a, x) + constant(b or 0, x),
    "ScaledTanh": lambda x, a, b: constant(1 if a is None else a, x) * np.tanh(x * constant(1 if b is None else b, x)),
}


class Direction(NamedTuple):
    """One direction of a recurrent layer: weights, biases, peepholes, activations, and how much they are clipped to."""

    weight: Any
    recurrent: Any
    bias: Any
    recurrent_bias: Any
    peepholes: Any
    activations: list[Callable[[Any], Any]]
    bound: float | None
    call: OnnxCall

    def bounded(self, x: Any) -> Any:
        """Return what an activation takes."""
        if self.bound is None:
            return x
        return np.minimum(np.maximum(x, constant(-self.bound, x)), constant(self.bound, x))

    def gate(self, number: int, inputs: Any, hidden: Any) -> Any:
        """Return a gate before its activation."""
        z = self.product(number, inputs) + self.from_hidden(number, hidden)
        return z if self.bias is None else z + part(self.bias, number, 0)

    def product(self, number: int, inputs: Any) -> Any:
        """Return the part of a gate that comes from the sequence."""
        return op("matmul")(inputs, np.transpose(part(self.weight, number, 0)))

    def from_hidden(self, number: int, hidden: Any) -> Any:
        """Return the part of a gate that comes from the state."""
        z = op("matmul")(hidden, np.transpose(part(self.recurrent, number, 0)))
        return z if self.recurrent_bias is None else z + part(self.recurrent_bias, number, 0)


def step_rnn(layer: Direction, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the next state of a plain layer."""
    (activation,) = layer.activations
    return (activation(layer.bounded(layer.gate(0, x, state[0]))),)


def step_gru(layer: Direction, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the next state of a GRU; `linear_before_reset` resets what the state contributes, else the state."""
    (hidden,) = state
    first, second = layer.activations
    update, reset = (first(layer.bounded(layer.gate(number, x, hidden))) for number in (0, 1))
    if layer.call.get("linear_before_reset", 0):
        new = layer.product(2, x) + reset * layer.from_hidden(2, hidden)
    else:
        new = layer.product(2, x) + layer.from_hidden(2, reset * hidden)
    new = new if layer.bias is None else new + part(layer.bias, 2, 0)
    new = second(layer.bounded(new))
    return (new + update * (hidden - new),)


def step_lstm(layer: Direction, x: Any, state: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the next state and cell of an LSTM."""
    hidden, cell = state
    first, second, third = layer.activations

    def gate(number: int, peephole: int, seen: Any) -> Any:
        z = layer.gate(number, x, hidden)
        return z if layer.peepholes is None else z + part(layer.peepholes, peephole, 0) * seen

    take = first(layer.bounded(gate(0, 0, cell)))
    keep = constant(1, take) - take if layer.call.get("input_forget", 0) else first(layer.bounded(gate(2, 2, cell)))
    cell = keep * cell + take * second(layer.bounded(layer.gate(3, x, hidden)))
    return first(layer.bounded(gate(1, 1, cell))) * third(cell), cell


STEPS = {"RNN": step_rnn, "GRU": step_gru, "LSTM": step_lstm}


@imports("RNN", "GRU", "LSTM")
def recurrent(call: OnnxCall) -> Any:
    """Import a recurrent layer of one or two directions."""
    batch_first = call.get("layout", 0)
    x = np.transpose(call[0], (1, 0, 2)) if batch_first else call[0]
    direction = call.text("direction", "forward")
    kinds = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
    if direction not in kinds:
        raise Unimportable(f"there is no direction '{direction}'")
    found = [_along(call, x, number, reverse=reverse) for number, reverse in enumerate(kinds[direction])]
    states = [stacked([state[each] for _, state in found], 1 if batch_first else 0) for each in range(len(found[0][1]))]
    if not call.wants(0):
        return [None, *states]
    whole = stacked([stacked(each, 0) if isinstance(each, list) else each for each, _ in found], 1)
    return [np.transpose(whole, (2, 0, 1, 3)) if batch_first else whole, *states]


def _along(call: OnnxCall, x: Any, number: int, *, reverse: bool) -> tuple[Any, tuple[Any, ...]]:
    """Return the hidden states of one direction in the order of time, as a list or an array, and the last state."""
    layer, step = _layer(call, number), STEPS[call.op]
    length = x.shape[0]
    state = _initial(call, x, number)
    if not call.has(4) and not (isinstance(length, int) and length <= FEW):
        return _recorded(call, layer, x, state, reverse=reverse)
    if not isinstance(length, int):
        raise NotKnownYet("its sequences have lengths, and the longest one is known only at run time")
    column: list[Any] = [None] * trips(length)
    for time in reversed(range(length)) if reverse else range(length):
        new = step(layer, part(x, time, 0), state)
        shown = new[0]
        if call.has(4):
            inside = np.expand_dims(np.less(np.asarray(time, call.dtype(4)), call[4]), -1)
            new = tuple(np.where(inside, after, before) for after, before in zip(new, state, strict=True))
            shown = np.where(inside, shown, constant(0, shown))
        state, column[time] = new, shown
    return column, state


def _recorded(
    call: OnnxCall, layer: Direction, x: Any, state: tuple[Any, ...], *, reverse: bool
) -> tuple[Any, tuple[Any, ...]]:
    """Return the hidden states of all steps in one array, and the last state, of steps that are recorded once."""

    def step(states: list[Any], parts: list[Any]) -> tuple[list[Any], list[Any]]:
        new = STEPS[call.op](layer, parts[0], tuple(states))
        return list(new), [new[0]]

    *last, whole = looped(call.draft, step, state, [x], [0], [0], reverse=reverse)
    return whole, tuple(last)


def _initial(call: OnnxCall, x: Any, number: int) -> tuple[Any, ...]:
    size, axis = call.get("hidden_size") or call.static(2)[2], 1 if call.get("layout", 0) else 0
    states = []
    for place in (5, 6)[: 2 if call.op == "LSTM" else 1]:
        if call.has(place):
            states.append(part(call[place], number, axis))
        elif not isinstance(x.shape[1], int):
            column = np.sum(np.zeros_like(part(x, 0, 0)), axis=-1, keepdims=True)
            states.append(column + np.zeros(bounded((1, size)), x.dtype))
        else:
            states.append(np.zeros(bounded((x.shape[1], size)), x.dtype))
    return tuple(states)


def _layer(call: OnnxCall, number: int) -> Direction:
    gates = GATES[call.op]
    size = call.static(2)[2]
    weight, recurrent = (np.reshape(part(call[place], number, 0), (gates, size, -1)) for place in (1, 2))
    biases = np.reshape(part(call[3], number, 0), (2, gates, size)) if call.has(3) else None
    peepholes = np.reshape(part(call[7], number, 0), (3, size)) if call.has(7) else None
    first, second = (None, None) if biases is None else (part(biases, 0, 0), part(biases, 1, 0))
    return Direction(weight, recurrent, first, second, peepholes, _activations(call, number), call.get("clip"), call)


def _activations(call: OnnxCall, number: int) -> list[Callable[[Any], Any]]:
    names = [each.decode() for each in call.get("activations") or []] or DEFAULTS[call.op] * 2
    count = len(DEFAULTS[call.op])
    alphas, betas = (
        [*(call.get(name) or []), *[None] * len(names)] for name in ("activation_alpha", "activation_beta")
    )
    found: list[Callable[[Any], Any]] = []
    for place in range(number * count, (number + 1) * count):
        name = next((each for each in ACTIVATIONS if each.lower() == names[place].lower()), None)
        if name is None:
            raise Unimportable(f"there is no activation '{names[place]}'")
        found.append(partial(_activated, ACTIVATIONS[name], alphas[place], betas[place]))
    return found


def _activated(activation: Callable[..., Any], alpha: float | None, beta: float | None, x: Any) -> Any:
    return activation(x, alpha, beta)
