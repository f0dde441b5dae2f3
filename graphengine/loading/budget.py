"""How much memory the values of a graph take together, known from their shapes before the first array is made.

A size that has no number yet counts as 1: what is beyond the limit then, is so for every batch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from graphengine.errors import InputError, Problem
from graphengine.format.positions import make_pointer
from graphengine.graph import Graph
from graphengine.limits import Limits
from graphengine.shapes import ArrayType, factors


def memory_problem(graph: Graph, limits: Limits, sizes: Mapping[str, int] | None = None) -> Problem | None:
    """GE133 with the value that asks for most, if inputs, parameters, state and results are beyond the limit together.

    `sizes` are the numbers of symbolic sizes.
    """
    sizes = sizes or {}
    counts = Counter(map(id, graph.types.values()))  # nodes of one kind share the object that is their type
    kinds = {id(kind): kind for kind in graph.types.values()}
    taken = {key: _bytes(kind, sizes) for key, kind in kinds.items()}
    total = sum(counts[key] * size for key, size in taken.items())
    if total <= limits.array_bytes:
        return None
    largest = max(taken, key=taken.__getitem__)
    name = next(name for name, kind in graph.types.items() if id(kind) == largest)
    given = f" for {', '.join(f'{symbol} = {size}' for symbol, size in sizes.items())}" if sizes else ""
    message = (
        f"the values of the graph take {size_text(total)}{given}, the limit is {size_text(limits.array_bytes)}; "
        f"most goes to {_described(graph, name)}, {kinds[largest]}: {size_text(taken[largest])}"
    )
    hint = f"{'use smaller batches, or ' * bool(sizes)}raise the limit array_bytes"
    if _producer(graph, name):
        return Problem("GE133", message, hint, node=name)
    return Problem("GE133", message, hint, make_pointer((_section(graph, name), name, "shape")))


def require_memory(graph: Graph, limits: Limits, sizes: Mapping[str, int]) -> None:
    """Refuse inputs of sizes for which the values of the graph are beyond the limit together.

    Raises
    ------
    InputError
        GE133, naming the value that asks for most.
    """
    problem = memory_problem(graph, limits, sizes)
    if problem:
        raise InputError([problem])


def size_text(count: int) -> str:
    """A number of bytes for people: 3 bytes, 64 MiB, 7.45 GiB."""
    if count < 1024:
        return f"{count} bytes"
    if count.bit_length() > 1000:  # more than a float holds
        return f"more than 2^{count.bit_length() - 1} bytes"
    unit = min((count.bit_length() - 1) // 10, 6)
    return f"{count / 1024**unit:.4g} {('KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB')[unit - 1]}"


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
