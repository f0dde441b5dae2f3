"""Models as source files: a Python file that needs NumPy alone, a C file that needs the C library alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphengine.errors import GraphEngineError, UsageError, did_you_mean
from graphengine.format.code.c_text import CContent, CPart, c_text
from graphengine.format.code.identifiers import remark
from graphengine.format.code.python_text import Content, EmittedFunction, array_text, python_text
from graphengine.format.files import check_target, write_bytes
from graphengine.format.initializers import initial_value
from graphengine.ir.binding import bind_sizes
from graphengine.mappings import picked, without
from graphengine.ops.shapes import symbols_of
from graphengine.training.schedules import rate_at
from graphengine.transform.passes import optimize
from graphengine.transform.step import GRADIENT_NORM, ITERATION, LEARNING_RATE, Step

if TYPE_CHECKING:
    from graphengine.ir.graph import Graph
    from graphengine.model.model import Model

LONGEST = 10_000
"""Batches of more samples have sums that training adds in its own order."""
MOST_SHOWN = 24
"""Numbers of an input that an example shows."""


def export_python(model: Model, path: str | Path) -> None:
    """Write a model as a Python file with the functions `forward`, `gradient` and `step`, as far as it has them.

    Raises
    ------
    InvalidModelError
        GE305 for each node whose source cannot be written.
    UsageError
        GE415 if a parameter has no value and no initializer that computes one.
    GraphEngineError
        GE101 if the file cannot be written.
    """
    check_target(path)
    write_bytes(path, python_file(model).encode())


def python_file(model: Model) -> str:
    """Return what `export_python` writes; raises as it does."""
    model = started(model)
    step = step_of(model)
    batches = batch_sizes(model) if step else []
    functions = [_forward(model.graph), *_gradient(model), *(_steps(model, step, batches) if step else ())]
    values = _with_slots(model, step)
    content = Content(
        model.graph.name,
        model.graph.description,
        functions,
        values,
        remarks_of(model),
        list(_notes(model, step, batches)),
        list(_example(model, step)),
    )
    return python_text(content)


def export_c(model: Model, path: str | Path, sizes: Mapping[str, int] | None = None) -> None:
    """Write a model as a C file with the functions `forward`, `gradient` and `step`, as far as it has them.

    `sizes` are numbers for the symbolic sizes, by default those of a batch of the training or else 1.

    Raises
    ------
    InvalidModelError
        GE305 for each node that C has no code for, or if the arrays of a function take too much memory.
    UsageError
        GE415 if a parameter has no value and no initializer that computes one, GE402 for an unknown size.
    GraphEngineError
        GE101 if the file cannot be written.
    """
    check_target(path)
    write_bytes(path, c_file(model, sizes).encode())


def c_file(model: Model, sizes: Mapping[str, int] | None = None) -> str:
    """Return what `export_c` writes; raises as it does."""
    model = started(model)
    step = step_of(model)
    found = _c_sizes(model, sizes or {}, has_step=step is not None)
    parts = [CPart("forward", "Compute the outputs.", model.graph, list(model.graph.outputs)), *_c_gradient(model)]
    parts += [_c_step(step)] if step else []
    parts = [replace(each, graph=optimize(each.graph.with_sizes(found))) for each in parts]
    values = _with_slots(model, step)
    known = picked(found, symbols(model.graph))
    return c_text(CContent(model.graph.name, model.graph.description, parts, values, remarks_of(model), known))


def _c_sizes(model: Model, sizes: Mapping[str, int], *, has_step: bool) -> dict[str, int]:
    """The sizes that are given, for others those of a batch of the training, or else 1."""
    known = symbols(model.graph)
    for name in sizes:
        if name not in known:
            hint = did_you_mean(name, known, "sizes")
            raise UsageError(f"model '{model.graph.name}' has no size '{name}'", code="GE402", hint=hint)
    of_batch = next(iter(batch_sizes(model)), {}) if has_step else {}
    return {**dict.fromkeys(known, 1), **of_batch, **sizes}


def _c_gradient(model: Model) -> Iterator[CPart]:
    for each in _gradient(model):
        title = f"Compute the gradient of {remark(model.default_loss())} with respect to each trainable parameter."
        yield CPart("gradient", title, each.graph, each.outputs)


def _c_step(step: Step) -> CPart:
    title = "Run iteration number `iteration`, from 1: replace the parameters, and what the update rule keeps."
    outputs = [step.loss, GRADIENT_NORM, *step.carried]
    return CPart("step", title, step.graph, outputs, step.carried, [ITERATION, LEARNING_RATE])


def started(model: Model) -> Model:
    """Return a copy of a model with values for all parameters, as a training begins."""
    model = model.copy()
    if model.untrained():
        model.initialize()
    return model


def _with_slots(model: Model, step: Step | None) -> dict[str, Any]:
    """The values of parameters and state, and of what an update rule keeps."""
    values = values_of(model.graph, model.values)
    slots = without(step.graph.state, values) if step else {}
    return values | {name: np.asarray(initial_value(name, source)) for name, source in slots.items()}


def values_of(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of parameters and state, those of an initializer where there is none yet."""
    sources: dict[str, Any] = {**graph.parameters, **graph.state}
    return {
        name: np.asarray(values[name] if name in values else initial_value(name, source), source.type.array_dtype)
        for name, source in sources.items()
    }


