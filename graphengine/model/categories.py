"""Outputs in the categories of an input: an index becomes its category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphengine.errors import ExecutionError
from graphengine.ir.graph import Graph
from graphengine.mappings import present


def categories_of(output: str, speaking: Mapping[str, str], graph: Graph) -> tuple[str | float, ...]:
    """Return the categories that an output is given in, none if it is numbers; `speaking` maps outputs to inputs."""
    return (graph.inputs[speaking[output]].categories or ()) if output in speaking else ()


def labeled(outputs: Mapping[str, Any], speaking: Mapping[str, str], graph: Graph) -> dict[str, Any]:
    """Return outputs with the categories of those that are indices; others stay as they are.

    Raises
    ------
    ExecutionError
        GE406 for an index that no category has.
    """
    found = dict(outputs)
    for name in present(speaking, found):
        indices = np.asarray(found[name])
        if indices.dtype.kind not in "iu":
            continue
        categories = np.array(categories_of(name, speaking, graph))
        if np.any(wrong := (indices < 0) | (indices >= len(categories))):
            message = f"output '{name}' has the index {indices[wrong][0]}, input '{speaking[name]}' has "
            raise ExecutionError(f"{message}the categories 0 to {len(categories) - 1}", code="GE406")
        labels = categories[indices]
        labels.flags.writeable = False
        found[name] = labels
    return found
