"""A trace in sentences and equations: the one place that words a step, for the terminal, Markdown and the page."""

from __future__ import annotations

from itertools import groupby

from graphengine.traces.summary import ShownValue, in_product
from graphengine.traces.trace_parts import (
    BackwardEdge,
    Gradient,
    GraphTrace,
    NodeBackward,
    NodeForward,
    TracedLoop,
    TrainingStep,
)
from graphengine.wording import counted


def forward_text(line: NodeForward) -> str:
    """A node forward: `y_hat = theta * x = 2 * 3 = 6`."""
    if len(line.results) > 1:
        results = "; ".join(f"{name} = {value.text}" for name, value in line.results.items())
        return f"{', '.join(line.results)} = {line.formula}: {results}"
    (value,) = line.results.values()
    return equation(line.node, line.formula, line.numbers, value.text)


def step_text(loop: TracedLoop, number: int, step: GraphTrace) -> str:
    """A step of a loop, node by node, after the number of steps that are folded before it."""
    before = max([0, *[other for other, _ in loop.opened if other < number]])
    return "\n".join([*folded_text(number - before - 1), _step_title(loop, number), *map(forward_text, step.forward)])


def step_back_text(loop: TracedLoop, number: int, step: GraphTrace) -> str:
    """A step of a loop backward, after the number of steps that are folded after it: they come before it."""
    after = min([loop.steps + 1, *[other for other, _ in loop.opened if other > number]])
    lines = [*folded_text(after - number - 1), _step_title(loop, number)]
    for walk in step.backward:
        lines.append(f"{walk.node}: {arriving_text(walk, step.of)}")
        lines += walked_texts(walk, step.of)
    return "\n".join(lines)


def _step_title(loop: TracedLoop, number: int) -> str:
    return f"{loop.node}: step {number} of {loop.steps}"


def folded_text(count: int) -> list[str]:
    """A line on the steps that are folded, if any."""
    return [f"{counted(count, 'step')} {'is' if count == 1 else 'are'} folded"] * (count > 0)


def walked_texts(walk: NodeBackward, of: str | None) -> list[str]:
    """A line for each edge of a node backward: the partial derivative, and what the edge carries on."""
    return [f"{partial_text(walk, edge, of)}  →  {product_text(walk, edge)}" for edge in walk.edges]


def equation(*sides: str | None) -> str:
    """Sides of an equation, those that say something new."""
    given = (side for side in sides if side is not None)
    return " = ".join(side for side, _ in groupby(given))


def arriving_text(walk: NodeBackward, of: str | None) -> str:
    """The gradient that arrives at a node: `d_loss/d_error = 8`."""
    return ", ".join(f"{derivative(of, name)} = {value.text}" for name, value in walk.incoming.items())


def partial_text(walk: NodeBackward, edge: BackwardEdge, of: str | None) -> str:
    """The local partial derivative on an edge, `d_error/d_y_hat = -1`, or how the gradient gets there."""
    local = derivative(walk.node, edge.operand)
    if edge.partial is not None:
        return equation(local, edge.formula, edge.numbers, edge.partial.text)
    if edge.rule:
        gradient = f"{derivative(of, edge.operand)} (from {walk.node})"
        return equation(gradient, edge.rule.names, edge.rule.numbers)
    return (
        f"{local} by the backward of {walk.op}" if edge.formula is None else equation(local, edge.formula, edge.numbers)
    )


def product_text(walk: NodeBackward, edge: BackwardEdge) -> str:
    """What an edge carries on: `8 * (-1) = -8`, or why it is not walked."""
    if edge.product is None:
        return f"skipped: {edge.reason}"
    arriving = [*walk.incoming.values()]
    if edge.partial is None or len(arriving) != 1 or not (arriving[0].fits_formula and edge.partial.fits_formula):
        return edge.product.text
    return equation(_product_of(arriving[0], edge.partial, edge.product), edge.product.text)


def _product_of(incoming: ShownValue, partial: ShownValue, product: ShownValue) -> str:
    """Two factors of a chain rule; what is broadcast forward is summed backward."""
    factors = f"{incoming.text} * {in_product(partial.text)}"
    return factors if product.shape == max(incoming.shape, partial.shape, key=len) else f"sum({factors})"


def sum_text(gradient: Gradient, of: str | None) -> str:
    """A gradient as the sum of what arrives from each use: `d_loss/d_x = 3 (from a) + 4 (from b) = 7`."""
    parts = " + ".join(f"{in_product(value.text)} (from {node})" for node, value in gradient.contributions)
    several = len(gradient.contributions) > 1
    return equation(derivative(of, gradient.value), parts if several else None, gradient.total.text)


def total_text(gradient: Gradient, of: str | None) -> str:
    """A gradient as what it comes to: `d_loss/d_x = 7`."""
    return equation(derivative(of, gradient.value), gradient.total.text)


def derivative(of: str | None, toward: str) -> str:
    """The name of a derivative: `d_loss/d_theta`."""
    return f"d_{of}/d_{toward}"


def title(trace: GraphTrace) -> str:
    """What is traced: model and, of a training, the iteration."""
    step = trace.training
    if step is None:
        return trace.model
    number = f"iteration {step.iteration}"
    return f"{trace.model}, {number} (epoch {step.epoch})" if step.epoch else f"{trace.model}, {number} on given values"


def update_title(step: TrainingStep) -> str:
    """By what a training step updates."""
    return f"update by {step.rule}, learning rate {ShownValue.of(step.learning_rate).text}"
