"""`show --plan`: the code that the engine makes of a model's graph and of its training step.

The code is printed and never run here. Names from the file stand in comments beside it, and nowhere in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from graphengine.cli.output import array_text, print_line
from graphengine.errors import GraphEngineError, UsageError, did_you_mean

if TYPE_CHECKING:
    from graphengine.backends.numpy.plan import Plan
    from graphengine.ir.graph import Graph
    from graphengine.model.model import Model


def describe_plans(model: Model, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the forward graph and, if there is a training section, that of one iteration.

    Raises
    ------
    UsageError
        GE801 for sizes that are not known, GE402 for sizes that are none.
    """
    from graphengine.backends.numpy.plan import Plan

    _check_sizes(model.graph, sizes)
    whole, batch = _sizes_of_data(model)
    forward = {**whole, **sizes}
    plans = {"forward": _described(Plan(_with_sizes(model.graph, forward)), forward)}
    if model.document.training:
        step, iteration = model.compiled_step(), {**batch, **sizes}
        plan = Plan(_with_sizes(step.graph, iteration), exact=False, carried=step.carried)
        plans["training step"] = _described(plan, iteration)
        if model.backend.name == "numba":
            plans["training step"] |= _loop(plan, model.graph, step.loss)
    return {"model": model.graph.name, "plans": plans}


def _loop(plan: Plan, graph: Graph, loss: str) -> dict[str, Any]:
    """The loop that the numba backend makes of a plan, or what prevents it."""
    from graphengine.backends.numba.loop_text import LoopText
    from graphengine.transform.step import GRADIENT_NORM, ITERATION

    text = LoopText(plan.graph, plan.carried, plan.sources)
    if text.lacking:
        return {"lacking": text.lacking}
    fed = [name for name in plan.sources if name in graph.inputs or name == ITERATION]
    return {"loop": {"names": text.names, "code": text.loop(fed, [loss, GRADIENT_NORM]), "same_bits": text.same_bits}}


def print_plans(description: Mapping[str, Any]) -> None:
    """A description by `describe_plans` as Python text, what each name stands for in comments."""
    for title, plan in description["plans"].items():
        given = ", ".join(f"{name}={size}" for name, size in plan["sizes"].items())
        print_line(f"# {title} of {description['model']}{f' for {given}' if given else ''}")
        _print_code(plan)
        if "loop" in plan:
            bits = "the bits" if plan["loop"]["same_bits"] else "other last bits than those"
            print_line(f"# numba: the training step as a compiled loop, with {bits} of the numpy backend")
            _print_code(plan["loop"])
        elif "lacking" in plan:
            print_line(f"# numba: this runs in the numpy backend; the loop lacks {'; '.join(plan['lacking'])}")


def _print_code(plan: Mapping[str, Any]) -> None:
    for name, meaning in plan["names"].items():
        print_line(f"# {name} = {meaning}")
    for line in plan["code"].splitlines():
        print_line(line)


def _check_sizes(graph: Graph, sizes: Mapping[str, Any]) -> None:
    known = _symbols(graph)
    for name, size in sizes.items():
        if name not in known:
            hint = did_you_mean(name, known, "sizes")
            raise UsageError(f"model '{graph.name}' has no size '{name}'", code="GE402", hint=hint)
        if type(size) is not int or size < 0:
            raise UsageError(f"--size {name}: a size is an integer from 0, not {size!r}")


def _symbols(graph: Graph) -> list[str]:
    from graphengine.ops.shapes import symbols_of

    shapes = (graph.types[name].shape for name in graph.inputs)
    return list(dict.fromkeys(symbol for shape in shapes for symbol in symbols_of(shape)))


def _with_sizes(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    """The graph for given sizes, all of which must be there."""
    lacking = [symbol for symbol in _symbols(graph) if symbol not in sizes]
    if lacking:
        hint = f"give them with {' '.join(f'--size {symbol}=24' for symbol in lacking)}"
        raise UsageError(f"a plan needs numbers for the sizes {', '.join(lacking)}, and no data has them", hint=hint)
    return graph.with_sizes(sizes)


def _sizes_of_data(model: Model) -> tuple[dict[str, int], dict[str, int]]:
    """The sizes in the training data as a whole and in a batch of it, as far as it can be read."""
    training = model.document.training
    try:
        batches = model.trainer().batches if training else None
        arrays = batches.whole() if batches else model.load_data()
    except GraphEngineError:
        return {}, {}
    batch = next(iter(batches.epoch(1))).batch(0) if batches else {}
    return _sizes_in(model, arrays or {}), _sizes_in(model, batch)


def _sizes_in(model: Model, arrays: Mapping[str, Any]) -> dict[str, int]:
    import numpy as np

    from graphengine.ir.binding import bind_sizes

    return bind_sizes({name: np.shape(array) for name, array in arrays.items()}, model.graph.types)


def _described(plan: Plan, sizes: Mapping[str, int]) -> dict[str, Any]:
    code = str(plan)
    used = set(re.findall(r"\b[sfb]\d+\b", code))
    names = {name: meaning for name, meaning in _names(plan) if name in used}
    return {"sizes": dict(sizes), "names": names, "code": code}


def _names(plan: Plan) -> Iterator[tuple[str, str]]:
    """What each name in the code stands for: slots, functions, buffers."""
    from graphengine.ops.shapes import ArrayType

    results: dict[str, list[str]] = {}
    for output, value in plan.outputs.items():
        results.setdefault(value, []).append(output)
    for value, slot in plan.text.slots.items():
        name = value if isinstance(value, str) else str(value[1])
        known = f" = {array_text(plan.text.fixed[slot])}" if name == value and slot in plan.text.fixed else ""
        yield f"s{slot}", name + known + (f" (output {', '.join(results[name])})" if name in results else "")
    for index, instruction in enumerate(plan.instructions):
        yield f"f{index}", f"{_function_name(instruction.function)}, {instruction.kind}"
    for index, (shape, dtype) in enumerate(plan.text.buffers.kinds):
        yield f"b{index}", f"buffer {ArrayType(shape, dtype)}"


def _function_name(function: Any) -> str:
    """The name of what an instruction calls: NumPy's, a node class, or the helper that calls it."""
    import numpy as np

    if isinstance(function, np.ufunc):
        return f"numpy.{function.__name__}"
    owner = getattr(function, "__self__", None)
    if owner is not None:
        return f"{type(owner).__name__}.{function.__name__}"
    return str(getattr(function, "__qualname__", type(function).__name__)).partition(".")[0].strip("_")
