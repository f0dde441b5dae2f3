"""What the parts of a gradient graph are named: so that it reads like the chain rule.

The gradient of x is `d_x`, pieces of it are `d_x.1`, `d_x.2`; the factor that a node multiplies an incoming gradient
by is the partial derivative `d_z/d_x`; what several inputs share is a piece of `d_z`. What a forward value alone gives
is named after it, `x.cos`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from graphengine.ir.nodes import GraphNode
from graphengine.ir.templates import Namer
from graphengine.ops.traits import OpTrait


class Contribution(NamedTuple):
    """What an input of a node gets: a value, and the nodes that fit it to the input and add it to what is there."""

    place: int
    first: int
    """The first place of the same input."""
    value: str
    sums: range
    total: str
    whole: bool
    """Whether it is the whole gradient by itself."""
    completes: bool
    """Whether the gradient is whole with it."""


def gradient_name(value: str) -> str:
    """The name of a value's gradient."""
    return f"d_{value}".replace(":", ".")


def partial_name(node: str, operand: str) -> str:
    """The name of a partial derivative; inside a function the operand is named as it is there."""
    scope = node[: node.rfind("/") + 1]
    return f"{gradient_name(node)}/{gradient_name(operand.removeprefix(scope))}"


def part_names(
    nodes: Sequence[GraphNode],
    pieces: int,
    targets: Collection[int],
    incoming: Sequence[str | None],
    contributions: Sequence[Contribution],
) -> list[Namer]:
    """A namer for each node of a backward: of its `pieces`, which come first, and of the sums of the contributions.

    `targets` are the places of the different inputs that need a gradient, `incoming` the gradients of the results.
    """
    flow = _fed_by(nodes, incoming)
    owners = _owners(nodes[:pieces], contributions) if pieces > len(targets) > 1 else {}
    single = {node.id: node for node in nodes if len(node.node.outputs) == 1}
    names: dict[Any, Namer] = {}
    for each in contributions:
        factor = _factor(single[each.value], incoming[0]) if each.value in single else None
        if factor not in flow:
            names[factor] = _partial(each.place)
    names |= _of_sums(nodes, contributions)
    known = {name: names[name] for name in single if name in names}
    return [known.get(node.id) or _piece(node, owners.get(node.id, targets), node.id in flow) for node in nodes]


def _of_sums(nodes: Sequence[GraphNode], contributions: Iterable[Contribution]) -> dict[Any, Namer]:
    """The namers of contributions to a gradient, of the sums that they pass, and of what completes it."""
    names: dict[Any, Namer] = {}
    for each in contributions:
        sums = [nodes[index].id for index in each.sums if OpTrait.SIZES_ONLY not in nodes[index].node.traits]
        names |= dict.fromkeys(sums if each.whole else [each.value, *sums], _numbered(each.place))
        if each.completes:
            names[each.total] = _whole(each.place)
    return names


def _fed_by(nodes: Iterable[GraphNode], incoming: Iterable[str | None]) -> set[Any]:
    """The gradients that arrive, and what is computed from them."""
    flow: set[Any] = {name for name in incoming if name is not None}
    for node in nodes:
        if not flow.isdisjoint(node.inputs):
            flow.update(node.outputs)
    return flow


def _owners(nodes: Sequence[GraphNode], contributions: Sequence[Contribution]) -> dict[Any, set[int]]:
    """The places of the inputs whose gradients each value is made for."""
    owners: defaultdict[Any, set[int]] = defaultdict(set)
    for each in contributions:
        owners[each.value].add(each.first)
    for node in reversed(nodes):
        mine = owners[node.id] = set().union(*[owners[name] for name in node.outputs])
        for operand in node.inputs:
            owners[operand] |= mine
    return owners


def _factor(node: GraphNode, incoming: str | None) -> Any:
    """What a product multiplies an incoming gradient by; None if it is no such product."""
    if node.op != "mul" or incoming not in node.inputs:
        return None
    return node.inputs[node.inputs[0] == incoming]


def _piece(node: GraphNode, owners: Collection[int], flows: bool) -> Namer:
    """The namer of a node that is made for the gradients of some inputs; `flows` if an incoming gradient is in it."""
    if OpTrait.SIZES_ONLY in node.node.traits:
        axis = getattr(node.node, "axis", None)
        return _after(node.op if axis is None else f"{node.op}.{axis}")
    if node.op == "scan":
        return lambda recorder, near, values, operands: recorder.free(
            f"{gradient_name(near)}/scan" if flows else f"{near}/kept"
        )
    if len(node.node.outputs) > 1 or (not flows and len(node.inputs) == 1 and isinstance(node.inputs[0], str)):
        return _after(node.op)
    if len(owners) != 1:
        return lambda recorder, near, values, operands: recorder.numbered(gradient_name(near))
    (place,) = owners
    return _numbered(place) if flows else _numbered_partial(place)


def _whole(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.free(gradient_name(values[place]))


def _numbered(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.numbered(gradient_name(values[place]))


def _partial(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.free(partial_name(near, values[place]))


def _numbered_partial(place: int) -> Namer:
    return lambda recorder, near, values, operands: recorder.numbered(partial_name(near, values[place]))


def _after(suffix: str) -> Namer:
    """The namer of what is made of one value."""
    return lambda recorder, near, values, operands: recorder.free(f"{operands[0]}.{suffix}".replace(":", "."))
