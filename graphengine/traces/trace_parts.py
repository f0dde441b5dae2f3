"""The parts of a trace: plain data that JSON can hold, and that every picture and report is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphengine.traces.gradient_rules import GradientRule
from graphengine.traces.summary import ShownValue


@dataclass(frozen=True, slots=True)
class Given:
    """A value that no node computes: `kind` is input, parameter or state."""

    name: str
    kind: str
    value: ShownValue


@dataclass(frozen=True, slots=True)
class NodeForward:
    """A node forward: `formula` names its operands, `numbers` is the same with their values, where they are few."""

    node: str
    op: str
    formula: str
    numbers: str | None
    results: dict[str, ShownValue]


@dataclass(frozen=True, slots=True)
class BackwardEdge:
    """An operand of a node backward; `product` is what it gets of the gradient, None with the reason why not."""

    argument: str
    position: int
    operand: str
    formula: str | None
    numbers: str | None
    partial: ShownValue | None
    """The local partial derivatives: one for each element of an elementwise op, or for each element for a scalar."""
    product: ShownValue | None
    reason: str | None
    rule: GradientRule | None = None
    """How the gradient gets here where there are no partial derivatives to show."""


@dataclass(frozen=True, slots=True)
class NodeBackward:
    """A node backward: the gradient that arrives for each of its results, and its edges."""

    node: str
    op: str
    incoming: dict[str, ShownValue]
    edges: tuple[BackwardEdge, ...]


@dataclass(frozen=True, slots=True)
class Gradient:
    """The gradient with respect to a value: the sum of what arrives from each node that uses it."""

    value: str
    contributions: tuple[tuple[str, ShownValue], ...]
    total: ShownValue


@dataclass(frozen=True, slots=True)
class TracedUpdate:
    """How a training step replaced a parameter, and why it moved; or a state, which takes the value of a node."""

    parameter: str
    old: ShownValue
    new: ShownValue
    lines: tuple[NodeForward, ...]
    why: str


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """An iteration, counted from 1, with the update at its end; `epoch` is None where its values were given."""

    iteration: int
    epoch: int | None
    rule: str
    learning_rate: float
    updates: tuple[TracedUpdate, ...]


@dataclass(frozen=True, slots=True)
class TracedLoop:
    """The steps of a loop, counted from 1 as they run: the first and the last ones are `opened`, the others folded."""

    node: str
    function: str
    steps: int
    opened: tuple[tuple[int, GraphTrace], ...]


@dataclass(frozen=True, slots=True)
class GraphTrace:
    """Forward and backward of one graph for given values; `of` is None where nothing is differentiated."""

    model: str
    of: str | None
    wrt: tuple[str, ...]
    given: tuple[Given, ...]
    forward: tuple[NodeForward, ...]
    backward: tuple[NodeBackward, ...]
    left_out: tuple[tuple[str, str], ...]
    """Nodes that the backward pass does not come to, each with the reason."""
    gradients: tuple[Gradient, ...]
    training: TrainingStep | None = None
    loops: tuple[TracedLoop, ...] = ()

    @property
    def values(self) -> dict[str, ShownValue]:
        """What is shown of every value of the graph, by name."""
        computed = {name: value for line in self.forward for name, value in line.results.items()}
        return {given.name: given.value for given in self.given} | computed

    @property
    def walked(self) -> Iterator[tuple[NodeBackward, BackwardEdge, ShownValue]]:
        """The edges that carry something on: the node that each comes from, the edge, and what it carries."""
        return ((walk, edge, edge.product) for walk in self.backward for edge in walk.edges if edge.product)

    @property
    def several(self) -> list[Gradient]:
        """The gradients that are sums: of values with several uses."""
        return [gradient for gradient in self.gradients if len(gradient.contributions) > 1]
