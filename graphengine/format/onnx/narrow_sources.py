"""Inputs and parameters that an ONNX model has in 16 bits: a Cast widens each, and all others read its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from graphengine.format.narrow import stored
from graphengine.ir.declarations import Input, Parameter
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
    read = {each for node in graph.nodes for each in node.inputs}
    apart = {*replaceable, *graph.outputs.values()}
    found = NarrowSources({}, {})
    for name, source in {**graph.inputs, **graph.parameters}.items():
        storage: Any = source.storage if isinstance(source, (Input, Parameter)) else None
        if storage is None or name in apart or name not in read:
            continue
        if name in values and isinstance(source, Parameter):
            array = np.asarray(values[name])
            narrow = stored({name: array}, {name: storage}).arrays[name]
            if narrow.dtype == array.dtype:
                continue
            found.values[name] = narrow
        elif isinstance(source, Parameter):
            continue
        found.types[name] = storage.upper()
    return found