def step_of(model: Model) -> Step | None:
    """Return the training step of a model that an update rule trains."""
    training = model.document.training
    if training is None or training.optimizer.is_solver or training.is_in_parts or not model.graph.trainable:
        return None
    return model.training_step()


def batch_sizes(model: Model) -> list[dict[str, int]]:
    """Return the sizes of the batches of a training, as far as its data can be read: full ones, and the last."""
    try:
        batches = model.trainer().batches
    except GraphEngineError:
        return []
    if batches.batch_size > LONGEST:
        return []
    counts = [batches.batch_size] * bool(batches.full_batches)
    if batches.per_epoch > batches.full_batches:
        counts.append(batches.samples_per_epoch - batches.full_batches * batches.batch_size)
    return [bind_sizes(batches.shapes_of(count), model.graph.types) for count in counts]


def remarks_of(model: Model) -> dict[str, str]:
    """Return the descriptions of inputs, parameters, state and nodes, by name."""
    found = {name: source.description for name, source in model.graph.sources.items()}
    found |= {node["id"]: node.get("description") for node in model.document.nodes}
    return {name: text for name, text in found.items() if text}


def _forward(graph: Graph) -> EmittedFunction:
    title = f"Return the outputs: {', '.join(map(remark, graph.outputs))}."
    return EmittedFunction("forward(inputs, parameters)", title, graph, list(graph.outputs))


def _gradient(model: Model) -> Iterator[EmittedFunction]:
    try:
        loss, graph = model.default_loss(), model.gradient()
    except GraphEngineError:
        return
    title = f"Return the gradient of {remark(loss)} with respect to each trainable parameter."
    yield EmittedFunction("gradient(inputs, parameters)", title, graph, list(graph.outputs))


def _steps(model: Model, step: Step, batches: list[dict[str, int]]) -> Iterator[EmittedFunction]:
    """The step for any sizes, and for each size of batches in the training the one that has its bits."""
    if step.graph.types and not symbols(step.graph):
        yield _step("step", step, optimize(step.graph, exact=False), model, [])
        return
    names = {_step_name(sizes): sizes for sizes in batches}
    for name, sizes in names.items():
        yield _step(name, step, optimize(step.graph.with_sizes(sizes), exact=False), model, [])
    before = []
    for name, sizes in names.items():
        before.append(f"if {_fits(step.graph, sizes)}:  # the batches of the training, sums in its order")
        before.append(f"    return {name}(inputs, parameters, iteration, learning_rate)")
    yield _step("step", step, step.graph, model, before)


def _step_name(sizes: Mapping[str, int]) -> str:
    return "step_of_" + "_".join(map(str, sizes.values()))


