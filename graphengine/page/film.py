"""A training as frames: for chosen iterations the texts of every step and the label of every wire.

One frame is one iteration: forward node by node, backward node by node, then the update of each parameter. All frames
have the same steps, so a page that shows them needs only to choose a frame and a step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import orjson

from graphengine.errors import DivergenceError
from graphengine.model.model import Model
from graphengine.traces.iterations import Iterations, whole_data
from graphengine.traces.sentences import (
    arriving_text,
    folded_text,
    forward_text,
    step_back_text,
    step_text,
    sum_text,
    walked_texts,
)
from graphengine.traces.trace import trace_graph
from graphengine.traces.trace_parts import GraphTrace, TracedLoop
from graphengine.traces.traced_models import chosen
from graphengine.traces.unrolling import Opened
from graphengine.training.history import History, Iteration

MAX_FRAMES = 120
MAX_BATCHES = 24
"""Data that comes in more batches than this is not kept."""
MAX_BYTES = 120_000
"""About how much text all frames may have together; a large model has fewer frames."""
MAX_LOOP_STEPS = 24
"""Of a longer loop the first and the last half of this many steps are played, and those between them stay folded."""
PLAYED = Opened(MAX_LOOP_STEPS, 0)


class FilmFrame(NamedTuple):
    """One iteration: its number and epoch, its trace, and the loss; the number is 0 where nothing is trained."""

    iteration: int
    epoch: int
    trace: GraphTrace
    given: Mapping[str, Any]
    """What it computes from: inputs, parameters, state and what the update rule keeps."""

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of what it computes from."""
        return {name: np.shape(value) for name, value in self.given.items()}


class FilmStep(NamedTuple):
    """One step within every frame: its phase (forward, backward or update) and the node or parameter at work.

    A step of a loop has a text for a page that folds the others but the first and the last, and hides it if it is None.
    """

    phase: str
    at: str
    folded: str | None = ""
    is_of_loop: bool = False


@dataclass(frozen=True)
class Film:
    """The frames of a training with its history and its data in batches; `end` says why it failed, if it did."""

    frames: tuple[FilmFrame, ...]
    history: History | None = None
    batches: tuple[Mapping[str, Any], ...] = ()
    end: str | None = None
    iterations: Iterations | None = None

    @property
    def loss(self) -> str:
        """The name of the loss; nothing where none is differentiated."""
        return self.frames[0].trace.of or ""


def film_of(model: Model, inputs: Mapping[str, Any] | None = None) -> Film:
    """The film of the training that the model declares, or one frame of an evaluation on the given inputs."""
    training = model.document.training
    if training is None or inputs:
        evaluation = chosen(model, inputs)
        frame = FilmFrame(0, 0, evaluation.trace(opened=PLAYED), {**model.values, **evaluation.values})
        return Film((frame,), iterations=evaluation.iterations)
    if training.optimizer.is_solver:
        return _film_of_solver(model)
    return _film_of_iterations(Iterations.declared(model))


def _film_of_iterations(iterations: Iterations) -> Film:
    frames: list[FilmFrame] = []
    end = None
    try:
        for frame in _frames(iterations):
            frames.append(frame)  # noqa: PERF402 - those before a divergence count
    except DivergenceError as error:
        end = error.problems[0].message
    batches = whole_data(iterations.trainer.batches, MAX_BATCHES)
    return Film(tuple(frames), iterations.trainer.history, tuple(batches), end, iterations)


def _frames(iterations: Iterations) -> Iterator[FilmFrame]:
    """The first iteration, and as many others as there may be of its size."""
    shown = {1}
    for moment in iterations:
        if moment.iteration not in shown:
            continue
        traced = iterations.trace(moment, opened=PLAYED)
        yield FilmFrame(moment.iteration, moment.epoch or 0, traced, iterations.given(moment))
        if len(shown) == 1:
            changing = moment.values if iterations.has_one_batch else {**moment.values, **moment.batch}
            shown = chosen_iterations(iterations.trainer.total_iterations, _affordable(traced, changing))


