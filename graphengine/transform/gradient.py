"""Reverse mode as a transformation from graph to graph.

Each node's own `backward` is called with symbols, which record what is done to them as nodes of the same op set. The
result is a graph like any other: it can be read, saved, run and differentiated again. A `backward` that cannot be
recorded, because it looks at values or calls foreign code, becomes one opaque node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from graphengine import gc_pause
from graphengine.errors import DifferentiationError
from graphengine.ir.graph import Graph, gradient_names
from graphengine.ir.nodes import free_name, has_loops, reached, results_of
from graphengine.ir.recording import Recorder, Symbol
from graphengine.mappings import only, picked
from graphengine.ops.shapes import ArrayType
from graphengine.transform.backward import BackwardPass, gradient_name
from graphengine.transform.merging_loops import merged_loops
from graphengine.transform.path import backward_path

MAX_NAMES = 8
"""The description of a gradient graph names at most this many values."""


@gc_pause.paused()
def gradient(
    graph: Graph, of: str = "loss", wrt: str | Sequence[str] | None = None, *, also: Iterable[str] = ()
) -> Graph:
    """Return the graph that computes the gradients of a scalar.

    `of` is a public output or a value; `wrt` are values (default: the trainable parameters). The result has the outputs
    of the graph that `also` names, and then the outputs `d_<of>/d_<wrt>`, in order, with a "_" appended if that name is
    taken. It has only the nodes, inputs and parameters that they need, and is generic in symbolic sizes. A node `d_y`
    is the gradient of y, made of `d_y.1`, `d_y.2`, ...; a node `d_z/d_y` is the partial derivative of one node's
    result.

    Raises
    ------
    UsageError
        GE402 if there is no such value.
    DifferentiationError
        GE411 if `of` is not a floating-point scalar or a node on the way has no `backward`.
    """
    names = gradient_names(graph, wrt)
    target, wanted = graph.value_name(of), [graph.value_name(name) for name in names]
    recorder = Recorder(graph)
    gradients = record_backward(recorder, target, wanted)
    outputs = picked(graph.outputs, also)
    for name, value in zip(names, wanted, strict=True):
        output = free_name(f"d_{of}/d_{name}".replace(":", "."), outputs)
        outputs[output] = as_output(recorder, gradients[value], value)
    return pruned(recorder, outputs, f"gradient of {of} with respect to {_listed(names)} in {graph.name}")


def _listed(names: Sequence[str]) -> str:
    """The names in a description, or their number where they are many."""
    return ", ".join(names) if len(names) <= MAX_NAMES else f"{len(names)} values"


def pruned(recorder: Recorder, outputs: Mapping[str, str], description: str, keep: Iterable[str] = ()) -> Graph:
    """The recorded graph with only the nodes and declarations that the outputs need, and those to keep."""
    graph = recorder.graph
    kept, read = reached([*graph.nodes, *recorder.nodes], outputs.values())
    types: Mapping[str, ArrayType] = recorder.types
    if has_loops(kept):
        kept, types, outputs = merged_loops(kept, types, outputs)
    read.update(keep)
    inputs, parameters, state = only(graph.inputs, read), only(graph.parameters, read), only(graph.state, read)
    values = [*inputs, *parameters, *state, *results_of(kept)]
    types = picked(types, values)  # in an order that no hash decides
    state = {name: source if source.update in types else replace(source, update=None) for name, source in state.items()}
    return graph.derive(
        kept, outputs, types, inputs=inputs, parameters=parameters, state=state, description=description
    )


def check_differentiable(graph: Graph, target: str, wanted: Sequence[str]) -> None:
    """Refuse gradients that have no meaning.

    Raises
    ------
    DifferentiationError
        GE411 if the target is not a floating-point scalar or a wanted value is not of floating-point dtype.
    """
    kind = graph.types[target]
    if kind.shape != () or not kind.is_differentiable:
        raise DifferentiationError(f"only a floating-point scalar has a gradient; '{target}' is {kind}")
    for name in wanted:
        if not graph.types[name].is_differentiable:
            raise DifferentiationError(f"there is no gradient with respect to '{name}', which is {graph.types[name]}")


def record_backward(recorder: Recorder, target: str, wanted: Sequence[str]) -> dict[str, Symbol | None]:
    """Record the backward pass from the scalar `target`; the gradient of each wanted value, None where it is zero."""
    check_differentiable(recorder.graph, target, wanted)
    path = backward_path(recorder.graph, target, wanted)
    gradients = BackwardPass(recorder, {target: filled(recorder, "ones_like", target).name}, path).gradients
    return {name: recorder.symbol(gradients.get(name)) for name in wanted}


def filled(recorder: Recorder, op: str, value: str) -> Symbol:
    """Ones or zeros like a value, named as its gradient."""
    symbol: Symbol = recorder.emit(op, recorder.instance(op, {}), (value,), recorder.free(gradient_name(value)))
    return symbol


def as_output(recorder: Recorder, gradient_: Symbol | None, value: str) -> str:
    """The name of a gradient with respect to a value, recorded as zeros where there is none."""
    if gradient_ is None:
        gradient_ = filled(recorder, "zeros_like", value)
    return gradient_.name
