"""Why an update moved a parameter up or down, in one sentence.

Where one path of plain numbers leads from the parameter to a difference of prediction and target, the sentence is that
of the lesson: on which side of the target the prediction is, and whether it grows with the parameter. Elsewhere the
sign of the gradient says it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from graphengine.traces.summary import ShownValue, number_text
from graphengine.traces.trace import BackwardEdge, GraphTrace, NodeBackward

Path: TypeAlias = Sequence[tuple[NodeBackward, BackwardEdge]]


def why_moved(trace: GraphTrace, name: str, old: Any, new: Any, gradient: ShownValue) -> str:
    """Why the parameter `name` went from `old` to `new` by an update that was given this gradient."""
    if np.ndim(old):
        return _why_array(name, np.asarray(new) - np.asarray(old))
    step, slope = float(new) - float(old), _number(gradient)
    if not (math.isfinite(step) and math.isfinite(slope)):
        return f"{name} leaves the finite numbers: the step is too large."
    if step == 0:
        return f"{name} stays {number_text(float(old))}: {'its gradient' if slope == 0 else 'the step'} is 0."
    moved = f"{name} {'rises' if step > 0 else 'falls'} from {number_text(float(old))} to {number_text(float(new))}"
    if slope == 0 or (step > 0) == (slope > 0):
        return f"{moved}, not against its gradient of {number_text(slope)}: the rule also counts earlier gradients."
    return _why_prediction(trace, name, moved, step) or (
        f"{moved}: its gradient is {'positive' if slope > 0 else 'negative'} ({number_text(slope)}), "
        f"so a {'larger' if step > 0 else 'smaller'} {name} makes {trace.of} smaller."
    )


def _why_array(name: str, step: Any) -> str:
    counts = {"rise": (step > 0).sum(), "fall": (step < 0).sum(), "stay": (step == 0).sum()}
    parts = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"Of the {step.size} numbers of {name} {parts}."


def _why_prediction(trace: GraphTrace, name: str, moved: str, step: float) -> str | None:
    path = _only_path(trace, name)
    place = next((index for index, (walk, _) in reversed(list(enumerate(path))) if walk.op == "sub"), len(path))
    below = path[place + 1 :]
    if not below:
        return None
    walk, edge = path[place]
    prediction = edge.operand
    target = next((other.operand for other in walk.edges if other.reason), "")
    slope = math.prod(_number(edge.partial) for _, edge in below)
    guess, wanted = _number(trace.values.get(prediction)), _number(trace.values.get(target))
    if not (guess < wanted or guess > wanted) or not slope or (step * slope > 0) != (guess < wanted):
        return None
    side, goes = ("below", "rises") if guess < wanted else ("above", "falls")
    follows = f"grows with {name}" if slope > 0 else f"falls as {name} grows"
    return (
        f"{moved}: {prediction} ({number_text(guess)}) is {side} {target} ({number_text(wanted)}) and {follows} "
        f"({_slope_name(below, prediction, name)} = {number_text(slope)}), so {prediction} {goes} toward {target}."
    )


def _slope_name(path: Path, prediction: str, name: str) -> str:
    """What the slope of a prediction is called: the other factor where the prediction is a product, "x"."""
    formula = path[0][1].formula
    return formula if len(path) == 1 and formula and formula.isidentifier() else f"d_{prediction}/d_{name}"


def _number(value: ShownValue | None) -> float:
    """The number of a scalar, NaN for anything else: what is compared with it is then neither below nor above."""
    number = value.numbers if value else None
    return float(number) if isinstance(number, (int, float)) else math.nan


def _only_path(trace: GraphTrace, name: str) -> Path:
    """The steps from the loss to a parameter, if there is exactly one way; else nothing."""
    users: dict[str, list[tuple[NodeBackward, BackwardEdge]]] = {}
    for walk in trace.backward:
        for edge in walk.edges:
            if edge.product is not None:
                users.setdefault(edge.operand, []).append((walk, edge))
    path: list[tuple[NodeBackward, BackwardEdge]] = []
    while name != trace.of:
        if len(users.get(name, [])) != 1:
            return []
        path += users[name]
        name = path[-1][0].node
    return path[::-1]