def _affordable(traced: GraphTrace, changing: Mapping[str, Any]) -> int:
    """How many frames like this one there may be; each has its own numbers of what is changing."""
    size = len(orjson.dumps(texts_of(traced))) + 20 * len(traced.values) * 2
    size += 20 * sum(np.size(value) for value in changing.values())
    return max(1, min(MAX_FRAMES, MAX_BYTES // size))


def chosen_iterations(total: int, count: int) -> set[int]:
    """Numbers of at most `count` of `total` iterations, the first and the last among them; denser at the beginning."""
    if total <= count:
        return set(range(1, total + 1))
    if count == 1:
        return {1}
    return {1 + round((total - 1) * (index / (count - 1)) ** 1.7) for index in range(count)}


def _film_of_solver(model: Model) -> Film:
    """The points that a solver came by, each evaluated on all data; a solver has no update to show."""
    solver = model.copy().trainer()
    batch = solver.batches.whole() or {}
    points = list(_points(model.values, list(solver.iterate())))

    def frame_of(row: Iteration, values: Mapping[str, Any]) -> FilmFrame:
        given = {**values, **batch}
        traced = trace_graph(model.graph, given, model.default_loss(), opened=PLAYED)
        return FilmFrame(row.iteration, row.epoch, traced, given)

    first = frame_of(*points[0])
    shown = chosen_iterations(len(points), _affordable(first.trace, model.values))
    others = [frame_of(*point) for point in points[1:] if point[0].iteration in shown]
    return Film((first, *others), solver.history, (batch,))


def _points(values: Mapping[str, Any], rows: Sequence[Iteration]) -> Iterator[tuple[Iteration, Mapping[str, Any]]]:
    """The iterations, each with the values that it starts from; the first alone where no parameters are kept."""
    for row in rows:
        yield row, values
        if row.parameters is None:
            return
        values = {**values, **row.parameters}


def steps_of(traced: GraphTrace) -> list[FilmStep]:
    """The steps of every frame."""
    return [step for step, _ in _steps(traced)]


def texts_of(traced: GraphTrace) -> list[str]:
    """What each step says, in the order of the steps; several lines where there are several edges."""
    return [text for _, text in _steps(traced)]


def _steps(traced: GraphTrace) -> Iterator[tuple[FilmStep, str]]:
    """Each step with its text."""
    loops = {loop.node: loop for loop in traced.loops}
    yield from _forward(traced, loops)
    yield from _backward(traced, loops)
    for update in traced.training.updates if traced.training else ():
        yield FilmStep("update", update.parameter), "\n".join([update.why, *map(forward_text, update.lines)])


def _forward(traced: GraphTrace, loops: Mapping[str, TracedLoop]) -> Iterator[tuple[FilmStep, str]]:
    for line in traced.forward:
        if loop := loops.get(line.node):  # its own steps first, then what it gives
            texts = [step_text(loop, *each) for each in loop.opened]
            yield from zip(_loop_steps(loop, "forward"), texts, strict=True)
        yield FilmStep("forward", line.node), forward_text(line)


def _loop_steps(loop: TracedLoop, phase: str) -> Iterator[FilmStep]:
    """The steps of a loop in the order in which they are played; the last one says how many a folded loop hides."""
    count = len(loop.opened)
    hidden = "\n".join(folded_text(loop.steps - 2))
    for place in range(count):
        texts = {0: "", count - 1: hidden}
        yield FilmStep(phase, loop.node, texts.get(place), is_of_loop=True)


def _backward(traced: GraphTrace, loops: Mapping[str, TracedLoop]) -> Iterator[tuple[FilmStep, str]]:
    """The walks, and a step at each parameter or input of several uses, after the walk that makes its sum whole."""
    sums = {gradient.value: sum_text(gradient, traced.of) for gradient in traced.several}
    completed = _completed(traced)
    for walk in traced.backward:
        if loop := loops.get(walk.node):
            yield from _loop_backward(loop)
        lines = [sums.get(walk.node) or arriving_text(walk, traced.of), *walked_texts(walk, traced.of)]
        yield FilmStep("backward", walk.node), "\n".join(lines)
        yield from ((FilmStep("backward", value), sums[value]) for value in completed[walk.node])


def _loop_backward(loop: TracedLoop) -> Iterator[tuple[FilmStep, str]]:
    """The steps of a loop, the last one first; then comes what the loop passes on."""
    texts = [step_back_text(loop, *each) for each in reversed(loop.opened)]
    return zip(_loop_steps(loop, "backward"), texts, strict=True)


def _completed(traced: GraphTrace) -> Mapping[str, list[str]]:
    """For each node the parameters and inputs of several uses whose last contribution comes from it."""
    given = {each.name for each in traced.given}
    completed = defaultdict[str, list[str]](list)
    for gradient in traced.several:
        if gradient.value in given:
            completed[gradient.contributions[-1][0]].append(gradient.value)
    return completed
