"""Why an update moved a parameter up or down, in one sentence.

Where one path of plain numbers leads from the parameter to a difference of prediction and target, the sentence is that
of the lesson: on which side of the target the prediction is, and whether it grows with the parameter. Elsewhere the
sign of the gradient says it. Which sentence it is depends on numbers, its words do not: a page that computes other
numbers has all sentences and chooses.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np

from graphengine.traces.summary import ShownValue
from graphengine.traces.trace_parts import BackwardEdge, GraphTrace, NodeBackward

Step: TypeAlias = tuple[NodeBackward, BackwardEdge]
Path: TypeAlias = Sequence[Step]
Multiply: TypeAlias = Callable[[Sequence[ShownValue]], ShownValue]
"""Gives the product of numbers."""


class Aim(NamedTuple):
    """A prediction that should come near a target, and its slope: how it changes with the parameter."""

    prediction: str
    guess: ShownValue
    target: str
    wanted: ShownValue
    slope_name: str
    slope: ShownValue


class Movement(NamedTuple):
    """A single number before and after an update, with its gradient and what it aims at."""

    name: str
    of: str | None
    old: ShownValue
    new: ShownValue
    gradient: ShownValue
    aim: Aim | None


def why_moved(trace: GraphTrace, name: str, old: Any, new: Any, gradient: ShownValue) -> str:
    """Why the parameter `name` went from `old` to `new` by an update that was given this gradient."""
    if np.ndim(old):
        return _why_array(name, np.asarray(new) - np.asarray(old))
    aim = aim_of(trace, name, _product)
    movement = Movement(name, trace.of, ShownValue.of(float(old)), ShownValue.of(float(new)), gradient, aim)
    return sentences(movement)[case_of(movement)]


def _why_array(name: str, step: Any) -> str:
    counts = {"rise": (step > 0).sum(), "fall": (step < 0).sum(), "stay": (step == 0).sum()}
    return of_numbers(name, ", ".join(f"{n} {word}s" if n == 1 else f"{n} {word}" for word, n in counts.items() if n))


def of_numbers(name: str, counts: str) -> str:
    """How many numbers of an array rise, fall and stay."""
    return f"Numbers of {name}: {counts}."


def case_of(movement: Movement) -> str:
    """Which of the sentences is true: a key of `sentences`."""
    step = _number(movement.new) - _number(movement.old)
    slope = _number(movement.gradient)
    if not (math.isfinite(step) and math.isfinite(slope)):
        return "lost"
    if step == 0:
        return _case_of_rest(slope)
    return f"{'rises' if step > 0 else 'falls'} {_manner(movement.aim, step, slope)}".rstrip()


def _case_of_rest(slope: float) -> str:
    return "flat" if slope == 0 else "still"


def _manner(aim: Aim | None, step: float, slope: float) -> str:
    """How a number moves: late, if it does not go down its slope, or else where the aim goes with it, if it has one."""
    if slope == 0 or (step > 0) == (slope > 0):
        return "late"
    return (_toward_aim(aim, step) if aim else None) or ""


def _toward_aim(aim: Aim, step: float) -> str | None:
    """Which way the prediction changes with the parameter, where the step moves it nearer to its target."""
    guess, wanted, rate = map(_number, (aim.guess, aim.wanted, aim.slope))
    if not (rate and _comes_nearer(guess, wanted, step * rate)):
        return None
    return "grows" if rate > 0 else "shrinks"


def _comes_nearer(guess: float, wanted: float, change: float) -> bool:
    """Whether a change goes from a guess toward what is wanted, and these are different numbers."""
    return (guess < wanted or guess > wanted) and (change > 0) == (guess < wanted)


def sentences(movement: Movement) -> dict[str, str]:
    """The sentence for each case that there may be."""
    name, old, new, slope = movement.name, movement.old.text, movement.new.text, movement.gradient.text
    texts = {
        "lost": f"{name} leaves the finite numbers: the step is too large.",
        "flat": f"{name} stays {old}: its gradient is 0.",
        "still": f"{name} stays {old}: the step is 0.",
    }
    for moves, sign, size in (("rises", "negative", "larger"), ("falls", "positive", "smaller")):
        moved = f"{name} {moves} from {old} to {new}"
        momentum = "the rule also counts earlier gradients"
        texts[f"{moves} late"] = f"{moved}, not against its gradient of {slope}: {momentum}."
        texts[moves] = f"{moved}: its gradient is {sign} ({slope}), so a {size} {name} makes {movement.of} smaller."
        if movement.aim:
            for grows in ("grows", "shrinks"):
                texts[f"{moves} {grows}"] = f"{moved}: {_toward(movement.aim, name, (moves == 'rises', grows))}"
    return texts


def _toward(aim: Aim, name: str, case: tuple[bool, str]) -> str:
    """How a prediction comes nearer to its target."""
    rises, grows = case
    side, goes = ("below", "rises") if rises == (grows == "grows") else ("above", "falls")
    follows = f"grows with {name}" if grows == "grows" else f"falls as {name} grows"
    return (
        f"{aim.prediction} ({aim.guess.text}) is {side} {aim.target} ({aim.wanted.text}) and {follows} "
        f"({aim.slope_name} = {aim.slope.text}), so {aim.prediction} {goes} toward {aim.target}."
    )


def aim_of(trace: GraphTrace, name: str, multiply: Multiply) -> Aim | None:
    """What a parameter moves toward its target, if exactly one path of single numbers leads there."""
    path = _only_path(trace, name)
    place = max((index for index, (walk, _) in enumerate(path) if walk.op == "sub"), default=len(path))
    below = path[place + 1 :]
    return _aim(trace, name, path[place], below, multiply) if below else None


def _aim(trace: GraphTrace, name: str, difference: Step, below: Path, multiply: Multiply) -> Aim | None:
    """The aim at which the operand of a difference is led by the rest of the path, if these are single numbers."""
    walk, edge = difference
    target = _not_followed(walk)
    guess, wanted = trace.values.get(edge.operand), trace.values.get(target)
    factors = _factors(below)
    if len(factors) < len(below) or not (_is_number(guess) and _is_number(wanted)):
        return None
    return Aim(edge.operand, guess, target, wanted, _slope_name(below, edge.operand, name), multiply(factors))


def _factors(path: Path) -> list[ShownValue]:
    """The partial derivatives of a path that are single numbers."""
    return [each.partial for _, each in path if _is_number(each.partial)]


def _not_followed(walk: NodeBackward) -> str:
    """The operand of a difference that the gradient does not go to; nothing if there is none."""
    return next((edge.operand for edge in walk.edges if edge.reason), "")


def _slope_name(path: Path, prediction: str, name: str) -> str:
    """What the slope of a prediction is called: the other factor where the prediction is a product, "x"."""
    formula = path[0][1].formula
    return formula if len(path) == 1 and formula and formula.isidentifier() else f"d_{prediction}/d_{name}"


def _product(factors: Sequence[ShownValue]) -> ShownValue:
    return ShownValue.of(math.prod(map(_number, factors)))


def _is_number(value: ShownValue | None) -> TypeGuard[ShownValue]:
    return value is not None and value.shape == ()


def _number(value: ShownValue) -> float:
    """The number of a scalar, NaN for anything else: what is compared with it is then neither below nor above."""
    return float(value.numbers) if isinstance(value.numbers, (int, float)) else math.nan


def _only_path(trace: GraphTrace, name: str) -> Path:
    """The steps from the loss to a parameter, if there is exactly one way; else nothing."""
    users = defaultdict[str, list[tuple[NodeBackward, BackwardEdge]]](list)
    for walk, edge, _ in trace.walked:
        users[edge.operand].append((walk, edge))
    path: list[tuple[NodeBackward, BackwardEdge]] = []
    while name != trace.of:
        if len(users[name]) != 1:
            return []
        path += users[name]
        name = path[-1][0].node
    return path[::-1]
