"""How much memory the values of a graph take together, known before the first array is made.

It is known from their shapes. A size that has no number yet counts as 1: what is beyond the limit then, is so for every
batch. Where a size is itself a value, a `Claim` counts what a node gives as soon as its operands are there. Large
arrays that a node makes on the way to its result count as well: its class declares them (`Node.workspace`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any

import numpy as np

from graphengine.errors import InputError, Problem, RegistrationError, make_pointer
from graphengine.ir.graph import Graph
from graphengine.ir.nodes import GraphNode, infer, operand_types
from graphengine.ir.origins import node_text, section_of, source_text
from graphengine.ops.body import bodies_of
from graphengine.ops.inference import probed
from graphengine.ops.node import Node
from graphengine.ops.shapes import ArrayType, PythonNumber, Size, SizeError, factors
from graphengine.wording import size_text

NO_SIZES: Mapping[str, int] = MappingProxyType({})
"""No size has a number yet."""


def memory_problem(graph: Graph, sizes: Mapping[str, int] = NO_SIZES) -> Problem | None:
    """GE133 with what asks for most, if inputs, parameters, state and nodes are beyond the limit together.

    `sizes` are the numbers of symbolic sizes.
    """
    total = memory_of(graph, sizes)
    return _too_large(graph, sizes, total) if total > graph.limits.array_bytes else None


def _too_large(graph: Graph, sizes: Mapping[str, int], total: int) -> Problem:
    name, most, text = _largest(graph, sizes)
    given = f" for {', '.join(f'{symbol} = {size}' for symbol, size in sizes.items())}" if sizes else ""
    message = (
        f"the values of the graph take {size_text(total)}{given}, the limit is {size_text(graph.limits.array_bytes)}; "
        f"most goes to {text}: {size_text(most)}"
    )
    smaller, limit = "use smaller batches, or " * bool(sizes), "raise the limit array_bytes"
    producer = _producer(graph, name)
    if producer is None:
        return Problem("GE133", message, smaller + limit, make_pointer((section_of(graph, name), name, "shape")))
    segments = "give the loop 'checkpoint_every', or " * (producer.op == "scan")
    return Problem("GE133", message, smaller + segments + limit, node=producer.id)


def _largest(graph: Graph, sizes: Mapping[str, int]) -> tuple[str, int, str]:
    """The value that takes most, alone or on the way to it: its name, its bytes, and what it is."""
    first = {id(kind): (kind, name) for name, kind in reversed([*graph.types.items()])}  # of each kind
    kind, name = max(reversed(first.values()), key=lambda each: _bytes(each[0], sizes))
    alone = (name, _bytes(kind, sizes), f"{_described(graph, name)}, {kind}")
    on_the_way = [
        (node.id, taken, f"{node_text(graph, node)}, on the way to its result")
        for node, taken in _workspaces(graph, sizes)
    ]
    return max([alone, *on_the_way], key=itemgetter(1))


def steps_problem(graph: Graph, sizes: Mapping[str, int] = NO_SIZES) -> Problem | None:
    """GE135 with the loop that has most steps, if the loops of a graph have more than the limit together."""
    counts = {
        node.id: _steps_of(node, graph.types, sizes) for node in graph.nodes if node.op in RUNNING and node.node.is_core
    }
    total = sum(counts.values())
    if total <= graph.limits.steps:
        return None
    most = max(counts, key=counts.__getitem__)
    message = (
        f"the loops of the graph have {total:,} steps, the limit is {graph.limits.steps:,}; "
        f"most are of {_described(graph, most)}: {counts[most]:,}"
    )
    return Problem("GE135", message, "use shorter sequences, or raise the limit steps", node=most)


RUNNING = frozenset({"call", "cond", "scan"})
"""Ops that run functions."""


def _steps_of(node: GraphNode, types: Mapping[str, ArrayType], sizes: Mapping[str, int]) -> int:
    """The steps of a loop and of those within it; a size that has no number yet counts as 1."""
    op: Any = node.node
    kinds = operand_types(node.inputs, types)
    if None in kinds or node.id not in types:
        return 0
    count, given = _repeats(node, kinds, sizes)
    inner = sum(_steps_within(body.graph(given), sizes) for body in bodies_of(op).values())
    return count * (inner + (node.op == "scan"))


def _steps_within(graph: Graph, sizes: Mapping[str, int]) -> int:
    """The steps of the loops in the graph of a function."""
    return sum(_steps_of(each, graph.types, sizes) for each in graph.nodes if each.op in RUNNING)


def _repeats(
    node: GraphNode, kinds: Sequence[ArrayType | None], sizes: Mapping[str, int]
) -> tuple[int, Sequence[ArrayType | None]]:
    """How often a node runs its functions, and the types of what they get."""
    if node.op == "scan":
        op: Any = node.node
        given, size = op.steps(kinds)
        return _number(size, sizes), given
    return 1, kinds[1:] if node.op == "cond" else kinds


def require_memory(graph: Graph, sizes: Mapping[str, int] = NO_SIZES) -> None:
    """Refuse sizes for which the values of the graph, or the steps of its loops, are beyond the limit together.

    Raises
    ------
    InputError
        GE133, naming the value that asks for most; GE135, naming the loop.
    """
    problem = steps_problem(graph, sizes) or memory_problem(graph, sizes)
    if problem:
        raise InputError([problem])


def memory_of(graph: Graph, sizes: Mapping[str, int] = NO_SIZES) -> int:
    """The bytes that the values of a graph, and what its nodes make on the way, take as far as sizes are known."""
    counts = Counter(map(id, graph.types.values()))  # nodes of one kind share the object that is their type
    kinds = {id(kind): kind for kind in graph.types.values()}
    given = tuple(sizes.items())
    values = sum(counts[key] * _counted(kind, given) for key, kind in kinds.items())
    return values + sum(taken for _, taken in _workspaces(graph, sizes))


def bytes_of(graph: Graph, names: Iterable[str], sizes: Mapping[str, int]) -> int:
    """Return the bytes that some values of a graph take as far as sizes are known."""
    given = tuple(sizes.items())
    return sum(_counted(graph.types[name], given) for name in names)


def may_grow(graph: Graph, sizes: Mapping[str, int]) -> bool:
    """Whether gradients of a graph may take more than the limit although the graph does not.

    In a backward pass an array of a node holds at most a number for each pair of numbers of two values that the node
    reads or gives: of a product of matrices, x (B, 1, M) and y (M, K), the gradient of y is summed up from (B, M, K).
    Each value is counted in pairs with the largest one; a product of bytes counts eight such arrays of doubles.
    """
    kinds = {id(kind): kind for kind in graph.types.values()}
    taken = {key: _bytes(kind, sizes) for key, kind in kinds.items()}
    of: dict[Any, int] = {name: taken[id(kind)] for name, kind in graph.types.items()}
    pairs = 0
    for node in graph.nodes:
        values = [of.get(name, 0) for name in (*node.inputs, *node.outputs)]
        pairs += sum(values) * max(values)
    return pairs > graph.limits.array_bytes


class Claim:
    """What a node asks for whose sizes are values: it is known when its operands are there, before it runs.

    Called with the bytes that are taken so far and the operands, it gives the bytes that are taken with the results.
    """

    def __init__(self, graph: Graph, node: GraphNode) -> None:
        self._graph, self._node, self._limit = graph, node, graph.limits.array_bytes
        self._kinds = operand_types(node.inputs, graph.types)
        inputs = node.node.signature.inputs
        self._sizes = inputs.index("sizes") if "sizes" in inputs else None

    def __call__(self, taken: int, *operands: Any) -> int:
        """Count the results of the node.

        Raises
        ------
        InputError
            GE133 if they are beyond the limit together with what is taken, GE134 if no array can be as large.
        ValueError
            If the operands do not fit the op.
        """
        kinds = [self._kind(place, operand) for place, operand in enumerate(operands)]
        try:
            results = infer(self._node.node, tuple(kinds))
        except SizeError as error:
            message = f"{node_text(self._graph, self._node)}: {error}"
            raise InputError(message, code="GE134", node=self._node.id) from error
        on_the_way = _workspace(self._node.node, kinds)
        taken += sum(_bytes(kind, {}) for kind in results) + on_the_way
        if taken > self._limit:
            raise self._too_much(results, on_the_way, taken)
        return taken

    def _kind(self, place: int, operand: Any) -> ArrayType | None:
        """The type of an operand that is there, with its content where that may be a size."""
        kind = self._kinds[place]
        if kind is None:
            return None
        kind = kind._replace(shape=np.shape(operand))
        if place == self._sizes or _may_be_size(kind):
            kind = kind._replace(content=tuple(map(int, np.ravel(operand))))
        return kind

    def _too_much(self, results: Iterable[ArrayType], on_the_way: int, taken: int) -> InputError:
        asked = [f"{kind}: {size_text(_bytes(kind, {}))}" for kind in results]
        asked += [f"{size_text(on_the_way)} on the way to it"] * bool(on_the_way)
        message = (
            f"{node_text(self._graph, self._node)} asks for {', and '.join(asked)}; with that the values of "
            f"the graph take {size_text(taken)}, the limit is {size_text(self._limit)}"
        )
        return InputError(message, code="GE133", hint="raise the limit array_bytes", node=self._node.id)


def _may_be_size(kind: ArrayType) -> bool:
    return kind.shape == () and kind.array_dtype.kind in "iu"


def claims(graph: Graph) -> dict[str, Claim]:
    """The claims of those nodes that need one. A class without a rule for shapes is the caller's own, and trusted."""
    unknown = {name for name, kind in graph.types.items() if None in kind.shape}
    if not unknown:
        return {}
    return {node.id: Claim(graph, node) for node in graph.nodes if _has_claim(node, unknown)}


