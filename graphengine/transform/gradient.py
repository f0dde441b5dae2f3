"""Reverse mode as a transformation from graph to graph.

Each node's own `backward` is called with symbols, which record what is done to them as nodes of the same op set. The
result is a graph like any other: it can be read, saved, run and differentiated again. A `backward` that cannot be
recorded, because it looks at values or calls foreign code, becomes one opaque node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from graphengine import gc_pause
from graphengine.ir.graph import Graph, gradient_names
from graphengine.ir.nodes import free_name
from graphengine.ir.recording import Recorder, Symbol
from graphengine.mappings import picked
from graphengine.transform.backward import filled, pruned, record_backward

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


def as_output(recorder: Recorder, gradient_: Symbol | None, value: str) -> str:
    """The name of a gradient with respect to a value, recorded as zeros where there is none."""
    if gradient_ is None:
        gradient_ = filled(recorder, "zeros_like", value)
    return gradient_.name
