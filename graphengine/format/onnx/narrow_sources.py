"""Inputs and parameters that an ONNX model has in 16 bits: a Cast widens each, and all others read its result."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.narrow import stored
from graphengine.ir.graph import Graph


class NarrowSources(NamedTuple):
    """ONNX's names of types by source, and the values of parameters among them in these types."""

    types: dict[str, str]
    values: dict[str, np.ndarray[Any, Any]]

    def renamed(self) -> dict[str, str]:
        """Return the names of the widened values."""
        return {name: f"{name}~wide" for name in self.types}


def narrow_sources(graph: Graph, values: Mapping[str, Any], replaceable: frozenset[str]) -> NarrowSources:
    """Return what is written in 16 bits: not what a run may replace, and no parameter that would lose a bit."""
    found = NarrowSources({}, {})
    for name, storage in _declared(graph, {*replaceable, *graph.outputs.values()}).items():
        if name in graph.parameters:
            array = _narrowed(name, values, storage)
            if array is None:
                continue
            found.values[name] = array
        found.types[name] = storage.upper()
    return found


def _declared(graph: Graph, apart: set[str]) -> dict[str, Any]:
    """Return the declared storage of the sources that nodes read, except for those that are apart."""
    read = set(itertools.chain.from_iterable(node.inputs for node in graph.nodes)) - apart
    sources = {name: getattr(each, "storage", None) for name, each in {**graph.inputs, **graph.parameters}.items()}
    return {name: storage for name, storage in sources.items() if storage is not None and name in read}


def _narrowed(name: str, values: Mapping[str, Any], storage: Any) -> Any:
    """Return the value of a parameter in 16 bits, None if it has none or would lose a bit."""
    if name not in values:
        return None
    array = np.asarray(values[name])
    narrow = stored({name: array}, {name: storage}).arrays[name]
    return None if narrow.dtype == array.dtype else narrow
