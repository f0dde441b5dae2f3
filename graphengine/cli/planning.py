"""`show --plan`: the code that the engine makes of a model's graph and of its training step.

The code is printed and never run here. Names from the file are in comments beside it, and nowhere in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphengine.cli.output import array_text, print_line
from graphengine.errors import GraphEngineError, UsageError, did_you_mean
from graphengine.mappings import absent, present

if TYPE_CHECKING:
    from graphengine.backends.protocol import CodeListing
    from graphengine.ir.graph import Graph
    from graphengine.model.model import Model

MOST_LACKING = 4
"""So many of what a loop lacks are printed."""


def describe_plans(model: Model, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the forward graph and, if there is a training section, that of one iteration.

    Raises
    ------
    UsageError
        GE801 for sizes that are not known, GE402 for sizes that are none.
    """
    from graphengine.transform.step import GRADIENT_NORM, ITERATION

    _check_sizes(model.graph, sizes)
    whole, batch = _sizes_of_data(model)
    forward = {**whole, **sizes}
    plans = {"forward": _described(_listing(model, _with_sizes(model.graph, forward)), forward)}
    if model.document.training:
        step, iteration = model.compiled_step(), {**batch, **sizes}
        graph, fed = _with_sizes(step.graph, iteration), [*model.graph.inputs, ITERATION]
        listing = _listing(model, graph, fed, (step.loss, GRADIENT_NORM), exact=False, carried=step.carried)
        plans["training step"] = _described(listing, iteration)
    return {"model": model.graph.name, "plans": plans}


def _listing(
    model: Model, graph: Graph, fed: Sequence[str] = (), recorded: Sequence[str] = (), **options: Any
) -> CodeListing:
    """The code that the model's backend makes of a graph or, where that makes none, the default one."""
    from graphengine.backends.protocol import DEFAULT_BACKEND, backend_named

    program = model.backend.compile(graph, **options)
    found = program.listing(present(program.sources, fed), recorded)
    if found is None:
        found = backend_named(DEFAULT_BACKEND).compile(graph, **options).listing(fed, recorded)
    assert found is not None, "the default backend makes code"
    return found


def print_plans(description: Mapping[str, Any]) -> None:
    """A description by `describe_plans` as Python text, what each name means in comments."""
    for title, plan in description["plans"].items():
        given = ", ".join(f"{name}={size}" for name, size in plan["sizes"].items())
        print_line(f"# {title} of {description['model']}{f' for {given}' if given else ''}")
        _print_code(plan)
        for name, loop in plan["loops"].items():
            print_line(f"# numba: {name} as a compiled loop")
            _print_code(loop)
        _print_loop(plan)


def _print_loop(plan: Mapping[str, Any]) -> None:
    """The training as a compiled loop, or why there is none."""
    if "loop" in plan:
        bits = "the bits" if plan["loop"]["same_bits"] else "other last bits than those"
        print_line(f"# numba: the training step as a compiled loop, with {bits} of the numpy backend")
        _print_code(plan["loop"])
    elif "lacking" in plan:
        print_line(f"# numba: no loop for whole iterations, which lacks {_shortened(plan['lacking'])}")


def _shortened(names: Sequence[str]) -> str:
    further = len(names) - MOST_LACKING
    return "; ".join(names[:MOST_LACKING]) + (f"; and {further} more" if further > 0 else "")


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
    lacking = absent(_symbols(graph), sizes)
    if lacking:
        hint = f"give them with {' '.join(f'--size {symbol}=24' for symbol in lacking)}"
        raise UsageError(f"a plan needs numbers for the sizes {', '.join(lacking)}, and no data has them", hint=hint)
    return graph.with_sizes(sizes)


def _sizes_of_data(model: Model) -> tuple[dict[str, int], dict[str, int]]:
    """The sizes in the training data as a whole and in a batch of it, as far as it can be read."""
    try:
        if model.document.training is None:
            return _sizes_in(model, model.load_data()), {}
        batches = model.trainer().batches
        whole = batches.whole() or {}
    except GraphEngineError:
        return {}, {}
    return _sizes_in(model, whole), _sizes_in(model, next(iter(batches.epoch(1))).batch(0))


def _sizes_in(model: Model, arrays: Mapping[str, Any]) -> dict[str, int]:
    from graphengine.ir.binding import bind_sizes, shapes_of

    return bind_sizes(shapes_of(arrays), model.graph.types)


def _described(listing: CodeListing, sizes: Mapping[str, int]) -> dict[str, Any]:
    constants = {name: f" = {array_text(value)}" for name, value in listing.constants.items()}
    names = {name: f"{meaning}{constants.get(name, '')}" for name, meaning in listing.names.items()}
    loops = {name: _of_loop(each) for name, each in listing.loops.items()}
    described = {"sizes": dict(sizes), "names": names, "code": listing.code, "loops": loops}
    if listing.loop:
        described["loop"] = {**_of_loop(listing.loop), "same_bits": listing.same_bits}
    if listing.lacking:
        described["lacking"] = list(listing.lacking)
    return described


def _of_loop(loop: CodeListing) -> dict[str, Any]:
    return {"names": loop.names, "code": loop.code}