def _fits(graph: Graph, sizes: Mapping[str, int]) -> str:
    """A condition that inputs have these sizes."""
    found = []
    for symbol, size in sizes.items():
        name, axis = next(
            (name, kind.type.shape.index(symbol)) for name, kind in graph.inputs.items() if symbol in kind.type.shape
        )
        found.append(f"np.shape(inputs[{name!r}])[{axis}] == {size}")
    return " and ".join(found)


def symbols(graph: Graph) -> list[str]:
    """Return the symbolic sizes of the inputs."""
    return list(dict.fromkeys(each for of in graph.inputs.values() for each in symbols_of(of.type.shape)))


def _step(name: str, step: Step, graph: Graph, model: Model, before: list[str]) -> EmittedFunction:
    rate = rate_of(model)
    head = f"{name}(inputs, parameters, iteration, learning_rate{'' if rate is None else f'={rate!r}'})"
    title = "Run iteration number `iteration`, from 1: return the loss and the gradient's norm, and new parameters."
    return EmittedFunction(
        head, title, graph, [step.loss, GRADIENT_NORM], step.carried, [LEARNING_RATE, ITERATION], before
    )


def rate_of(model: Model) -> float | None:
    """Return the learning rate of a training if it is a number."""
    training = model.document.training
    rate = training and getattr(training.optimizer, LEARNING_RATE, None)
    return float(rate) if isinstance(rate, (int, float)) else None


def _notes(model: Model, step: Step | None, batches: list[dict[str, int]]) -> Iterator[str]:
    yield "`inputs` and `parameters` are dictionaries of arrays by name; `start()` returns parameters to begin with."
    if any(each.categories for each in model.graph.inputs.values()):
        yield "Inputs with categories take their numbers, from 0."
    if step:
        yield "`step` returns new parameters, which include what the update rule keeps; give them to the next step."
    if batches:
        yield "For batches of the sizes of the training `step` has the bits of the NumPy backend."


def _example(model: Model, step: Step | None) -> Iterator[str]:
    rows = _rows(model)
    yield "inputs = {"
    for name, found in rows.items():
        yield f"    {name!r}: {found},"
    yield "}"
    yield "parameters = start()"
    yield "print(forward(inputs, parameters))"
    if step:
        training = model.document.training
        assert training is not None
        rate = "" if rate_of(model) is not None else f", {rate_at(training.optimizer.learning_rate, 1)!r}"  # type: ignore[arg-type]
        yield "for iteration in range(1, 4):"
        yield f"    results, parameters = step(inputs, parameters, iteration{rate})"
        yield "    print(iteration, results)"


def _rows(model: Model) -> dict[str, str]:
    """The first rows of the training data as text, numbers that fit the model where they are many."""
    try:
        given = model.load_data() or {}
    except GraphEngineError:
        given = {}
    return {name: _few(each.type, given.get(name)) for name, each in model.graph.inputs.items()}


def _few(kind: Any, given: Any) -> str:
    """The first rows of an input, or numbers that fit where there are no rows or many numbers."""
    shape = tuple(size if isinstance(size, int) else 3 for size in kind.shape)
    rows = _first_rows(given, shape)
    if rows is not None and rows.shape == shape and rows.dtype.kind in "fiub":
        return array_text(rows.astype(kind.array_dtype))
    return _made_up(shape, kind.array_dtype)


def _made_up(shape: tuple[int, ...], dtype: Any) -> str:
    """Numbers that fit an input, as text."""
    return f"np.{'ones' if dtype.kind == 'f' else 'zeros'}({shape}, np.{dtype.name})"


def _first_rows(given: Any, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
    """What an array has within a shape; None if it has other dimensions, or it is much."""
    if given is None or np.ndim(given) != len(shape) or math.prod(shape) > MOST_SHOWN:
        return None
    rows: np.ndarray[Any, Any] = np.asarray(given)[tuple(map(slice, shape))]
    return rows