def _has_claim(node: GraphNode, unknown: set[str]) -> bool:
    is_known = unknown.isdisjoint((*node.inputs, *node.outputs))
    return not is_known and type(node.node).infer is not probed


def _workspaces(graph: Graph, sizes: Mapping[str, int]) -> Iterator[tuple[GraphNode, int]]:
    """The nodes that make large arrays on the way to their results, with the bytes of those."""
    known: dict[Any, int] = {}
    for node in graph.nodes:
        method: Any = node.node.workspace
        if method is not None and node.id in graph.types:
            kinds = operand_types(node.inputs, graph.types)
            key = (id(node.node), kinds)
            if key not in known:
                known[key] = _workspace_of(node.node, kinds, sizes)
            yield node, known[key]


def _workspace_of(node: Node, kinds: Sequence[ArrayType | None], sizes: Mapping[str, int]) -> int:
    """The bytes of a workspace with the sizes known so far, 0 where the node refuses those: it does so when it runs."""
    numbers = tuple([kind and _of_numbers(kind, sizes) for kind in kinds])
    try:
        return _workspace(node, numbers)
    except RegistrationError:
        try:
            infer(node, numbers)
        except ValueError:
            return 0
        raise


def _workspace(node: Node, kinds: Iterable[ArrayType | None]) -> int:
    method: Any = node.workspace
    if method is None:
        return 0
    try:
        return sum(_bytes(kind, {}) for kind in method(*kinds))
    except Exception as error:  # a user's method may raise anything
        name = f"{type(node).__name__}.workspace"
        raise RegistrationError(
            f"{name} fails, it must give a list of types: {type(error).__name__}: {error}"
        ) from error


