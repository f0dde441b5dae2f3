"""How much memory the values of a graph take together, known before the first array is made.

It is known from their shapes. A size that has no number yet counts as 1: what is beyond the limit then, is so for every
batch. Where a size is itself a value, a `Claim` counts what a node gives as soon as its operands are there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from graphengine.errors import InputError, Problem
from graphengine.format.positions import make_pointer
from graphengine.graph import Graph, GraphNode, infer, literal_type
from graphengine.inference import probed
from graphengine.shapes import ArrayType, factors


def memory_problem(graph: Graph, sizes: Mapping[str, int] | None = None) -> Problem | None:
    """GE133 with the value that asks for most, if inputs, parameters, state and results are beyond the limit together.

    `sizes` are the numbers of symbolic sizes.
    """
    total, largest = _taken(graph, sizes or {})
    if total <= graph.limits.array_bytes:
        return None
    kind = graph.types[largest]
    given = f" for {', '.join(f'{symbol} = {size}' for symbol, size in sizes.items())}" if sizes else ""
    message = (
        f"the values of the graph take {size_text(total)}{given}, the limit is {size_text(graph.limits.array_bytes)}; "
        f"most goes to {_described(graph, largest)}, {kind}: {size_text(_bytes(kind, sizes or {}))}"
    )
    hint = f"{'use smaller batches, or ' * bool(sizes)}raise the limit array_bytes"
    if _producer(graph, largest):
        return Problem("GE133", message, hint, node=largest)
    return Problem("GE133", message, hint, make_pointer((_section(graph, largest), largest, "shape")))


def require_memory(graph: Graph, sizes: Mapping[str, int] | None = None) -> None:
    """Refuse sizes for which the values of the graph are beyond the limit together.

    Raises
    ------
    InputError
        GE133, naming the value that asks for most.
    """
    problem = memory_problem(graph, sizes)
    if problem:
        raise InputError([problem])


def memory_of(graph: Graph) -> int:
    """The bytes that the values of a graph take together, as far as their sizes are known."""
    return _taken(graph, {})[0]


class Claim:
    """What a node asks for whose sizes are values: it is known when its operands are there, before it runs.

    Called with the bytes that are taken so far and the operands, it gives the bytes that are taken with the results.
    """

    def __init__(self, graph: Graph, node: GraphNode) -> None:
        self._node, self._limit = node, graph.limits.array_bytes
        self._kinds = [graph.types[ref] if isinstance(ref, str) else literal_type(ref) for ref in node.inputs]
        inputs = node.node.signature.inputs
        self._sizes = inputs.index("sizes") if "sizes" in inputs else None

    def __call__(self, taken: int, *operands: Any) -> int:
        """Count the results of the node.

        Raises
        ------
        InputError
            GE133 if they are beyond the limit together with what is taken.
        ValueError
            If the operands do not fit the op.
        """
        kinds = [kind and kind._replace(shape=np.shape(x)) for kind, x in zip(self._kinds, operands, strict=True)]
        for place, kind in enumerate(kinds):
            if place == self._sizes and kind:
                kinds[place] = kind._replace(content=tuple(map(int, operands[place])))
        results = infer(self._node.node, tuple(kinds))
        taken += sum(_bytes(kind, {}) for kind in results)
        if taken > self._limit:
            asked = " and ".join(f"{kind}: {size_text(_bytes(kind, {}))}" for kind in results)
            message = (
                f"node '{self._node.id}' ({self._node.op}) asks for {asked}; with that the values of the graph take "
                f"{size_text(taken)}, the limit is {size_text(self._limit)}"
            )
            raise InputError(message, code="GE133", hint="raise the limit array_bytes", node=self._node.id)
        return taken


def claims(graph: Graph) -> dict[str, Claim]:
    """The claims of those nodes that need one. A class without a rule for shapes is the caller's own, and trusted."""
    unknown = {name for name, kind in graph.types.items() if None in kind.shape}
    nodes = [node for node in graph.nodes if not unknown.isdisjoint((*node.inputs, *node.outputs))] if unknown else ()
    return {node.id: Claim(graph, node) for node in nodes if type(node.node).infer is not probed}


def size_text(count: int) -> str:
    """A number of bytes for people: 3 bytes, 64 MiB, 7.45 GiB."""
    if count < 1024:
        return f"{count} bytes"
    if count.bit_length() > 1000:  # more than a float holds
        return f"more than 2^{count.bit_length() - 1} bytes"
    unit = min((count.bit_length() - 1) // 10, 6)
    return f"{count / 1024**unit:.4g} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit - 1]}"


def _taken(graph: Graph, sizes: Mapping[str, int]) -> tuple[int, str]:
    """The bytes of all values of a graph, and the name of the value that takes most."""
    counts = Counter(map(id, graph.types.values()))  # nodes of one kind share the object that is their type
    kinds = {id(kind): kind for kind in graph.types.values()}
    taken = {key: _bytes(kind, sizes) for key, kind in kinds.items()}
    largest = max(taken, key=taken.__getitem__, default=0)
    name = next((name for name, kind in graph.types.items() if id(kind) == largest), "")
    return sum(counts[key] * size for key, size in taken.items()), name


def _bytes(kind: ArrayType, sizes: Mapping[str, int]) -> int:
    count = kind.array_dtype.itemsize
    for size in kind.shape:
        coefficient, symbols = factors(1 if size is None else size)
        # an empty array may not have other sizes that no array can have
        count *= max(1, coefficient * math.prod(sizes.get(symbol, 1) for symbol in symbols))
    return count


def _described(graph: Graph, name: str) -> str:
    op = _producer(graph, name)
    if op:
        return f"node '{name}' ({op})"
    return f"{_section(graph, name).removesuffix('s')} '{name}'"


def _section(graph: Graph, name: str) -> str:
    return "inputs" if name in graph.inputs else "parameters" if name in graph.parameters else "state"


def _producer(graph: Graph, name: str) -> str | None:
    """The op of the node that gives a value."""
    return next((node.op for node in graph.nodes if name in node.outputs), None)
