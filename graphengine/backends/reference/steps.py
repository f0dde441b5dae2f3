"""The steps of the reference executor: calls of node classes, with operands and results as slots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphengine.ir.nodes import GraphNode
from graphengine.transform.path import Choice, OwnChoice


class ForwardStep(NamedTuple):
    """A call for a node, of its `forward` unless it only claims memory, with operands and results as slots."""

    node: GraphNode
    call: Callable[..., Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class BackwardStep(NamedTuple):
    """A step on the path between the loss and the wanted values; `needs` says which inputs are on it.

    `choices` are those that its gradients are put through, each with the slot of its condition.
    """

    step: ForwardStep
    needs: tuple[bool, ...]
    choices: tuple[tuple[Choice | OwnChoice, int], ...]


@dataclass(frozen=True, slots=True)
class ForwardSchedule:
    """The steps a request needs, and after each the slots that nobody needs any more."""

    steps: tuple[ForwardStep, ...]
    releases: tuple[tuple[int, ...], ...]