def _of_numbers(kind: ArrayType, sizes: Mapping[str, int]) -> ArrayType:
    """A type whose sizes are numbers, 1 where one is not known."""
    shape = [_number(size, sizes) for size in kind.shape]
    return kind._replace(
        shape=tuple(shape), content=kind.content and tuple(_number(each, sizes) for each in kind.content)
    )


def _number(size: Size, sizes: Mapping[str, int]) -> int:
    if not isinstance(size, str):
        return 1 if size is None else size
    coefficient, exponents = factors(size)
    number: int = coefficient * math.prod(sizes.get(symbol, 1) ** power for symbol, power in exponents.items())
    return number


def _bytes(kind: ArrayType, sizes: Mapping[str, int]) -> int:
    return _counted(kind, tuple(sizes.items()))


@lru_cache(maxsize=4096)
def _counted(kind: ArrayType, given: tuple[tuple[str, int], ...]) -> int:
    """The bytes of a value; a graph is counted many times until it runs, whole or as a part of another one."""
    count, sizes = 1, dict(given)
    for size in kind.shape:
        count *= max(1, size if type(size) is int else _number(size, sizes))  # a size of 0 excuses no other one
    return count * (8 if isinstance(kind.dtype, PythonNumber) else kind.dtype.itemsize)


def _described(graph: Graph, name: str) -> str:
    node = _producer(graph, name)
    return node_text(graph, node) if node else source_text(graph, name)


def _producer(graph: Graph, name: str) -> GraphNode | None:
    """The node that gives a value."""
    return next((node for node in graph.nodes if name in node.outputs), None)
