"""Import of recurrent layers: their steps one by one, over sequences of known length.

Gates lie one after the other in a weight: input, output, forget, cell of an LSTM; update, reset, hidden of a GRU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.onnx.import_control import part, stacked, trips
from graphengine.format.onnx.onnx_calls import NotKnownYet, OnnxCall, Unimportable, bounded, constant, imports, op
from graphengine.format.onnx.recorded_loops import is_short, looped

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
DIRECTIONS = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}
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
    batch_first = bool(call.get("layout", 0))
    x = np.transpose(call[0], (1, 0, 2)) if batch_first else call[0]
    found = [_along(call, x, number, reverse=reverse) for number, reverse in enumerate(_directions(call))]
    columns, last = zip(*found, strict=True)
    states = [stacked(list(each), int(batch_first)) for each in zip(*last, strict=True)]
    return [_over_time(columns, batch_first=batch_first) if call.wants(0) else None, *states]


def _directions(call: OnnxCall) -> list[bool]:
    """Return of each direction whether it is reverse."""
    direction = call.text("direction", "forward")
    if direction not in DIRECTIONS:
        raise Unimportable(f"there is no direction '{direction}'")
    return DIRECTIONS[direction]


def _over_time(columns: Sequence[Any], *, batch_first: bool) -> Any:
    """Return the hidden states of all directions as one array."""
    whole = stacked([stacked(each, 0) if isinstance(each, list) else each for each in columns], 1)
    return np.transpose(whole, (2, 0, 1, 3)) if batch_first else whole


def _along(call: OnnxCall, x: Any, number: int, *, reverse: bool) -> tuple[Any, tuple[Any, ...]]:
    """Return the hidden states of one direction in the order of time, as a list or an array, and the last state."""
    layer, length = _layer(call, number), x.shape[0]
    state = _initial(call, x, number)
    if not call.has(4) and not is_short(length):
        return _recorded(call, layer, x, state, reverse=reverse)
    if not isinstance(length, int):
        raise NotKnownYet("its sequences have lengths, and the longest one is known only at run time")
    return _unrolled(call, layer, x, state, range(length)[:: -1 if reverse else 1])


def _unrolled(
    call: OnnxCall, layer: Direction, x: Any, state: tuple[Any, ...], times: range
) -> tuple[list[Any], tuple[Any, ...]]:
    column: list[Any] = [None] * trips(len(times))
    for time in times:
        new = STEPS[call.op](layer, part(x, time, 0), state)
        state, column[time] = _within_length(call, time, new, state) if call.has(4) else (new, new[0])
    return column, state


def _within_length(
    call: OnnxCall, time: int, new: tuple[Any, ...], state: tuple[Any, ...]
) -> tuple[tuple[Any, ...], Any]:
    """Return the next state and what is shown of it: beyond the length of a sequence its state stays, and 0."""
    inside = np.expand_dims(np.less(np.asarray(time, call.dtype(4)), call[4]), -1)
    kept = tuple(np.where(inside, after, before) for after, before in zip(new, state, strict=True))
    return kept, np.where(inside, new[0], constant(0, new[0]))


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
    places = (5, 6) if call.op == "LSTM" else (5,)
    return tuple(_initial_state(call, x, place, number) for place in places)


def _initial_state(call: OnnxCall, x: Any, place: int, number: int) -> Any:
    """Return a state before the first step: zeros, where it is not given."""
    size = call.get("hidden_size") or call.static(2)[2]
    if call.has(place):
        return part(call[place], number, 1 if call.get("layout", 0) else 0)
    if isinstance(x.shape[1], int):
        return np.zeros(bounded((x.shape[1], size)), x.dtype)
    column = np.sum(np.zeros_like(part(x, 0, 0)), axis=-1, keepdims=True)
    return column + np.zeros(bounded((1, size)), x.dtype)


def _layer(call: OnnxCall, number: int) -> Direction:
    gates = GATES[call.op]
    size = call.static(2)[2]
    weight, recurrent = (np.reshape(part(call[place], number, 0), (gates, size, -1)) for place in (1, 2))
    biases = np.reshape(part(call[3], number, 0), (2, gates, size)) if call.has(3) else None
    peepholes = np.reshape(part(call[7], number, 0), (3, size)) if call.has(7) else None
    first, second = (None, None) if biases is None else (part(biases, 0, 0), part(biases, 1, 0))
    return Direction(weight, recurrent, first, second, peepholes, _activations(call, number), call.get("clip"), call)


def _activations(call: OnnxCall, number: int) -> list[Callable[[Any], Any]]:
    names = [each.decode() for each in call.get("activations", ())] or DEFAULTS[call.op] * 2
    alphas, betas = (dict(enumerate(call.get(name, ()))) for name in ("activation_alpha", "activation_beta"))
    count = len(DEFAULTS[call.op])
    own = range(number * count, (number + 1) * count)
    return [partial(_activated, _activation(names[each]), alphas.get(each), betas.get(each)) for each in own]


def _activation(name: str) -> Callable[..., Any]:
    """Return the activation of a name, whatever its case."""
    known = {each.lower(): activation for each, activation in ACTIVATIONS.items()}
    if name.lower() not in known:
        raise Unimportable(f"there is no activation '{name}'")
    return known[name.lower()]


def _activated(activation: Callable[..., Any], alpha: float | None, beta: float | None, x: Any) -> Any:
    return activation(x, alpha, beta)
