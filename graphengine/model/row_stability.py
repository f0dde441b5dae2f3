"""Predictions whose rows have the same bits alone, in any batch, at any place, and on any number of threads."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Mapping
from threading import RLock
from typing import Any, NamedTuple

import numpy as np

from graphengine.backends.one_thread import one_blas_thread
from graphengine.backends.protocol import Backend
from graphengine.backends.row_blocks import RowBlocks
from graphengine.errors import InputError, UsageError
from graphengine.ir.binding import bind_sizes, shapes_of
from graphengine.ir.graph import Graph, inputs_of, part_for
from graphengine.ir.nodes import reachable
from graphengine.mappings import absent, kept, only, picked
from graphengine.ops.inference import is_elementwise
from graphengine.transform.sample_walk import with_part_for_each
from graphengine.wording import enumerated

MOST_SHAPES = 4
"""Combinations of outputs and shapes of rows for which compiled blocks are kept."""
MOST_WAYS = 8
"""Combinations of outputs and shapes of inputs for which it is known how they are computed."""
WITH_ROW_BLOCKS = ("auto", "numpy", "reference")
"""Backends whose kernels treat all rows of a block alike."""


class StableWay(NamedTuple):
    """How outputs are computed for inputs of some shapes: all of them, those that depend on no sample, the others.

    Without blocks all are computed at once: number by number, or for no rows.
    """

    names: tuple[str, ...]
    still: tuple[str, ...] = ()
    own: Mapping[str, str] = {}
    blocks: RowBlocks | None = None


class RowStability:
    """The compiled blocks of one graph; `Evaluator` has one."""

    def __init__(self, graph: Graph, backend: Backend) -> None:
        self._graph, self._backend = graph, backend
        self._blocks: OrderedDict[Any, RowBlocks] = OrderedDict()
        self._splits: OrderedDict[Any, dict[str, str]] = OrderedDict()
        self._ways: OrderedDict[Any, StableWay] = OrderedDict()
        self._lock = RLock()

    def way(
        self, outputs: tuple[str, ...] | None, given: Mapping[str, Any], targets: Callable[[], Mapping[str, str]]
    ) -> StableWay:
        """Return how asked outputs are computed, by default all; `targets` are these, by name.

        Raises
        ------
        InputError, UsageError
            As `split` and `blocks`.
        """
        key = (outputs, *[(name, array.shape) for name, array in given.items()])
        with self._lock:
            return kept(self._ways, key, MOST_WAYS, lambda: self._way(targets(), given, asked=outputs is not None))

    def _way(self, targets: Mapping[str, str], given: Mapping[str, Any], *, asked: bool) -> StableWay:
        own, still = self.split(targets, given, asked=asked)
        names = tuple(only(targets, own | still))
        has_rows = own and all(len(given[name]) for name in self.rows_of(own))
        if not has_rows or self.needs_no_blocks(own):
            return StableWay(names)
        return StableWay(names, tuple(still), own, self.blocks(own, given))

    def split(
        self, targets: Mapping[str, str], given: Mapping[str, Any], *, asked: bool
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return the outputs with a row for each sample, and those that depend on no sample.

        Of all others those that are requested are refused.

        Raises
        ------
        InputError
            GE403, GE405 if the inputs do not fit.
        UsageError
            GE417 for an output that depends on several rows; GE801 for a backend that has no row-stable products.
        """
        self._require_row_blocks()
        rows = self.rows_of(targets)
        shapes = [(name, np.shape(array)[name in rows :]) for name, array in given.items()]
        with self._lock:
            key = (*targets.items(), *shapes)
            own = kept(self._splits, key, MOST_SHAPES, lambda: with_own_rows(targets, self._graph, given))
        still = {name: value for name, value in targets.items() if not self.rows_of({name: value})}
        possible = {**own, **still}
        if asked or not possible:
            require_rows(targets, possible)
        return own, still

    def _require_row_blocks(self) -> None:
        if self._backend.name not in WITH_ROW_BLOCKS:
            message = f"the {self._backend.name} backend has no row-stable products"
            raise UsageError(message, hint="use the numpy backend")

    def blocks(self, own: Mapping[str, str], given: Mapping[str, Any]) -> RowBlocks:
        """Return what computes outputs with a row for each sample, for inputs of these shapes and any number of rows.

        Raises
        ------
        InputError
            GE133 if the values of a block take more memory than the limit; GE405 for different numbers of rows.
        """
        graph, rows = part_for(self._graph, own), self.rows_of(own)
        shapes = shapes_of(picked(given, graph.inputs))
        if len({shapes[name][0] for name in rows}) > 1:
            shown = ", ".join(f"'{name}' {shapes[name][0]}" for name in rows)
            raise InputError(f"inputs have different numbers of rows: {shown}", code="GE405")
        key = (*own.items(), *[(name, shape[name in rows :]) for name, shape in shapes.items()])
        with self._lock, one_blas_thread():
            return kept(self._blocks, key, MOST_SHAPES, lambda: RowBlocks(graph, rows, shapes, self._backend))

    def needs_no_blocks(self, own: Mapping[str, str]) -> bool:
        """Return whether outputs are computed number by number, which gives a row the same bits in any array."""
        nodes = reachable(self._graph.nodes, own.values())
        return all(is_elementwise(node.node) for node in nodes)

    def rows_of(self, targets: Mapping[str, str]) -> list[str]:
        """Return the inputs with a row for each sample that some outputs depend on."""
        return _rows_of(self._graph, targets)


def with_own_rows(targets: Mapping[str, str], graph: Graph, given: Mapping[str, Any]) -> dict[str, str]:
    """Return the outputs with a row for each sample that depends on no other one.

    Raises
    ------
    InputError
        GE403, GE405 if the inputs do not fit.
    """
    part = part_for(graph, targets)
    sizes = bind_sizes(shapes_of(picked(given, part.inputs)), part.types)
    with_rows = with_part_for_each(part, sizes, _rows_of(graph, targets))
    return {name: value for name, value in targets.items() if value in with_rows}


def require_rows(targets: Iterable[str], own: Container[str]) -> None:
    """Refuse outputs that are not among those with their own rows.

    Raises
    ------
    UsageError
        GE417.
    """
    if left := absent(targets, own):
        names = enumerated([repr(name) for name in left])
        message = f"computed from several samples at once: {names}; a row-stable output has a row for each sample"
        raise UsageError(message, code="GE417", hint="ask for other outputs, or leave out row_stable")


def _rows_of(graph: Graph, targets: Mapping[str, str]) -> list[str]:
    declared = {name: graph.types[name].shape for name in inputs_of(graph, targets.values())}
    return [name for name, shape in declared.items() if shape and not isinstance(shape[0], int)]
