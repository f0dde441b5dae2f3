"""The steps of the reference executor: calls of node classes, with operands and results as slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphengine.backends.reference.diagnosis import failed
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode
from graphengine.ops.families.shaping import like
from graphengine.transform.path import Choice, OwnChoice, put_through


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

    def gradients(self, graph: Graph, slots: Sequence[Any], incoming: Sequence[Any]) -> list[Any]:
        """Return one gradient for each input of the step, None off the path, in the shape and dtype of the input.

        Raises
        ------
        ExecutionError
            GE410 if the node's `backward` fails.
        """
        node, _, inputs, outputs = self.step
        chosen = [(choice, slots[slot]) for choice, slot in self.choices]
        values, results = [slots[slot] for slot in inputs], [slots[slot] for slot in outputs]
        try:
            gradients = node.node.signature.gradients(node.node, incoming, values, results, self.needs)
        except Exception as error:  # a user's node may raise anything
            raise failed(graph, node, "backward", incoming, error) from error
        return [
            None if gradient is None else like(put_through(chosen, gradient, results[0], value), value)
            for gradient, value in zip(gradients, values, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class ForwardSchedule:
    """The steps a request needs, and after each the slots that nobody needs any more."""

    steps: tuple[ForwardStep, ...]
    releases: tuple[tuple[int, ...], ...]
